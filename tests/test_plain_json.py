"""JSON of others is read within bounds, and what is wrong with it is said with the file and the line."""

import json
import math

import pytest
from fixtures.layout_trees import put

from vidreason.errors import GraphError, ManifestError, QuestionError
from vidreason.plain_json import parse_plain_json, read_plain_json

VALUE = {"a": [1, 2.5, None, True, "x, ]"], "b": {"c": 'quote " and \\ and ,}'}, "d": [], "e": "Käse"}


def test_plain_json_is_read_as_it_is(tmp_path):
    for text in (json.dumps(VALUE), json.dumps(VALUE, indent=4, ensure_ascii=False), "\ufeff" + json.dumps(VALUE)):
        file = put(tmp_path / "a.json", text.encode())
        assert read_plain_json(file) == read_plain_json(file, allow_trailing_commas=True) == VALUE
    # as Python writes them; a reader of numbers says where they are
    numbers = read_plain_json(put(tmp_path / "n.json", b"[NaN, -Infinity, 1e999]"))
    assert math.isnan(numbers[0]) and numbers[1:] == [-math.inf, math.inf]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": [1, 2,]}', "a comma before a closing bracket, first in line 1"),
        (b'{"a": 1,\n"b": ",]",\n}', "a comma before a closing bracket, first in line 2"),
        (b'{"a": 1}\n}', "'}' follows its end, in line 2, column 1; a bracket too many"),
        # blank, and lines, to Python and not to JSON
        (b"{}\x1c", r"'\\x1c' follows its end, in line 1"),
        ("{}\n\u2028".encode(), r"'\\u2028' follows its end, in line 2"),
        (b'{"a": 1', "expecting ',' delimiter, in line 1"),
        (b'{"a": [1,}', "expecting value|no JSON"),  # a trailing comma is not all that is wrong with it
        (b"", "expecting value, in line 1"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": "\xff"}', "utf-8"),
        (b"[" + b"9" * 5000 + b"]", "no JSON: Exceeds the limit"),
        (b'"' + b'\\"' * 50_000, "no JSON: unterminated string"),  # in a time that grows with its length alone
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, said):
    file = put(tmp_path / "bad.json", content)
    with pytest.raises(ManifestError, match=rf"bad\.json: .*({said})") as caught:
        read_plain_json(file)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(GraphError, match="bad"):
        read_plain_json(file, GraphError)


def test_trailing_commas_and_nothing_else_are_read_over_where_asked(tmp_path):
    file = put(tmp_path / "a.json", b'{"a": [1, 2, ] , "b": {"c": ",]", }, }')
    assert read_plain_json(file, allow_trailing_commas=True) == {"a": [1, 2], "b": {"c": ",]"}}
    for text in ('{"a": 1,, }', "[,]x", '{"a": 1, }}', '{"a" 1,}'):
        with pytest.raises(ValueError, match="no JSON"):
            parse_plain_json(text, allow_trailing_commas=True)


def test_published_files_with_slips(shared_data, tmp_path):
    """AGQA's example has a brace too many; STAR's item, which is whole here, is given the trailing comma of others."""
    with pytest.raises(QuestionError, match=r"'}' follows its end, in line 198, column 1; a bracket too many"):
        read_plain_json(shared_data / "videoqa" / "agqa" / "test_balanced_example.json.txt", QuestionError)
    item = shared_data / "videoqa" / "star" / "sample_item.json.txt"
    text = item.read_text(encoding="utf-8").rstrip()
    spoilt = put(tmp_path / "item.json", text.removesuffix("}") + ",\n}")
    with pytest.raises(
        GraphError, match=rf"a comma before a closing bracket, first in line {text.count(chr(10)) + 1}$"
    ):
        read_plain_json(spoilt, GraphError)
    assert read_plain_json(spoilt, allow_trailing_commas=True) == read_plain_json(item)


def test_limits(tmp_path):
    file = put(tmp_path / "a.json", b"[1, 2]")
    assert read_plain_json(file, max_bytes=6) == [1, 2]
    with pytest.raises(ManifestError, match="larger than 5 bytes"):
        read_plain_json(file, max_bytes=5)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_plain_json(tmp_path / "none.json")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_plain_json(tmp_path)
