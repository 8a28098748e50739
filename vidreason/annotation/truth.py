"""Guidance from ground-truth boxes, through a model of the mistakes that an annotator makes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from tqdm.auto import tqdm

from ..errors import ConfigError
from ..files import read_folder
from ..guidance import boxes_to_cells, guidance_row
from .job import Annotation, AnnotationRun, AnnotationTask, Producer


@dataclass(frozen=True)
class Mistakes:
    """How often an annotator makes which mistake.

    Args:
        missed_frames: Probability that a frame gets no answer (status `failed`).
        misplaced_cells: Probability that a marked cell is moved to one of its up to eight neighbours.
        extra_cells: Probability that a cell that is not marked is marked as well.
        wrong_cells: Probability that a marked cell is replaced by one without evidence, anywhere in the frame. With 1
            no marked cell is right, whereas a cell that is misplaced can hit the evidence beside it. Where evidence
            leaves fewer cells free, fewer are marked.
    """

    missed_frames: float = field(default=0.0, metadata={"help": "Probability that a frame gets no answer."})
    misplaced_cells: float = field(
        default=0.0, metadata={"help": "Probability that a marked cell moves to a neighbour."}
    )
    extra_cells: float = field(default=0.0, metadata={"help": "Probability that another cell is marked as well."})
    wrong_cells: float = field(
        default=0.0, metadata={"help": "Probability that a marked cell gives way to one without evidence."}
    )

    def __post_init__(self) -> None:
        for name in ("missed_frames", "misplaced_cells", "extra_cells", "wrong_cells"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a probability")


@dataclass(frozen=True)
class NoiseModel(Mistakes):
    """Random mistakes, drawn independently for every frame from (seed, video, frame index).

    Args:
        seed: Seed of the draws.
    """

    seed: int = 0

    @property
    def description(self) -> str:
        """For provenance, such as `missed=0.1,misplaced=0.1,extra=0.05,seed=0`; wrong cells where there are any."""
        wrong = f",wrong={self.wrong_cells:g}" if self.wrong_cells else ""
        return (
            f"missed={self.missed_frames:g},misplaced={self.misplaced_cells:g},extra={self.extra_cells:g},"
            f"seed={self.seed}{wrong}"
        )

    @classmethod
    def from_description(cls, description: str) -> NoiseModel:
        """The noise model whose `description` this is: for tables that have no other record of it, and for no others.

        Tables of version 0.1.0 and tables from the Hub come without `run.json`, whose `settings` have the same facts.
        This is the one place where they are read from a text.

        Raises:
            ConfigError: it describes no noise model.
        """
        try:
            values = dict(part.split("=") for part in description.split(","))
            noise = cls(
                missed_frames=float(values.pop("missed", 0)),
                misplaced_cells=float(values.pop("misplaced", 0)),
                extra_cells=float(values.pop("extra", 0)),
                seed=int(values.pop("seed", 0)),
                wrong_cells=float(values.pop("wrong", 0)),
            )
        except ValueError:
            raise ConfigError(f"{description!r} does not describe a noise model") from None
        if values:
            raise ConfigError(f"{description!r} does not describe a noise model")
        return noise

    def generator(self, video_id: str, frame_index: int) -> np.random.Generator:
        """The random numbers of one frame, the same in whatever order frames are annotated."""
        return np.random.default_rng([self.seed, zlib.crc32(video_id.encode()), frame_index])

    def disturb(self, marked: np.ndarray, grid: tuple[int, int], rng: np.random.Generator) -> np.ndarray | None:
        """Apply the mistakes to one frame.

        Args:
            marked: Cells with evidence, (rows * columns,), bool.
            grid: (rows, columns).
            rng: Random numbers of the frame, as `generator` gives them.

        Returns:
            Booleans of shape (rows * columns,), or None for a missed frame.
        """
        if rng.random() < self.missed_frames:
            return None
        # drawn before the misplaced cells, whose number of draws varies with what is drawn
        extra = rng.random(marked.shape) < self.extra_cells
        disturbed = np.zeros_like(marked)
        for cell in np.flatnonzero(marked):
            disturbed[_neighbour(int(cell), grid, rng) if rng.random() < self.misplaced_cells else cell] = True
        if self.wrong_cells:  # drawn last, so that the other mistakes are those of a model without it
            disturbed = self._replaced(disturbed, marked, rng)
        return disturbed | (extra & ~marked)

    def _replaced(self, disturbed: np.ndarray, evidence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cells of which some are replaced by cells without evidence: (rows * columns,), bool."""
        replaced = disturbed & (rng.random(disturbed.shape) < self.wrong_cells)
        free = np.flatnonzero(~evidence & ~disturbed)
        chosen = rng.permutation(free)[: int(replaced.sum())]
        kept = disturbed & ~replaced
        kept[chosen] = True
        return kept


