"""Build the data set: videos, their manifest, and the ground truth of every frame as a second data set beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Features

from ...errors import ConfigError
from ...files import write_card
from ...manifests.manifest import Manifest, write_manifest
from ...reporting.tables import text_table
from ...video.writer import write_video
from ..backgrounds import BACKGROUNDS
from ..render_jobs import Rendered, RenderJob, render_all
from ..stickers import COOCCURRING_OBJECTS
from ..truth import frame_truth_features
from ..world_folder import (
    TRUTH_FOLDER,
    VIDEO_FOLDER,
    build_world,
    check_request,
    request_settings,
)
from .config import (
    ACTIONS,
    BACKGROUND_STRENGTHS,
    COOCCURRING_STRENGTHS,
    DEFAULT_SPLIT_SIZES,
    REVERSED_PAIRS,
    SOURCE,
    WORLD_VERSION,
    WorldConfig,
)
from .nuisance import draw_nuisance
from .render import Clip, render_clip


def truth_features() -> Features:
    """The columns of the ground truth: one row per video and frame.

    A role is one of actor, hand, handled, container, distractor and cooccurring; a segment is the action, or "idle".
    """
    return frame_truth_features(ACTIONS)


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
        folder: Folder to write.
        config: Settings of the world.
        split_sizes: Number of clips of each split, for some or all of `SPLITS`; classes take turns.
        seed: Seed of the world, from which every video has a seed of its own.
        num_proc: Number of processes that render; they are spawned, so a script needs its `if __name__ == "__main__"`.
        overwrite: Whether a data set of this kind that is there is built anew.
        progress: Whether a progress bar is shown.

    Returns:
        The manifest, with class names `ACTIONS`.

    Raises:
        ConfigError: settings that make no data set, or a folder that was built with other settings or holds other
            files.
    """
    folder, config = Path(folder), config or WorldConfig()
    split_sizes = dict(DEFAULT_SPLIT_SIZES if split_sizes is None else split_sizes)
    check_request(split_sizes, seed, num_proc)
    # a manifest needs a video of every class in some split
    if max(split_sizes.values()) < len(ACTIONS):
        raise ConfigError(f"split sizes are {split_sizes}; one must have {len(ACTIONS)} clips, one of each class")
    settings = _settings(config, split_sizes, seed)

    def build() -> Manifest:
        jobs = [
            _Job(folder, split, index, seed, config) for split, size in split_sizes.items() for index in range(size)
        ]
        rows = render_all(_render_job, jobs, truth_features(), num_proc, progress)
        write_card(folder / TRUTH_FOLDER, split_sizes, truth_card(), pretty_name="Synthetic actions, ground truth")
        description = manifest_description(config, seed)
        return write_manifest(folder, rows, ACTIONS, SOURCE, folder / VIDEO_FOLDER, description=description)

    return build_world(folder, settings, build, overwrite)


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


def manifest_description(config: WorldConfig, seed: int) -> str:
    """The paragraphs that open the card of the videos."""
    pairs = ", ".join(f"`{first}` and `{second}`" for second, first in REVERSED_PAIRS.items())
    return (
        f"Procedurally rendered clips of {len(ACTIONS)} hand actions: {config.num_frames} frames of {config.width} x "
        f"{config.height} pixels at {config.fps:g} frames per second. No person was filmed. Seed {seed}, world "
        f"version {WORLD_VERSION}; the same seed gives the same frames.\n\n"
        f"The pairs {pairs} are the same script with time reversed: single frames carry no information about which "
        "of the two it is.\n\n"
        "The ground truth of every frame is a data set of its own in the folder `truth`.\n\n"
        f"{_nuisance_text()}"
    )


def truth_card() -> str:
    """The card of the ground truth."""
    return (
        "# Ground truth of synthetic actions\n\n"
        "One row per video and frame. `objects` lists what is in the frame, with a `role`: actor (hand and visible "
        "arm), hand, handled, container (a box or bowl that takes part), distractor, cooccurring. `relevant` is true "
        "for hand, handled and container. A `box` is (x0, y0, x1, y1) in [0, 1] of the frame, around the extent of "
        "the whole item within the frame, also where something covers it; what is out of the frame is absent. "
        "`relations` holds triples such as (hand, holding, mug), (mug, inside, box) or (lid, on, box), by the names "
        "of the objects. `segment` is the action while it goes on, and `idle` before and after. `timestamp_s` is "
        "`frame_index` divided by the frame rate.\n\n"
        f"{_nuisance_text()}"
    )


def _nuisance_text() -> str:
    strengths = [(split, BACKGROUND_STRENGTHS[split], COOCCURRING_STRENGTHS[split]) for split in BACKGROUND_STRENGTHS]
    ties = list(zip(ACTIONS, BACKGROUNDS, COOCCURRING_OBJECTS, strict=True))
    nuisances = ("background", "co-occurring object")
    return (
        "Two nuisances are tied to the label, each with the probability below; otherwise they are drawn uniformly "
        f"from all twelve, whatever the label.\n\n{text_table(('split', *nuisances), strengths)}\n\n"
        f"The ties:\n\n{text_table(('label', *nuisances), ties)}"
    )
