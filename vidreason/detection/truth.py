"""A detector that knows the truth of a synthetic world, and makes the mistakes that it is told to make."""

from __future__ import annotations

import os
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import DetectionError
from ..files import content_hash, read_folder, split_files
from .class_text import check_class_text
from .detector import Detector, Found

_NEEDED = ("video_id", "frame_index", "objects")


@dataclass(frozen=True)
class DetectorMistakes:
    """How often a detector makes which mistake.

    Every draw hangs on the seed, the video, the frame and the object (or the class, for false boxes) alone: what is
    found of a class is the same whichever others are asked for, in any order, on any machine.

    Args:
        misses: Probability that an object is not found in a frame.
        false_boxes: Probability that a class has a box in a frame where there is nothing.
        jitter: Standard deviation of each side of a box, as a share of the box's width or height.
        confusions: Probability that an object is reported as another class of the world.
        seed: Seed of the draws.

    Raises:
        DetectionError: A setting is out of range.
    """

    misses: float = 0.0
    false_boxes: float = 0.0
    jitter: float = 0.0
    confusions: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("misses", "false_boxes", "confusions"):
            if not 0 <= getattr(self, name) <= 1:
                raise DetectionError(f"{name} is {getattr(self, name)}, expected a probability")
        if not 0 <= self.jitter < 1:
            raise DetectionError(f"jitter is {self.jitter}, expected a share in [0, 1)")
        if self.seed < 0:
            raise DetectionError(f"seed is {self.seed}, expected zero or more")

    @property
    def any(self) -> bool:
        """Whether there are mistakes at all."""
        return bool(self.misses or self.false_boxes or self.jitter or self.confusions)

    @property
    def description(self) -> str:
        """For provenance, such as `misses=0.1,false_boxes=0.05,jitter=0.1,confusions=0,seed=0`."""
        return (
            f"misses={self.misses:g},false_boxes={self.false_boxes:g},jitter={self.jitter:g},"
            f"confusions={self.confusions:g},seed={self.seed}"
        )

    def generator(self, video_id: str, frame_index: int, what: str) -> np.random.Generator:
        """The random numbers of one object or class in one frame."""
        return np.random.default_rng(
            [self.seed, zlib.crc32(video_id.encode()), frame_index, zlib.crc32(what.encode())]
        )


class TruthDetector(Detector):
    """Detects what a world's table of ground truth says is there.

    An object's class is its name in the table without its number ("box" for "box 2"). Its box is the whole item's,
    also where something covers it. Scores are 1 without mistakes; with mistakes, those of true boxes are drawn from
    [0.5, 1] and those of false ones from [0.3, 0.8], so that a score tells something and not all.

    Args:
        truth: Folder of the world's ground truth, `truth` in the folder of a synthetic data set.
        misses: See `DetectorMistakes`, like the next four.
        false_boxes: Likewise a probability for each class and frame.
        jitter: A share of the box's sides.
        confusions: A probability for each object and frame.
        seed: Seed of the mistakes.

    Raises:
        DetectionError: There is no such table, or a setting is out of range.
    """

    name: ClassVar[str] = "truth"
    needs_frames = False

    def __init__(
        self,
        truth: str | os.PathLike,
        misses: float = 0.0,
        false_boxes: float = 0.0,
        jitter: float = 0.0,
        confusions: float = 0.0,
        seed: int = 0,
    ):
        self.mistakes = DetectorMistakes(misses, false_boxes, jitter, confusions, seed)
        tables = read_folder(truth)
        self._objects: dict[tuple[str, int], list[tuple[str, list[float]]]] = {}
        names: set[str] = set()
        for split, rows in tables.items():
            missing = [name for name in _NEEDED if name not in rows.column_names]
            if missing:
                raise DetectionError(f"{truth}, split {split!r}: columns {missing} are missing; is this ground truth?")
            for row in rows.select_columns(list(_NEEDED)):
                boxes = [(class_of(entry["name"]), list(entry["box"])) for entry in row["objects"]]
                boxes = [(name, box) for name, box in boxes if len(box) == 4]
                self._objects[row["video_id"], row["frame_index"]] = boxes
                names |= {name for name, _ in boxes}
        self.vocabulary = tuple(sorted(names))
        self.model = self.mistakes.description
        files = (file for split in sorted(tables) for file in split_files(Path(truth), split))
        self.revision = content_hash(files)[:12]

    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of one class; only the keys of the frames are looked at."""
        return [self._in_frame(str(key["video_id"]), int(key["frame_index"]), class_text) for key in frame_keys]

    def _in_frame(self, video_id: str, frame_index: int, class_text: str) -> Found:
        objects = self._objects.get((video_id, frame_index))
        if objects is None:
            return Found.without("failed", f"the ground truth has no frame {frame_index} of {video_id}")
        found: list[tuple[list[float], float]] = []
        times_seen: dict[str, int] = defaultdict(int)
        for name, box in objects:
            times_seen[name] += 1
            reported = self._report(video_id, frame_index, name, times_seen[name], box)
            if reported is not None and reported[0] == class_text:
                found.append(reported[1:])
        false = self._false_box(video_id, frame_index, class_text)
        if false is not None:
            found.append(false)
        return Found.of([box for box, _ in found], [score for _, score in found])

    def _report(
        self, video_id: str, frame_index: int, name: str, number: int, box: list[float]
    ) -> tuple[str, list[float], float] | None:
        """As which class, where and with which score an object is found; None where it is missed."""
        if not self.mistakes.any:
            return name, box, 1.0
        rng = self.mistakes.generator(video_id, frame_index, f"{name} {number}")
        # all draws are made whatever comes of them, so that one kind of mistake does not change another's
        missed, confused = rng.random() < self.mistakes.misses, rng.random() < self.mistakes.confusions
        score, shifts, other = 0.5 + 0.5 * rng.random(), rng.standard_normal(4), rng.random()
        if missed:
            return None
        others = [one for one in self.vocabulary or () if one != name]
        if confused and others:
            name = others[int(other * len(others))]
        x0, y0, x1, y1 = box
        sides = np.asarray([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
        moved = (np.asarray(box) + self.mistakes.jitter * sides * shifts).tolist()
        return name, moved, score

    def _false_box(self, video_id: str, frame_index: int, class_text: str) -> tuple[list[float], float] | None:
        if not self.mistakes.false_boxes:
            return None
        rng = self.mistakes.generator(video_id, frame_index, f"false {class_text}")
        if rng.random() >= self.mistakes.false_boxes:
            return None
        width, height = rng.uniform(0.1, 0.4, 2)
        left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        return [left, top, left + width, top + height], 0.3 + 0.5 * rng.random()


def class_of(name: str) -> str:
    """The class of a world's object: its name without the number that tells it from others of its kind."""
    # a detector sees a box, and not that it is the second one
    return check_class_text(re.sub(r" \d+$", "", name))
