"""The page in headless Chromium, as a visitor sees it.

`make browser` installs Debian's Chromium. Without it these tests are skipped, but not in continuous integration.
SPACE_SCREENSHOTS names a folder that keeps the screenshots; SPACE_TEST_MODEL_IDS and SPACE_TEST_CLIP name what to make
them with.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixtures.space_clips import bad_files, moving_square, write_clip
from fixtures.space_object_model import save_object_model
from fixtures.space_question_model import save_question_model
from fixtures.space_segmenter import SEGMENT_LABELS
from fixtures.space_server import SpaceServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("no Chromium on this machine: `make browser` installs it", allow_module_level=True)

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

from vidreason.llm.testing.chat_server import ChatServer  # noqa: E402

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"]
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a camera, for the webcam
KEY = "visitor-brings-this-key-1234"
CHAT_ANSWER = '{"important_objects": ["hand"], "localization": [{"name": "hand", "cells": [[1, 2]]}]}'
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 90_000

PLAYS = """selector => { const video = document.querySelector(selector + " video");
    return !!video && video.readyState >= 2 && video.currentTime > 0 && video.videoWidth > 0; }"""


@pytest.fixture(scope="module")
def server(checkpoint_folders, segmenter_folder, tmp_path_factory, chat):
    named = [Path(name) for name in os.environ.get("SPACE_TEST_MODEL_IDS", "").split(",") if name]
    folders = named or checkpoint_folders[::-1]
    with_maps = save_object_model(tmp_path_factory.mktemp("maps") / "with_maps", detector="truth")
    tiny_llm = save_question_model(tmp_path_factory.mktemp("video_llms") / "tiny_llm")
    with SpaceServer(
        [*folders, segmenter_folder, with_maps, tiny_llm], tmp_path_factory.mktemp("space"), LLM_BASE_URL=chat.url
    ) as running:
        yield running


@pytest.fixture(scope="module")
def chat():
    """A language model's server."""
    with ChatServer(lambda payload: CHAT_ANSWER, api_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser, server):
    """Opens the page, and checks at the end that nothing went wrong in it."""
    contexts, errors = [], []

    def make(viewport=DESKTOP, query="") -> Page:
        context = browser.new_context(viewport=viewport, permissions=["camera"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}/{query}")
        page.wait_for_selector("#input input[type=file]", state="attached")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """The folder that screenshots go to."""
    folder = Path(os.environ.get("SPACE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def clip_path(square_path):
    """The clip that SPACE_TEST_CLIP names, else a real one where there is one, else a rendered one."""
    if os.environ.get("SPACE_TEST_CLIP"):
        return Path(os.environ["SPACE_TEST_CLIP"])
    real = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips" / "Kinetics" / "R6llTwEh07w.mp4"
    return real if real.is_file() else square_path


def upload(page, path) -> None:
    page.set_input_files("#input input[type=file]", str(path))


def label_of(page) -> str:
    """The answer, once it is there."""
    return page.locator("[data-testid=label]").inner_text(timeout=PATIENCE_MS)


def source_of(page, selector) -> str:
    return page.locator(f"{selector} video").get_attribute("src")


def choose(page, selector, option) -> None:
    page.locator(f"{selector} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def names_of(page) -> list[str]:
    """The checkpoints that can be chosen."""
    page.locator("#checkpoint input").click()
    names = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return [name.replace("✓", "").strip() for name in names]


def test_a_clip_is_answered_and_its_videos_play(open_page, clip_path, screenshots):
    page = open_page()
    upload(page, clip_path)
    page.wait_for_selector("#attention .progress-level", state="attached")  # the bar, meanwhile
    label = label_of(page)
    assert label and page.locator("[data-testid=answers] .vr-label").first.inner_text() == label
    for selector in ("#attention", "#guidance"):
        page.wait_for_function(PLAYS, arg=selector)
        time_s = page.eval_on_selector(f"{selector} video", "video => video.currentTime")
        page.wait_for_function(
            "([selector, before]) => document.querySelector(selector + ' video').currentTime !== before",
            arg=[selector, time_s],
        )
    assert page.locator("[data-testid=agreement] svg").count() == 1
    assert page.locator("[data-testid=views] ol").count() == 3
    page.screenshot(path=screenshots / "desktop.png", full_page=True)


def test_the_slider_and_the_switch_change_the_heat_map(open_page, square_path):
    page = open_page()
    upload(page, square_path)
    label_of(page)
    page.wait_for_function(PLAYS, arg="#attention")
    sources = [source_of(page, "#attention")]
    slider = page.locator("#strength input[type=range]")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    slider.dispatch_event("pointerup")
    page.wait_for_function(
        "before => document.querySelector('#attention video').src.endsWith(before) === false", arg=sources[0][-60:]
    )
    page.wait_for_function(PLAYS, arg="#attention")
    sources.append(source_of(page, "#attention"))
    page.locator("#heat-map input[type=checkbox]").uncheck()
    page.wait_for_function(
        "before => document.querySelector('#attention video').src.endsWith(before) === false", arg=sources[1][-60:]
    )
    sources.append(source_of(page, "#attention"))
    assert len(set(sources)) == 3


def test_two_checkpoints_side_by_side(open_page, clip_path, screenshots):
    page = open_page()
    names = names_of(page)
    upload(page, clip_path)
    label_of(page)
    assert page.locator("#attention-other video").count() == 0
    choose(page, "#other", names[1])
    page.wait_for_function(PLAYS, arg="#attention-other")
    titles = page.locator("[data-testid=answers] h3").all_inner_texts()
    assert titles == names[:2]
    assert page.locator("[data-testid=agreement] tbody tr").count() == 2
    page.get_by_text("Frame by frame").click()
    page.locator("#strip-button").click()
    page.wait_for_function("() => document.querySelectorAll('.vr-strip img').length === 8")
    page.screenshot(path=screenshots / "compare.png", full_page=True)


def test_an_example_is_answered_with_its_published_guidance(open_page):
    page = open_page()
    page.locator(".gallery-item, .gallery button").first.click()
    assert label_of(page)
    agreement = page.locator("[data-testid=agreement]")
    expect(agreement).to_contain_text("published table", timeout=PATIENCE_MS)
    source = r"Guidance: the published table synthetic assembly \(ground truth\), in (\d+) of (\d+) pictures\."
    guided, pictures = map(int, re.search(source, agreement.inner_text()).groups())
    assert pictures / 3 < guided <= pictures
    assert page.locator("#guidance label").first.inner_text().strip() == "Guidance: published"


def test_objects_are_looked_for_and_their_classes_edited(open_page, screenshots):
    """With the truth of an example, which needs no detector's package."""
    page = open_page()
    page.get_by_role("tab", name="Objects", exact=True).click()
    tab = page.get_by_role("tabpanel").filter(has=page.locator("#objects-input"))
    tab.locator(".gallery-item, .gallery button").last.click()
    answers = page.locator("[data-testid=objects-answers]")
    expect(answers.locator("section")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("#objects-status")).to_contain_text("Of this example the truth is known")
    captions = page.locator("[data-testid=maps] figcaption")
    assert any(text.startswith("hand: in ") for text in captions.all_inner_texts())
    page.screenshot(path=screenshots / "objects.png", full_page=True)
    classes = page.locator("#objects-classes textarea")
    learned = classes.input_value().split("\n")
    classes.fill("\n".join("" if text == "hand" else text for text in learned))
    page.locator("#objects-run").click()
    expect(captions.filter(has_text="hand: in")).to_have_count(0, timeout=PATIENCE_MS)
    page.get_by_text("Channel by channel").click()
    hand = page.locator("[data-testid=channels] tr").filter(has=page.locator("th", has_text="hand"))
    expect(hand).to_contain_text("a map of zeros")
    classes.fill("\n".join(["a, b", *learned[1:]]))
    page.locator("#objects-run").click()
    expect(page.locator("#objects-status [role=alert]")).to_contain_text("line 1", timeout=PATIENCE_MS)
    page.locator("#objects-reset").click()
    expect(captions.filter(has_text="hand: in")).to_have_count(1, timeout=PATIENCE_MS)
    assert classes.input_value().split("\n") == learned


def test_a_question_is_answered_and_its_evidence_drawn(open_page, screenshots):
    """By an untrained model, of an example whose answer is known; then with options of the visitor's."""
    page = open_page()
    page.get_by_role("tab", name="Questions", exact=True).click()
    tab = page.get_by_role("tabpanel").filter(has=page.locator("#questions-input"))
    tab.locator("tr.tr-body").first.click()
    question = page.locator("#questions-question textarea")
    expect(question).not_to_have_value("", timeout=PATIENCE_MS)
    page.locator("#questions-run").click()
    expect(page.locator("#questions-status")).to_contain_text(
        "Of this example the answer is known", timeout=PATIENCE_MS
    )
    said = page.locator("[data-testid=said]")
    expect(said.locator("section")).to_have_count(2)
    captions = page.locator("[data-testid=evidence] figcaption")
    assert [text.split(",")[0] for text in captions.all_inner_texts()] == [
        "What the answer rests on",
        "What the model was shown",
    ]
    assert page.locator("[data-testid=time-line] rect").count() >= 1
    page.screenshot(path=screenshots / "questions.png", full_page=True)
    page.locator("#questions-options textarea").fill("yes\nno\nmaybe")
    page.locator("#questions-run").click()
    expect(said.locator("li")).to_have_count(6, timeout=PATIENCE_MS)
    assert said.locator(".vr-label").all_inner_texts() == ["yes", "no", "maybe"] * 2
    page.locator("#questions-options textarea").fill("yes")
    page.locator("#questions-run").click()
    expect(page.locator("#questions-status [role=alert]")).to_contain_text("1 lines", timeout=PATIENCE_MS)


def test_a_segmentation_checkpoint_draws_a_timeline(open_page, colors_path, screenshots):
    page = open_page()
    upload(page, colors_path)
    assert label_of(page) and page.locator("[data-testid=timeline]").count() == 0  # a clip model
    choose(page, "#checkpoint", "segmenter")
    bars = page.locator("[data-testid=timeline] .vr-segment")
    bars.first.wait_for(state="visible")
    page.wait_for_function(PLAYS, arg="#attention")
    background, red, green = SEGMENT_LABELS
    names = [bars.nth(number).get_attribute("aria-label").split(", ")[:2] for number in range(bars.count())]
    times = ["0.0 to 1.0 s", "1.0 to 2.5 s", "2.5 to 3.5 s", "3.5 to 4.0 s"]
    assert names == [list(pair) for pair in zip((background, red, green, red), times, strict=True)]
    boxes = [bars.nth(number).bounding_box() for number in range(4)]
    row = page.locator(".vr-segments").bounding_box()
    shares = [box["width"] / row["width"] for box in boxes]
    assert shares == pytest.approx([1 / 4, 3 / 8, 1 / 4, 1 / 8], abs=0.01) and boxes[0]["x"] == pytest.approx(row["x"])
    colors = bars.evaluate_all("all => all.map(bar => getComputedStyle(bar).backgroundColor)")
    assert colors[1] == colors[3] and len(set(colors)) == 3
    assert page.locator(".vr-timeline .vr-legend").inner_text().split("\n") == SEGMENT_LABELS  # as text
    page.screenshot(path=screenshots / "timeline.png")
    bars.first.focus()  # the keyboard goes through the bars, and takes the videos there
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.locator(".vr-now").inner_text().startswith(f"{green}, 2.5 to 3.5 s, mean probability ")
    page.evaluate("() => document.querySelectorAll('.vr-synced video').forEach(video => video.pause())")
    page.keyboard.press("Enter")
    page.wait_for_function("() => Math.abs(document.querySelector('#attention video').currentTime - 2.52) < 0.01")
    page.locator(".vr-timeline summary").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "segmenter.csv"
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) == 5


def test_bad_files_get_a_message_and_the_next_clip_is_answered(open_page, tmp_path, square_path):
    page = open_page()
    for name, (path, _) in bad_files(tmp_path / "bad").items():
        upload(page, path)
        alert = page.locator("#status [role=alert]")
        alert.wait_for(state="visible")
        text = alert.inner_text()
        assert re.fullmatch(r"[A-Z].*\.", text, re.DOTALL) and "/" not in text, name
        body = page.inner_text("body")
        assert "Traceback" not in body and str(tmp_path) not in body and ".py" not in body, name
        page.locator("#input").get_by_label("Clear").last.click()
        alert.wait_for(state="detached")
    upload(page, square_path)
    assert label_of(page)


def test_eight_visitors_at_once(open_page, tmp_path):
    pages = [open_page() for _ in range(8)]
    for number, page in enumerate(pages):
        upload(page, write_clip(tmp_path / f"clip_{number}.mp4", moving_square(24 + 6 * number)))
    for number, page in enumerate(pages):
        assert label_of(page)
        assert f"{2 + number / 2:.1f} s" in page.locator("#status").inner_text()  # each has its own clip


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page, clip_path, screenshots):
    page = open_page(PHONE)
    upload(page, clip_path)
    label_of(page)
    page.wait_for_function(PLAYS, arg="#attention")
    page.wait_for_timeout(500)
    page.screenshot(path=screenshots / "phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wide = page.evaluate(
        "() => [...document.querySelectorAll('.vr-card, .vr-chart, .vr-scroll, .vr-table, video')]"
        ".filter(part => part.offsetParent && part.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    heights = page.evaluate(
        "() => [...document.querySelectorAll('.vr-chart text')].map(text => text.getBoundingClientRect().height)"
    )
    assert min(heights) >= 9


def test_in_the_dark_text_stands_out(open_page, clip_path, screenshots):
    page = open_page(query="?__theme=dark")
    upload(page, clip_path)
    label_of(page)
    page.wait_for_function(PLAYS, arg="#attention")
    page.screenshot(path=screenshots / "dark.png", full_page=True)

    def brightness(selector, what):
        color = page.eval_on_selector(selector, f"part => getComputedStyle(part).{what}")
        return np.mean([float(value) for value in re.findall(r"[\d.]+", color)[:3]])

    assert brightness("gradio-app", "backgroundColor") < 60
    for selector, what in ((".vr-card h3", "color"), (".vr-label", "color"), (".vr-chart text", "fill")):
        assert brightness(selector, what) > 180


def test_the_keyboard_is_enough_and_pictures_have_words(open_page, square_path):
    page = open_page()
    upload(page, square_path)
    label_of(page)
    page.wait_for_function(PLAYS, arg="#attention")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached |= {
            name
            for name in ("run", "checkpoint", "other", "strength", "heat-map")
            if page.evaluate("name => document.getElementById(name).contains(document.activeElement)", name)
        }
    assert reached == {"run", "checkpoint", "other", "strength", "heat-map"}
    page.locator("#run").focus()
    page.keyboard.press("Enter")
    assert label_of(page)
    parts = "video:not([aria-label]), img:not([alt]), svg[role=img]:not([aria-label])"
    unnamed = page.eval_on_selector_all(
        parts, "all => all.filter(part => part.offsetParent).map(part => part.outerHTML.slice(0, 200))"
    )
    assert unnamed == []


def test_the_method_is_explained_with_a_picture_and_cards_are_shown(open_page, screenshots):
    page = open_page()
    page.get_by_role("tab", name="How it works").click()
    picture = page.locator(".vr-method svg")
    picture.wait_for(state="visible")
    assert "grid" in picture.get_attribute("aria-label")
    page.screenshot(path=screenshots / "method.png", full_page=True)
    page.get_by_role("tab", name="Checkpoints").click()
    page.get_by_role("heading", level=1).nth(1).wait_for(state="visible")


def test_a_language_model_is_asked_after_its_price_was_shown(open_page, square_path, chat, server):
    page = open_page()
    upload(page, square_path)
    label_of(page)
    page.get_by_text("Guidance from a language model").click()
    ask = page.locator("#ask")
    expect(ask).to_be_disabled()
    page.locator("#price").click()
    expect(page.locator("#price-text")).to_contain_text("never more than $0.0", timeout=PATIENCE_MS)
    assert not chat.log
    page.locator("#key input").fill(KEY)
    ask.click()
    expect(page.locator("#price-text")).to_contain_text("6 of 6 pictures have guidance", timeout=PATIENCE_MS)
    expect(page.locator("[data-testid=agreement]")).to_contain_text("language model gpt-4.1-mini", timeout=PATIENCE_MS)
    assert len(chat.log) == 6 and page.locator("#key input").input_value() == ""
    assert KEY not in page.content() and KEY not in server.log()
    page.locator("#run").click()  # the session keeps what was said; nobody is asked again
    expect(page.locator("#guidance")).to_contain_text("Guidance: language model")
    assert len(chat.log) == 6


def test_a_webcam_is_recorded_and_answered(open_page):
    page = open_page()
    page.locator("#input").get_by_label("Capture from camera").click()
    page.locator("#input").get_by_text("Click to Access Webcam").click()
    page.locator("#input").get_by_label("start recording").click()
    page.wait_for_timeout(2500)  # of the fake camera's picture
    page.locator("#input").get_by_title("stop recording").click()
    assert label_of(page)
    assert "640 x 480 pixels" in page.locator("#status").inner_text()
