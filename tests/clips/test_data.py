"""Clips, guidance and their batches."""

import logging
import shutil

import pytest
import torch

from vidreason.clips import data
from vidreason.clips.data import IGNORED_LABEL, ClipSettings, GuidedClipCollator
from vidreason.errors import ConfigError, GuidanceError, ManifestError
from vidreason.guidance import MISSING
from vidreason.manifests.manifest import load_manifest


def test_a_clip_has_pixels_label_and_guidance_of_the_sampled_frames(make_clips):
    clip = make_clips()[0]
    assert clip["pixel_values"].shape == (4, 3, 32, 32)
    assert clip["labels"] == 0
    # frames 1, 3, 5 and 7 of 8 are sampled, and every third (2, 5) failed
    assert clip["guidance_status"] == ["ok", "ok", "failed", "ok"]
    assert clip["guidance"].sum(dim=1).tolist() == [1, 1, 0, 1]


def test_guidance_points_at_what_is_bright(make_clips):
    clips = make_clips()
    for index in range(len(clips)):
        clip = clips[index]
        cells = clip["pixel_values"].mean(dim=1).reshape(4, 4, 8, 4, 8).mean(dim=(2, 4)).flatten(1)
        guided = clip["guidance"].sum(dim=1) > 0
        assert torch.equal(cells.argmax(dim=1)[guided], clip["guidance"].argmax(dim=1)[guided])


def test_frames_without_a_row_are_missing_and_without_a_table_all_are(make_clips):
    assert make_clips(guided=False)[0]["guidance_status"] == [MISSING] * 4


def test_randomness_depends_on_seed_epoch_and_index_alone(make_clips):
    first, second = make_clips(augment=True, sampling="jittered"), make_clips(augment=True, sampling="jittered")
    torch.manual_seed(1)
    second[3]  # another order of access
    torch.manual_seed(2)
    assert torch.equal(first[5]["pixel_values"], second[5]["pixel_values"])
    second.set_epoch(1)
    assert not torch.equal(first[5]["pixel_values"], second[5]["pixel_values"])
    other_seed = make_clips(augment=True, sampling="jittered", seed=1)
    assert not torch.equal(first[5]["pixel_values"], other_seed[5]["pixel_values"])


def test_reading_a_clip_leaves_the_global_random_state_alone(make_clips):
    clips = make_clips(augment=True)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    clips[0]
    assert torch.equal(torch.rand(3), expected)


def test_workers_give_the_same_batches_and_see_the_epoch(make_clips):
    def batches(num_workers):
        clips = make_clips(augment=True, sampling="jittered")
        loader = torch.utils.data.DataLoader(
            clips,
            batch_size=4,
            collate_fn=GuidedClipCollator(),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )
        result = []
        for epoch in range(2):
            clips.set_epoch(epoch)
            result += [batch["pixel_values"] for batch in loader]
        return result

    for alone, with_workers in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone, with_workers)


def test_the_cache_changes_nothing_but_speed(make_clips, monkeypatch):
    plain = make_clips(augment=True, sampling="jittered")
    cached = make_clips(augment=True, sampling="jittered", cache=True)
    cached.fill_cache()
    monkeypatch.setattr("vidreason.clips.data.decode_frames", None)  # nothing is decoded any more
    expected = [cached[i] for i in range(3)]
    monkeypatch.undo()
    for index, clip in enumerate(expected):
        assert torch.equal(plain[index]["pixel_values"], clip["pixel_values"])
        assert plain[index]["guidance_status"] == clip["guidance_status"]


def test_a_mirrored_clip_gets_the_mirrored_label(make_clips):
    pairs = {"left_to_right": "right_to_left", "right_to_left": "left_to_right"}
    clips = make_clips(augment=True, mirrored_labels=pairs)
    plain = make_clips(augment=True)
    flipped = [clips[i]["labels"] != plain[i]["labels"] for i in range(len(clips))]
    assert any(flipped)
    assert not all(flipped)
    for index, was_flipped in enumerate(flipped):
        # the square stands further right in the first than in the last frame, just where the label says so
        columns = clips[index]["pixel_values"].mean(dim=(1, 2)).argmax(dim=1)
        assert (columns[0] < columns[-1]) == (clips[index]["labels"] == 0), was_flipped


