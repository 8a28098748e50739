"""How many tokens a request has, before it is sent: OpenAI's published rules for images, tiktoken or nearly for text.

Source of the rules for images: "Images and vision", section "Calculating costs", of OpenAI's documentation.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .chat import ChatRequest
from .pricing import model_family

PATCH_PX = 32
MAX_PATCHES = 1536

PATCH_MULTIPLIERS = {
    "gpt-4.1-mini": 1.62,
    "gpt-4.1-nano": 2.46,
    "gpt-5-mini": 1.62,
    "gpt-5-nano": 2.46,
    "o4-mini": 1.72,
}

TILE_TOKENS = {  # (of the picture as a whole, of each tile of 512 x 512 pixels)
    "gpt-4o": (85, 170),
    "gpt-4.1": (85, 170),
    "gpt-4o-mini": (2833, 5667),
    "gpt-5": (70, 140),
    "gpt-5-chat-latest": (70, 140),
    "o1": (75, 150),
    "o1-pro": (75, 150),
    "o3": (75, 150),
}

_TILE_PX, _MAX_SIDE_PX, _SHORT_SIDE_PX = 512, 2048, 768
_OTHER_PATCH_PX, _OTHER_EXTRA_TOKENS = 28, 2

_TOKENS_PER_MESSAGE, _TOKENS_PER_REPLY = 3, 3  # "How to count tokens with tiktoken", OpenAI Cookbook

_ENCODING = "o200k_base"  # of gpt-4o and all later ones
_ENCODING_URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
_PIECE = re.compile(r"[^\W\d_]+|\d{1,3}|[^\w\s]+|_+|\s*\n\s*")


def image_tokens(model: str, height: int, width: int, detail: str = "auto") -> int:
    """Tokens that a picture is billed as.

    Args:
        model: its name; a date at the end does not matter.
        height: in pixels.
        width: in pixels.
        detail: "low", "high" or "auto", which is taken as "high". Models that count patches do not heed it.

    For a model without a published rule a patch of 28 x 28 pixels counts as one token, and two more stand around the
    picture, as in Qwen2-VL and its descendants.
    """
    family = model_family(model)
    if family in PATCH_MULTIPLIERS:
        return math.ceil(image_patches(height, width) * PATCH_MULTIPLIERS[family])
    if family in TILE_TOKENS:
        base, per_tile = TILE_TOKENS[family]
        return base if detail == "low" else base + per_tile * image_tiles(height, width)
    return math.ceil(height / _OTHER_PATCH_PX) * math.ceil(width / _OTHER_PATCH_PX) + _OTHER_EXTRA_TOKENS


def image_patches(height: int, width: int) -> int:
    """Patches of 32 x 32 pixels that cover a picture, which is made smaller where it has more than 1536 of them: first
    to their area, then so that a whole number of patches fits along one side."""
    patches = math.ceil(height / PATCH_PX) * math.ceil(width / PATCH_PX)
    if patches <= MAX_PATCHES:
        return patches
    scale = math.sqrt(PATCH_PX**2 * MAX_PATCHES / (height * width))
    rows, cols = height * scale / PATCH_PX, width * scale / PATCH_PX
    fit = min(max(1, math.floor(rows)) / rows, max(1, math.floor(cols)) / cols)
    # what should be whole after scaling can come out a rounding error above it
    covered = math.ceil(round(rows * fit, 6)) * math.ceil(round(cols * fit, 6))
    return min(MAX_PATCHES, covered)


def image_tiles(height: int, width: int) -> int:
    """Tiles of 512 x 512 pixels that cover a picture, which is made smaller where it does not fit into 2048 x 2048 and
    then where its shorter side is above 768 pixels."""
    scale = min(1.0, _MAX_SIDE_PX / max(height, width))
    height_px, width_px = height * scale, width * scale
    scale = min(1.0, _SHORT_SIDE_PX / min(height_px, width_px))
    return math.ceil(round(height_px * scale / _TILE_PX, 6)) * math.ceil(round(width_px * scale / _TILE_PX, 6))


@functools.lru_cache(maxsize=4096)
def text_tokens(text: str) -> int:
    """Tokens of a text: by tiktoken where it and the file of its encoding are on this machine (nothing is downloaded),
    else by rules of thumb that come within about a tenth for English and JSON, and count too much elsewhere."""
    encode = _tiktoken()
    return len(encode(text)) if encode else sum(_tokens_of_piece(piece) for piece in _PIECE.findall(text))


def _tokens_of_piece(piece: str) -> int:
    if not piece.isascii():
        return math.ceil(len(piece.encode("utf-8", "replace")) / 3)
    if piece[0].isalpha():
        return math.ceil(len(piece) / 12)
    if piece[0].isdigit() or not piece.strip():
        return 1
    return math.ceil(len(piece) / 3)


@functools.cache
def _tiktoken() -> Callable[[str], list[int]] | None:
    """tiktoken's encoder, unless it would have to go to the network."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    folder = folder or os.path.join(tempfile.gettempdir(), "data-gym-cache")
    if not Path(folder, hashlib.sha1(_ENCODING_URL.encode()).hexdigest()).is_file():
        return None
    try:
        import tiktoken

        return tiktoken.get_encoding(_ENCODING).encode_ordinary
    except Exception:  # not installed, or a file that it cannot use: the rules of thumb will do
        return None


@dataclass(frozen=True)
class TokenEstimate:
    """What a request is expected to be billed as.

    Args:
        prompt_tokens: of text and pictures.
        max_completion_tokens: the longest answer that it allows.
        image_tokens: the pictures' part of `prompt_tokens`.
    """

    prompt_tokens: int
    max_completion_tokens: int
    image_tokens: int = 0


def estimate_tokens(request: ChatRequest) -> TokenEstimate:
    """The tokens of a request. A schema counts as its JSON text, which is about what servers show the model of it.

    Pictures whose size is not in `request.image_sizes` count as the largest that the model can be given.
    """
    tokens = _TOKENS_PER_REPLY
    details = []
    for message in request.messages:
        tokens += _TOKENS_PER_MESSAGE + text_tokens(message.get("role", "")) + text_tokens(message.get("name", ""))
        content = message.get("content") or ""
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part.get("type") == "image_url":
                details.append(part["image_url"].get("detail", "auto"))
            else:
                tokens += text_tokens(part.get("text", ""))
    sizes = itertools.chain(request.image_sizes, itertools.repeat((_MAX_SIDE_PX, _MAX_SIDE_PX)))
    pictures = sum(image_tokens(request.model, *next(sizes), detail) for detail in details)
    if request.schema is not None:
        tokens += text_tokens(json.dumps(dict(request.schema), sort_keys=True))
    return TokenEstimate(tokens + pictures, request.max_completion_tokens, pictures)
