"""Detection over a manifest: the right frames, what is known is not detected anew, and nothing ends the run."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import datasets
import numpy as np
import pytest
from fixtures.number_detector import number_of

from vidreason.annotation.detections import DetectArguments
from vidreason.annotation.job import AnnotationJob, VideoArguments, read_run
from vidreason.annotation.scale import AnnotateRank, MergeRanks, ScaleArguments, annotate_in_parts
from vidreason.detection import load_detections
from vidreason.detection.videos import FRAMES_AT_ONCE
from vidreason.errors import ConfigError, DetectionError
from vidreason.files import split_path
from vidreason.manifests.manifest import write_manifest
from vidreason.video.decode import read_frame_table

RATES = {"film": 24000 / 1001, "ntsc": 30000 / 1001}

PROGRAM = textwrap.dedent(
    """
    import json, sys
    sys.path.insert(0, sys.argv[2])
    import fixtures.number_detector
    from vidreason.annotation.detections import DetectArguments
    from vidreason.annotation.job import AnnotationJob, VideoArguments
    settings = json.loads(sys.argv[1])
    AnnotationJob(VideoArguments(**settings["args"]), DetectArguments(**settings["detect"])).run(progress=False)
    """
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory, odd_videos) -> Path:
    """Videos of 23.976, 29.97 and variable rate and one of 100 frames; between them one that is no video."""
    folder = tmp_path_factory.mktemp("odd")
    videos = folder / "videos"
    videos.mkdir()
    for name, rate in RATES.items():
        odd_videos.encode(videos / f"{name}.mp4", 30, pts=[round(n * 2500 / rate) for n in range(30)])
    steps = np.random.default_rng(3).integers(40, 400, 40)
    odd_videos.encode(videos / "variable.mp4", 40, pts=np.cumsum([0, *steps[:-1]]).tolist())
    (videos / "broken.mp4").write_bytes(b"no video at all")
    odd_videos.encode(videos / "long.mp4", 100)
    lengths = {"film": 30, "broken": 50, "ntsc": 30, "variable": 40, "long": 100}
    rows = [
        {
            **{"path": f"{name}.mp4", "label": "a", "group": "", "num_frames": length, "fps": 25.0},
            **{"duration_s": length / 25, "height": odd_videos.height, "width": odd_videos.width},
        }
        for name, length in lengths.items()
    ]
    write_manifest(folder / "manifest", {"train": rows}, ["a"], "odd@1", videos)
    return folder / "manifest"


def make_job(manifest: Path, out: Path, classes=("number", "nothing"), **settings) -> AnnotationJob:
    detect = {name: settings.pop(name) for name in list(settings) if name in DetectArguments.__dataclass_fields__}
    args = VideoArguments(manifest=str(manifest), out=str(out), **settings)
    return AnnotationJob(args, DetectArguments(detector="number", classes=list(classes), **detect))


def run(job: AnnotationJob) -> list[dict]:
    return load_detections(job.run(progress=False))["train"].to_list()


def table_bytes(folder: Path) -> bytes:
    return split_path(folder, "train").read_bytes()


def test_every_row_is_of_the_frame_that_it_names_in_videos_of_any_rate(manifest, tmp_path):
    rows = run(make_job(manifest, tmp_path / "out", ["nothing", "number"]))
    assert len(rows) == 2 * (30 + 30 + 40 + 100 + 1)
    for name, length in {"film": 30, "ntsc": 30, "variable": 40, "long": 100}.items():
        times_s = read_frame_table(manifest.parent / "videos" / f"{name}.mp4").times_s
        mine = [row for row in rows if row["video_id"] == name and row["class_text"] == "number"]
        assert [row["frame_index"] for row in mine] == list(range(length))  # the last frame too
        assert [number_of(row) for row in mine] == list(range(length))
        assert [row["timestamp_s"] for row in mine] == times_s.tolist()
    broken = [row for row in rows if row["video_id"] == "broken"]
    assert [(row["frame_index"], row["status"], row["raw_response"]) for row in broken] == [
        (0, "failed", "not_a_video")
    ] * 2
    assert {row["status"] for row in rows if row["class_text"] == "nothing"} == {"empty", "failed"}
    # rows by video in the manifest's order, and `datasets` reads what was written
    assert list(dict.fromkeys(row["video_id"] for row in rows)) == ["film", "broken", "ntsc", "variable", "long"]
    assert datasets.load_dataset(str(tmp_path / "out"))["train"].num_rows == len(rows)
    totals = read_run(tmp_path / "out").totals
    assert (totals["videos"], totals["videos_failed"], totals["frames"]) == (5, 1, 200)
    assert (totals["detections_made"], totals["detections_failed"]) == (400, 2) and totals["seconds"] > 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "every frame of every video" in card and "number reader" in card


def test_frames_at_a_rate_are_those_nearest_in_time(manifest, tmp_path):
    rows = [
        row for row in run(make_job(manifest, tmp_path / "out", ["number"], frames_per_second=5.0)) if row["boxes"]
    ]
    film = [row for row in rows if row["video_id"] == "film"]
    assert [row["frame_index"] for row in film] == [0, 5, 10, 14, 19, 24, 29]
    assert all(number_of(row) == row["frame_index"] for row in rows)


def test_two_more_classes_are_detected_alone_and_a_failure_again(manifest, tmp_path, monkeypatch):
    store = str(tmp_path / "found.sqlite")
    log = tmp_path / "log.txt"
    monkeypatch.setenv("NUMBER_DETECTOR_LOG", str(log))
    run(make_job(manifest, tmp_path / "first", ["number"], store=store))
    first = log.read_text().splitlines()
    assert len(first) == 200
    rows = run(make_job(manifest, tmp_path / "second", ["nothing", "number"], store=store))
    assert Counter(line.split()[-1] for line in log.read_text().splitlines()[200:]) == {"nothing": 200}
    totals = read_run(tmp_path / "second").totals
    assert (totals["detections_made"], totals["detections_reused"]) == (200, 200)
    # the same table as from nothing, and the same again from the store alone
    assert rows == run(make_job(manifest, tmp_path / "third", ["nothing", "number"]))
    run(make_job(manifest, tmp_path / "fourth", ["nothing", "number"], store=store))
    assert table_bytes(tmp_path / "second") == table_bytes(tmp_path / "fourth")
    assert read_run(tmp_path / "fourth").totals["detections_made"] == 0


def test_a_killed_run_goes_on_where_it_was(manifest, tmp_path, monkeypatch):
    expected = make_job(manifest, tmp_path / "left_alone").run(progress=False)
    job, log = make_job(manifest, tmp_path / "killed"), tmp_path / "log.txt"
    log.touch()
    monkeypatch.setenv("NUMBER_DETECTOR_LOG", str(log))
    settings = json.dumps({"args": asdict(job.args), "detect": asdict(job.producer)})
    tests = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "NUMBER_DETECTOR_SECONDS": "0.004"}
    for moment in (70, 190, 310):  # pairs after which it is killed: each in the middle of a video
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, settings, tests], env=environment)
        while len(log.read_text().splitlines()) < moment:
            assert process.poll() is None, "the run ended before it was to be killed"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not split_path(tmp_path / "killed", "train").exists()
    job.run(progress=False)
    assert table_bytes(tmp_path / "killed") == table_bytes(expected)
    # only what was under way at a kill was done twice, never what had been kept
    asked = Counter(log.read_text().splitlines())
    assert len(asked) == 400 and sum(asked.values()) - 400 <= 3 * 2 * FRAMES_AT_ONCE
    assert max(asked.values()) <= 2
    assert read_run(tmp_path / "killed").totals["detections_reused"] > 0


def test_parts_give_the_table_of_one_run_byte_for_byte(manifest, tmp_path):
    whole = make_job(manifest, tmp_path / "whole").run(progress=False)
    job = make_job(manifest, tmp_path / "parts")
    for rank in range(3):
        AnnotateRank(job)(rank=rank, world_size=3)
    MergeRanks(job, 3)()
    assert table_bytes(whole) == table_bytes(tmp_path / "parts")
    merged, single = read_run(tmp_path / "parts"), read_run(whole)
    counted = ("videos", "videos_failed", "frames", "detections_made", "detections_failed")
    assert all(merged.totals[name] == single.totals[name] for name in counted)
    assert merged.settings["classes"] == ["number", "nothing"] and merged.settings["threshold"] == 0.25


def test_datatrove_starts_the_parts(manifest, tmp_path):
    pytest.importorskip("datatrove")
    job = make_job(manifest, tmp_path / "parts", frames_per_second=2.0)
    annotate_in_parts(job, ScaleArguments(tasks=2, workers=1))
    whole = make_job(manifest, tmp_path / "whole", frames_per_second=2.0).run(progress=False)
    assert table_bytes(whole) == table_bytes(tmp_path / "parts")


def test_damage_within_a_video_fails_its_frames_alone(odd_videos, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    path = odd_videos.encode(videos / "damaged.avi", 12, codec="mjpeg", pixel_format="yuvj420p")
    odd_videos.blank_packet(path, 5)
    sizes = {"num_frames": 12, "fps": 25.0, "duration_s": 0.48, "height": 64, "width": 96}
    rows = [{"path": "damaged.avi", "label": "a", "group": "", **sizes}]
    write_manifest(tmp_path / "manifest", {"train": rows}, ["a"], "odd@1", videos)
    rows = run(make_job(tmp_path / "manifest", tmp_path / "out", ["number"]))
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["failed"] + ["ok"] * 6
    assert rows == run(make_job(tmp_path / "manifest", tmp_path / "out", ["number"]))  # and from the store


def test_classes_that_a_detector_does_not_know_are_rows_and_a_warning(manifest, tmp_path, caplog):
    rows = run(make_job(manifest, tmp_path / "out", ["number", "unicorn"], frames_per_second=1.0))
    assert {row["status"] for row in rows if row["class_text"] == "unicorn"} == {"unknown_class", "failed"}
    assert "number cannot find unicorn" in caplog.text
    assert read_run(tmp_path / "out").settings["unknown_classes"] == ["unicorn"]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"classes": []}, DetectionError, "no class texts"),
        ({"classes": ["a man, who runs"]}, DetectionError, "one concept"),
        ({"detector_options": ["size"]}, ConfigError, "expected NAME=VALUE"),
        ({"detector_options": ["size=4"]}, DetectionError, "cannot be made with"),
        ({"misses": 0.5}, ConfigError, "are of --detector truth"),
        ({"splits": ["test"]}, Exception, "test"),
    ],
)
def test_what_cannot_be_used_is_named(manifest, tmp_path, settings, error, words):
    with pytest.raises(error, match=words):
        run(make_job(manifest, tmp_path / "out", **settings))