def _neighbour(cell: int, grid: tuple[int, int], rng: np.random.Generator) -> int:
    row, col = divmod(cell, grid[1])
    around = [
        (row + down) * grid[1] + col + right
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if (down or right) and 0 <= row + down < grid[0] and 0 <= col + right < grid[1]
    ]
    return int(rng.choice(around)) if around else cell


def truth_guidance(
    rows: Iterable[Mapping[str, Any]],
    grid: tuple[int, int] = (4, 4),
    noise: NoiseModel | None = None,
) -> Iterator[dict[str, Any]]:
    """Guidance rows from rows of ground truth.

    The cells that the boxes of relevant objects mark are given equal weights, as the paper's binary mask is
    (section 2.3). A frame without a relevant object in view is `empty`.

    Args:
        rows: Frame keys with `objects`, as in `vidreason.guidance.OBJECT_FEATURES`.
        grid: (rows, columns) of the guidance.
        noise: Mistakes to make; none by default.

    Yields:
        Rows of the guidance table with the producer `truth`.
    """
    noise = noise or NoiseModel()
    for row in rows:
        boxes = np.asarray([o["box"] for o in row["objects"] if o["relevant"] and len(o["box"]) == 4])
        marked = boxes_to_cells(boxes, grid)
        rng = noise.generator(row["video_id"], row["frame_index"])
        disturbed = noise.disturb(marked, grid, rng)
        objects = [{name: o[name] for name in ("name", "center", "box", "relevant")} for o in row["objects"]]
        yield guidance_row(
            row,
            (np.zeros(len(marked)) if disturbed is None else disturbed.astype(float)).tolist(),
            grid,
            producer="truth",
            model=noise.description,
            status="failed" if disturbed is None else None,
            objects=objects,
        )


@dataclass(frozen=True)
class TruthArguments(Mistakes, Producer):
    """--annotator truth: ground truth with the mistakes of an annotator."""

    name: ClassVar[str] = "truth"

    truth: str | None = field(default=None, metadata={"help": "Folder of the ground truth."})

    @contextmanager
    def annotate(self, task: AnnotationTask) -> Iterator[Annotation]:
        """Mark the cells of the ground truth's boxes, with mistakes."""
        args = task.args
        if self.truth is None:
            raise ConfigError("--truth is not set: name the folder of the ground truth")
        if task.shard.count > 1:
            raise ConfigError("ground truth is at hand in a moment; it is not made in parts")
        truth = read_folder(self.truth)
        missing = [split for split in args.splits if split not in truth]
        if missing:
            raise ConfigError(f"{self.truth} has no splits {missing}; it has {sorted(truth)}")
        noise = NoiseModel(**{entry.name: getattr(self, entry.name) for entry in fields(Mistakes)}, seed=args.seed)
        rows = {
            split: tqdm(
                truth_guidance(truth[split], args.grid_size, noise), split, unit=" frames", disable=not task.progress
            )
            for split in args.splits
        }
        facts = AnnotationRun(model=noise.description, label_in_prompt=False, settings=asdict(noise))
        yield Annotation(rows, facts)
