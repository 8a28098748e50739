"""One annotation from its settings to its table, of whichever producer, whole or as a part among several.

A `Producer` turns videos, or what is known of them, into rows of a table: of guidance, or of another contract that it
names. A job knows none of them by name: it gives one an `AnnotationTask`, gets an `Annotation` back, writes its rows
and, beside them, an `AnnotationRun`: facts of the run that no row can carry and that a card should tell. They lie in
the table's folder under `work/`, with what else the producer keeps there. Nothing of `work/` is published; the card
states these facts instead.
"""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from ..errors import ConfigError, GuidanceError
from ..files import write_whole
from ..guidance import write_guidance
from ..guidance.merge import join_names
from ..manifests.manifest import Manifest, load_manifest

logger = logging.getLogger(__name__)

WORK_FOLDER, RUN_FILE = "work", "run.json"

RowsBySplit: TypeAlias = Mapping[str, Iterable[Mapping[str, Any]]]

_TEXTS = ("annotator", "model", "prompt_id", "prompt_sha256", "policy", "started_at", "finished_at")
_OF_ONE_RUN = ("annotator", "model", "prompt_sha256", "policy", "splits", "label_in_prompt", "grid", "seed")
"""Facts in which two runs into one folder agree where the second one goes on with the first."""
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("image_settings", "settings", "totals"), dict),
    **dict.fromkeys(("splits", "grid"), list),
    "label_in_prompt": bool,
    "seed": int,
}


# What a producer is given and gives


@dataclass
class VideoArguments:
    """Which videos are annotated, with what of them, and where to: what every kind of table asks."""

    manifest: str = field(metadata={"help": "Folder of the manifest of videos."})
    out: str = field(metadata={"help": "Folder of the table."})
    splits: list[str] = field(
        default_factory=lambda: ["train"], metadata={"help": "Splits to annotate; only training videos by default."}
    )
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )
    frames_per_second: float | None = field(
        default=None,
        metadata={"help": "Frames of each video that get a row. llm: the policy's by default; others: every frame."},
    )
    seed: int = field(default=0, metadata={"help": "llm: of the choice of videos. truth: of the mistakes."})
    title: str = field(default="", metadata={"help": "Heading of the table's card."})

    def of_run(self) -> dict[str, Any]:
        """What of this is a fact of the run, by the names of `AnnotationRun`."""
        return {"splits": tuple(self.splits), "seed": self.seed}


@dataclass
class AnnotationArguments(VideoArguments):
    """What to annotate with guidance on a grid, and where to."""

    grid: list[int] = field(default_factory=lambda: [4, 4], metadata={"help": "Rows and columns of the grid."})
    labels: str = field(
        default="auto",
        metadata={
            "help": "llm: the action in the prompt: class, captions, segments, or auto for what the manifest has.",
            "choices": ["auto", "class", "captions", "segments"],
        },
    )

    @property
    def grid_size(self) -> tuple[int, int]:
        """(rows, columns).

        Raises:
            ConfigError: `grid` is not two numbers from 1.
        """
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ConfigError(f"grid is {self.grid}, expected rows and columns, both at least 1")
        return self.grid[0], self.grid[1]

    def of_run(self) -> dict[str, Any]:
        """What of this is a fact of the run, by the names of `AnnotationRun`."""
        return {**super().of_run(), "grid": self.grid_size}


Arguments = TypeVar("Arguments", bound=VideoArguments)


