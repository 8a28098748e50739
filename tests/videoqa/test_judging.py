"""Judges on both published scales and without a key: what is read, what fails, what is paid once."""

import datetime
import json

import numpy as np
import pytest

from vidreason.errors import InvalidAnswer, QuestionError
from vidreason.llm.testing.chat_faults import Faults
from vidreason.llm.testing.chat_server import ChatServer
from vidreason.videoqa.__main__ import main
from vidreason.videoqa.judging.keyless import judge_by_rules, judge_keyless
from vidreason.videoqa.judging.language_model import JudgeSettings, LanguageModelJudge
from vidreason.videoqa.judging.scales import OPEN_EQA, VIDEO_CHATGPT, choose_kind
from vidreason.videoqa.tables import (
    load_judgements,
    load_questions,
    prediction_row,
    question_row,
    write_predictions,
    write_questions,
)

ANSWERS = ["a red cup", "two", "yes", "on the table", "the dog runs away", "blue"]
SAID = ["red cup", "There are 2 of them", "Yes, it does.", "under the table", "the dog leaves", ""]


def make_question(number: int, **fields):
    return question_row(
        **{
            **{"question_id": f"q{number}", "source": "worlds@1", "split": "test", "video_id": f"v{number // 2}"},
            **{"question": f"Which is it, number {number}?", "answer_format": "open", "answer": ANSWERS[number]},
            **{"producer": "tests", "question_type": "what", **fields},
        }
    )


def make_prediction(number: int, text: str, **fields):
    key = {"question_id": f"q{number}", "source": "worlds@1", "split": "test", "producer": "tests"}
    return prediction_row(**key, prediction=text, **fields)


@pytest.fixture
def tables(tmp_path):
    questions = [make_question(number) for number in range(len(ANSWERS))]
    write_questions(tmp_path / "questions", {"test": questions})
    predictions = [make_prediction(number, text) for number, text in enumerate(SAID)]
    blind = [make_prediction(number, "yes", condition="blind") for number in range(4)]
    write_predictions(tmp_path / "predictions", {"test": predictions + blind})
    return ["--questions", str(tmp_path / "questions"), "--predictions", str(tmp_path / "predictions")]


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        *(("4", 4), ("score: 4", 4), ("Your mark: 4.", 4), ("**5**", 5), ("4/5", 4), ("The score is 2, since", 2)),
        *(("4.8", None), ("6", None), ("0", None), ("-1", None), ("", None), ("I cannot judge this.", None)),
        *(("score: 4 or score: 5", None), ("{'pred': 'yes', 'score': 4}", None), ("4 5", None), ("four", None)),
    ],
)
def test_marks_from_1_to_5(reply, score):
    """T36, T38: "4.8" and "6" are no marks, and a reply on the other scale is none here."""
    if score is None:
        with pytest.raises(InvalidAnswer):
            OPEN_EQA.read(reply)
    else:
        assert OPEN_EQA.read(reply).score == score


@pytest.mark.parametrize(
    ("reply", "mark"),
    [
        *(("{'pred': 'yes', 'score': 4}", (4, True)), ('```json\n{"pred": "No", "score": 0}\n```', (0, False))),
        *(('{"pred": "yes", "score": "5"}', (5, True)), ('{"pred": "yes", "score": 4.8}', None)),
        *(('{"pred": "yes", "score": 6}', None), ('{"pred": "maybe", "score": 3}', None), ("4", None)),
        *(('{"pred": "yes"}', None), ('{"pred": "yes", "sc', None), ("I will not.", None), ('["yes", 4]', None)),
    ],
)
def test_yes_and_no_with_0_to_5(reply, mark):
    """T36."""
    if mark is None:
        with pytest.raises(InvalidAnswer):
            VIDEO_CHATGPT.read(reply)
    else:
        found = VIDEO_CHATGPT.read(reply)
        assert (found.score, found.is_right) == mark


def test_both_scales_have_their_own_worth():
    """T38: a 3 is half on the one; on the other only yes and no decide, and the mark is a mean of its own."""
    assert OPEN_EQA.worth_of({"score": 3}) == {"match": 0.5}
    assert VIDEO_CHATGPT.worth_of({"score": 3, "is_right": False}) == {"accuracy": 0.0, "mark_0_5": 3}


def reply_of(payload: dict) -> str:
    text = payload["messages"][-1]["content"]
    return "1" if "under the table" in text else "5"


