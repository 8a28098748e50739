"""Build the data set: videos, their manifest, and the ground truth of every frame as a second data set beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Features, List, Value

from ...errors import ConfigError
from ...files import write_card
from ...guidance.schema import FRAME_KEY_FEATURES, OBJECT_FEATURES
from ...manifests.manifest import Manifest, load_manifest, write_manifest
from ...video.writer import write_video
from ..folder import (
    TRUTH_FOLDER,
    VIDEO_FOLDER,
    check_request,
    is_complete,
    mark_complete,
    prepare_folder,
    request_settings,
)
from ..render_jobs import Rendered, RenderJob, render_all
from .cards import manifest_description, truth_card
from .config import (
    ACTIONS,
    BACKGROUND_STRENGTHS,
    COOCCURRING_STRENGTHS,
    DEFAULT_SPLIT_SIZES,
    SOURCE,
    WORLD_VERSION,
    WorldConfig,
)
from .render import Clip, render_clip
from .scene import draw_nuisance

logger = logging.getLogger(__name__)


def truth_features() -> Features:
    """The columns of the ground truth: one row per video and frame."""
    return Features(
        {
            **FRAME_KEY_FEATURES,
            # role: actor, hand, handled, container, distractor or cooccurring
            "objects": List({**OBJECT_FEATURES, "role": Value("string")}),
            "relations": List({name: Value("string") for name in ("subject", "predicate", "object")}),
            "segment": Value("string"),  # the action, or "idle"
            "label": ClassLabel(names=list(ACTIONS)),
            "background": Value("string"),
            "background_tied": Value("bool"),  # was chosen for the label; an untied draw can hit it by chance
            "cooccurring_object": Value("string"),
            "cooccurring_object_tied": Value("bool"),
        }
    )


def build_synthetic_actions(
    folder: str | os.PathLike,
    config: WorldConfig | None = None,
    split_sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
) -> Manifest:
    """Render all splits to `folder`: videos, a manifest of them, and the ground truth in `folder`/truth.

    A complete folder with the same settings is left as it is. A clip depends on nothing but the seed, its split and
    its index: not on how many others there are, nor on the number of processes.

    Args:
        folder: where to write.
        config: of the world.
        split_sizes: split name -> number of clips, for some or all of `SPLITS`; classes take turns.
        seed: of the world.
        num_proc: processes that render; they are spawned, so a script needs its `if __name__ == "__main__"`.
        overwrite: build anew whatever data set of this kind is there.
        progress: show a progress bar.

    Returns:
        The manifest, with class names `ACTIONS`.

    Raises:
        ConfigError: settings that make no data set, or a folder that was built with other settings or holds other
            files.
    """
    folder, config = Path(folder), config or WorldConfig()
    split_sizes = dict(DEFAULT_SPLIT_SIZES if split_sizes is None else split_sizes)
    check_request(split_sizes, seed, num_proc)
    if max(split_sizes.values()) < len(ACTIONS):
        raise ConfigError(f"split sizes are {split_sizes}; one must have {len(ACTIONS)} clips, one of each class")
    settings = _settings(config, split_sizes, seed)
    if not overwrite and is_complete(folder, settings):
        logger.info("%s is there already, with the same settings", folder)
        return load_manifest(folder)
    prepare_folder(folder, settings)
    jobs = [_Job(folder, split, index, seed, config) for split, size in split_sizes.items() for index in range(size)]
    rows = render_all(_render_job, jobs, truth_features(), num_proc, progress)
    write_card(folder / TRUTH_FOLDER, split_sizes, truth_card(), pretty_name="Synthetic actions, ground truth")
    description = manifest_description(config, seed)
    manifest = write_manifest(folder, rows, ACTIONS, SOURCE, folder / VIDEO_FOLDER, description=description)
    mark_complete(folder)
    return manifest


@dataclass(frozen=True)
class _Job(RenderJob):
    """One clip to make."""

    config: WorldConfig

    @property
    def action(self) -> str:
        """Classes take turns, so that any number of clips is balanced as far as it can be."""
        return ACTIONS[self.index % len(ACTIONS)]

    @property
    def video_id(self) -> str:
        return f"{self.split}/{self.action}/{self.name}"


def _render_job(job: _Job) -> Rendered:
    """Write one video. Returns its manifest row, and its rows of ground truth."""
    seed = job.video_seed
    clip = render_clip(job.action, seed, job.config, draw_nuisance(job.action, job.split, seed))
    write_video(job.video_path, clip.frames, job.config.fps)
    return job.manifest_row(job.action, job.config.num_frames), _rows_of_clip(job, clip)


def _rows_of_clip(job: _Job, clip: Clip) -> list[dict[str, Any]]:
    per_clip = {"label": ACTIONS.index(job.action), **asdict(clip.truth.nuisance)}
    return [
        {**job.frame_key(index, SOURCE), **per_clip, **vars(frame)} for index, frame in enumerate(clip.truth.frames)
    ]


def _settings(config: WorldConfig, split_sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    return {
        "world_version": WORLD_VERSION,
        **request_settings(config, split_sizes, seed),
        "background_strengths": BACKGROUND_STRENGTHS,
        "cooccurring_strengths": COOCCURRING_STRENGTHS,
    }
