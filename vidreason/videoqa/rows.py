"""Rows of the three tables of `vidreason.videoqa.schema`, made whole and checked one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Features

from ..errors import QuestionError
from ..files import is_utf8
from ..plain_json import is_number, is_whole
from ..provenance import EMPTY_PROVENANCE, STATUSES
from .schema import (
    ANSWER_FORMATS,
    JUDGEMENT_FEATURES,
    JUDGEMENT_VERSION,
    PREDICTION_FEATURES,
    PREDICTION_VERSION,
    QUESTION_FEATURES,
    QUESTION_VERSION,
)

MAX_OPTIONS = 26
"""Most options of a choice: they are lettered from A to Z when they are asked."""

_QUESTION_DEFAULTS: dict[str, Any] = {
    **EMPTY_PROVENANCE,
    "start_s": None,
    "end_s": None,
    "options": [],
    "answer_index": -1,
    "answer": "",
    "more_answers": [],
    "question_type": "",
    "task": "",
    "aspect": "",
    "num_steps": 0,
    "program": "",
    "rationale": "",
    "graph_id": "",
    "evidence_spans": [],
    "evidence_boxes": [],
    "status": "ok",
    "schema_version": QUESTION_VERSION,
}
_PREDICTION_DEFAULTS: dict[str, Any] = {
    **EMPTY_PROVENANCE,
    "condition": "video",
    "spans": [],
    "num_frames": 0,
    "seconds": 0.0,
    "status": "ok",
    "schema_version": PREDICTION_VERSION,
}
_JUDGEMENT_DEFAULTS: dict[str, Any] = {
    **EMPTY_PROVENANCE,
    "condition": "video",
    "is_right": None,
    "score": None,
    "status": "ok",
    "schema_version": JUDGEMENT_VERSION,
}

_ROUNDING = 1e-6  # a float32 just beyond 1


def question_row(**fields: Any) -> dict[str, Any]:
    """A valid row of the questions table.

    Args:
        fields: Columns of `QUESTION_FEATURES`. `question_id`, `source`, `split`, `video_id`, `question`,
            `answer_format` and `producer` are to be given; others are empty where they are not. Of a choice, one of
            `answer` and `answer_index` gives the other. A question that could not be made is a row with a `status`
            that says so, which needs no `answer`.

    Raises:
        QuestionError: Naming the question and what is wrong with it: a field that is unknown or missing, options
            without the answer or with the answer twice, an interval that is inverted, a box outside its frame.
    """
    row = _complete(fields, QUESTION_FEATURES, _QUESTION_DEFAULTS, "question")
    options, index = row["options"], row["answer_index"]
    if isinstance(options, list | tuple) and options:
        row["options"] = list(options)
        if "answer_index" not in fields and row["answer"] in options:
            row["answer_index"] = options.index(row["answer"])
        elif "answer" not in fields and is_whole(index) and 0 <= index < len(options):
            row["answer"] = options[index]
    check_question(row)
    return row


def prediction_row(**fields: Any) -> dict[str, Any]:
    """A valid row of the predictions table.

    Args:
        fields: Columns of `PREDICTION_FEATURES`. `question_id`, `source`, `split`, `prediction` and `producer` are to
            be given; `condition` is "video" where it is not. Space at the ends of `prediction` is taken away. An
            answer without any text has the status `empty`, which is also the default then.

    Raises:
        QuestionError: Naming the question and what is wrong with the prediction.
    """
    row = _complete(fields, PREDICTION_FEATURES, _PREDICTION_DEFAULTS, "prediction")
    if isinstance(row["prediction"], str):
        row["prediction"] = row["prediction"].strip()
        if not row["prediction"] and "status" not in fields:
            row["status"] = "empty"
    check_prediction(row)
    return row


def judgement_row(**fields: Any) -> dict[str, Any]:
    """A valid row of the judgements table.

    Args:
        fields: Columns of `JUDGEMENT_FEATURES`. `question_id`, `source`, `split`, `prediction_sha256` (see
            `hash_prediction`), `judge`, `scale` and `producer` are to be given, and `score` where the status is `ok`.

    Raises:
        QuestionError: Naming the question and what is wrong with the judgement, such as a score although the judge
            failed.
    """
    row = _complete(fields, JUDGEMENT_FEATURES, _JUDGEMENT_DEFAULTS, "judgement")
    check_judgement(row)
    return row


def hash_prediction(prediction: str) -> str:
    """SHA-256 of a prediction's text, in hexadecimal: a judgement of another text does not count for this one."""
    return hashlib.sha256(prediction.encode()).hexdigest()


def _complete(fields: Mapping[str, Any], features: Features, defaults: Mapping[str, Any], what: str) -> dict[str, Any]:
    where = f"{what} {fields.get('question_id', '?')!r} of {fields.get('source', '?')!r}"
    unknown = sorted(set(fields) - set(features))
    if unknown:
        raise QuestionError(f"{where}: unknown fields {unknown}")
    missing = [name for name in features if name not in fields and name not in defaults]
    if missing:
        raise QuestionError(f"{where}: missing fields {missing}")
    return {name: fields[name] if name in fields else defaults[name] for name in features}


