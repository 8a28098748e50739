"""Guidance rows joined to the frames of a user's own files."""

import datasets
import numpy as np
import pytest

from vidreason.errors import GuidanceError, VideoError
from vidreason.guidance import FEATURES, guidance_row
from vidreason.guidance.videos import find_video, guided_frames
from vidreason.video import write_video

FPS = 10.0


def row(video_id, index, time_s=None):
    key = {"video_id": video_id, "source": "tests@1", "split": "train", "frame_index": index}
    key |= {"timestamp_s": index / FPS if time_s is None else time_s, "frame_height": 48, "frame_width": 64}
    return guidance_row(key, [1, 0, 0, 0], (2, 2), producer="tests")


def table(*rows):
    return datasets.Dataset.from_list(list(rows), FEATURES)


@pytest.fixture
def videos(tmp_path):
    """Clips of 8 frames that grow brighter, 20 grey values a frame."""
    frames = np.repeat(np.arange(8, dtype=np.uint8) * 20 + 40, 48 * 64 * 3).reshape(8, 48, 64, 3)
    for name in ("tap/a.1", "tap/b"):
        write_video(tmp_path / f"{name}.mp4", frames, FPS)
    return tmp_path


def test_each_row_comes_with_its_frame_by_time(videos):
    rows = table(row("tap/b", 3), row("tap/a.1", 5), row("tap/a.1", 0), row("tap/b", 99, time_s=0.72))
    found = [
        (entry["video_id"], entry["frame_index"], round(frame.mean())) for entry, frame in guided_frames(rows, videos)
    ]
    expected = [("tap/b", 3, 100), ("tap/b", 99, 180), ("tap/a.1", 0, 40), ("tap/a.1", 5, 140)]
    assert [entry[:2] for entry in found] == [entry[:2] for entry in expected]
    assert np.abs(np.asarray([a[2] - b[2] for a, b in zip(found, expected, strict=True)])).max() <= 3


def test_frames_can_be_small(videos):
    ((_, frame),) = guided_frames(table(row("tap/b", 0)), videos, max_side_px=32)
    assert frame.shape == (24, 32, 3)


def test_videos_that_are_not_there_are_counted(videos, caplog):
    (videos / "tap" / "broken.mp4").write_bytes(b"no video")
    rows = table(row("tap/b", 0), row("tap/none", 0), row("tap/broken", 0), row("tap/a.1", 0, time_s=30.0))
    assert [entry["video_id"] for entry, _ in guided_frames(rows, videos)] == ["tap/b"]
    assert "3 guided videos are left out, such as tap/none" in caplog.text
    assert "no frame within 0.05 s of 30 s" in caplog.text


def test_a_folder_without_any_of_the_videos_is_an_error(tmp_path):
    with pytest.raises(GuidanceError, match="none of 1 guided videos, such as tap/b, can be read"):
        list(guided_frames(table(row("tap/b", 0)), tmp_path))


def test_a_table_of_several_splits_is_refused(videos):
    with pytest.raises(GuidanceError, match="expected one split of a table, got DatasetDict"):
        list(guided_frames(datasets.DatasetDict({"train": table(row("tap/b", 0))}), videos))


def test_a_file_is_a_videos_by_its_whole_name(videos):
    (videos / "tap" / "a.txt").write_text("")
    assert find_video(videos, "tap/a.1").name == "a.1.mp4"
    for video_id in ("tap/a", "tap/[ab]"):
        with pytest.raises(VideoError, match="missing"):
            find_video(videos, video_id)
    for outside in ("../tap/b", str(videos / "tap" / "b")):  # a table from elsewhere that names a file of this machine
        with pytest.raises(VideoError, match="not a path under the folder of videos"):
            find_video(videos / "tap", outside)
