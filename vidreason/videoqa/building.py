"""A table of questions from a benchmark's own files, beside the manifest of its videos where there is one."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import QuestionError
from ..files import write_whole
from ..manifests.manifest import Manifest
from ..reporting.tables import text_table
from .benchmarks.reading import Drop, QuestionReading, SourceFolder, find_time_drop, source_folder
from .benchmarks.registry import Benchmark, find_benchmark, open_split
from .tables import write_questions

DROPPED_FILE = "dropped.jsonl"
"""Entries of the source that are no rows, beside the table: split, question_id, where, reason and detail of each."""

_NAMED = 10  # videos and entries that a report names; the file has all


@dataclass(frozen=True)
class BuildSettings:
    """How a table of questions is made of a benchmark.

    Args:
        tolerant: Whether slips in JSON that leave no doubt are mended (`benchmarks.source_files`).
        allow_incomplete: Whether a benchmark of several files may lack some.
        match_by_name: Whether a video is also found in the manifest by the last part of its id, where a single video
            has it; the row then has the manifest's id.
        drop_unanswerable: Whether questions are left out that the manifest's videos cannot answer: of videos that it
            lacks, or about a time after the video's end. They are counted and named either way.
    """

    tolerant: bool = False
    allow_incomplete: bool = False
    match_by_name: bool = False
    drop_unanswerable: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What came of a benchmark's files.

    Args:
        folder: Folder of the table.
        benchmark: The benchmark.
        readings: Split -> what was kept and dropped of it.
        unknown_videos: Video that the manifest lacks -> questions about it.
        late: Questions about a time after their video's end.
        notes: What was mended or is missing, in words.
        files: The files that were read, for people.
        has_manifest: Whether videos were looked up.
        dropped_unanswerable: Whether questions that the manifest's videos cannot answer were left out.
    """

    folder: Path
    benchmark: Benchmark
    readings: dict[str, QuestionReading]
    unknown_videos: Counter[str]
    late: list[str]
    notes: list[str]
    files: str
    has_manifest: bool
    dropped_unanswerable: bool

    def split_table(self) -> str:
        """Entries of the source, rows, and dropped entries by reason, of each split, as a Markdown table."""
        reasons = sorted({reason for reading in self.readings.values() for reason in reading.reasons})
        rows = [
            (split, reading.total, reading.kept, *(reading.reasons[reason] for reason in reasons))
            for split, reading in self.readings.items()
        ]
        return text_table(["split", "in the source", "kept", *reasons], rows, [False, *[True] * (2 + len(reasons))])

    def lines(self) -> list[str]:
        """What else is to be said, a sentence each."""
        made = [f"Read: {self.files}.", *(f"{note[0].upper()}{note[1:]}." for note in self.notes)]
        fate = "left out" if self.dropped_unanswerable else "kept"
        if self.unknown_videos:
            names = ", ".join(sorted(self.unknown_videos)[:_NAMED])
            more = " and others" if len(self.unknown_videos) > _NAMED else ""
            made.append(
                f"{self.unknown_videos.total()} questions are about {len(self.unknown_videos)} videos that the "
                f"manifest lacks ({names}{more}): {fate}."
            )
        if self.late:
            more = " and others" if len(self.late) > _NAMED else ""
            made.append(
                f"{len(self.late)} questions are about a time after the end of their video "
                f"({', '.join(self.late[:_NAMED])}{more}): {fate}."
            )
        if not self.has_manifest:
            made.append("No manifest was given: whether the videos are there was not looked up.")
        return made

    def named_drops(self) -> list[str]:
        """The first dropped entries, a line each."""
        dropped = [(split, entry) for split, reading in self.readings.items() for entry in reading.dropped]
        shown = [
            f"{split}, {entry.where}: {entry.reason}{f' ({entry.detail})' if entry.detail else ''}"
            for split, entry in dropped[:_NAMED]
        ]
        return [*shown, f"and {len(dropped) - _NAMED} more in {DROPPED_FILE}"] if len(dropped) > _NAMED else shown


