"""JSON as models write it: what is forgiven, which of several objects counts, and that no cut is completed."""

import sys

import pytest

from vidreason.errors import InvalidAnswer, LLMError
from vidreason.llm import json_text
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
    ("start", "piece", "end"),
    [
        *(
            ("", piece, "")
            for piece in ("/*", "{/*", "{", "{]", '"', "{'a' ", "```", "<think>", "</think>", "{a}", "[(")
        ),
        ('{"x":"', '\\"{', '"]'),  # each bracket opens a string up to the end, which another kind of bracket closes
        ("{a ", "{]", "]"),
        ("{a ", "{a}", "]"),
        ("", '{"} ', ""),
    ],
)
def test_the_work_is_bounded_whatever_the_text(monkeypatch, start, piece, end):
    """Counted in characters that are scanned and repaired, which a busy machine does not change."""
    scanned, repaired = [], []
    scan, repair = json_text._scan, json_text._repair

    def counted_scan(text, begin):
        found = scan(text, begin)
        scanned.append(found.stop - begin)
        return found

    def counted_repair(span):
        repaired.append(len(span))
        return repair(span)

    monkeypatch.setattr(json_text, "_scan", counted_scan)
    monkeypatch.setattr(json_text, "_repair", counted_repair)
    with pytest.raises(InvalidAnswer):
        parse_json(start + piece * ((MAX_CHARACTERS - len(start + end)) // len(piece)) + end)
    assert sum(scanned) <= 12 * MAX_CHARACTERS  # each bracket once for each would be 12,000 times a third of the text
    assert sum(repaired) <= 10_000 and len(repaired) < 200


@pytest.mark.parametrize("marks", ["◁think▷ ◁/think▷", "[THINK] [/THINK]", "<think> </think>"])
def test_thoughts_are_left_out_whatever_marks_them(marks):
    opening, closing = marks.split()
    thought = "the person's hand is at {row 0. Say {'key_r': [[0, 0]]} - no, that's the lamp."
    assert parse_json(f"{opening}{thought}{closing}{PLAIN}", keys=("key_r",)) == EXPECTED
    assert parse_json(f"{opening}{thought}{closing}<answer>{PLAIN}</answer>", keys=("key_r",)) == EXPECTED


def test_a_missing_json_repair_is_said_only_where_it_is_wanted(monkeypatch):
    monkeypatch.setitem(sys.modules, "json_repair", None)
    assert parse_json(f"so: {PLAIN}") == EXPECTED
    assert parse_json('{"key_r": [(1, 2), // the hand\n (2, 3)]}') == EXPECTED
    with pytest.raises(LLMError, match="pip install json-repair"):
        parse_json("{'key_r': []}")
