"""MSVD-QA and MSRVTT-QA: questions made from captions, with an answer of one word.

Two layouts are read: `<split>_qa.json`, the original list of {answer, id, question, video_id}; and `<split>.csv`,
with `video_name`. `question_type` is the question's first word ("what", "who", "how", "when", "where"), by which
results are reported; the category that the files give is one of the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import QuestionError
from .reading import Drop, Entry, SourceFolder, json_entry, text_of
from .source_files import read_csv

FIRST_WORDS = ("what", "who", "how", "when", "where")

MAPPING_FILE = "youtube_mapping.txt"
"""Of MSVD-QA: lines "<YouTube id>_<start>_<end> vid<number>"."""


def read_msvd_qa(source: SourceFolder, split: str) -> Iterator[Entry]:
    """MSVD-QA. A question's id is "<video number>_<id>", as in the CSV files.

    `video_id` is the name on YouTube with its times, such as "bQJQGoJF7_k_162_169": the CSV files have it, and for the
    original ones `youtube_mapping.txt` gives it. Without that, it is "vid<number>".
    """
    csv_file = source.find_any(f"{split}.csv")
    if csv_file:
        yield from _read_table(csv_file)
        return
    file = source.find(f"{split}_qa.json", f"{split}.csv")
    names = _read_mapping(source)
    for key, item in source.entries(file):
        yield json_entry(f"{file.name} entry {key}", _msvd_id(item), item, lambda item: _read_msvd(item, names))


def read_msrvtt_qa(source: SourceFolder, split: str) -> Iterator[Entry]:
    """MSRVTT-QA. `video_id` is the video's name, "video<number>"; a question's id is the number that it has."""
    csv_file = source.find_any(f"{split}.csv")
    if csv_file:
        yield from _read_table(csv_file)
        return
    file = source.find(f"{split}_qa.json", f"{split}.csv")
    for key, item in source.entries(file):
        question_id = str(item.get("id", "")) if isinstance(item, dict) else ""
        yield json_entry(f"{file.name} entry {key}", question_id, item, _read_msrvtt)


def _read_table(file: Path) -> Iterator[Entry]:
    for where, row in read_csv(file, ("question", "answer", "question_id", "video_name")):
        content = Drop("columns") if row is None else _fields(row["question"], row["answer"], row["video_name"])
        yield Entry(where, row["question_id"] if row else "", content)


def _read_msvd(item: dict[str, Any], names: dict[str, str]) -> dict[str, Any] | Drop:
    name = f"vid{int(item['video_id'])}"
    return _fields(text_of(item["question"]), text_of(item["answer"]), names.get(name, name))


def _read_msrvtt(item: dict[str, Any]) -> dict[str, Any] | Drop:
    return _fields(text_of(item["question"]), text_of(item["answer"]), f"video{int(item['video_id'])}")


def _msvd_id(item: Any) -> str:
    return f"{item.get('video_id', '')}_{item.get('id', '')}" if isinstance(item, dict) else ""


def _fields(question: str, answer: str, video_id: str) -> dict[str, Any] | Drop:
    first = question.split()[0].lower() if question.split() else ""
    return {
        "video_id": video_id,
        "question": question,
        "answer_format": "open",
        "answer": answer,
        "question_type": first if first in FIRST_WORDS else "other",
    }


def _read_mapping(source: SourceFolder) -> dict[str, str]:
    """vid<number> -> name on YouTube."""
    file = source.find_any(MAPPING_FILE)
    if file is None:
        source.notes.append(f"no {MAPPING_FILE}: videos are named vid<number>")
        return {}
    names = {}
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            words = line.split()
            if len(words) != 2:
                raise QuestionError(f"{file}: line {number} is not `<name> vid<number>`")
            names[words[1]] = words[0]
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{file}: cannot be read ({error})") from error
    return names
