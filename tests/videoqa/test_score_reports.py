"""Reports: what groups and means say, what stands beside them, and questions and predictions in any order."""

import json
import random

import pytest

from vidreason.videoqa.__main__ import main
from vidreason.videoqa.judging.scales import OPEN_EQA
from vidreason.videoqa.rows import hash_prediction, judgement_row, prediction_row, question_row
from vidreason.videoqa.scoring.measures import Judged, RightOrWrong
from vidreason.videoqa.scoring.report import make_report, report_page
from vidreason.videoqa.scoring.rules import GENERAL, RULES
from vidreason.videoqa.scoring.scores import score_predictions
from vidreason.videoqa.tables import write_predictions, write_questions

TASKS = {"count": 30, "order": 10}


def make_tables(seed: int = 0):
    """Questions of two tasks; of "count" all are answered rightly, of "order" none."""
    questions, predictions = [], []
    rng = random.Random(seed)
    for task, count in TASKS.items():
        for number in range(count):
            key = {"question_id": f"{task}{number}", "source": "mvbench@1.0", "split": "test"}
            options = ["one", "two", "three"]
            answer = rng.randrange(3)
            questions.append(
                question_row(
                    **{**key, "video_id": f"v{number % 5}", "question": "Which?", "answer_format": "choice"},
                    **{"options": options, "answer_index": answer, "task": task, "producer": "tests"},
                    **{"question_type": "T", "num_steps": 1 + number % 2},
                )
            )
            said = answer if task == "count" else (answer + 1) % 3
            predictions.append(prediction_row(**key, prediction="ABC"[said], producer="tests"))
    return questions, predictions


def test_means_over_questions_and_over_tasks():
    """T39: MVBench is averaged over tasks, others over questions; both are told."""
    questions, predictions = make_tables()
    by_task = make_report(score_predictions(questions, predictions, RULES["mvbench"], RightOrWrong()))
    by_question = make_report(score_predictions(questions, predictions, GENERAL, RightOrWrong()))
    assert (by_task["score"], by_task["micro"], by_task["macro"]["task"]) == (50.0, 75.0, 50.0)
    assert (by_question["score"], by_question["by_task"]) == (75.0, {"count": 100.0, "order": 0.0})
    assert by_task["by_type"] == {"count": 100.0, "order": 0.0}
    assert by_question["by_steps"] == {"1": 75.0, "2": 75.0}
    low, high = by_question["interval"]
    assert low <= 75 <= high


def test_order_does_not_matter_and_every_prediction_counts_once():
    questions, predictions = make_tables()
    report = make_report(score_predictions(questions, predictions, GENERAL, RightOrWrong()))
    mixed = list(predictions)
    random.Random(1).shuffle(mixed)
    assert make_report(score_predictions(questions, mixed, GENERAL, RightOrWrong())) == report
    # one left out, one given twice and one of an unknown question
    stranger = {**predictions[0], "question_id": "nobody"}
    scores = score_predictions(questions, [*predictions[1:], predictions[5], stranger], GENERAL, RightOrWrong())
    changed = make_report(scores)
    assert (changed["missing"], changed["n"]) == (1, 40)
    assert changed["without_question"]["predictions"]["n"] == 2
    assert changed["score"] == pytest.approx(100 * 29 / 40)


def test_failures_are_wrong_and_counted_by_status():
    """T34, T35: what is empty, refused or unparsable is wrong, and stands in the denominator."""
    questions, predictions = make_tables()
    key = {name: predictions[0][name] for name in ("source", "split", "producer")}
    said = [("", "empty"), ("", "refused"), ("I will not say", "ok"), ("x", "failed")]
    for number, (text, status) in enumerate(said):
        predictions[number] = prediction_row(
            **key, question_id=predictions[number]["question_id"], prediction=text, status=status
        )
    report = make_report(score_predictions(questions, predictions, GENERAL, RightOrWrong()))
    assert report["statuses"] == {"empty": 1, "failed": 1, "refused": 1, "scored": 36, "unparsable": 1}
    assert report["score"] == pytest.approx(100 * 26 / 40) and report["n"] == 40


def test_a_failed_judge_is_neither_right_nor_wrong():
    """T36: the score is an interval, from all failed ones wrong to all of them right."""
    questions, predictions = make_tables()

    def judged(number, **fields):
        key = {name: predictions[number][name] for name in ("question_id", "source", "split")}
        said = hash_prediction(predictions[number]["prediction"])
        scale = OPEN_EQA.name
        return judgement_row(**key, prediction_sha256=said, judge="j", scale=scale, producer="judge", **fields)

    judgements = [judged(number, score=float(1 + number % 5)) for number in range(30)]
    judgements += [judged(number, status="failed") for number in range(30, 36)]
    how = Judged(OPEN_EQA.worth_of, OPEN_EQA.names)
    report = make_report(score_predictions(questions, predictions, GENERAL, how, judgements))
    assert (report["judge_failed"], report["not_judged"]) == (6, 4)
    assert report["score"] == pytest.approx(50.0)
    assert report["score_bounds"] == [pytest.approx(100 * 15 / 40), pytest.approx(100 * 25 / 40)]


def test_the_command_on_our_own_tables(tmp_path, capsys):
    questions, predictions = make_tables()
    blind = [{**row, "prediction": "A", "condition": "blind"} for row in predictions[:-1]]
    write_questions(tmp_path / "questions", {"test": questions})
    write_predictions(tmp_path / "predictions", {"test": predictions + blind})
    flags = ["--questions", str(tmp_path / "questions"), "--predictions", str(tmp_path / "predictions")]
    assert main(["score", *flags, "--out", str(tmp_path / "out"), "--resamples", "100"]) == 0
    report = json.loads(capsys.readouterr().out)
    # the source says by which benchmark's rule it is counted
    assert (report["score"], report["average"]) == (50.0, "macro over tasks")
    assert report["baselines"]["blind"]["missing"] == 1 and 10 < report["baselines"]["blind"]["score"] < 60
    assert 33 <= report["baselines"]["prior"] < 70
    assert json.loads((tmp_path / "out" / "report.json").read_text())["score"] == 50.0
    page = (tmp_path / "out" / "report.md").read_text()
    assert page == report_page(report, f"Scores on {tmp_path / 'questions'}")
    assert "| task | count | 30 | 100.00 |" in page and "blind (%)" in page
    assert main(["score", *flags, "--condition", "shuffled"]) == 1
    assert "no predictions of condition 'shuffled'; there are: blind, video" in capsys.readouterr().err
    assert main(["score", *flags, "--condition", "blind", "--resamples", "100"]) == 0
