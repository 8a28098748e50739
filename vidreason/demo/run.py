"""The demo's four steps, one after the other."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_whole
from .pictures import draw_curves, draw_overlays, draw_second_looks
from .released import RELEASED, read_release
from .report import build_report, summary
from .runs import decode_videos, evaluate_released, train_side_by_side
from .world import build_data

FRESH_SEED = 10
"""Seed of the demo's world, fixed before any model was evaluated on it. The released models know world 0, studies are
of worlds 0 to 4, and settings were chosen on worlds 100 and 200."""


@dataclass
class DemoArguments:
    """What the demo is told."""

    output_dir: str = field(default="outputs/demo", metadata={"help": "Where everything is written."})
    recipe_folder: str = field(
        default="recipes", metadata={"help": "Holds demo_mended.yaml, the recipe of what is trained here."}
    )
    seed: int = field(
        default=FRESH_SEED, metadata={"help": "Seed of the world, the guidance's noise and the trainings."}
    )
    num_proc: int = field(
        default=2, metadata={"help": "Processes that render videos; with 1, trainings run one after the other."}
    )
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Overrides the recipe (shorter trial runs)."}
    )
    split_sizes: str | None = field(
        default=None, metadata={"help": 'Overrides the world\'s split sizes, as JSON such as {"train": 96, ...}.'}
    )
    release_folder: str = field(default="release", metadata={"help": "Holds the released models and release.json."})


def run_demo(args: DemoArguments) -> dict[str, Any]:
    """Do everything and return the report.

    Args:
        args: What the demo is told.

    Raises:
        VidreasonError: The release or a recipe is not there, or something cannot be written.
    """
    folder = Path(args.output_dir)
    release = read_release(Path(args.release_folder))
    recipe = Path(args.recipe_folder) / "demo_mended.yaml"
    sizes = json.loads(args.split_sizes) if args.split_sizes else None
    _say("1/4  rendering a world that no released model has seen, and guidance for it")
    data = build_data(folder / "data", args.seed, sizes, args.num_proc)
    # beside the output and not in the system's temporary folder, which may be small or memory
    with tempfile.TemporaryDirectory(dir=folder, prefix="frames_") as frames:
        decode_videos(data, recipe, Path(frames))
        _say("2/4  the released models on its test splits")
        released = evaluate_released(data, recipe, release.folder, args.seed, Path(frames))
        print(summary({"runs": released}), flush=True)
        _say("3/4  mending the plainly trained model with supervision, and training it on without, side by side")
        trained = train_side_by_side(data, recipe, args, Path(frames))
    _say("4/4  report and pictures")
    report = build_report(released, trained, release, data, args.seed)
    write_whole(folder / "report.json", json.dumps(report, indent=2) + "\n")
    draw_curves(folder, {name: result.log_history for name, result in trained.items()})
    folders = {name: release.folder / name for name in RELEASED}
    draw_overlays(folder, data, folders | {name: folder / "models" / name for name in trained})
    draw_second_looks(folder, data, folders["rs_evidence"])
    return report


def _say(step: str) -> None:
    """A step begins; flushed, since progress bars write to another stream."""
    print(f"\n{step}", flush=True)
