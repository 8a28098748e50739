"""What must not be published is found, named by row and column, and not repeated in the message."""

import datasets
import pytest

from vidreason.errors import GuidanceError
from vidreason.guidance import FEATURES, guidance_row
from vidreason.publishing.checks import PublishChecker, find_leak

KEYS = [
    "sk-" + "proj-Ab3dEf6hIj9kLmNoPqRs",
    "hf_" + "AbCdEfGhIjKlMnOpQrStUvWx",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345",
    "Authorization: Bearer " + "abcdefghij0123456789xyz",
    'OPENAI_API_KEY="' + 'abcdefghij0123456789"',
    "-----BEGIN RSA PRIVATE KEY-----",
]
PATHS = [
    "/home/me/videos/a.avi",
    "could not open /mnt/disk/a.avi",
    '{"error": "/Users/me/x"}',
    "C:\\Users\\me\\a.avi",
    "D:\\videos\\a.avi",
    "\\\\server\\share\\a.avi",
    "~/videos/a.avi",
    "file:///a.avi",
]
INNOCENT = [
    '{"key_r": [[1, 2], [2, 2]]}',
    "the task-relevant object on the desk-top, and/or the hand",
    "a risk-averse sk-learn user at https://example.org/home/page/data/x",
    "v_SoccerJuggling_g23_c01",
    "train/open_box/train_00001",
    '{\\n  "all_os": ["cup"],\\n  "im_o": []\\n}',
    "hand/object contact at 1/2 of the frame, ratio 4:3",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "secret: the cup is empty",
]


@pytest.mark.parametrize("text", KEYS)
def test_keys_are_found_and_not_shown(text):
    found = find_leak(f"an answer that ends with {text}")
    assert found.startswith("a key")
    assert len(found) < 20


@pytest.mark.parametrize("text", PATHS)
def test_paths_of_this_machine_are_found(text):
    assert find_leak(text).startswith("a path of this machine")


@pytest.mark.parametrize("text", INNOCENT)
def test_innocent_texts_pass(text):
    assert find_leak(text) is None


def row(index=0, **changes):
    key = {"video_id": "clips/a", "source": "tests@1", "split": "train", "frame_index": index}
    key |= {"timestamp_s": index / 10, "frame_height": 60, "frame_width": 80}
    return {**guidance_row(key, [0, 1, 1, 0], (2, 2), producer="tests"), **changes}


def watched(*rows, **settings):
    checker = PublishChecker(**settings)
    return list(checker.watch("train", datasets.Dataset.from_list(list(rows), FEATURES))), checker


def test_rows_pass_as_they_are_and_are_counted():
    passed, checker = watched(row(), row(1, status="empty", weights=[0.0] * 4))
    assert [entry["frame_index"] for entry in passed] == [0, 1]
    assert dict(checker.summaries["train"].statuses) == {"ok": 1, "empty": 1}


def hidden_in_an_object(text):
    return {"objects": [{"name": text, "center": [], "box": [], "relevant": True}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw_response": KEYS[0]}, r"split 'train', row 1: column 'raw_response' holds a key \(sk-p…\)"),
        ({"model": PATHS[0]}, "row 1: column 'model' holds a path of this machine"),
        ({"video_id": PATHS[0]}, "row 1: column 'video_id' holds a path of this machine"),
        ({"video_id": "/a"}, "row 1: column 'video_id' is not a path relative"),
        ({"video_id": "../a"}, "row 1: column 'video_id' is not a path relative"),
        (hidden_in_an_object(KEYS[1]), r"row 1: column 'objects.name' holds a key"),
        ({"weights": [1.0, 1.0, 0.0, 0.0]}, r"row 1: clips/a frame 1: weights sum to 2.0000"),
        ({"rectangle": [0.0, 0.0, 2.0, 1.0]}, "row 1: clips/a frame 1: rectangle"),
        ({"split": "test"}, "row 1: clips/a frame 1: its split is 'test'"),
        ({"frame_index": 0}, "row 1: clips/a frame 0: given twice"),
        ({"timestamp_s": 0.0}, "row 1: column 'timestamp_s': another row speaks for 0.000 s of clips/a"),
        ({"model": None}, r"row 1: columns \['model'\] have no value"),
    ],
)
def test_a_row_that_must_not_be_published_is_named(changes, message):
    with pytest.raises(GuidanceError, match=message) as caught:
        watched(row(), row(1, **changes), row(2))
    assert not any(key in str(caught.value) for key in KEYS)


def test_columns_beyond_the_schema_are_refused():
    table = datasets.Dataset.from_list([row()], FEATURES).add_column("notes", ["x"])
    with pytest.raises(GuidanceError, match=r"columns \['notes'\] are not of the schema"):
        list(PublishChecker().watch("train", table))


def test_raw_responses_can_stay_behind():
    (passed,), _ = watched(row(raw_response=KEYS[0]), drop_raw_responses=True)
    assert passed["raw_response"] == ""
