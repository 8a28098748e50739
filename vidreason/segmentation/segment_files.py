"""Segments of a video as texts and files: CSV and JSON for programs, SRT for players."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from ..files import write_whole
from .labelling import ActionSegment

_TIME_DECIMALS = 3


def write_csv(path: str | os.PathLike, segments: Sequence[ActionSegment]) -> Path:
    """Write `csv_text` to a file."""
    return _write(path, csv_text(segments))


def write_json(path: str | os.PathLike, segments: Sequence[ActionSegment], **facts: object) -> Path:
    """Write `json_text` to a file."""
    return _write(path, json_text(segments, **facts))


def write_srt(path: str | os.PathLike, segments: Sequence[ActionSegment], hidden: Sequence[str] = ()) -> Path:
    """Write `srt_text` to a file."""
    return _write(path, srt_text(segments, hidden))


def csv_text(segments: Sequence[ActionSegment]) -> str:
    """A row per segment: start_s, end_s, label, score; times and scores with three decimals."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(ActionSegment)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(rounded_segment, segments))
    return text.getvalue()


def json_text(segments: Sequence[ActionSegment], **facts: object) -> str:
    """One object: `facts` such as the video and the model, and the list `segments`."""
    content = {**facts, "segments": [rounded_segment(segment) for segment in segments]}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def srt_text(segments: Sequence[ActionSegment], hidden: Sequence[str] = ()) -> str:
    """Subtitles that name the action while it goes on.

    Args:
        segments: Segments in order of time.
        hidden: Labels that are not shown, such as the background.
    """
    shown = [segment for segment in segments if segment.label not in hidden]
    # a label becomes one line: an empty line would end its block
    blocks = [
        f"{number}\n{srt_time(segment.start_s)} --> {srt_time(segment.end_s)}\n{' '.join(segment.label.split())}\n"
        for number, segment in enumerate(shown, start=1)
    ]
    return "\n".join(blocks)


def srt_time(seconds: float) -> str:
    """Hours:minutes:seconds,milliseconds."""
    milliseconds = round(seconds * 1000)
    whole, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{milliseconds:03d}"


def rounded_segment(segment: ActionSegment) -> dict[str, object]:
    """A segment's fields by name, times and score with three decimals."""
    row = asdict(segment)
    return {name: round(value, _TIME_DECIMALS) if isinstance(value, float) else value for name, value in row.items()}


def _write(path: str | os.PathLike, text: str) -> Path:
    write_whole(path, text)
    return Path(path)
