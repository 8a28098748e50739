"""One annotation from its settings to its table, whichever annotator makes it, whole or as a part among several."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from tqdm.auto import tqdm

from ..errors import BudgetExceeded, ConfigError, ManifestError
from ..files import read_folder
from ..guidance import write_guidance
from ..manifests.captions import CAPTIONS_FILE, read_captions
from ..manifests.manifest import Manifest, load_manifest
from ..manifests.segments import SEGMENTS_FOLDER, SegmentIndex, load_segments
from .annotation_run import WORK_FOLDER, AnnotationRun, write_run
from .grid.run import LLMArguments, LLMRun, open_llm_run
from .labels import CaptionLabels, ClassLabels, LabelSource, SegmentLabels
from .motion import MotionAnnotator
from .shard import Shard
from .truth import NoiseModel, truth_guidance

logger = logging.getLogger(__name__)

ANNOTATORS = ("llm", "motion", "truth")
Rows = dict[str, Iterator[dict[str, Any]]]


@dataclass
class AnnotationArguments:
    """What to annotate, by whom, and where to."""

    manifest: str = field(metadata={"help": "Folder of the manifest of videos."})
    out: str = field(metadata={"help": "Folder of the guidance table."})
    annotator: str = field(default="motion", metadata={"help": "Who annotates.", "choices": list(ANNOTATORS)})
    splits: list[str] = field(
        default_factory=lambda: ["train"], metadata={"help": "Splits to annotate; only training videos by default."}
    )
    grid: list[int] = field(default_factory=lambda: [4, 4], metadata={"help": "Rows and columns of the grid."})
    video_root: str | None = field(default=None, metadata={"help": "Where the videos lie, if not where it says."})
    frames_per_second: float | None = field(
        default=None,
        metadata={"help": "Frames of each video that get a row. motion: every frame by default; llm: the policy's."},
    )
    seed: int = field(default=0, metadata={"help": "llm: of the choice of videos. truth: of the mistakes."})
    labels: str = field(
        default="auto",
        metadata={
            "help": "llm: the action in the prompt: class, captions, segments, or auto for what the manifest has.",
            "choices": ["auto", "class", "captions", "segments"],
        },
    )
    title: str = field(default="", metadata={"help": "Heading of the table's card."})

    @property
    def grid_size(self) -> tuple[int, int]:
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ConfigError(f"grid is {self.grid}, expected rows and columns, both at least 1")
        return self.grid[0], self.grid[1]


@dataclass
class TruthArguments:
    """--annotator truth: ground truth with the mistakes of an annotator."""

    truth: str | None = field(default=None, metadata={"help": "Folder of the ground truth."})
    missed_frames: float = field(default=0.0, metadata={"help": "Probability that a frame gets no answer."})
    misplaced_cells: float = field(default=0.0, metadata={"help": "That a marked cell moves to a neighbour."})
    extra_cells: float = field(default=0.0, metadata={"help": "That another cell is marked as well."})
    wrong_cells: float = field(default=0.0, metadata={"help": "That a marked cell gives way to one without evidence."})


@dataclass(frozen=True)
class AnnotationJob:
    """All settings of an annotation, as plain data, so that it can be sent to another process or machine.

    Args:
        args: what to annotate and where to.
        llm: of the annotator `llm`.
        truth: of the annotator `truth`.
    """

    args: AnnotationArguments
    llm: LLMArguments = field(default_factory=LLMArguments)
    truth: TruthArguments = field(default_factory=TruthArguments)

    def run(
        self,
        out: str | os.PathLike | None = None,
        shard: Shard | None = None,
        progress: bool = True,
        announce: Callable[[LLMRun], None] = lambda run: None,
    ) -> Path:
        """Annotate and write the table. What an earlier run left unfinished is taken up.

        Args:
            out: folder of the table, if not the arguments'.
            shard: the part of the videos that is annotated.
            progress: show a bar.
            announce: is given the run of the annotator `llm` before anything is sent.

        Raises:
            VidreasonError: the manifest, the truth or a setting is not usable, or the run cannot go on.
        """
        out, shard = Path(out or self.args.out), shard or Shard()
        if self.args.annotator not in ANNOTATORS:
            raise ConfigError(f"annotator is {self.args.annotator!r}, expected one of {ANNOTATORS}")
        if self.args.annotator == "llm":
            return self._run_llm(out, shard, progress, announce)
        annotate = {"motion": self._run_motion, "truth": self._run_truth}[self.args.annotator]
        return annotate(out, shard, progress)

    def open_llm(self, out: str | os.PathLike, shard: Shard | None = None):
        """The run of the annotator `llm`, for a plan or for asking: a context manager of an `LLMRun`."""
        manifest = load_manifest(self.args.manifest, self.args.video_root)
        return open_llm_run(
            manifest,
            self.args.splits,
            self.args.grid_size,
            Path(out) / WORK_FOLDER,
            self.llm,
            self.args.seed,
            self.args.frames_per_second,
            self._labels(manifest),
            shard,
        )

    def _run_llm(self, out: Path, shard: Shard, progress: bool, announce: Callable[[LLMRun], None]) -> Path:
        started_at = _now()
        with self.open_llm(out, shard) as run:
            announce(run)
            stopped = None
            cap_usd = None if self.llm.max_cost_usd is None else self.llm.max_cost_usd / shard.count
            try:
                run.ask(progress, cap_usd)
            except BudgetExceeded as error:
                if not self.llm.write_partial:
                    raise
                stopped = str(error)
                logger.warning("%s; the table is written without the frames that were not asked about", error)
            rows = {split: run.annotator.rows(split, partial=stopped is not None) for split in self.args.splits}
            facts = self._facts(started_at=started_at, **_llm_facts(run, stopped))
            return write_table(out, rows, facts, self.args.title, shard.count > 1, run.annotator.notes)

    def _run_motion(self, out: Path, shard: Shard, progress: bool) -> Path:
        started_at = _now()
        manifest = take_shard(load_manifest(self.args.manifest, self.args.video_root), self.args.splits, shard)
        annotator = MotionAnnotator(grid=self.args.grid_size)
        rows = {
            split: tqdm(
                annotator.annotate(manifest, split, self.args.frames_per_second),
                desc=split,
                unit=" frames",
                disable=not progress,
            )
            for split in self.args.splits
        }
        settings = {"frames_per_second": self.args.frames_per_second}
        facts = self._facts(started_at=started_at, model=annotator.description, settings=settings)
        return write_table(out, rows, facts, self.args.title, shard.count > 1)

    def _run_truth(self, out: Path, shard: Shard, progress: bool) -> Path:
        started_at = _now()
        if self.truth.truth is None:
            raise ConfigError("--truth is not set: name the folder of the ground truth")
        if shard.count > 1:
            raise ConfigError("ground truth is at hand in a moment; it is not made in parts")
        truth = read_folder(self.truth.truth)
        missing = [split for split in self.args.splits if split not in truth]
        if missing:
            raise ConfigError(f"{self.truth.truth} has no splits {missing}; it has {sorted(truth)}")
        mistakes = (self.truth.missed_frames, self.truth.misplaced_cells, self.truth.extra_cells)
        noise = NoiseModel(*mistakes, self.args.seed, self.truth.wrong_cells)
        rows = {
            split: tqdm(
                truth_guidance(truth[split], self.args.grid_size, noise), split, unit=" frames", disable=not progress
            )
            for split in self.args.splits
        }
        return write_table(out, rows, self._facts(started_at=started_at, model=noise.description), self.args.title)

    def _labels(self, manifest: Manifest) -> LabelSource:
        """Where the action's name in a prompt comes from."""
        folder, kind = Path(self.args.manifest), self.args.labels
        if kind in ("auto", "segments") and (folder / SEGMENTS_FOLDER).is_dir():
            segments = SegmentIndex(load_segments(folder))
            if self._covers(manifest, segments.video_ids, SEGMENTS_FOLDER):
                return SegmentLabels(segments)
        if kind in ("auto", "captions") and (folder / CAPTIONS_FILE).is_file():
            captions = read_captions(folder)
            if self._covers(manifest, captions, CAPTIONS_FILE):
                return CaptionLabels(manifest.class_names, captions)
        if kind in ("segments", "captions"):
            raise ManifestError(f"{folder}: there are no {kind} of its videos beside the manifest")
        return ClassLabels(manifest.class_names)

    def _covers(self, manifest: Manifest, video_ids: Collection[str], name: str) -> bool:
        """Whether labels are of this manifest's videos at all, and not left behind by another one."""
        if any(video_id in video_ids for split in self.args.splits for video_id in manifest.split(split)["video_id"]):
            return True
        logger.warning("%s: %s is about none of the videos; it is not used", self.args.manifest, name)
        return False

    def _facts(self, **facts: Any) -> AnnotationRun:
        """What `run.json` says of any annotator."""
        return AnnotationRun(
            annotator=self.args.annotator,
            splits=tuple(self.args.splits),
            grid=self.args.grid_size,
            seed=self.args.seed,
            **{"label_in_prompt": False, **facts},
        )