@dataclass(frozen=True)
class Shard:
    """Every `count`-th of the chosen videos, from the `index`-th on: the part of one of several machines."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigError(f"shard {self.index} of {self.count}: the index must be from 0 to {self.count - 1}")


@dataclass(frozen=True)
class AnnotationTask(Generic[Arguments]):
    """What a producer is given.

    Args:
        args: What to annotate.
        folder: Folder for the producer's own state, from which an unfinished run is taken up.
        shard: Part of the videos that is annotated.
        progress: Whether to show a bar.
        announce: Function that is given the producer's open run before anything is sent, where it has one.
    """

    args: Arguments
    folder: Path
    shard: Shard = Shard()
    progress: bool = True
    announce: Callable[[Any], None] = lambda run: None

    def load_manifest(self) -> Manifest:
        """The manifest of the videos.

        Raises:
            ManifestError: it is not there or cannot be read.
        """
        return load_manifest(self.args.manifest, self.args.video_root, self.args.allow_outside_paths)


@dataclass(frozen=True)
class AnnotationRun:
    """Facts of one run of a producer. What is None or empty is not known, and a card says so.

    Keep out of it what must not be published: paths of this machine, addresses of servers, keys.

    Args:
        annotator: Name of the producer, such as "llm", "motion" or "truth".
        model: Name of the model as it was asked for, or the settings of an algorithm in words.
        prompt_id: Id of the prompt.
        prompt_sha256: SHA-256 of the prompt's file, in hexadecimal digits.
        policy: Which frames of which videos were annotated, in words or by the policy's name and settings.
        splits: Splits that were annotated.
        label_in_prompt: Whether the annotator was told the action. Such guidance exists in training only.
        grid: (rows, columns).
        image_settings: How pictures were sent, such as {"max_side_px": 320, "jpeg_quality": 90, "detail": "auto"}.
        settings: Further settings, such as {"temperature": 0.0, "samples_per_frame": 1}.
        seed: Seed of every random choice.
        started_at: Time of the start in ISO 8601, with the time zone.
        finished_at: Time of the end in ISO 8601, with the time zone.
        totals: Sums over the run, all attempts included, such as {"videos": 10, "requests": 100, "cost_usd": 0.05}.
    """

    annotator: str | None = None
    model: str | None = None
    prompt_id: str | None = None
    prompt_sha256: str | None = None
    policy: str | None = None
    splits: tuple[str, ...] = ()
    label_in_prompt: bool | None = None
    grid: tuple[int, int] | None = None
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    totals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotation:
    """What a producer gives.

    Args:
        rows: Rows of the table by split. They are drawn once, in order.
        facts: Facts of the run that the producer alone knows; the job adds its own.
        notes: Counts by name that are complete when the rows have been drawn; they join the totals.
        num_asked: Number of answers that came in this run, where a producer goes on with what an earlier run into the
            folder has; None where it makes all rows anew.
        totals: Sums over the run that are complete when the rows have been drawn; they join the facts' own.
    """

    rows: RowsBySplit
    facts: AnnotationRun
    notes: Mapping[str, int] = field(default_factory=dict)
    num_asked: int | None = None
    totals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Producer(ABC, Generic[Arguments]):
    """An annotator as a job sees it: its settings, which are its flags on the command line, and what it does.

    A producer is plain data, so that a job can be sent to another process or machine.
    """

    name: ClassVar[str]
    """Value of `--annotator`, and of `annotator` among the facts of a run."""

    operation: ClassVar[tuple[str, ...]] = ()
    """Settings that change how a run goes and not what its table says."""

    table_title: ClassVar[str] = "Grid guidance"
    """Heading of the table's card where none is given."""

    @abstractmethod
    def annotate(self, task: AnnotationTask[Arguments]) -> AbstractContextManager[Annotation]:
        """Annotate. The rows are drawn within the context, while files and stores are open.

        Args:
            task: What to annotate.

        Raises:
            VidreasonError: a setting or the videos cannot be used, or the run cannot go on.
        """

    def write(self, out: Path, rows: RowsBySplit, title: str, description: str, allow_empty: bool) -> None:
        """Write the rows as a table: one of guidance, unless a producer makes another kind.

        Args:
            out: Folder of the table.
            rows: Rows by split.
            title: Heading of the card.
            description: A sentence or two for the card.
            allow_empty: Whether a table without rows may be written.
        """
        write_guidance(out, rows, title=title, description=description, allow_empty=allow_empty)

    def describe(self, facts: AnnotationRun) -> str:
        """A sentence or two for the card, from the facts of the whole run."""
        if facts.prompt_id is None:
            return f"Annotator: {facts.annotator} ({facts.model})."
        told = "was told the action, so this guidance is training-time information and no prediction"
        label = told if facts.label_in_prompt else "was not told the action"
        text = f"Frames: {facts.policy}. Prompt `{facts.prompt_id}`. The model {label}."
        stopped = facts.settings.get("stopped")
        return text + (f" The run was stopped before its end: {stopped}." if stopped else "")


# The job


@dataclass(frozen=True)
class AnnotationJob(Generic[Arguments]):
    """All settings of an annotation, as plain data, so that it can be sent to another process or machine.

    Args:
        args: What to annotate, and where to.
        producer: Annotator with its settings, such as `vidreason.annotation.motion.MotionArguments()`.
    """

    args: Arguments
    producer: Producer[Arguments]

    def task(
        self, out: str | os.PathLike | None = None, shard: Shard | None = None, **options: Any
    ) -> AnnotationTask[Arguments]:
        """What the producer is given.

        Args:
            out: Folder of the table, if not the arguments'.
            shard: Part of the videos that is annotated; all of them by default.
            options: Any of `progress` and `announce` of `AnnotationTask`.
        """
        return AnnotationTask(self.args, Path(out or self.args.out) / WORK_FOLDER, shard or Shard(), **options)

    def run(
        self,
        out: str | os.PathLike | None = None,
        shard: Shard | None = None,
        progress: bool = True,
        announce: Callable[[Any], None] = lambda run: None,
    ) -> Path:
        """Annotate and write the table. What an earlier run left unfinished is taken up.

        Args:
            out: Folder of the table, if not the arguments'.
            shard: Part of the videos that is annotated; all of them by default.
            progress: Whether to show a bar.
            announce: Function that is given the producer's open run before anything is sent, where it has one.

        Raises:
            VidreasonError: the manifest, the truth or a setting is not usable, or the run cannot go on.
        """
        out, started_at = Path(out or self.args.out), _now()
        task = self.task(out, shard, progress=progress, announce=announce)
        with self.producer.annotate(task) as made:
            facts = replace(made.facts, annotator=self.producer.name, started_at=started_at, **self.args.of_run())
            if made.num_asked is not None:
                facts = _with_earlier_times(facts, out, made.num_asked)
            # a part of a run may have no videos: there can be more parts than videos
            return self.write(out, made.rows, facts, task.shard.count > 1, made)

    def write(
        self,
        out: Path,
        rows: RowsBySplit,
        facts: AnnotationRun,
        allow_empty: bool = False,
        made: Annotation | None = None,
    ) -> Path:
        """Write a table and, beside it, how it came to be.

        Args:
            out: Folder of the table.
            rows: Rows by split.
            facts: Facts of the run; the time of its end is added where it has none.
            allow_empty: Whether a table without rows may be written.
            made: What the rows are of: its notes and totals, which are complete when the rows have been drawn, join
                the facts.
        """
        title = self.args.title or f"{self.producer.table_title} ({facts.annotator})"
        self.producer.write(out, rows, title, self.producer.describe(facts), allow_empty)
        notes = {f"note: {name}": count for name, count in (made.notes if made else {}).items()}
        totals = {**facts.totals, **(made.totals if made else {}), **notes}
        write_run(out, replace(facts, finished_at=facts.finished_at or _now(), totals=totals))
        return out


