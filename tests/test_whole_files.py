"""Files that are there whole or not at all, also where several processes write the same one."""

import multiprocessing
import os

import pytest

from vidreason.whole_files import write_whole


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
