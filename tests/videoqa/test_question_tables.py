"""The three tables of video question answering: rows that are made whole, checked, written, and opened again."""

import datasets
import pytest

from vidreason.errors import QuestionError
from vidreason.videoqa.schema import JUDGEMENT_FEATURES, PREDICTION_FEATURES, QUESTION_FEATURES
from vidreason.videoqa.tables import (
    hash_prediction,
    judgement_row,
    load_judgements,
    load_predictions,
    load_questions,
    prediction_row,
    question_row,
    write_judgements,
    write_predictions,
    write_questions,
)

KEY = {"question_id": "q1", "source": "made@1", "split": "test", "producer": "test"}
CHOICE = {
    **KEY,
    "video_id": "cup",
    "question": "What did the person hold?",
    "answer_format": "choice",
    "options": ["A cup.", "A book.", "A cup"],
}
OPEN = {**KEY, "video_id": "cup", "question": "What is held?", "answer_format": "open", "answer": "cup"}
BOX = {"node_id": "1", "name": "cup", "frame_index": 3, "timestamp_s": 0.1, "box": [0.1, 0.2, 0.3, 0.4]}
JUDGEMENT = {**KEY, "prediction_sha256": hash_prediction("cup"), "judge": "exact@1", "scale": "exact"}


def test_a_choice_knows_its_answer_by_text_and_by_place():
    by_text, by_place = question_row(**CHOICE, answer="A book."), question_row(**CHOICE, answer_index=1)
    assert by_text == by_place
    assert list(by_text) == list(QUESTION_FEATURES)
    assert (by_text["answer_index"], by_text["answer"]) == (1, "A book.")
    # a wrong option that is there twice harms nobody
    assert question_row(**{**CHOICE, "options": ["a", "a", "b"]}, answer="b")["answer_index"] == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({**CHOICE, "answer": "A plate."}, r"question 'q1' of 'made@1': the answer 'A plate.' is 0 times among"),
        ({**CHOICE, "options": ["a", "a", "b"], "answer": "a"}, "is 2 times among"),
        ({**CHOICE, "answer_index": 3}, "answer is empty"),
        ({**CHOICE, "answer_index": 0, "answer": "A book."}, "answer_index is 0, where the answer is option 1"),
        ({**CHOICE, "options": ["a"], "answer": "a"}, "1 options, expected from 2"),
        ({**CHOICE, "options": [], "answer": "a"}, "0 options"),
        ({**CHOICE, "options": ["a", ""], "answer": "a"}, "texts that are not empty"),
        ({**OPEN, "answer": " "}, "answer is empty"),
        ({**OPEN, "options": ["cup", "book"]}, "2 options and answer_index 0 of a 'open' question"),
        ({**OPEN, "answer_format": "yes_no"}, "expected 'yes' or 'no'"),
        ({**OPEN, "answer_format": "essay"}, "answer_format is 'essay'"),
        ({**OPEN, "colour": "red"}, r"unknown fields \['colour'\]"),
        ({name: value for name, value in OPEN.items() if name != "video_id"}, r"missing fields \['video_id'\]"),
        ({**OPEN, "question": "\ud800"}, "text of UTF-8"),
        ({**OPEN, "num_steps": True}, "num_steps is True"),
        ({**OPEN, "num_steps": -1}, "num_steps is -1"),
        ({**OPEN, "start_s": 3.0, "end_s": 2.0}, "asked about 3.0 to 2.0 s"),
        ({**OPEN, "start_s": 3.0}, "both or none"),
        ({**OPEN, "start_s": 3.0, "end_s": 10**400}, "expected a finite number"),
        ({**OPEN, "evidence_spans": [{"start_s": 2.0, "end_s": 2.0}]}, "evidence_spans: from 2.0 to 2.0 s"),
        ({**OPEN, "evidence_spans": [{"start_s": 2.0, "end_s": float("nan")}]}, "finite numbers of seconds"),
        ({**OPEN, "evidence_boxes": [{**BOX, "box": [0.3, 0.2, 0.1, 0.4]}]}, "expected x0 < x1"),
        ({**OPEN, "evidence_boxes": [{**BOX, "box": [0.1, 0.2, 0.3, 1.4]}]}, r"within \[0, 1\]"),
        ({**OPEN, "status": "fine"}, "status is 'fine'"),
    ],
)
def test_a_question_that_breaks_the_contract_is_named(fields, said):
    with pytest.raises(QuestionError, match=said):
        question_row(**fields)


def test_a_question_that_could_not_be_made_is_a_row():
    row = question_row(**{**OPEN, "question": "", "answer": ""}, status="failed", raw_response="no such node")
    assert row["status"] == "failed"


def test_an_answer_without_text_is_empty():
    row = prediction_row(**KEY, prediction=" \n")
    assert (row["prediction"], row["status"], row["condition"]) == ("", "empty", "video")
    assert prediction_row(**KEY, prediction=" B. \n")["prediction"] == "B."
    with pytest.raises(QuestionError, match="say 'empty'"):
        prediction_row(**KEY, prediction="", status="ok")
    with pytest.raises(QuestionError, match=r"spans: from 3.0 to 2.0 s"):
        prediction_row(**KEY, prediction="3 to 2", spans=[{"start_s": 3.0, "end_s": 2.0}])
    assert prediction_row(**KEY, prediction="at 2", spans=[{"start_s": 2.0, "end_s": 2.0}])["status"] == "ok"


