"""Long videos of three actions that can be told apart in seconds, with the table of their segments and guidance."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation, TSViTVideoProcessor
from vidreason.guidance import GuidanceIndex, guidance_row, load_guidance, write_guidance
from vidreason.rs.data import ClipSettings
from vidreason.rs.segmentation.frame_labels import FrameLabels
from vidreason.rs.segmentation.windows import VideoWindows
from vidreason.video import probe_video, write_video
from vidreason.video.manifest import Manifest, load_manifest, manifest_row, write_manifest
from vidreason.video.segments import load_segments, write_segments

ACTIONS = ["rest", "move_right", "move_left"]
FPS = 8.0
CELL_OF_ROW = 4

LABELS = {
    "train/0": [0] * 6 + [1] * 8 + [2] * 8 + [0] * 4 + [1] * 8,
    "train/1": [2] * 8 + [0] * 5 + [1] * 8 + [2] * 8,
    "train/2": [0] * 3 + [2] * 8 + [1] * 8 + [1] * 8,
    "test/0": [1] * 8 + [0] * 6 + [2] * 8 + [1] * 8,
    "test/1": [2] * 8,
}
"""Video -> the action of each of its frames. The last video is shorter than a window of 12 frames."""

UNLABELLED = {"train/2": (0, 3)}
"""Frames that are in no segment."""


@dataclass(frozen=True)
class TinyAssembly:
    """Where the videos lie."""

    folder: Path

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.folder / "manifest")

    def labels(self, fps: float = FPS, **settings) -> FrameLabels:
        return FrameLabels(self.manifest, load_segments(self.folder / "manifest"), fps, **settings)

    def guidance(self, split: str) -> GuidanceIndex:
        return GuidanceIndex(load_guidance(self.folder / "guidance")[split])


def steps_within(labels: list[int]) -> list[int]:
    """How long the action of each frame has gone on, from 0 to 7 and again from 0."""
    steps, last = [], None
    for label in labels:
        steps.append((steps[-1] + 1) % 8 if label == last else 0)
        last = label
    return steps


def columns_of(labels: list[int]) -> list[int]:
    """Column of the square in every frame: it crosses the row in 8 frames, or rests at the left."""
    return [
        {0: 0, 1: step // 2, 2: 3 - step // 2}[label] for label, step in zip(labels, steps_within(labels), strict=True)
    ]


def draw(labels: list[int], row: int, rng: np.random.Generator) -> np.ndarray:
    frames = rng.integers(0, 30, (len(labels), 64, 64, 3), dtype=np.uint8)
    for frame, (label, step) in enumerate(zip(labels, steps_within(labels), strict=True)):
        left = {0: 2, 1: 2 + 6 * step, 2: 44 - 6 * step}[label]
        frames[frame, row * 16 + 2 : row * 16 + 14, left : left + 12] = (230, 230, 60) if label else (60, 60, 230)
    return frames


@pytest.fixture(scope="session")
def tiny_assembly(tmp_path_factory) -> TinyAssembly:
    world = TinyAssembly(tmp_path_factory.mktemp("tiny_assembly"))
    rng = np.random.default_rng(0)
    manifest_rows, segments, guidance = {}, {}, {}
    for video_id, labels in LABELS.items():
        split, row = video_id.split("/")[0], int(rng.integers(0, 4))
        path = world.folder / "manifest" / f"{video_id}.mp4"
        write_video(path, draw(labels, row, rng), FPS, crf=10)
        manifest_rows.setdefault(split, []).append(manifest_row(f"{video_id}.mp4", "desk", probe_video(path)))
        segments.setdefault(split, []).extend(segment_rows(video_id, labels))
        guidance.setdefault(split, []).extend(guidance_rows(video_id, split, labels, row))
    write_manifest(world.folder / "manifest", manifest_rows, ["desk"], "tiny@1", world.folder / "manifest")
    write_segments(world.folder / "manifest", segments, ACTIONS, "tiny@1")
    write_guidance(world.folder / "guidance", guidance)
    return world


def segment_rows(video_id: str, labels: list[int]):
    first, last = UNLABELLED.get(video_id, (0, 0))
    borders = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    for start, end in itertools.pairwise(borders):
        if not first <= start < last:
            times = {"start_s": start / FPS, "end_s": end / FPS}
            yield {"video_id": video_id, "start_frame": start, "end_frame": end, **times, "label": labels[start]}


def guidance_rows(video_id: str, split: str, labels: list[int], row: int):
    for frame, (label, column) in enumerate(zip(labels, columns_of(labels), strict=True)):
        key = {
            "video_id": video_id,
            "source": "tiny@1",
            "split": split,
            "frame_index": frame,
            "timestamp_s": frame / FPS,
            "frame_height": 64,
            "frame_width": 64,
        }
        weights = np.eye(16)[row * CELL_OF_ROW + column] if label else np.zeros(16)  # rest is no evidence
        yield guidance_row(key, weights.tolist(), (4, 4), "tests", "ok" if label else "empty")


@pytest.fixture
def window_model(tiny_model) -> dict[str, int]:
    """Fields of a TSViTConfig of windows of 12 frames that trains in seconds."""
    return {**tiny_model, "num_frames": 12}


@pytest.fixture
def make_segmenter(window_model):
    """Builds tiny segmentation models, the same weights every time."""

    def make(**changes) -> TSViTForActionSegmentation:
        torch.manual_seed(0)
        settings = {
            **window_model,
            "id2label": dict(enumerate(ACTIONS)),
            "label2id": {name: index for index, name in enumerate(ACTIONS)},
        }
        return TSViTForActionSegmentation(TSViTConfig(**{**settings, **changes}))

    return make


@pytest.fixture
def segment_processor() -> TSViTVideoProcessor:
    return TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=12)


@pytest.fixture
def make_windows(tiny_assembly, segment_processor, make_transform):
    """Builds data sets of windows."""

    def make(split="test", stride=6, augment=False, guided=True, window=12, cache=True, labels=None, **changes):
        transform = make_transform(segment_processor, augment, brightness=0.0)
        guidance = tiny_assembly.guidance(split) if guided else None
        settings = ClipSettings(window, cache=cache)
        return VideoWindows(labels or tiny_assembly.labels(), split, transform, settings, stride, guidance, **changes)

    return make
