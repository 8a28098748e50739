"""Judging a whole guidance table, frame by frame, beside priors that see nothing of the videos."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import datasets
import numpy as np
import pyarrow.compute as pc

from ..errors import GuidanceError
from ..guidance.geometry import GridMap, Rectangle
from ..guidance.join import DEFAULT_TOLERANCE_S, MISSING, GuidanceIndex
from ..reporting.bootstrap import Bootstrap, Estimate, estimate_means
from ..video.decode import match_times
from .measures import DISTANCES, MEASURES, centre_prior, map_distances, score_maps, uniform_prior
from .references import EMPTY, OK, NoReference, Reference, times_by_video

GUIDANCE, CENTRE, UNIFORM, TRUE_CELLS = "guidance", "centre prior", "uniform prior", "true cells"
PRIORS = (CENTRE, UNIFORM)

MAX_ROWS_TO_SHOW = 10_000
"""Rows of either kind, with guidance and without, of which those to look at are chosen where nothing judges them."""

OUTSIDE = "outside the grid"
"""Status of a reference frame whose true boxes all lie outside the part of it that the guidance's grid covers."""


@dataclass(slots=True)
class AuditedFrame:
    """One frame of the reference.

    Args:
        video_id: Id of the frame's video.
        class_name: Class of the frame's video; empty where it is not known.
        position: Position among the reference's frames of the video, from 0.
        timestamp_s: Time in seconds of the reference's frame.
        guidance_s: Time in seconds of the guidance row that speaks for the frame; None where there is none.
        status: Status of that row, or `MISSING`.
        reference_status: Status of the reference: `ok` where there is something to judge by.
        scores: Scores of shape (sources, measures), where both statuses are ok; else None.
    """

    video_id: str
    class_name: str
    position: int
    timestamp_s: float
    guidance_s: float | None
    status: str
    reference_status: str
    scores: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Audit:
    """A table against a reference.

    Args:
        reference: What the table was judged by.
        sources: Names of what was scored: the guidance, the priors, and the true cells themselves where there are
            boxes.
        measures: Names of the measures of each source.
        frames: Every frame of the reference, by video and time.
        rows: Number of rows of the guidance table.
        rows_without_reference: Number of these rows that no frame of the reference lies near.
        index: Index of the guidance table, for pictures.
    """

    reference: Reference
    sources: tuple[str, ...]
    measures: tuple[str, ...]
    frames: list[AuditedFrame]
    rows: int
    rows_without_reference: int
    index: GuidanceIndex

    @property
    def is_judged(self) -> bool:
        """Whether there is anything to judge by."""
        return not isinstance(self.reference, NoReference)

    @property
    def scored(self) -> list[AuditedFrame]:
        """The frames that have scores."""
        return [frame for frame in self.frames if frame.scores is not None]

    def scored_by(self, field_name: str) -> dict[str, list[AuditedFrame]]:
        """The frames that have scores by their `class_name` or `video_id`; those without one are left out."""
        groups: dict[str, list[AuditedFrame]] = {}
        for frame in self.scored:
            groups.setdefault(getattr(frame, field_name), []).append(frame)
        return {name: frames for name, frames in sorted(groups.items()) if name}

    def score(self, frame: AuditedFrame, measure: str) -> float:
        """The guidance's own score in one frame."""
        if frame.scores is None:
            raise GuidanceError(f"{frame.video_id} at {frame.timestamp_s:.3f} s has no scores")
        return float(frame.scores[0, self.measures.index(measure)])


@dataclass(frozen=True)
class SourceScores:
    """What a source of maps scores over the frames that were judged.

    Args:
        source: One of the audit's sources, or a difference of two, such as "guidance - centre prior".
        num_frames: Number of frames that were judged.
        num_videos: Number of videos that these frames are from.
        measures: Maps each measure to its mean with the interval.
    """

    source: str
    num_frames: int
    num_videos: int
    measures: dict[str, Estimate]


