"""Predictions and judgements as their authors publish them, read as rows of our tables.

NExT-QA: an object of "<video>_<qid>" -> {prediction, answer} with indices of options. NExT-OE: an object of videos, of
qids, of texts. NExT-GQA: an object of "<video>_<qid>" -> [start, end] in seconds, and the answers as for NExT-QA; a
folder holds both. STAR: lines of {question_id, pred_ans_idx}. ActivityNet-QA: a list of {question_id, answer}.
TempCompass: for each task a file of videos, of aspects, of lists, whose places are the questions'.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidAnswer, QuestionError
from ..plain_json import parse_plain_json, read_plain_json
from .benchmarks.tempcompass import TASKS
from .judging.scales import OPEN_EQA, TEMPCOMPASS, VIDEO_CHATGPT, Mark, Scale
from .rows import find_span_problem, hash_prediction, judgement_row, prediction_row
from .scoring.choice import letter_of

Row = dict[str, Any]

_MAX_BYTES = 512 * 2**20
_MAX_OPTIONS = 26


@dataclass
class Published:
    """A published file of predictions.

    Args:
        source: Data set and revision of its questions.
        split: Their split.
        path: File, or folder of files.
        notes: What was left out and why, in words; readers add to it.
        has_answers: Whether the predictions answer; files of NExT-GQA may give spans alone.
        tasks: Tasks of TempCompass that the files are of; None where that says nothing.
    """

    source: str
    split: str
    path: Path
    notes: list[str] = field(default_factory=list)
    has_answers: bool = True
    tasks: tuple[str, ...] | None = None

    def row(self, question_id: str, text: Any, **fields: Any) -> Row:
        """A prediction; what is no text is an empty one."""
        return prediction_row(
            question_id=question_id,
            source=self.source,
            split=self.split,
            prediction=text if isinstance(text, str) else "",
            producer="published",
            model=self.path.stem,
            **fields,
        )

    def read(self, path: Path, kind: type) -> Any:
        """The content of a JSON file, which must be a list or a dict.

        Raises:
            QuestionError: It cannot be read, or holds something else.
        """
        value = read_plain_json(path, QuestionError, _MAX_BYTES)
        if not isinstance(value, kind):
            raise QuestionError(f"{path}: expected {'a list' if kind is list else 'an object'} in JSON")
        return value


def _text_of_index(value: Any) -> Any:
    """The letter of an index of an option; a text stays, and anything else is told as it is, which is unparsable."""
    if isinstance(value, int) and not isinstance(value, bool):
        return letter_of(value) if 0 <= value < _MAX_OPTIONS else f"option number {value}"
    return value


def _choices(published: Published, content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Question -> what was said, of a file of {prediction, answer}."""
    said = {}
    for question_id, entry in content.items():
        if not isinstance(entry, dict) or "prediction" not in entry:
            raise QuestionError(f"{path}: question {question_id!r}: expected an object with a prediction")
        said[question_id] = _text_of_index(entry["prediction"])
    return said


def read_nextqa(published: Published) -> Iterator[Row]:
    """Predictions of NExT-QA."""
    content = published.read(published.path, dict)
    for question_id, text in _choices(published, content, published.path).items():
        yield published.row(question_id, text)


def read_nextqa_open(published: Published) -> Iterator[Row]:
    """Predictions of NExT-OE."""
    for video, answers in published.read(published.path, dict).items():
        if not isinstance(answers, dict):
            raise QuestionError(f"{published.path}: video {video!r}: expected an object of answers")
        for qid, text in answers.items():
            yield published.row(f"{video}_{qid}", text)


