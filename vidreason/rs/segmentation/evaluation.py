"""What is reported of a segmentation model: whole videos, put together from their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import evaluate
import numpy as np
import torch
from transformers import EvalPrediction

from ...clips.data import IGNORED_LABEL
from ...metrics import metric_path
from ...segmentation.averaging import average_scores, frames_each_side
from ...segmentation.views import action_runs, view_logits
from ...segmentation.windows import VideoWindows
from ..config import RSConfig
from ..evaluation import IGNORED, ArrayT, ClipMetrics, clip_outcome
from ..losses import segment_divergence
from .losses import smoothing_loss

F1_THRESHOLDS = (10, 25, 50)
SEGMENT_METRICS = ("mof", "edit", *(f"f1_{threshold}" for threshold in F1_THRESHOLDS), "oversegmentation")
"""What predicted segments decide, and so what averaging over neighbouring frames changes."""

CLIP_LOSS = "loss_clip"
"""The metric that true segments taken as clips have in place of a clip's `loss_classification`."""


@dataclass(frozen=True)
class WindowOutcome(Generic[ArrayT]):
    """What evaluation keeps of a batch of windows.

    Args:
        logits: (batch, frames, labels), float32.
        spatial: (batch, frames), float32: KL(guidance || attention), IGNORED without guidance.
        mass: (batch, frames), float32: share of the attention inside the guided region, IGNORED without guidance.
        pointed: (batch, frames), int64: the token attended to most, IGNORED for padded frames.
        region: (batch, frames, tokens), int8: 1 for tokens of the guided region, IGNORED for padding.
        video: (batch,), int64: number of the video that the window is of.
        start: (batch,), int64: number of its first frame.
    """

    logits: ArrayT
    spatial: ArrayT
    mass: ArrayT
    pointed: ArrayT
    region: ArrayT
    video: ArrayT
    start: ArrayT

    def as_tuple(self) -> tuple[ArrayT, ...]:
        """The fields in order, which is the form that the Trainer gathers."""
        return tuple(vars(self).values())


def window_outcome(outputs: Any, inputs: Mapping[str, torch.Tensor], args: RSConfig) -> WindowOutcome[torch.Tensor]:
    """Reduce the outputs of a batch of windows to what the metrics need.

    Args:
        outputs: What the model gave.
        inputs: A batch of `WindowCollator`.
        args: Settings, of which temperature and epsilon are used.
    """
    clip = clip_outcome(
        outputs["logits"],
        outputs["segment_logits"],
        outputs["frame_attention"],
        inputs["guidance"],
        inputs["guidance_mask"],
        inputs["frame_mask"].bool(),
        args,
    )
    place = (inputs["video"], inputs["start"])
    return WindowOutcome(clip.logits, clip.spatial, clip.mass, clip.pointed, clip.region, *place)


