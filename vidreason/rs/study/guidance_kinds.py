"""Guidance that a study makes for reasoning supervision: the truth of a world with mistakes, and motion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ...annotation import MotionAnnotator, NoiseModel, truth_guidance
from ...files import read_folder
from ...guidance import write_guidance
from ...manifests.manifest import load_manifest


class Source(Protocol):
    """What is read here of how a study wants its guidance (`vidreason.study.plugins.GuidanceSource`)."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def mistakes(self) -> Mapping[str, float]:
        """The arguments of the noise model without its seed."""


class Places(Protocol):
    """What is read here of where a run's data lie (`vidreason.study.plugins.DataPlaces`)."""

    @property
    def manifest(self) -> Path:
        """Folder of the manifest."""

    @property
    def video_root(self) -> str | None:
        """Folder of the videos, where it is not the one that the manifest names."""

    @property
    def truth(self) -> Path | None:
        """Folder of the ground truth."""


class TruthKind:
    """Cells that relevant objects cover, by the truth of a synthetic world, with mistakes of a stated kind."""

    options = ()

    def problem(self, data_kind: str, has_truth: bool) -> str | None:
        """Why it cannot be made: the data come without truth."""
        return None if has_truth else "guidance from truth, but data name no truth"

    def is_drawn(self, source: Source) -> bool:
        """Mistakes are drawn anew for every seed; the bare truth is the same for all."""
        return any(source.mistakes.values())

    def write(self, folder: Path, data: Places, split: str, source: Source, seed: int) -> None:
        """Write the table: see `vidreason.study.plugins.GuidanceKind`."""
        assert data.truth is not None, "a study is checked for truth when it is read"
        noise = NoiseModel(**source.mistakes, seed=seed)
        rows = truth_guidance(read_folder(data.truth)[split], source.grid, noise)
        write_guidance(
            folder, {split: rows}, title="Ground-truth guidance with mistakes", description=noise.description
        )


class MotionKind:
    """Cells in which something moves."""

    options = ()

    def problem(self, data_kind: str, has_truth: bool) -> str | None:
        """None: all videos will do."""
        return None

    def is_drawn(self, source: Source) -> bool:
        """Motion is the same for every seed."""
        return False

    def write(self, folder: Path, data: Places, split: str, source: Source, seed: int) -> None:
        """Write the table: see `vidreason.study.plugins.GuidanceKind`."""
        annotator = MotionAnnotator(grid=source.grid)
        rows = annotator.annotate(load_manifest(data.manifest, data.video_root), split)
        write_guidance(folder, {split: rows}, title="Motion guidance", description=annotator.description)
