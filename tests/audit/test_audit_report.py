"""The report of an audit: numbers for machines and readers, frames to look at, and the page."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vidreason.audit.audit_folder import AuditSettings, audit_folder
from vidreason.audit.drawing import GUIDANCE_COLOR, TRUTH_COLOR
from vidreason.audit.page import write_page
from vidreason.audit.pictures import choose_frames, draw_examples, write_contact_sheet
from vidreason.audit.references import TrueBoxes, boxes_from_table
from vidreason.audit.report import AuditReport, audit_section
from vidreason.audit.run import audit_table, look_through
from vidreason.errors import GuidanceError
from vidreason.files import read_folder
from vidreason.guidance import guidance_row, load_guidance, write_guidance
from vidreason.guidance.table import summarize_table
from vidreason.manifests.manifest import load_manifest
from vidreason.reporting.bootstrap import Bootstrap
from vidreason.synthetic import WorldConfig, build_synthetic_actions

TRICKY = "<script>alert(\"x\")</script> & 'co'"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Twelve clips of 6 frames with their truth, and two guidance tables about them."""
    folder = tmp_path_factory.mktemp("world")
    config = WorldConfig(width=64, height=48, num_frames=6, fps=2.0)
    build_synthetic_actions(folder / "videos", config, {"train": 12, "test": 12}, num_proc=1)
    truth = read_folder(folder / "videos" / "truth")
    rng = np.random.default_rng(0)
    for name, grid in (("first", (4, 4)), ("second", (3, 5))):
        rows = {split: [random_row(row, grid, rng) for row in table] for split, table in truth.items()}
        write_guidance(folder / name, rows)
    return folder


def random_row(frame, grid, rng):
    weights = rng.dirichlet(np.full(grid[0] * grid[1], 0.2)) if rng.random() < 0.8 else np.zeros(grid[0] * grid[1])
    status = None if weights.sum() else ("empty", "invalid")[int(rng.integers(2))]
    return guidance_row(frame, weights.tolist(), grid, producer="random", status=status)


def settings(world, out, **changes):
    given = {"truth": "videos/truth", "compare": "second", "manifest": "videos", **changes}
    folders = {name: str(world / path) for name, path in given.items() if isinstance(path, str)}
    others = {name: value for name, value in given.items() if value is not None and not isinstance(value, str)}
    return AuditSettings(guidance=str(world / "first"), out=str(out), resamples=100, **{**folders, **others})


