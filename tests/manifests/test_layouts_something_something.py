"""Something-Something v2 in the layout of its release, and in layouts that are broken in one way each."""

import json
import shutil

import pytest
from fixtures.layout_trees import TEMPLATES, clip_bytes, put, something_something, template_label

from vidreason.errors import ManifestError
from vidreason.manifests.captions import read_captions, write_captions
from vidreason.manifests.layouts import LayoutArguments, build_something_something_v2, read_something_something_v2
from vidreason.manifests.layouts.something_something import class_name_of
from vidreason.manifests.manifest import load_manifest, read_skipped

GLUE = "Putting [something] 3 onto [something]"


def build(data, out, **flags):
    build_something_something_v2(data, LayoutArguments(root="", out=str(out), **flags))
    return load_manifest(out)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A whole small copy: 174 training videos, 3 for validation, 2 to test."""
    return something_something(tmp_path_factory.mktemp("release")).parent


def test_a_copy_becomes_a_manifest_with_captions(release, tmp_path):
    shutil.copytree(release, tmp_path / "copy")
    root = tmp_path / "copy" / "20bn-something-something-v2"
    put(root / "9000.webm", clip_bytes(".webm"))  # in no list
    put(root / "175.webm", b"broken")
    put(root / "1.mp4", clip_bytes(".mp4"))  # a second file of an id
    put(root / "notes.txt")
    data = read_something_something_v2(root)
    assert data.layout.tree.ignored == ["notes.txt"]
    manifest = build(data, tmp_path / "out", num_proc=2, allow_incomplete=False, source="ssv2@2.0")
    assert manifest.source == "ssv2@2.0"
    assert manifest.class_names == sorted(map(template_label, TEMPLATES)) and len(manifest.class_names) == 174
    assert {split: rows.num_rows for split, rows in manifest.splits.items()} == {"train": 174, "validation": 2}
    row = next(row for row in manifest.split("train") if row["video_id"] == "4")
    assert manifest.class_names[row["label"]] == class_name_of(GLUE) == "Putting something 3 onto something"
    assert (row["path"], row["num_frames"], row["height"], row["group"]) == ("4.webm", 5, 32, "")
    assert {entry["path"]: entry["reason"] for entry in read_skipped(tmp_path / "out")} == {
        "9000.webm": "not_in_a_split",
        "175.webm": "not_a_video",
        "1.mp4": "duplicate_id",
        "178.webm": "no_label",
        "179.webm": "no_label",
    }
    captions = read_captions(tmp_path / "out")
    assert captions["4"] == "putting cup 4 3 onto book" and "175" not in captions and len(captions) == 176
    line = json.loads((tmp_path / "out" / "captions.jsonl").read_text().splitlines()[3])
    assert line == {
        "video_id": "4",
        "split": "train",
        "caption": "putting cup 4 3 onto book",
        "template": GLUE,
        "placeholders": ["cup 4", "book"],
    }


def test_answers_make_a_test_split(tmp_path):
    root = something_something(tmp_path, suffix=".mp4", prefix="something-something-v2-", answers=True)
    data = read_something_something_v2(tmp_path)
    assert data.layout.tree.root == root
    manifest = build(data, tmp_path / "out")
    tested = {row["video_id"]: manifest.class_names[row["label"]] for row in manifest.split("test")}
    assert tested == {
        "178": sorted(map(template_label, TEMPLATES))[5],
        "179": "Pouring something into something, but it doesn't stay",
    }
    assert set(read_captions(tmp_path / "out")) == {str(number) for number in range(1, 178)}
    only = read_something_something_v2(root, splits=["test"], allow_incomplete=True)
    assert list(only.entries) == ["test"] and len(only.layout.folds[""].unlisted) == 177


def test_a_part_keeps_the_label_ids(release, tmp_path, caplog):
    shutil.copytree(release, tmp_path / "copy")
    root = tmp_path / "copy" / "20bn-something-something-v2"
    for number in range(11, 175):
        (root / f"{number}.webm").unlink()
    with pytest.raises(ManifestError) as caught:
        read_something_something_v2(root)
    assert "164 of 174 videos of train are not there: '11', '12', '13', '14', '15', ...;" in str(caught.value)
    assert "164 of 174 classes have no video: " in str(caught.value)
    manifest = build(read_something_something_v2(root, allow_incomplete=True), tmp_path / "out")
    assert len(manifest.class_names) == 174 and manifest.split("train").num_rows == 10
    assert [entry["reason"] for entry in read_skipped(tmp_path / "out")].count("not_in_tree") == 164
    assert "164 of 174 classes have no video" in caplog.text


def test_the_published_class_names_are_templates_without_brackets(shared_data):
    names = (shared_data / "label_maps" / "something_something_v2.txt").read_text().splitlines()
    assert len(names) == 174 and names == sorted(names)  # ids count in this order
    assert all(class_name_of(name) == name for name in names)
    assert (
        class_name_of("Putting [number of] [something] onto [something]")
        == "Putting number of something onto something"
    )
    assert "Putting number of something onto something" in names


def edit(name, change):
    """A breakage of one JSON file: its value is changed."""

    def damage(root):
        file = root.parent / "labels" / name
        value = json.loads(file.read_text())
        file.write_text(json.dumps(change(value) or value))

    return damage


def overwrite(name, text):
    return lambda root: put(root.parent / "labels" / name, text)


def pop(value, key):
    value.pop(key)


BROKEN = {
    "no labels": (lambda root: shutil.rmtree(root.parent / "labels"), "no labels/labels.json in it or beside it"),
    "a list is missing": (
        lambda root: (root.parent / "labels" / "validation.json").unlink(),
        "neither validation.json nor something-something-v2-validation.json is in it",
    ),
    "broken JSON": (
        overwrite("train.json", '[{"id": "1",\n "label": }]'),
        "train.json: broken JSON in line 2, column 11 (Expecting value)",
    ),
    "cut off": (overwrite("train.json", '[{"id": "1"'), "train.json: broken JSON in line 1"),
    "no text": (overwrite("train.json", b"\xff\xfe\xfa"), "train.json: cannot be read"),
    "an object for a list": (overwrite("train.json", "{}"), "train.json: holds an object, expected a list"),
    "a list for the labels": (overwrite("labels.json", "[]"), "labels.json: holds a list, expected an object"),
    "a label without number": (
        edit("labels.json", lambda value: {**value, template_label(GLUE): "three"}),
        "labels.json: the id of 'Putting something 3 onto something' is 'three', expected a number",
    ),
    "a gap in the ids": (
        edit("labels.json", lambda value: {**value, template_label(GLUE): "500"}),
        "labels.json: the ids do not count from 0 without a gap; missing: [",
    ),
    "a class too few": (
        edit("labels.json", lambda value: {n: i for n, i in value.items() if i != "173"}),
        "labels.json has 173 classes, Something-Something v2 has 174",
    ),
    "an entry without template": (
        edit("train.json", lambda value: pop(value[3], "template")),
        'train.json has 1 entries without id, label, template and placeholders: \'{"id": "4"',
    ),
    "an entry that is none": (
        edit("train.json", lambda value: value.append("5")),
        "train.json has 1 entries without id, label, template and placeholders: '\"5\"'",
    ),
    "an unknown template": (
        edit("train.json", lambda value: value[3].update(template="Eating [something]")),
        "train.json has 1 templates that labels.json lacks: '4 Eating something'",
    ),
    "an id twice": (
        edit("validation.json", lambda value: value[0].update(id="4")),
        "1 ids are in the lists twice: '4'",
    ),
    "a test id to train on": (
        edit("test.json", lambda value: value[0].update(id="4")),
        "1 ids are in the lists twice: '4'",
    ),
    "a test entry without id": (
        edit("test.json", lambda value: value.append({})),
        "test.json has 1 entries without id: '{}'",
    ),
    "an answer of an unknown class": (
        overwrite("test-answers.csv", "178;Eating something\n179;Putting something 3 onto something\n"),
        "test-answers.csv has 1 classes that labels.json lacks: '178 Eating something'",
    ),
    "an answer of another form": (
        overwrite("test-answers.csv", "178,Putting something 3 onto something\n"),
        "test-answers.csv has 1 lines that are not <id>;<class name>: '178,Putting something 3 onto something'",
    ),
    "an answer to no question": (
        overwrite("test-answers.csv", "500;Putting something 3 onto something\n"),
        "test-answers.csv has 1 ids that test.json lacks: '500'; test-answers.csv lacks 2 ids of test.json: '178'",
    ),
    "a video is missing": (
        lambda root: (root / "175.webm").unlink(),
        "1 of 3 videos of validation are not there: '175'",
    ),
    "a class without video": (
        lambda root: [(root / f"{number}.webm").unlink() for number in (3, 177)],
        "1 of 174 classes have no video: 'Putting something 2 onto something'",
    ),
    "videos in folders": (
        lambda root: [(root / "train").mkdir(), *(f.rename(root / "train" / f.name) for f in root.glob("*.webm"))],
        "no video as <id>.webm in it, only folders such as 'train'",
    ),
}


@pytest.mark.parametrize("damage, message", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_copy_is_named(release, tmp_path, damage, message):
    shutil.copytree(release, tmp_path / "copy")
    root = tmp_path / "copy" / "20bn-something-something-v2"
    damage(root)
    with pytest.raises(ManifestError) as caught:
        read_something_something_v2(root)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_bad_requests_are_named(release, tmp_path):
    with pytest.raises(ManifestError, match="the splits train, validation, test, got \\['val'\\]"):
        read_something_something_v2(release, splits=["val"])
    with pytest.raises(ManifestError, match=r"the test split alone needs test-answers\.csv"):
        read_something_something_v2(release, splits=["test"])
    with pytest.raises(ManifestError, match="nowhere: no such folder"):
        read_something_something_v2(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="json: no such folder of Something-Something's JSON files"):
        read_something_something_v2(release, labels=tmp_path / "json")


def test_large_copies_are_matched_in_one_pass(tmp_path):
    """Ten times the videos take about ten times as long: nothing compares each with each."""
    root = something_something(tmp_path)
    base = json.loads((tmp_path / "labels" / "train.json").read_text())
    more = [{**base[number % 174], "id": str(number)} for number in range(1000, 21000)]
    (tmp_path / "labels" / "train.json").write_text(json.dumps(base + more))
    for row in more:
        (root / f"{row['id']}.webm").touch()
    data = read_something_something_v2(root)
    assert len(data.layout.paths) == 20_177 and len({id(of.class_name) for of in data.entries["train"]}) == 174


BROKEN_CAPTIONS = {
    "no file": (None, "no captions.jsonl in it; this manifest has no captions"),
    "no JSON": (
        '{"video_id": "1", "caption": "a"}\n{"video_id"\n',
        "captions.jsonl: line 2 is not a caption (JSONDecode",
    ),
    "no caption": ('{"video_id": "1"}\n', "captions.jsonl: line 1 is not a caption (KeyError: 'caption')"),
    "no object": ("[]\n", "captions.jsonl: line 1 is not a caption (TypeError"),
}


@pytest.mark.parametrize("text, message", BROKEN_CAPTIONS.values(), ids=BROKEN_CAPTIONS.keys())
def test_broken_captions_are_named(tmp_path, text, message):
    if text is not None:
        put(tmp_path / "captions.jsonl", text)
    with pytest.raises(ManifestError) as caught:
        read_captions(tmp_path)
    assert message in str(caught.value)


def test_captions_keep_their_letters(tmp_path):
    row = {"video_id": "1", "split": "train", "caption": "pouring Käse\u2028", "template": "", "placeholders": []}
    assert write_captions(tmp_path, [row]) == 1
    assert read_captions(tmp_path) == {"1": "pouring Käse\u2028"}
    assert [path.name for path in tmp_path.iterdir()] == ["captions.jsonl"]
