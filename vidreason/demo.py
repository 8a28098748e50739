"""The main job in one command: data, guidance, the same model trained in three ways, and a report.

    python -m vidreason.demo --output_dir outputs/demo

Writes `report.json`, `curves.png`, `overlay.png`, `overlay.mp4`, `overlay.webp` and the models under `models/`. The
recipes differ in their `method` alone (plain training, the paper's, and ours), and all start from the same seed.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import multiprocessing
import os
import queue
import sys
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, TrainerCallback
from transformers.utils import logging as transformers_logging

from .annotation import NoiseModel, truth_guidance
from .attention.visualize import attention_maps, comparison_frame, stack_rows
from .command_line import run_command
from .files import read_folder
from .guidance import GuidanceIndex, load_guidance, write_guidance
from .manifests.manifest import Manifest
from .reporting.plots import Panel, plot_training_curves
from .rs.run import RunResult, parse_arguments, run_training
from .synthetic import WorldConfig, build_synthetic_actions
from .video import decode_frames, write_animation, write_video
from .video.cache import SharedVideos, open_decoded, write_decoded

logger = logging.getLogger(__name__)

GRID = (4, 4)
TRAINING_NOISE = NoiseModel(missed_frames=0.1, misplaced_cells=0.1, extra_cells=0.02)
"""Guidance for training is made as imperfect as an annotator's; what attention is measured against is not."""

RUNS = ("plain", "rs", "rs_evidence")
TEST_SPLITS = ("test", "test_shifted")
OVERLAY_CLASSES = 4

CURVES = (
    Panel("Total training loss", "loss (nats)", ("loss",)),
    Panel("Accuracy (validation)", "top-1 accuracy (fraction)", ("eval_top1",)),
    Panel("Spatial alignment loss (validation)", "KL divergence (nats)", ("eval_loss_spatial",)),
    Panel("Temporal consistency loss (validation)", "JS divergence (nats)", ("eval_loss_temporal",)),
)
"""The panels of the paper's figure 5; on the validation split, where plain training is measured by the same rule."""


@dataclass
class DemoArguments:
    """What the demo is told."""

    output_dir: str = field(default="outputs/demo", metadata={"help": "Where everything is written."})
    recipe_folder: str = field(default="recipes", metadata={"help": "Holds the recipes of the three trainings."})
    seed: int = field(default=0, metadata={"help": "Seed of the world, the guidance's noise and the trainings."})
    num_proc: int = field(
        default=2, metadata={"help": "Processes that render videos; with 1, trainings run one after the other."}
    )
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Overrides the recipes (shorter trial runs)."}
    )
    split_sizes: str | None = field(
        default=None, metadata={"help": 'Overrides the world\'s split sizes, as JSON such as {"train": 96, ...}.'}
    )


@dataclass(frozen=True)
class DemoData:
    """Where the demo's data lie.

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


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    transformers_logging.set_verbosity_error()
    return run_command(
        lambda args: print(summary(run_demo(args), Path(args.output_dir))), DemoArguments, arguments=arguments
    )


def run_demo(args: DemoArguments) -> dict[str, Any]:
    """Do everything and return the report."""
    folder = Path(args.output_dir)
    print("1/3  synthetic videos and guidance", flush=True)
    data = build_data(folder / "data", args)
    print("2/3  training the same model plainly, by the paper's method (rs) and by ours (rs_evidence)", flush=True)
    results = train_all(data, folder, args)
    print("3/3  report and pictures", flush=True)
    report = build_report(results, data, args)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    histories = {name: result.log_history for name, result in results.items()}
    plot_training_curves(histories, folder / "curves.png", CURVES)
    draw_overlays(folder, data)
    return report


def build_data(folder: Path, args: DemoArguments) -> DemoData:
    """Render the world and write guidance for it: noisy for training, true for the tests."""
    sizes = json.loads(args.split_sizes) if args.split_sizes else None
    manifest = build_synthetic_actions(
        folder / "world", WorldConfig(), sizes, seed=args.seed, num_proc=args.num_proc, progress=True
    )
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


def train_all(data: DemoData, folder: Path, args: DemoArguments) -> dict[str, RunResult]:
    """Train every model, side by side unless `num_proc` is 1: {name: result}.

    A process of its own for each is faster here than all cores for one after the other, since the model is too small
    to keep several cores busy. There are more of them than there may be cores: they end together, and no core idles
    through the last. The videos are decoded once for all of them.
    """
    commands = {name: recipe_command(name, data, folder, args) for name in RUNS}
    if args.num_proc == 1:
        videos: SharedVideos = {}
        return {
            name: run_training(*parse_arguments(command), video_cache=videos) for name, command in commands.items()
        }
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="frames_") as frames,
        context.Manager() as manager,
        ProcessPoolExecutor(len(RUNS), mp_context=context) as pool,
    ):
        _decode_videos(data.manifest, commands[RUNS[0]], Path(frames))
        progress = manager.Queue()
        threads = max(1, (os.cpu_count() or 1) // len(RUNS))
        futures = {
            name: pool.submit(_train, name, command, threads, frames, progress) for name, command in commands.items()
        }
        _show_progress(futures, progress)
        return {name: future.result() for name, future in futures.items()}


def _decode_videos(manifest: Manifest, command: list[str], folder: Path) -> None:
    """Decode all videos at the size that a run asks for. A run that asks for another decodes its own."""
    max_side_px = parse_arguments(command)[1].decode_max_side_px
    paths = [manifest.video_path(row) for rows in manifest.splits.values() for row in rows]
    write_decoded(folder, paths, max_side_px, tqdm)


def recipe_command(name: str, data: DemoData, folder: Path, args: DemoArguments) -> list[str]:
    """The arguments of `train.py` for a run: its recipe, and where the demo's data lie."""
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
    return command + [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]