# Checks


def check_question(row: Mapping[str, Any]) -> None:
    """Check one row of the questions table.

    Raises:
        QuestionError: Naming the question and what is wrong.
    """
    _check(row, "question", QUESTION_FEATURES, _find_answer_problem, _find_evidence_problem)


def check_prediction(row: Mapping[str, Any]) -> None:
    """Check one row of the predictions table.

    Raises:
        QuestionError: Naming the question and what is wrong.
    """
    _check(row, "prediction", PREDICTION_FEATURES, _find_prediction_problem)


def check_judgement(row: Mapping[str, Any]) -> None:
    """Check one row of the judgements table.

    Raises:
        QuestionError: Naming the question and what is wrong.
    """
    _check(row, "judgement", JUDGEMENT_FEATURES, _find_judgement_problem)


def check_read(row: Mapping[str, Any], what: str) -> None:
    """Check the columns of a row that were read from a table, which others may have written.

    Args:
        row: The row, with `status` and any other columns of its table.
        what: "question", with the columns of the answer, or without them "asked question"; "prediction", with `spans`;
            or "judgement", with the hash.

    Raises:
        QuestionError: Naming the question and what is wrong.
    """
    features, *finds = _READ[what]
    _check(row, what, {name: feature for name, feature in features.items() if name in row}, *finds)


Find = Callable[[Mapping[str, Any]], str | None]


def _check(row: Mapping[str, Any], what: str, features: Mapping[str, Any], *finds: Find) -> None:
    missing = [name for name in features if name not in row]
    problem = f"missing fields {missing}" if missing else _find_plain_problem(row, features)
    for find in finds:
        problem = problem or find(row)
    if problem:
        raise QuestionError(f"{what} {row.get('question_id', '?')!r} of {row.get('source', '?')!r}: {problem}")


_NOT_EMPTY = ("question_id", "source", "split", "producer", "video_id", "condition", "judge", "scale")


def _find_plain_problem(row: Mapping[str, Any], features: Mapping[str, Any]) -> str | None:
    """What is wrong with texts, counts and statuses, whatever the table."""
    for name, feature in features.items():
        dtype, value = getattr(feature, "dtype", None), row[name]
        if dtype == "string" and not _is_text(value):
            return f"{name} is {_short(value)}, expected a text of UTF-8"
        if dtype == "int32" and not is_whole(value):
            return f"{name} is {_short(value)}, expected a whole number"
        if dtype == "int32" and not (-1 if name == "answer_index" else 0) <= int(value) < 2**31:
            return f"{name} is {_short(value)}, expected at least 0 and no more than a table holds"
        if dtype == "float64" and value is not None and not is_number(value):
            return f"{name} is {_short(value)}, expected a finite number"
        if name in _NOT_EMPTY and not value:
            return f"{name} is empty"
    if row["status"] not in STATUSES:
        return f"status is {row['status']!r}, expected one of {STATUSES}"
    if "cost_usd" in features and (row["cost_usd"] is None or row["cost_usd"] < 0):
        return f"cost_usd is {row['cost_usd']!r}, expected no less than 0"
    return None


def _find_answer_problem(row: Mapping[str, Any]) -> str | None:
    answer_format, options, index = row["answer_format"], row["options"], row["answer_index"]
    problem = _find_format_problem(row, ("options", "more_answers"))
    if problem:
        return problem
    if answer_format != "choice" and (len(options) or index != -1):
        return f"{len(options)} options and answer_index {index} of a {answer_format!r} question: it has none"
    if row["status"] != "ok":
        return None
    for name in ("question", "answer"):
        if not row[name].strip():
            return f"{name} is empty"
    if answer_format == "yes_no" and row["answer"] not in ("yes", "no"):
        return f"answer is {row['answer']!r}, expected 'yes' or 'no'"
    return _find_choice_problem(row) if answer_format == "choice" else None


def _find_format_problem(row: Mapping[str, Any], lists: Sequence[str]) -> str | None:
    if row["answer_format"] not in ANSWER_FORMATS:
        return f"answer_format is {row['answer_format']!r}, expected one of {ANSWER_FORMATS}"
    for name in lists:
        if not isinstance(row[name], list | tuple) or not all(_is_text(text) and text for text in row[name]):
            return f"{name} is {_short(row[name])}, expected a list of texts that are not empty"
    return None


