"""UCF101 and UCF50 in the layout of their releases, and in layouts that are broken in one way each."""

import re
import shutil

import pytest
from fixtures.layout_trees import UCF101_NAMES, clip_bytes, put, ucf50, ucf101

from vidreason.errors import ManifestError
from vidreason.manifests.layouts import LayoutArguments, build_layout, describe_reports, read_ucf50, read_ucf101
from vidreason.manifests.layouts.ucf50 import CLASS_NAMES, protocol_folds
from vidreason.manifests.manifest import load_manifest, read_skipped


def arguments(out, **flags):
    return LayoutArguments(root="", out=str(out), **flags)


# UCF101


def test_a_copy_of_ucf101_becomes_a_manifest(tmp_path):
    root = ucf101(tmp_path)
    put(root / "Action001" / "v_Action001_g01_c09.avi", clip_bytes(".avi"))  # in no list
    put(root / "Action002" / "v_Action002_g08_c01.avi", b"")  # not to be read
    put(root / "README", "x")
    layout = read_ucf101(root)
    reports = build_layout(layout, arguments(tmp_path / "out", num_proc=2))
    assert list(reports) == [str(tmp_path / "out")]
    manifest = load_manifest(tmp_path / "out")
    assert manifest.class_names == UCF101_NAMES and manifest.source == "ucf101"
    assert {split: rows.num_rows for split, rows in manifest.splits.items()} == {"train": 100, "test": 101}
    row = next(row for row in manifest.split("train") if "Handst" in row["path"])
    assert row["path"] == "HandstandPushups/v_HandStandPushups_g08_c01.avi"
    assert (row["label"], row["group"], row["num_frames"]) == (99, "HandStandPushups_g08", 5)
    assert manifest.video_path(row).is_file() and not manifest.missing_videos()
    assert {entry["path"]: entry["reason"] for entry in read_skipped(tmp_path / "out")} == {
        "Action001/v_Action001_g01_c09.avi": "not_in_a_split",
        "Action002/v_Action002_g08_c01.avi": "empty_file",
    }
    text = describe_reports(layout, reports)
    assert "ignored files: 1" in text and re.search(r"^test +101 +101$", text, re.M)
    assert "official lists (fold_1)" in (tmp_path / "out" / "README.md").read_text()


def test_several_folds_are_read_once(tmp_path):
    root = ucf101(tmp_path, groups=(1, 8))
    layout = read_ucf101(tmp_path, folds=(1, 2))  # the folder above is as good
    calls = []

    def probe(path):
        calls.append(path)
        return arguments("").probe(root)(path)

    reports = build_layout(layout, arguments(tmp_path / "out"), probe)
    assert len(calls) == len(set(calls)) == 202
    first, second = (report.manifest for report in reports.values())
    assert first.split("train")["video_id"] == second.split("test")["video_id"]
    assert list(reports) == [str(tmp_path / "out" / "fold_1"), str(tmp_path / "out" / "fold_2")]


def test_a_part_of_ucf101_keeps_the_label_ids(tmp_path, caplog):
    root = ucf101(tmp_path, clips=(1, 2))
    for folder in sorted(root.iterdir())[:-1]:
        shutil.rmtree(folder)
    (root / "YoYo" / "v_YoYo_g08_c02.avi").unlink()
    with pytest.raises(ManifestError, match=r"100 of 101 classes have no folder: 'Action001', .*allow_incomplete"):
        read_ucf101(root)
    build_layout(read_ucf101(root, allow_incomplete=True), arguments(tmp_path / "out"))
    manifest = load_manifest(tmp_path / "out")
    assert len(manifest.class_names) == 101
    assert {split: set(rows["label"]) for split, rows in manifest.splits.items()} == {"train": {100}, "test": {100}}
    gone = [entry for entry in read_skipped(tmp_path / "out") if entry["reason"] == "not_in_tree"]
    assert len(gone) == 401 and "YoYo/v_YoYo_g08_c02.avi" in {entry["path"] for entry in gone}
    assert "201 of 202 videos of trainlist01.txt are not there" in caplog.text


def test_converted_videos_are_found_by_their_names(tmp_path):
    root = ucf101(tmp_path, video=b"x")
    for file in root.rglob("*.avi"):
        file.rename(file.with_suffix(".mp4"))
    (assignment,) = read_ucf101(root).folds.values()
    assert len(assignment.split_of) == 202 and "YoYo/v_YoYo_g01_c01.mp4" in assignment.split_of


def rewrite(name, change):
    """A breakage of one list: its text is changed."""

    def damage(root):
        file = root.parent / "ucfTrainTestlist" / name
        file.write_bytes(change(file.read_bytes().decode()).encode())

    return damage


def move(source, target):
    def damage(root):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / source).rename(root / target)

    return damage


