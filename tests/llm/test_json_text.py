"""JSON as models write it: what is forgiven, which of several objects counts, and that no cut is completed."""

import sys
import time

import pytest

from vidreason.errors import InvalidAnswer, LLMError
from vidreason.llm.json_text import MAX_CHARACTERS, parse_json

EXPECTED = {"key_r": [[1, 2], [2, 3]]}
PLAIN = '{"key_r": [[1, 2], [2, 3]]}'


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"\ufeff  {PLAIN}\n",
        f"```json\n{PLAIN}\n```",
        f"```\n{PLAIN}\n```\n",
        f"```json {PLAIN}```",
        f"```json\n{PLAIN}",  # the closing fence is missing, the answer is not
        f"Here is the answer:\n```json\n{PLAIN}\n```\nI hope it's right.",
        f"The person's hands matter. {PLAIN} That's all (rows first).",
        '{"key_r": [[1, 2], [2, 3],],}',
        '{"key_r": [[1, 2] [2, 3]]}',
        "{'key_r': [[1, 2], [2, 3]]}",
        "{key_r: [[1, 2], [2, 3]]}",
        '{"key_r": [(1, 2), (2, 3)]}',
        "{'key_r': ((1, 2), (2, 3),)}",
        "{“key_r”: [[1, 2], [2, 3]]}",
        '{{"key_r": [[1, 2], [2, 3]]}}',
        '{"key_r": [[1, 2], // the person\'s "hand"\n [2, 3]]}',
        '{"key_r": [[1, 2], # a bracket in a comment: ]\n [2, 3]]}',
        '{"key_r": /* cells { */ [[1, 2], [2, 3]]}',
        '"{\\"key_r\\": [[1, 2], [2, 3]]}"',
        '"```json\\n{\\"key_r\\": [[1, 2], [2, 3]]}\\n```"',
        f"<think>Perhaps {{'key_r': [[0, 0]]}}? It's</think>{PLAIN}",
        f"the ball, {{so</think>\n{PLAIN}",
        f"<Thinking>\n{{</Thinking>\n{PLAIN}\n<think>done",
        '{"key_r": [[1, 2]], "key_r": [[2, 3]]}',  # a key twice keeps both
    ],
)
def test_slips_are_forgiven(text):
    assert parse_json(text, keys=("key_r",)) == EXPECTED


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            '{"name": "a {bracket} and a \\"quote\\"", "b": "it\'s"}',
            {"name": 'a {bracket} and a "quote"', "b": "it's"},
        ),
        ("{'name': 'person\\'s {', 'ok': True, 'none': None}", {"name": "person's {", "ok": True, "none": None}),
        ('so: {"name": "}", "x": 1,} done', {"name": "}", "x": 1}),
        ("[(1, 2), (2, 3)]", [[1, 2], [2, 3]]),
        ("The cells are [[1, 2], [2, 3]].", [[1, 2], [2, 3]]),
        ("[]", []),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('[[1, 2]] and {"a": 1}', {"a": 1}),
    ],
)
def test_values(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"key_r": "example"} then {"key_r": [[1, 2]]}', {"key_r": [[1, 2]]}),  # the last one with the key
        ('{"key_r": [[1, 2]]} {"confidence": 1}', {"key_r": [[1, 2]]}),  # the key goes before the place
        ('{" Key_R ": []} {"confidence": 1}', {" Key_R ": []}),
        ('{"a": 1} {"b": 2}', {"b": 2}),  # no key anywhere: the last one
        ('Cells are {row, column}. {"key_r": [[1, 2]]}', {"key_r": [[1, 2]]}),
        ('A stray {] here, {"key_r": [[1, 2]]}', {"key_r": [[1, 2]]}),
    ],
)
def test_the_choice_among_several_objects(text, value):
    assert parse_json(text, keys=("key_r",)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"key_r": [[1, 2], [2, 3',
        '{"key_r": [[1, 2], [2, 3]]',
        '{"key_r": [[1, 2], [2, 3]], "why": "the ba',
        "{'key_r': [[1, 2]], 'why': 'the ba}",
        '```json\n{"key_r": [[1, 2],\n```',
        "[[1, 2], [2",
        "Cells: [[1, 2], [2",
        '{"key_r": [[1, 2]]} no, better {"key_r": [[2,',  # the answer that counts is the one that is cut off
        '{"outer": {"key_r": [[1, 2]]}, "why": ',
        '{"key_r": [[1, 2]] // and so on',
        '{"key_r": [[1, 2]] /* and so on }',
    ],
)
def test_what_is_cut_off_is_not_completed(text):
    with pytest.raises(InvalidAnswer, match="cut off"):
        parse_json(text, keys=("key_r",))


@pytest.mark.parametrize("end", range(1, len(PLAIN)))
def test_no_beginning_of_an_answer_is_an_answer(end):
    with pytest.raises(InvalidAnswer):
        parse_json(PLAIN[:end], keys=("key_r",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n\ufeff", "empty"),
        ("<think>hmm", "empty"),
        ("I cannot see any person.", "no JSON"),
        ("42", "no JSON"),
        ("null", "no JSON"),
        ("The grid is [4, 4].", "no JSON"),
        ('"just words"', "no JSON"),
        ("{ [1, 2} ] )", "no JSON"),
        ("x" * (MAX_CHARACTERS + 1), f"more than {MAX_CHARACTERS}"),
        ("[" * 5000, "nested deeper"),
        ("{'a':" * 5000 + "1" + "}" * 5000, "nested deeper"),
    ],
)
def test_what_is_no_answer(text, message):
    with pytest.raises(InvalidAnswer, match=message):
        parse_json(text)


def test_numbers_that_python_refuses_are_no_error_of_ours():
    with pytest.raises(InvalidAnswer):
        parse_json("9" * 5000)  # more digits than Python turns to an integer


@pytest.mark.parametrize(
    "piece", ["/*", "{/*", "{", "{]", '"', "{'a' ", "```", "<think>", "</think>", "{a}", "[(", "/"]
)
def test_time_does_not_grow_with_the_square_of_a_text(piece):
    started = time.perf_counter()
    with pytest.raises(InvalidAnswer):
        parse_json(piece * (MAX_CHARACTERS // len(piece)))
    assert time.perf_counter() - started < 20  # a square of 50,000 characters would take minutes


def test_a_missing_json_repair_is_said_only_where_it_is_wanted(monkeypatch):
    monkeypatch.setitem(sys.modules, "json_repair", None)
    assert parse_json(f"so: {PLAIN}") == EXPECTED
    assert parse_json('{"key_r": [(1, 2), // the hand\n (2, 3)]}') == EXPECTED
    with pytest.raises(LLMError, match="pip install json-repair"):
        parse_json("{'key_r': []}")