@dataclass(frozen=True)
class ScoredVideo:
    """One video put together.

    Args:
        video_id: Id in the manifest.
        logits: (frames, labels), float64: means over the windows that a frame is in.
        labels: (frames,), int64: label ids, -100 where there is none.
    """

    video_id: str
    logits: np.ndarray
    labels: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Which frames have a label: (frames,), bool."""
        return self.labels != IGNORED_LABEL

    def averaged(self, each_side: int) -> ScoredVideo:
        """The same video with the mean of every frame's scores and its neighbours'.

        Args:
            each_side: Frames before and after one that its mean takes in.
        """
        return replace(self, logits=average_scores(torch.from_numpy(self.logits), each_side).numpy())


class SegmentationMetrics(ClipMetrics):
    """`compute_metrics` of `SegmentationTrainer`.

    Gives, over the labelled frames of the videos that can be read:

    - `mof` (mean over frames, all videos pooled), `edit` and `f1_10`, `f1_25`, `f1_50` (means over videos), as shares
      in [0, 1]; segments of background labels do not count in `edit` and F1.
    - `oversegmentation`: predicted segments for each true one.
    - The same five and `oversegmentation` with `_unaveraged` behind them: where scores are averaged over neighbouring
      frames, what they were before.
    - `top1`, `top5` and `loss_clip` in nats: every true segment that is not background is a clip, whose
      score is the mean over its frames.
    - `loss_classification` (mean over frames), `loss_temporal`, `loss_smoothing`, their weighted sum `loss` (with the
      spatial part), and where any frame has guidance
      `loss_spatial`, `attention_in_region`, `pointing_accuracy`, `guided_frames`.
    - `num_videos`, `num_frames`, `skipped_videos`.

    Args:
        args: Settings of the training, of which weights and averaging are used.
        windows: The windows that are evaluated, in the order that predictions refer to.
    """

    def __init__(self, args: RSConfig, windows: VideoWindows):
        super().__init__(args)
        self.windows = windows
        self.mof = evaluate.load(metric_path("mof"), keep_in_memory=True)
        self.edit_score = evaluate.load(metric_path("edit_score"), keep_in_memory=True)
        self.segment_f1 = evaluate.load(metric_path("segment_f1"), keep_in_memory=True)

    def __call__(self, prediction: EvalPrediction) -> dict[str, Any]:
        """The metrics of a split, by name."""
        outcome: WindowOutcome[np.ndarray] = WindowOutcome(*prediction.predictions)
        labels = np.asarray(prediction.label_ids)
        videos = merge_windows(outcome, labels, self.windows)
        scored = [video for video in videos if video.labelled.any()]
        metrics: dict[str, float | None] = {
            "num_videos": len(scored),
            "num_frames": int(sum(video.labelled.sum() for video in scored)),
            "skipped_videos": len(videos) - len(scored),
        }
        if scored:
            metrics |= self._segmentation(scored)
            if self.args.score_averaging_s > 0:
                each_side = frames_each_side(self.args.score_averaging_s, self.windows.labels.fps)
                metrics |= {f"{name}_unaveraged": metrics[name] for name in SEGMENT_METRICS}
                metrics |= self._segmentation([video.averaged(each_side) for video in scored])
            metrics |= self._accuracy(scored)
            losses = self._losses(scored)
            attention = self.attention_metrics(
                outcome.spatial, _counted_once(outcome), outcome.pointed, outcome.region
            )
            metrics |= losses | attention
            metrics["loss"] = (
                losses["loss_classification"]
                + self.args.spatial_weight * attention.get("loss_spatial", 0.0)
                + self.args.temporal_weight * losses["loss_temporal"]
                + self.args.smoothing_weight * losses["loss_smoothing"]
            )
        return metrics

    def _segmentation(self, videos: Sequence[ScoredVideo]) -> dict[str, float]:
        predictions = [video.logits[video.labelled].argmax(axis=-1) for video in videos]
        references = [video.labels[video.labelled] for video in videos]
        background = self.windows.labels.background_ids
        arguments = {"predictions": predictions, "references": references}
        f1 = self.segment_f1.compute(**arguments, thresholds=F1_THRESHOLDS, background=background)
        return {
            "mof": self.mof.compute(**arguments)["mof"] / 100,
            "edit": self.edit_score.compute(**arguments, background=background)["edit_score"] / 100,
            **{f"f1_{threshold}": f1[f"f1@{threshold}"] / 100 for threshold in F1_THRESHOLDS},
            "oversegmentation": sum(map(_num_segments, predictions)) / sum(map(_num_segments, references)),
        }

    def _accuracy(self, videos: Sequence[ScoredVideo]) -> dict[str, float | None]:
        logits, labels = segments_as_clips(videos, self.windows.labels.background_ids)
        if not len(labels):
            return {"top1": None, "top5": None, CLIP_LOSS: None}
        found = self.classification.compute(logits, labels)
        return {"top1": found["top1"], "top5": found["top5"], CLIP_LOSS: found["loss_classification"]}

    def _losses(self, videos: Sequence[ScoredVideo]) -> dict[str, float]:
        """The parts of the loss over whole videos."""
        frames, divergences, steps = [], [], []
        for video in videos:
            logits, labels = torch.from_numpy(video.logits)[None], torch.from_numpy(video.labels)[None]
            log_probabilities = logits[0].log_softmax(dim=-1)[video.labelled]
            frames.append(-log_probabilities.gather(1, labels[0, video.labelled, None]).squeeze(1))
            divergences.append(segment_divergence(view_logits(logits, action_runs(labels)), self.args.temperature))
            if len(labels[0]) > 1:
                valid = torch.ones_like(labels, dtype=torch.bool)
                mean = smoothing_loss(logits, valid, self.args.smoothing_threshold)
                steps.append((float(mean), len(labels[0]) - 1))
        views = torch.cat(divergences)
        return {
            "loss_classification": float(torch.cat(frames).mean()),
            "loss_temporal": float(views.mean()) if len(views) else 0.0,
            "loss_smoothing": sum(mean * pairs for mean, pairs in steps) / max(1, sum(pairs for _, pairs in steps)),
        }


def merge_windows(outcome: WindowOutcome[np.ndarray], labels: np.ndarray, windows: VideoWindows) -> list[ScoredVideo]:
    """Put the windows of every video together; a frame's logits are the mean over the windows that it is in.

    Args:
        outcome: Outcome of all windows, in any order; a window that is there twice counts twice in the mean.
        labels: (windows, frames), -100 for padding and for frames without a label.
        windows: The data set.
    """
    num_labels = outcome.logits.shape[-1]
    sums = [np.zeros((len(video.times_s), num_labels)) for video in windows.videos]
    counts = [np.zeros(len(video.times_s)) for video in windows.videos]
    merged = [np.full(len(video.times_s), IGNORED_LABEL, dtype=np.int64) for video in windows.videos]
    for row, (video, start) in enumerate(zip(outcome.video, outcome.start, strict=True)):
        # the last window of a video, and the arrays that the Trainer padded, are wider than what is left of it
        width = min(windows.settings.num_frames, labels.shape[1], len(merged[video]) - start)
        place = slice(start, start + width)
        sums[video][place] += outcome.logits[row, :width]
        counts[video][place] += 1
        merged[video][place] = labels[row, :width]
    return [
        ScoredVideo(video.video_id, total / np.maximum(count, 1)[:, None], of)
        for video, total, count, of in zip(windows.videos, sums, counts, merged, strict=True)
    ]


def segments_as_clips(videos: Sequence[ScoredVideo], background_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Every true segment that is not background as a clip of its own.

    Args:
        videos: The videos, at least one.
        background_ids: Label ids of what is no action.

    Returns:
        Scores (segments, labels), the mean over the frames of each, and labels (segments,).
    """
    scores, targets = [], []
    for video in videos:
        borders = np.flatnonzero(np.diff(video.labels)) + 1
        for logits, labels in zip(np.split(video.logits, borders), np.split(video.labels, borders), strict=True):
            if labels[0] != IGNORED_LABEL and labels[0] not in background_ids:
                scores.append(logits.mean(axis=0))
                targets.append(labels[0])
    num_labels = videos[0].logits.shape[1]
    return np.reshape(scores, (-1, num_labels)), np.array(targets, dtype=np.int64)


def _counted_once(outcome: WindowOutcome[np.ndarray]) -> np.ndarray:
    """`outcome.mass` with IGNORED for frames that an earlier window has had, so that each counts once."""
    mass = np.array(outcome.mass)
    seen: set[tuple[int, int]] = set()
    for row, (video, start) in enumerate(zip(outcome.video.tolist(), outcome.start.tolist(), strict=True)):
        for frame in range(mass.shape[1]):
            place = (video, start + frame)
            if place in seen:
                mass[row, frame] = IGNORED
            seen.add(place)
    return mass


def _num_segments(labels: np.ndarray) -> int:
    return 1 + int((np.diff(labels) != 0).sum())