def test_a_judge_that_failed_gives_neither_score_nor_verdict():
    row = judgement_row(**JUDGEMENT, status="failed")
    assert row["score"] is None and row["is_right"] is None
    for fields, said in (
        ({"status": "failed", "score": 0.0}, "score is 0.0 with status 'failed'"),
        ({"status": "failed", "is_right": False}, "is_right is False"),
        ({}, "score is None with status 'ok'"),
        ({"score": 1.0, "is_right": 1}, "is_right is 1"),
    ):
        with pytest.raises(QuestionError, match=said):
            judgement_row(**{**JUDGEMENT, **fields})


def test_tables_come_back_as_they_were_written(tmp_path):
    question = question_row(
        **CHOICE,
        answer_index=1,
        start_s=1.5,
        end_s=4.0,
        num_steps=2,
        question_type="T1",
        evidence_spans=[{"start_s": 1.0, "end_s": 2.5}],
        evidence_boxes=[{**BOX, "box": [0.125, 0.25, 0.5, 1.0]}],
    )
    open_question = question_row(**{**OPEN, "question_id": "q2", "split": "train"})
    rows = {"test": [question], "train": [open_question]}
    write_questions(tmp_path / "questions", rows, license="mit")
    table = load_questions(tmp_path / "questions")
    assert table["test"].features == QUESTION_FEATURES
    assert table["test"][0] == question and table["train"][0] == open_question
    card = (tmp_path / "questions" / "README.md").read_text()
    assert "|  | T1 | choice | 1 |" in card and "| 2 | 1 |" in card and "| not known | 1 |" in card
    assert "Content SHA-256" in card and "license: mit" in card
    assert datasets.load_dataset(str(tmp_path / "questions"), split="train")[0] == open_question

    conditions = [prediction_row(**KEY, prediction="B", condition=name) for name in ("video", "blind")]
    write_predictions(tmp_path / "predictions", {"test": conditions})
    predictions = load_predictions(tmp_path / "predictions")["test"]
    assert predictions.features == PREDICTION_FEATURES and list(predictions) == conditions

    judged = [judgement_row(**JUDGEMENT, score=1.0, is_right=True)]
    judged.append(judgement_row(**{**JUDGEMENT, "question_id": "q2"}, status="refused", raw_response="no"))
    write_judgements(tmp_path / "judgements", {"test": judged})
    judgements = load_judgements(tmp_path / "judgements")["test"]
    assert judgements.features == JUDGEMENT_FEATURES and list(judgements) == judged
    assert "| test | video | exact@1 | exact | refused | 1 |" in (tmp_path / "judgements" / "README.md").read_text()
    with pytest.raises(QuestionError, match=r"columns \['video_id', .* are these questions"):
        load_questions(tmp_path / "judgements")
    with pytest.raises(QuestionError, match="neither a folder nor can be loaded"):
        load_questions(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("write", "row"),
    [
        (write_questions, question_row(**OPEN)),
        (write_predictions, prediction_row(**KEY, prediction="cup")),
        (write_judgements, judgement_row(**JUDGEMENT, score=1.0)),
    ],
)
def test_a_table_takes_a_question_once_and_leaves_nothing_half_written(tmp_path, write, row):
    with pytest.raises(QuestionError, match=r"'q1' of 'made@1'.*given twice"):
        write(tmp_path / "table", {"test": [row, row]})
    with pytest.raises(QuestionError, match="its split is 'test' but it was given for 'train'"):
        write(tmp_path / "table", {"train": [row]})
    with pytest.raises(QuestionError, match="missing fields"):
        write(tmp_path / "table", {"test": [{"question_id": "q1", "source": "made@1"}]})
    with pytest.raises(QuestionError, match="there are no"):
        write(tmp_path / "empty", {"test": []})
    assert not list((tmp_path / "table" / "data").iterdir())
    # the same id in another source is another question
    write(tmp_path / "table", {"test": [row, {**row, "source": "made@2"}]})


def test_writing_is_linear_and_holds_no_rows(tmp_path):
    """A generator is drawn row by row: what was drawn is written before the next thousands are."""
    alive = 0
    most = 0

    class Counted(dict):
        def __init__(self, *args, **kwargs):
            nonlocal alive, most
            super().__init__(*args, **kwargs)
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    rows = (Counted(prediction_row(**{**KEY, "question_id": str(i)}, prediction="cup")) for i in range(5000))
    write_predictions(tmp_path, {"test": rows})
    assert len(load_predictions(tmp_path)["test"]) == 5000
    assert most < 10


def test_a_split_without_rows_hides_no_other(tmp_path):
    write_questions(
        tmp_path / "questions",
        {
            "train": [],
            "test": [
                question_row(
                    **OPEN,
                )
            ],
        },
    )
    assert {split: len(rows) for split, rows in load_questions(tmp_path / "questions").items()} == {
        "train": 0,
        "test": 1,
    }
    assert {split: len(rows) for split, rows in datasets.load_dataset(str(tmp_path / "questions")).items()} == {
        "test": 1
    }