class Page(HTMLParser):
    """Tags that are not closed, pictures, addresses, and texts by tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.images, self.addresses, self.texts, self.tags = [], [], [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.addresses += [value for name, value in attributes.items() if name in ("src", "href", "action", "srcset")]
        if tag == "img":
            self.images.append(attributes)
        elif tag not in ("meta", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data.strip())


@pytest.fixture(scope="module")
def report(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    written = audit_folder(settings(world, out, frames_per_group=5))
    assert [path.name for path in written] == [
        "audit.json",
        "audit.csv",
        "audit.md",
        "contact_sheet.png",
        "audit.html",
    ]
    return out


def test_json_csv_and_markdown_say_the_same(report):
    facts = json.loads((report / "audit.json").read_text())
    assert facts["splits"]["train"]["rows"] == 72
    truth, agreement = facts["sections"]
    assert (truth["key"], agreement["key"]) == ("truth", "agreement")
    assert truth["counts"]["reference_frames"] == 144
    assert len(truth["groups"]["class"]) == 12
    guidance = truth["scores"][0]
    with (report / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (found,) = [
        row
        for row in rows
        if (row["section"], row["group"], row["source"], row["measure"]) == ("truth", "all", "guidance", "iou")
    ]
    iou = guidance["measures"]["iou"]
    assert [float(found[name]) for name in ("value", "low", "high")] == [iou["value"], iou["low"], iou["high"]]
    assert iou["low"] < iou["value"] < iou["high"]
    text = (report / "audit.md").read_text()
    assert f"{100 * iou['value']:.1f} [{100 * iou['low']:.1f}, {100 * iou['high']:.1f}]" in text
    assert "## Against the boxes of truth (test, train)" in text
    assert "## Agreement with the table second (test, train)" in text
    measures = {row["measure"] for row in rows if row["section"] == "agreement"}
    assert {"total_variation", "jensen_shannon_bits", "correlation"} < measures
    # an even map has no correlation with anything
    undefined = [row for row in rows if (row["source"], row["measure"]) == ("uniform prior", "correlation")]
    assert {row["value"] for row in undefined} == {"n/a"}


def test_the_same_call_writes_the_same_files(world, report, tmp_path):
    for path in audit_folder(settings(world, tmp_path / "again", frames_per_group=5)):
        assert path.read_bytes() == (report / path.name).read_bytes(), path.name


def test_the_report_names_no_path_of_this_machine(report, world):
    for name in ("audit.json", "audit.csv", "audit.md", "audit.html"):
        text = (report / name).read_text()
        assert str(world) not in text and str(report) not in text


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(report):
    text = (report / "audit.html").read_text()
    page = Page(text)
    assert page.open == [] and page.wrong == []
    assert page.addresses and all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?:|@import|url\(", text)
    assert all(len(image["alt"]) > 20 and image["width"] and image["height"] for image in page.images)
    figures = [attributes for tag, attributes in page.tags if tag == "figure"]
    assert len(figures) == len(page.images) == 20
    assert {figure["data-group"] for figure in figures} == {"worst", "best", "random", "without guidance"}
    options = {attributes["value"] for tag, attributes in page.tags if tag == "option"}
    for name in ("data-status", "data-class", "data-group"):
        assert {figure[name] for figure in figures} <= options
    # without JavaScript nothing is hidden but the filter, which would do nothing
    assert [tag for tag, attributes in page.tags if "hidden" in attributes] == ["form"]


def test_without_a_manifest_frames_are_drawn_without_pixels(world, tmp_path):
    audit_folder(settings(world, tmp_path, manifest=None, compare=None, frames_per_group=2, sheet_frames=2))
    text = (tmp_path / "audit.html").read_text()
    assert "drawn without their pixels" in text
    assert "data:image/jpeg" not in text and "data:image/png" in text
    colors = np.asarray(Image.open(tmp_path / "contact_sheet.png").convert("RGB")).reshape(-1, 3)
    for expected in (GUIDANCE_COLOR, TRUTH_COLOR):
        tint = np.rint(0.5 * np.asarray(expected) + 0.5 * 176)  # a cell of the highest weight on the blank frame
        assert (np.abs(colors - tint) <= 1).all(axis=1).any()


@pytest.mark.parametrize("manifest", ["videos", None])
def test_a_table_alone_is_looked_through(world, tmp_path, manifest):
    changes = {"truth": None, "compare": None, "manifest": manifest, "frames_per_group": 5}
    written = audit_folder(settings(world, tmp_path, **changes))
    assert [path.name for path in written][-2:] == ["contact_sheet.png", "audit.html"]
    assert "There was nothing to judge by" in (tmp_path / "audit.md").read_text()
    facts = json.loads((tmp_path / "audit.json").read_text())
    assert facts["sections"] == [] and set(facts["splits"]) == {"train", "test"}
    page = Page((tmp_path / "audit.html").read_text())
    assert page.open == [] and page.wrong == []
    figures = [attributes for tag, attributes in page.tags if tag == "figure"]
    groups = {group: [f for f in figures if f["data-group"] == group] for group in ("random", "without guidance")}
    assert {len(frames) for frames in groups.values()} == {5} and len(figures) == 10
    assert {figure["data-status"] for figure in groups["random"]} == {"ok"}
    assert "ok" not in {figure["data-status"] for figure in groups["without guidance"]}
    assert all(image["src"].startswith(f"data:image/{'jpeg' if manifest else 'png'}") for image in page.images)
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png"))
    red, _, blue = (sheet[..., channel].astype(int) for channel in range(3))
    assert (red - blue > 60).sum() > 1000  # the guidance's tint


def test_of_a_large_table_a_bounded_number_of_rows_is_looked_through(world):
    rows = load_guidance(world / "first")["train"]
    audit = look_through(rows, max_rows=5)
    statuses = [frame.status == "ok" for frame in audit.frames]
    assert (sum(statuses), len(statuses)) == (5, 10) and audit.rows == len(rows)
    for frame in audit.frames:
        assert audit.index.lookup(frame.video_id, [frame.timestamp_s]).statuses == [frame.status]


def test_a_guidance_of_some_splits_is_judged_on_these(world, tmp_path):
    audit_folder(settings(world, tmp_path, splits=["test"], manifest=None))
    facts = json.loads((tmp_path / "audit.json").read_text())
    assert list(facts["splits"]) == ["test"]
    assert [section["counts"]["reference_frames"] for section in facts["sections"]] == [72, 72]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": "boxes.json"}, "--truth or --boxes, not both"),
        ({"boxes": "boxes.json", "truth": None, "manifest": None}, "give --manifest too"),
        ({"frames_per_group": 0}, "at least 1"),
        ({"splits": ["validation"]}, r"has no splits \['validation'\]"),
    ],
)
def test_settings_that_do_not_fit_are_named(world, tmp_path, changes, message):
    with pytest.raises(GuidanceError, match=message):
        audit_folder(settings(world, tmp_path, **changes))


@pytest.fixture(scope="module")
def audit(world):
    truth = TrueBoxes(boxes_from_table(read_folder(world / "videos" / "truth")["train"]))
    return audit_table(load_guidance(world / "first")["train"], truth, truth.class_names)


def test_worst_and_best_are_what_they_are_called(audit):
    chosen = choose_frames(audit, 4)
    worst, best = ([audit.score(frame, "iou") for frame in chosen[name]] for name in ("worst", "best"))
    everything = sorted(audit.score(frame, "iou") for frame in audit.scored)
    assert worst == sorted(worst) and worst[0] == everything[0]
    assert best == sorted(best, reverse=True) and best[0] == everything[-1]
    assert all(frame.status != "ok" for frame in chosen["without guidance"])
    for frames in chosen.values():
        assert len({frame.video_id for frame in frames}) == len(frames)  # twelve videos share four places
    again = choose_frames(audit, 4)
    assert [(f.video_id, f.position) for f in again["random"]] == [(f.video_id, f.position) for f in chosen["random"]]


def test_frames_of_one_video_lie_apart(audit):
    for frames in choose_frames(audit, 60).values():
        times = {}
        for frame in frames:
            times.setdefault(frame.video_id, []).append(frame.timestamp_s)
        assert all(np.diff(sorted(values)).min(initial=9) >= 1.0 for values in times.values())


def test_texts_that_look_like_html_stay_texts(world, audit, tmp_path):
    rows = load_guidance(world / "first")["train"]
    for frame in audit.frames:
        frame.class_name = TRICKY
    section = audit_section("truth", TRICKY, audit, Bootstrap(resamples=100))
    report = AuditReport(TRICKY, {"train": summarize_table(rows)}, [section], Bootstrap(resamples=100), 0.05)
    page = Page(write_page(tmp_path, report, audit, draw_examples(audit, choose_frames(audit, 2))).read_text())
    assert page.open == [] and page.wrong == []
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    figures = [attributes for tag, attributes in page.tags if tag == "figure"]
    assert {figure["data-class"] for figure in figures} == {TRICKY}
    assert any(TRICKY in text for text in page.texts["h1"])


def test_a_video_that_cannot_be_read_is_drawn_without_pixels(world, audit, tmp_path, caplog):
    (frame,) = choose_frames(audit, 1)["worst"]
    manifest = load_manifest(world / "videos", video_root=tmp_path)
    (example,) = draw_examples(audit, {"worst": [frame]}, manifest)
    assert not example.has_pixels
    assert "drawn without pixels" in caplog.text


def test_a_sheet_without_frames_is_refused(audit, tmp_path):
    with pytest.raises(GuidanceError, match="no frames to draw"):
        write_contact_sheet(tmp_path / "sheet.png", audit, [])
