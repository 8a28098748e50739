"""Networks that are loaded by transformers, from the Hub or a folder: whole, of the expected kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ..errors import DetectionError
from ..files import content_hash
from ..whole_models import load_whole, one_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_DECIDING = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files of a model's folder that decide on what it finds: weights, configurations, tokenizers."""


def load_config(detector: str, model: str, model_types: Sequence[str]) -> PreTrainedConfig:
    """The configuration of some weights.

    Args:
        detector: Name of the detector, for messages.
        model: Hub id or folder.
        model_types: The kinds of models that are expected.

    Raises:
        DetectionError: There is none, or it is of a model of another kind.
    """
    config = load(detector, model, lambda: AutoConfig.from_pretrained(model, trust_remote_code=False))
    if config.model_type not in model_types:
        raise DetectionError(
            f"detector {detector!r}: {model} is a model of the kind {config.model_type!r}, expected "
            f"{' or '.join(map(repr, model_types))}"
        )
    return config


def load_model(
    detector: str, model: str, model_class: Any, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """A network with all its weights, ready to be asked.

    Args:
        detector: Name of the detector, for messages.
        model: Hub id or folder.
        model_class: The class of transformers that loads it.
        device: Where it is put.
        dtype: Its precision.

    Raises:
        DetectionError: It cannot be loaded, or lacks weights.
    """
    settings: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,  # pickles can run code
        "trust_remote_code": False,
    }
    network = load_whole(model_class, model, f"detector {detector!r}: {model}", DetectionError, **settings)
    return network.to(device).eval()


def load(detector: str, model: str, loader: Callable[[], Any]) -> Any:
    """What a loader of transformers gives.

    Raises:
        DetectionError: Anything went wrong in it.
    """
    try:
        return loader()
    except Exception as error:  # files from elsewhere: the libraries raise whatever there is
        raise DetectionError(f"detector {detector!r}: {model} cannot be loaded: {one_line(error)}") from error


def name_of(model: str) -> str:
    """A model's name: its Hub id, or the last name of its folder."""
    return Path(model).resolve().name if Path(model).is_dir() else model


def revision_of(model: str, config: PreTrainedConfig) -> str:
    """The commit of a model of the Hub, or a hash of a folder's content."""
    folder = Path(model)
    if not folder.is_dir():
        return getattr(config, "_commit_hash", None) or ""
    return content_hash(sorted(file for pattern in _DECIDING for file in folder.glob(pattern)))[:12]


def find_device(device: str | None) -> torch.device:
    """A device by its name, or the best that there is.

    Raises:
        DetectionError: There is none of this name.
    """
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=found)  # a name that can be read may still be of a GPU that is not there
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DetectionError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return found


def find_dtype(dtype: str) -> torch.dtype:
    """A precision by its name.

    Raises:
        DetectionError: There is none of this name.
    """
    if dtype not in DTYPES:
        raise DetectionError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    return DTYPES[dtype]