def read_nextgqa(published: Published) -> Iterator[Row]:
    """Spans of NExT-GQA, with the answers where there is a file of them."""
    files = sorted(published.path.glob("*.json")) if published.path.is_dir() else [published.path]
    spans: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for file in files:
        content = published.read(file, dict)
        is_answers = any(isinstance(entry, dict) for entry in content.values())
        (said if is_answers else spans).update(_choices(published, content, file) if is_answers else content)
    published.has_answers = bool(said)
    bad = 0
    for question_id in dict.fromkeys([*spans, *said]):
        found = _spans_of(spans.get(question_id, []))
        bad += found is None
        yield published.row(question_id, said.get(question_id, ""), spans=found or [])
    if bad:
        published.notes.append(f"{bad} spans are no pairs of seconds that ascend, and count as none")


def _spans_of(value: Any) -> list[dict[str, float]] | None:
    """The spans of an entry; None where it is none."""
    if not isinstance(value, list):
        return None
    pairs = value if not value or isinstance(value[0], list) else [value]
    spans = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        span = {"start_s": pair[0], "end_s": pair[1]}
        if find_span_problem(span, allow_points=True):
            return None
        spans.append(span)
    return spans


def read_star(published: Published) -> Iterator[Row]:
    """Predictions of STAR, a line each."""
    seen: set[str] = set()
    for where, entry in _lines(published.path):
        question_id = entry.get("question_id")
        if not isinstance(question_id, str) or "pred_ans_idx" not in entry:
            raise QuestionError(f"{where}: expected question_id and pred_ans_idx")
        _once(seen, question_id, where)
        yield published.row(question_id, _text_of_index(entry["pred_ans_idx"]))


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                entry = parse_plain_json(line)
                if not isinstance(entry, dict):
                    raise QuestionError(f"{path}: line {number}: expected an object")
                yield f"{path}: line {number}", entry
    except (OSError, ValueError, RecursionError) as error:
        raise QuestionError(f"{path}: cannot be read as lines of JSON ({error})") from error


def read_activitynet_qa(published: Published) -> Iterator[Row]:
    """Predictions of ActivityNet-QA."""
    seen: set[str] = set()
    for number, entry in enumerate(published.read(published.path, list)):
        where = f"{published.path}: entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("question_id"), str):
            raise QuestionError(f"{where}: expected an object with a question_id")
        _once(seen, entry["question_id"], where)
        yield published.row(entry["question_id"], entry.get("answer"))


def _once(seen: set[str], question_id: str, where: str) -> None:
    if question_id in seen:
        raise QuestionError(f"{where}: question {question_id!r} is answered twice")
    seen.add(question_id)


# TempCompass


def tempcompass_files(path: Path) -> dict[str, Path]:
    """Task -> file, of a folder of files or of one file, which are named by their tasks.

    Raises:
        QuestionError: There is no such file.
    """
    files = [path] if path.is_file() else [path / f"{task}.json" for task in TASKS]
    found = {file.stem: file for file in files if file.is_file() and file.stem in TASKS}
    if not found:
        raise QuestionError(f"{path}: expected a file, or files in a folder, of the names {TASKS}")
    return found