def _find_asked_problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a question, whatever its answer."""
    return _find_format_problem(row, ("options",)) or _find_evidence_problem(row)


def _find_choice_problem(row: Mapping[str, Any]) -> str | None:
    options, index = row["options"], row["answer_index"]
    if not 2 <= len(options) <= MAX_OPTIONS:
        return f"{len(options)} options, expected from 2 to {MAX_OPTIONS}"
    # wrong options do repeat, in NExT-QA too, and harm nobody; of the right one there is a single one
    times = list(options).count(row["answer"])
    if times != 1:
        return f"the answer {_short(row['answer'])} is {times} times among the options {_short(list(options))}"
    if options[index] != row["answer"] or index < 0:
        return f"answer_index is {index}, where the answer is option {list(options).index(row['answer'])}"
    return None


def _find_evidence_problem(row: Mapping[str, Any]) -> str | None:
    start_s, end_s = row.get("start_s"), row.get("end_s")  # a row that is read need not have all columns
    if (start_s is None) != (end_s is None):
        return f"start_s is {start_s} and end_s is {end_s}: both or none are given"
    if start_s is not None and not 0 <= start_s < end_s:
        return f"it is asked about {start_s} to {end_s} s, expected 0 <= start_s < end_s"
    for name, find in (("evidence_spans", find_span_problem), ("evidence_boxes", _find_box_problem)):
        if not _are_mappings(row.get(name, ())):
            return f"{name} is {_short(row[name])}, expected a list of mappings"
        problem = next(filter(None, map(find, row.get(name, ()))), None)
        if problem:
            return f"{name}: {problem}"
    return None


def _find_box_problem(place: Mapping[str, Any]) -> str | None:
    """What is wrong with a box of evidence."""
    box = place.get("box")
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(is_number, box)):
        return f"box {_short(box)}, expected four finite numbers"
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= 1 + _ROUNDING and 0 <= y0 < y1 <= 1 + _ROUNDING):
        return f"box {list(map(float, box))}, expected x0 < x1 and y0 < y1 within [0, 1]"
    if not (_is_text(place.get("node_id")) and _is_text(place.get("name"))):
        return f"{_short(dict(place))}, expected a node_id and a name"
    if not (is_whole(place.get("frame_index")) and is_number(place.get("timestamp_s"))):
        return f"{_short(dict(place))}, expected a frame_index and a timestamp_s"
    return None


def find_span_problem(span: Mapping[str, Any], allow_points: bool = False) -> str | None:
    """What is wrong with an interval of time, None where nothing is.

    Args:
        span: `start_s` and `end_s`, in seconds.
        allow_points: Whether an interval may have no length, as what a model says may.
    """
    start_s: Any = span.get("start_s")
    end_s: Any = span.get("end_s")
    if not (is_number(start_s) and is_number(end_s)):
        return f"from {_short(start_s)} to {_short(end_s)}, expected finite numbers of seconds"
    if not (0 <= start_s <= end_s if allow_points else 0 <= start_s < end_s):
        return f"from {start_s} to {end_s} s, expected 0 <= start_s < end_s"
    return None


def _find_prediction_problem(row: Mapping[str, Any]) -> str | None:
    if row["status"] == "ok" and not row["prediction"]:
        return "the prediction is empty with status 'ok'; say 'empty'"
    if row["status"] == "empty" and row["prediction"]:
        return f"the prediction is {_short(row['prediction'])} with status 'empty'"
    if row["prediction"] != row["prediction"].strip():
        return f"the prediction {_short(row['prediction'])} has space at its ends"
    if row["seconds"] is None or row["seconds"] < 0:
        return f"seconds is {row['seconds']!r}, expected no less than 0"
    return _find_spans_problem(row)


def _find_spans_problem(row: Mapping[str, Any]) -> str | None:
    if not _are_mappings(row["spans"]):
        return f"spans is {_short(row['spans'])}, expected a list of mappings"
    problems = (find_span_problem(span, allow_points=True) for span in row["spans"])
    problem = next(filter(None, problems), None)
    return f"spans: {problem}" if problem else None


def _find_judgement_problem(row: Mapping[str, Any]) -> str | None:
    if len(row["prediction_sha256"]) != 64:
        return f"prediction_sha256 is {_short(row['prediction_sha256'])}, expected 64 hexadecimal digits"
    if row["is_right"] is not None and not isinstance(row["is_right"], bool):
        return f"is_right is {_short(row['is_right'])}, expected True, False or None"
    if (row["status"] == "ok") != (row["score"] is not None):
        return f"score is {row['score']} with status {row['status']!r}: ok has one, any other none"
    if row["status"] != "ok" and row["is_right"] is not None:
        return f"is_right is {row['is_right']} with status {row['status']!r}, expected None"
    return None


_READ: Mapping[str, tuple[Any, ...]] = {
    "question": (QUESTION_FEATURES, _find_answer_problem, _find_evidence_problem),
    "asked question": (QUESTION_FEATURES, _find_asked_problem),
    "prediction": (PREDICTION_FEATURES, _find_spans_problem),
    "judgement": (JUDGEMENT_FEATURES, _find_judgement_problem),
}


def _is_text(value: Any) -> bool:
    """Whether a table can hold it: JSON may have lone surrogates, and Parquet may not."""
    return isinstance(value, str) and (value.isascii() or is_utf8(value))


def _are_mappings(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, Mapping) for value in values)


def _short(value: Any) -> str:
    return repr(value)[:120]