def write_table(
    out: Path,
    rows: Rows,
    facts: AnnotationRun,
    title: str = "",
    allow_empty: bool = False,
    notes: Mapping[str, int] | None = None,
) -> Path:
    """Write a guidance table and, beside it, how it came to be.

    Args:
        out: folder of the table.
        rows: split -> rows.
        facts: of the run; the time of its end is added.
        title: heading of the card.
        allow_empty: a part of a run may have no videos.
        notes: counts that are complete when the rows have been drawn; they join the totals.
    """
    title = title or f"Grid guidance ({facts.annotator})"
    write_guidance(out, rows, title=title, description=_describe(facts), allow_empty=allow_empty)
    totals = {**facts.totals, **{f"note: {name}": count for name, count in (notes or {}).items()}}
    write_run(out, replace(facts, finished_at=_now(), totals=totals))
    return out


def take_shard(manifest: Manifest, splits: list[str], shard: Shard) -> Manifest:
    """The manifest with a part of the videos of each split."""
    parts = {split: manifest.split(split) for split in splits}
    parts = {split: rows.select(range(shard.index, len(rows), shard.count)) for split, rows in parts.items()}
    return Manifest(manifest.class_names, DatasetDict(parts), manifest.video_root, manifest.source)


def _llm_facts(run: LLMRun, stopped: str | None) -> dict[str, Any]:
    annotator, args, totals = run.annotator, run.args, asdict(run.store.totals())
    outcomes = totals.pop("outcomes")
    return {
        "model": args.model,
        "prompt_id": annotator.prompt.prompt_id,
        "prompt_sha256": annotator.prompt.sha256,
        "policy": annotator.policy.description,
        "label_in_prompt": args.label_in_prompt,
        "image_settings": {name: getattr(args, name) for name in ("max_side_px", "jpeg_quality", "image_detail")},
        "settings": {
            **{name: getattr(args, name) for name in ("dataset_name", "temperature", "max_completion_tokens")},
            **{name: getattr(args, name) for name in ("samples_per_frame", "structured", "batch")},
            **({"stopped": stopped} if stopped else {}),
        },
        "totals": {
            "videos": sum(len(rows) for rows in annotator.videos.values()),
            **totals,
            **{f"attempts: {outcome or 'open'}": count for outcome, count in outcomes.items()},
        },
    }


def _describe(facts: AnnotationRun) -> str:
    """A sentence or two for the card."""
    if facts.annotator != "llm":
        return f"Annotator: {facts.annotator} ({facts.model})."
    told = "was told the action, so this guidance is training-time information and no prediction"
    label = told if facts.label_in_prompt else "was not told the action"
    text = f"Frames: {facts.policy}. Prompt `{facts.prompt_id}`. The model {label}."
    stopped = facts.settings.get("stopped")
    return text + (f" The run was stopped before its end: {stopped}." if stopped else "")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
