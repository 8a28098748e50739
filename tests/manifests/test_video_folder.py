"""From a tree of files to a manifest."""

import os

import numpy as np
import pytest

from vidreason.errors import ManifestError
from vidreason.manifests.layouts.known import scan_flat_videos
from vidreason.manifests.manifest import read_skipped
from vidreason.manifests.splits import SplitAssignment, split_by_fractions
from vidreason.manifests.video_folder import (
    build_video_folder,
    describe_ignored,
    scan_video_tree,
    summary_table,
)
from vidreason.video import VideoInfo, write_video
from vidreason.video.probe import probe_videos


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def clip(path, num_frames=6):
    frames = [np.full((32, 48, 3), 20 * number, dtype=np.uint8) for number in range(num_frames)]
    return write_video(path, frames, fps=10)


def test_a_tree_is_listed(tmp_path):
    touch(
        tmp_path, "walk/2.MP4", "walk/1.avi", "jump/deep/3.mkv", "jump/notes.txt", "walk/.hidden.mp4", ".git/a/b.mp4"
    )
    touch(tmp_path, "labels/readme.md", "stray.mp4", "walk/1.mp4")
    tree = scan_video_tree(tmp_path)
    assert tree.class_of == {"jump/deep/3.mkv": "jump", "walk/1.avi": "walk", "walk/2.MP4": "walk"}
    assert tree.ignored == ["jump/notes.txt", "labels/readme.md"]
    assert tree.folders_without_videos == ["labels"]
    assert tree.skipped == [
        {"path": "stray.mp4", "reason": "no_class_folder", "detail": "expected <class>/<video>"},
        {"path": "walk/1.mp4", "reason": "duplicate_id", "detail": "the same id as walk/1.avi"},
    ]


def test_the_first_folder_may_name_the_split(tmp_path):
    touch(tmp_path, "train/walk/1.mp4", "test/walk/1.mp4", "test/2.mp4")
    tree = scan_video_tree(tmp_path, split_dirs=True)
    assert [(video.path, video.class_name, video.split) for video in tree.videos] == [
        ("test/walk/1.mp4", "walk", "test"),
        ("train/walk/1.mp4", "walk", "train"),
    ]
    assert tree.skipped == [
        {"path": "test/2.mp4", "reason": "no_class_folder", "detail": "expected <split>/<class>/<video>"}
    ]


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "store", "1.mp4")
    (tmp_path / "tree" / "jump").mkdir(parents=True)
    (tmp_path / "tree" / "walk").symlink_to(tmp_path / "store")
    (tmp_path / "tree" / "jump" / "back").symlink_to(tmp_path / "tree")
    assert list(scan_video_tree(tmp_path / "tree").class_of) == ["walk/1.mp4"]


def test_suffixes_of_cameras_and_discs_are_known_and_others_named(tmp_path, caplog):
    known = ["1.MTS", "2.m2ts", "3.ts", "4.ogv", "5.VOB", "6.mkv", "7.3g2", "8.f4v", "9.mxf"]
    touch(tmp_path, *(f"walk/{name}" for name in known), "walk/notes.TXT")
    touch(tmp_path, "jump/1.DAV", "jump/2.dav", "jump/clip", "hop/deep/video", "talk/readme.md")
    tree = scan_video_tree(tmp_path)
    assert [video.path for video in tree.videos] == [f"walk/{name}" for name in known]
    assert describe_ignored(tree).splitlines() == [
        "ignored files: 6 (2 .dav, 2 without a suffix, 1 .md, 1 .txt); --more_suffixes takes suffixes as videos, and "
        "'none' files without one",
        # what would have been classes
        "folders without videos, no classes: hop (1 without a suffix), jump (2 .dav, 1 without a suffix), "
        "talk (1 .md)",
    ]
    assert "no classes: hop (1 without a suffix), jump (2 .dav" in caplog.text
    taken = scan_video_tree(tmp_path, suffixes=["none", "DAV", "*.ts"])
    assert list(taken.class_of) == ["hop/deep/video", "jump/1.DAV", "jump/2.dav", "jump/clip", "walk/3.ts"]
    assert taken.folders_without_videos == ["talk"]
    flat = scan_flat_videos(tmp_path / "jump", [".dav", "none"], "<video>.dav")
    assert flat.paths == ["1.DAV", "2.dav", "clip"] and not flat.ignored
    with pytest.raises(ManifestError, match=r"among 15 files \(.*2 \.dav.*\); suffixes are \['\.xyz'\]"):
        scan_video_tree(tmp_path, suffixes=["xyz"])


def test_names_that_are_not_utf_8_are_skips(tmp_path):
    root = tmp_path / "tree"
    clip(root / "walk" / "1.mp4")
    content = (root / "walk" / "1.mp4").read_bytes()
    for name in (b"walk/caf\xe9.mp4", b"walk/\xff\xfe.txt", b"sp\xe4t/2.mp4", "walk/Straße.mp4".encode()):
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    tree = scan_video_tree(root)
    assert tree.ignored == ["walk/\\xff\\xfe.txt"] and tree.folders_without_videos == ["sp\\xe4t"]
    assert "sp\\xe4t (1 name_not_utf8)" in describe_ignored(tree)
    assignment = split_by_fractions(tree.class_of, {"train": 1.0}, seed=0)
    report = build_video_folder(tree, tmp_path / "out", assignment, source="toy@1")
    assert report.manifest.split("train")["path"] == ["walk/1.mp4", "walk/Straße.mp4"]
    left_out = {entry["path"]: entry["reason"] for entry in read_skipped(tmp_path / "out")}
    assert left_out == {"sp\\xe4t/2.mp4": "name_not_utf8", "walk/caf\\xe9.mp4": "name_not_utf8"}
    assert scan_flat_videos(root / "walk", [".mp4"], "<video>.mp4").skipped[0]["path"] == "caf\\xe9.mp4"
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9")
    os.rename(root, odd)
    with pytest.raises(ManifestError, match=r"\\xe9: a manifest cannot hold this name"):
        build_video_folder(scan_video_tree(odd), tmp_path / "new", assignment, source="toy@1")
    assert not (tmp_path / "new").exists()


