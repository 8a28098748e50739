"""Which videos and frames policies choose: the paper's numbers, the same on every machine, any frame rate."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from vidreason.annotation.frames import POLICIES, FramePolicy, find_policy, frame_keys
from vidreason.errors import ConfigError
from vidreason.manifests.manifest import Manifest
from vidreason.video import decode_frames, write_video


def videos(sizes: dict[str, int]) -> list[dict]:
    """Rows of a manifest: as many videos of each class as asked for."""
    return [
        {"video_id": f"{name}/{number:03d}", "label": label}
        for label, (name, count) in enumerate(sizes.items())
        for number in range(count)
    ]


def ids(rows) -> list[str]:
    return [row["video_id"] for row in rows]


def test_the_paper_s_policies():
    assert POLICIES["ucf"] == FramePolicy(video_share=0.6, frames_per_video=10)
    assert POLICIES["ssv2"] == FramePolicy(video_share=0.1, frames_per_video=10)
    assert POLICIES["desktop_assembly"] == FramePolicy(video_share=1.0, frames_per_second=10)
    assert POLICIES["all_frames"] == FramePolicy()
    assert find_policy("ucf") is POLICIES["ucf"]
    with pytest.raises(ConfigError, match="no frame policy 'k400'; there are ucf, ssv2"):
        find_policy("k400")


@pytest.mark.parametrize(
    ("share", "size", "expected"),
    [
        (0.6, 10, 6),
        (0.6, 5, 3),
        (0.6, 7, 4),  # 4.2
        (0.6, 8, 5),  # 4.8
        (0.1, 15, 2),  # 1.5: a half goes up
        (0.1, 25, 3),  # 2.5, likewise
        (0.35, 10, 4),  # 3.5, though the float is a little less
        (0.1, 3, 1),  # at least one
        (1.0, 9, 9),
    ],
)
def test_each_class_gives_its_share(share, size, expected):
    chosen = FramePolicy(video_share=share).choose_videos(videos({"a": size, "b": 2 * size, "c": 1}))
    counts = Counter(row["label"] for row in chosen)
    assert counts[0] == expected
    assert counts[2] == 1


def test_the_choice_is_the_same_everywhere():
    rows = videos({"a": 20, "b": 11})
    policy = FramePolicy(video_share=0.3)
    chosen = policy.choose_videos(rows, seed=3)
    assert ids(chosen) == sorted(ids(chosen))  # in the order of the rows
    shuffled = random.Random(0).sample(rows, len(rows))
    assert set(ids(policy.choose_videos(shuffled, seed=3))) == set(ids(chosen))
    assert set(ids(policy.choose_videos(rows, seed=4))) != set(ids(chosen))


def test_the_choice_does_not_change_between_versions():
    """It would cost all who annotate their cache. The ids are the first by SHA-256 of "3\\n<video_id>"."""
    chosen = FramePolicy(video_share=0.3).choose_videos(videos({"a": 20, "b": 11}), seed=3)
    assert ids(chosen) == ["a/000", "a/004", "a/011", "a/015", "a/016", "a/018", "b/003", "b/007", "b/010"]


def test_the_choice_is_balanced_and_not_the_first_files():
    rows = videos({"a": 100})
    chosen = [int(row["video_id"][2:]) for row in FramePolicy(video_share=0.5).choose_videos(rows)]
    assert 30 < np.mean(chosen) < 70 and chosen != list(range(50))


def test_a_smaller_share_is_a_part_of_a_larger_one():
    rows = videos({"a": 20, "b": 11})
    shares = [set(ids(FramePolicy(video_share=share).choose_videos(rows))) for share in (0.1, 0.3, 0.6, 1.0)]
    assert all(small < large for small, large in itertools.pairwise(shares))


def test_an_added_video_pushes_at_most_one_out():
    rows = videos({"a": 20, "b": 11})
    policy = FramePolicy(video_share=0.4)
    before = set(ids(policy.choose_videos(rows)))
    for number in range(60):
        more = [*rows, {"video_id": f"a/new{number}", "label": 0}]
        after = set(ids(policy.choose_videos(more)))
        assert len(before - after) <= 1
        assert {name for name in before if name[0] == "b"} <= after


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (100, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]),
        (12, [0, 1, 3, 4, 5, 6, 7, 9, 10, 11]),
        (10, list(range(10))),
        (4, [0, 1, 2, 3]),  # each once
        (1, [0]),
    ],
)
def test_uniform_frames(num_frames, expected):
    policy = POLICIES["ucf"]
    assert policy.frame_indices(np.arange(num_frames) / 25) == expected
    assert policy.count({"num_frames": num_frames, "duration_s": num_frames / 25}) == len(expected)


@pytest.mark.parametrize(
    ("times_s", "fps", "expected"),
    [
        (np.arange(30) / 30, 10, list(range(0, 30, 3))),
        (np.arange(25) / 25, 10, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]),  # of two as near, the earlier
        (np.arange(8) / 8, 10, list(range(8))),  # a lower rate: each once
        (np.arange(8) / 8, 8, list(range(8))),
        ([0.0, 0.1, 0.2, 1.5, 1.6], 10, [0, 1, 2, 3, 4]),  # a gap is not filled up
        ([0.0, 0.01, 0.02, 0.5, 0.51, 0.52], 2, [0, 3]),
        ([5.0, 5.1, 5.2, 5.3], 5, [0, 2]),
        ([0.0], 10, [0]),
        ([0.0, 100.0], 0.001, [0]),
    ],
)
def test_frames_at_a_rate(times_s, fps, expected):
    assert FramePolicy(frames_per_second=fps).frame_indices(times_s) == expected


@pytest.mark.parametrize("native_fps", [8, 12.5, 24, 25, 29.97, 30, 60])
@pytest.mark.parametrize("num_frames", [1, 7, 26, 100, 251])
def test_the_expected_count_is_the_count_at_a_constant_rate(native_fps, num_frames):
    policy = POLICIES["desktop_assembly"]
    chosen = policy.frame_indices(np.arange(num_frames) / native_fps)
    expected = policy.count({"num_frames": num_frames, "duration_s": num_frames / native_fps})
    # a time past the last frame's, but within its display, is that frame's; it may have been taken already
    assert len(chosen) <= expected <= len(chosen) + 1


def test_every_frame_and_none():
    assert FramePolicy().frame_indices([0.0, 0.3, 0.4]) == [0, 1, 2]
    assert FramePolicy().count({"num_frames": 3, "duration_s": 1.0}) == 3
    with pytest.raises(ValueError, match="without frames"):
        FramePolicy().frame_indices([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"video_share": 0}, "video_share is 0"),
        ({"video_share": 1.2}, "video_share is 1.2"),
        ({"video_share": float("nan")}, "video_share is nan"),
        ({"frames_per_video": 0}, "frames_per_video is 0"),
        ({"frames_per_second": 0}, "frames_per_second is 0"),
        ({"frames_per_second": float("inf")}, "frames_per_second is inf"),
        ({"frames_per_video": 3, "frames_per_second": 2}, "not both"),
    ],
)
def test_bad_policies(settings, message):
    with pytest.raises(ConfigError, match=message):
        FramePolicy(**settings)


def test_changes():
    ucf = POLICIES["ucf"]
    assert ucf.changed() == ucf
    assert ucf.changed(video_share=1.0) == FramePolicy(1.0, 10)
    assert ucf.changed(frames_per_second=2.0) == FramePolicy(0.6, None, 2.0)
    assert POLICIES["desktop_assembly"].changed(frames_per_video=5) == FramePolicy(1.0, 5)
    with pytest.raises(ConfigError, match="not both"):
        ucf.changed(frames_per_video=5, frames_per_second=2.0)


def test_descriptions():
    assert POLICIES["ucf"].description == "10 uniform frames of 60 % of the videos of each class"
    assert POLICIES["desktop_assembly"].description == "10 frames per second of every video"
    assert POLICIES["all_frames"].description == "every frame of every video"


def test_frame_keys_name_frames_that_decode(tmp_path):
    frames = [np.full((32, 48, 3), 20 * number, dtype=np.uint8) for number in range(12)]
    write_video(tmp_path / "a.mp4", frames, fps=8)
    row = {"video_id": "a", "path": "a.mp4", "height": 32, "width": 48, "label": 0}
    manifest = Manifest(["x"], {}, tmp_path, "tests@1")
    keys = frame_keys(manifest, "train", row, FramePolicy(frames_per_second=4))
    assert [key["frame_index"] for key in keys] == [0, 2, 4, 6, 8, 10]
    assert {key["source"] for key in keys} == {"tests@1"} and {key["split"] for key in keys} == {"train"}
    decoded = decode_frames(tmp_path / "a.mp4", indices=[key["frame_index"] for key in keys])
    assert decoded.timestamps_s == [key["timestamp_s"] for key in keys]
