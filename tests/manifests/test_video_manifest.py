"""Manifests: what is written, what is refused, and what loading says when something has gone."""

import json
import logging

import pytest
from datasets import Features, Value, load_dataset

from vidreason.errors import ManifestError
from vidreason.files import write_split
from vidreason.manifests.manifest import (
    load_manifest,
    manifest_features,
    manifest_row,
    read_skipped,
    write_manifest,
)
from vidreason.video import VideoInfo

INFO = VideoInfo("", width=64, height=48, num_frames=30, fps=25.0, duration_s=1.2, rotation_deg=0, codec="h264")
CLASSES = ["open", "close"]


def row(path, label, group=""):
    return manifest_row(path, label, INFO, group)


def rows():
    return {
        "train": [row("open/1.mp4", "open", "anna"), row("close/2.b.avi", "close", "anna")],
        "test": [row("open/3.mp4", 0, "ben"), row("close/4.mp4", 1, "ben")],
    }


def write(tmp_path, rows_by_split=None, **kwargs):
    root = tmp_path / "clips"
    root.mkdir(exist_ok=True)
    arguments = {"class_names": CLASSES, "source": "toy@1", "video_root": root, **kwargs}
    return write_manifest(tmp_path / "manifest", rows() if rows_by_split is None else rows_by_split, **arguments)


def test_a_manifest_comes_back(tmp_path):
    skipped = [{"path": "open/5.mp4", "reason": "empty_file", "detail": ""}]
    written = write(tmp_path, skipped=skipped)
    loaded = load_manifest(tmp_path / "manifest")
    for manifest in (written, loaded):
        assert (manifest.class_names, manifest.source) == (CLASSES, "toy@1")
        assert set(manifest.splits) == {"train", "test"}
        assert manifest.splits["train"][1] == {
            "video_id": "close/2.b",
            "path": "close/2.b.avi",
            "label": 1,
            "group": "anna",
            "source": "toy@1",
            "num_frames": 30,
            "fps": 25.0,
            "duration_s": pytest.approx(1.2),
            "height": 48,
            "width": 64,
        }
        assert manifest.video_path(manifest.split("test")[0]) == tmp_path / "clips" / "open" / "3.mp4"
    assert read_skipped(tmp_path / "manifest") == skipped


def test_load_dataset_gives_the_label_names(tmp_path):
    write(tmp_path)
    splits = load_dataset(str(tmp_path / "manifest"), cache_dir=str(tmp_path / "cache"))
    assert splits["test"].features["label"].names == CLASSES
    assert splits["test"]["video_id"] == ["open/3", "close/4"]
    assert splits["train"].features == load_manifest(tmp_path / "manifest").splits["train"].features


def test_the_card_tells_a_person_what_is_there(tmp_path):
    skipped = [{"path": f"open/{i}.mp4", "reason": "empty_file", "detail": ""} for i in range(3)]
    write(tmp_path, skipped=skipped, description="Doors of two people.")
    card = (tmp_path / "manifest" / "README.md").read_text()
    for text in [
        "# Videos of toy@1",
        "Doors of two people.",
        "| train | 2 | 60 | 0.0 | 1 |",
        "| 1 | close | 1 | 1 |",
        "No group is in more than one split.",
        "3 files were left out",
        "| empty_file | 3 |",
    ]:
        assert text in card
    assert (tmp_path / "manifest" / "skipped.jsonl").read_text().count("\n") == 3


def test_the_card_admits_groups_on_both_sides(tmp_path):
    splits = rows()
    splits["test"].append(row("open/9.mp4", "open", "anna"))
    write(tmp_path, splits)
    assert "**1 of 2 groups are in more than one split**: anna." in (tmp_path / "manifest" / "README.md").read_text()


def test_a_class_missing_from_one_split_is_said_but_not_fatal(tmp_path, caplog):
    splits = rows()
    del splits["test"][1]
    with caplog.at_level(logging.WARNING):
        write(tmp_path, splits)
    assert "class 'close' has no video in test" in caplog.text
    assert "**Split test has no video of 1 classes**: close." in (tmp_path / "manifest" / "README.md").read_text()


