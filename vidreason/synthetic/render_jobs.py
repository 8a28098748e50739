"""The videos of a data set as jobs, and the processes that render them."""

from __future__ import annotations

import multiprocessing
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Features
from tqdm.auto import tqdm

from ..files import write_split
from .seeds import clip_seed
from .world_folder import TRUTH_FOLDER, VIDEO_FOLDER

Rendered = tuple[dict[str, Any], list[dict[str, Any]]]
"""A video's row in the manifest, and its rows of ground truth."""


@dataclass(frozen=True)
class RenderJob(ABC):
    """One video to make.

    Args:
        folder: Folder of the data set.
        split: Split of the video.
        index: Index of the video in its split, from 0.
        seed: Seed of the world.
        config: Settings of the world.
    """

    folder: Path
    split: str
    index: int
    seed: int
    config: Any

    @property
    @abstractmethod
    def video_id(self) -> str:
        """Path of the video in `VIDEO_FOLDER`, without the suffix."""

    @property
    def name(self) -> str:
        """Split and index, which no other video of the data set has."""
        return f"{self.split}_{self.index:05d}"

    @property
    def video_seed(self) -> np.random.SeedSequence:
        """The seed of everything that is drawn for the video."""
        return clip_seed(self.seed, self.split, self.index)

    @property
    def video_path(self) -> Path:
        """The file to write."""
        return self.folder / VIDEO_FOLDER / f"{self.video_id}.mp4"

    def manifest_row(self, label: str, num_frames: int) -> dict[str, Any]:
        """The row of the video in the manifest."""
        return {
            "path": f"{self.video_id}.mp4",
            "label": label,
            "group": self.name,  # no two videos show the same scene
            "num_frames": num_frames,
            "fps": self.config.fps,
            "duration_s": num_frames / self.config.fps,
            "height": self.config.height,
            "width": self.config.width,
        }

    def frame_key(self, frame_index: int, source: str) -> dict[str, Any]:
        """What tells a frame from all others, in the columns of `FRAME_KEY_FEATURES`."""
        return {
            "video_id": self.video_id,
            "source": source,
            "split": self.split,
            "frame_index": frame_index,
            "timestamp_s": frame_index / self.config.fps,
            "frame_height": self.config.height,
            "frame_width": self.config.width,
        }


def render_all(
    render: Callable[[Any], Rendered],
    jobs: Sequence[RenderJob],
    truth_features: Features,
    num_proc: int,
    progress: bool,
    unit: str = "clip",
    chunk_size: int = 4,
) -> dict[str, list[dict[str, Any]]]:
    """Write all videos, and their ground truth as it comes in.

    Args:
        render: Writes the video of a job. It must be a function of a module, which other processes find by its name.
        jobs: Jobs of one folder, split by split.
        truth_features: Columns of the ground truth.
        num_proc: Number of processes that render.
        progress: Whether a progress bar is shown.
        unit: Name of a video on the progress bar.
        chunk_size: Number of jobs that a process is given at a time.

    Returns:
        The rows of the manifest by split.
    """
    split_sizes = Counter(job.split for job in jobs)
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in split_sizes}
    bar = tqdm(total=len(jobs), unit=unit, disable=not progress)
    with bar, _mapped(render, jobs, num_proc, chunk_size) as results:
        for split, size in split_sizes.items():
            truth = _truth_rows(results, size, rows[split], bar)
            write_split(jobs[0].folder / TRUTH_FOLDER, split, truth, truth_features)
    return rows


def _truth_rows(
    results: Iterator[Rendered], size: int, rows: list[dict[str, Any]], bar: tqdm
) -> Iterator[dict[str, Any]]:
    """The ground truth of the next `size` videos; their manifest rows are added to `rows` on the way."""
    # results come in the order of the jobs, which are split by split
    for _ in range(size):
        row, truth = next(results)
        rows.append(row)
        bar.update()
        yield from truth


@contextmanager
def _mapped(function: Callable, jobs: Sequence, num_proc: int, chunk_size: int) -> Iterator[Iterator]:
    """The results of the jobs, in their order."""
    if num_proc == 1:
        yield map(function, jobs)
        return
    # spawned and not forked: the caller may hold threads of torch or of a progress bar, which a fork does not survive
    # an executor and not a Pool, which would start a worker that cannot start again and again, without an end
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_proc, len(jobs)), mp_context=context) as pool:
        yield pool.map(function, jobs, chunksize=chunk_size)
