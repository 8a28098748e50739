"""TempCompass: what a model understands of time, asked in four ways of the same videos (llyx97/TempCompass).

A file for each task, `multi-choice.json`, `yes_no.json`, `caption_matching.json` and `captioning.json`, is an object
of videos, of aspects ("action", "direction", "speed", "order", "attribute_change"), of lists of questions.
`question_type` is the finer kind that `meta_info.json` gives a video and aspect, such as "object motion", where that
file is there.

A question's id is "<task>/<video>/<aspect>/<place in its list>", since the files have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .reading import Drop, Entry, SourceFolder, json_entry, text_of

TASKS = ("multi-choice", "yes_no", "caption_matching", "captioning")

ASPECTS = ("action", "direction", "speed", "order", "attribute_change")

CAPTION_LABELS = {
    "Which description is a more suitable match for the video?": ("Option 1", "Option 2"),
    "Which sentence better captures the essence of the video?": ("Sentence A", "Sentence B"),
    "Which caption matches the video better?": ("Caption A", "Caption B"),
}
"""Question of caption matching -> what its two options are called where it is asked as published."""

# two of the published lines lack the space after the full stop, and one has a space before the letter
_OPTION = re.compile(r"\s*([A-Z])\.\s*(.+?)\s*")
_CAPTION = re.compile(r"((?:Option|Sentence|Caption) [12AB]): (.+?)\s*")


def read_tempcompass(source: SourceFolder, split: str) -> Iterator[Entry]:
    """The questions of all four tasks."""
    files = {task: source.find_any(f"{task}.json", f"questions/{task}.json") for task in TASKS}
    missing = [f"{task}.json" for task, file in files.items() if file is None]
    if missing and not source.allow_incomplete:
        source.find(missing[0])  # says what is missing
    if missing:
        source.notes.append(f"tasks without a file: {', '.join(missing)}")
    meta_file = source.find_any("meta_info.json")
    kinds = _read_kinds(source.read_json(meta_file, dict)) if meta_file else {}
    for task, file in files.items():
        if file is not None:
            for video, aspects in source.entries(file):
                yield from _read_video(f"{file.name} entry {video}", task, video, aspects, kinds)


def _read_video(where: str, task: str, video: str, aspects: Any, kinds: dict[tuple[str, str], str]) -> Iterator[Entry]:
    if not isinstance(aspects, dict) or not all(isinstance(questions, list) for questions in aspects.values()):
        yield Entry(where, f"{task}/{video}", Drop("field", "expected an object of lists"))
        return
    for aspect, questions in aspects.items():
        common = {"video_id": video, "task": task, "aspect": aspect, "question_type": kinds.get((video, aspect), "")}
        for place, item in enumerate(questions):
            entry = json_entry(f"{where} {aspect} {place}", f"{task}/{video}/{aspect}/{place}", item, _READERS[task])
            content = Drop("unknown_type", aspect) if aspect not in ASPECTS else entry.content
            yield Entry(
                entry.where, entry.question_id, content if isinstance(content, Drop) else {**common, **content}
            )


def _read_choice(item: dict[str, Any]) -> dict[str, Any] | Drop:
    question, *lines = item["question"].split("\n")
    options = [_OPTION.fullmatch(line) for line in lines]
    answer = _OPTION.fullmatch(item["answer"])
    return _choice(question, options, answer, [chr(ord("A") + place) for place in range(len(options))])


def _read_caption_choice(item: dict[str, Any]) -> dict[str, Any] | Drop:
    question, *lines = item["question"].split("\n")
    if question not in CAPTION_LABELS:
        return Drop("unknown_type", question)
    options = [_CAPTION.fullmatch(line) for line in lines]
    return _choice(question, options, _CAPTION.fullmatch(item["answer"]), list(CAPTION_LABELS[question]))


def _choice(
    question: str, options: list[re.Match[str] | None], answer: re.Match[str] | None, labels: list[str]
) -> dict[str, Any] | Drop:
    found = [option for option in options if option is not None]
    if len(found) < len(options) or [option[1] for option in found] != labels:
        return Drop("field", f"options are not labelled {', '.join(labels)}: {question!r}")
    if answer is None:
        return Drop("no_answer")
    texts = [option[2] for option in found]
    if answer[1] not in labels or texts[labels.index(answer[1])] != answer[2]:
        return Drop("answer_not_among_options", f"{answer[0]!r} is none of {texts}")
    return {
        "question": text_of(question),
        "answer_format": "choice",
        "options": texts,
        "answer": answer[2],
    }


def _read_yes_no(item: dict[str, Any]) -> dict[str, Any] | Drop:
    return {"question": text_of(item["question"]), "answer_format": "yes_no", "answer": text_of(item["answer"])}


def _read_captioning(item: dict[str, Any]) -> dict[str, Any] | Drop:
    """The text that is asked holds several pieces of information; the answer says which is true of the video."""
    answer = _OPTION.fullmatch(item["answer"])
    if answer is None:
        return Drop("no_answer")
    return {"question": text_of(item["question"]), "answer_format": "caption", "answer": answer[2]}


_READERS = {
    "multi-choice": _read_choice,
    "yes_no": _read_yes_no,
    "caption_matching": _read_caption_choice,
    "captioning": _read_captioning,
}


def _read_kinds(meta: dict[str, Any]) -> dict[tuple[str, str], str]:
    """(video, aspect) -> the finer kind."""
    kinds = {}
    for video, facts in meta.items():
        aspects = facts.get("eval_dim") if isinstance(facts, dict) else None
        for aspect, entry in aspects.items() if isinstance(aspects, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("type"), str):
                kinds[video, aspect] = entry["type"]
    return kinds
