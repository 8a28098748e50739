"""Draw the Space's pictures in `docs/images`: the page of the running app, in headless Chromium.

    python benchmarks/space_pictures.py --model_ids release/rs_evidence release/plain \
        --segmenter_ids release/assembly --object_ids release/object_maps

The first of `--model_ids` is compared with the second on one of the examples (`space_compare.png`), and shown alone on
a phone in the dark (`space_phone.png`); the first one or two of `--segmenter_ids` draw the timeline of the example of
several actions (`space_timeline.png`); that of `--object_ids` draws the object maps of an example
(`space_objects.png`). The first of `--question_ids`, a Video-LLM, answers a question about an example, beside a
classifier, without which there is no page (`space_questions.png`).

`make browser` installs Chromium; playwright is in the extra `test`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from space import running_app

from vidreason.command_line import run_command
from vidreason.errors import ConfigError

PATIENCE_MS = 180_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]

_LOADED = """selector => { const video = document.querySelector(selector + " video");
    return !!video && video.readyState >= 2 && video.videoWidth > 0; }"""
# all videos at one moment, still, so that the picture is the same each time
_HALT = """time_s => { for (const video of document.querySelectorAll(".vr-synced video"))
    { video.pause(); video.currentTime = time_s; } }"""
_HALTED = """time_s => [...document.querySelectorAll(".vr-synced video")].every(
    video => video.readyState >= 2 && !video.seeking && Math.abs(video.currentTime - time_s) < 0.1)"""


@dataclass
class PictureArguments:
    """Which checkpoints, and what of them."""

    model_ids: list[str] = field(default_factory=list, metadata={"help": "Two classifiers that are compared."})
    segmenter_ids: list[str] = field(
        default_factory=list, metadata={"help": "One or two that segment; without, there is no timeline."}
    )
    object_ids: list[str] = field(
        default_factory=list, metadata={"help": "One that is shown object maps; without, there are none."}
    )
    question_ids: list[str] = field(
        default_factory=list, metadata={"help": "A Video-LLM and a classifier; without, no question is asked."}
    )
    question_example: int = field(default=1, metadata={"help": "Question that is asked, from 0; one of the first 6."})
    object_example: int = field(default=3, metadata={"help": "Example whose object maps are shown, counted from 0."})
    example: int = field(default=2, metadata={"help": "Example that is shown, counted from 0 without the assembly."})
    time_s: float = field(default=1.0, metadata={"help": "Moment of the example that is shown, in seconds."})
    timeline_time_s: float = field(default=12.0, metadata={"help": "Moment of the example of several actions."})
    out: str = field(default="docs/images", metadata={"help": "Folder for the pictures."})


def main(args: PictureArguments) -> None:
    """Start the app, and draw what there are checkpoints for.

    Raises:
        ConfigError: There is no Chromium, too few checkpoints are named, or the app does not start.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise ConfigError("no Chromium on this machine: `make browser` installs it")
    if len(args.model_ids) == 1 or not any((args.model_ids, args.segmenter_ids, args.object_ids, args.question_ids)):
        raise ConfigError("--model_ids names two checkpoints that are compared, or none where another option does")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        pictures = (
            (args.model_ids[:2], draw_comparison),
            (args.segmenter_ids[:2], draw_timeline),
            (args.object_ids[:1], draw_objects),
            (args.question_ids[:2], draw_questions),
        )
        for model_ids, draw in pictures:
            if model_ids:
                with tempfile.TemporaryDirectory() as scratch, running_app(model_ids, Path(scratch)) as (url, _):
                    draw(browser, url, [Path(name).name for name in model_ids[1:]], args, out)
        browser.close()


def draw_comparison(browser: Browser, url: str, others: list[str], args: PictureArguments, out: Path) -> None:
    """Two checkpoints side by side, and one on a phone."""
    page = _open(browser, url, 1280, 1260)
    _show_example(page, args.example)
    _choose(page, "#other", others[0])
    page.wait_for_function(_LOADED, arg="#attention-other", timeout=PATIENCE_MS)
    _halt(page, args.time_s)
    page.screenshot(path=out / "space_compare.png")
    phone = _open(browser, f"{url}/?__theme=dark", 390, 844)
    _show_example(phone, args.example)
    _halt(phone, args.time_s)
    phone.screenshot(path=out / "space_phone.png", full_page=True)


def draw_timeline(browser: Browser, url: str, others: list[str], args: PictureArguments, out: Path) -> None:
    """The timeline of one checkpoint or two, below the truth."""
    page = _open(browser, url, 1280, 1180)
    _show_example(page, 0)
    for other in others:
        _choose(page, "#other", other)
        page.wait_for_function(_LOADED, arg="#attention-other", timeout=PATIENCE_MS)
    page.locator("[data-testid=timeline] .vr-segment").first.wait_for(state="visible", timeout=PATIENCE_MS)
    _halt(page, args.timeline_time_s)
    page.screenshot(path=out / "space_timeline.png")


def draw_objects(browser: Browser, url: str, others: list[str], args: PictureArguments, out: Path) -> None:
    """The tab of object maps with an example."""
    page = _open(browser, url, 1280, 900)
    page.get_by_role("tab", name="Objects", exact=True).click()
    tab = page.get_by_role("tabpanel").filter(has=page.locator("#objects-input"))
    tab.locator(".gallery-item, .gallery button").nth(args.object_example).click()
    page.locator("[data-testid=maps]").wait_for(state="visible", timeout=PATIENCE_MS)
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # what fades in and out on the page
    page.screenshot(path=out / "space_objects.png", full_page=True)


def draw_questions(browser: Browser, url: str, others: list[str], args: PictureArguments, out: Path) -> None:
    """The tab of questions with an example."""
    page = _open(browser, url, 1280, 900)
    page.get_by_role("tab", name="Questions", exact=True).click()
    tab = page.get_by_role("tabpanel").filter(has=page.locator("#questions-input"))
    tab.locator("tr.tr-body").nth(args.question_example).click()
    asked = page.locator("#questions-question textarea")
    page.wait_for_function("place => place.value !== ''", arg=asked.element_handle(), timeout=PATIENCE_MS)
    page.locator("#questions-run").click()
    page.locator("[data-testid=evidence]").wait_for(state="visible", timeout=PATIENCE_MS)
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # what fades in and out on the page
    page.screenshot(path=out / "space_questions.png", full_page=True)


def _open(browser: Browser, url: str, width: int, height: int) -> Page:
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    page.wait_for_selector("#input input[type=file]", state="attached")
    return page


def _show_example(page: Page, number: int) -> None:
    page.locator(".gallery-item, .gallery button").nth(number).click()
    page.locator("[data-testid=label]").wait_for(state="visible")
    page.wait_for_function(_LOADED, arg="#guidance", timeout=PATIENCE_MS)


def _choose(page: Page, selector: str, option: str) -> None:
    page.locator(f"{selector} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def _halt(page: Page, time_s: float) -> None:
    page.evaluate(_HALT, time_s)
    page.wait_for_function(_HALTED, arg=time_s, timeout=PATIENCE_MS)
    page.mouse.move(0, 0)  # off the buttons that show under a pointer
    page.wait_for_timeout(1000)  # what fades in and out on the page


if __name__ == "__main__":
    sys.exit(run_command(main, PictureArguments))