YOYO = "YoYo/v_YoYo_g08_c01.avi"

BROKEN_UCF101 = {
    "no lists": (
        lambda root: shutil.rmtree(root.parent / "ucfTrainTestlist"),
        "no ucfTrainTestlist in it or beside it",
    ),
    "a list is missing": (
        lambda root: (root.parent / "ucfTrainTestlist" / "testlist01.txt").unlink(),
        "testlist01.txt: no such file; the test list of split 1 was expected there",
    ),
    "no list of classes": (
        lambda root: (root.parent / "ucfTrainTestlist" / "classInd.txt").unlink(),
        "classInd.txt: no such file; the list of classes was expected there",
    ),
    "a class id twice": (
        rewrite("classInd.txt", lambda text: text.replace("2 Action002", "1 Action002")),
        "classInd.txt: the id 1 stands for 'Action001' and for 'Action002'",
    ),
    "a gap in class ids": (
        rewrite("classInd.txt", lambda text: text.replace("50 Action050\r\n", "")),
        "classInd.txt: the ids do not count from 1 without a gap; missing: '50'",
    ),
    "class ids from 0": (
        rewrite("classInd.txt", lambda text: "0 Zero\r\n" + text),
        "classInd.txt: the ids do not count from 1 without a gap; found: [0, 1, 2, 3, 4]",
    ),
    "a class name twice": (
        rewrite("classInd.txt", lambda text: text.replace("Action002", "Action001")),
        "classInd.txt: 'Action001' is named twice",
    ),
    "a line that is no class": (
        rewrite("classInd.txt", lambda text: "ApplyEyeMakeup\n" + text),
        "classInd.txt: 'ApplyEyeMakeup' is not <id> <name>",
    ),
    "a class too few": (
        rewrite("classInd.txt", lambda text: text.replace("101 YoYo\r\n", "")),
        "classInd.txt has 100 classes, UCF101 has 101",
    ),
    "a class folder is missing": (
        lambda root: shutil.rmtree(root / "YoYo"),
        "1 of 101 classes have no folder: 'YoYo'",
    ),
    "an empty class folder": (
        lambda root: [file.unlink() for file in (root / "YoYo").iterdir()],
        "1 class folders are without videos: 'YoYo'",
    ),
    "a class folder twice": (
        lambda root: put(root / "HandStandPushups" / "v_HandStandPushups_g01_c01.avi"),
        "'HandStandPushups', 'HandstandPushups' are folders of one class; "
        "1 videos are there in another spelling too: 'HandstandPushups/v_HandStandPushups_g01_c01.avi'",
    ),
    "a video is missing": (
        lambda root: (root / YOYO).unlink(),
        f"1 of 101 videos of trainlist01.txt are not there: '{YOYO}'",
    ),
    "a video in another folder": (
        move(YOYO, "Action001/v_YoYo_g08_c01.avi"),
        f"1 videos are in another folder than the lists say: 'Action001/v_YoYo_g08_c01.avi (listed as {YOYO})'",
    ),
    "a malformed line": (
        rewrite("testlist01.txt", lambda text: text + "v_YoYo_g01_c07.avi\n"),
        "testlist01.txt has 1 lines that are not <Class>/<video>.avi [<class id>]: 'v_YoYo_g01_c07.avi'",
    ),
    "a line of an unknown class": (
        rewrite("testlist01.txt", lambda text: text + "Juggling/v_Juggling_g01_c01.avi\n"),
        "testlist01.txt has 1 lines of classes that classInd.txt lacks: 'Juggling/v_Juggling_g01_c01.avi'",
    ),
    "another class id": (
        rewrite("trainlist01.txt", lambda text: text.replace(f"{YOYO} 101", f"{YOYO} 100")),
        f"trainlist01.txt has 1 lines with another class id than classInd.txt: '{YOYO} 100'",
    ),
    "a line twice": (
        rewrite("testlist01.txt", lambda text: text + text.splitlines()[0]),
        "testlist01.txt names 1 videos twice: 'Action001/v_Action001_g01_c01.avi'",
    ),
    "trained and tested on": (
        rewrite("testlist01.txt", lambda text: text + YOYO),
        f"1 videos are in trainlist01.txt and in testlist01.txt: '{YOYO}'",
    ),
    "a list that is no text": (
        lambda root: put(root.parent / "ucfTrainTestlist" / "testlist01.txt", b"\xff\xfe\x00a"),
        "testlist01.txt: a list of videos cannot be read",
    ),
    "no videos at all": (
        lambda root: [shutil.rmtree(folder) for folder in root.iterdir()],
        "no video as <class>/<video> among 0 files",
    ),
}


