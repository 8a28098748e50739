"""The main job in one command: data, guidance, the same model trained without and with supervision, and a report.

    python -m vidreason.demo --output_dir outputs/demo

Writes `report.json`, `curves.png`, `overlay.png`, `overlay.mp4` and the models under `models/`. The two recipes differ
in the weights of the supervising losses alone, and both start from the same seed.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, HfArgumentParser
from transformers.utils import logging as transformers_logging

from .errors import VidreasonError
from .guidance import GuidanceIndex, load_guidance, write_guidance
from .parquet_folder import read_folder
from .rs.annotators import NoiseModel, truth_guidance
from .rs.arguments import parse_arguments
from .rs.run import RunResult, run_training
from .rs.visualize import attention_maps, comparison_frame, stack_rows
from .study.plots import plot_training_curves
from .synthetic import WorldConfig, build_synthetic_actions
from .video import decode_frames, write_video
from .video.manifest import Manifest, load_manifest

logger = logging.getLogger(__name__)

GRID = (4, 4)
TRAINING_NOISE = NoiseModel(missed_frames=0.1, misplaced_cells=0.1, extra_cells=0.02)
"""Guidance for training is made as imperfect as an annotator's; what attention is measured against is not."""

TEST_SPLITS = ("test", "test_shifted")
OVERLAY_CLASSES = 4


@dataclass
class DemoArguments:
    """What the demo is told."""

    output_dir: str = field(default="outputs/demo", metadata={"help": "Where everything is written."})
    recipe_folder: str = field(default="recipes", metadata={"help": "Holds demo_plain.yaml and demo_rs.yaml."})
    seed: int = field(default=0, metadata={"help": "Of the world, the guidance's noise and both trainings."})
    num_proc: int = field(default=2, metadata={"help": "Processes that render videos."})
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Overrides the recipes (shorter trial runs)."}
    )
    split_sizes: str | None = field(
        default=None, metadata={"help": 'Overrides the world\'s split sizes, as JSON such as {"train": 96, ...}.'}
    )


@dataclass(frozen=True)
class DemoData:
    """Where the demo's data lie."""

    manifest: Manifest
    manifest_folder: Path
    training_guidance: Path
    true_guidance: Path


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    transformers_logging.set_verbosity_error()
    (args,) = HfArgumentParser(DemoArguments).parse_args_into_dataclasses(arguments)
    try:
        report = run_demo(args)
    except VidreasonError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(summary(report, Path(args.output_dir)))
    return 0


def run_demo(args: DemoArguments) -> dict:
    """Do everything and return the report."""
    folder = Path(args.output_dir)
    print("1/4  synthetic videos and guidance", flush=True)
    data = build_data(folder / "data", args)
    results = {}
    for number, name in enumerate(("plain", "rs"), start=2):
        print(f"{number}/4  training {name}", flush=True)
        results[name] = train(name, data, folder, args)
    print("4/4  report and pictures", flush=True)
    report = build_report(results, data, args)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    histories = {name: result.log_history for name, result in results.items()}
    plot_training_curves(histories, folder / "curves.png")
    draw_overlays(folder, data)
    return report


def build_data(folder: Path, args: DemoArguments) -> DemoData:
    """Render the world and write guidance for it: noisy for training, true for the tests."""
    sizes = json.loads(args.split_sizes) if args.split_sizes else None
    manifest = build_synthetic_actions(folder / "world", WorldConfig(), sizes, seed=args.seed, num_proc=args.num_proc)
    truth = read_folder(folder / "world" / "truth")
    noise = NoiseModel(**{**asdict(TRAINING_NOISE), "seed": args.seed})
    data = DemoData(manifest, folder / "world", folder / "guidance_training", folder / "guidance_true")
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


