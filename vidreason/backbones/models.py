"""The model of a run and its video processor: from a checkpoint, or new from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoVideoProcessor, BaseVideoProcessor, PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .a2o import WITH_MAPS, around, split_fields
from .backbone import CLASSIFICATION, AutoClass, Backbone, backbone_for, registered_model_types
from .checkpoints import load_checkpoint
from .view import supervised_view

DEFAULT_MODEL_TYPE = "tsvit"

_SMALL: Mapping[str, Any] = {
    "image_size": 64,
    "num_frames": 8,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "initializer_range": 0.1,  # 0.02, the default, is made for wide models and leaves a narrow one on a plateau
}
"""Frames of 64 pixels, as in recipes/demo_rs.yaml: 8 frames, a 4x4 grid."""

PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    # 4.3M parameters, as the paper states of its ViViT; it states no more of it
    "vivit_compact": (
        "vivit",
        {
            "num_frames": 16,
            "hidden_size": 224,
            "num_hidden_layers": 6,
            "num_attention_heads": 7,
            "intermediate_size": 896,
            "initializer_range": 0.05,
        },
    ),
    "timesformer_small": ("timesformer", _SMALL),
    "vivit_small": ("vivit", _SMALL),
    "videomae_small": ("videomae", _SMALL),
    "vjepa2_small": (
        "vjepa2",
        {
            "crop_size": 64,
            "frames_per_clip": 8,
            "hidden_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "mlp_ratio": 2.0,
            "num_pooler_layers": 1,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "initializer_range": 0.1,
        },
    ),
}
"""Configurations of new models by name, which says the family and the size: (model type, fields of its configuration).