@pytest.fixture(scope="module")
def named_ucf101(tmp_path_factory):
    """A copy whose videos have names only: nothing is to be opened before the layout is right."""
    return ucf101(tmp_path_factory.mktemp("named"), video=b"x").parent


@pytest.mark.parametrize("damage, message", BROKEN_UCF101.values(), ids=BROKEN_UCF101.keys())
def test_a_broken_ucf101_is_named(named_ucf101, tmp_path, damage, message):
    shutil.copytree(named_ucf101, tmp_path / "copy")
    root = tmp_path / "copy" / "UCF-101"
    damage(root)
    with pytest.raises(ManifestError) as caught:
        read_ucf101(root)
    assert message in str(caught.value)


def test_all_problems_are_named_at_once(named_ucf101, tmp_path):
    shutil.copytree(named_ucf101, tmp_path / "copy")
    root = tmp_path / "copy" / "UCF-101"
    shutil.rmtree(root / "YoYo")
    rewrite("testlist01.txt", lambda text: text + "nonsense\n")(root)
    with pytest.raises(ManifestError) as caught:
        read_ucf101(root)
    parts = ("have no folder: 'YoYo'", "lines that are not <Class>", "videos of trainlist01.txt are not there")
    assert all(part in str(caught.value) for part in parts) and "\n" not in str(caught.value)
    with pytest.raises(ManifestError, match="lines that are not <Class>") as caught:
        read_ucf101(root, allow_incomplete=True)  # a contradiction stays one
    assert "have no folder" not in str(caught.value)


def test_bad_requests_are_named(tmp_path):
    with pytest.raises(ManifestError, match="splits 1, 2 and 3, got \\[4\\]"):
        read_ucf101(tmp_path, folds=(4,))
    with pytest.raises(ManifestError, match="nowhere: no such folder; expected that of UCF-101"):
        read_ucf101(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="lists: no such folder of UCF101's lists"):
        read_ucf101(tmp_path, splits=tmp_path / "lists")


def test_the_official_lists_fit_the_archive(shared_data, tmp_path):
    """All 13,320 names, in the spelling of the archive, against the published lists; no file is opened."""
    lists = shared_data / "ucf101_splits"
    names = [line.split()[0] for kind in ("train", "test") for line in (lists / f"{kind}list01.txt").open()]
    for name in names:
        put(tmp_path / "UCF-101" / name.replace("HandStandPushups/", "HandstandPushups/"))
    layout = read_ucf101(tmp_path / "UCF-101", lists, folds=(1, 2, 3))
    sizes = {
        fold: [list(assignment.split_of.values()).count(split) for split in ("train", "test")]
        for fold, assignment in layout.folds.items()
    }
    assert sizes == {"fold_1": [9537, 3783], "fold_2": [9586, 3734], "fold_3": [9624, 3696]}
    assert not any(assignment.unknown or assignment.unlisted for assignment in layout.folds.values())
    assert layout.class_names[0] == "ApplyEyeMakeup" and layout.class_names[36] == "HandStandPushups"
    assert len(set(layout.groups.values())) == 101 * 25
    for assignment in layout.folds.values():  # no group on both sides
        sides = {(layout.groups[path], split) for path, split in assignment.split_of.items()}
        assert len(sides) == 101 * 25


def test_real_clips_are_built(shared_data, tmp_path):
    source = shared_data / "clips" / "UCF-101" / "SoccerJuggling"
    for clip in source.iterdir():
        put(tmp_path / "UCF-101" / "SoccerJuggling" / clip.name, clip.read_bytes())
    clip = (source / "v_SoccerJuggling_g23_c01.avi").read_bytes()
    put(tmp_path / "UCF-101" / "SoccerJuggling" / "v_SoccerJuggling_g01_c01.avi", clip)  # for the test list
    layout = read_ucf101(tmp_path, shared_data / "ucf101_splits", allow_incomplete=True)
    build_layout(layout, arguments(tmp_path / "out"))
    manifest = load_manifest(tmp_path / "out")
    found = {row["path"][-15:]: (row["num_frames"], row["width"], row["group"]) for row in manifest.split("train")}
    assert found == {
        "ing_g23_c01.avi": (240, 320, "SoccerJuggling_g23"),
        "ing_g24_c01.avi": (251, 320, "SoccerJuggling_g24"),
    }
    assert manifest.split("test")["video_id"] == ["SoccerJuggling/v_SoccerJuggling_g01_c01"]
    assert manifest.class_names[manifest.split("test")[0]["label"]] == "SoccerJuggling"


# UCF50


