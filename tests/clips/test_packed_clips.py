"""Packed clips give the batches that video files give, by index and streamed."""

import io
import logging
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from accelerate.data_loader import IterableDatasetShard
from datasets import Dataset, List
from datasets import Image as ImageFeature
from fixtures.detected_world import detection_rows
from PIL import Image
from torch.utils.data import DataLoader

from vidreason.clips.data import IGNORED_LABEL, ClipSettings, GuidedClipCollator
from vidreason.clips.object_maps import ObjectMaps
from vidreason.clips.packed import PackedClips, PackedStream, buffered_order
from vidreason.clips.packed_store import open_packed
from vidreason.clips.packing import PackRequest, PackSettings, pack_clips
from vidreason.clips.transforms import AugmentationConfig, evaluation_transform, training_transform
from vidreason.detection import FEATURES, DetectionIndex
from vidreason.errors import ConfigError
from vidreason.files import write_split
from vidreason.guidance import MISSING
from vidreason.rs.evidence import draw_view
from vidreason.rs.second_look import SecondLooks, attended_rectangles


@pytest.fixture(scope="session")
def store_folder(tiny_world, tmp_path_factory):
    """All eight frames of each clip of the tiny world at their size, 3 clips to a file, with guidance."""
    folder = tmp_path_factory.mktemp("packed") / "store"
    settings = PackSettings(frames_per_clip=0, quality=95, subsampling="4:4:4", clips_per_file=3)
    guidance = dict.fromkeys(("train", "test"), str(tiny_world.guidance_folder))
    pack_clips(
        PackRequest(str(tiny_world.manifest_folder), None, ("train", "test"), guidance, settings=settings), folder
    )
    return folder


@pytest.fixture
def make_packed(store_folder, processor):
    """Builds data sets over the packed tiny world."""

    def make(kind=PackedClips, split="train", augment=False, sampling="uniform", store=None, guided=True, **changes):
        transform = (
            training_transform(processor, (4, 4), AugmentationConfig(mirror_probability=0.5))
            if augment
            else evaluation_transform(processor, (4, 4))
        )
        store = store or open_packed(store_folder)
        settings = ClipSettings(changes.pop("num_frames", 4), sampling, cache=changes.pop("cache", False))
        changes.setdefault("extras", draw_view)
        return kind(store, split, transform, settings, store.guidance(split) if guided else None, **changes)

    return make


def replaced(folder, tmp_path, jpeg: bytes):
    """A copy of a store in which the second frame of the first clip is other bytes."""
    rows = open_packed(folder).load("train").cast_column("frames", List(ImageFeature(decode=False))).to_list()
    rows[0]["frames"][1]["bytes"] = jpeg
    store = open_packed(folder)
    write_split(tmp_path / "damaged", "train", rows, store.features)
    return open_packed(tmp_path / "damaged")


@pytest.mark.parametrize("sampling", ["uniform", "jittered"])
@pytest.mark.parametrize("augment", [False, True])
def test_packed_clips_are_the_clips_of_the_videos(make_clips, make_packed, augment, sampling):
    videos, packed = (make(augment=augment, sampling=sampling) for make in (make_clips, make_packed))
    assert len(packed) == len(videos)
    for epoch in (0, 3):
        videos.set_epoch(epoch)
        packed.set_epoch(epoch)
        for index in range(len(videos)):
            expected, clip = videos[index], packed[index]
            assert clip["labels"] == expected["labels"]
            assert clip["guidance_status"] == expected["guidance_status"]
            assert torch.equal(clip["guidance"], expected["guidance"])
            difference = (clip["pixel_values"] - expected["pixel_values"]).abs()
            assert clip["pixel_values"].shape == expected["pixel_values"].shape
            assert difference.mean() < 0.02  # of 2: JPEG of quality 95
            assert difference.max() < 0.25


def test_another_table_can_be_joined_by_time(make_packed, tiny_world, make_clips):
    packed = make_packed(guided=False)
    assert packed[0]["guidance_status"] == [MISSING] * 4
    packed.guidance = tiny_world.index("train")
    assert torch.equal(packed[0]["guidance"], make_clips()[0]["guidance"])


