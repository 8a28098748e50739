"""Tables that another program wrote: a row that breaks the contract is named, and none counts in silence."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidreason.errors import QuestionError
from vidreason.videoqa.__main__ import main
from vidreason.videoqa.answering.asking import Asking, AskingSettings
from vidreason.videoqa.tables import (
    hash_prediction,
    judgement_row,
    load_questions,
    prediction_row,
    question_row,
    write_judgements,
    write_predictions,
    write_questions,
)

KEY = {"source": "worlds@1", "split": "test", "producer": "tests"}
NAN = float("nan")


@pytest.fixture
def tables(tmp_path):
    """Three questions with their answers and what was judged of these, all of them right."""
    ids = [f"q{number}" for number in range(3)]
    fields = {"question": "What is it?", "answer_format": "open", "answer": "blue"}
    write_questions(
        tmp_path / "questions", {"test": [question_row(**KEY, **fields, question_id=q, video_id="v") for q in ids]}
    )
    write_predictions(
        tmp_path / "predictions", {"test": [prediction_row(**KEY, question_id=q, prediction="blue") for q in ids]}
    )
    mark = {"prediction_sha256": hash_prediction("blue"), "judge": "keyless@2 exact", "scale": "keyless_0_1"}
    rows = [judgement_row(**KEY, **mark, question_id=q, is_right=True, score=1.0) for q in ids]
    write_judgements(tmp_path / "judged", {"test": rows})
    return tmp_path


def spoil(folder, change):
    """Change the second row, or all rows, of a table past all checks."""
    file = next((folder / "data").glob("*.parquet"))
    rows, schema = pq.read_table(file).to_pylist(), pq.read_schema(file)
    if callable(change):
        rows = change(rows)
    else:
        rows[1] |= change
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def score(tables, capsys, *more):
    named = [f"--{name}={tables / name}" for name in ("questions", "predictions", "judged")]
    status = main(["score", *named, "--resamples", "100", *more])
    return status, *capsys.readouterr()


def test_whole_tables_are_scored(tables, capsys):
    status, output, errors = score(tables, capsys)
    assert status == 0 and json.loads(output)["score"] == 100.0, errors


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("questions", {"question": None}, "question 'q1' of 'worlds@1': question is None"),
        ("questions", {"options": None}, "'q1' of 'worlds@1': options is None"),
        ("questions", {"answer_index": 77}, "0 options and answer_index 77 of a 'open' question"),
        ("questions", {"answer_format": "essay"}, "answer_format is 'essay'"),
        ("questions", {"evidence_spans": [{"start_s": 2.0, "end_s": 1.0}]}, "expected 0 <= start_s < end_s"),
        ("questions", {"video_id": None}, "video_id is None"),
        ("questions", {"split": "train"}, "its split is 'train' but it was given for 'test'"),
        ("questions", lambda rows: [*rows, rows[0]], "question 'q0' of 'worlds@1': given twice"),
        ("questions", lambda rows: [], "there are no questions to score"),
        ("predictions", {"prediction": None}, "prediction 'q1' of 'worlds@1': prediction is None"),
        ("predictions", {"condition": None}, "condition is None"),
        ("predictions", {"status": "fine"}, "status is 'fine'"),
        ("predictions", {"source": None}, "source is None"),
        ("predictions", {"spans": [{"start_s": NAN, "end_s": 1.0}]}, "expected finite numbers of seconds"),
        ("judged", {"score": NAN}, "judgement 'q1' of 'worlds@1': score is nan"),
        ("judged", {"score": None}, "score is None with status 'ok'"),
        ("judged", {"score": 7.0}, "score is 7.0, expected 0 to 1 on keyless_0_1"),
        ("judged", {"is_right": None}, "is_right is None, expected True or False on keyless_0_1"),
    ],
)
def test_a_row_that_breaks_the_contract_is_named(tables, capsys, table, change, said):
    spoil(tables / table, change)
    status, output, errors = score(tables, capsys)
    assert (status, output) == (1, "") and errors.startswith("error: ") and errors.count("\n") == 1
    assert said in errors


def test_a_card_that_is_no_yaml_is_named(tables, capsys):
    (tables / "judged" / "README.md").write_text("---\n: [\n---\n")
    status, _, errors = score(tables, capsys)
    assert status == 1 and f"{tables}/judged/README.md: is no card of a table" in errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": None}, "asked question 'q1' of 'worlds@1': question is None"),
        ({"start_s": NAN, "end_s": 1.0}, "start_s is nan"),
        ({"start_s": -2.0, "end_s": -1.0}, "expected 0 <= start_s < end_s"),
        (lambda rows: [*rows, rows[0]], "given twice"),
        (lambda rows: [], "there are no questions to ask"),
    ],
)
def test_nothing_is_asked_where_the_answers_could_not_be_written(tables, change, said):
    spoil(tables / "questions", change)
    with pytest.raises(QuestionError, match=said):
        Asking(load_questions(tables / "questions"), [], None, AskingSettings("blind"), {})