@dataclass(frozen=True)
class FrameCounts:
    """How guidance and reference meet. Nothing is left out without being counted here.

    Args:
        reference_frames: Number of frames of the reference.
        judgeable_frames: Number of these frames with something to judge by.
        missing_frames: Number of judgeable frames that no row of the guidance speaks for.
        scored_frames: Number of judgeable frames with guidance that is ok.
        reference_videos: Number of videos of the reference.
        guided_videos: Number of these videos with any row that speaks for a frame.
        rows: Number of rows of the guidance table.
        rows_without_reference: Number of these rows that speak for no frame of the reference.
        statuses: Number of frames by status of the guidance, or "missing", and then by status of the reference.
    """

    reference_frames: int
    judgeable_frames: int
    missing_frames: int
    scored_frames: int
    reference_videos: int
    guided_videos: int
    rows: int
    rows_without_reference: int
    statuses: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def coverage(self) -> float | None:
        """The share of the judgeable frames that have guidance."""
        return self.scored_frames / self.judgeable_frames if self.judgeable_frames else None


def audit_table(
    rows: datasets.Dataset,
    reference: Reference,
    class_names: Mapping[str, str] | None = None,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
) -> Audit:
    """Judge every map of a table that has a frame of the reference.

    A row and a frame belong together where each is the other's nearest in time and they are at most the tolerance
    apart, so that no row speaks for two frames.

    Args:
        rows: A guidance table, of one split or several.
        reference: What the table is judged by.
        class_names: Maps a video id to its class, where that is known.
        tolerance_s: Tolerance in seconds of the join by time.

    Raises:
        GuidanceError: the table and the reference have no video in common.
    """
    index, guided_s = GuidanceIndex(rows, tolerance_s), times_by_video(rows)
    if not set(guided_s) & set(reference.video_ids):
        examples = f"{min(guided_s, default='none')} against {min(reference.video_ids, default='none')}"
        raise GuidanceError(f"guidance and {reference.name} have no video in common: {examples}")
    sources = (GUIDANCE, CENTRE, UNIFORM) + (() if reference.has_maps else (TRUE_CELLS,))
    measures = MEASURES + (DISTANCES if reference.has_maps else ())
    frames: list[AuditedFrame] = []
    for video_id in reference.video_ids:
        class_name = (class_names or {}).get(video_id, "")
        times_s = guided_s.get(video_id, np.zeros(0))
        frames += _frames_of_video(video_id, class_name, index, times_s, reference, tolerance_s)
    matched = sum(frame.guidance_s is not None for frame in frames)
    return Audit(reference, sources, measures, frames, len(rows), len(rows) - matched, index)


def look_through(
    rows: datasets.Dataset,
    class_names: Mapping[str, str] | None = None,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    seed: int = 0,
    max_rows: int = MAX_ROWS_TO_SHOW,
) -> Audit:
    """A table with nothing to judge it by, for its pictures: its own frames at random, none of them scored.

    Args:
        rows: A guidance table, of one split or several.
        class_names: Maps a video id to its class, where that is known.
        tolerance_s: Tolerance in seconds of the join by time.
        seed: Seed of the choice, where the table has more rows.
        max_rows: Largest number of rows with guidance, and of rows without, that are given.
    """
    columns = rows.with_format("arrow").select_columns(["video_id", "timestamp_s", "status"])[:]
    is_ok = np.asarray(pc.equal(columns["status"], OK))
    rng = np.random.default_rng(seed)
    # a table may have millions of rows, of which a page shows a hundred
    chosen = np.concatenate([rng.permutation(np.flatnonzero(kind))[:max_rows] for kind in (is_ok, ~is_ok)])
    frames = [
        AuditedFrame(
            video_id=row["video_id"],
            class_name=(class_names or {}).get(row["video_id"], ""),
            position=position,
            timestamp_s=row["timestamp_s"],
            guidance_s=row["timestamp_s"],
            status=row["status"],
            reference_status=EMPTY,
        )
        for position, row in enumerate(columns.take(np.sort(chosen)).to_pylist())
    ]
    index = GuidanceIndex(rows, tolerance_s)
    return Audit(NoReference(), (), (), frames, len(rows), 0, index)


