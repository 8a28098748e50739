"""Files and Parquet files of a split: whole or not at all, also where several processes write the same one."""

import errno
import hashlib
import multiprocessing
import os
import random
import subprocess
import sys

import datasets
import pyarrow.parquet as pq
import pytest

from vidreason.errors import VidreasonError
from vidreason.files import FileLimits, read_folder, split_files, write_card, write_split, write_whole

FEATURES = datasets.Features({"n": datasets.Value("int32"), "label": datasets.ClassLabel(names=["a", "b"])})

TEXT = datasets.Features({"text": datasets.Value("string")})


def rows(count):
    return ({"n": n, "label": n % 2} for n in range(count))


def names(folder):
    return sorted(path.name for path in (folder / "data").iterdir())


@pytest.mark.parametrize(
    ("count", "max_rows", "files"),
    [(10, None, [10]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (0, 4, [0]), (9000, 5000, [5000, 4000]), (3, 1, [1, 1, 1])],
)
def test_files_hold_at_most_so_many_rows(tmp_path, count, max_rows, files):
    assert write_split(tmp_path, "train", rows(count), FEATURES, FileLimits(max_rows=max_rows)) == count
    expected = [f"train-{number:05d}-of-{len(files):05d}.parquet" for number in range(len(files))]
    assert names(tmp_path) == expected
    assert [pq.read_metadata(tmp_path / "data" / name).num_rows for name in expected] == files
    table = read_folder(tmp_path)["train"]
    assert table["n"][:] == list(range(count))
    assert table.features == FEATURES


def test_files_stay_under_a_size(tmp_path):
    features = datasets.Features({"text": datasets.Value("string")})
    texts = ({"text": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(20_000))
    write_split(tmp_path, "train", texts, features, FileLimits(max_bytes=700_000))
    sizes = [path.stat().st_size for path in (tmp_path / "data").iterdir()]
    assert len(sizes) > 1 and max(sizes) <= 700_000
    assert len(read_folder(tmp_path)["train"]) == 20_000


def test_several_files_open_with_load_dataset(tmp_path):
    for split, count in (("train", 7), ("test", 2)):
        write_split(tmp_path / "table", split, rows(count), FEATURES, FileLimits(max_rows=3))
    write_card(tmp_path / "table", ["train", "test"], "# A table")
    loaded = datasets.load_dataset(str(tmp_path / "table"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(table) for split, table in loaded.items()} == {"train": 7, "test": 2}
    assert loaded["train"].features == FEATURES


def test_files_of_an_earlier_table_do_not_stay(tmp_path):
    write_split(tmp_path, "train", rows(7), FEATURES, FileLimits(max_rows=3))
    write_split(tmp_path, "train_extra", rows(2), FEATURES)
    write_split(tmp_path, "train", rows(2), FEATURES)
    assert names(tmp_path) == ["train-00000-of-00001.parquet", "train_extra-00000-of-00001.parquet"]


def test_an_error_on_the_way_leaves_what_was_there(tmp_path):
    write_split(tmp_path, "train", rows(2), FEATURES)

    def broken():
        yield from rows(5)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_split(tmp_path, "train", broken(), FEATURES, FileLimits(max_rows=2))
    assert names(tmp_path) == ["train-00000-of-00001.parquet"]
    assert len(read_folder(tmp_path)["train"]) == 2


@pytest.mark.parametrize("limits", [{"max_rows": 0}, {"max_bytes": -1}])
def test_limits_that_hold_nothing_are_refused(limits):
    with pytest.raises(VidreasonError, match="expected at least 1"):
        FileLimits(**limits)


def write_often(path, start, letter):
    start.wait()
    for _ in range(200):
        write_whole(path, letter * 5000)


def test_it_is_written_and_written_over(tmp_path):
    path = tmp_path / "facts.json"
    write_whole(path, "first\n")
    write_whole(path, "zweite Fassung, größer\n")
    assert path.read_text(encoding="utf-8") == "zweite Fassung, größer\n"
    assert os.listdir(tmp_path) == ["facts.json"]


def test_processes_that_write_the_same_file_at_once_do_not_meet(tmp_path):
    path = tmp_path / "study.yaml"
    context = multiprocessing.get_context("fork")
    start = context.Event()
    writers = [context.Process(target=write_often, args=(path, start, letter)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    start.set()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert path.read_text() in {letter * 5000 for letter in "abcd"}
    assert os.listdir(tmp_path) == ["study.yaml"]


def test_what_was_there_stays_where_writing_fails(tmp_path):
    path = tmp_path / "facts.json"
    write_whole(path, "whole")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half \ud800")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["facts.json"]


@pytest.fixture
def small_disk():
    """Files of this process may hold 100,000 bytes, as on a disk that is almost full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # Python ignores the signal that comes with it
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("batch_rows", [1, 1000])  # the disk is full at a batch, and only when the file is closed
def test_a_disk_that_is_full_leaves_no_half_file_and_is_named(tmp_path, small_disk, batch_rows):
    write_split(tmp_path, "train", [{"text": "old"}], TEXT)
    rows = [{"text": random.Random(number).randbytes(2000).hex()} for number in range(200)]
    with pytest.raises(OSError, match="File too large") as caught:
        write_split(tmp_path, "train", rows, TEXT, FileLimits(batch_rows=batch_rows), compress=False)
    assert caught.value.errno == errno.EFBIG and "train-" in caught.value.filename
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    assert read_folder(tmp_path)["train"].to_list() == [{"text": "old"}]
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match=r"File too large: '.*a\.json'"):
        write_whole(tmp_path / "a.json", "x" * 200_000)
    with pytest.raises(OSError, match=r"File too large: '.*README\.md'"):
        write_card(tmp_path, ["train"], "x" * 200_000)
    assert (tmp_path / "a.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "data"]


def test_a_copy_that_does_not_fit_into_the_cache_is_named(tmp_path, monkeypatch, request):
    rows = [{"text": random.Random(number).randbytes(2000).hex()} for number in range(200)]
    write_split(tmp_path, "train", rows, TEXT)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    request.getfixturevalue("small_disk")
    with pytest.raises(OSError, match=r"File too large: '.*\.arrow'"):
        read_folder(tmp_path, in_memory_bytes=0)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_large_split_is_mapped_from_a_copy_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_split(tmp_path / "table", "train", rows(25_000), FEATURES, FileLimits(max_rows=9000))
    before = names(tmp_path / "table")
    mapped = read_folder(tmp_path / "table", in_memory_bytes=0)["train"]
    assert len(mapped.cache_files) == 1 and str(tmp_path / "cache") in mapped.cache_files[0]["filename"]
    assert mapped["n"][:] == list(range(25_000)) and mapped.features == FEATURES
    assert read_folder(tmp_path / "table", in_memory_bytes=0)["train"].cache_files == mapped.cache_files
    assert names(tmp_path / "table") == before and len(list((tmp_path / "cache").rglob("*"))) == 2
    assert not read_folder(tmp_path / "table")["train"].cache_files


def test_a_split_that_is_written_anew_is_not_read_from_an_old_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for count in (5, 7):
        write_split(tmp_path / "table", "train", rows(count), FEATURES)
        assert len(read_folder(tmp_path / "table", in_memory_bytes=0)["train"]) == count


def test_a_copy_that_was_broken_off_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_split(tmp_path / "table", "train", rows(5), FEATURES)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        read_folder(tmp_path / "table", in_memory_bytes=0)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_split_named_like_the_start_of_another_has_its_own_files(tmp_path):
    for split in ("test", "test-shifted"):
        write_split(tmp_path, split, rows(2), FEATURES)
    assert [path.name for path in split_files(tmp_path, "test")] == ["test-00000-of-00001.parquet"]


@pytest.mark.parametrize("offline", ["0", "1"])
def test_load_dataset_gives_every_folder_its_own_rows(tmp_path, offline):
    """Two folders of one name, and one that is written anew, with cards that say the same."""
    program = (
        "import sys, datasets\n"
        "from vidreason.files import write_card, write_split\n"
        "features = datasets.Features({'n': datasets.Value('int32')})\n"
        "for place, start in (('a', 0), ('b', 10), ('a', 20)):\n"
        "    folder = f'{sys.argv[1]}/{place}/table'\n"
        "    write_split(folder, 'train', ({'n': start + n} for n in range(3)), features)\n"
        "    write_card(folder, ['train'], '# A table')\n"
        "    found = datasets.load_dataset(folder, cache_dir=f'{sys.argv[1]}/cache')['train']['n'][:]\n"
        "    assert found == [start, start + 1, start + 2], (place, start, found)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": offline}
    finished = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    assert "ignored" not in finished.stderr
