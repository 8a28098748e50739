"""A table of questions from a benchmark's files, with and without the manifest of its videos."""

import json
import sys

import pytest
from fixtures import benchmark_trees as trees

from datasets_scripts import build_questions as build_questions_script
from vidreason.errors import QuestionError
from vidreason.manifests.manifest import write_manifest
from vidreason.videoqa.building import BuildSettings, build_questions
from vidreason.videoqa.tables import load_questions


@pytest.fixture
def manifest(tmp_path):
    """Video 11 of 20 s, under the name that VidOR has it by, and two others with one name."""
    (tmp_path / "videos").mkdir()
    facts = {"label": "any", "num_frames": 60, "fps": 3.0, "duration_s": 20.0, "height": 48, "width": 64}
    paths = ("0001/11.mp4", "0001/13.mp4", "0002/13.mp4")
    rows = [{"path": path, **facts} for path in paths]
    return write_manifest(tmp_path / "manifest", {"test": rows}, ["any"], "vidor@1.0", tmp_path / "videos")


def test_a_table_says_what_was_dropped_and_where_it_is_from(tmp_path):
    report = build_questions("nextqa", trees.nextqa(tmp_path / "nextqa"), ["val"], tmp_path / "out")
    assert report.readings["val"].kept == 2 and report.readings["val"].total == 7
    rows = load_questions(tmp_path / "out")["val"]
    assert rows["question_id"] == ["11_0", "12_3"]
    lines = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
    dropped = [json.loads(line) for line in lines]
    assert len(dropped) == 5
    assert dropped[0] == {
        "split": "val",
        "question_id": "11_1",
        "where": "val.csv line 4",
        "reason": "answer_not_among_options",
        "detail": "5",
    }
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: mit" in card and "https://github.com/doc-doc/NExT-QA" in card
    assert "| val | 7 | 2 | 1 | 1 | 1 | 1 | 1 |" in card
    assert "Read: `val.csv` (" in card and "`map_vid_vidorID.json` (" in card
    assert "No manifest was given" in card


def test_questions_about_unknown_videos_are_counted_and_dropped_by_flag_alone(tmp_path, manifest):
    data = trees.nextqa(tmp_path / "nextqa")
    report = build_questions("nextqa", data, ["val"], tmp_path / "out", manifest)
    assert report.unknown_videos == {"12": 1} and report.readings["val"].kept == 2
    (line,) = [line for line in report.lines() if "manifest" in line]
    assert line == "1 questions are about 1 videos that the manifest lacks (12): kept."
    settings = BuildSettings(drop_unanswerable=True)
    report = build_questions("nextqa", data, ["val"], tmp_path / "out", manifest, settings)
    assert report.readings["val"].kept == 1 and report.readings["val"].reasons["unknown_video"] == 1
    assert report.readings["val"].total == 7
    assert load_questions(tmp_path / "out")["val"]["video_id"] == ["0001/11"]
    assert "that the manifest lacks (12): left out." in (tmp_path / "out" / "README.md").read_text()


def test_a_video_is_found_by_its_name_where_one_has_it(tmp_path, manifest):
    rows = [("11", 60, 64, 48, "why", "for it", "0", "CW"), ("13", 60, 64, 48, "why", "for it", "0", "CW")]
    trees.write_csv(tmp_path / "open" / "val.csv", trees.NEXT_COLUMNS, rows)
    report = build_questions("nextqa_open", tmp_path / "open", ["val"], tmp_path / "out", manifest)
    assert report.unknown_videos == {"11": 1, "13": 1}
    settings = BuildSettings(match_by_name=True)
    report = build_questions("nextqa_open", tmp_path / "open", ["val"], tmp_path / "out", manifest, settings)
    assert report.unknown_videos == {"13": 1}  # two videos are called so
    assert load_questions(tmp_path / "out")["val"]["video_id"] == ["0001/11", "13"]


def test_a_time_after_the_end_of_the_video_is_counted(tmp_path, manifest):
    texts = {"video_id": "0001/11"}
    items = [trees.star_item(1, **texts), trees.star_item(2, **texts, start=15.0, end=21.5)]
    trees.write_json(tmp_path / "star" / "STAR_val.json", items)
    report = build_questions("star", tmp_path / "star", ["val"], tmp_path / "out", manifest)
    assert report.late == ["Interaction_T1_2"] and report.readings["val"].kept == 2
    assert any("1 questions are about a time after the end of their video" in line for line in report.lines())
    settings = BuildSettings(drop_unanswerable=True)
    report = build_questions("star", tmp_path / "star", ["val"], tmp_path / "out", manifest, settings)
    assert report.readings["val"].reasons == {"span_beyond_video": 1}


def test_an_id_that_two_splits_have_is_kept_once(tmp_path):
    for split in ("train", "val"):
        trees.write_json(tmp_path / "star" / f"STAR_{split}.json", [trees.star_item(1)])
    report = build_questions("star", tmp_path / "star", ["train", "val"], tmp_path / "out")
    assert [report.readings[split].kept for split in ("train", "val")] == [1, 0]
    assert report.readings["val"].reasons == {"duplicate_id": 1}


def test_nothing_that_can_be_kept_is_an_error_that_says_why(tmp_path):
    trees.write_json(tmp_path / "star" / "STAR_val.json", [trees.star_item(1, answer="")])
    with pytest.raises(QuestionError, match=r"star: nothing can be kept of it: no_answer 1"):
        build_questions("star", tmp_path / "star", ["val"], tmp_path / "out")
    with pytest.raises(QuestionError, match=r"splits are \['val', 'val'\]"):
        build_questions("star", tmp_path / "star", ["val", "val"], tmp_path / "out")


def test_the_script_prints_what_came_of_every_entry(tmp_path, monkeypatch, capsys):
    text = json.dumps(trees.agqa_items())
    (tmp_path / "agqa").mkdir()
    (tmp_path / "agqa" / "test_balanced.txt").write_text(text + "\n}")
    flags = ["--benchmark", "agqa", "--data", tmp_path / "agqa", "--split", "test", "--out", tmp_path / "out"]

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["build_questions.py", *map(str, [*flags, *more])])
        return build_questions_script.main(), *capsys.readouterr()

    status, _, errors = run()
    assert status == 1 and len(errors.splitlines()) == 1
    assert errors.startswith(f"error: {tmp_path}/agqa/test_balanced.txt: line 2: there is more after the end")
    status, output, errors = run("--tolerant")
    assert status == 0, errors
    assert "| test | 5 | 2 | 2 | 1 |" in output
    assert "Mended: test_balanced.txt: } after the end." in output
    assert "test, test_balanced.txt entry ABCDE-2: unknown_type (imagine)" in output
