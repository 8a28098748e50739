"""The timeline of actions: bars at the right times in the right colours, and no label that becomes HTML."""

import base64
import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from clipview.analysis import Analysis
from clipview.handlers import NOBODY, Handlers
from clipview.service import AUTOMATIC
from clipview.timeline import describe_segment, tick_times, timeline_html

from vidreason.guidance import GridMap
from vidreason.segmentation.labelling import ActionSegment
from vidreason.segmentation.timeline import label_colors

HOSTILE = '<img src=x onerror="alert(1)">'
LABELS = ["background", "screw", HOSTILE]
SEGMENTS = [
    ActionSegment(0.0, 2.0, "background", 0.75),
    ActionSegment(2.0, 7.0, "screw", 0.5),
    ActionSegment(7.0, 7.5, HOSTILE, 0.25),
    ActionSegment(7.5, 20.0, "screw", 1.0),
]


def analysis(segments, labels=tuple(LABELS)):
    attention = [GridMap(np.full(16, 1 / 16, np.float32), (4, 4))]
    count = len(labels)
    return Analysis(list(labels), np.full(count, 1 / count), np.full((3, count), 1 / count), 0.0, attention, segments)


def drawn(*rows, end_s=20.0):
    """The timeline as a tree: it is well-formed, so that nothing in it has broken out of its place."""
    return ElementTree.fromstring(timeline_html(list(rows), end_s))


def bars_of(row):
    """(left, width, colour or None, class) of each bar."""
    found = []
    for bar in row.iter("button"):
        style = dict(part.split(":") for part in bar.get("style").split(";"))
        place = float(style["left"].rstrip("%")), float(style["width"].rstrip("%"))
        found.append((*place, style.get("--series"), bar.get("class")))
    return found


def rows_of(tree):
    return [part for part in tree.iter("div") if part.get("class") == "vr-segments"]


def test_bars_lie_where_their_times_are_in_the_colours_of_their_labels():
    (row,) = rows_of(drawn(("one", analysis(SEGMENTS))))
    colors = label_colors(LABELS, ["background"])
    assert bars_of(row) == [
        (0.0, 10.0, None, "vr-segment vr-idle"),
        (10.0, 25.0, colors["screw"], "vr-segment"),
        (35.0, 2.5, colors[HOSTILE], "vr-segment"),
        (37.5, 62.5, colors["screw"], "vr-segment"),
    ]
    assert colors["screw"] != colors[HOSTILE]


def test_bars_say_what_they_are_and_one_tab_stop_leads_to_all():
    (row,) = rows_of(drawn(("one <b>", analysis(SEGMENTS))))
    buttons = list(row.iter("button"))
    assert row.get("aria-label") == "Timeline of one <b>: 4 segments in 20.0 seconds"
    assert [button.get("tabindex") for button in buttons] == ["0", "-1", "-1", "-1"]
    assert buttons[1].get("aria-label") == buttons[1].get("title") == "screw, 2.0 to 7.0 s, mean probability 0.50"
    assert [button.get("data-start-s") for button in buttons] == ["0.000", "2.000", "7.000", "7.500"]
    assert buttons[2].get("title") == describe_segment(SEGMENTS[2]) and HOSTILE in buttons[2].get("title")


def test_labels_become_no_html():
    html = timeline_html([("<script>", analysis(SEGMENTS))], 20.0)
    assert "<img" not in html and "<script" not in html and "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in html


def test_two_checkpoints_share_an_axis_and_their_colours():
    other = analysis([ActionSegment(0.0, 20.0, "screw", 1.0)], ("wipe", "screw"))
    clip_model = analysis(None)
    tree = drawn(("one", analysis(SEGMENTS)), ("a clip model", clip_model), ("two", other))
    first, second = (bars_of(row) for row in rows_of(tree))
    assert second == [(0.0, 100.0, first[1][2], "vr-segment")]
    assert [part.text for part in tree.iter("h4")] == ["one", "two"] * 2  # rows and tables
    assert sum(part.get("class") == "vr-axis" for part in tree.iter("div")) == 1
    legend = next(part for part in tree.iter("p") if part.get("class") == "vr-legend")
    assert [swatch.tail for swatch in legend.iter("i")] == LABELS  # no wiping: nobody found any


