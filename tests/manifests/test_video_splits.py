"""Splits from files, by fractions and by groups."""

from collections import Counter

import pytest

from vidreason.errors import ManifestError
from vidreason.manifests.splits import groups_from_pattern, split_by_files, split_by_fractions, split_by_groups

PATHS = ["Jump/v_Jump_g01_c01.avi", "Jump/v_Jump_g02_c01.avi", "Two Words/my clip 1.mp4", "Walk/v1.5.mp4"]


@pytest.mark.parametrize(
    "line, path",
    [
        ("Jump/v_Jump_g01_c01.avi", PATHS[0]),
        ("Jump/v_Jump_g01_c01", PATHS[0]),
        ("Jump/v_Jump_g01_c01.avi 1", PATHS[0]),
        ("Jump/v_Jump_g01_c01.mp4\t7 extra words", PATHS[0]),
        ("./Jump/v_Jump_g01_c01.avi", PATHS[0]),
        ("Jump\\v_Jump_g01_c01.avi", PATHS[0]),
        ("Two Words/my clip 1.mp4", PATHS[2]),
        ("Two Words/my clip 1 12", PATHS[2]),
        ("Walk/v1.5", PATHS[3]),
    ],
)
def test_a_line_of_a_split_file_finds_its_video(tmp_path, line, path):
    (tmp_path / "train.txt").write_text(f"{line}\n")
    assert split_by_files(PATHS, {"train": tmp_path / "train.txt"}).split_of == {path: "train"}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r\n\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_any_line_ends_will_do(tmp_path, line_end, encoding):
    (tmp_path / "train.txt").write_bytes(line_end.join([f"{PATHS[0]} 1", f"{PATHS[1]} 1", ""]).encode(encoding))
    assert set(split_by_files(PATHS, {"train": tmp_path / "train.txt"}).split_of) == set(PATHS[:2])


def test_unknown_and_unlisted_names_are_reported(tmp_path, caplog):
    (tmp_path / "train.txt").write_text(f"{PATHS[0]}\nJump/gone.avi 3\nWalk/v1.avi\n")
    (tmp_path / "test.txt").write_text(f"{PATHS[1]}\n")
    assignment = split_by_files(PATHS, {"train": tmp_path / "train.txt", "test": tmp_path / "test.txt"})
    assert assignment.split_of == {PATHS[0]: "train", PATHS[1]: "test"}
    assert assignment.unlisted == PATHS[2:]
    assert assignment.unknown == {"train": ["Jump/gone.avi 3", "Walk/v1.avi"]}
    assert "2 names are not in the tree, such as 'Jump/gone.avi 3'" in caplog.text


def test_bad_split_files_are_named(tmp_path):
    for name, text in [
        ("a.txt", PATHS[0]),
        ("b.txt", f"{PATHS[1]}\n{PATHS[0]} 1"),
        ("c.txt", "Jump/gone.avi"),
        ("d.txt", ""),
    ]:
        (tmp_path / name).write_text(text)
    for files, message in [
        ({"train": "a.txt", "test": "b.txt"}, r"b\.txt: Jump/v_Jump_g01_c01\.avi is in split 'train' and in 'test'"),
        ({"train": "c.txt"}, r"c\.txt: names no video of the tree, such as 'Jump/gone\.avi'"),
        ({"train": "d.txt"}, r"d\.txt: names no video of the tree"),
        ({"train": "e.txt"}, r"e\.txt: the list of split 'train' cannot be read"),
    ]:
        with pytest.raises(ManifestError, match=message):
            split_by_files(PATHS, {split: tmp_path / name for split, name in files.items()})


def test_published_lists_with_crlf(shared_data):
    folder = shared_data / "ucf101_splits"
    paths = [
        "SoccerJuggling/v_SoccerJuggling_g23_c01.avi",
        "SoccerJuggling/v_SoccerJuggling_g24_c01.avi",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    ]
    assignment = split_by_files(paths, {"train": folder / "trainlist01.txt", "test": folder / "testlist01.txt"})
    assert assignment.split_of == {paths[0]: "train", paths[1]: "train", paths[2]: "test"}
    assert (len(assignment.unknown["train"]), len(assignment.unknown["test"])) == (9537 - 2, 3783 - 1)