def _with_earlier_times(facts: AnnotationRun, out: Path, num_asked: int) -> AnnotationRun:
    """The facts with the times of the run that they go on with, if they do.

    The totals count every run into the folder, so the time of the start is that of the first. A run that had nothing
    to ask changes nothing, and neither does its end.

    Args:
        facts: Facts of this run, which has no time of its end yet.
        out: Folder of the table.
        num_asked: Number of answers that came in this run.
    """
    earlier = read_run(out)
    if earlier is None or any(getattr(earlier, name) != getattr(facts, name) for name in _OF_ONE_RUN):
        return facts
    finished_at = earlier.finished_at if num_asked == 0 else None
    return replace(facts, started_at=earlier.started_at or facts.started_at, finished_at=finished_at)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


# The facts on disk


def run_path(guidance_folder: str | os.PathLike) -> Path:
    """Where the facts of a table's run are."""
    return Path(guidance_folder) / WORK_FOLDER / RUN_FILE


def write_run(guidance_folder: str | os.PathLike, run: AnnotationRun) -> Path:
    """Write the facts of a run as JSON beside its table, and return the file."""
    path = run_path(guidance_folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(run), indent=2, ensure_ascii=False) + "\n")
    return path


def read_run(guidance_folder: str | os.PathLike) -> AnnotationRun | None:
    """The facts of a table's run, or None where none were written down.

    Raises:
        GuidanceError: the file is there but does not hold such facts. A field of a later version is left out, and the
            log says so.
    """
    path = run_path(guidance_folder)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise GuidanceError(f"{path}: not JSON ({error})") from error
    if not isinstance(facts, dict):
        raise GuidanceError(f"{path}: expected an object of facts, got {type(facts).__name__}")
    unknown = sorted(set(facts) - set(_KINDS))
    if unknown:
        logger.warning("%s: unknown facts %s are left out", path, unknown)
    known = {name: value for name, value in facts.items() if name not in unknown and value is not None}
    for name, value in known.items():
        if type(value) is not _KINDS[name]:  # not isinstance, for which True is a number
            raise GuidanceError(f"{path}: {name} is {value!r}")
    known |= {name: tuple(known[name]) for name in ("splits", "grid") if name in known}
    return AnnotationRun(**known)


def merge_runs(runs: Sequence[AnnotationRun | None], policy: str | None = None) -> AnnotationRun:
    """The facts of the runs behind a merged table.

    Texts are joined, totals summed. Whether annotators were told the action is the thing not to lose: it is so where
    it is of any run, and unknown where it is unknown of one and the others were not told.

    Args:
        runs: Facts of each table's run; None where nothing is known of one.
        policy: Frames of the merged table, in words; by default those of the runs, joined.
    """
    known = [run for run in runs if run is not None]
    told = {None if run is None else run.label_in_prompt for run in runs}
    return AnnotationRun(
        annotator=_joined(run.annotator for run in known),
        model=_joined(run.model for run in known),
        prompt_id=_joined(run.prompt_id for run in known),
        prompt_sha256=_joined(run.prompt_sha256 for run in known),
        policy=policy or _joined(run.policy for run in known),
        splits=tuple(dict.fromkeys(split for run in known for split in run.splits)),
        label_in_prompt=True if True in told else None if None in told else False,
        totals=sum_totals(known),
    )


def sum_totals(runs: Iterable[AnnotationRun]) -> dict[str, float]:
    """The totals of several runs together."""
    totals: dict[str, float] = {}
    for run in runs:
        for name, value in run.totals.items():
            totals[name] = totals.get(name, 0) + value
    return totals


def _joined(names: Iterable[str | None]) -> str | None:
    return join_names(name or "" for name in names) or None
