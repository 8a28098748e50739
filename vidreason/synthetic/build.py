"""Build the data set: videos, their manifest, and the ground truth of every frame as a second data set beside it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Features, List, Value
from tqdm.auto import tqdm

from ..errors import ConfigError
from ..guidance.schema import FRAME_KEY_FEATURES, OBJECT_FEATURES
from ..parquet_folder import write_card, write_split
from ..video.manifest import Manifest, load_manifest, write_manifest
from ..video.writer import write_video
from .cards import manifest_description, truth_card
from .config import (
    ACTIONS,
    BACKGROUND_STRENGTHS,
    COOCCURRING_STRENGTHS,
    DEFAULT_SPLIT_SIZES,
    SOURCE,
    SPLITS,
    WORLD_VERSION,
    WorldConfig,
)
from .folder import (
    SETTINGS_FILE,
    TRUTH_FOLDER,
    UNFINISHED_FILE,
    VIDEO_FOLDER,
    is_complete,
    mapped_jobs,
    prepare_folder,
)
from .render import Clip, render_clip
from .scene import clip_seed, draw_nuisance

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
    _check_request(split_sizes, seed, num_proc)
    settings = _settings(config, split_sizes, seed)
    if not overwrite and is_complete(folder, settings):
        logger.info("%s is there already, with the same settings", folder)
        return load_manifest(folder)
    prepare_folder(folder, settings)
    jobs = [_Job(folder, split, index, seed, config) for split, size in split_sizes.items() for index in range(size)]
    rows = _render_all(jobs, folder / TRUTH_FOLDER, split_sizes, num_proc, progress)
    write_card(folder / TRUTH_FOLDER, split_sizes, truth_card(), pretty_name="Synthetic actions, ground truth")
    description = manifest_description(config, seed)
    manifest = write_manifest(folder, rows, ACTIONS, SOURCE, folder / VIDEO_FOLDER, description=description)
    os.replace(folder / UNFINISHED_FILE, folder / SETTINGS_FILE)
    return manifest


def _render_all(
    jobs: list[_Job], truth_folder: Path, split_sizes: Mapping[str, int], num_proc: int, progress: bool
) -> dict[str, list[dict[str, Any]]]:
    """Write all videos, and their ground truth as it comes in. Returns the manifest's rows by split."""
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in split_sizes}
    bar = tqdm(total=len(jobs), unit="clip", disable=not progress)
    with bar, mapped_jobs(_render_job, jobs, num_proc) as results:
        for split, size in split_sizes.items():
            write_split(truth_folder, split, _truth_rows(results, size, rows[split], bar), truth_features())
    return rows


@dataclass(frozen=True)
class _Job:
    """One clip to make."""

    folder: Path
    split: str
    index: int
    seed: int
    config: WorldConfig

    @property
    def action(self) -> str:
        """Classes take turns, so that any number of clips is balanced as far as it can be."""
        return ACTIONS[self.index % len(ACTIONS)]

    @property
    def video_id(self) -> str:
        return f"{self.split}/{self.action}/{self.split}_{self.index:05d}"


def _render_job(job: _Job) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write one video. Returns its manifest row, and its rows of ground truth."""
    seed = clip_seed(job.seed, job.split, job.index)
    clip = render_clip(job.action, seed, job.config, draw_nuisance(job.action, job.split, seed))
    path = f"{job.video_id}.mp4"
    write_video(job.folder / VIDEO_FOLDER / path, clip.frames, job.config.fps)
    row = {
        "path": path,
        "label": job.action,
        "group": f"{job.split}_{job.index:05d}",  # every clip is a scene of its own
        "num_frames": job.config.num_frames,
        "fps": job.config.fps,
        "duration_s": job.config.num_frames / job.config.fps,
        "height": job.config.height,
        "width": job.config.width,
    }
    return row, _rows_of_clip(job, clip)


def _rows_of_clip(job: _Job, clip: Clip) -> list[dict[str, Any]]:
    per_clip = {
        "video_id": job.video_id,
        "source": SOURCE,
        "split": job.split,
        "frame_height": job.config.height,
        "frame_width": job.config.width,
        "label": ACTIONS.index(job.action),
        **asdict(clip.truth.nuisance),
    }
    return [
        {**per_clip, "frame_index": index, "timestamp_s": index / job.config.fps, **vars(frame)}
        for index, frame in enumerate(clip.truth.frames)
    ]


def _truth_rows(results: Iterator, size: int, rows: list[dict[str, Any]], bar: tqdm) -> Iterator[dict[str, Any]]:
    """The ground truth of the next `size` clips; their manifest rows are added to `rows` on the way."""
    for _ in range(size):
        row, truth = next(results)
        rows.append(row)
        bar.update()
        yield from truth


def _check_request(split_sizes: Mapping[str, int], seed: int, num_proc: int) -> None:
    unknown = sorted(set(split_sizes) - set(SPLITS))
    if unknown or not split_sizes:
        raise ConfigError(f"split sizes name {unknown or 'no split'}, expected some of {SPLITS}")
    for split, size in split_sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"split {split!r} has the size {size!r}, expected a whole number from 1")
    if max(split_sizes.values()) < len(ACTIONS):
        raise ConfigError(
            f"split sizes are {dict(split_sizes)}; one must have {len(ACTIONS)} clips, one of each class"
        )
    if seed < 0:
        raise ConfigError(f"seed is {seed}, expected zero or more")
    if num_proc < 1:
        raise ConfigError(f"num_proc is {num_proc}, expected at least 1")


def _settings(config: WorldConfig, split_sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    return {
        "world_version": WORLD_VERSION,
        "seed": seed,
        **{f"split_sizes.{split}": size for split, size in split_sizes.items()},
        **{f"config.{name}": value for name, value in asdict(config).items()},
        "background_strengths": BACKGROUND_STRENGTHS,
        "cooccurring_strengths": COOCCURRING_STRENGTHS,
    }