def test_the_protocols():
    five = protocol_folds("five_fold")
    assert five["fold_1"] == [1, 2, 3, 4, 5] and five["fold_5"] == [21, 22, 23, 24, 25] and len(five) == 5
    left_out = protocol_folds("leave_one_group_out")
    assert list(left_out.values()) == [[group] for group in range(1, 26)] and list(left_out)[8] == "fold_09"
    assert protocol_folds("five_fold", [2]) == {"fold_2": [6, 7, 8, 9, 10]}
    with pytest.raises(ManifestError, match="no protocol 'ten_fold'; there are \\['five_fold', 'leave_one_group_out'"):
        protocol_folds("ten_fold")
    with pytest.raises(ManifestError, match="five_fold has the folds 1 to 5, got \\[0, 6\\]"):
        protocol_folds("five_fold", [0, 3, 6])


def test_a_copy_of_ucf50_is_split_by_groups(tmp_path):
    root = ucf50(tmp_path)
    layout = read_ucf50(tmp_path, protocol_folds("leave_one_group_out"), validation_groups=())
    assert len(layout.folds) == 25 and layout.class_names == CLASS_NAMES and len(layout.paths) == 1250
    for number, assignment in enumerate(layout.folds.values(), start=1):
        tested = {layout.groups[path] for path, split in assignment.split_of.items() if split == "test"}
        assert tested == {f"g{number:02d}"} and list(assignment.split_of.values()).count("test") == 50
    layout = read_ucf50(root, {"": [1, 2]}, validation_groups=[3])
    sides = {
        split: {layout.groups[p] for p, s in layout.folds[""].split_of.items() if s == split}
        for split in ("train", "validation", "test")
    }
    assert sides["test"] == {"g01", "g02"} and sides["validation"] == {"g03"} and len(sides["train"]) == 22
    assert layout.groups["PullUps/v_Pullup_g07_c01.avi"] == "g07"


def test_a_part_of_ucf50_is_built(tmp_path):
    root = ucf50(tmp_path, ("PullUps", "YoYo"), (1, 2, 6), clip_bytes(".avi"))
    put(root / "YoYo" / "holiday.avi", clip_bytes(".avi"))
    put(root / "Dancing" / "v_Dancing_g01_c01.avi", clip_bytes(".avi"))
    layout = read_ucf50(root, protocol_folds("five_fold", [1, 2]), allow_incomplete=True)
    reports = build_layout(layout, arguments(tmp_path / "out"))
    first, second = (report.manifest for report in reports.values())
    assert len(first.class_names) == 50
    assert set(first.split("test")["group"]) == {"g01", "g02"} and set(second.split("test")["group"]) == {"g06"}
    assert {entry["path"] for entry in read_skipped(tmp_path / "out" / "fold_1")} == {
        "YoYo/holiday.avi",
        "Dancing/v_Dancing_g01_c01.avi",
    }
    with pytest.raises(ManifestError, match="no video is of group 'g25' \\(test\\)"):
        read_ucf50(root, {"": [25]}, allow_incomplete=True)


BROKEN_UCF50 = {
    "a class folder is missing": (
        lambda root: shutil.rmtree(root / "TaiChi"),
        "1 of 50 classes have no folder: 'TaiChi' (allow_incomplete builds from what is there)",
    ),
    "a group is missing": (
        lambda root: (root / "TaiChi" / "v_TaiChi_g07_c01.avi").unlink(),
        "1 groups of classes have no video: 'TaiChi/g07'",
    ),
    "a name of another form": (
        move("TaiChi/v_TaiChi_g07_c01.avi", "TaiChi/taichi7.avi"),
        "1 videos are not named v_<Class>_g<group>_c<clip>: 'TaiChi/taichi7.avi'",
    ),
    "a video in another folder": (
        move("TaiChi/v_TaiChi_g07_c01.avi", "YoYo/v_TaiChi_g07_c01.avi"),
        "1 videos are in another class's folder than their names say: 'YoYo/v_TaiChi_g07_c01.avi'",
    ),
    "a group too many": (
        lambda root: put(root / "YoYo" / "v_YoYo_g26_c01.avi"),
        "1 videos are of groups that UCF50 lacks: 'YoYo/v_YoYo_g26_c01.avi'",
    ),
    "an empty class folder": (
        lambda root: [file.unlink() for file in (root / "YoYo").iterdir()],
        "1 class folders are without videos: 'YoYo'",
    ),
}


@pytest.mark.parametrize("damage, message", BROKEN_UCF50.values(), ids=BROKEN_UCF50.keys())
def test_a_broken_ucf50_is_named(tmp_path, damage, message):
    root = ucf50(tmp_path)
    damage(root)
    with pytest.raises(ManifestError) as caught:
        read_ucf50(root, {"": [1]})
    assert message in str(caught.value)


def test_groups_that_ucf50_lacks_are_named(tmp_path):
    with pytest.raises(ManifestError, match="UCF50 has the groups 1 to 25, got \\[0, 26\\]"):
        read_ucf50(tmp_path, {"": [0, 1]}, validation_groups=[26])
