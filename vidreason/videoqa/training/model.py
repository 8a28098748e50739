"""The Video-LLM of a run: loaded, with the weights that are to be trained, as themselves or through LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from ...errors import ConfigError, TrainingError
from ...whole_models import load_whole, one_line
from .config import VideoLanguageModelArguments


def load_processor(name: str) -> Any:
    """The processor of a model.

    Args:
        name: Folder or Hub id of the model.

    Raises:
        ConfigError: There is none, or it needs a package that is not there.
    """
    try:
        return AutoProcessor.from_pretrained(name)
    except Exception as error:  # files from elsewhere: the libraries raise whatever there is
        raise ConfigError(f"model_name_or_path {name}: its processor cannot be loaded: {one_line(error)}") from error


def load_model(model_args: VideoLanguageModelArguments) -> PreTrainedModel:
    """The model, with the weights of `freeze` frozen, or within peft's wrapper where LoRA is asked for.

    Args:
        model_args: Which model, and what of it is trained.

    Raises:
        ConfigError: It cannot be loaded, is not of this kind, lacks weights, or a module that is named does not exist.
    """
    name = model_args.model_name_or_path
    where = f"model_name_or_path {name}"
    kept: dict[str, Any] = (
        {} if model_args.attn_implementation is None else {"attn_implementation": model_args.attn_implementation}
    )
    overrides = model_args.config_overrides  # before, as its error is its own
    try:
        config = AutoConfig.from_pretrained(name, **overrides)
    except Exception as error:  # files from elsewhere, and settings of all kinds
        raise ConfigError(f"{where} cannot be loaded: {one_line(error)}") from error
    # no `dtype` in the call would mean that of the checkpoint
    model = load_whole(AutoModelForImageTextToText, name, where, config=config, dtype=model_args.dtype, **kept)
    if model_args.lora_rank:
        return add_lora(model, model_args)
    freeze_modules(model, model_args.freeze)
    return model


def freeze_modules(model: PreTrainedModel, names: Iterable[str]) -> None:
    """Switch off the training of modules.

    Args:
        model: The model.
        names: Names of modules as they are in the model, in full or from any dot on: "vision_tower" is that of
            `model.vision_tower`.

    Raises:
        ConfigError: There is no such module, or nothing is left to be trained.
    """
    for name in names:
        for module in _named(model, name, "freeze").values():
            module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"freeze is {list(names)}, which leaves nothing to be trained")


def _named(model: PreTrainedModel, name: str, setting: str) -> dict[str, torch.nn.Module]:
    """The modules of a name, in full or from a dot on.

    Raises:
        ConfigError: There is none; the message lists those of the upper levels.
    """
    found = {path: module for path, module in model.named_modules() if path == name or path.endswith(f".{name}")}
    if not found:
        upper = sorted(path for path, _ in model.named_modules() if path and path.count(".") < 2)
        raise ConfigError(f"{setting} names {name!r}, which {type(model).__name__} has not; it has {', '.join(upper)}")
    return found


def add_lora(model: PreTrainedModel, model_args: VideoLanguageModelArguments) -> Any:
    """A model in which low-rank changes are trained in place of its weights (LoRA, by peft).

    Args:
        model: The model, whose weights are frozen by this.
        model_args: Rank and scale, and which layers are changed.

    Raises:
        ConfigError: peft is not installed, or a layer or module that is named does not exist.
    """
    try:
        import peft
    except ImportError:
        raise ConfigError("lora_rank wants the package peft: pip install 'vidreason[lora]'") from None
    for name in model_args.lora_trained:
        _named(model, name, "lora_trained")
    settings = peft.LoraConfig(
        r=model_args.lora_rank,
        lora_alpha=2 * model_args.lora_rank if model_args.lora_alpha is None else model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        target_modules=_lora_layers(model, model_args.lora_modules),
        modules_to_save=model_args.lora_trained or None,
        base_model_name_or_path=model_args.model_name_or_path,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def _lora_layers(model: PreTrainedModel, names: list[str]) -> str:
    """A pattern of the full names of the layers that LoRA changes: peft's own rules match by the ends of names alone.

    Raises:
        ConfigError: A name is of no linear layer.
    """
    linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    decoder = next((path for path, module in model.named_modules() if module is model.get_decoder()), "")
    # the whole model where it is its own decoder; the head, which is outside of it, is left as it is
    chosen = [path for path in linear if path.startswith(f"{decoder}.")] if decoder and not names else []
    for name in names:
        found = [path for path in linear if path == name or path.endswith(f".{name}")]
        if not found:
            ends = sorted({path.rsplit(".", 1)[-1] for path in linear})
            raise ConfigError(f"lora_modules names {name!r}, of which there is no linear layer; there are {ends}")
        chosen += found
    if not chosen:
        raise ConfigError(f"lora_modules is not set, and {type(model).__name__} has no language model to be found")
    return "|".join(re.escape(path) for path in dict.fromkeys(chosen))


def load_weights(model: PreTrainedModel, folder: str) -> None:
    """Read a checkpoint's weights into a model.

    Many Video-LLMs are saved under the names of weights that their files have always had, and not under those of their
    modules. The Trainer looks for the latter, finds none and goes on from the weights that it has, with a warning.

    Args:
        model: The model.
        folder: Folder of a checkpoint of the same model.

    Raises:
        TrainingError: It cannot be loaded, or lacks weights.
    """
    loaded = load_whole(type(model), folder, f"checkpoint {folder}", TrainingError, config=model.config, dtype="auto")
    model.load_state_dict(loaded.state_dict())


def save_merged(adapter: Path, folder: Path, config: Any, dtype: str) -> None:
    """Save a model with LoRA's changes added to its weights, so that it loads without peft.

    Made of what was saved and not of the model in memory, which can go on being trained.

    Args:
        adapter: Folder of the trained LoRA.
        folder: Folder that the whole model is saved in.
        config: Configuration of the model.
        dtype: Type of its weights.
    """
    import peft

    name = peft.PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    where = f"model_name_or_path {name}"
    whole = load_whole(AutoModelForImageTextToText, name, where, config=config, dtype=dtype)
    peft.PeftModel.from_pretrained(whole, str(adapter)).merge_and_unload().save_pretrained(folder)
