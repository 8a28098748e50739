"""Where the data of a study's runs lie, and how they are made: videos, guidance, and parts of the training split.

Everything is made once and kept under the study's work folder, for all runs and studies that ask for the same; two
processes that want the same thing at the same time make it once. What a folder is made of is in its name, as a hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_folder
from ..guidance import load_guidance, write_guidance
from ..manifests.manifest import load_manifest, write_manifest
from ..reporting.seeds import derive_seed
from .design import RunPlan
from .detections import STORE_FILE, DetectionSource, write_source
from .making import digest, made_once
from .plugins import DataPlaces, GuidanceKind, GuidanceSource


class ManifestKind:
    """Videos that are there, with whatever of truth and guidance the study file names."""

    keys = frozenset({"manifest", "video_root", "evaluation_guidance", "truth"})
    run_keys: frozenset[str] = frozenset()
    is_drawn = False

    def has_truth(self, settings: Mapping[str, Any]) -> bool:
        """Whether the study file names a folder of truth."""
        return "truth" in settings

    def make(self, study: str, settings: Mapping[str, Any], seed: int, folder: Path, num_proc: int) -> DataPlaces:
        """The places that the study file names: see `vidreason.study.plugins.DataKind`."""
        evaluation = settings.get("evaluation_guidance")
        return DataPlaces(
            folder / f"{study}-{digest(dict(settings))}",
            Path(settings["manifest"]),
            settings.get("video_root"),
            truth=Path(settings["truth"]) if "truth" in settings else None,
            evaluation_guidance=None if evaluation is None else str(evaluation),
        )


def make_places(run: RunPlan, work: Path, num_proc: int = 1) -> DataPlaces:
    """Make what a run's data lack, and say where they lie.

    Args:
        run: The run whose data are made.
        work: Folder of everything that is made.
        num_proc: Number of processes that render a world.

    Raises:
        VidreasonError: The data cannot be made, or are not where the study says.
    """
    data = run.data_kind.make(run.study, run.data_settings, run.seed, work / "data", num_proc)
    split = run.recipe.get("train_split", "train")
    guidance = data.guidance or run.recipe.get("guidance")
    if run.guidance is not None:
        guidance = _make_guidance(run.guidance, run.guidance_kind, run.seed, split, data)
    manifest = data.manifest
    if run.train_share < 1:
        name = f"manifest-{digest([split, run.train_share, run.seed])}"
        manifest = made_once(data.folder / name, lambda folder: _write_part(folder, data, split, run))
    detections = None if run.detections is None else str(_make_detections(run.detections, run, data))
    return dataclasses.replace(data, manifest=manifest, guidance=guidance, detections=detections)


def choose_share(labels: Iterable[int], share: float, seed: int) -> list[int]:
    """Positions of a share of the rows of each label, in their order; those of a smaller share are among them.

    Args:
        labels: Label of each row.
        share: Share in (0, 1]; of each label at least one row is chosen.
        seed: Seed of the choice.
    """
    label_of_row = np.asarray(list(labels))
    chosen: list[int] = []
    for label in np.unique(label_of_row):
        # a generator for each label, so that a label's choice does not depend on how many rows the others have
        rows = np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(label_of_row == label))
        chosen += rows[: max(1, round(share * len(rows)))].tolist()
    return sorted(chosen)


def _make_guidance(
    source: GuidanceSource, kind: GuidanceKind | None, seed: int, split: str, data: DataPlaces
) -> str | None:
    """The folder of a table for the training split; None for none."""
    # what is not drawn is the same for all seeds, and its folder's name has none
    drawn = seed if kind is not None and kind.is_drawn(source) else None
    table: str | None
    if kind is None:
        table = source.table
    else:
        whole = {**source.settings, "coverage": 1.0}
        folder = data.folder / f"guidance-{source.producer}-{digest([split, whole, drawn])}"
        table = str(made_once(folder, lambda unfinished: kind.write(unfinished, data, split, source, seed)))
    if table is not None and source.coverage < 1:
        whole_table = table
        name = f"guidance-part-{digest([split, source.settings, drawn, seed])}"
        part = made_once(
            data.folder / name, lambda folder: _write_covered(folder, whole_table, data, split, source, seed)
        )
        table = str(part)
    return table


def _make_detections(source: DetectionSource, run: RunPlan, data: DataPlaces) -> Path:
    """The folder of a table of detections for every split that the run reads."""
    recipe = run.recipe
    splits = [recipe.get("train_split", "train"), recipe.get("validation_split"), *recipe["test_splits"]]
    splits = list(dict.fromkeys(split for split in splits if split))
    drawn = run.seed if source.is_drawn else None
    # the same classes in another order are another order of channels, but the same table
    asked = {**source.settings, "classes": sorted(source.classes)}
    folder = data.folder / f"detections-{source.detector}-{digest([splits, asked, drawn])}"
    store = data.folder / STORE_FILE
    return made_once(folder, lambda unfinished: write_source(unfinished, source, data, splits, run.seed, store))


def _write_covered(folder: Path, table: str, data: DataPlaces, split: str, source: GuidanceSource, seed: int) -> None:
    """The rows of a table for a share of the videos."""
    videos = read_folder(data.manifest)[split]
    chosen = choose_share(videos["label"], source.coverage, derive_seed(seed, "coverage"))
    kept = {videos[index]["video_id"] for index in chosen}
    rows = (row for row in load_guidance(table)[split] if row["video_id"] in kept)
    description = f"Guidance of {len(kept)} of {len(videos)} videos, chosen by chance within each class."
    write_guidance(folder, {split: rows}, title="Guidance of a part of the videos", description=description)


def _write_part(folder: Path, data: DataPlaces, split: str, run: RunPlan) -> None:
    """A manifest with a share of the training videos, and all others."""
    manifest = load_manifest(data.manifest, data.video_root)
    rows = {name: list(table) for name, table in manifest.splits.items()}
    chosen = choose_share((row["label"] for row in rows[split]), run.train_share, derive_seed(run.seed, "train_share"))
    rows[split] = [rows[split][index] for index in chosen]
    description = (
        f"{len(chosen)} of {len(manifest.splits[split])} training videos, chosen by chance within each class."
    )
    write_manifest(
        folder, rows, manifest.class_names, manifest.source, manifest.video_root.resolve(), description=description
    )
