"""Files of requests and of answers, line by line."""

import json

import pytest

from vidreason.errors import LLMError
from vidreason.llm.batch_files import (
    RequestFile,
    errors_path,
    line_of,
    locked,
    output_path,
    read_outcomes,
    remove_files,
    remove_strays,
)
from vidreason.llm.client import RawCompletion, Redactor
from vidreason.llm.retry import FAIL, RETRY, STOP


def test_lines_are_read_whatever_they_are(tmp_path, caplog):
    path = tmp_path / "requests-1.jsonl"
    body = {"choices": [{"message": {"content": "good"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}

    def line(name, response=None, error=None):
        return json.dumps({"id": "x", "custom_id": name, "response": response, "error": error})

    output = [
        line("answered", {"status_code": 200, "body": body}),
        line("answered", {"status_code": 200, "body": {**body, "choices": []}}),
        line("not a completion", {"status_code": 200, "body": {"hello": 1}}),
        line("first failed, then answered", {"status_code": 500, "body": {}}),
        line("first failed, then answered", {"status_code": 200, "body": body}),
        "{",
        "[]",
        "",
    ]
    errors = [
        line("answered", {"status_code": 500, "body": {"error": {"message": "oh"}}}),
        line("wrong", {"status_code": 400, "body": {"error": {"message": "no"}}}),
        line("busy", {"status_code": 429, "body": {"error": {"message": "slow", "code": "rate_limit_exceeded"}}}),
        line("broke", {"status_code": 429, "body": {"error": {"message": "pay", "code": "insufficient_quota"}}}),
        line("text", {"status_code": 502, "body": "bad gateway"}),
        line("expired", None, {"code": "batch_expired", "message": "too late"}),
        line("nothing"),
    ]
    output_path(path).write_text("\n".join(output))
    errors_path(path).write_text("\n".join(errors))
    outcomes = read_outcomes(path, Redactor())
    answered = {name for name, outcome in outcomes.items() if isinstance(outcome, RawCompletion)}
    assert answered == {"answered", "first failed, then answered"} and outcomes["answered"].text == "good"
    verdicts = {name: outcome.verdict for name, outcome in outcomes.items() if name not in answered}
    retried = dict.fromkeys(["not a completion", "busy", "text", "expired", "nothing"], RETRY)
    assert verdicts == {**retried, "wrong": FAIL, "broke": STOP}
    assert outcomes["not a completion"].maybe_billed and not outcomes["expired"].maybe_billed
    assert "batch_expired: too late" in str(outcomes["expired"]) and "2 lines" in caplog.text


def test_no_line_tells_a_key(tmp_path):
    path, key = tmp_path / "requests-1.jsonl", "sk-proj-thisIsNoRealKey0123456789"
    told = {"code": "invalid", "message": f"the key {key} is not known"}
    lines = [
        {"custom_id": "without a response", "response": None, "error": told},
        {"custom_id": "refused", "response": {"status_code": 401, "body": {"error": told}}},
    ]
    errors_path(path).write_text("\n".join(map(json.dumps, lines)))
    outcomes = read_outcomes(path, Redactor())
    assert len(outcomes) == 2
    for outcome in outcomes.values():
        assert key not in str(outcome) and "is not known" in str(outcome)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LLMError, match=r"file.*cannot be used for batch files"), locked(tmp_path / "file"):
        pass
    with pytest.raises(LLMError, match=r"nowhere.*cannot be used for batch files"):
        RequestFile(tmp_path / "nowhere", 1, 1)


def test_what_killed_runs_left_is_taken_away_and_nothing_else(tmp_path):
    names = ["requests-1.jsonl", "requests-1.output", "requests-2.jsonl", "requests-2.errors", "requests-3.partial"]
    for name in [*names, "requests-1.output.partial", "notes.txt", "lock"]:
        (tmp_path / name).write_text("")
    remove_strays(tmp_path, ["requests-1.jsonl"])
    left = ["lock", "notes.txt", "requests-1.jsonl", "requests-1.output"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    remove_files(tmp_path / "requests-1.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == left[:2]


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    file = RequestFile(tmp_path, max_requests=2, max_bytes=1000)
    lines = [line_of(name, {"model": "m", "text": "é"}) for name in ("a", "b", "c")]
    for name, line in zip("ab", lines, strict=False):
        assert file.has_room(line) and not file.path.exists()
        file.add(name, line)
    assert not file.has_room(lines[2])
    file.finish()
    assert [json.loads(line)["custom_id"] for line in file.path.read_text().splitlines()] == ["a", "b"]
    discarded = RequestFile(tmp_path, 2, 1000)
    discarded.discard()
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]
