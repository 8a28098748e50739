"""Labels as people type them: every kind of typing error, what is made of it, and that it is told."""

import numpy as np
import pytest

from vidreason.manifests.layouts.label_overlaps import fit_to_video, resolve_overlaps
from vidreason.manifests.layouts.timed_labels import (
    Finding,
    LabelNote,
    TimedLabel,
    TimedLabelReader,
    count_notes,
    describe_notes,
    write_label_report,
)
from vidreason.video.frame_table import FrameTable

NAMES = {"Sitting": "Sitting", "Standing": "Standing", "Walking": "Walking", "Writing": "Writing"}
NAMES |= {"Falling (FW)": "forward", "Falling (BW)": "backward", "Falling (SW)": "sideways"}


def read(text):
    """Labels as (name, start, end), and findings as (outcome, reason, said, made)."""
    labels, findings = TimedLabelReader(NAMES).read(text)
    return [tuple(label) for label in labels], [tuple(finding) for finding in findings]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Sitting[0 to 1]", [("Sitting", 0, 1)]),
        (" Sitting [ 0 to 2.5 ] ; Walking[3 to 4];  ", [("Sitting", 0, 2.5), ("Walking", 3, 4)]),
        ("Sitting[0 to 0.5; 3.7 to 10]", [("Sitting", 0, 0.5), ("Sitting", 3.7, 10)]),
        ("Falling (SW) [1.8 to 6]", [("sideways", 1.8, 6)]),
        ("Falling(BW)[1 to 6];Walking[0to1]", [("backward", 1, 6), ("Walking", 0, 1)]),
        ("", []),
        (" ; ", []),
    ],
)
def test_what_is_no_error(text, labels):
    assert read(text) == (labels, [])


CORRECTED = {
    "a letter is missing": ("Siting[0 to 1]", [("Sitting", 0, 1)], "spelling", "Sitting[0 to 1]"),
    "letters are exchanged": ("Wlaking[0 to 1]", [("Walking", 0, 1)], "spelling", "Walking[0 to 1]"),
    "lower case": ("sitting[0 to 1]", [("Sitting", 0, 1)], "spelling", "Sitting[0 to 1]"),
    "another form": ("Fall (FW)[0 to 3]", [("forward", 0, 3)], "spelling", "forward[0 to 3]"),
    "no round bracket": ("Falling (BW[5.9 to 10]", [("backward", 5.9, 10)], "brackets", "backward[5.9 to 10]"),
    "no closing bracket": ("Sitting[0 to 1; 2 to 3", None, "brackets", "Sitting[0 to 1]; Sitting[2 to 3]"),
    "no opening bracket": ("Sitting 0 to 1]", [("Sitting", 0, 1)], "brackets", "Sitting[0 to 1]"),
    "no brackets": ("Sitting 0 to 1", [("Sitting", 0, 1)], "brackets", "Sitting[0 to 1]"),
    "other brackets": ("Sitting(0 to 1)", [("Sitting", 0, 1)], "brackets", "Sitting[0 to 1]"),
    "brackets of their own": ("Sitting[0 to 1][2 to 3]", None, "brackets", "Sitting[0 to 1]; Sitting[2 to 3]"),
    "no to": ("Sitting[0.9 4.6]", [("Sitting", 0.9, 4.6)], "separator", "Sitting[0.9 to 4.6]"),
    "a dash": ("Sitting[0-1.5]", [("Sitting", 0, 1.5)], "separator", "Sitting[0 to 1.5]"),
    "upper case": ("Sitting[0 TO 1]", [("Sitting", 0, 1)], "separator", "Sitting[0 to 1]"),
    "a stray sign": ("Sitting[0 to 1]:", [("Sitting", 0, 1)], "separator", "Sitting[0 to 1]"),
    "a decimal comma": ("Sitting[0,5 to 1,25]", [("Sitting", 0.5, 1.25)], "decimal", "Sitting[0.5 to 1.25]"),
    "two points": ("Sitting[0..5 to 1]", [("Sitting", 0.5, 1)], "decimal", "Sitting[0.5 to 1]"),
    "nothing before the point": ("Sitting[.5 to 1]", [("Sitting", 0.5, 1)], "decimal", "Sitting[0.5 to 1]"),
    "nothing behind the point": ("Sitting[0. to 1]", [("Sitting", 0, 1)], "decimal", "Sitting[0 to 1]"),
}