def test_videos_inside_the_folder_move_with_it(tmp_path):
    root = tmp_path / "manifest" / "videos"
    root.mkdir(parents=True)
    write(tmp_path, video_root=root)
    assert json.loads((tmp_path / "manifest" / "manifest.json").read_text())["video_root"] == "videos"
    (tmp_path / "manifest").rename(tmp_path / "moved")
    assert load_manifest(tmp_path / "moved").video_root == tmp_path / "moved" / "videos"


def test_missing_videos_are_found_when_asked_for(tmp_path):
    manifest = write(tmp_path)
    (tmp_path / "clips" / "open").mkdir()
    (tmp_path / "clips" / "open" / "1.mp4").write_bytes(b"x")
    assert sorted(manifest.missing_videos()) == ["close/2.b.avi", "close/4.mp4", "open/3.mp4"]


def test_a_split_of_an_older_manifest_does_not_stay(tmp_path):
    write(tmp_path, {**rows(), "validation": [row("open/7.mp4", "open")]})
    assert set(write(tmp_path).splits) == {"train", "test"}


def changed(**changes):
    splits = rows()
    splits["test"][0] = {**splits["test"][0], **changes}
    return splits


BAD_ROWS = {
    "no splits": ({}, r"no videos in any split"),
    "empty split": ({**rows(), "validation": []}, r"no videos in split 'validation'"),
    "unknown label": (
        changed(label="push"),
        r"open/3\.mp4 has the unknown label 'push'; classes are \['open', 'close'\]",
    ),
    "label id out of range": (changed(label=2), r"unknown label 2"),
    "negative label": (changed(label=-1), r"unknown label -1"),
    "absolute path": (changed(path="/data/3.mp4"), r"'/data/3\.mp4' is not a POSIX path under the video root"),
    "path out of the root": (changed(path="../3.mp4"), r"'\.\./3\.mp4' is not a POSIX path under"),
    "backslashes": (changed(path="open\\3.mp4"), r"is not a POSIX path"),
    "no path": (changed(path=""), r"a row has no path"),
    "same id, other suffix": (
        {**rows(), "test": [row("open/1.avi", 0), row("close/4.mp4", 1)]},
        r"'open/1' stands for both open/1\.mp4 \(train\) and open/1\.avi \(test\)",
    ),
    "same video in two splits": (
        {**rows(), "test": [row("open/1.mp4", 0), row("close/4.mp4", 1)]},
        r"open/1\.mp4 \(train\) and open/1\.mp4 \(test\)",
    ),
    "same video twice in a split": (
        {"train": [row("open/1.mp4", 0), row("close/4.mp4", 1), row("open/1.mp4", 0)]},
        r"open/1\.mp4 \(train\) and open/1\.mp4 \(train\)",
    ),
    "class without videos": ({"train": [row("open/1.mp4", 0)]}, r"class 'close' has no video in any split"),
}


