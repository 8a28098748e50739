"""Clips as plain tensors in a file, which is all of a data set that code in the sandbox is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ...errors import ConfigError, VideoError
from ...manifests.manifest import Manifest
from ...video import decode_frames, uniform_indices

logger = logging.getLogger(__name__)

MAX_BYTES = 8 * 2**30
"""Most bytes of the clips of one file: they lie in memory while it is written."""


@dataclass(frozen=True)
class CodeClips:
    """A file of clips, and the labels of those that are judged, which are not in it.

    Args:
        file: safetensors file of `train`, `train_labels`, and a tensor for each judged part.
        labels: Judged part -> label of each of its clips, int64 (clips,).
        num_train: Number of training clips.
        class_names: Names of the classes, in the order of their ids.
        num_frames: Frames of a clip.
        size_px: Height and width of a clip.
        skipped: Clips that could not be read: path, reason and detail of each.
    """

    file: Path
    labels: Mapping[str, np.ndarray]
    num_train: int
    class_names: Sequence[str]
    num_frames: int
    size_px: int
    skipped: list[dict[str, str]] = field(default_factory=list)


def write_clips(
    file: Path, manifest: Manifest, judged: Sequence[str], num_frames: int, size_px: int, train_split: str = "train"
) -> CodeClips:
    """Read clips of a manifest into a file for the sandbox.

    Every frame policy and size is the same for all code: frames evenly over the video, the whole picture as a square.

    Args:
        file: File to write.
        manifest: The videos.
        judged: Splits whose classes are to be predicted. Their labels are not written.
        num_frames: Frames of a clip.
        size_px: Height and width.
        train_split: Split to train on.

    Raises:
        ConfigError: A part that is trained on and judged, nothing that can be read, or more than `MAX_BYTES`.
    """
    if train_split in judged:
        raise ConfigError(f"split {train_split!r} is trained on, and cannot be judged too")
    if num_frames < 1 or size_px < 8:
        raise ConfigError(f"num_frames is {num_frames} and size_px {size_px}, expected at least 1 and 8")
    num_clips = sum(len(manifest.split(split)) for split in (train_split, *judged))
    num_bytes = num_clips * num_frames * size_px * size_px * 3
    if num_bytes > MAX_BYTES:
        raise ConfigError(
            f"{num_clips} clips of {num_frames} frames of {size_px} x {size_px} take {num_bytes >> 20} MiB, at most "
            f"{MAX_BYTES >> 20} are allowed; make num_frames or size_px smaller"
        )
    tensors: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    skipped: list[dict[str, str]] = []
    for split in (train_split, *judged):
        pixels, labels[split], unread = _read_split(manifest, split, num_frames, size_px)
        tensors["train" if split == train_split else split] = pixels
        skipped += unread
    tensors["train_labels"] = labels.pop(train_split)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    return CodeClips(file, labels, len(tensors["train"]), list(manifest.class_names), num_frames, size_px, skipped)


def _read_split(
    manifest: Manifest, split: str, num_frames: int, size_px: int
) -> tuple[np.ndarray, np.ndarray, list[dict[str, str]]]:
    """Pixels uint8 (clips, frames, height, width, 3), labels int64 (clips,), and what could not be read."""
    rows = manifest.split(split)
    pixels = np.empty((len(rows), num_frames, size_px, size_px, 3), dtype=np.uint8)
    labels: list[int] = []
    skipped: list[dict[str, str]] = []
    for row in rows:
        try:
            indices = uniform_indices(row["num_frames"], num_frames)
            frames = decode_frames(manifest.video_path(row), indices, size=(size_px, size_px)).frames
        except (VideoError, ValueError) as error:  # a table's count of frames may be nonsense
            reason = error.reason if isinstance(error, VideoError) else "unusable_row"
            skipped.append({"path": row["path"], "reason": reason, "detail": str(error)})
            continue
        pixels[len(labels)] = frames
        labels.append(row["label"])
    if skipped:
        logger.warning("split %s: %d of %d videos could not be read", split, len(skipped), len(rows))
    if not labels:
        raise ConfigError(f"no video of split {split!r} can be read")
    return pixels[: len(labels)], np.asarray(labels, dtype=np.int64), skipped