def test_the_truth_is_above_the_checkpoints_and_has_no_score():
    truth = [ActionSegment(0.0, 8.0, "screw", 1.0), ActionSegment(8.0, 20.0, "glue <b>", 1.0)]
    tree = ElementTree.fromstring(timeline_html([("one", analysis(SEGMENTS))], 20.0, truth))
    first, second = rows_of(tree)
    assert [part.text for part in tree.iter("h4")] == ["truth", "one", "one"]  # and one table
    assert [button.get("title") for button in first.iter("button")] == [
        "screw, 0.0 to 8.0 s",
        "glue <b>, 8.0 to 20.0 s",
    ]
    assert bars_of(first)[0] == (0.0, 40.0, bars_of(second)[1][2], "vr-segment")  # screw has one colour
    legend = next(part for part in tree.iter("p") if part.get("class") == "vr-legend")
    assert [swatch.tail for swatch in legend.iter("i")] == [*LABELS, "glue <b>"]


def test_without_segments_there_is_no_timeline():
    assert timeline_html([("one", analysis(None))], 20.0) == ""
    assert timeline_html([("one", analysis(None))], 20.0, SEGMENTS) == ""


def test_the_table_and_the_files_hold_every_segment():
    tree = drawn(("owner/mine", analysis(SEGMENTS)))
    cells = [[cell.text for cell in row] for row in tree.iter("tr")][1:]
    assert cells[1] == ["screw", "2.00", "7.00", "0.50"] and len(cells) == 4
    files = {link.get("download"): link.get("href").split("base64,")[1] for link in tree.iter("a")}
    texts = {name: base64.b64decode(text).decode("utf-8") for name, text in files.items()}
    assert set(texts) == {"mine.csv", "mine.json", "mine.srt"}
    rows = list(csv.DictReader(io.StringIO(texts["mine.csv"])))
    assert [row["label"] for row in rows] == [segment.label for segment in SEGMENTS]
    content = json.loads(texts["mine.json"])
    assert content["model"] == "owner/mine" and content["segments"][3]["end_s"] == 20.0
    assert texts["mine.srt"].startswith("1\n00:00:02,000 --> 00:00:07,000\nscrew\n")  # a pause has no subtitle


@pytest.mark.parametrize(
    ("end_s", "expected"),
    [
        (22.0, [0, 5, 10, 15, 22.0]),  # 20 would touch the end's
        (4.0, [0, 1, 2, 3, 4.0]),
        (30.5, [0, 5, 10, 15, 20, 25, 30.5]),
        (1 / 12, [0, 1 / 12]),
        (200.0, [0, 200.0]),
    ],
)
def test_times_of_the_axis(end_s, expected):
    assert tick_times(end_s) == pytest.approx(expected)


# on the page


def shown(handlers, path, name, other=NOBODY):
    return handlers.show(str(path), name, other, AUTOMATIC, 0.5, True, None, progress=lambda share, desc: None)


def test_the_page_has_a_timeline_for_a_segmentation_checkpoint_only(make_service, all_checkpoints, colors_path):
    handlers = Handlers(make_service(loaded=all_checkpoints))
    status, bars, *_, views, timeline, strip = shown(handlers, colors_path, "segmenter")
    assert timeline["visible"] and timeline["value"].count("<button") == 4 and strip == ""
    assert "finds 4 segments, most of all" in status and "(50 % of the time)" in status
    assert "&lt;i&gt;red&lt;/i&gt;" in status and "<i>red" not in status + bars + views + timeline["value"]
    assert "Share of the time" in bars and "Means of the frames" in views
    hidden = shown(handlers, colors_path, "with")[7]
    assert (hidden["value"], hidden["visible"]) == ("", False)


def test_a_clip_model_beside_it_has_its_own_bars(make_service, all_checkpoints, colors_path):
    handlers = Handlers(make_service(loaded=all_checkpoints))
    status, bars, first, second, *_, timeline, _ = shown(handlers, colors_path, "with", "segmenter")
    assert re.search(r"with says <strong", status) and bars.count("Share of the time") == 1
    assert timeline["value"].count('class="vr-segments"') == 1
    assert (first["label"], second["label"]) == ("Attention of with", "Attention of segmenter")
    assert shown(handlers, "", "with")[7]["visible"] is False