@pytest.mark.parametrize("text, labels, reason, made", CORRECTED.values(), ids=CORRECTED.keys())
def test_what_is_corrected_is_told(text, labels, reason, made):
    found, findings = read(text)
    assert found == (labels or [("Sitting", 0, 1), ("Sitting", 2, 3)])
    assert findings == [("corrected", reason, text, made)]


def test_an_error_spoils_no_neighbour():
    labels, findings = read("Standing[2.4 to 3.6; 6.6 to 7.9; Walking[3.6 to 5.2] Sitting[9 to 10]")
    assert labels == [("Standing", 2.4, 3.6), ("Standing", 6.6, 7.9), ("Walking", 3.6, 5.2), ("Sitting", 9, 10)]
    assert [finding[1:3] for finding in findings] == [
        ("brackets", "Standing[2.4 to 3.6; 6.6 to 7.9"),
        ("separator", "Walking[3.6 to 5.2]"),
    ]


def test_two_errors_at_once_are_both_told():
    labels, findings = read("Siting[0,5 2")
    assert labels == [("Sitting", 0.5, 2)]
    assert [finding[1] for finding in findings] == ["brackets", "decimal", "separator", "spelling"]
    assert {finding[2:] for finding in findings} == {("Siting[0,5 2", "Sitting[0.5 to 2]")}


LEFT_OUT = {
    "no times": ("Sitting", "no_times", "Sitting"),
    "empty brackets": ("Sitting[]", "no_times", "Sitting[]"),
    "the wrong order": ("Sitting[9.7 to 3]", "start_after_end", "Sitting[9.7 to 3]"),
    "no length": ("Sitting[2 to 2]", "start_after_end", "Sitting[2 to 2]"),
    "one time": ("Sitting[2]", "unreadable_times", "Sitting[2]"),
    "three times": ("Sitting[1 2 3]", "unreadable_times", "Sitting[1 2 3]"),
    "a number of two points": ("Sitting[1.5.2 to 3]", "unreadable_times", "Sitting[1.5.2 to 3]"),
    "a comma that may be either": ("Sitting[0,5]", "unreadable_times", "Sitting[0,5]"),
    "another action": ("Talking[0 to 1]", "unknown_class", "Talking[0 to 1]"),  # one letter from walking
    "a fall to nowhere": ("Falling[0 to 1]", "unknown_class", "Falling[0 to 1]"),
    "a fall to somewhere else": ("Falling (XW)[0 to 1]", "unknown_class", "Falling (XW)[0 to 1]"),
    "no class": ("[0 to 1]", "no_class", "[0 to 1]"),
}


