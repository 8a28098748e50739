"""Who looks for objects in a clip: the detector that a checkpoint learned with, or one that stands in for it."""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modeling_a2o import A2OConfig
from vidreason.a2o.pipeline import check_detector
from vidreason.detection import Detector, Found, find_detector, make_detector
from vidreason.errors import VidreasonError

from .cache import Cache
from .limits import Deadline, Refused, too_slow

logger = logging.getLogger(__name__)

TRUTH, STAND_IN = "truth", "coco"
_FRAMES_AT_ONCE = 4  # half a second of the slowest detector without a GPU; the time is looked at in between
_ALL = ""  # in the cache, what a detector that finds all its classes in one pass found of all of them


@dataclass(frozen=True)
class WorldTruth:
    """A synthetic world whose clips are examples here.

    Args:
        folder: Folder of its table of ground truth.
        video_ids: Digest of a clip's file -> id of the video in that table.
    """

    folder: Path
    video_ids: Mapping[str, str]


@dataclass(eq=False)
class Lookout:
    """A detector, which does one thing at a time.

    Args:
        detector: What detects.
        lock: Held while it does: neither OpenCV's networks nor the detector of truth are made for several threads.
    """

    detector: Detector
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Chosen:
    """Who looks for objects in a clip.

    Args:
        lookout: The detector.
        video_id: Id by which a detector of truth knows the clip; empty for others.
        note: What a visitor should know about it; empty where it is the checkpoint's own.
    """

    lookout: Lookout
    video_id: str = ""
    note: str = ""


class Detectors:
    """The detectors of all checkpoints, each made when it is first needed; what cannot be made stays so.

    Args:
        worlds: Worlds whose truth is known.
        found: Where what was found is kept for a while.
    """

    def __init__(self, worlds: Sequence[WorldTruth], found: Cache[dict[str, list[Found]]]):
        self._worlds, self._found = worlds, found
        self._made: dict[tuple, Lookout | None] = {}
        self._lock = threading.Lock()

    def choose(self, config: A2OConfig, digest: str) -> Chosen:
        """Who looks for objects in a clip on behalf of a checkpoint.

        A checkpoint that learned from ground truth has no detector that looks at pixels. It gets the truth of clips
        that have one, and of others what the stand-in finds. So does a checkpoint that does not say what it had.

        Args:
            config: Configuration of the checkpoint.
            digest: SHA-256 of the clip.

        Raises:
            Refused: What the detector needs is not installed here, or it is not the one of the training.
        """
        if config.detector not in (TRUTH, ""):
            return Chosen(self._get(config.detector, config))
        for world in self._worlds:
            if digest in world.video_ids:
                note = "Of this example the truth is known: it takes the place of a detector, and never errs."
                return Chosen(self._get(TRUTH, world), world.video_ids[digest], note)
        learned = "learned with ground truth" if config.detector else "does not say what it learned with"
        note = (
            f"The checkpoint {learned}, which nobody has of this clip. A detector of 80 everyday classes "
            f"({STAND_IN}) stands in."
        )
        return Chosen(self._get(STAND_IN, None), note=note)

    def prepare(self, configs: Sequence[A2OConfig]) -> None:
        """Make the detectors of some checkpoints, so that the first visitor does not wait for their weights.

        Args:
            configs: Configurations of the checkpoints. What cannot be made is told to those who ask for it.
        """
        for config in configs:
            with contextlib.suppress(Refused):
                self.choose(config, "")

    def _get(self, name: str, of: A2OConfig | WorldTruth | None) -> Lookout:
        key = (name, id(of))  # checkpoints and worlds live as long as this does
        with self._lock:
            if key not in self._made:
                self._made[key] = _make(name, of)
            made = self._made[key]
        if made is None:
            text = f"The detector {name!r} is not available here: what it needs is not installed, or does not fit."
            raise Refused("no_detector", text)
        return made

    def find(
        self,
        chosen: Chosen,
        frames: np.ndarray,
        frame_keys: Sequence[Mapping],
        class_texts: Sequence[str],
        digest: str,
        deadline: Deadline,
    ) -> dict[str, list[Found]]:
        """What is found of each class in each frame; what was found before is not looked for again.

        Args:
            chosen: Who looks.
            frames: RGB, uint8 (frames, height, width, 3).
            frame_keys: Key of each frame, as detectors take it.
            class_texts: Texts that the detector can take.
            digest: SHA-256 of the clip.
            deadline: Time at which the request is given up.

        Raises:
            Refused: The time is over.
        """
        detector, found = chosen.lookout.detector, {}
        where = (digest, detector.key_text, len(frames))

        def look(texts: Sequence[str]) -> dict[str, list[Found]]:
            if not chosen.lookout.lock.acquire(timeout=max(0.0, deadline.left_s)):
                raise too_slow()
            try:
                return _look(detector, frames, frame_keys, texts, deadline)
            finally:
                chosen.lookout.lock.release()

        for text in class_texts:
            if not detector.knows(text):
                found[text] = [detector.unknown(text)] * len(frames)
            elif detector.finds_all_at_once:
                all_of_them = self._found.get_or_make((*where, _ALL), lambda: look(detector.vocabulary or ()))
                found[text] = all_of_them[text]
            else:
                found |= self._found.get_or_make((*where, text), lambda text=text: look([text]))
        return found


def _make(name: str, of: A2OConfig | WorldTruth | None) -> Lookout | None:
    """A detector; None where it cannot be made, of which the operator is told."""
    try:
        if isinstance(of, WorldTruth):
            return Lookout(make_detector(TRUTH, truth=of.folder))
        if of is None:
            return Lookout(make_detector(name))
        takes = inspect.signature(find_detector(name)).parameters
        stated = {"model": of.detector_model, "threshold": of.detector_threshold}
        detector = make_detector(name, **{key: value for key, value in stated.items() if value != "" and key in takes})
        check_detector(of, detector)
    except VidreasonError as error:
        logger.warning("detector %s cannot be used: %s", name, error)
        return None
    return Lookout(detector)


def _look(
    detector: Detector, frames: np.ndarray, frame_keys: Sequence[Mapping], texts: Sequence[str], deadline: Deadline
) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {text: [] for text in texts}
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        deadline.check()
        part = slice(start, start + _FRAMES_AT_ONCE)
        for text, of_frames in detector.detect_classes(frames[part], frame_keys[part], list(texts)).items():
            found[text] += of_frames
    return found