def _tempcompass_entries(published: Published, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Question and entry, of the files of all tasks that are there."""
    for task, file in tempcompass_files(path).items():
        for video, aspects in published.read(file, dict).items():
            if not isinstance(aspects, dict) or not all(isinstance(entries, list) for entries in aspects.values()):
                raise QuestionError(f"{file}: video {video!r}: expected an object of lists")
            for aspect, entries in aspects.items():
                for place, entry in enumerate(entries):
                    if not isinstance(entry, dict):
                        raise QuestionError(f"{file}: video {video!r}, {aspect}, {place}: expected an object")
                    yield f"{task}/{video}/{aspect}/{place}", entry


def read_tempcompass(published: Published) -> Iterator[Row]:
    """Predictions of TempCompass."""
    for question_id, entry in _tempcompass_entries(published, published.path):
        yield published.row(question_id, entry.get("prediction", entry.get("response")))


READERS: Mapping[str, Callable[[Published], Iterator[Row]]] = {
    "nextqa": read_nextqa,
    "nextqa_open": read_nextqa_open,
    "nextgqa": read_nextgqa,
    "star": read_star,
    "activitynet_qa": read_activitynet_qa,
    "tempcompass": read_tempcompass,
}
"""Benchmark -> reader of published predictions."""


# Judgements


def read_judged_tempcompass(published: Published, path: Path) -> Iterator[Row]:
    """Judgements of TempCompass: by its rules where they match, else by a language model; -1 is a failed call."""
    for question_id, entry in _tempcompass_entries(published, path):
        rating = entry.get("rating")
        is_whole = isinstance(rating, int) and not isinstance(rating, bool)
        score = float(str(rating)) if is_whole and rating in (0, 1) else None
        by_rule = entry.get("match_success") is True
        reply = entry.get("chatgpt-response") or entry.get("chatgpt-answer") or ""
        yield _judgement(
            *(published, question_id, entry.get("video-llm-prediction"), "published: rule, else gpt-3.5-turbo-1106"),
            *(TEMPCOMPASS, score),
            is_right=None if score is None else score == 1,
            raw_response="" if by_rule else str(reply),
        )


def read_judged_marks(published: Published, path: Path, predictions: Mapping[str, str]) -> Iterator[Row]:
    """Judgements as OpenEQA writes them, an object of question -> mark, or Video-ChatGPT, question -> [verdict, ...].

    Neither names the text that was judged: it is taken to be what is scored.

    Args:
        published: The predictions' facts.
        path: The file.
        predictions: Question -> what was said.

    Raises:
        QuestionError: It holds something else.
    """
    for key, entry in published.read(path, dict).items():
        verdict = entry[0] if isinstance(entry, list) and entry else entry
        question_id = key
        if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], dict):
            question_id = str(entry[1].get("question_id", entry[1].get("id", key)))
        said = predictions.get(question_id, "")
        if isinstance(verdict, dict):
            mark = _verdict(verdict)
            yield _judgement(
                *(published, question_id, said, "published: Video-ChatGPT", VIDEO_CHATGPT),
                *(mark.score if mark else None,),
                is_right=mark.is_right if mark else None,
            )
        else:
            is_mark = isinstance(verdict, int) and not isinstance(verdict, bool) and 1 <= verdict <= 5
            yield _judgement(
                published, question_id, said, "published: OpenEQA", OPEN_EQA, float(verdict) if is_mark else None
            )


def _verdict(value: dict[str, Any]) -> Mark | None:
    assert VIDEO_CHATGPT.read is not None
    try:
        return VIDEO_CHATGPT.read(json.dumps(value))
    except InvalidAnswer:
        return None


def _judgement(
    published: Published,
    question_id: str,
    text: Any,
    judge: str,
    scale: Scale,
    score: float | None,
    is_right: bool | None = None,
    raw_response: str = "",
) -> Row:
    said = text.strip() if isinstance(text, str) else ""
    return judgement_row(
        question_id=question_id,
        source=published.source,
        split=published.split,
        prediction_sha256=hash_prediction(said),
        judge=judge,
        scale=scale.name,
        score=score,
        is_right=is_right,
        status="failed" if score is None else "ok",
        producer="published",
        raw_response=raw_response,
    )


def open_published(benchmark: str, path: str | os.PathLike, source: str, split: str) -> Published:
    """A published file of a benchmark's predictions.

    Args:
        benchmark: One of `READERS`.
        path: File, or folder of files.
        source: Data set and revision of the questions.
        split: Their split.

    Raises:
        QuestionError: No published form of the benchmark's predictions is known, or there is no such file.
    """
    if benchmark not in READERS:
        raise QuestionError(f"no published form of {benchmark}'s predictions is known; give a table of predictions")
    path = Path(path)
    if not path.exists():
        raise QuestionError(f"{path}: there is no such file")
    tasks = tuple(tempcompass_files(path)) if benchmark == "tempcompass" and path.is_file() else None
    return Published(source, split, path, tasks=tasks)
