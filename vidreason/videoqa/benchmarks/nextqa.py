"""NExT-QA (multiple choice), NExT-OE (the same videos, open-ended) and NExT-GQA (with the intervals of the evidence).

Files as in doc-doc/NExT-QA, doc-doc/NExT-OE and doc-doc/NExT-GQA. A question's id is "<video>_<qid>", by which the
published predictions name it; `video_id` is the video's name in VidOR, "<folder>/<video>", where the map
`map_vid_vidorID.json` lies beside the questions, and the bare name otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import QuestionError
from ...plain_json import is_number
from .reading import Drop, Entry, SourceFolder, find_time_drop
from .source_files import read_csv

QUESTION_TYPES = {
    "CW": "causal, why",
    "CH": "causal, how",
    "TP": "temporal, previous",
    "TC": "temporal, present",
    "TN": "temporal, next",
    "DC": "descriptive, counting",
    "DL": "descriptive, location",
    "DO": "descriptive, other",
    "DB": "descriptive, yes or no (NExT-OE alone)",
}

VIDEO_MAP_FILE = "map_vid_vidorID.json"

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")


def read_nextqa(source: SourceFolder, split: str) -> Iterator[Entry]:
    """Multiple choice: `<split>.csv`, whose `answer` is the place of the right option."""
    file = source.find(f"{split}.csv")
    names = _video_names(source)
    for where, row in read_csv(file, ("video", "question", "answer", "qid", "type", *_OPTIONS)):
        if row is None:
            yield Entry(where, "", Drop("columns"))
            continue
        options = [row[name] for name in _OPTIONS]
        place = int(row["answer"]) if row["answer"] in ("0", "1", "2", "3", "4") else None
        content: dict[str, Any] | Drop = _fields(row, names.get(row["video"], row["video"]))
        if not isinstance(content, Drop):
            if place is None:
                content = Drop("no_answer" if not row["answer"] else "answer_not_among_options", row["answer"])
            else:
                content |= {"answer_format": "choice", "options": options, "answer": options[place]}
        yield Entry(where, f"{row['video']}_{row['qid']}", content)


def read_nextqa_open(source: SourceFolder, split: str) -> Iterator[Entry]:
    """Open-ended: `<split>.csv`, where a further answer that counts as right may be in `additional_ref_answer`."""
    file = source.find(f"{split}.csv")
    names = _video_names(source)
    for where, row in read_csv(file, ("video", "question", "answer", "qid", "type")):
        if row is None:
            yield Entry(where, "", Drop("columns"))
            continue
        content: dict[str, Any] | Drop = _fields(row, names.get(row["video"], row["video"]))
        if not isinstance(content, Drop):
            more = row.get("additional_ref_answer", "")
            content |= {"answer_format": "open", "answer": row["answer"], "more_answers": [more] if more else []}
        yield Entry(where, f"{row['video']}_{row['qid']}", content)


def read_nextgqa(source: SourceFolder, split: str) -> Iterator[Entry]:
    """With evidence: `<split>.csv`, whose `answer` is a text, and `gsub_<split>.json` with intervals in seconds.

    The training split has no intervals by design (its supervision is weak) and is read without.
    """
    file = source.find(f"{split}.csv")
    spans_file = source.find_any(f"gsub_{split}.json")
    if spans_file is None and split != "train":
        raise QuestionError(f"{source.folder}: no gsub_{split}.json, which has the intervals of {split}.csv")
    grounding = source.read_json(spans_file, dict) if spans_file else None
    names = _video_names(source)
    asked: set[tuple[str, str]] = set()
    for where, row in read_csv(file, ("video_id", "question", "answer", "qid", "type", *_OPTIONS)):
        if row is None:
            yield Entry(where, "", Drop("columns"))
            continue
        video, question = row["video_id"], row["qid"]
        asked.add((video, question))
        content: dict[str, Any] | Drop = _fields(row, names.get(video, video))
        if not isinstance(content, Drop):
            options = [row[name] for name in _OPTIONS]
            content |= {"answer_format": "choice", "options": options, "answer": row["answer"]}
            if grounding is not None:
                content = _with_spans(content, grounding.get(video), question)
        yield Entry(where, f"{video}_{question}", content)
    _note_unasked(source, grounding or {}, asked)


def _fields(row: dict[str, str], video_id: str) -> dict[str, Any] | Drop:
    """What the three have in common."""
    if row["type"] not in QUESTION_TYPES:
        return Drop("unknown_type", row["type"])
    return {"video_id": video_id, "question": row["question"], "question_type": row["type"]}


def _with_spans(content: dict[str, Any], grounding: Any, question: str) -> dict[str, Any] | Drop:
    """The fields with the intervals of the evidence, which must lie in the video."""
    if not isinstance(grounding, dict) or not isinstance(grounding.get("location"), dict):
        return Drop("no_span", "the video has no intervals")
    spans = grounding["location"].get(question)
    if not spans:
        return Drop("no_span")
    if not isinstance(spans, list) or not all(isinstance(span, list) and len(span) == 2 for span in spans):
        return Drop("field", f"intervals {str(spans)[:80]}, expected pairs of seconds")
    content |= {"evidence_spans": [{"start_s": start_s, "end_s": end_s} for start_s, end_s in spans]}
    duration_s: Any = grounding.get("duration")
    if not (is_number(duration_s) and duration_s > 0):
        return Drop("field", f"duration is {duration_s!r}, expected seconds")
    try:
        return find_time_drop(content, duration_s) or content
    except TypeError:
        return Drop("field", f"intervals {str(spans)[:80]}, expected pairs of seconds")


def _note_unasked(source: SourceFolder, grounding: dict[str, Any], asked: set[tuple[str, str]]) -> None:
    """Say how many intervals and videos have no question; NExT-GQA's validation file has three such videos."""
    places = {
        (video, question)
        for video, entry in grounding.items()
        if isinstance(entry, dict)
        for question in entry.get("location", ())
    }
    idle = sorted(set(grounding) - {video for video, _ in asked})
    if places - asked:
        source.notes.append(f"intervals of {len(places - asked)} questions that are not asked")
    if idle:
        source.notes.append(f"{len(idle)} videos with intervals and no question: {', '.join(idle[:5])}")


def _video_names(source: SourceFolder) -> dict[str, str]:
    """Bare name of a video -> its name in VidOR."""
    file = source.find_any(VIDEO_MAP_FILE)
    if file is None:
        source.notes.append(f"no {VIDEO_MAP_FILE}: videos have their bare names, without VidOR's folder")
        return {}
    names = source.read_json(file, dict)
    if not all(isinstance(name, str) for name in names.values()):
        raise QuestionError(f"{file}: expected a text for each video")
    return names
