"""Build the data set: videos, their manifest, and the ground truth of every frame as a second data set beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Features, List, Value

from ...files import write_card
from ...guidance.schema import OBJECT_FEATURES
from ...manifests.manifest import Manifest, write_manifest
from ...provenance import FRAME_KEY_FEATURES
from ...video.writer import write_video
from ..render_jobs import Rendered, RenderJob, render_all
from ..world_folder import (
    TRUTH_FOLDER,
    VIDEO_FOLDER,
    build_world,
    check_request,
    request_settings,
)
from .config import ACTIVITY, DEFAULT_SPLIT_SIZES, PALETTE, SOURCE, TABLETOP_ACTIONS, TABLETOP_VERSION, TabletopConfig
from .render import TabletopVideo, render_tabletop


def tabletop_truth_features() -> Features:
    """The columns of the ground truth: one row per video and frame.

    A role is one of actor, hand, handled, container and visible; a segment is the action, or "idle". `event` counts
    the actions of a video from 0, so that two alike in a row are told apart; it is -1 where nothing is done.
    """
    return Features(
        {
            **FRAME_KEY_FEATURES,
            "objects": List(
                {**OBJECT_FEATURES, "role": Value("string"), "color": Value("string"), "size": Value("string")}
            ),
            "relations": List({name: Value("string") for name in ("subject", "predicate", "object")}),
            "segment": Value("string"),
            "event": Value("int32"),
            "background": Value("string"),
        }
    )


def build_synthetic_tabletop(
    folder: str | os.PathLike,
    config: TabletopConfig | None = None,
    split_sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Render all splits to `folder`: videos, a manifest of them, and the ground truth in `folder`/truth.

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
        The manifest, with the one class `ACTIVITY`.

    Raises:
        ConfigError: settings that make no data set, or a folder that was built with other settings or holds other
            files.
    """
    folder, config = Path(folder), config or TabletopConfig()
    split_sizes = dict(DEFAULT_SPLIT_SIZES if split_sizes is None else split_sizes)
    check_request(split_sizes, seed, num_proc)
    settings = {"tabletop_version": TABLETOP_VERSION, **request_settings(config, split_sizes, seed)}

    def build() -> Manifest:
        jobs = [
            _Job(folder, split, index, seed, config) for split, size in split_sizes.items() for index in range(size)
        ]
        rows = render_all(_render_job, jobs, tabletop_truth_features(), num_proc, progress, "video", chunk_size=8)
        write_card(folder / TRUTH_FOLDER, split_sizes, _TRUTH_CARD, pretty_name="Synthetic tabletop, ground truth")
        description = _manifest_description(config, seed)
        return write_manifest(folder, rows, [ACTIVITY], SOURCE, folder / VIDEO_FOLDER, description=description)

    return build_world(folder, settings, build, overwrite)


@dataclass(frozen=True)
class _Job(RenderJob):
    """One video to make."""

    config: TabletopConfig

    @property
    def video_id(self) -> str:
        return f"{self.split}/{self.name}"


def _render_job(job: _Job) -> Rendered:
    """Write one video. Returns its manifest row, and its rows of ground truth."""
    video = render_tabletop(job.video_seed, job.config)
    write_video(job.video_path, video.frames, job.config.fps)
    return job.manifest_row(ACTIVITY, len(video.frames)), _truth_rows(job, video)


def _truth_rows(job: _Job, video: TabletopVideo) -> list[dict[str, Any]]:
    return [
        {
            **job.frame_key(index, SOURCE),
            **vars(frame),
            "event": video.story.event_at(index),
            "background": video.story.background,
        }
        for index, frame in enumerate(video.truth)
    ]


def _manifest_description(config: TabletopConfig, seed: int) -> str:
    return (
        f"Procedurally rendered videos of a hand that does one thing after another with {config.min_things} to "
        f"{config.max_things} colored things on a table: {config.width} x {config.height} pixels at {config.fps:g} "
        f"frames per second, {config.min_actions} to {config.max_actions} actions each "
        f"({', '.join(f'`{action}`' for action in TABLETOP_ACTIONS)}). No person was filmed. Seed {seed}, world "
        f"version {TABLETOP_VERSION}; the same seed gives the same frames. Made to be asked questions about: "
        f"every thing has one of {len(PALETTE)} colors and, but for boxes, one of two sizes, and nothing is tied to "
        "anything else.\n\n"
        "The ground truth of every frame is a data set of its own in the folder `truth`.\n\n"
        "Limits: this is a drawn world, for tests, demonstrations and controlled experiments. Results on it say "
        "nothing about how well a model does on recordings of people."
    )


_TRUTH_CARD = (
    "# Ground truth of the synthetic tabletop\n\n"
    "One row per video and frame. `objects` lists what is in the frame, each with a `color` and a `size` (empty where "
    "it has none) and a `role`: actor (hand and visible arm), hand, handled (the thing that the action is done with), "
    "container (the box that it is put in), visible (what takes no part now). A name such as `ball 2` is one thing "
    "through the whole video. A `box` is (x0, y0, x1, y1) in [0, 1] of the frame, around the extent of the whole item "
    "within the frame, also where something covers it. `relations` holds triples such as (hand, holding, ball) or "
    "(ball, inside, box). `segment` is the action of the frame or `idle`, `event` its number in the video, or -1."
)
