"""Pickles of plain data are read as `pickle.load` reads them, and pickles that do anything are not run."""

import os
import pickle
import pickletools
import random
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from fixtures.layout_trees import put

from vidreason import plain_pickle
from vidreason.errors import GraphError, ManifestError
from vidreason.plain_pickle import StoredArray, read_plain_pickle

SHARED = ("a shared tuple", 3)
PLAIN = {
    "labels": ["aerobic turn", "K\u00e4se", b"bytes", "x" * 300],
    "numbers": [0, -1, 255, 256, 70000, -(2**31), 2**40, -(2**70), True, False, None, 0.5, float("inf")],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), SHARED, SHARED],
    "dicts": {"a": {1: {}}, 2: [[]]},
    "ordered": OrderedDict(x=1, y=[2]),
    "default": defaultdict(list, {"v": [1]}),
    "arrays": [
        np.arange(15, dtype=np.float64).reshape(3, 5),
        np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        np.arange(4, dtype=">i2"),
        np.zeros((0, 5), dtype=np.float32),
        np.array([True, False]),
    ],
    "scalars": [np.int64(7), np.float32(0.5), np.bool_(True)],
}


def plain(value):
    """With arrays as nested lists, so that both readers' results compare."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, StoredArray):
        value = value.array
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.newbyteorder("=").str, value.tolist()]
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_is_read_as_pickle_reads_it(tmp_path, protocol):
    file = put(tmp_path / "data.pkl", pickle.dumps(PLAIN, protocol))
    assert plain(read_plain_pickle(file)) == plain(PLAIN)
    file.write_bytes(pickletools.optimize(file.read_bytes()))
    assert plain(read_plain_pickle(file)) == plain(PLAIN)


def test_a_pickle_that_python_2_wrote(tmp_path):
    """Its texts and the bytes of its arrays are of one kind, whose letters are bytes."""
    file = put(
        tmp_path / "two.pkl",
        b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85"
        b"U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x04\x01\x00\xe9\x00tbs.",
    )
    assert pickle.loads(file.read_bytes(), encoding="latin1")["a"].tolist() == [1, 233]
    assert read_plain_pickle(file)["a"].array.tolist() == [1, 233]


@pytest.mark.parametrize("protocol", range(4))
def test_sets_of_old_protocols_are_lists(tmp_path, protocol):
    file = put(tmp_path / "sets.pkl", pickle.dumps(({"a": {3, 1}}, set()), protocol))
    (numbers, empty) = read_plain_pickle(file)
    assert sorted(numbers["a"]) == [1, 3] and empty == []


class Runs:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def test_nothing_is_run(tmp_path):
    mark = tmp_path / "mark"
    assert pickle.loads(pickle.dumps(Runs(os.makedirs, str(mark)))) is None and mark.is_dir()
    mark.rmdir()
    bad = {
        "os.makedirs": Runs(os.makedirs, str(mark)),
        "posix.system": Runs(os.system, f"mkdir {mark}"),
        "builtins.eval": Runs(eval, f"__import__('os').mkdir({str(mark)!r})"),
        "numpy.load": Runs(np.load, str(mark), None, True),
        "numbers of type": np.array([Runs(os.makedirs, str(mark))], dtype=object),
    }
    for protocol in range(6):
        for name, what in bad.items():
            file = put(tmp_path / "bad.pkl", pickle.dumps({"labels": [what]}, protocol))
            with pytest.raises(ManifestError, match=r"bad\.pkl: no pickle of plain data, at byte \d+: .*nothing"):
                read_plain_pickle(file)
            assert not mark.exists(), name
    with pytest.raises(ManifestError, match=r"it names posix\.system"):
        read_plain_pickle(put(tmp_path / "bad.pkl", b"cposix\nsystem\n(S'ls'\ntR."))


_ZEROS = pickle.dumps(np.zeros(2**16, np.uint8), 2)
BOMBS = {
    "a memory place far away": (b"K\x01r\xff\xff\xff\xff.", 1),
    "more bytes than there are": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0fabc.", None),
    "an array larger than its bytes": (_ZEROS.replace(b"J\x00\x00\x01\x00", b"J\x00\x00\x00\x7f"), None),
    "no end": (b"K\x01", None),
    "nothing": (b"", None),
    "no mark": (b"l.", None),
    "an empty stack": (b"0.", None),
    "two results": (b"K\x01K\x02.", None),
    "a text": (b"not a pickle", None),
    "digits without end": (b"I" + b"9" * 10**6 + b"\n.", None),
    "a state for a number": (b"K\x01)b.", None),
    "tuples as keys": (b"}" + b")" + b"\x85" * 5000 + b"K\x01s.", None),
}


@pytest.mark.parametrize("content, value", BOMBS.values(), ids=BOMBS.keys())
def test_content_that_would_take_all_memory_or_is_broken(tmp_path, content, value):
    file = put(tmp_path / "bomb.pkl", content)
    if value is None:
        with pytest.raises(ManifestError, match="no pickle of plain data"):
            read_plain_pickle(file)
    else:
        assert read_plain_pickle(file) == value


def test_cut_and_changed_files_end_with_one_error(tmp_path):
    content = pickle.dumps(PLAIN, 4)
    rng, outcomes = random.Random(0), set()
    for number in range(300):
        broken = bytearray(content[: rng.randrange(len(content))] if number % 2 else content)
        for _ in range(number % 3):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        file = put(tmp_path / "x.pkl", bytes(broken))
        try:
            plain(read_plain_pickle(file))
            outcomes.add("read")
        except ManifestError as error:
            outcomes.add("refused")
            assert str(error).startswith(f"{file}: no pickle of plain data") and len(str(error).splitlines()) == 1
        except ValueError as error:
            assert "without content" in str(error)  # of an array that is looked at, and is named as such
    assert outcomes == {"read", "refused"}


def test_limits(tmp_path, monkeypatch):
    file = put(tmp_path / "long.pkl", pickle.dumps(list(range(100))))
    monkeypatch.setattr(plain_pickle, "MAX_INSTRUCTIONS", 50)
    with pytest.raises(ManifestError, match="more than 50 instructions"):
        read_plain_pickle(file)
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", 50)
    with pytest.raises(ManifestError, match="expected at most"):
        read_plain_pickle(file)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_plain_pickle(tmp_path / "none.pkl")
    file = put(tmp_path / "short.pkl", pickle.dumps([1]))
    assert read_plain_pickle(file, max_instructions=10) == [1]
    with pytest.raises(GraphError, match=r"short\.pkl: .*more than 3 instructions"):
        read_plain_pickle(file, GraphError, max_instructions=3)