def test_a_language_model_judges_once_and_failures_make_an_interval(tables, tmp_path, monkeypatch, capsys):
    """T36, T37: a refused reply is no mark; nothing is asked twice; the report names judge, day and prompt."""
    monkeypatch.setenv("OPENAI_API_KEY", "none-of-this-leaves")
    out, flags = str(tmp_path / "judged"), ["--judge", "llm", "--model", "judge-a", "--price_usd", "1", "2"]
    with ChatServer(reply_of, Faults(script=("refused",))) as server:
        flags += ["--base_url", server.url, "--max_in_flight", "1"]
        assert main(["judge", *tables, "--out", out, *flags, "--dry_run"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert (plan["predictions"], plan["requests"], plan["answered"]) == (5, 5, 0) and plan["most_usd"] > 0
        assert len(server.log) == 0
        assert main(["judge", *tables, "--out", out, *flags]) == 0
        assert len(server.log) == 5
        assert main(["judge", *tables, "--out", out, *flags]) == 0  # again: all is in the store
        assert len(server.log) == 5
        # another model is another key
        assert main(["judge", *tables, "--out", str(tmp_path / "other"), *flags[:3], "judge-b", *flags[4:]]) == 0
        assert len(server.log) == 10
    capsys.readouterr()
    rows = load_judgements(out)["test"]
    assert sorted(rows["status"]) == ["ok"] * 4 + ["refused"]
    assert sum(row["cost_usd"] for row in rows) > 0
    assert main(["score", *tables, "--judged", out, "--resamples", "100"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["measure"], report["n"], report["judge_failed"], report["empty"]) == ("match", 6, 1, 1)
    low, high = report["score_bounds"]
    # three marks of 5 and one of 1, one that failed and one that is empty
    assert low == pytest.approx(100 * 3 / 6, abs=1e-3) and high == pytest.approx(100 * 4 / 6, abs=1e-3)
    assert report["score"] == pytest.approx(100 * 3 / 5, abs=1e-3)
    judge = JudgeSettings("judge-a", "open_eqa")
    assert report["judges"] == [
        {
            **{"judge": "llm judge-a", "scale": "open_eqa_1_5", "prompt_id": judge.load_prompt().prompt_id},
            **{"prompt_sha256": judge.load_prompt().sha256, "n": 5},
        }
    ]
    assert report["judged_on"] == datetime.date.today().isoformat()


def test_another_prompt_model_or_text_is_another_request(tmp_path):
    """T37."""
    pair = make_question(0), make_prediction(0, "red cup")
    other = tmp_path / "other.txt"
    other.write_text("id: other\n[system]\nJudge.\n[user]\n{{ question }} {{ answer }} {{ prediction }}\n")
    judges = [
        JudgeSettings("a", "open_eqa"),
        JudgeSettings("b", "open_eqa"),
        JudgeSettings("a", "video_chatgpt"),
        JudgeSettings("a", "open_eqa", prompt=str(other)),
        JudgeSettings("a", "open_eqa", seed=1),
    ]
    hashes = [LanguageModelJudge(settings).request(*pair).request_hash for settings in judges]
    hashes.append(LanguageModelJudge(judges[0]).request(pair[0], make_prediction(0, "cup")).request_hash)
    assert len(set(hashes)) == len(hashes)
    assert LanguageModelJudge(judges[0]).request(*pair).request_hash == hashes[0]


def test_kinds_of_judgements_are_not_mixed():
    """T38."""
    rows = [
        {"judge": "a", "scale": "open_eqa_1_5", "prompt_sha256": "1"},
        {"judge": "a", "scale": "video_chatgpt_yes_no_0_5", "prompt_sha256": "2"},
        {"judge": "a", "scale": "open_eqa_1_5", "prompt_sha256": "3"},
    ]
    with pytest.raises(QuestionError, match="3 kinds, which are not mixed"):
        choose_kind(rows)
    with pytest.raises(QuestionError, match="2 kinds"):
        choose_kind(rows, scale="open_eqa_1_5")
    assert choose_kind(rows, scale="video_chatgpt_yes_no_0_5")[2] == "2"
    with pytest.raises(QuestionError, match="no judgements by b"):
        choose_kind(rows, judge="b")


def test_rules_of_the_keyless_judge():
    def judged(number, text, **fields):
        mark = judge_by_rules(make_question(number, **fields), text)
        return None if mark is None else mark.is_right

    assert judged(1, "There are 2 of them") is True and judged(1, "3") is False and judged(1, "2 or 3") is False
    assert judged(2, "Yes, it does.") is True and judged(2, "No") is False and judged(2, "Perhaps") is False
    assert judged(0, "The red cup.") is None or judged(0, "A red cup.") is True
    assert judged(0, "a crimson cup") is None  # phrases that differ are for the embedding
    # which takes "male" for "female": such words are told by a list
    assert judged(0, "a blue cup") is False and judged(0, "a red and blue cup") is None
    for answer, said in (
        ("female", "male"),
        ("left hand", "the right hand"),
        ("gray", "White."),
        ("long", "short hair"),
    ):
        assert judged(0, said, answer=answer) is False
    assert judged(0, "grey cat", answer="gray") is None and judged(0, "blue", more_answers=["blue cup"]) is None
    choice = {"answer_format": "choice", "options": ["a red cup", "a dog"], "answer": "a dog"}
    assert judged(0, "B", **choice) is True and judged(0, "a man", **choice) is False


def test_the_keyless_judge_by_embeddings(tables, tmp_path, capsys):
    """It judges under its own name; a judgement of another text counts for nothing."""
    vectors = {"red": [1.0, 0.0], "cup": [1.0, 0.0], "dog": [0.6, 0.8], "table": [0.0, 1.0]}

    def embed(texts):
        rows = [
            np.sum([vectors[word] for word in text.split() if word in vectors] or [[1.0, 0.0]], 0) for text in texts
        ]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    pairs = [(make_question(number), make_prediction(number, SAID[number])) for number in (0, 3, 4)]
    rows = list(judge_keyless(pairs, embed, threshold=0.9))
    assert [row["is_right"] for row in rows] == [True, True, True]
    assert rows[0]["judge"] == "keyless@2 exact+minilm>=0.9" and rows[0]["scale"] == "keyless_0_1"
    far = list(judge_keyless([(make_question(3), make_prediction(3, "red dog"))], embed, threshold=0.9))
    assert far[0]["is_right"] is False and 0 < far[0]["score"] < 0.9
    assert [row["judge"] for row in judge_keyless(pairs, None)] == ["keyless@2 exact"] * 3
    # on the command line, without embeddings
    assert main(["judge", *tables, "--out", str(tmp_path / "judged"), "--no_embedding"]) == 0
    other = [make_prediction(number, text) for number, text in enumerate(["cup", *SAID[1:]])]
    write_predictions(tmp_path / "predictions", {"test": other})
    capsys.readouterr()
    assert main(["score", *tables, "--judged", str(tmp_path / "judged"), "--resamples", "100"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["not_judged"], report["empty"], report["measure"]) == (1, 1, "accuracy")
    assert report["score_bounds"] == [pytest.approx(100 * 2 / 6, abs=1e-3), pytest.approx(100 * 3 / 6, abs=1e-3)]


def test_a_table_without_an_answer_is_named_before_anything_is_loaded_or_asked(tables, tmp_path, monkeypatch, capsys):
    """And what an earlier run wrote is kept; nothing here has a key, a server or an embedding."""
    monkeypatch.setattr("vidreason.videoqa.judge_command.minilm", lambda: pytest.fail("loaded"))
    out, questions = tmp_path / "judged", tables[:2]
    assert main(["judge", *tables, "--out", str(out), "--no_embedding"]) == 0
    cut = [make_prediction(number, "", status="truncated") for number in range(4)]
    elsewhere = make_prediction(5, "yes") | {"question_id": "q77", "status": "ok"}
    for name, rows in {"cut": [*cut, make_prediction(4, "")], "elsewhere": [*cut, elsewhere]}.items():
        write_predictions(tmp_path / name, {"test": rows})
        capsys.readouterr()
        for flags in ([], ["--judge", "llm"], ["--judge", "llm", "--dry_run"]):
            flags += ["--predictions", str(tmp_path / name), "--out", str(out)]
            assert main(["judge", *questions, *flags]) == 1
            said = capsys.readouterr().err
            assert said.startswith(f"error: {tmp_path / name}: there is nothing to judge") and said.count("\n") == 1
            assert "4 truncated, 1 " in said and ("about other questions" in said) == (name == "elsewhere")
    assert len(load_judgements(out)["test"]) == 5
    with pytest.raises(QuestionError, match="there are no questions to write"):
        write_questions(tmp_path / "questions", {"test": []})
    assert len(load_questions(tmp_path / "questions")["test"]) == len(ANSWERS)