def _frames_of_video(
    video_id: str,
    class_name: str,
    index: GuidanceIndex,
    guided_s: np.ndarray,
    reference: Reference,
    tolerance_s: float,
) -> Iterator[AuditedFrame]:
    times_s = reference.times_s(video_id)
    rows = match_times(times_s, guided_s, tolerance_s)
    for position, (time_s, row) in enumerate(zip(times_s, rows, strict=True)):
        guidance_s = float(guided_s[row]) if row >= 0 else None
        frame = AuditedFrame(
            video_id, class_name, position, float(time_s), guidance_s, MISSING, reference.status(video_id, position)
        )
        if guidance_s is not None:
            found = index.lookup(video_id, [guidance_s])
            frame.status = found.statuses[0]
            guidance = found.maps[0]
            if guidance is not None and frame.status == OK and frame.reference_status == OK:
                _judge(frame, reference, guidance)
        yield frame


def _judge(frame: AuditedFrame, reference: Reference, guidance: GridMap) -> None:
    judgement = reference.judge(frame.video_id, frame.position, guidance)
    if judgement is None:
        frame.reference_status = OUTSIDE
        return
    grid_map, cells = judgement.guidance, judgement.cells
    weights = np.asarray(grid_map.weights, dtype=np.float64)
    maps = [weights / weights.sum(), *_priors(grid_map.grid, grid_map.rectangle)]
    if judgement.other is None:
        scores = score_maps(np.stack([*maps, cells / cells.sum()]), cells)
    else:
        stacked = np.stack(maps)
        scores = np.concatenate([score_maps(stacked, cells), map_distances(stacked, judgement.other)], axis=1)
    # half the memory of audits with hundreds of thousands of frames; means are taken in float64
    frame.scores = scores.astype(np.float32)


@functools.lru_cache(maxsize=256)
def _priors(grid: tuple[int, int], rectangle: Rectangle) -> tuple[np.ndarray, np.ndarray]:
    # kept, as most tables have one layout for all their rows
    return centre_prior(grid, rectangle=rectangle), uniform_prior(grid)


def count_frames(audit: Audit) -> FrameCounts:
    """How guidance and reference meet."""
    statuses: dict[str, Counter] = {}
    for frame in audit.frames:
        statuses.setdefault(frame.status, Counter())[frame.reference_status] += 1
    judgeable = [frame for frame in audit.frames if frame.reference_status == OK]
    return FrameCounts(
        reference_frames=len(audit.frames),
        judgeable_frames=len(judgeable),
        missing_frames=sum(frame.status == MISSING for frame in judgeable),
        scored_frames=len(audit.scored),
        reference_videos=len({frame.video_id for frame in audit.frames}),
        guided_videos=len({frame.video_id for frame in audit.frames if frame.status != MISSING}),
        rows=audit.rows,
        rows_without_reference=audit.rows_without_reference,
        statuses={status: dict(sorted(counts.items())) for status, counts in sorted(statuses.items())},
    )


def score_sources(audit: Audit, bootstrap: Bootstrap, frames: list[AuditedFrame] | None = None) -> list[SourceScores]:
    """Means and intervals of every source, and of the guidance less each prior, on the same frames and resamples.

    Args:
        audit: The audit whose frames are scored.
        bootstrap: Settings by which intervals are found.
        frames: Those of the scored frames that count; all by default.

    Returns:
        Nothing where no frame was judged.
    """
    frames = audit.scored if frames is None else frames
    if not frames:
        return []
    scores = np.stack([frame.scores for frame in frames if frame.scores is not None]).astype(np.float64)
    # per frame and before the resampling, so that the interval is that of paired differences
    gains = [scores[:, :1] - scores[:, audit.sources.index(prior), None] for prior in PRIORS]
    names = [*audit.sources, *(f"{GUIDANCE} - {prior}" for prior in PRIORS)]
    values = np.concatenate([scores, *gains], axis=1)
    videos = [frame.video_id for frame in frames]
    estimates = iter(estimate_means(values.reshape(len(frames), -1), videos, bootstrap))
    num_videos = len(set(videos))
    return [
        SourceScores(name, len(frames), num_videos, {measure: next(estimates) for measure in audit.measures})
        for name in names
    ]
