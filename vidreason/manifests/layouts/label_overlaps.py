"""From labels with times to segments that do not overlap, on the video's own clock.

A frame has a label where its presentation time lies in the label's seconds [start, end). Where several do, one rule
decides, whatever the order in which the labels were written:

1. the class of the higher rank wins, so that the more specific action is kept (reading, while sitting);
2. of one rank, the label that starts later, as it is the newer thing to be seen;
3. of those that start together, the one that ends earlier, which would else not be seen at all;
4. of those that end together too, the class that is named first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...video.decode import read_frame_table
from ...video.frame_table import FrameTable
from ...video.probe import Probed, VideoProbe
from .frame_labels import Segment, SegmentedVideoInfo, find_segments
from .timed_labels import CORRECTED, LEFT_OUT, NOTED, Finding, TimedLabel

_TOLERANCE_S = 1e-6  # a frame at 0.3 s, computed as 0.2999999, is in the label that starts there
_END_TOLERANCE_S = 0.05
"""Times are typed in tenths of a second: an end that is later than the video's by less is its end."""


@dataclass(frozen=True)
class LabelledVideoInfo(SegmentedVideoInfo):
    """Facts about a video, when which action happens in it, and what was found about its labels on the way."""

    findings: tuple[Finding, ...] = ()

    @property
    def unlabelled_s(self) -> float:
        """Seconds of frames that have no label."""
        return self.duration_s - sum(segment.end_s - segment.start_s for segment in self.segments)

    @property
    def after_last_label_s(self) -> float:
        """The part of them after the last label; none where there is no label at all."""
        return self.duration_s - self.segments[-1].end_s if self.segments else 0.0


@dataclass(frozen=True)
class TimedLabelProbe:
    """Reads the facts about a video and turns its labels into segments.

    Args:
        probe: Reads the facts about a video.
        labels: Maps each video path to its labels.
        ranks: Maps each class to its rank, the higher the more specific; in the order of the label ids.
    """

    probe: VideoProbe
    labels: Mapping[str, Sequence[TimedLabel]]
    ranks: Mapping[str, int]

    def __call__(self, path: str) -> Probed:
        """Facts with segments, or why the video is left out."""
        info = self.probe(path)
        if isinstance(info, dict):
            return info
        table = read_frame_table(self.probe.root / path, self.probe.max_pixels)  # remembered from the probing
        labels, findings = fit_to_video(self.labels[path], table.duration_s)
        segments, hidden = resolve_overlaps(labels, table, self.ranks)
        return LabelledVideoInfo(**vars(info), segments=tuple(segments), findings=(*findings, *hidden))


def fit_to_video(labels: Sequence[TimedLabel], duration_s: float) -> tuple[list[TimedLabel], list[Finding]]:
    """Labels that end with the video at the latest. One that starts after it is left out (`past_the_end`)."""
    fitting, findings = [], []
    for label in labels:
        if label.start_s >= duration_s:
            findings.append(Finding(LEFT_OUT, "past_the_end", str(label)))
            continue
        cut = label._replace(end_s=min(label.end_s, duration_s))
        if label.end_s > duration_s + _END_TOLERANCE_S:
            made = f"{label.name}[{cut.start_s:g} to {cut.end_s:.2f}]"
            findings.append(Finding(CORRECTED, "past_the_end", str(label), made))
        fitting.append(cut)
    return fitting, findings


def resolve_overlaps(
    labels: Sequence[TimedLabel], table: FrameTable, ranks: Mapping[str, int]
) -> tuple[list[Segment], list[Finding]]:
    """Segments of frames by the rule of this module, in order of time.

    Args:
        labels: Labels of one video, with names that have a rank.
        table: Frames of the video, with their times.
        ranks: Maps each class to its rank; the order of the classes is that of the label ids.

    Returns:
        The segments, and the labels of which nothing is left: `hidden` behind others, or `between_frames`.
    """
    names = list(ranks)
    # the first in this order wins; later ones are painted over by it
    order = sorted(labels, key=lambda of: (-ranks[of.name], -of.start_s, of.end_s, names.index(of.name)))
    winner = np.full(len(table), -1)
    covered = [_frames_of(label, table) for label in order]
    for position in reversed(range(len(order))):
        winner[covered[position]] = position
    findings = []
    for position, label in enumerate(order):
        if not (winner == position).any():
            reason = "hidden" if covered[position].any() else "between_frames"
            findings.append(Finding(NOTED, reason, str(label)))
    label_ids = [names.index(order[position].name) if position >= 0 else -1 for position in winner]
    return [segment for segment in find_segments(label_ids, table) if segment.label >= 0], findings


def _frames_of(label: TimedLabel, table: FrameTable) -> np.ndarray:
    """Booleans of (frames,): whose times lie in the label's."""
    times_s = table.times_s + _TOLERANCE_S
    return (label.start_s <= times_s) & (times_s < label.end_s)