def train(name: str, data: DemoData, folder: Path, args: DemoArguments) -> RunResult:
    """Train one model by its recipe and save it to `models/<name>`."""
    flags = {
        "manifest": data.manifest_folder,
        "evaluation_guidance": data.true_guidance,
        "guidance": data.training_guidance,
        "output_dir": folder / "models" / name,
        "seed": args.seed,
    }
    if args.num_train_epochs is not None:
        flags["num_train_epochs"] = args.num_train_epochs
    command = [str(Path(args.recipe_folder) / f"demo_{name}.yaml")]
    command += [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
    return run_training(*parse_arguments(command))


def build_report(results: dict[str, RunResult], data: DemoData, args: DemoArguments) -> dict:
    """What `report.json` holds."""
    return {
        "seed": args.seed,
        "device": next(iter(results.values())).device,
        "train_seconds": {name: round(result.train_seconds, 1) for name, result in results.items()},
        "dataset": {
            "source": data.manifest.source,
            "split_sizes": {split: len(rows) for split, rows in data.manifest.splits.items()},
            "labels": data.manifest.class_names,
        },
        "guidance_noise": {**asdict(TRAINING_NOISE), "seed": args.seed},
        "runs": {name: result.metrics for name, result in results.items()},
        "skipped_videos": {name: result.skipped for name, result in results.items()},
    }


def draw_overlays(folder: Path, data: DemoData) -> None:
    """`overlay.png` and `overlay.mp4`: attention without, attention with, and guidance.

    The clips are the first of every third class of `test_shifted`, whatever the models make of them.
    """
    models = {}
    for name, title in (("plain", "attention without"), ("rs", "attention with")):
        path = folder / "models" / name
        models[title] = (
            AutoModelForVideoClassification.from_pretrained(path),
            AutoVideoProcessor.from_pretrained(path),
        )
    manifest = load_manifest(data.manifest_folder)
    index = GuidanceIndex(load_guidance(data.true_guidance)["test_shifted"])
    rows = manifest.split("test_shifted")
    labels = np.asarray(rows["label"])
    step = max(1, len(manifest.class_names) // OVERLAY_CLASSES)
    chosen = [int(np.flatnonzero(labels == label)[0]) for label in range(0, len(manifest.class_names), step)]
    clips = [_compare_clip(manifest, rows[i], index, models) for i in chosen[:OVERLAY_CLASSES]]
    still = [clip[len(clip) // 2] for clip in clips]
    Image.fromarray(stack_rows(still)).save(folder / "overlay.png")
    pairs = [stack_rows(list(frames)) for frames in zip(*clips[:2], strict=True)]
    write_video(folder / "overlay.mp4", pairs, fps=float(rows[chosen[0]]["fps"]) / 2)


def _compare_clip(manifest: Manifest, row: dict, index: GuidanceIndex, models: dict) -> list[np.ndarray]:
    """Every frame of a clip with attention and guidance side by side: (height, width, 3), uint8."""
    decoded = decode_frames(manifest.video_path(row))
    guidance = index.lookup(row["video_id"], decoded.timestamps_s)
    attention = {
        title: attention_maps(model, processor, decoded.frames) for title, (model, processor) in models.items()
    }
    return [
        comparison_frame(frame, {title: maps[i] for title, maps in attention.items()}, guidance.maps[i])
        for i, frame in enumerate(decoded.frames)
    ]


def summary(report: dict, folder: Path) -> str:
    """The report in a few lines."""
    lines = [f"{'':14}{'top-1':>8}{'top-5':>8}{'loss':>8}{'in region':>11}{'pointing':>10}"]
    for split in TEST_SPLITS:
        for name, metrics in report["runs"].items():
            values = metrics[split]
            lines.append(
                f"{split + ' ' + name:19}{values['top1']:>3.2f}{values['top5']:>8.2f}{values['loss']:>8.2f}"
                f"{values['attention_in_region']:>11.2f}{values['pointing_accuracy']:>10.2f}"
            )
    lines.append(f"report, curves, overlays and models are in {folder}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