def videos(**counts):
    return {f"{name}/{i:03d}.mp4": name for name, count in counts.items() for i in range(count)}


def test_fractions_hold_in_each_class():
    class_of = videos(big=40, small=10, three=3, one=1)
    split_of = split_by_fractions(class_of, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=3).split_of
    counts = Counter((class_of[path], split) for path, split in split_of.items())
    assert len(split_of) == len(class_of)
    assert [counts["big", split] for split in ("train", "validation", "test")] == [28, 4, 8]
    assert [counts["small", split] for split in ("train", "validation", "test")] == [7, 1, 2]
    assert [counts["three", split] for split in ("train", "validation", "test")] == [1, 1, 1]
    assert counts["one", "train"] == 1


def test_fractions_depend_on_the_seed_alone():
    class_of = videos(a=20, b=20)
    fractions = {"train": 0.5, "test": 0.5}
    first = split_by_fractions(class_of, fractions, seed=1).split_of
    assert split_by_fractions(dict(reversed(class_of.items())), fractions, seed=1).split_of == first
    assert split_by_fractions(class_of, fractions, seed=2).split_of != first
    more = split_by_fractions({**class_of, **videos(c=5)}, fractions, seed=1).split_of
    assert {path: more[path] for path in first} == first


@pytest.mark.parametrize(
    "num_groups, fractions", [(10, {"train": 0.8, "test": 0.2}), (3, {"a": 0.9, "b": 0.05, "c": 0.05})]
)
def test_groups_stay_whole(num_groups, fractions):
    class_of = videos(a=60, b=60)
    groups = {path: f"g{position % num_groups}" for position, path in enumerate(class_of)}
    for seed in range(5):
        split_of = split_by_fractions(class_of, fractions, seed=seed, groups=groups).split_of
        assert len({(groups[path], split) for path, split in split_of.items()}) == num_groups
        assert set(split_of.values()) == set(fractions)
        if num_groups == 10:
            assert Counter(split_of.values()) == {"train": 96, "test": 24}


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5}, {"train": 1.2, "test": -0.2}, {"train": 1.0, "test": 0.0}])
def test_bad_fractions(fractions):
    with pytest.raises(ManifestError, match="sum to 1"):
        split_by_fractions(videos(a=4), fractions, seed=0)


def test_too_few_groups():
    class_of = videos(a=4)
    with pytest.raises(ManifestError, match=r"1 groups \(\['g'\]\) cannot fill 2 splits"):
        split_by_fractions(class_of, {"train": 0.5, "test": 0.5}, 0, dict.fromkeys(class_of, "g"))


def test_groups_from_a_pattern():
    assert groups_from_pattern(PATHS[:2], r"_g(\d+)_") == {PATHS[0]: "01", PATHS[1]: "02"}


@pytest.mark.parametrize(
    "pattern, message",
    [
        (r"_g(\d+)_", r"2 videos do not match .*, such as 'Two Words/my clip 1\.mp4', 'Walk/v1\.5\.mp4'"),
        (r"_g\d+_", "has no group"),
        (r"_g(\d+", "is not a regular expression"),
    ],
)
def test_bad_patterns(pattern, message):
    with pytest.raises(ManifestError, match=message):
        groups_from_pattern(PATHS, pattern)


def test_named_groups_are_held_out():
    groups = {"a/1.mp4": "anna", "a/2.mp4": "ben", "b/3.mp4": "anna", "b/4.mp4": "cleo"}
    split_of = split_by_groups(groups, {"test": ["anna"], "validation": ["cleo"]}).split_of
    assert split_of == {"a/1.mp4": "test", "a/2.mp4": "train", "b/3.mp4": "test", "b/4.mp4": "validation"}
    with pytest.raises(
        ManifestError, match=r"no video is of group 'dora' \(test\); groups are \['anna', 'ben', 'cleo'\]"
    ):
        split_by_groups(groups, {"test": ["dora"]})
    with pytest.raises(ManifestError, match="'anna' is named for 'test' and for 'validation'"):
        split_by_groups(groups, {"test": ["anna"], "validation": ["anna"]})