@pytest.mark.parametrize("text, reason, said", LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_what_cannot_be_understood_is_left_out_and_told(text, reason, said):
    assert read(text) == ([], [("left out", reason, said, "")])
    labels, findings = read(f"{text}; Walking[4 to 5]")
    assert labels == [("Walking", 4, 5)] and ("left out", reason) in [finding[:2] for finding in findings]


def test_one_bad_time_leaves_the_others():
    labels, findings = read("Sitting[0 to 1; 9 to 3; 4 to 5]")
    assert labels == [("Sitting", 0, 1), ("Sitting", 4, 5)]
    assert findings == [("left out", "start_after_end", "Sitting[9 to 3]", "")]


# From labels to segments

RANKS = {"fall": 2, "write": 1, "read": 1, "walk": 0, "sit": 0}


def frame_table(times_s, duration_s):
    times_s = np.asarray(times_s, dtype=float)
    return FrameTable(times_s, None, np.zeros(0, dtype=int), 1.0, duration_s, "stream", decoded=False)


def resolve(text, times_s=None, duration_s=10.0):
    """(segments as "label start_frame-end_frame", reasons) of "label start end, ..." on a frame a second."""
    words = [entry.split() for entry in text.split(",")]
    labels = [TimedLabel(name, float(start), float(end)) for name, start, end in words]
    table = frame_table(np.arange(10) if times_s is None else times_s, duration_s)
    segments, findings = resolve_overlaps(labels, table, RANKS)
    backwards, _ = resolve_overlaps(labels[::-1], table, RANKS)
    assert segments == backwards  # whatever the order in which they were typed
    names = list(RANKS)
    return " ".join(f"{names[s.label]} {s.start_frame}-{s.end_frame}" for s in segments), [f.reason for f in findings]


@pytest.mark.parametrize(
    ("labels", "segments"),
    [
        ("sit 0 10", "sit 0-10"),
        ("sit 2 4, walk 6 8", "sit 2-4 walk 6-8"),
        ("sit 0 10, read 3 6", "sit 0-3 read 3-6 sit 6-10"),  # the more specific
        ("read 0 6, sit 3 9", "read 0-6 sit 6-9"),  # also where it began before
        ("sit 0 6, fall 5 10", "sit 0-5 fall 5-10"),
        ("read 0 6, fall 5 10", "read 0-5 fall 5-10"),
        ("sit 0 6, walk 4 9", "sit 0-4 walk 4-9"),  # of one rank, the later start
        ("sit 0 9, walk 4 6", "sit 0-4 walk 4-6 sit 6-9"),
        ("sit 0 3, walk 0 8", "sit 0-3 walk 3-8"),  # of one start, the earlier end
        ("read 0 4, write 0 4", "write 0-4"),  # of one start and end, the earlier class
    ],
)
def test_overlaps_are_resolved_by_the_rule(labels, segments):
    assert resolve(labels)[0] == segments


def test_labels_of_which_nothing_is_left_are_told():
    assert resolve("sit 2 4, read 1 5") == ("read 1-5", ["hidden"])
    assert resolve("sit 2.2 2.8, read 5 6") == ("read 5-6", ["between_frames"])


def test_frames_are_found_by_their_own_times():
    times_s = [0.0, 0.1, 0.5, 0.6, 2.9, 2.9999999999]  # a rate that varies
    labels = [TimedLabel("sit", 0.1, 0.6), TimedLabel("walk", 0.6, 3.0)]
    (sit, walk), _ = resolve_overlaps(labels, frame_table(times_s, 3.5), RANKS)
    assert (sit.start_frame, sit.end_frame, sit.start_s, sit.end_s) == (1, 3, 0.1, 0.6)
    # the last frame is at 3 s but for the rounding of floats, and the label has ended then
    assert (walk.start_frame, walk.end_frame, walk.start_s, walk.end_s) == (3, 5, 0.6, 2.9999999999)


def test_labels_end_with_the_video():
    labels = [
        TimedLabel("sit", 0, 4.1),
        TimedLabel("walk", 3, 4.04),
        TimedLabel("fall", 4, 9),
        TimedLabel("read", 5, 6),
    ]
    fitting, findings = fit_to_video(labels, 4.0)
    assert [tuple(label) for label in fitting] == [("sit", 0, 4.0), ("walk", 3, 4.0)]
    assert findings == [
        Finding("corrected", "past_the_end", "sit[0 to 4.1]", "sit[0 to 4.00]"),
        Finding("left out", "past_the_end", "fall[4 to 9]"),
        Finding("left out", "past_the_end", "read[5 to 6]"),
    ]


# The report


def test_a_report_names_places(tmp_path):
    notes = [
        LabelNote.of(
            "a/ADL.csv", 4, "a/ADL/03.mp4", Finding("corrected", "spelling", "Siting[0 to 1]", "Sitting[0 to 1]")
        ),
        LabelNote.of("a/ADL.csv", 9, "a/ADL/08.mp4", Finding("left out", "no_times", "Reading, aloud")),
    ]
    assert write_label_report(tmp_path, notes).read_text() == (
        "file,line,video,outcome,reason,said,made\n"
        "a/ADL.csv,4,a/ADL/03.mp4,corrected,spelling,Siting[0 to 1],Sitting[0 to 1]\n"
        'a/ADL.csv,9,a/ADL/08.mp4,left out,no_times,"Reading, aloud",\n'
    )
    assert describe_notes(notes).splitlines() == [
        "a/ADL.csv:4 corrected (spelling): Siting[0 to 1] -> Sitting[0 to 1]",
        "a/ADL.csv:9 left out (no_times): Reading, aloud",
        "labels: 1 corrected (spelling 1); 1 left out (no_times 1)",
    ]
    assert count_notes([]) == "none noted"