Fields of `model_config` win over those of a preset. "a2o_" before a name here, or before a model type, is an A2O model
around such a classifier: "a2o_vjepa2_small"."""


def build_processor(config: PreTrainedConfig, name_or_path: str | None = None) -> BaseVideoProcessor:
    """The video processor of a checkpoint, or one that fits a new model's input.

    Args:
        config: The configuration of the model that the processor prepares clips for.
        name_or_path: The checkpoint, a folder or a Hub id, that brings its own processor; None makes a new one.

    Raises:
        ConfigError: The checkpoint has none.
    """
    backbone = backbone_for(config)
    if not name_or_path:
        return backbone.new_processor(config)
    try:
        processor = AutoVideoProcessor.from_pretrained(name_or_path)
    # the last three are what transformers runs into where the file is JSON, but not of a processor
    except (ValueError, OSError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"{name_or_path} has no video processor: {_in_one_line(error)}") from error
    return backbone.follow_processor(processor, config)


def build_model(
    class_names: list[str],
    name_or_path: str | None = None,
    model_type: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    replace_head: bool = False,
    supervised_layers: tuple[int, ...] | str | None = None,
    task: str = CLASSIFICATION,
) -> PreTrainedModel:
    """A supervised model for these classes, from a checkpoint or with random weights.

    Args:
        class_names: Names of the classes in the order of the label ids.
        name_or_path: The checkpoint to start from, a folder or a Hub id; None starts from random weights.
        model_type: The type or preset of a new model, TSViT if None; of a checkpoint, what it has to be. "a2o" with
            the checkpoint of a plain classifier puts a new adapter around that.
        overrides: Fields of the model's configuration that are set to other values. Of an A2O model, what it has no
            field for is the classifier's inside, as if it stood in `backbone_config`.
        replace_head: Start a new classification head, where a checkpoint for other labels is refused otherwise.
        supervised_layers: Layers whose attention is supervised, "all" or indices; None leaves the model's own.
        task: One of the tasks that the model's family can be trained for, such as "segmentation".

    Raises:
        ConfigError: The configuration is not valid, the checkpoint cannot be loaded or is for other labels, or the
            model cannot be supervised as asked.
    """
    fields = dict(overrides or {})
    try:
        if name_or_path:
            trained = AutoConfig.from_pretrained(name_or_path)
            adds_maps = model_type in _with_maps(trained)
            own, fields = split_fields(fields) if adds_maps else ({}, fields)
            if not adds_maps:
                _check_model_type(name_or_path, trained, model_type)
            auto_class = _auto_class(backbone_for(trained), task)
            model = load_checkpoint(name_or_path, trained, fields, class_names, auto_class, replace_head)
            if adds_maps:
                model = around(model, own)
        else:
            model = _new_model(model_type or DEFAULT_MODEL_TYPE, fields, class_names, task)
    # safetensors and a deeply nested config.json have errors of their own kinds
    except (ValueError, OSError, StrictDataclassError, SafetensorError, RecursionError) as error:
        source = f" from {name_or_path}" if name_or_path else ""
        raise ConfigError(f"cannot build the model{source}: {_in_one_line(error)}") from error
    return supervised_view(model, supervised_layers)


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _auto_class(backbone: Backbone, task: str) -> AutoClass:
    """The class that makes a family's models for a task.

    Raises:
        ConfigError: The family cannot be trained for it; the message names those that can.
    """
    tasks = backbone.tasks()
    if task not in tasks:
        able = ", ".join(registered_model_types(task)) or "no model"
        raise ConfigError(f"task is {task!r}, which is there for {able} alone, not for {backbone.model_type}")
    return tasks[task]


def _with_maps(trained: PreTrainedConfig) -> tuple[str, ...]:
    """What a model type has to be for a new adapter to be put around a checkpoint: nothing, around one that has it."""
    return () if trained.model_type == WITH_MAPS else (WITH_MAPS, f"{WITH_MAPS}_{trained.model_type}")


def _check_model_type(name: str, trained: PreTrainedConfig, wanted: str | None) -> None:
    """Raises ConfigError for a checkpoint of another type than is wanted."""
    found = [trained.model_type]
    if trained.model_type == WITH_MAPS:
        found.append(f"{WITH_MAPS}_{trained.backbone_config.model_type}")
    if wanted is not None and wanted not in found:
        raise ConfigError(
            f"model_type is {wanted!r}, but {name} holds a model of type {trained.model_type!r}: leave model_type out"
        )


def _preset(name: str) -> tuple[str, Mapping[str, Any]]:
    """The model type that a name means, and fields of its configuration."""
    if name.startswith(f"{WITH_MAPS}_"):
        model_type, fields = PRESETS.get(inside := name.removeprefix(f"{WITH_MAPS}_"), (inside, {}))
        return WITH_MAPS, {"backbone_config": {"model_type": model_type, **fields}}
    return PRESETS.get(name, (name, {}))


def _new_model(name: str, overrides: dict[str, Any], class_names: list[str], task: str) -> PreTrainedModel:
    """A model with random weights, of a type or a preset."""
    model_type, preset = _preset(name)
    known = [*registered_model_types(), *PRESETS]
    if model_type not in known:
        raise ConfigError(
            f"model_type is {name!r}, expected one of {', '.join(known)}, or a model of register_backbone"
        )
    inside = overrides.get("backbone_config")
    if isinstance(inside, dict):  # wins over the preset's field by field, too
        overrides = overrides | {"backbone_config": {**preset.get("backbone_config", {}), **inside}}
    default = AutoConfig.for_model(model_type)
    backbone = backbone_for(default)
    auto_class = _auto_class(backbone, task)
    fields = backbone.config_fields({**preset, **overrides})
    unknown = sorted(set(fields) - set(default.to_dict()))
    if unknown:
        raise ConfigError(f"model_config: {type(default).__name__} has no {unknown}")
    config = AutoConfig.for_model(
        model_type,
        **fields,
        id2label=dict(enumerate(class_names)),
        label2id={label: index for index, label in enumerate(class_names)},
    )
    backbone_for(config).check(config)
    # not in the dtype of the configuration, which a preset or checkpoint may have brought along
    return auto_class.from_config(config, dtype=torch.float32)
