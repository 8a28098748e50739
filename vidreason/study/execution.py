"""One run of a study: data, training, and the record of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import ConfigError
from ..files import write_whole
from .design import RunPlan, Study
from .records import new_record

if TYPE_CHECKING:
    from ..rs.study.places import RunPlaces

_MACHINE_SETTINGS = ("manifest", "video_root", "guidance", "evaluation_guidance")
"""Settings that say where things lie on one machine, which is no part of a result."""

_VERSIONS = ("torch", "transformers", "accelerate", "vidreason")


def check_settings(study: Study) -> None:
    """Check the names of all settings before the first of many runs is made.

    Raises:
        ConfigError: a setting does not exist; the message names it and the run.
    """
    from ..rs.config import RSConfig
    from ..rs.run import DataArguments, ModelArguments

    known = {f.name for cls in (ModelArguments, DataArguments, RSConfig) for f in fields(cls)}
    for run in study.runs():
        unknown = sorted(set(run.recipe) - known)
        if unknown:
            raise ConfigError(f"{study.path}: run {run.name}: unknown settings {unknown}")


def make_run(run: RunPlan, work: Path, num_proc: int = 1, keep_model: bool = False) -> dict[str, Any]:
    """Make the data that a run lacks, train, evaluate, and return the record.

    Under `accelerate launch` every process calls this, and each is given the record.

    Args:
        run: what is made.
        work: folder for data, models and logs.
        num_proc: processes that render a world.
        keep_model: leave the trained model in the work folder.

    Raises:
        VidreasonError: with the reason, for anything that settings, data or training get wrong.
    """
    # here, so that a worker is given its GPU before torch is loaded
    from ..rs.run import parse_arguments, run_training
    from ..rs.study.places import make_places

    folder = run_folder(run, work)
    recipe = write_recipe(folder, run, make_places(run, work, num_proc))
    model_args, data_args, args = parse_arguments([str(recipe)])
    counter = _parameter_counter()
    result = run_training(model_args, data_args, args, [counter], _videos_of(run))
    if not keep_model and args.process_index == 0:
        shutil.rmtree(args.output_dir)
    return new_record(
        run,
        result.metrics,
        train_seconds=round(result.train_seconds, 1),
        device=result.device,
        num_processes=args.world_size,
        num_parameters=counter.num_parameters,
        epochs=args.num_train_epochs,
        steps=result.log_history[-1]["step"] if result.log_history else 0,
        skipped=result.skipped,
        versions={"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in _VERSIONS}},
        history=_validation_history(result.log_history),
        effective_settings=_effective_settings(model_args, data_args, args),
    )


_decoded: tuple[Any, dict] = (None, {})


def _videos_of(run: RunPlan) -> dict:
    """What earlier runs of this process have decoded of the same data; nothing is kept of other data."""
    global _decoded
    data = (run.data, run.seed if run.world else None)
    if _decoded[0] != data:
        _decoded = (data, {})
    return _decoded[1]


def run_folder(run: RunPlan, work: Path) -> Path:
    """Where a run keeps its recipe, its log, and its model if that is wanted."""
    return work / run.study / run.name


def write_recipe(folder: Path, run: RunPlan, places: RunPlaces) -> Path:
    """Write the recipe of a single run, with which `train.py` makes it again by hand."""
    settings = {**run.recipe, **places.settings, "output_dir": str(folder / "model"), "seed": run.seed}
    if places.guidance is None:
        settings.pop("guidance", None)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    # several processes of one run write the same at once
    write_whole(path, yaml.safe_dump({**settings, "disable_tqdm": True}, sort_keys=False))
    return path


@contextlib.contextmanager
def logged(run: RunPlan, work: Path) -> Iterator[Path]:
    """Send what a run prints and logs to a file of its own, an error that ends it included."""
    rank = os.environ.get("RANK", "0")
    path = run_folder(run, work) / ("log.txt" if rank == "0" else f"log_{rank}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        others, root.handlers = root.handlers, [handler]
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield path
        except BaseException:
            traceback.print_exc(file=file)
            raise
        finally:
            root.handlers = others


def _parameter_counter():
    """A callback that counts the parameters of the model that is trained."""
    from transformers import TrainerCallback

    class ParameterCounter(TrainerCallback):
        num_parameters: int | None = None

        def on_train_begin(self, args, state, control, model=None, **kwargs):
            self.num_parameters = sum(parameter.numel() for parameter in model.parameters())

    return ParameterCounter()


def _validation_history(log_history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What evaluation while training gave: epoch, top1 and loss."""
    names = {"epoch": "epoch", "eval_top1": "top1", "eval_loss_classification": "loss"}
    return [
        {short: round(entry[name], 5) for name, short in names.items() if name in entry}
        for entry in log_history
        if "eval_top1" in entry
    ]


def _effective_settings(model_args: Any, data_args: Any, args: Any) -> dict[str, Any]:
    """Every setting of model, data and supervision, defaults included, but for places on this machine."""
    from transformers import TrainingArguments

    general = {f.name for f in fields(TrainingArguments)}
    supervision = {f.name: getattr(args, f.name) for f in fields(args) if f.name not in general}
    names = ("learning_rate", "weight_decay", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps")
    names += ("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "bf16", "fp16", "torch_compile")
    training = {name: getattr(args, name) for name in names}
    training = {name: getattr(value, "value", value) for name, value in training.items()}
    data = {name: value for name, value in asdict(data_args).items() if name not in _MACHINE_SETTINGS}
    return {"model": asdict(model_args), "data": data, "training": training, "supervision": supervision}