def test_trees_without_videos_are_named(tmp_path):
    with pytest.raises(ManifestError, match="nowhere: no such folder"):
        scan_video_tree(tmp_path / "nowhere")
    touch(tmp_path, "a/1.txt", "2.mp4")
    with pytest.raises(ManifestError, match="no video as <class>/<video> among 2 files"):
        scan_video_tree(tmp_path)


@pytest.fixture
def wild_tree(tmp_path, odd_videos):
    """Two classes of good clips, and one of each kind of bad file among them."""
    root = tmp_path / "tree"
    for name in ("walk", "jump"):
        for number in range(4):
            clip(root / name / f"{number}.mp4", num_frames=3 + number)
    (root / "walk" / "empty.mp4").write_bytes(b"")
    (root / "walk" / "text.mp4").write_text("hello\n" * 500)
    odd_videos.sound_only(root / "jump" / "sound.mp4")
    odd_videos.encode(root / "jump" / "large.mp4", num_frames=2, size=(480, 640))
    cut = odd_videos.encode(
        root / "jump" / "cut.mp4", num_frames=40, options={"bf": "0"}, container_options={"movflags": "+faststart"}
    )
    odd_videos.truncate(cut, 0.6)
    return root


def build(root, out, **kwargs):
    tree = scan_video_tree(root)
    assignment = split_by_fractions(tree.class_of, {"train": 0.5, "test": 0.5}, seed=0)
    return build_video_folder(tree, out, assignment, source="toy@1", max_pixels=10_000, **kwargs)


def test_bad_files_are_listed_and_left_out(wild_tree, tmp_path):
    report = build(wild_tree, tmp_path / "out", num_proc=2)
    reasons = {entry["path"]: entry["reason"] for entry in read_skipped(tmp_path / "out")}
    assert reasons == {
        "jump/large.mp4": "too_large",
        "jump/sound.mp4": "no_video_stream",
        "walk/empty.mp4": "empty_file",
        "walk/text.mp4": "not_a_video",
    }
    assert report.damaged == ["jump/cut.mp4"]
    rows = [row for split in report.manifest.splits.values() for row in split]
    counts = {row["path"]: row["num_frames"] for row in rows}
    assert 2 < counts.pop("jump/cut.mp4") < 38
    assert counts == {f"{name}/{number}.mp4": 3 + number for name in ("walk", "jump") for number in range(4)}
    assert {(row["height"], row["width"]) for row in rows} == {(32, 48), (64, 96)}
    table = summary_table(report)
    assert "left out: 4" in table and "used though damaged: 1" in table
    assert "1 videos end early or are damaged" in (tmp_path / "out" / "README.md").read_text()


def prober(path):
    """A probe that meets what nobody foresaw; for other processes, hence a function of the module."""
    if path == "walk/new.mov":
        raise ValueError("29 is not a valid Type")
    return VideoInfo(path, 48, 32, 6, 10.0, 0.6, 0, "h264")


@pytest.mark.unforeseen_errors
def test_an_error_that_nobody_foresaw_is_an_entry(tmp_path):
    for num_proc in (1, 2):
        probed = probe_videos(prober, ["walk/1.mp4", "walk/new.mov", "walk/2.mp4"], num_proc)
        assert [type(facts) for facts in probed.values()] == [VideoInfo, dict, VideoInfo]
        assert probed["walk/new.mov"] == {
            "path": "walk/new.mov",
            "reason": "unexpected_error",
            "detail": "ValueError: 29 is not a valid Type",
        }


def test_the_result_does_not_depend_on_the_number_of_processes(wild_tree, tmp_path):
    build(wild_tree, tmp_path / "one")
    build(wild_tree, tmp_path / "two", num_proc=2)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 5
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_class_of_unreadable_videos_is_an_error(tmp_path):
    clip(tmp_path / "tree" / "walk" / "1.mp4")
    touch(tmp_path / "tree", "jump/1.mp4", "jump/2.mp4")
    tree = scan_video_tree(tmp_path / "tree")
    with pytest.raises(ManifestError, match="class 'jump' has no video in any split"):
        build_video_folder(tree, tmp_path / "out", SplitAssignment(dict.fromkeys(tree.class_of, "train")), "toy@1")


def test_a_split_of_unreadable_videos_is_an_error(tmp_path):
    clip(tmp_path / "tree" / "walk" / "1.mp4")
    touch(tmp_path / "tree", "walk/2.mp4")
    tree = scan_video_tree(tmp_path / "tree")
    with pytest.raises(ManifestError, match="no videos in split 'test'"):
        build_video_folder(
            tree, tmp_path / "out", SplitAssignment({"walk/1.mp4": "train", "walk/2.mp4": "test"}), "toy@1"
        )
