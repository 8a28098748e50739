"""Detections of some classes in some frames of a video file: what is known is reused, the rest is detected."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import VideoError, one_of_many
from ..files import file_hash
from ..video import decode_readable_frames
from .class_text import check_class_texts
from .detector import Detector, Found
from .store import DetectionStore

FRAMES_AT_ONCE = 32
"""Frames that are decoded and given to a detector at a time: 200 MB of full HD, whatever a video's length."""

_ALL = ""
"""In the store, the class text under which it says of a frame that every class of the vocabulary was looked for: those
without a row of their own were not found. 80 rows a frame, nearly all of them empty, would be most of the store."""


@dataclass
class DetectionCounts:
    """What detecting took.

    Args:
        made: Number of (frame, class) pairs that a detector was asked for.
        reused: Number of pairs that were known.
        failed: Number of pairs of frames that could not be read.
        frames_decoded: Number of frames that were decoded for it.
    """

    made: int = 0
    reused: int = 0
    failed: int = 0
    frames_decoded: int = 0


def detect_video(
    path: str | os.PathLike,
    frame_keys: Sequence[Mapping[str, Any]],
    detector: Detector,
    class_texts: Sequence[str],
    store: DetectionStore | None = None,
    counts: DetectionCounts | None = None,
) -> dict[str, list[Found]]:
    """Detections of each class in each frame.

    Frames are decoded only where something is missing, and only classes that are missing somewhere are asked for. A
    frame that does not decode has the status `failed`, which is not kept in the store. What is found in a few frames
    is kept before the next few are looked at, so that a process that is killed loses no more than these.

    Args:
        path: The video file.
        frame_keys: Fields of `FRAME_KEY_FEATURES` of each frame; frames are those of `frame_index`.
        detector: What detects.
        class_texts: The classes.
        store: Where detections are kept; None keeps nothing.
        counts: Is added to.

    Returns:
        Class -> one `Found` per frame key.

    Raises:
        VideoError: The file cannot be read at all.
        DetectionError: A class text cannot be used.
    """
    texts = [detector.check_text(text) for text in check_class_texts(class_texts)]
    counts = DetectionCounts() if counts is None else counts
    indices = [int(key["frame_index"]) for key in frame_keys]
    # by content: a file that is replaced under its name is another video, and a copy elsewhere the same
    try:
        video = "" if store is None else file_hash(path)
    except OSError as error:
        raise VideoError(path, "missing", error.strerror or str(error)) from error
    known = {text: {} if store is None else store.get(video, detector.key_text, text, indices) for text in texts}
    if store is not None and detector.finds_all_at_once:
        looked_at = store.get(video, detector.key_text, _ALL, indices)
        for text in filter(detector.knows, texts):
            known[text] = {index: Found.without("empty") for index in looked_at} | known[text]
    num_reused = sum(len(by_frame) for by_frame in known.values())
    counts.reused += num_reused
    for text in texts:
        if not detector.knows(text):  # which takes no frame to say
            known[text] |= {index: detector.unknown(text) for index in indices if index not in known[text]}
    for new in _detect_missing(path, frame_keys, detector, known, counts, num_reused > 0):
        if store is not None:
            store.put(video, detector.key_text, new)
        for text in texts:
            known[text] |= new.get(text, {})
    return {text: [known[text][index] for index in indices] for text in texts}


def _detect_missing(
    path: str | os.PathLike,
    frame_keys: Sequence[Mapping[str, Any]],
    detector: Detector,
    known: Mapping[str, Mapping[int, Found]],
    counts: DetectionCounts,
    is_readable: bool,
) -> Iterator[dict[str, dict[int, Found]]]:
    """Class -> frame index -> what was found, of all pairs that are not known; a few frames at a time.

    `is_readable` says that frames of the file were read before: then the last few, which are damaged, are failures of
    their own, as they were when the others were read.
    """
    # a dict: a frame that is asked for twice is detected once
    missing = {
        int(key["frame_index"]): key
        for key in frame_keys
        if any(int(key["frame_index"]) not in by_frame for by_frame in known.values())
    }
    wanted = sorted(missing)
    for start in range(0, len(wanted), FRAMES_AT_ONCE):
        piece = wanted[start : start + FRAMES_AT_ONCE]
        shown, frames, errors = _read(path, piece, detector)
        is_readable |= len(shown) > 0
        if not is_readable and start + len(piece) == len(wanted):
            raise next(iter(errors.values()))  # not one frame can be read
        counts.frames_decoded += len(shown) if detector.needs_frames else 0
        new: dict[str, dict[int, Found]] = {}
        # classes that lack the same frames are asked for together: a closed detector finds all of them in one pass
        for positions, texts in _by_missing_frames(shown, known).items():
            keys = [missing[shown[position]] for position in positions]
            asked = (*texts, *_others(detector, texts))
            found = detector.detect_classes(frames[list(positions)], keys, asked)
            for text in asked:
                by_frame = {shown[p]: one for p, one in zip(positions, found[text], strict=True)}
                if text not in texts:
                    by_frame = {index: one for index, one in by_frame.items() if one.status != "empty"}
                new.setdefault(text, {}).update(by_frame)
            if detector.finds_all_at_once:
                new.setdefault(_ALL, {}).update({shown[position]: Found.without("empty") for position in positions})
            counts.made += len(positions) * len(texts)
        for index, error in errors.items():
            for text, known_frames in known.items():
                if index not in known_frames:
                    new.setdefault(text, {})[index] = Found.without("failed", error.reason)
                    counts.failed += 1
        yield new


def _others(detector: Detector, texts: Sequence[str]) -> list[str]:
    """The classes that a pass for these finds as well."""
    vocabulary = detector.vocabulary if detector.finds_all_at_once else None
    return [text for text in vocabulary or () if text not in texts]


def _read(
    path: str | os.PathLike, indices: list[int], detector: Detector
) -> tuple[list[int], np.ndarray, dict[int, VideoError]]:
    """Indices of the frames that can be read, these frames (frames, height, width, 3), and the others' errors."""
    if not detector.needs_frames:
        return indices, np.zeros((len(indices), 1, 1, 3), np.uint8), {}
    with one_of_many(path):
        decoded, errors = decode_readable_frames(path, indices, detector.max_side_px)
    if decoded is None:
        return [], np.zeros((0, 1, 1, 3), np.uint8), errors
    return decoded.frame_indices, decoded.frames, errors


def _by_missing_frames(
    shown: Sequence[int], known: Mapping[str, Mapping[int, Found]]
) -> dict[tuple[int, ...], list[str]]:
    """Positions of frames -> the classes that are not known in exactly these."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for text, by_frame in known.items():
        positions = tuple(position for position, index in enumerate(shown) if index not in by_frame)
        if positions:
            groups.setdefault(positions, []).append(text)
    return groups
