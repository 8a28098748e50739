"""Windows of long videos: where they lie, and that frames, labels and guidance in them belong together."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vidreason.clips.data import IGNORED_LABEL
from vidreason.errors import ConfigError, ManifestError
from vidreason.segmentation.frame_labels import class_weights
from vidreason.segmentation.windows import WindowCollator, window_starts

# what tests/rs/segmentation/conftest.py draws
TEST_0 = [1] * 8 + [0] * 6 + [2] * 8 + [1] * 8
TRAIN_2 = [0] * 3 + [2] * 8 + [1] * 8 + [1] * 8


@pytest.mark.parametrize(
    ("num_frames", "window", "stride", "expected"),
    [
        (30, 12, 6, [0, 6, 12, 18]),
        (31, 12, 6, [0, 6, 12, 18, 19]),  # the last window ends with the video
        (12, 12, 6, [0]),
        (5, 12, 6, [0]),
        (13, 12, 12, [0, 1]),
        (1, 1, 1, [0]),
    ],
)
def test_windows_cover_a_video(num_frames, window, stride, expected):
    starts = window_starts(num_frames, window, stride)
    assert starts == expected
    covered = {frame for start in starts for frame in range(start, min(start + window, num_frames))}
    assert covered == set(range(num_frames))


@pytest.mark.parametrize("stride", [0, 13])
def test_a_stride_that_leaves_gaps_is_named(stride):
    with pytest.raises(ConfigError, match=f"{stride} frames apart, expected 1 to 12"):
        window_starts(30, 12, stride)


def test_frames_labels_and_guidance_belong_together(make_windows):
    windows = make_windows()
    assert [(window["video"], window["start"]) for window in windows] == [(0, 0), (0, 6), (0, 12), (0, 18), (1, 0)]
    for window in list(windows)[:4]:
        start = window["start"]
        assert window["labels"] == TEST_0[start : start + 12]
        assert window["pixel_values"].shape == (12, 3, 32, 32)
        statuses = ["empty" if label == 0 else "ok" for label in window["labels"]]
        assert window["guidance_status"] == statuses
        guided = window["guidance"].sum(dim=1) > 0
        assert guided.tolist() == [status == "ok" for status in statuses]
        # the square may lie on two cells; guidance names the one with its centre, which is among the brightest two
        cells = torch.nn.functional.adaptive_avg_pool2d(window["pixel_values"].amax(dim=1), 4).flatten(1)
        nearest = cells.topk(2, dim=1).indices
        for frame in torch.nonzero(guided).flatten().tolist():
            assert window["guidance"][frame].argmax() in nearest[frame]


def test_a_short_video_is_one_window_and_is_padded_in_a_batch(make_windows):
    windows = make_windows()
    assert windows[4]["pixel_values"].shape[0] == 8
    batch = WindowCollator()([windows[0], windows[4]])
    assert batch["frame_mask"].sum(dim=1).tolist() == [12, 8]
    assert batch["labels"].tolist() == [TEST_0[:12], [2] * 8 + [IGNORED_LABEL] * 4]
    assert batch["video"].tolist() == [0, 1]
    assert batch["start"].tolist() == [0, 0]
    assert not batch["guidance_mask"][1, 8:].any()


def test_frames_outside_every_segment_have_no_label_unless_one_is_named(make_windows, tiny_assembly):
    plain = make_windows("train")
    assert plain.videos[2].labels.tolist() == [IGNORED_LABEL] * 3 + TRAIN_2[3:]
    filled = tiny_assembly.labels(fill_label="rest").videos("train")
    assert filled[2].labels.tolist() == TRAIN_2


def test_another_rate_takes_other_frames_with_the_labels_of_their_times(make_windows, tiny_assembly):
    half = make_windows(labels=tiny_assembly.labels(fps=4.0))
    full = make_windows(window=24, stride=24)
    assert half.videos[0].labels.tolist() == TEST_0[::2]
    torch.testing.assert_close(half[0]["pixel_values"], full[0]["pixel_values"][::2], rtol=0, atol=0)
    double = tiny_assembly.labels(fps=16.0).videos("test")[0]
    assert double.labels.tolist() == [label for label in TEST_0 for _ in range(2)]


def test_training_windows_start_anew_every_epoch_and_the_same_for_one_seed(make_windows):
    windows = make_windows("train", is_training=True, seed=3)
    others = make_windows("train", is_training=True, seed=3)
    starts = []
    for epoch in range(40):
        windows.set_epoch(epoch)
        others.set_epoch(epoch)
        starts.append([windows[index]["start"] for index in range(len(windows))])
        assert starts[-1] == [others[index]["start"] for index in range(len(others))]
    reseeded = make_windows("train", is_training=True, seed=4)
    assert [reseeded[index]["start"] for index in range(len(reseeded))] != starts[0]
    lengths = [len(windows.videos[video].labels) for video, _ in windows.windows]
    drawn = np.array(starts)
    assert (drawn >= 0).all()
    assert (drawn + 12 <= np.array(lengths)).all()
    assert len(np.unique(drawn[:, 1])) >= 6  # within its share of 6 frames, at least
    covered = {start + step for start, (video, _) in zip(starts[0], windows.windows, strict=True) if video == 0
               for step in range(12)}  # fmt: skip
    assert len(covered) > 24  # of 34 frames: windows are spread over the video


def test_labels_follow_the_window_and_the_mirror(make_windows):
    pairs = {"move_right": "move_left", "move_left": "move_right"}
    windows = make_windows("train", is_training=True, augment=True, mirrored_labels=pairs)
    plain = make_windows("train", is_training=True, augment=True)
    swap = {0: 0, 1: 2, 2: 1, IGNORED_LABEL: IGNORED_LABEL}
    outcomes = set()
    for epoch in range(6):
        windows.set_epoch(epoch)
        plain.set_epoch(epoch)
        for index in range(len(windows)):
            one, other = windows[index], plain[index]
            assert one["start"] == other["start"]
            torch.testing.assert_close(one["pixel_values"], other["pixel_values"], rtol=0, atol=0)
            mirrored = [swap[label] for label in other["labels"]]
            assert one["labels"] in (mirrored, other["labels"])
            outcomes.add(one["labels"] == mirrored != other["labels"])
    assert outcomes == {True, False}


def test_videos_are_decoded_once_for_all_windows_and_data_sets(make_windows):
    videos = {}
    first, second = make_windows(video_cache=videos), make_windows(stride=3, video_cache=videos)
    first.fill_cache()
    second.fill_cache()
    assert len(videos) == 2
    assert {key[2] for key in videos} == {8.0}
    uncached = make_windows(cache=False)
    for one, other in zip(first, uncached, strict=True):
        torch.testing.assert_close(one["pixel_values"], other["pixel_values"], rtol=0, atol=0)


def test_a_video_that_cannot_be_read_counts_in_nothing(make_windows, tiny_assembly, monkeypatch):
    windows = make_windows(cache=False)
    broken = tiny_assembly.folder / "broken.mp4"
    broken.write_bytes(b"no video")
    monkeypatch.setattr(
        type(windows.labels.manifest), "video_path", lambda self, row: broken if row["path"] == "test/1.mp4" else
        self.video_root / row["path"],
    )  # fmt: skip
    batch = next(iter(DataLoader(windows, 5, collate_fn=WindowCollator())))
    assert (batch["labels"][4] == IGNORED_LABEL).all()
    assert (batch["labels"][:4] != IGNORED_LABEL).all()
    assert list(windows.unreadable) == ["test/1"]


def test_class_weights_have_a_mean_of_one_over_the_frames(tiny_assembly):
    videos = tiny_assembly.labels().videos("train")
    labels = np.concatenate([video.labels for video in videos])
    counts = np.array([(labels == label).sum() for label in range(4)])
    assert counts.tolist() == [15, 40, 32, 0]
    assert class_weights(videos, 4, "none") is None
    balanced = np.array(class_weights(videos, 4, "balanced"))
    np.testing.assert_allclose(balanced[:3] * counts[:3], 87 / 3)  # every label counts as much as any other
    assert balanced[3] == balanced[0]  # a label without frames has the weight of the rarest
    root = np.array(class_weights(videos, 4, "sqrt"))
    np.testing.assert_allclose(root[0] / root[1], (40 / 15) ** 0.5)
    np.testing.assert_allclose((root * counts).sum(), 87)
    with pytest.raises(ConfigError, match="class_weighting is 'focal'"):
        class_weights(videos, 4, "focal")


def test_settings_that_do_not_fit_the_actions_are_named(tiny_assembly):
    with pytest.raises(ConfigError, match="fps is 0"):
        tiny_assembly.labels(fps=0)
    with pytest.raises(ConfigError, match=r"unlabelled_as names \['pause'\]"):
        tiny_assembly.labels(fill_label="pause")
    with pytest.raises(ConfigError, match=r"background_labels names \['pause'\]"):
        tiny_assembly.labels(background=["rest", "pause"])
    with pytest.raises(ManifestError, match="no split 'validation'"):
        tiny_assembly.labels().videos("validation")
