"""Files of benchmarks: read an entry at a time, faults named by file and line, two slips of JSON mended when told."""

import json
import re

import pytest
from fixtures.benchmark_trees import write_csv

from vidreason.errors import QuestionError
from vidreason.videoqa.benchmarks import source_files
from vidreason.videoqa.benchmarks.source_files import JsonFile, drop_trailing_commas, find_file, read_csv

VALUES = [
    [],
    {},
    [1, 23, -4.5e3, "a", None, True, [], {}],
    {"a": 1, "b": [{"c": '"}],'}], "ü": "\u2028", "": 12},
    [[12345] * 50, "x" * 100],
]


def given(value):
    return list(value.items()) if isinstance(value, dict) else [(str(n), entry) for n, entry in enumerate(value)]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("value", VALUES)
def test_entries_are_those_of_the_whole_file_however_little_is_read_at_a_time(tmp_path, monkeypatch, value, at_once):
    monkeypatch.setattr(source_files, "_READ_CHARACTERS", at_once)
    for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False) + "\n\n"):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        for tolerant in (False, True):
            file = JsonFile(tmp_path / "a.json", tolerant)
            assert list(file.entries()) == given(value) and file.read() == value
            assert not file.mended


def test_a_key_that_is_there_twice_is_given_twice(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1, "a": 2}')
    assert list(JsonFile(tmp_path / "a.json").entries()) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: expected a list or an object"),
        ("12", "line 1: expected a list or an object"),
        ("[1, 2", "line 1: expected , or ]"),
        ('{"a" 1}', "line 1: expected : after a key"),
        ("{1: 2}", "line 1: expected a key in quotes"),
        ('{"a": 1\n\n"b": 2}', "line 3: expected , or }"),
        ("[1,\n2,\n]", "line 3: a comma before a closing bracket (read it with `tolerant`)"),
        ('[{"a": 1,\n}]', "a comma before a closing bracket (read it with `tolerant`)"),
        ('[\n1,\n{"a": nothing}]', "line 3: Expecting value"),
        ("[1]\n]", "line 2: there is more after the end: ']' (read it with `tolerant`)"),
        ("[1] [2]", "line 1: there is more after the end: '[2]'"),
        ("[1]\x1c", "line 1: there is more after the end: '\\x1c'"),
        ("[1]\n\u2028]", "line 2: there is more after the end"),
        ("[" * 100_000, "brackets are nested too deeply"),
        ('{"a": 1}\n}\n}', "there is more after the end"),
        ("[1" + "0" * 5000 + "]", "line 1: Exceeds the limit"),
    ],
)
def test_what_is_wrong_with_json_is_named_by_file_and_line(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(QuestionError, match=f"a.json: .*{re.escape(said)}"):
        list(JsonFile(tmp_path / "a.json").entries())


@pytest.mark.parametrize(
    ("text", "value", "mended"),
    [
        ("[1, 2,]", [1, 2], ["a.json: 1 commas before a closing bracket"]),
        ('{"a": {"b": [1 , \n ],\n}\n}', {"a": {"b": [1]}}, ["a.json: 2 commas before a closing bracket"]),
        ('{"a": 1}\n}', {"a": 1}, ["a.json: } after the end"]),
        ('{"a": [1,]}]}', {"a": [1]}, ["a.json: 1 commas before a closing bracket", "a.json: ]} after the end"]),
    ],
)
def test_two_slips_are_mended_and_told_when_asked(tmp_path, text, value, mended):
    (tmp_path / "a.json").write_text(text)
    file = JsonFile(tmp_path / "a.json", tolerant=True)
    assert list(file.entries()) == given(value)
    assert file.mended == mended
    assert JsonFile(tmp_path / "a.json", tolerant=True).read() == value
    for read in (JsonFile(tmp_path / "a.json").read, lambda: list(JsonFile(tmp_path / "a.json").entries())):
        with pytest.raises(QuestionError):
            read()


@pytest.mark.parametrize("text", ["[1 2]", "[1", '{"a": 1} {"b": 2}', "[1]}x", '{"a": "}'])
def test_nothing_else_is_mended(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(QuestionError, match=r"a.json"):
        list(JsonFile(tmp_path / "a.json", tolerant=True).entries())


def test_a_comma_in_a_text_is_no_slip():
    text = r'{"a": ",]", "b": "\",}", "c": [1,]}'
    assert drop_trailing_commas(text) == (text.replace("1,", "1"), 1)
    # a text that never closes is gone through once
    text = '"' + '\\"' * 200_000 + ",]"
    assert drop_trailing_commas(text) == (text, 0)


def test_files_that_are_too_large_or_no_text_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b'["\xff"]')
    for tolerant in (False, True):
        with pytest.raises(QuestionError, match=r"a.json: cannot be read as JSON"):
            list(JsonFile(tmp_path / "a.json", tolerant).entries())
    monkeypatch.setattr(source_files, "MAX_BYTES", 3)
    with pytest.raises(QuestionError, match=r"a.json: has 0 MiB, expected at most"):
        list(JsonFile(tmp_path / "a.json").entries())
    monkeypatch.setattr(source_files, "_MAX_ENTRY_CHARACTERS", 100)
    monkeypatch.setattr(source_files, "_READ_CHARACTERS", 10)
    monkeypatch.setattr(source_files, "MAX_BYTES", 10_000)
    (tmp_path / "b.json").write_text('["' + "x" * 1000 + '"]')
    with pytest.raises(QuestionError, match=r"b.json: line 1: Unterminated string"):
        list(JsonFile(tmp_path / "b.json").entries())
    with pytest.raises(QuestionError, match=r"no c.json or d.json in it; is this a copy of THIS"):
        find_file(tmp_path, ["c.json", "d.json"], "THIS")
    with pytest.raises(QuestionError, match="there is no such folder"):
        find_file(tmp_path / "nothing", ["c.json"], "THIS")


def test_a_long_list_is_read_in_little_memory_and_linear_time(tmp_path):
    import tracemalloc

    with (tmp_path / "a.json").open("w") as file:
        file.write("[" + ",\n".join(json.dumps({"number": n, "text": "x" * 1000}) for n in range(14_000)) + "]")
    tracemalloc.start()
    count = sum(1 for _ in JsonFile(tmp_path / "a.json").entries())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 14_000
    assert peak < 8 * 2**20  # of 14 MiB


def test_rows_of_csv_are_told_by_line_and_taken_where_they_are_whole(tmp_path):
    file = write_csv(tmp_path / "a.csv", ("a", "b"), [("1", " 2 "), ("line\nbreak", "3"), ("4",), ("5", "6", "7")])
    assert list(read_csv(file, ("a", "b"))) == [
        ("a.csv line 2", {"a": "1", "b": "2"}),
        ("a.csv line 4", {"a": "line\nbreak", "b": "3"}),
        ("a.csv line 5", None),
        ("a.csv line 6", None),
    ]
    with pytest.raises(QuestionError, match=r"a.csv: columns \['c'\] are missing; there are \['a', 'b'\]"):
        list(read_csv(file, ("a", "c")))
    for content in (b"a,b\n\xff,1\n", b'a,b\n"' + b"x" * 200_000 + b'",1\n'):
        file.write_bytes(content)
        with pytest.raises(QuestionError, match=r"a.csv: cannot be read as CSV"):
            list(read_csv(file, ("a", "b")))
    file.write_bytes(b"")
    with pytest.raises(QuestionError, match="are missing; there are None"):
        list(read_csv(file, ("a", "b")))
    with pytest.raises(QuestionError, match=r"nothing.csv: cannot be read"):
        list(read_csv(tmp_path / "nothing.csv", ()))