@pytest.mark.parametrize("splits, message", BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_bad_rows_are_named_before_anything_is_written(tmp_path, splits, message):
    with pytest.raises(ManifestError, match=message):
        write(tmp_path, splits)
    assert not (tmp_path / "manifest").exists()


def test_a_row_without_a_field_is_named(tmp_path):
    splits = rows()
    del splits["train"][0]["fps"], splits["train"][0]["width"]
    with pytest.raises(ManifestError, match=r"split 'train': open/1\.mp4 has no fps, width"):
        write(tmp_path, splits)


OUTSIDE = ["/etc/x.mp4", "../x.mp4", "open/../../x.mp4", "open/..", "open\\..\\x.mp4", "", "a\0.mp4"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_manifest_from_elsewhere_does_not_leave_its_folder(tmp_path, path):
    manifest = write(tmp_path)
    folder = tmp_path / "manifest"
    table = manifest.split("test").to_list()
    table[1]["path"] = path
    write_split(folder, "test", table, manifest_features(CLASSES))
    with pytest.raises(ManifestError, match=r"manifest, split 'test': .* is not a POSIX path under") as caught:
        load_manifest(folder)
    assert repr(path) in str(caught.value) and "\n" not in str(caught.value)
    assert load_manifest(folder, allow_outside_paths=True).split("test")[1]["path"] == path
    table[1]["path"] = None
    write_split(folder, "test", table, manifest_features(CLASSES))
    with pytest.raises(ManifestError, match="split 'test': 1 rows have no path"):
        load_manifest(folder, allow_outside_paths=True)


def test_paths_with_dots_and_links_stay(tmp_path):
    splits = rows()
    splits["test"][0] = row("open/..3...mp4", 0)
    manifest = write(tmp_path, splits)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "..3...mp4").write_bytes(b"x")
    (tmp_path / "clips" / "open").symlink_to(tmp_path / "elsewhere")  # its owner made it, not the table
    assert load_manifest(tmp_path / "manifest").video_path(manifest.split("test")[0]).is_file()


@pytest.mark.parametrize("place", ["..", "../clips", "videos/../../clips"])
def test_the_folder_of_videos_is_not_named_by_a_way_out_of_the_manifest(tmp_path, place):
    write(tmp_path)
    facts = tmp_path / "manifest" / "manifest.json"
    (tmp_path / "manifest" / "videos").mkdir()
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "video_root": place}))
    with pytest.raises(ManifestError, match="which leads out of the manifest's own; pass video_root="):
        load_manifest(tmp_path / "manifest")
    assert load_manifest(tmp_path / "manifest", tmp_path / "clips").video_root == tmp_path / "clips"
    assert load_manifest(tmp_path / "manifest", allow_outside_paths=True).video_root.is_dir()


def test_a_table_that_is_no_manifest_is_named(tmp_path):
    write(tmp_path)
    features = manifest_features(CLASSES)
    table = {name: feature for name, feature in features.items() if name != "group"}
    write_split(tmp_path / "manifest", "test", [], Features(table))
    with pytest.raises(ManifestError, match=r"split 'test': columns \['group'\] are missing"):
        load_manifest(tmp_path / "manifest")
    write_split(tmp_path / "manifest", "test", [], Features({**features, "path": Value("int32")}))
    with pytest.raises(ManifestError, match="split 'test': column 'path' is not text"):
        load_manifest(tmp_path / "manifest")


@pytest.mark.parametrize("names, message", [([], "no class names"), (["open", "open"], r"repeated: \['open'\]")])
def test_bad_class_names(tmp_path, names, message):
    with pytest.raises(ManifestError, match=message):
        write(tmp_path, class_names=names)


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere: no such folder; was the manifest built"):
        load_manifest(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match=r"no manifest\.json in it"):
        load_manifest(tmp_path)
    manifest = write(tmp_path)
    with pytest.raises(
        ManifestError, match=r"no split 'validation' for videos of 'toy@1'; there are \['test', 'train'\]"
    ):
        manifest.split("validation")
    (tmp_path / "clips").rename(tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match=r"clips does not exist; pass video_root="):
        load_manifest(tmp_path / "manifest")
    assert load_manifest(tmp_path / "manifest", tmp_path / "elsewhere").video_root == tmp_path / "elsewhere"
    with pytest.raises(ManifestError, match="check the video_root argument"):
        load_manifest(tmp_path / "manifest", tmp_path / "not there")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"source": "toy@1"}',
        '{"source": "toy@1", "class_names": ["open", "close"], "video_root": 3}',
    ],
)
def test_a_broken_manifest_file_is_named(tmp_path, text):
    write(tmp_path)
    (tmp_path / "manifest" / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=r"manifest\.json: not a manifest"):
        load_manifest(tmp_path / "manifest")


def test_tables_that_are_gone_or_do_not_fit_are_named(tmp_path):
    write(tmp_path)
    facts = tmp_path / "manifest" / "manifest.json"
    facts.write_text(facts.read_text().replace('"close"', '"shut"'))
    with pytest.raises(ManifestError, match="are not the class names"):
        load_manifest(tmp_path / "manifest")
    for path in (tmp_path / "manifest" / "data").iterdir():
        path.unlink()
    with pytest.raises(ManifestError, match="no Parquet files"):
        load_manifest(tmp_path / "manifest")
