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
from .run_lengths import MAX_PIXELS

_NEEDED = ("video_id", "frame_index", "objects")
_SCENE_COLUMNS = ("background", "frame_height", "frame_width")

BACKGROUND = "background"
"""Class of what is behind all objects, whatever it is; its own name, such as "wood", is a class as well."""


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

    Where the table names the `background` of a frame, that is a scene anchor in the sense of the paper (floor, court
    and grass in its listing 1): a detection with a mask, which is the frame outside the boxes of all objects that are
    found. It is found under its own name and as `BACKGROUND`, can be missed, and is never confused with an object.

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
        self._scenes: dict[tuple[str, int], tuple[str, tuple[int, int]]] = {}
        names: set[str] = set()
        for split, rows in tables.items():
            missing = [name for name in _NEEDED if name not in rows.column_names]
            if missing:
                raise DetectionError(f"{truth}, split {split!r}: columns {missing} are missing; is this ground truth?")
            scene_columns = [name for name in _SCENE_COLUMNS if name in rows.column_names]
            for row in rows.select_columns([*_NEEDED, *scene_columns]):
                boxes = [(class_of(entry["name"]), list(entry["box"])) for entry in row["objects"]]
                boxes = [(name, box) for name, box in boxes if len(box) == 4]
                self._objects[row["video_id"], row["frame_index"]] = boxes
                names |= {name for name, _ in boxes}
                if len(scene_columns) == len(_SCENE_COLUMNS) and row["background"]:
                    size = (row["frame_height"], row["frame_width"])
                    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
                        where = f"{truth}, split {split!r}, {row['video_id']} frame {row['frame_index']}"
                        raise DetectionError(f"{where}: the frame is {size[0]} x {size[1]} pixels")
                    self._scenes[row["video_id"], row["frame_index"]] = check_class_text(row["background"]), size
        self._object_names = tuple(sorted(names))
        scenes = {name for name, _ in self._scenes.values()}
        self.vocabulary = tuple(sorted({*names, *scenes, *([BACKGROUND] if scenes else [])}))
        self.model = self.mistakes.description
        self._reported: tuple[tuple[str, int], list[tuple[str, list[float], float]]] = ("", -1), []
        files = (file for split in sorted(tables) for file in split_files(Path(truth), split))
        self.revision = content_hash(files)[:12]

    def detect(self, frames: np.ndarray, frame_keys: Sequence[Mapping[str, Any]], class_text: str) -> list[Found]:
        """Detections of one class; only the keys of the frames are looked at."""
        return [self._in_frame(str(key["video_id"]), int(key["frame_index"]), class_text) for key in frame_keys]

    def _in_frame(self, video_id: str, frame_index: int, class_text: str) -> Found:
        objects = self._objects.get((video_id, frame_index))
        if objects is None:
            return Found.without("failed", f"the ground truth has no frame {frame_index} of {video_id}")
        if self._reported[0] != (video_id, frame_index):
            # kept for the next class: a frame's objects are the same whichever class is asked for
            self._reported = (video_id, frame_index), self._report_all(video_id, frame_index, objects)
        reported = self._reported[1]
        found = [(box, score) for name, box, score in reported if name == class_text]
        false = self._false_box(video_id, frame_index, class_text)
        if false is not None:
            found.append(false)
        boxes, scores = [box for box, _ in found], [score for _, score in found]
        scene = self._scene(video_id, frame_index, class_text, [box for _, box, _ in reported])
        if scene is None:
            return Found.of(boxes, scores)
        mask, score = scene
        # all of a row have masks, or none has: what is found beside the scene fills its box
        masks = [_inside(box, mask.shape) for box in boxes]
        return Found.of([*boxes, _extent(mask)], [*scores, score], [*masks, mask])

    def _report_all(
        self, video_id: str, frame_index: int, objects: Sequence[tuple[str, list[float]]]
    ) -> list[tuple[str, list[float], float]]:
        """All objects of a frame that are found: as which class, where and with which score."""
        reported: list[tuple[str, list[float], float]] = []
        times_seen: dict[str, int] = defaultdict(int)
        for name, box in objects:
            times_seen[name] += 1
            seen = self._report(video_id, frame_index, name, times_seen[name], box)
            if seen is not None:
                reported.append(seen)
        return reported

    def _scene(
        self, video_id: str, frame_index: int, class_text: str, boxes: Sequence[Sequence[float]]
    ) -> tuple[np.ndarray, float] | None:
        """The mask (height, width) of what is behind some boxes, and its score; None where it is another class's.

        As with boxes of objects, what covers the scene is taken from its mask by the boxes that are found.
        """
        name, size = self._scenes.get((video_id, frame_index), ("", (0, 0)))
        if not name or class_text not in (name, BACKGROUND):
            return None
        score = 1.0
        if self.mistakes.any:
            rng = self.mistakes.generator(video_id, frame_index, f"scene {class_text}")
            missed, score = rng.random() < self.mistakes.misses, 0.5 + 0.5 * rng.random()
            if missed:
                return None
        mask = np.ones(size, dtype=bool)
        for box in boxes:
            mask &= ~_inside(box, size)
        return (mask, score) if mask.any() else None

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
        others = [one for one in self._object_names if one != name]
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


def _inside(box: Sequence[float], size: tuple[int, ...]) -> np.ndarray:
    """The pixels whose middle is in a box: booleans of shape `size`, (height, width)."""
    height, width = size
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    x0, y0, x1, y1 = box
    return ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))


def _extent(mask: np.ndarray) -> list[float]:
    """The box around the pixels of a mask (height, width) that are set, of which there are some."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return [cols[0] / width, rows[0] / height, (cols[-1] + 1) / width, (rows[-1] + 1) / height]


def class_of(name: str) -> str:
    """The class of a world's object: its name without the number that tells it from others of its kind."""
    # a detector sees a box, and not that it is the second one
    return check_class_text(re.sub(r" \d+$", "", name))
