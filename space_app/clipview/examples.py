"""Clips for visitors who bring none: rendered by the synthetic world, with the truth as their published guidance."""

from __future__ import annotations

from pathlib import Path

from vidreason.guidance import load_guidance, write_guidance
from vidreason.parquet_folder import read_folder
from vidreason.rs.annotators import truth_guidance
from vidreason.synthetic import ACTIONS, TRUTH_FOLDER, WorldConfig, build_synthetic_actions

from .settings import GRID

SPLIT, SEED = "test", 20
TABLE = "synthetic actions (ground truth)"

_NUM_CLIPS = len(ACTIONS)  # one of each, since classes take turns


def build_examples(folder: Path) -> tuple[list[Path], dict]:
    """Render the examples where they are not there yet.

    Args:
        folder: where to.

    Returns:
        The clips, one of each action; and their guidance, by split.

    Raises:
        ConfigError: the folder holds something else.
    """
    manifest = build_synthetic_actions(folder / "world", WorldConfig(), {SPLIT: _NUM_CLIPS}, seed=SEED)
    table = folder / "guidance"
    if not table.is_dir():
        truth = read_folder(folder / "world" / TRUTH_FOLDER)
        write_guidance(table, {SPLIT: truth_guidance(truth[SPLIT], GRID)}, title="Guidance of the examples")
    clips = [manifest.video_path(row) for row in manifest.split(SPLIT)]
    return [Path(clip) for clip in clips], load_guidance(table)
