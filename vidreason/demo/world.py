"""The synthetic actions with guidance: imperfect for training, true for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..annotation import NoiseModel, truth_guidance
from ..files import read_folder
from ..guidance import write_guidance
from ..manifests.manifest import Manifest
from ..synthetic import WorldConfig, build_synthetic_actions

GRID = (4, 4)
TRAINING_NOISE = NoiseModel(missed_frames=0.1, misplaced_cells=0.1, extra_cells=0.02)
"""Guidance for training is made as imperfect as an annotator's; what attention is measured against is not."""


@dataclass(frozen=True)
class WorldData:
    """Where a world and its guidance lie.

    Args:
        manifest: The videos of the world.
        manifest_folder: Folder of their manifest.
        training_guidance: Folder of the noisy guidance of the training split.
        true_guidance: Folder of the true guidance of all splits.
    """

    manifest: Manifest
    manifest_folder: Path
    training_guidance: Path
    true_guidance: Path


def build_data(folder: Path, seed: int, split_sizes: Mapping[str, int] | None, num_proc: int) -> WorldData:
    """Render a world and write guidance for it: noisy for training, true for the tests.

    Args:
        folder: Folder to write; a world of the same settings that is there is used.
        seed: Seed of the world and of the guidance's mistakes.
        split_sizes: Split -> number of clips; None for the world's own.
        num_proc: Number of processes that render.
    """
    manifest = build_synthetic_actions(
        folder / "world", WorldConfig(), split_sizes, seed=seed, num_proc=num_proc, progress=True
    )
    truth = read_folder(folder / "world" / "truth")
    noise = NoiseModel(**{**asdict(TRAINING_NOISE), "seed": seed})
    data = WorldData(manifest, folder / "world", folder / "guidance_training", folder / "guidance_true")
    write_guidance(
        data.training_guidance,
        {"train": truth_guidance(truth["train"], GRID, noise)},
        title="Noisy ground-truth guidance for the synthetic actions",
        description=f"Cells that relevant objects cover, with mistakes: {noise.description}.",
    )
    write_guidance(
        data.true_guidance,
        {split: truth_guidance(rows, GRID) for split, rows in truth.items()},
        title="Ground-truth guidance for the synthetic actions",
        description="Cells that relevant objects cover.",
    )
    return data
