"""Build the data set: videos, their manifest, the table of segments, and the ground truth of every frame."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Features, List, Value
from tqdm.auto import tqdm

from ...errors import ConfigError
from ...guidance.schema import FRAME_KEY_FEATURES, OBJECT_FEATURES
from ...parquet_folder import write_card, write_split
from ...video.manifest import Manifest, load_manifest, write_manifest
from ...video.segments import SEGMENTS_FOLDER, write_segments
from ...video.writer import write_video
from ..folder import (
    OWN_ENTRIES,
    SETTINGS_FILE,
    TRUTH_FOLDER,
    UNFINISHED_FILE,
    VIDEO_FOLDER,
    is_complete,
    mapped_jobs,
    prepare_folder,
)
from ..scene import clip_seed
from .cards import manifest_description, truth_card
from .config import (
    ACTIVITY,
    ASSEMBLY_ACTIONS,
    ASSEMBLY_VERSION,
    DEFAULT_SPLIT_SIZES,
    SIGN_STRENGTHS,
    SOURCE,
    SPLITS,
    AssemblyConfig,
)
from .render import AssemblyFrame, render_assembly
from .timeline import AssemblySegment, draw_sequence

logger = logging.getLogger(__name__)


def assembly_truth_features() -> Features:
    """The columns of the ground truth: one row per video and frame, as for the synthetic actions."""
    return Features(
        {
            **FRAME_KEY_FEATURES,
            # role: actor, hand, handled, visible, distractor or cooccurring
            "objects": List({**OBJECT_FEATURES, "role": Value("string")}),
            "relations": List({name: Value("string") for name in ("subject", "predicate", "object")}),
            "segment": Value("string"),  # the name of the label
            "label": ClassLabel(names=list(ASSEMBLY_ACTIONS)),  # of the frame
            "background": Value("string"),  # what the desk is made of, drawn without regard to anything else
            "background_tied": Value("bool"),  # never, since all actions of a video happen on one desk
            "cooccurring_object": Value("string"),  # the sign of the segment, which some of its frames show
            "cooccurring_object_tied": Value("bool"),  # was chosen for the label; an untied draw can hit it by chance
        }
    )


def build_synthetic_assembly(
    folder: str | os.PathLike,
    config: AssemblyConfig | None = None,
    split_sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Render all splits to `folder`: videos, a manifest of them with the table of segments, and the ground truth of
    every frame in `folder`/truth.

    A complete folder with the same settings is left as it is. A video depends on nothing but the seed, its split and
    its index: not on how many others there are, nor on the number of processes.

    Args:
        folder: where to write.
        config: of the world.
        split_sizes: split name -> number of videos, for some or all of `SPLITS`.
        seed: of the world.
        num_proc: processes that render; they are spawned, so a script needs its `if __name__ == "__main__"`.
        overwrite: build anew whatever data set of this kind is there.
        progress: show a progress bar.

    Returns:
        The manifest, with the one class `ACTIVITY`. The actions are in the table of segments.

    Raises:
        ConfigError: settings that make no data set, or a folder that was built with other settings or holds other
            files.
    """
    folder, config = Path(folder), config or AssemblyConfig()
    split_sizes = dict(DEFAULT_SPLIT_SIZES if split_sizes is None else split_sizes)
    _check_request(split_sizes, seed, num_proc)
    settings = _settings(config, split_sizes, seed)
    if not overwrite and is_complete(folder, settings):
        logger.info("%s is there already, with the same settings", folder)
        return load_manifest(folder)
    prepare_folder(folder, settings, (*OWN_ENTRIES, SEGMENTS_FOLDER))
    jobs = [_Job(folder, split, index, seed, config) for split, size in split_sizes.items() for index in range(size)]
    rows = _render_all(jobs, folder / TRUTH_FOLDER, split_sizes, num_proc, progress)
    sequences = {split: [job.sequence() for job in jobs if job.split == split] for split in split_sizes}
    write_card(folder / TRUTH_FOLDER, split_sizes, truth_card(), pretty_name="Synthetic assembly, ground truth")
    description = manifest_description(config, seed, sequences)
    manifest = write_manifest(folder, rows, [ACTIVITY], SOURCE, folder / VIDEO_FOLDER, description=description)
    segment_rows = {split: _segment_rows([job for job in jobs if job.split == split]) for split in split_sizes}
    write_segments(folder, segment_rows, ASSEMBLY_ACTIONS, SOURCE)
    os.replace(folder / UNFINISHED_FILE, folder / SETTINGS_FILE)
    return manifest


