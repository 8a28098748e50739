"""Where the data of a study's runs lie, and how they are made: worlds, guidance, and parts of the training split.

Everything is made once and kept under the study's work folder, for all runs and studies that ask for the same; two
processes that want the same thing at the same time make it once. What a folder is made of is in its name, as a hash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...annotation import MotionAnnotator, NoiseModel, truth_guidance
from ...errors import ConfigError
from ...files import read_folder
from ...guidance import load_guidance, write_guidance
from ...manifests.manifest import load_manifest, write_manifest
from ...reporting.seeds import derive_seed
from ...study.design import GuidanceSource, RunPlan
from ...synthetic import WorldConfig, build_synthetic_actions
from ...synthetic.assembly import AssemblyConfig, build_synthetic_assembly
from .object_guidance import write_object_guidance

logger = logging.getLogger(__name__)

_WORLDS = {
    "synthetic": (WorldConfig, build_synthetic_actions),
    "assembly": (AssemblyConfig, build_synthetic_assembly),
}


@dataclass(frozen=True)
class RunPlaces:
    """Where the data of a run lie, under the names of train.py's settings; None leaves the recipe's own."""

    manifest: Path
    guidance: str | None
    evaluation_guidance: str | None
    video_root: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Settings of train.py."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_places(run: RunPlan, work: Path, num_proc: int = 1) -> RunPlaces:
    """Make what a run's data lack, and say where they lie.

    Args:
        run: whose data.
        work: folder of everything that is made.
        num_proc: processes that render a world.

    Raises:
        VidreasonError: the data cannot be made, or are not where the study says.
    """
    if run.world is not None:
        base, manifest, truth = _make_world(run, work / "data", num_proc)
        evaluation = _made(base / "guidance-true", lambda folder: _write_truth(folder, truth))
        video_root = None
    else:
        manifest, video_root = Path(run.data["manifest"]), run.data.get("video_root")
        base = work / "data" / f"{run.study}-{_digest(run.data)}"
        truth = Path(run.data["truth"]) if "truth" in run.data else None
        evaluation = run.data.get("evaluation_guidance")
    split = run.recipe.get("train_split", "train")
    guidance = run.recipe.get("guidance")
    if run.guidance is not None:
        guidance = _make_guidance(run.guidance, run.seed, split, base, manifest, video_root, truth)
    if run.train_share < 1:
        name = f"manifest-{_digest([split, run.train_share, run.seed])}"
        manifest = _made(base / name, lambda folder: _write_part(folder, manifest, video_root, split, run))
    return RunPlaces(manifest, guidance, None if evaluation is None else str(evaluation), video_root)


def world_seed(run: RunPlan) -> int:
    """Each seed of a study draws a world of its own."""
    return run.data[run.world].get("first_seed", 0) + run.seed


def choose_share(labels: Iterable[int], share: float, seed: int) -> list[int]:
    """Positions of a share of the rows of each label, in their order; those of a smaller share are among them.

    Args:
        labels: of the rows.
        share: in (0, 1]; of each label at least one row is chosen.
        seed: of the choice.
    """
    labels = np.asarray(list(labels))
    chosen: list[int] = []
    for label in np.unique(labels):
        rows = np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))
        chosen += rows[: max(1, round(share * len(rows)))].tolist()
    return sorted(chosen)


def _make_world(run: RunPlan, folder: Path, num_proc: int) -> tuple[Path, Path, Path]:
    """Folders of all that belongs to a world, of its manifest, and of its truth."""
    settings = run.data[run.world]
    seed = world_seed(run)
    config_class, build = _WORLDS[run.world]
    try:
        config = config_class(**settings.get("world", {}))
    except TypeError as error:
        raise ConfigError(f"study {run.study}: data, {run.world}, world: {error}") from None
    name = "world" if run.world == "synthetic" else run.world
    base = folder / f"{name}-{_digest([asdict(config), settings.get('split_sizes')])}-seed{seed}"
    with locked(base / "world.lock"):
        build(base / "world", config, settings.get("split_sizes"), seed=seed, num_proc=num_proc)
    return base, base / "world", base / "world" / "truth"


def _make_guidance(
    source: GuidanceSource,
    seed: int,
    split: str,
    base: Path,
    manifest: Path,
    video_root: str | None,
    truth: Path | None,
) -> str | None:
    """The folder of a table for the training split; None for none."""
    if not source.producer:
        return None
    whole = {**source.settings, "coverage": 1.0}
    drawn = seed if any(source.mistakes.values()) else None
    if source.producer == "table":
        table = source.table
    elif source.producer == "motion":
        table = _made(
            base / f"guidance-motion-{_digest([split, whole])}",
            lambda folder: _write_motion(folder, manifest, video_root, split, source.grid),
        )
    elif source.producer == "objects":
        table = _made(
            base / f"guidance-objects-{_digest([split, whole])}",
            lambda folder: write_object_guidance(folder, manifest, split, source),
        )
    else:
        table = _made(
            base / f"guidance-truth-{_digest([split, whole, drawn])}",
            lambda folder: _write_noisy(folder, truth, split, source, seed),
        )
    if source.coverage < 1:
        name = f"guidance-part-{_digest([split, source.settings, drawn, seed])}"
        table = _made(base / name, lambda folder: _write_covered(folder, table, manifest, split, source, seed))
    return str(table)


def _made(folder: Path, write: Callable[[Path], Any]) -> Path:
    """A folder that is there whole or not at all, made by one process while others wait."""
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            unfinished = folder.with_name(folder.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            write(unfinished)
            os.replace(unfinished, folder)
    return folder


def _write_truth(folder: Path, truth: Path) -> None:
    rows = read_folder(truth)
    write_guidance(
        folder, {split: truth_guidance(rows[split]) for split in rows}, title="Ground-truth guidance, for evaluation"
    )


def _write_noisy(folder: Path, truth: Path, split: str, source: GuidanceSource, seed: int) -> None:
    noise = NoiseModel(**source.mistakes, seed=seed)
    rows = truth_guidance(read_folder(truth)[split], source.grid, noise)
    write_guidance(folder, {split: rows}, title="Ground-truth guidance with mistakes", description=noise.description)


def _write_motion(folder: Path, manifest: Path, video_root: str | None, split: str, grid: tuple[int, int]) -> None:
    annotator = MotionAnnotator(grid=grid)
    rows = annotator.annotate(load_manifest(manifest, video_root), split)
    write_guidance(folder, {split: rows}, title="Motion guidance", description=annotator.description)


def _write_covered(
    folder: Path, table: str | Path, manifest: Path, split: str, source: GuidanceSource, seed: int
) -> None:
    """The rows of a table for a share of the videos."""
    videos = read_folder(manifest)[split]
    chosen = choose_share(videos["label"], source.coverage, derive_seed(seed, "coverage"))
    kept = {videos[index]["video_id"] for index in chosen}
    rows = (row for row in load_guidance(table)[split] if row["video_id"] in kept)
    description = f"Guidance of {len(kept)} of {len(videos)} videos, chosen by chance within each class."
    write_guidance(folder, {split: rows}, title="Guidance of a part of the videos", description=description)


def _write_part(folder: Path, manifest_folder: Path, video_root: str | None, split: str, run: RunPlan) -> None:
    """A manifest with a share of the training videos, and all others."""
    manifest = load_manifest(manifest_folder, video_root)
    rows = {name: list(table) for name, table in manifest.splits.items()}
    chosen = choose_share((row["label"] for row in rows[split]), run.train_share, derive_seed(run.seed, "train_share"))
    rows[split] = [rows[split][index] for index in chosen]
    description = (
        f"{len(chosen)} of {len(manifest.splits[split])} training videos, chosen by chance within each class."
    )
    write_manifest(
        folder, rows, manifest.class_names, manifest.source, manifest.video_root.resolve(), description=description
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=list).encode("utf-8")).hexdigest()[:10]
