"""The model of a run and its video processor: from a checkpoint, or new from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoVideoProcessor, BaseVideoProcessor, PreTrainedConfig, PreTrainedModel

from modeling_tsvit import (
    TSViTConfig,
    TSViTForActionSegmentation,
    TSViTForVideoClassification,
    TSViTVideoProcessor,
)

from ..errors import ConfigError
from . import backbone_for, registered_model_types, supervised_view
from .checkpoints import load_checkpoint
from .presets import PRESETS
from .processors import follow_processor, new_processor

DEFAULT_MODEL_TYPE = "tsvit"

TSVIT_CLASSES = {"classification": TSViTForVideoClassification, "segmentation": TSViTForActionSegmentation}
"""What is trained for each task of `DataArguments`."""


def build_processor(config: PreTrainedConfig, name_or_path: str | None = None) -> BaseVideoProcessor:
    """The video processor of a checkpoint, or one that fits a new model's input.

    Args:
        config: The configuration of the model that the processor prepares clips for.
        name_or_path: The checkpoint, a folder or a Hub id, that brings its own processor; None makes a new one.

    Raises:
        ConfigError: the checkpoint has none.
    """
    backbone = None if config.model_type == "tsvit" else backbone_for(config)
    if name_or_path:
        try:
            processor = AutoVideoProcessor.from_pretrained(name_or_path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"{name_or_path} has no video processor: {error}") from error
        return processor if backbone is None else follow_processor(processor, backbone, config)
    if backbone is not None:
        return new_processor(backbone, config)
    height, width = config.image_size if isinstance(config.image_size, (tuple, list)) else (config.image_size,) * 2
    return TSViTVideoProcessor(size={"height": height, "width": width}, num_frames=config.num_frames)


def build_model(
    class_names: list[str],
    name_or_path: str | None = None,
    model_type: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    replace_head: bool = False,
    supervised_layers: tuple[int, ...] | str | None = None,
    task: str = "classification",
) -> PreTrainedModel:
    """A supervised model for these classes, from a checkpoint or with random weights.

    Args:
        class_names: Names of the classes in the order of the label ids.
        name_or_path: The checkpoint to start from, a folder or a Hub id; None starts from random weights.
        model_type: The type or preset of a new model, TSViT if None; of a checkpoint, what it has to be.
        overrides: Fields of the model's configuration that are set to other values.
        replace_head: Start a new classification head, where a checkpoint for other labels is refused otherwise.
        supervised_layers: Layers whose attention is supervised, "all" or indices; None leaves the model's own.
        task: "classification", or "segmentation", which TSViT alone does.

    Raises:
        ConfigError: the configuration is not valid, the checkpoint cannot be loaded or is for other labels, or the
            model cannot be supervised as asked.
    """
    try:
        if name_or_path:
            _check_model_type(name_or_path, model_type)
            model = load_checkpoint(
                name_or_path, dict(overrides or {}), class_names, replace_head, TSVIT_CLASSES[task]
            )
        else:
            model = _new_model(model_type or DEFAULT_MODEL_TYPE, dict(overrides or {}), class_names, task)
    except (ValueError, OSError, StrictDataclassError) as error:
        source = f" from {name_or_path}" if name_or_path else ""
        raise ConfigError(f"cannot build the model{source}: {error}") from error
    if not isinstance(model, TSVIT_CLASSES[task]) and task != "classification":
        raise ConfigError(f"task is {task!r}, which is there for tsvit alone, not for {model.config.model_type}")
    return supervised_view(model, supervised_layers)


def _check_model_type(name: str, wanted: str | None) -> None:
    """Raises ConfigError for a checkpoint of another type than is wanted."""
    found = AutoConfig.from_pretrained(name).model_type
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"model_type is {wanted!r}, but {name} holds a model of type {found!r}: leave model_type out"
        )


def _new_model(name: str, overrides: dict[str, Any], class_names: list[str], task: str) -> PreTrainedModel:
    """A model with random weights, of a type or a preset."""
    labels = {
        "id2label": dict(enumerate(class_names)),
        "label2id": {label: index for index, label in enumerate(class_names)},
    }
    model_type, preset = PRESETS.get(name, (name, {}))
    fields = {**preset, **overrides}
    if model_type == "tsvit":
        _check_fields(fields, TSViTConfig())
        return TSVIT_CLASSES[task](TSViTConfig(**fields, **labels))
    known = ["tsvit", *registered_model_types(), *PRESETS]
    if model_type not in known:
        raise ConfigError(
            f"model_type is {name!r}, expected one of {', '.join(known)}, or a model of register_backbone"
        )
    default = AutoConfig.for_model(model_type)
    backbone = backbone_for(default)
    fields = backbone.config_fields(fields)
    _check_fields(fields, default)
    config = AutoConfig.for_model(model_type, **fields, **labels)
    backbone.check(config)
    # not in the dtype of the configuration, which a preset or checkpoint may have brought along
    return backbone.auto_class.from_config(config, dtype=torch.float32)


def _check_fields(fields: dict[str, Any], config: PreTrainedConfig) -> None:
    unknown = sorted(set(fields) - set(config.to_dict()))
    if unknown:
        raise ConfigError(f"model_config: {type(config).__name__} has no {unknown}")
