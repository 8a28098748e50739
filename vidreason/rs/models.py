"""The model of a run and its video processor: from a checkpoint, or new from a configuration."""

from __future__ import annotations

import logging
from typing import Any

from transformers import AutoVideoProcessor

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor

from ..errors import ConfigError
from .arguments import ModelArguments, read_mapping
from .config import RSConfig

logger = logging.getLogger(__name__)


def build_processor(model_args: ModelArguments, config: TSViTConfig) -> TSViTVideoProcessor:
    """The video processor of a checkpoint, or one that fits a new model's input."""
    if model_args.model_name_or_path:
        try:
            return AutoVideoProcessor.from_pretrained(model_args.model_name_or_path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"{model_args.model_name_or_path} has no video processor: {error}") from error
    height, width = config.image_size if isinstance(config.image_size, (tuple, list)) else (config.image_size,) * 2
    return TSViTVideoProcessor(size={"height": height, "width": width}, num_frames=config.num_frames)


def build_model(model_args: ModelArguments, class_names: list[str], args: RSConfig) -> TSViTForVideoClassification:
    """A model for these classes, from a checkpoint or with random weights.

    Raises:
        ConfigError: the configuration is not valid, or the checkpoint cannot be loaded.
    """
    overrides = read_mapping(model_args.model_config, "model_config")
    if args.supervised_layer_indices is not None:
        overrides["supervised_layers"] = args.supervised_layer_indices
    overrides["id2label"] = dict(enumerate(class_names))
    overrides["label2id"] = {name: index for index, name in enumerate(class_names)}
    try:
        if not model_args.model_name_or_path:
            unknown = sorted(set(overrides) - set(TSViTConfig().to_dict()) - {"id2label", "label2id"})
            if unknown:
                raise ConfigError(f"model_config: TSViTConfig has no {unknown}")
            return TSViTForVideoClassification(TSViTConfig(**overrides))
        return _load_checkpoint(model_args.model_name_or_path, overrides)
    except (ValueError, OSError) as error:
        origin = f" from {model_args.model_name_or_path}" if model_args.model_name_or_path else ""
        raise ConfigError(f"cannot build the model{origin}: {error}") from error


def _load_checkpoint(name: str, overrides: dict[str, Any]) -> TSViTForVideoClassification:
    """Load weights and say which of the model's were not in the checkpoint."""
    model, report = TSViTForVideoClassification.from_pretrained(
        name, **overrides, ignore_mismatched_sizes=True, output_loading_info=True
    )
    unfilled = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if unfilled:
        logger.warning("%s did not fill %d weights, which start random: %s", name, len(unfilled), ", ".join(unfilled))
    return model