def _train(name: str, command: list[str], num_threads: int, frames: str, progress) -> RunResult:
    """One run, in a process of its own."""
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(num_threads)
    model_args, data_args, args = parse_arguments([*command, "--disable_tqdm", "true"])
    log = io.StringIO()  # of every epoch; it is in the report's curves
    with contextlib.redirect_stdout(log):
        progress_callback = _ReportProgress(name, progress)
        return run_training(model_args, data_args, args, [progress_callback], open_decoded(Path(frames)))


class _ReportProgress(TrainerCallback):
    """Tells another process how far a training is."""

    def __init__(self, name: str, queue):
        self.name, self.queue = name, queue

    def on_step_end(self, args, state, control, **kwargs):
        self.queue.put((self.name, state.global_step, state.max_steps))


def _show_progress(futures: dict[str, Future], progress) -> None:
    """A bar for each run until all have ended."""
    bars = {name: tqdm(desc=f"train {name}", unit=" steps", position=i) for i, name in enumerate(futures)}
    while not all(future.done() for future in futures.values()) or not progress.empty():
        with contextlib.suppress(queue.Empty):
            name, step, total = progress.get(timeout=0.5)
            bars[name].total = total
            bars[name].update(step - bars[name].n)
    for bar in bars.values():
        bar.close()


def build_report(results: dict[str, RunResult], data: DemoData, args: DemoArguments) -> dict[str, Any]:
    """What `report.json` holds."""
    return {
        "seed": args.seed,
        "device": next(iter(results.values())).device,
        "train_seconds": round(sum(result.train_seconds for result in results.values()), 1),
        "train_seconds_by_run": {name: round(result.train_seconds, 1) for name, result in results.items()},
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
    """`overlay.png`, `overlay.mp4` and `overlay.webp`: attention after each way of training, and guidance.

    The clips are the first of every third class of `test_shifted`, whatever the models make of them.
    """
    models: dict[str, tuple[Any, Any]] = {}
    for name, title in (("plain", "plain"), ("rs", "paper's"), ("rs_evidence", "ours")):
        path = folder / "models" / name
        models[title] = (
            AutoModelForVideoClassification.from_pretrained(path),
            AutoVideoProcessor.from_pretrained(path),
        )
    manifest = data.manifest
    index = GuidanceIndex(load_guidance(data.true_guidance)["test_shifted"])
    rows = manifest.split("test_shifted")
    labels = np.asarray(rows["label"])
    step = max(1, len(manifest.class_names) // OVERLAY_CLASSES)
    chosen = [int(np.flatnonzero(labels == label)[0]) for label in range(0, len(manifest.class_names), step)]
    clips = [_compare_clip(manifest, rows[i], index, models) for i in chosen[:OVERLAY_CLASSES]]
    still = [clip[len(clip) // 2] for clip in clips]
    Image.fromarray(stack_rows(still)).save(folder / "overlay.png")
    pairs = [stack_rows(list(frames)) for frames in zip(*clips[:2], strict=True)]
    fps = float(rows[chosen[0]]["fps"]) / 2
    write_video(folder / "overlay.mp4", pairs, fps)
    write_animation(folder / "overlay.webp", pairs, fps)


def _compare_clip(
    manifest: Manifest, row: dict[str, Any], index: GuidanceIndex, models: dict[str, tuple[Any, Any]]
) -> list[np.ndarray]:
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


def summary(report: dict[str, Any], folder: Path) -> str:
    """The report in a few lines."""
    lines = [f"{'':21}{'top-1':>8}{'top-5':>8}{'loss':>8}{'in region':>11}{'pointing':>10}"]
    for split in TEST_SPLITS:
        for name, metrics in report["runs"].items():
            values = metrics[split]
            lines.append(
                f"{split + ' ' + name:26}{values['top1']:>3.2f}{values['top5']:>8.2f}{values['loss']:>8.2f}"
                f"{values['attention_in_region']:>11.2f}{values['pointing_accuracy']:>10.2f}"
            )
    lines.append(f"report, curves, overlays and models are in {folder}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
