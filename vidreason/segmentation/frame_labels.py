"""The label of every sampled frame of the videos of a split, from the table of segments beside their manifest."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import DatasetDict

from ..clips.data import IGNORED_LABEL
from ..errors import ConfigError, ManifestError
from ..manifests.manifest import Manifest
from ..manifests.segments import SegmentIndex
from ..video import fps_timestamps

logger = logging.getLogger(__name__)

WEIGHTING_RULES = ("none", "balanced", "sqrt")
"""How the frames of a label can be weighted, see `class_weights`."""


@dataclass(frozen=True)
class LabelledVideo:
    """The sampled frames of one video.

    Args:
        row: The video's row of the manifest.
        times_s: (frames,): Times of the sampled frames in seconds, k / fps.
        labels: (frames,), int64: Label ids; -100 where no segment holds the time.
    """

    row: Mapping[str, Any]
    times_s: list[float]
    labels: np.ndarray

    @property
    def video_id(self) -> str:
        """Id of the video in the manifest."""
        return self.row["video_id"]


class FrameLabels:
    """Labels of frames at a rate.

    Args:
        manifest: The videos; the manifest's folder holds the table of segments.
        segments: The table of segments.
        fps: Sampled frames per second of video.
        fill_label: The action of frames that no segment holds; None leaves them without a label.
        background: Labels of what is no action, whose segments count in no score of segments.

    Raises:
        ConfigError: `fps` is no rate, or `fill_label` or a background label is none of the actions.
        ManifestError: The table has a split without labels of its own.
    """

    def __init__(
        self,
        manifest: Manifest,
        segments: DatasetDict,
        fps: float,
        fill_label: str | None = None,
        background: Sequence[str] = (),
    ):
        if not fps > 0:
            raise ConfigError(f"fps is {fps}, expected sampled frames per second above 0")
        self.manifest, self.fps = manifest, fps
        self.label_names = _label_names(segments)
        given = {"unlabelled_as": [] if fill_label is None else [fill_label], "background_labels": background}
        for name, labels in given.items():
            unknown = sorted(set(labels) - set(self.label_names))
            if unknown:
                raise ConfigError(f"{name} names {unknown}, which are not among the actions {self.label_names}")
        self.fill_label = fill_label
        self.background_ids = [self.label_names.index(label) for label in background]
        self._index = SegmentIndex(segments)

    def videos(self, split: str) -> list[LabelledVideo]:
        """The videos of a split with the labels of their sampled frames.

        Raises:
            ManifestError: There is no such split, or none of its frames has a label.
        """
        videos = [self._video(row) for row in self.manifest.split(split).to_list()]
        unlabelled = sum(int((video.labels == IGNORED_LABEL).sum()) for video in videos)
        frames = sum(len(video.labels) for video in videos)
        if unlabelled == frames:
            raise ManifestError(f"split {split!r}: no segment holds any of its {frames} sampled frames")
        if unlabelled:
            share = 100 * unlabelled / frames
            logger.info(
                "split %r: %d of %d sampled frames (%.1f %%) have no label and count in nothing",
                split,
                unlabelled,
                frames,
                share,
            )
        return videos

    def _video(self, row: Mapping[str, Any]) -> LabelledVideo:
        times_s = fps_timestamps(row["duration_s"], self.fps)
        names = [self._index.label_at(row["video_id"], time_s) or self.fill_label for time_s in times_s]
        ids = {name: index for index, name in enumerate(self.label_names)}
        labels = np.array([IGNORED_LABEL if name is None else ids[name] for name in names], dtype=np.int64)
        return LabelledVideo(row, times_s, labels)


def class_weights(videos: Sequence[LabelledVideo], num_labels: int, rule: str) -> list[float] | None:
    """A factor for the frames of each label, whose mean over the labelled frames is 1.

    Args:
        videos: The videos of the training split.
        num_labels: Number of labels that the model knows.
        rule: "none"; "balanced", the inverse of the label's share of the frames; "sqrt", the root of that.

    Returns:
        A factor for each label; a label that no frame has gets that of the rarest one. None for the rule "none".

    Raises:
        ConfigError: There is no such rule.
    """
    if rule not in WEIGHTING_RULES:
        raise ConfigError(f"class_weighting is {rule!r}, expected one of {WEIGHTING_RULES}")
    if rule == "none":
        return None
    labels = np.concatenate([video.labels for video in videos])
    counts = np.bincount(labels[labels != IGNORED_LABEL], minlength=num_labels).astype(np.float64)
    rarest = counts[counts > 0].min()
    # a label that no frame has would otherwise weigh infinitely much
    weights = 1.0 / np.maximum(counts, rarest)
    if rule == "sqrt":
        weights = np.sqrt(weights)
    # a mean of 1 over the labelled frames: the learning rate fits with and without weights
    return (weights * counts.sum() / (weights * counts).sum()).tolist()


def _label_names(segments: DatasetDict) -> list[str]:
    names = {tuple(rows.features["label"].names) for rows in segments.values()}
    if len(names) != 1:
        raise ManifestError(f"the splits of the table of segments have different labels: {sorted(names)}")
    return list(names.pop())
