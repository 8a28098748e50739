"""Segments of a video as files: CSV and JSON for programs, SRT for players."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from .labelling import ActionSegment

_TIME_DECIMALS = 3


def write_csv(path: str | os.PathLike, segments: Sequence[ActionSegment]) -> Path:
    """A row per segment: start_s, end_s, label, score; times and scores with three decimals."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ActionSegment)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(_rounded, segments))
    return path


def write_json(path: str | os.PathLike, segments: Sequence[ActionSegment], **facts: object) -> Path:
    """One object: `facts` such as the video and the model, and the list `segments`."""
    path = Path(path)
    content = {**facts, "segments": [_rounded(segment) for segment in segments]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_srt(path: str | os.PathLike, segments: Sequence[ActionSegment], hidden: Sequence[str] = ()) -> Path:
    """Subtitles that name the action while it goes on.

    Args:
        path: of the file.
        segments: in order of time.
        hidden: labels that are not shown, such as the background.
    """
    path = Path(path)
    shown = [segment for segment in segments if segment.label not in hidden]
    blocks = [
        f"{number}\n{srt_time(segment.start_s)} --> {srt_time(segment.end_s)}\n{segment.label}\n"
        for number, segment in enumerate(shown, start=1)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def srt_time(seconds: float) -> str:
    """Hours:minutes:seconds,milliseconds."""
    milliseconds = round(seconds * 1000)
    whole, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{milliseconds:03d}"


def _rounded(segment: ActionSegment) -> dict[str, object]:
    row = asdict(segment)
    return {name: round(value, _TIME_DECIMALS) if isinstance(value, float) else value for name, value in row.items()}