def test_the_cache_changes_nothing_but_speed(make_packed, monkeypatch):
    plain, cached = (make_packed(augment=True, sampling="jittered", cache=cache) for cache in (False, True))
    cached.fill_cache()
    expected = [plain[index] for index in range(3)]
    monkeypatch.setattr("vidreason.clips.packed.decode_jpegs", None)  # nothing is decoded any more
    for index, clip in enumerate(expected):
        assert torch.equal(cached[index]["pixel_values"], clip["pixel_values"])


def _other_size() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["by index", "kept in memory", "streamed"])
@pytest.mark.parametrize("jpeg", [b"", b"not a picture", _other_size()], ids=["empty", "foreign", "other size"])
def test_a_damaged_picture_is_a_counted_skip(make_packed, store_folder, tmp_path, caplog, jpeg, kind):
    kept, streamed = kind == "kept in memory", kind == "streamed"
    store = replaced(store_folder, tmp_path, jpeg)
    clips = make_packed(PackedStream if streamed else PackedClips, store=store, cache=kept)
    with caplog.at_level(logging.WARNING):
        if kept:
            clips.fill_cache()
        for _ in range(2):
            items = list(clips) if streamed else [clips[index] for index in range(len(clips))]
            batch = GuidedClipCollator()(items)
    assert batch["labels"].tolist() == [IGNORED_LABEL, 1, 0, 1, 0, 1, 0, 1]
    assert list(clips.unreadable) == ["videos/train/0"]
    assert "damaged JPEG" in clips.unreadable["videos/train/0"]
    assert sum("videos/train/0" in message for message in caplog.messages) == 1


def batches(stream, num_workers=0, batch_size=2):
    loader = DataLoader(stream, batch_size, collate_fn=GuidedClipCollator(), num_workers=num_workers)
    return list(loader)


def test_a_stream_gives_the_clips_of_the_index(make_packed):
    stream, packed = (make_packed(kind, augment=True, sampling="jittered") for kind in (PackedStream, PackedClips))
    assert len(stream) == len(packed)
    for index, clip in enumerate(stream):
        assert torch.equal(clip["pixel_values"], packed[index]["pixel_values"])
        assert dict(clip)["labels"] == packed[index]["labels"]


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_workers_give_every_clip_once_and_in_one_order(make_packed, block_size):
    def stream():
        return make_packed(
            PackedStream, augment=True, sampling="jittered", shuffle_buffer=4, block_size=block_size, seed=5
        )

    for epoch in range(2):
        results = {}
        for num_workers in (0, 1, 2):
            clips = stream()
            clips.set_epoch(epoch)
            got = batches(clips, num_workers, batch_size=block_size)
            assert len(got) == -(-8 // block_size)
            results[num_workers] = torch.cat([batch["pixel_values"] for batch in got])
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])


def seen(stream) -> list[bytes]:
    return [clip["pixel_values"].numpy().tobytes() for clip in stream]


def test_the_order_depends_on_seed_and_epoch_alone(make_packed):
    def order(seed, epoch):
        stream = make_packed(PackedStream, shuffle_buffer=4, seed=seed)
        stream.set_epoch(epoch)
        return seen(stream)

    in_order = seen(make_packed(PackedStream))
    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(1, 0)), tuple(order(1, 1)), tuple(order(2, 0)), tuple(in_order)}) == 4
    assert all(Counter(order(1, epoch)) == Counter(in_order) for epoch in range(3))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_share_the_clips(make_packed, num_workers):
    """As accelerate cuts a stream up: each process has a part of each step's clips, and decodes no others."""
    shares = []
    for process in range(2):
        stream = make_packed(PackedStream, shuffle_buffer=4, block_size=4)
        shard = IterableDatasetShard(stream, batch_size=2, num_processes=2, process_index=process)
        shares.append(torch.cat([batch["pixel_values"] for batch in batches(shard, num_workers)]))
    assert [len(share) for share in shares] == [4, 4]
    got = Counter(clip.numpy().tobytes() for share in shares for clip in share)
    assert got == Counter(seen(make_packed(PackedStream)))


def test_a_clip_of_another_process_is_not_decoded(make_packed, monkeypatch):
    decoded = []
    stream = make_packed(PackedStream)
    monkeypatch.setattr(stream.reader, "read", lambda entry, picked: decoded.append(entry.video_id))
    clips = list(stream)
    assert decoded == []
    with pytest.raises(AttributeError):  # the stand-in gives no frames
        clips[3]["labels"]
    assert decoded == ["videos/train/3"]


