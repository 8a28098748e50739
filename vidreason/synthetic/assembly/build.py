"""Build the data set: videos, their manifest, the table of segments, and the ground truth of every frame."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Features

from ...files import write_card
from ...manifests.manifest import Manifest, write_manifest
from ...manifests.segments import SEGMENTS_FOLDER, write_segments
from ...video.writer import write_video
from ..render_jobs import Rendered, RenderJob, render_all
from ..truth import frame_truth_features
from ..world_folder import (
    OWN_ENTRIES,
    TRUTH_FOLDER,
    VIDEO_FOLDER,
    build_world,
    check_request,
    request_settings,
)
from .cards import manifest_description, truth_card
from .config import (
    ACTIVITY,
    ASSEMBLY_ACTIONS,
    ASSEMBLY_VERSION,
    DEFAULT_SPLIT_SIZES,
    SIGN_STRENGTHS,
    SOURCE,
    AssemblyConfig,
)
from .render import AssemblyFrame, render_assembly
from .timeline import AssemblySegment, draw_sequence


def assembly_truth_features() -> Features:
    """The columns of the ground truth: one row per video and frame, as for the synthetic actions.

    A role is one of actor, hand, handled, visible, distractor and cooccurring; a segment is the name of the frame's
    label. The background is the desk's texture, which is never tied, since all actions of a video happen on one desk;
    the co-occurring object is the sign of the segment, which some of its frames show.
    """
    return frame_truth_features(ASSEMBLY_ACTIONS)


def build_synthetic_assembly(
    folder: str | os.PathLike,
    config: AssemblyConfig | None = None,
    split_sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Render all splits to `folder`: videos, manifest, table of segments, and in `folder`/truth the ground truth.

    A complete folder with the same settings is left as it is. A video depends on nothing but the seed, its split and
    its index: not on how many others there are, nor on the number of processes.

    Args:
        folder: Folder to write.
        config: Settings of the world.
        split_sizes: Number of videos of each split, for some or all of `SPLITS`.
        seed: Seed of the world, from which every video has a seed of its own.
        num_proc: Number of processes that render; they are spawned, so a script needs its `if __name__ == "__main__"`.
        overwrite: Whether a data set of this kind that is there is built anew.
        progress: Whether a progress bar is shown.

    Returns:
        The manifest, with the one class `ACTIVITY`. The actions are in the table of segments.

    Raises:
        ConfigError: settings that make no data set, or a folder that was built with other settings or holds other
            files.
    """
    folder, config = Path(folder), config or AssemblyConfig()
    split_sizes = dict(DEFAULT_SPLIT_SIZES if split_sizes is None else split_sizes)
    check_request(split_sizes, seed, num_proc)
    settings = _settings(config, split_sizes, seed)

    def build() -> Manifest:
        jobs = [
            _Job(folder, split, index, seed, config) for split, size in split_sizes.items() for index in range(size)
        ]
        rows = render_all(_render_job, jobs, assembly_truth_features(), num_proc, progress, "video", chunk_size=1)
        # drawn again, which is cheap, in place of sending them back from the processes
        sequences = {split: [job.sequence() for job in jobs if job.split == split] for split in split_sizes}
        write_card(folder / TRUTH_FOLDER, split_sizes, truth_card(), pretty_name="Synthetic assembly, ground truth")
        description = manifest_description(config, seed, sequences)
        manifest = write_manifest(folder, rows, [ACTIVITY], SOURCE, folder / VIDEO_FOLDER, description=description)
        segment_rows = {split: _segment_rows([job for job in jobs if job.split == split]) for split in split_sizes}
        write_segments(folder, segment_rows, ASSEMBLY_ACTIONS, SOURCE)
        return manifest

    return build_world(folder, settings, build, overwrite, (*OWN_ENTRIES, SEGMENTS_FOLDER))


@dataclass(frozen=True)
class _Job(RenderJob):
    """One video to make."""

    config: AssemblyConfig

    @property
    def video_id(self) -> str:
        return f"{self.split}/{self.name}"

    def sequence(self) -> tuple[AssemblySegment, ...]:
        return draw_sequence(self.video_seed, self.split, self.config)


def _render_job(job: _Job) -> Rendered:
    """Write one video. Returns its manifest row, and its rows of ground truth."""
    truth: list[dict[str, Any]] = []
    frames = render_assembly(job.video_seed, job.split, job.config)
    write_video(job.video_path, _noting_truth(frames, job, truth), job.config.fps)
    return job.manifest_row(ACTIVITY, len(truth)), truth


def _noting_truth(frames: Iterator[AssemblyFrame], job: _Job, truth: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    """The pictures; the rows of ground truth are added to `truth` on the way."""
    for index, frame in enumerate(frames):
        truth.append(
            {
                **job.frame_key(index, SOURCE),
                **vars(frame.truth),
                "label": ASSEMBLY_ACTIONS.index(frame.truth.segment),
                "background": frame.texture,
                "background_tied": False,
                "cooccurring_object": frame.segment.sign,
                "cooccurring_object_tied": frame.segment.sign_tied,
            }
        )
        yield frame.picture


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


def _settings(config: AssemblyConfig, split_sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    return {
        "assembly_version": ASSEMBLY_VERSION,
        **request_settings(config, split_sizes, seed),
        "sign_strengths": SIGN_STRENGTHS,
    }
