"""Which action's name goes into a prompt."""

import json
import shutil

import numpy as np
import pytest

from vidreason.annotation.frames import CaptionLabels, SegmentLabels
from vidreason.errors import ManifestError
from vidreason.manifests.captions import write_captions
from vidreason.manifests.manifest import manifest_row, write_manifest
from vidreason.manifests.segments import SegmentIndex, load_segments, write_segments
from vidreason.video import probe_video, write_video

SEGMENTS = [
    {"video_id": "desk/a", "start_frame": 0, "end_frame": 10, "start_s": 0.0, "end_s": 1.0, "label": "pick_up_chip"},
    {"video_id": "desk/a", "start_frame": 10, "end_frame": 20, "start_s": 1.0, "end_s": 2.0, "label": "Background"},
]


@pytest.fixture
def long_video(tmp_path):
    """A manifest of one video of three seconds."""
    frames = np.random.default_rng(0).integers(0, 255, (30, 32, 48, 3), dtype=np.uint8)
    folder = tmp_path / "assembly"
    write_video(folder / "desk/a.mp4", frames, 10)
    row = manifest_row("desk/a.mp4", "desk", probe_video(folder / "desk/a.mp4"))
    write_manifest(folder, {"train": [row]}, ["desk"], "assembly@1", folder)
    return folder


@pytest.fixture
def told(serve):
    """(server, list): the labels that a server was told, in no order; None where there was none."""
    labels = []

    def answer(payload):
        text = payload["messages"][1]["content"][0]["text"]
        found = text.partition('action in the video is "')[2].partition('"')[0]
        labels.append(found or None)
        return '{"key_r": [[1, 1]]}'

    return serve(answer=answer), labels


LLM = {"policy": "desktop_assembly", "frames_per_video": None}


def test_the_action_at_a_frames_time_is_told(long_video, told, make_job, run_job):
    write_segments(long_video, {"train": SEGMENTS}, ["pick_up_chip", "Background"])
    server, labels = told
    rows = run_job(make_job(server, manifest=str(long_video), llm=LLM))
    assert len(rows) == 30
    assert labels.count("pick up chip") == 10
    assert labels.count(None) == 20  # background, and the last second, of which nothing is known


def test_another_segmentation_asks_anew(long_video, told, make_job, run_job):
    write_segments(long_video, {"train": SEGMENTS}, ["pick_up_chip", "Background"])
    server, labels = told
    run_job(make_job(server, manifest=str(long_video), llm=LLM))
    write_segments(long_video, {"train": SEGMENTS[:1]}, ["pick_up_chip"])
    run_job(make_job(server, manifest=str(long_video), llm=LLM))
    assert len(server.log) == 30  # background and unknown are asked alike
    write_segments(long_video, {"train": [{**SEGMENTS[0], "label": "drop"}]}, ["drop"])
    run_job(make_job(server, manifest=str(long_video), llm=LLM))
    assert len(server.log) == 40 and labels.count("drop") == 10


def test_a_sentence_is_told_where_there_is_one(long_video, told, make_job, run_job):
    caption = {"split": "train", "caption": "Pushing cup", "template": "Pushing [something]", "placeholders": ["cup"]}
    write_captions(long_video, [{"video_id": "desk/a", **caption}])
    server, labels = told
    job = make_job(server, manifest=str(long_video), llm=LLM)
    run_job(job)
    assert set(labels) == {"Pushing cup"}
    run_job(make_job(server, manifest=str(long_video), llm=LLM, labels="class"))
    assert set(labels) == {"Pushing cup", "desk"}
    assert CaptionLabels(["desk"], {}).label_at({"video_id": "b", "label": 0}, 0.0) == "desk"


def test_labels_of_other_videos_are_not_used(long_video, told, make_job, run_job, caplog):
    others = [{**segment, "video_id": "else/b"} for segment in SEGMENTS]
    write_segments(long_video, {"train": others}, ["pick_up_chip", "Background"])
    server, labels = told
    run_job(make_job(server, manifest=str(long_video), llm=LLM))
    assert set(labels) == {"desk"} and "segments is about none of the videos" in caplog.text
    with pytest.raises(ManifestError, match="there are no segments of its videos"):
        run_job(make_job(server, manifest=str(long_video), llm=LLM, labels="segments"))


def test_without_labels_beside_the_manifest_asking_for_them_is_an_error(small_world, tmp_path, make_job):
    shutil.copytree(small_world, tmp_path / "world")
    with pytest.raises(ManifestError, match="there are no captions of its videos"):
        make_job(None, manifest=str(tmp_path / "world"), labels="captions").run(progress=False)


def test_a_description_holds_all_that_can_be_told(long_video):
    write_segments(long_video, {"train": SEGMENTS}, ["pick_up_chip", "Background"])
    labels = SegmentLabels(SegmentIndex(load_segments(long_video)))
    row = {"video_id": "desk/a"}
    assert [segment["label"] for segment in json.loads(labels.describe(row))] == ["pick_up_chip", "Background"]
    assert labels.label_at(row, 0.5) == "pick up chip"
    assert labels.label_at(row, 1.5) is None