def test_unknown_mirrored_labels_are_named(make_clips):
    with pytest.raises(ConfigError, match="jump"):
        make_clips(mirrored_labels={"left_to_right": "jump"})


def test_an_unreadable_video_is_skipped_counted_and_named_once(make_clips, tiny_world, tmp_path, caplog):
    shutil.copytree(tiny_world.manifest_folder, tmp_path / "manifest")
    (tmp_path / "manifest" / "videos" / "train" / "2.mp4").write_bytes(b"")
    clips = make_clips(manifest=load_manifest(tmp_path / "manifest"))
    with caplog.at_level(logging.WARNING):
        items = [clips[i] for i in (1, 2, 2)]
    assert [item["labels"] for item in items] == [1, IGNORED_LABEL, IGNORED_LABEL]
    assert list(clips.unreadable) == ["videos/train/2"]
    assert "empty file" in clips.unreadable["videos/train/2"]
    assert sum("videos/train/2.mp4" in message or "2.mp4" in message for message in caplog.messages) == 1
    batch = GuidedClipCollator()(items)
    assert batch["frame_mask"].all()  # some models cannot leave out padded frames
    assert not batch["guidance_mask"][1:].any()


@pytest.mark.unforeseen_errors
def test_an_error_that_nobody_foresaw_is_a_counted_skip(make_clips, monkeypatch):
    decode = data.decode_frames

    def fail(path, *args, **options):
        if path.name == "2.mp4":
            raise ValueError("29 is not a valid Type")
        return decode(path, *args, **options)

    monkeypatch.setattr(data, "decode_frames", fail)
    clips = make_clips()
    assert [clips[i]["labels"] for i in (1, 2)] == [1, IGNORED_LABEL]
    assert clips.unreadable == {
        "videos/train/2": "videos/train/2: unexpected error (ValueError: 29 is not a valid Type)"
    }


def test_an_unknown_split_is_named(make_clips):
    with pytest.raises(ManifestError, match="validation"):
        make_clips(split="validation", guided=False)


def clip_of(num_frames, tokens=16, statuses=None, weight=1.0):
    guidance = torch.zeros(num_frames, tokens)
    guidance[:, 0] = weight
    return {
        "pixel_values": torch.ones(num_frames, 3, 8, 8),
        "labels": 1,
        "guidance": guidance,
        "guidance_status": statuses or ["ok"] * num_frames,
    }


def test_clips_of_unequal_length_are_padded_at_the_end():
    batch = GuidedClipCollator()([clip_of(2), clip_of(4)])
    assert batch["pixel_values"].shape == (2, 4, 3, 8, 8)
    assert batch["frame_mask"].tolist() == [[True, True, False, False], [True] * 4]
    assert batch["pixel_values"][0, 2:].sum() == 0
    assert batch["guidance_mask"].tolist() == [[True, True, False, False], [True] * 4]


@pytest.mark.parametrize("status", ["empty", "refused", "truncated", "invalid", "failed", MISSING])
def test_a_status_other_than_ok_supervises_nothing(status):
    assert GuidedClipCollator()([clip_of(2, statuses=["ok", status])])["guidance_mask"].tolist() == [[True, False]]


def test_guidance_that_left_the_view_supervises_nothing():
    assert not GuidedClipCollator()([clip_of(2, weight=0.0)])["guidance_mask"].any()


def test_guidance_over_other_tokens_is_refused():
    with pytest.raises(GuidanceError, match=r"\[9, 16\]"):
        GuidedClipCollator()([clip_of(2), clip_of(2, tokens=9)])


@pytest.mark.parametrize(
    ("changes", "message"), [({"num_frames": 0}, "num_frames is 0"), ({"sampling": "dense"}, "'dense'")]
)
def test_clip_settings_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        ClipSettings(**{"num_frames": 4, **changes})
