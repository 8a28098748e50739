"""Packing clips: what a store holds, that a run can be broken off, and what a mistake looks like."""

import dataclasses
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset

from vidreason.clips import packing
from vidreason.clips.packed_store import PackedClip, open_packed, packed_features
from vidreason.clips.packing import PackRequest, PackSettings, pack_clips
from vidreason.errors import ConfigError, ManifestError
from vidreason.files import write_split
from vidreason.guidance import GuidanceIndex, guidance_row, load_guidance, write_guidance
from vidreason.manifests.manifest import load_manifest, manifest_row, write_manifest
from vidreason.video import decode_frames, probe_video, uniform_indices, write_video
from vidreason.video.jpeg import decode_jpegs

FPS, NUM_FRAMES = 8.0, 10


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Five training clips, one of them damaged, and two test clips; guidance on every second frame of most."""
    folder = tmp_path_factory.mktemp("pack_clips")
    rng = np.random.default_rng(0)
    rows, guidance = {}, {}
    for split, count in {"train": 5, "test": 2}.items():
        rows[split], guidance[split] = [], []
        for number in range(count):
            path = folder / "videos" / split / f"{number}.mp4"
            frames = np.repeat(np.repeat(rng.integers(0, 255, (NUM_FRAMES, 6, 8, 3), dtype=np.uint8), 16, 1), 16, 2)
            write_video(path, frames, FPS)
            rows[split].append(
                manifest_row(f"{split}/{number}.mp4", number % 2, probe_video(path), group=f"g{number}")
            )
            for frame in range(0, NUM_FRAMES, 2) if number else ():
                key = {"video_id": f"{split}/{number}", "source": "t@1", "split": split, "frame_index": frame}
                key |= {"timestamp_s": frame / FPS, "frame_height": 96, "frame_width": 128}
                weights = [0.0] * 6 if frame == 4 else rng.random(6).tolist()
                status = "failed" if frame == 4 else "ok"
                guidance[split].append(
                    guidance_row(
                        key, weights, (2, 3), "tests", status, rectangle=(0.1, 0.2, 0.7, 1), model=f"m{frame}"
                    )
                )
    write_manifest(folder / "manifest", rows, ["a", "b"], "t@1", folder / "videos")
    write_guidance(folder / "guidance", guidance)
    (folder / "videos" / "train" / "3.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def make_request(world):
    def make(splits=("train", "test"), guided=True, **settings) -> PackRequest:
        tables = dict.fromkeys(splits, str(world / "guidance")) if guided else {}
        return PackRequest(str(world / "manifest"), None, splits, tables, settings=PackSettings(**settings))

    return make


@pytest.fixture
def script(repository, world, tmp_path):
    """Runs the script and returns what it wrote, with the code that it ended with."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "datasets_scripts/pack_clips.py", "--manifest", str(world / "manifest")]
        command += ["--out", str(tmp_path / "store"), *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_store_is_a_data_set(script, world, tmp_path):
    done = script("--guidance", str(world / "guidance"), "--frames_per_clip", "4", "--short_side_px", "48")
    assert done.returncode == 0, done.stderr
    assert "train: 4 clips, 16 frames" in done.stdout
    assert "left out: 1 videos" in done.stdout
    store = tmp_path / "store"
    # a cache of its own: `datasets` takes folders of the same name for the same data set
    rows = load_dataset(str(store), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features == packed_features(["a", "b"])
    assert isinstance(rows.features["label"], ClassLabel)
    row = rows[1]
    assert (row["video_id"], row["clip_index"], row["label"], row["group"]) == ("train/1", 1, 1, "g1")
    assert (row["source"], row["num_frames"], row["frame_height"], row["frame_width"]) == ("t@1", NUM_FRAMES, 96, 128)
    assert row["frame_indices"] == uniform_indices(NUM_FRAMES, 4) == [1, 3, 6, 8]
    assert row["timestamps_s"] == [index / FPS for index in row["frame_indices"]]
    assert [picture.size for picture in row["frames"]] == [(64, 48)] * 4
    assert row["frames"][0].format == "JPEG"
    assert row["guidance"]["table"] == "guidance"
    assert row["guidance"]["status"] == ["missing", "missing", "ok", "ok"]
    assert row["guidance"]["producer"] == ["", "", "tests", "tests"]
    assert row["guidance"]["model"] == ["", "", "m6", "m8"]
    streamed = load_dataset(str(store), split="train", streaming=True)
    assert [row["video_id"] for row in streamed] == rows["video_id"][:] == ["train/0", "train/1", "train/2", "train/4"]
    skipped = [json.loads(line) for line in (store / "skipped.jsonl").read_text().splitlines()]
    assert [(entry["video_id"], entry["split"], entry["reason"]) for entry in skipped] == [
        ("train/3", "train", "not_a_video")
    ]
    texts = [content for name, content in files_of(store).items() if not name.endswith(".parquet")]
    assert not any(str(world).encode() in content for content in texts)  # nothing of this machine's folders
    assert "1 videos were left out" in (store / "README.md").read_text()


def test_packed_guidance_and_frames_are_those_of_the_table_and_the_video(make_request, world, tmp_path):
    pack_clips(make_request(frames_per_clip=0, quality=95, subsampling="4:4:4"), tmp_path / "store")
    store, manifest = open_packed(tmp_path / "store"), load_manifest(world / "manifest")
    for split in ("train", "test"):
        index = GuidanceIndex(load_guidance(world / "guidance")[split])
        rows = store.load(split).with_format("arrow")
        assert store.guidance(split).video_ids == index.video_ids - {"train/3"}
        for number in range(len(rows)):
            clip = PackedClip(rows[number])
            video = manifest.split(split)[clip.value("clip_index")]
            decoded = decode_frames(manifest.video_path(video))
            assert clip.frame_indices.tolist() == decoded.frame_indices
            assert clip.timestamps_s.tolist() == decoded.timestamps_s
            frames = list(range(NUM_FRAMES))
            expected, found = index.lookup(video["video_id"], decoded.timestamps_s), clip.guidance(frames)
            assert found.statuses == expected.statuses
            for mine, theirs in zip(found.maps, expected.maps, strict=True):
                assert (mine is None) == (theirs is None)
                if mine is not None:
                    assert (mine.grid, mine.rectangle) == (theirs.grid, theirs.rectangle)
                    assert np.array_equal(mine.weights, theirs.weights)
            pictures = decode_jpegs(clip.jpegs(frames), "test")
            assert np.abs(pictures.astype(int) - decoded.frames).mean() < 2


def test_guidance_can_differ_between_splits(script, world, tmp_path):
    done = script("--guidance", f"test={world / 'guidance'}", "--frames_per_clip", "2")
    assert done.returncode == 0, done.stderr
    store = open_packed(tmp_path / "store")
    assert store.guidance("train") is None
    assert store.guidance("test").table == "guidance"


def test_several_processes_write_what_one_writes(make_request, tmp_path):
    for num_proc in (1, 2):
        pack_clips(make_request(clips_per_file=2), tmp_path / str(num_proc), num_proc)
    one, two = (files_of(tmp_path / str(num_proc)) for num_proc in (1, 2))
    assert one == two
    assert sorted(name for name in one if "train" in name) == [
        f"data/train-{number:05d}-of-00003.parquet" for number in range(3)
    ]


def test_a_run_that_was_killed_goes_on(make_request, tmp_path, monkeypatch):
    request = make_request(clips_per_file=1)
    expected = files_of(pack(request, tmp_path / "whole"))
    calls = []
    real = packing.decode_frames

    def killed_at_the_third(path, *arguments, **options):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(path, *arguments, **options)

    monkeypatch.setattr(packing, "decode_frames", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        pack_clips(request, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    with pytest.raises(ConfigError, match="other settings"):
        pack_clips(make_request(clips_per_file=1, quality=50), tmp_path / "store")
    calls.clear()
    monkeypatch.setattr(
        packing, "decode_frames", lambda path, *rest, **named: (calls.append(path), real(path, *rest, **named))[1]
    )
    pack_clips(request, tmp_path / "store")
    assert len(calls) == 5  # the seven clips but for the two that were packed
    assert files_of(tmp_path / "store") == expected
    assert not (tmp_path / "store.partial").exists()


def pack(request: PackRequest, out: Path) -> Path:
    pack_clips(request, out)
    return out


def test_a_finished_store_is_left_as_it_is(make_request, tmp_path, monkeypatch):
    request = make_request(frames_per_clip=2)
    first = pack_clips(request, tmp_path / "store")
    monkeypatch.setattr(packing, "decode_frames", None)
    assert pack_clips(request, tmp_path / "store") == first
    monkeypatch.undo()
    with pytest.raises(
        ConfigError, match="packed clips with other settings; name another folder, or pass --overwrite"
    ):
        pack_clips(make_request(frames_per_clip=3), tmp_path / "store")
    pack_clips(make_request(frames_per_clip=3), tmp_path / "store", overwrite=True)
    # of a store that was made anew, `datasets` must not give the rows of the old one
    assert [len(frames) for frames in open_packed(tmp_path / "store").load("test")["frame_indices"]] == [3, 3]


def test_a_folder_with_something_else_is_not_touched(make_request, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "precious").write_text("1")
    with pytest.raises(ConfigError, match="holds something else"):
        pack_clips(make_request(), tmp_path / "store")
    assert (tmp_path / "store" / "precious").read_text() == "1"


def test_a_split_without_a_readable_video_is_named(world, tmp_path):
    info = probe_video(world / "videos" / "train" / "0.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    write_manifest(tmp_path / "manifest", {"train": [manifest_row("bad.mp4", "a", info)]}, ["a"], "bad@1", tmp_path)
    with pytest.raises(ConfigError, match="no video of split 'train' can be read: not_a_video"):
        pack_clips(PackRequest(str(tmp_path / "manifest"), None, ("train",)), tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.unforeseen_errors
def test_an_error_that_nobody_foresaw_leaves_one_video_out(make_request, tmp_path, monkeypatch):
    decode = packing.decode_frames

    def fail(path, *args, **options):
        if path.match("train/1.mp4"):
            raise ValueError(f"{path}: 29 is not a valid Type")
        return decode(path, *args, **options)

    monkeypatch.setattr(packing, "decode_frames", fail)
    report = pack_clips(make_request(), tmp_path / "store")
    assert report.clips == {"train": 3, "test": 2}
    assert {entry["path"]: (entry["reason"], entry["detail"]) for entry in report.skipped}["train/1.mp4"] == (
        "unexpected_error",
        "ValueError: train/1.mp4: 29 is not a valid Type",
    )

    def fill_the_disk(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing, "encode_jpeg", fill_the_disk)  # the next video would meet it too
    with pytest.raises(OSError, match="No space left"):
        pack_clips(make_request(), tmp_path / "other")


@pytest.mark.parametrize("kind", ["manifest", "guidance", "videos", "empty", "nowhere"])
def test_foreign_folders_are_named(world, tmp_path, kind):
    folder = world / kind if kind in ("manifest", "guidance", "videos") else tmp_path / kind
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(ConfigError, match="packed clips"):
        open_packed(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames_per_clip": -1}, "frames_per_clip is -1"),
        ({"short_side_px": 64, "long_side_px": 64}, "not both"),
        ({"short_side_px": 4}, "short_side_px is 4"),
        ({"quality": 100}, "quality is 100"),
        ({"subsampling": "4:1:1"}, "'4:1:1'"),
        ({"clips_per_file": 0}, "clips_per_file is 0"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ConfigError, match=message):
        PackSettings(**changes)


def test_requests_are_checked(make_request, world, tmp_path):
    with pytest.raises(ManifestError, match="validation"):
        pack_clips(make_request(("validation",)), tmp_path / "store")
    other = PackRequest(str(world / "manifest"), None, ("train",), {"test": str(world / "guidance")})
    with pytest.raises(ConfigError, match="split 'test', which is not packed"):
        pack_clips(other, tmp_path / "store")
    with pytest.raises(ConfigError, match="num_proc is 0"):
        pack_clips(make_request(), tmp_path / "store", num_proc=0)
    assert not list(tmp_path.iterdir())


def test_pixels_of_other_files_are_packed_where_a_flag_allows_it(world, tmp_path):
    folder = tmp_path / "manifest"
    shutil.copytree(world / "manifest", folder)
    manifest = load_manifest(folder)
    row = {**manifest.split("test")[0], "path": str(world / "videos" / "test" / "0.mp4")}
    write_split(folder, "test", [row], manifest.split("test").features)
    (tmp_path / "videos").mkdir()
    request = PackRequest(str(folder), str(tmp_path / "videos"), ("test",))
    with pytest.raises(ManifestError, match=r"0\.mp4' is not a POSIX path under the folder of videos"):
        pack_clips(request, tmp_path / "store")
    assert not list(tmp_path.glob("store*"))
    report = pack_clips(dataclasses.replace(request, allow_outside_paths=True), tmp_path / "store")
    assert report.clips == {"test": 1}


def test_a_mistake_ends_with_one_line(script):
    done = script("--guidance", "nowhere/a", "nowhere/b")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: --guidance names ['nowhere/a', 'nowhere/b']")


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (120, 160)),
        ({"short_side_px": 60}, (60, 80)),
        ({"long_side_px": 80}, (60, 80)),
        ({"short_side_px": 500}, (120, 160)),
    ],
)
def test_frames_are_scaled_down_and_never_up(settings, size):
    assert PackSettings(**settings).frame_size(120, 160) == size


@pytest.mark.parametrize("num_samples", [1, 2, 4, 8])
@pytest.mark.parametrize("factor", [1, 3, 5])
def test_an_odd_multiple_keeps_the_uniformly_sampled_frames(num_samples, factor):
    for num_frames in (50, 97, 240):
        packed = PackSettings(frames_per_clip=num_samples * factor).frame_indices(num_frames)
        picked = [packed[position] for position in uniform_indices(len(packed), num_samples)]
        assert picked == uniform_indices(num_frames, num_samples)
