"""Segments as files and as a picture, and the command that makes them."""

import csv
import json
import logging
import os

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from vidreason.errors import VidreasonError
from vidreason.segmentation import __main__ as command
from vidreason.segmentation.labelling import ActionSegment, VideoLabeller
from vidreason.segmentation.segment_files import srt_text, srt_time, write_csv, write_json, write_srt
from vidreason.segmentation.timeline import BACKGROUND_COLOR, draw_timeline, label_colors

SEGMENTS = [
    ActionSegment(0.0, 1.25, "rest", 0.98765),
    ActionSegment(1.25, 61.0, 'turn "over", left', 0.5),
    ActionSegment(61.0, 3723.0456, "rest", 1.0),
]


def test_csv_and_json_read_back(tmp_path):
    rows = list(csv.DictReader(write_csv(tmp_path / "a.csv", SEGMENTS).open(newline="")))
    assert [row["label"] for row in rows] == ["rest", 'turn "over", left', "rest"]
    assert [float(row["end_s"]) for row in rows] == [1.25, 61.0, 3723.046]
    assert float(rows[0]["score"]) == 0.988
    content = json.loads(write_json(tmp_path / "a.json", SEGMENTS, video="a.mp4").read_text())
    assert content["video"] == "a.mp4"
    assert content["segments"][1] == {"start_s": 1.25, "end_s": 61.0, "label": 'turn "over", left', "score": 0.5}


def test_subtitles_name_the_actions_and_not_the_background(tmp_path):
    text = write_srt(tmp_path / "a.srt", SEGMENTS, hidden=["rest"]).read_text()
    assert text == '1\n00:00:01,250 --> 00:01:01,000\nturn "over", left\n'
    blocks = write_srt(tmp_path / "b.srt", SEGMENTS).read_text().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == ["1", "2", "3"]
    assert blocks[2].split("\n")[1] == "00:01:01,000 --> 01:02:03,046"


def test_a_label_of_several_lines_does_not_end_its_subtitle():
    segments = [ActionSegment(0.0, 1.0, "wipe\n\n2\nscrew ", 0.5), ActionSegment(1.0, 2.0, "rest", 0.5)]
    first, second = srt_text(segments).split("\n\n")
    assert first == "1\n00:00:00,000 --> 00:00:01,000\nwipe 2 screw"
    assert second.startswith("2\n")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "00:00:00,000"), (59.9996, "00:01:00,000"), (3599.9, "00:59:59,900"), (360000, "100:00:00,000")],
)
def test_times_of_subtitles(seconds, expected):
    assert srt_time(seconds) == expected


def test_a_timeline_has_the_colour_of_the_label_at_its_time(tmp_path):
    labels = ["rest", "move"]
    rows = {
        "truth": [ActionSegment(0, 5, "rest", 1.0), ActionSegment(5, 10, "move", 1.0)],
        "model": [ActionSegment(0, 2, "move", 1.0), ActionSegment(2, 10, "rest", 1.0)],
    }
    picture = np.asarray(Image.open(draw_timeline(rows, tmp_path / "a.png", labels, ["rest"])).convert("RGB"))
    colors = label_colors(labels, ["rest"])
    assert colors["rest"] == BACKGROUND_COLOR
    move = np.array([int(colors["move"][index : index + 2], 16) for index in (1, 3, 5)])
    patches, _ = ndimage.label((np.abs(picture.astype(int) - move) < 4).all(axis=2))
    places = sorted(ndimage.find_objects(patches), key=lambda place: place[0].start)[:2]  # the third is in the legend
    truth, model = places
    assert truth[0].stop < model[0].start  # one above the other
    # the truth moves in the right half of the time axis, the model in the first fifth of it
    assert truth[1].start > model[1].stop
    widths = [place[1].stop - place[1].start for place in places]
    assert widths[0] / widths[1] == pytest.approx(2.5, rel=0.02)
    assert truth[1].start - model[1].start == pytest.approx(widths[0], rel=0.02)


def test_a_timeline_of_nothing_or_of_unknown_labels_is_named(tmp_path):
    with pytest.raises(VidreasonError, match="no segments to draw"):
        draw_timeline({"model": []}, tmp_path / "a.png", ["rest"])
    with pytest.raises(VidreasonError, match=r"labels \['jump'\], which are not among \['rest'\]"):
        draw_timeline({"model": [ActionSegment(0, 1, "jump", 1.0)]}, tmp_path / "a.png", ["rest"])
    assert not (tmp_path / "a.png").exists()


@pytest.fixture
def saved_model(make_segmenter, segment_processor, tmp_path):
    make_segmenter(frames_per_second=8.0).save_pretrained(tmp_path / "model")
    segment_processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_command_writes_everything_and_passes_over_what_it_cannot_read(
    saved_model, tiny_assembly, tmp_path, capsys
):
    manifest = tiny_assembly.folder / "manifest"
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    videos = [str(manifest / "test" / "0.mp4"), str(bad), str(manifest / "test" / "1.mp4")]
    out = tmp_path / "labels"
    arguments = [*videos, "--model", str(saved_model), "--out", str(out), "--truth", str(manifest)]
    assert command.main(arguments) == 1
    assert sorted(path.name for path in out.iterdir()) == [
        f"{name}.{suffix}" for name in "01" for suffix in ("csv", "json", "png", "srt")
    ]
    assert "FAILED" in (error := capsys.readouterr().err)
    assert "bad.mp4" in error
    content = json.loads((out / "0.json").read_text())
    assert (content["video"], content["frames_per_second"]) == ("0.mp4", 8.0)
    assert content["segments"][0]["start_s"] == 0.0
    assert content["segments"][-1]["end_s"] == pytest.approx(30 / 8)


@pytest.mark.unforeseen_errors
def test_an_error_of_one_video_that_nobody_foresaw_does_not_end_the_others(
    saved_model, tiny_assembly, tmp_path, capsys, monkeypatch, caplog
):
    good = tiny_assembly.folder / "manifest" / "test" / "0.mp4"
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")  # a name that JSON cannot hold
    odd.write_bytes(good.read_bytes())
    open_video = VideoLabeller.open

    def open_or_fail(self, path):
        if path.name == "new.mov":
            raise ValueError("29 is not\na valid Type")
        return open_video(self, path)

    monkeypatch.setattr(VideoLabeller, "open", open_or_fail)
    out = tmp_path / "labels"
    with caplog.at_level(logging.DEBUG, "vidreason.errors"):
        arguments = [str(tmp_path / "new.mov"), str(odd), str(good), "--model", str(saved_model), "--out", str(out)]
        assert command.main(arguments) == 1
    (failed,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("FAILED")]
    assert failed == f"FAILED {tmp_path / 'new.mov'}: unexpected error (ValueError: 29 is not a valid Type)"
    assert [record.exc_info[0] for record in caplog.records if record.name == "vidreason.errors"] == [ValueError]
    assert json.loads((out / "0.json").read_text())["segments"]
    assert json.loads((out / odd.with_suffix(".json").name).read_text())["video"] == "caf\\xe9.mp4"


def test_mistakes_of_the_command_are_one_line(saved_model, tmp_path, capsys):
    out = ["--out", str(tmp_path / "labels")]
    assert command.main(["a/x.mp4", "b/x.mp4", "--model", str(saved_model), *out]) == 1
    assert capsys.readouterr().err.strip().endswith("several videos are named x: label them into different folders")
    assert command.main(["a.mp4", "--model", str(tmp_path / "none"), *out]) == 1
    assert "error: segmentation model" in capsys.readouterr().err
    assert not (tmp_path / "labels").exists()
