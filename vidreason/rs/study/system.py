"""Reasoning supervision as a system that studies compare variants of, and one run of it from a recipe."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ...video.cache import SharedVideos
from ..methods import method_settings
from .guidance_kinds import MotionKind, TruthKind
from .metric_styles import METRIC_STYLES, TASKS

_MACHINE_SETTINGS = ("manifest", "video_root", "guidance", "evaluation_guidance", "detections")
"""Settings that say where things lie on one machine, which is no part of a result."""

_VERSIONS = ("torch", "transformers", "accelerate", "vidreason")

_TRAINING_SETTINGS = (
    *("learning_rate", "weight_decay", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "optim", "bf16", "fp16", "torch_compile"),
)
"""Of the hundred fields of `TrainingArguments` those that decide how a run comes out and that recipes set."""


class RSStudies:
    """Reasoning supervision, as `vidreason.study.plugins.System` has it."""

    metric_styles = METRIC_STYLES
    tasks = TASKS
    guidance_kinds: Mapping[str, TruthKind | MotionKind] = {"truth": TruthKind(), "motion": MotionKind()}

    def spell_out(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with those of the `method` they name, whose own values win.

        Raises:
            ConfigError: There is no such method.
        """
        own = dict(settings)
        return {**method_settings(own.pop("method", None)), **own}

    def known_settings(self) -> set[str]:
        """The names of all settings that a recipe may have."""
        from ..config import RSConfig
        from ..run import DataArguments, ModelArguments

        return {f.name for cls in (ModelArguments, DataArguments, RSConfig) for f in fields(cls)}

    def train(
        self,
        recipe: Path,
        flags: Mapping[str, Any],
        keep_model: bool,
        video_cache: SharedVideos | None,
    ) -> dict[str, Any]:
        """Train and evaluate by a recipe: see `vidreason.study.plugins.System`."""
        # not at the top: a worker of a study chooses its GPU before torch is loaded, and tables need no torch
        from ..run import parse_arguments, run_training

        command = [str(recipe), *(part for flag, value in flags.items() for part in (f"--{flag}", str(value)))]
        model_args, data_args, args = parse_arguments(command)
        counter = _parameter_counter()
        result = run_training(model_args, data_args, args, [counter], video_cache)
        if not keep_model and args.output_dir is not None and args.process_index == 0:
            shutil.rmtree(args.output_dir)
        return {
            "metrics": result.metrics,
            "train_seconds": round(result.train_seconds, 1),
            "device": result.device,
            "num_processes": args.world_size,
            "num_parameters": counter.num_parameters,
            "epochs": args.num_train_epochs,
            "steps": result.log_history[-1]["step"] if result.log_history else 0,
            "skipped": result.skipped,
            "versions": {"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in _VERSIONS}},
            "history": _validation_history(result.log_history),
            "effective_settings": _effective_settings(model_args, data_args, args),
        }


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
    """Every setting of model, data and supervision, defaults included, without places on this machine."""
    from transformers import TrainingArguments

    general = {f.name for f in fields(TrainingArguments)}
    supervision = {f.name: getattr(args, f.name) for f in fields(args) if f.name not in general}
    training = {name: getattr(args, name) for name in _TRAINING_SETTINGS}
    training = {name: getattr(value, "value", value) for name, value in training.items()}  # enums as their texts
    data = {name: value for name, value in asdict(data_args).items() if name not in _MACHINE_SETTINGS}
    return {"model": asdict(model_args), "data": data, "training": training, "supervision": supervision}