@dataclass(frozen=True)
class _Job:
    """One video to make."""

    folder: Path
    split: str
    index: int
    seed: int
    config: AssemblyConfig

    @property
    def video_id(self) -> str:
        return f"{self.split}/{self.split}_{self.index:05d}"

    @property
    def video_seed(self) -> np.random.SeedSequence:
        return clip_seed(self.seed, self.split, self.index)

    def sequence(self) -> tuple[AssemblySegment, ...]:
        return draw_sequence(self.video_seed, self.split, self.config)


def _render_all(
    jobs: list[_Job], truth_folder: Path, split_sizes: Mapping[str, int], num_proc: int, progress: bool
) -> dict[str, list[dict[str, Any]]]:
    """Write all videos, and their ground truth as it comes in. Returns the manifest's rows by split."""
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in split_sizes}
    bar = tqdm(total=len(jobs), unit="video", disable=not progress)
    with bar, mapped_jobs(_render_job, jobs, num_proc, chunk_size=1) as results:
        for split, size in split_sizes.items():
            truth = _truth_rows(results, size, rows[split], bar)
            write_split(truth_folder, split, truth, assembly_truth_features())
    return rows


def _render_job(job: _Job) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write one video. Returns its manifest row, and its rows of ground truth."""
    truth: list[dict[str, Any]] = []
    path, config = f"{job.video_id}.mp4", job.config
    frames = render_assembly(job.video_seed, job.split, config)
    write_video(job.folder / VIDEO_FOLDER / path, _noting_truth(frames, job, truth), config.fps)
    row = {
        "path": path,
        "label": ACTIVITY,
        "group": f"{job.split}_{job.index:05d}",  # every video has a desk of its own
        "num_frames": len(truth),
        "fps": config.fps,
        "duration_s": len(truth) / config.fps,
        "height": config.height,
        "width": config.width,
    }
    return row, truth


def _noting_truth(frames: Iterator[AssemblyFrame], job: _Job, truth: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    """The pictures; the rows of ground truth are added to `truth` on the way."""
    for index, frame in enumerate(frames):
        truth.append(
            {
                "video_id": job.video_id,
                "source": SOURCE,
                "split": job.split,
                "frame_index": index,
                "timestamp_s": index / job.config.fps,
                "frame_height": job.config.height,
                "frame_width": job.config.width,
                **vars(frame.truth),
                "label": ASSEMBLY_ACTIONS.index(frame.truth.segment),
                "background": frame.texture,
                "background_tied": False,
                "cooccurring_object": frame.segment.sign,
                "cooccurring_object_tied": frame.segment.sign_tied,
            }
        )
        yield frame.picture


def _truth_rows(results: Iterator, size: int, rows: list[dict[str, Any]], bar: tqdm) -> Iterator[dict[str, Any]]:
    """The ground truth of the next `size` videos; their manifest rows are added to `rows` on the way."""
    for _ in range(size):
        row, truth = next(results)
        rows.append(row)
        bar.update()
        yield from truth


def _segment_rows(jobs: list[_Job]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        for segment in job.sequence():
            yield {
                "video_id": job.video_id,
                "start_frame": segment.start_frame,
                "end_frame": segment.end_frame,
                "start_s": segment.start_frame / job.config.fps,
                "end_s": segment.end_frame / job.config.fps,
                "label": segment.label,
            }


def _check_request(split_sizes: Mapping[str, int], seed: int, num_proc: int) -> None:
    unknown = sorted(set(split_sizes) - set(SPLITS))
    if unknown or not split_sizes:
        raise ConfigError(f"split sizes name {unknown or 'no split'}, expected some of {SPLITS}")
    for split, size in split_sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"split {split!r} has the size {size!r}, expected a whole number from 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}, expected zero or more")
    if num_proc < 1:
        raise ConfigError(f"num_proc is {num_proc}, expected at least 1")


def _settings(config: AssemblyConfig, split_sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    return {
        "assembly_version": ASSEMBLY_VERSION,
        "seed": seed,
        **{f"split_sizes.{split}": size for split, size in split_sizes.items()},
        **{f"config.{name}": value for name, value in asdict(config).items()},
        "sign_strengths": SIGN_STRENGTHS,
    }