@dataclass
class _Videos:
    """The videos of a manifest, and what was found about them on the way."""

    durations_s: dict[str, float]
    settings: BuildSettings
    unknown: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)
    _by_name: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for video_id in self.durations_s if self.settings.match_by_name else ():
            name = PurePosixPath(video_id).name
            self._by_name[name] = None if name in self._by_name else video_id  # of two with a name neither is meant

    def accept(self, row: dict[str, Any]) -> Drop | None:
        """Look up a row's video; the row gets the manifest's id. Why it is left out, where settings say so."""
        video_id = row["video_id"]
        if video_id not in self.durations_s:
            video_id = self._by_name.get(PurePosixPath(video_id).name) or ""
        if not video_id:
            self.unknown[row["video_id"]] += 1
            return Drop("unknown_video", row["video_id"]) if self.settings.drop_unanswerable else None
        row["video_id"] = video_id
        drop = find_time_drop(row, self.durations_s[video_id])
        if drop:
            self.late.append(row["question_id"])
        return drop if self.settings.drop_unanswerable else None


def build_questions(
    name: str,
    data: str | os.PathLike,
    splits: Sequence[str],
    out: str | os.PathLike,
    manifest: Manifest | None = None,
    settings: BuildSettings | None = None,
) -> BuildReport:
    """Read splits of a benchmark and write them as one table of questions, with what was dropped beside it.

    Args:
        name: Name of the benchmark, one of `benchmarks.BENCHMARKS`.
        data: Folder of the benchmark's files, as they are published.
        splits: Names of the splits.
        out: Folder to write: Parquet files, card and `dropped.jsonl`.
        manifest: Manifest of the videos; without it, videos are not looked up.
        settings: Settings; the defaults where they are not given.

    Raises:
        QuestionError: There is no such benchmark or split, a file is missing or cannot be read, or nothing of it can
            be kept.
    """
    settings = settings or BuildSettings()
    benchmark = find_benchmark(name)
    if not splits or len(set(splits)) < len(splits):
        raise QuestionError(f"splits are {list(splits)}, expected at least one, and each once")
    source = source_folder(data, benchmark.title, settings.tolerant, settings.allow_incomplete)
    readings = {split: open_split(benchmark, source, split) for split in splits}
    videos = None if manifest is None else _Videos(_durations(manifest), settings)
    rows = {split: reading.rows(videos.accept) if videos else reading.rows() for split, reading in readings.items()}
    try:
        write_questions(out, rows, benchmark.title, license=benchmark.license)
    except QuestionError as error:
        if not any(reading.kept for reading in readings.values()) and any(r.total for r in readings.values()):
            raise QuestionError(f"{data}: nothing can be kept of it: {_reasons(readings)}") from error
        raise
    report = BuildReport(
        folder=Path(out),
        benchmark=benchmark,
        readings=readings,
        unknown_videos=videos.unknown if videos else Counter(),
        late=videos.late if videos else [],
        notes=list(dict.fromkeys(source.notes)),
        files=source.describe_files(),
        has_manifest=manifest is not None,
        dropped_unanswerable=settings.drop_unanswerable,
    )
    _write_beside(report, source)
    return report


def _durations(manifest: Manifest) -> dict[str, float]:
    """Video -> its length in seconds."""
    columns = [rows.select_columns(["video_id", "duration_s"]) for rows in manifest.splits.values()]
    return {
        name: length for rows in columns for name, length in zip(rows["video_id"], rows["duration_s"], strict=True)
    }


def _reasons(readings: dict[str, QuestionReading]) -> str:
    counts = sum((reading.reasons for reading in readings.values()), Counter())
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def _write_beside(report: BuildReport, source: SourceFolder) -> None:
    """The dropped entries as a file, and what the source was in the card."""
    write_whole(report.folder / DROPPED_FILE, "".join(_dropped_lines(report)))
    card = report.folder / "README.md"
    parts = [
        f"## From {report.benchmark.title}\n\nMade from the files that {report.benchmark.homepage} publishes, whose "
        f"licence is {report.benchmark.license}; the videos have their own.",
        report.split_table(),
        f"Why entries are no rows is in `{DROPPED_FILE}`.",
        *report.lines(),
    ]
    write_whole(card, card.read_text(encoding="utf-8") + "\n" + "\n\n".join(parts) + "\n")


def _dropped_lines(report: BuildReport) -> Iterator[str]:
    for split, reading in report.readings.items():
        for entry in reading.dropped:
            yield json.dumps({"split": split, **asdict(entry)}, ensure_ascii=True) + "\n"