@pytest.mark.parametrize(("count", "size"), [(0, 5), (1, 1), (100, 1), (100, 10), (100, 1000)])
def test_a_buffer_gives_every_number_once_and_none_too_early(count, size):
    order = buffered_order(count, size, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(count))
    assert (order <= np.arange(count) + size - 1).all()
    if size == 1:
        assert order.tolist() == list(range(count))
    if size > 1 and count > 1:
        assert order.tolist() != list(range(count))


def test_too_few_packed_frames_are_named(tiny_world, make_packed, tmp_path):
    settings = PackSettings(frames_per_clip=3)
    pack_clips(PackRequest(str(tiny_world.manifest_folder), None, ("train",), settings=settings), tmp_path / "few")
    store = open_packed(tmp_path / "few")
    assert store.guidance("train") is None
    with pytest.raises(ConfigError, match="3 of the 8 frames of videos/train/0, and 4 are to be sampled"):
        make_packed(store=store)[0]
    # but a video that has no more frames repeats them, as it does when it is read from its file
    assert make_packed(num_frames=16)[0]["pixel_values"].shape[0] == 16


@pytest.mark.parametrize("kind", [PackedClips, PackedStream])
def test_an_unknown_split_is_named(make_packed, store_folder, processor, kind):
    store = open_packed(store_folder)
    with pytest.raises(ConfigError, match="no split 'validation'; there are \\['test', 'train'\\]"):
        kind(store, "validation", evaluation_transform(processor, (4, 4)), ClipSettings(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shuffle_buffer": -1}, "shuffle_buffer is -1"),
        ({"block_size": 0}, "block_size 0"),
        ({"cache": True}, "memory"),
    ],
)
def test_stream_settings_are_checked(make_packed, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_packed(PackedStream, **changes)


def test_a_file_that_is_cut_off_is_named(make_packed, store_folder, tmp_path):
    shutil.copytree(store_folder, tmp_path / "cut")
    file = sorted((tmp_path / "cut" / "data").glob("train-*"))[1]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"train-00001-of-00003\.parquet: not a readable Parquet file"):
        make_packed(PackedStream, store=open_packed(tmp_path / "cut"), guided=False)


def test_a_second_look_is_at_the_packed_frames(make_packed, make_clips):
    whole = make_clips()[0]
    # where the square is in the first clip
    rectangles = attended_rectangles(whole["guidance"].expand(8, -1, -1), (4, 4)).numpy()
    ours, theirs = (SecondLooks(clips, rectangles)[0] for clips in (make_packed(), make_clips()))
    assert ours["labels"] == theirs["labels"]
    spread = theirs["pixel_values"].std()
    assert (ours["pixel_values"] - theirs["pixel_values"]).abs().mean() < 0.05 * spread  # JPEG
    assert (whole["pixel_values"] - theirs["pixel_values"]).abs().mean() > 0.2 * spread


@pytest.mark.parametrize("kind", [PackedClips, PackedStream])
def test_packed_clips_are_joined_to_detections_by_the_times_of_their_frames(make_clips, make_packed, kind):
    """As the videos are, also where not every frame was detected."""
    ids = [row["video_id"] for row in make_clips().rows]
    rows = [
        row
        for video_id in ids
        for row in detection_rows(video_id, [i / 8 for i in range(8)])
        if row["frame_index"] % 4 != 3
    ]
    index = DetectionIndex(Dataset.from_list(rows, features=FEATURES), ["ball"])
    objects = ObjectMaps(index, (8, 8))
    of_videos = make_clips(objects=objects)
    packed = make_packed(kind, objects=objects)
    for number, clip in enumerate(packed if kind is PackedStream else map(packed.__getitem__, range(len(packed)))):
        expected = of_videos[number]
        assert torch.equal(clip["object_maps"], expected["object_maps"])
        assert clip["maps_missing"] == expected["maps_missing"] == 0.5  # frames 3 and 7 of 1, 3, 5 and 7
        assert clip["object_maps"][0].sum() > 0 and clip["object_maps"][1].sum() == 0
