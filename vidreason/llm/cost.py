"""What requests cost: their tokens before they are sent, prices, and a hard stop for money.

Tokens follow OpenAI's published rules for images ("Images and vision", section "Calculating costs", of OpenAI's
documentation), and tiktoken or nearly for text. The price table of OpenAI's models is a copy, dated, beside this file:
prices change, so check them. A `Budget` counts what is on its way as spent at the most that it could cost.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import math
import os
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BudgetExceeded, ConfigError, LLMError
from .chat import ChatRequest, Usage
from .client import is_openai

logger = logging.getLogger(__name__)

# Prices

_TABLE_PATH = Path(__file__).with_name("openai_prices.json")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class ModelPrice:
    """Prices of one model, in USD per million tokens.

    Args:
        input_usd: Price of prompt tokens.
        cached_input_usd: Price of prompt tokens that the server still had from an earlier prompt.
        output_usd: Price of completion tokens, those of reasoning included.
        batch_discount: Share of the price that the batch service takes off, such as 0.5.
    """

    input_usd: float
    cached_input_usd: float
    output_usd: float
    batch_discount: float = 0.5


FREE = ModelPrice(0.0, 0.0, 0.0)


@functools.cache
def _read_table() -> dict[str, Any]:
    return json.loads(_TABLE_PATH.read_text(encoding="utf-8"))


def prices_copied_on() -> str:
    """The date of the table, as YYYY-MM-DD: for cards and dry runs."""
    return _read_table()["copied_on"]


def model_family(model: str) -> str:
    """A model's name without its date: "gpt-4.1-mini" for "gpt-4.1-mini-2025-04-14"."""
    return _DATE.sub("", model)


def price_of(model: str, base_url: str | None = None, is_capped: bool = False) -> ModelPrice:
    """The price of a model. A dated name has the price of its family unless the table knows better.

    A model of the table has its price at any server that it is asked for at, since the server may be a relay that
    bills it. Any other model costs nothing at a server other than OpenAI's, which is said in the log; but where money
    is capped its price must be given.

    Args:
        model: Name of the model at its server.
        base_url: Address of the server; None is OpenAI's.
        is_capped: Whether a cap on the cost depends on the price, so that it must not be taken to be nothing.

    Raises:
        LLMError: OpenAI is asked for a model whose price is not known, or any server is where money is capped. Give a
            `ModelPrice` of your own instead.
    """
    table = _read_table()
    # the dated name first: the first gpt-4o costs twice what its family does now
    prices = table["models"].get(model) or table["models"].get(model_family(model))
    if prices is not None:
        return ModelPrice(**prices, batch_discount=table["batch_discount"])
    if not is_openai(base_url) and not is_capped:
        logger.info("%s at %s is taken to cost nothing; give its prices if it does", model, base_url)
        return FREE
    # no guess: a cap on the cost would be worth nothing with a price that is too low
    known = ", ".join(table["models"])
    asked = (
        "a cap on the cost needs it: give it explicitly, 0 0 where it is free" if is_capped else "give it explicitly"
    )
    raise LLMError(f"the price of {model!r} is not in the table of {table['copied_on']} ({known}): {asked}")


def given_or_listed_price(
    price_usd: Sequence[float], model: str, base_url: str | None = None, is_capped: bool = False
) -> ModelPrice:
    """The price of a model's tokens: as a user gives it, else as the list has it.

    Args:
        price_usd: Dollars per million prompt and completion tokens, or nothing, as --price_usd takes them.
        model: Name of the model.
        base_url: Server that is asked; by default `OPENAI_BASE_URL`, else OpenAI's.
        is_capped: Whether money is capped, so that a price must be known.

    Raises:
        ConfigError: What was given is no pair of prices; or nothing was given, the list has no price either, and
            OpenAI is asked or money is capped.
    """
    if not price_usd:
        try:
            return price_of(model, base_url or os.environ.get("OPENAI_BASE_URL"), is_capped)
        except LLMError as error:
            raise ConfigError(f"{error} (--price_usd INPUT OUTPUT, in dollars per million tokens)") from error
    if len(price_usd) != 2 or not all(0 <= price < math.inf for price in price_usd):
        raise ConfigError(f"--price_usd takes dollars per million prompt and completion tokens, got {list(price_usd)}")
    prompt_usd, completion_usd = price_usd
    # cached tokens at the full price: no discount is known, and a cap must not count on one
    return ModelPrice(prompt_usd, prompt_usd, completion_usd)


def cost_usd(price: ModelPrice, usage: Usage, batch: bool = False) -> float:
    """What a number of tokens costs, in USD.

    Args:
        price: Price of the model.
        usage: Tokens as billed or as estimated.
        batch: Whether the batch service's discount applies.
    """
    # a server that reports more cached tokens than prompt tokens must not make the rest negative
    cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
    total = (usage.prompt_tokens - cached) * price.input_usd + cached * price.cached_input_usd
    total += usage.completion_tokens * price.output_usd
    # prices are per million tokens
    return total * (1.0 - price.batch_discount if batch else 1.0) / 1e6


# Tokens

# models that count patches: side of one in pixels, and how many the largest picture is billed as
PATCH_PX = 32
MAX_PATCHES = 1536

# tokens per patch
PATCH_MULTIPLIERS = {
    "gpt-4.1-mini": 1.62,
    "gpt-4.1-nano": 2.46,
    "gpt-5-mini": 1.62,
    "gpt-5-nano": 2.46,
    "o4-mini": 1.72,
}

TILE_TOKENS = {  # (tokens of the picture as a whole, tokens of each tile of 512 x 512 pixels)
    "gpt-4o": (85, 170),
    "gpt-4.1": (85, 170),
    "gpt-4o-mini": (2833, 5667),
    "gpt-5": (70, 140),
    "gpt-5-chat-latest": (70, 140),
    "o1": (75, 150),
    "o1-pro": (75, 150),
    "o3": (75, 150),
}

# models that count tiles, in pixels: side of a tile, longest side, and where the shorter side is scaled to
_TILE_PX, _MAX_SIDE_PX, _SHORT_SIDE_PX = 512, 2048, 768
_OTHER_PATCH_PX, _OTHER_EXTRA_TOKENS = 28, 2  # Qwen2-VL's merged patches, and its tokens around a picture

_TOKENS_PER_MESSAGE, _TOKENS_PER_REPLY = 3, 3  # "How to count tokens with tiktoken", OpenAI Cookbook

_ENCODING = "o200k_base"  # the encoding of gpt-4o and all later models
_ENCODING_URL = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
# of that file, as tiktoken itself knows it: it fetches a file with another one from the network
_ENCODING_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
# about as o200k_base cuts a text; a space belongs to the word after it and costs no token of its own
_PIECE = re.compile(r"[^\W\d_]+|\d{1,3}|[^\w\s]+|_+|\s*\n\s*")


def image_tokens(model: str, height: int, width: int, detail: str = "auto") -> int:
    """Tokens that a picture is billed as.

    For a model without a published rule a patch of 28 x 28 pixels counts as one token, and two more stand around the
    picture, as in Qwen2-VL and its descendants.

    Args:
        model: Name of the model; a date at the end does not matter.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        detail: "low", "high" or "auto", which is taken as "high". Models that count patches do not heed it.
    """
    family = model_family(model)
    if family in PATCH_MULTIPLIERS:
        return math.ceil(image_patches(height, width) * PATCH_MULTIPLIERS[family])
    if family in TILE_TOKENS:
        base, per_tile = TILE_TOKENS[family]
        # auto counts as high: which one the server takes is not known, and an estimate must not be too low
        return base if detail == "low" else base + per_tile * image_tiles(height, width)
    return math.ceil(height / _OTHER_PATCH_PX) * math.ceil(width / _OTHER_PATCH_PX) + _OTHER_EXTRA_TOKENS


def image_patches(height: int, width: int) -> int:
    """Patches of 32 x 32 pixels that cover a picture.

    A picture that has more than 1536 of them is made smaller: first to their area, then so that a whole number of
    patches fits along one side.

    Args:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
    """
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
    """Tiles of 512 x 512 pixels that cover a picture.

    The picture is made smaller where it does not fit into 2048 x 2048 and then where its shorter side is above 768.

    Args:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
    """
    scale = min(1.0, _MAX_SIDE_PX / max(height, width))
    height_px, width_px = height * scale, width * scale
    scale = min(1.0, _SHORT_SIDE_PX / min(height_px, width_px))
    return math.ceil(round(height_px * scale / _TILE_PX, 6)) * math.ceil(round(width_px * scale / _TILE_PX, 6))


@functools.lru_cache(maxsize=4096)  # one prompt stands in front of each of many frames
def text_tokens(text: str) -> int:
    """Tokens of a text.

    They are tiktoken's where it and the file of its encoding are on this machine (nothing is downloaded), else those
    of rules of thumb that come within about a tenth for English and JSON, and count too much elsewhere. Which it is is
    found out once, and `token_rule` says it.

    Raises:
        LLMError: the file of the encoding is there and cannot be used.
    """
    encode = _tiktoken()
    return len(encode(text)) if encode else sum(_tokens_of_piece(piece) for piece in _PIECE.findall(text))


def token_rule() -> str:
    """By what texts are counted in this process, for the record of a run: `tiktoken o200k_base` or `rules of thumb`.

    Raises:
        LLMError: the file of the encoding is there and cannot be used.
    """
    return f"tiktoken {_ENCODING}" if _tiktoken() else "rules of thumb"


def _tokens_of_piece(piece: str) -> int:
    if not piece.isascii():
        return math.ceil(len(piece.encode("utf-8", "replace")) / 3)  # a token of Chinese or Cyrillic is 2 to 4 bytes
    if piece[0].isalpha():
        return math.ceil(len(piece) / 12)  # common English words are one token each, whatever their length
    if piece[0].isdigit() or not piece.strip():
        return 1  # up to three digits, or a line break with the spaces around it
    return math.ceil(len(piece) / 3)


@functools.cache
def _tiktoken() -> Callable[[str], list[int]] | None:
    """The encoder of tiktoken; None where it or its file is not on this machine.

    Raises:
        LLMError: both are there and do not work. To go on with the rules of thumb would price one run by two rules,
            that of the machines or days where they work and another.
    """
    # where tiktoken itself looks, and under the name that it gives the file
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    folder = folder or os.path.join(tempfile.gettempdir(), "data-gym-cache")
    path = Path(folder, hashlib.sha1(_ENCODING_URL.encode()).hexdigest())
    if not path.is_file():
        return None
    try:
        import tiktoken
    except ModuleNotFoundError as error:
        if error.name != "tiktoken":  # it is there, and what it needs is not
            raise LLMError(f"tiktoken cannot be loaded ({error}): mend it, or uninstall it") from error
        return None
    advice = "delete it to count tokens by rules of thumb"
    try:
        # before tiktoken does: it would delete a damaged file and fetch another, without a word
        if hashlib.sha256(path.read_bytes()).hexdigest() != _ENCODING_SHA256:
            raise LLMError(f"{path}: not tiktoken's file of {_ENCODING}, or damaged; {advice}")
        # ordinary: plain `encode` raises on text such as <|endoftext|>
        return tiktoken.get_encoding(_ENCODING).encode_ordinary
    except LLMError:
        raise
    except Exception as error:  # whatever a library for other people's files raises, the user needs the file's name
        raise LLMError(f"{path}: tiktoken cannot use it ({type(error).__name__}: {error}); {advice}") from error


@dataclass(frozen=True)
class TokenEstimate:
    """What a request is expected to be billed as.

    Args:
        prompt_tokens: Tokens of text and pictures.
        max_completion_tokens: Tokens of the longest answer that it allows.
        image_tokens: The pictures' part of `prompt_tokens`.
    """

    prompt_tokens: int
    max_completion_tokens: int
    image_tokens: int = 0


def estimate_tokens(request: ChatRequest) -> TokenEstimate:
    """The tokens of a request. A schema counts as its JSON text, which is about what servers show the model of it.

    Pictures whose size is not in `request.image_sizes` count as the largest that the model can be given.
    """
    tokens = _TOKENS_PER_REPLY
    details: list[str] = []
    for message in request.messages:
        tokens += _TOKENS_PER_MESSAGE + text_tokens(message.get("role", "")) + text_tokens(message.get("name", ""))
        content = message.get("content") or ""
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part.get("type") == "image_url":
                details.append(part["image_url"].get("detail", "auto"))
            else:
                tokens += text_tokens(part.get("text", ""))
    sizes = itertools.chain(request.image_sizes, itertools.repeat((_MAX_SIDE_PX, _MAX_SIDE_PX)))
    pictures = sum(image_tokens(request.model, *next(sizes), detail) for detail in details)
    if request.schema is not None:
        tokens += text_tokens(json.dumps(dict(request.schema), sort_keys=True))
    return TokenEstimate(tokens + pictures, request.max_completion_tokens, pictures)


# Budget

PROMPT_MARGIN = 1.25
"""Factor by which a bill may exceed the estimate of a prompt before it breaks a reservation: rules of thumb come
within a tenth, and other servers count pictures in ways of their own."""

_ROUNDING_USD = 1e-12  # sums of many small prices may end a rounding error above a limit that they should just meet


class Budget:
    """Money that may be spent. Threads may share one, and so may answerers.

    Args:
        max_cost_usd: Sum in USD that is never exceeded; None sets no limit.
        spent_usd: Sum in USD that was spent before, such as `RequestStore.totals().spent_usd`.
    """

    def __init__(self, max_cost_usd: float | None = None, spent_usd: float = 0.0):
        if max_cost_usd is not None and not max_cost_usd >= 0:  # not "< 0", which lets NaN pass
            raise ValueError(f"max_cost_usd must not be negative, got {max_cost_usd}")
        self.max_cost_usd = max_cost_usd
        self.spent_usd = spent_usd
        self.in_flight_usd = 0.0
        # to see what is left and to take it is one step, or two threads would take the same money
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Budget(max_cost_usd={self.max_cost_usd}, spent_usd={self.spent_usd})"

    @property
    def left_usd(self) -> float:
        """What can still be reserved."""
        if self.max_cost_usd is None:
            return float("inf")
        return self.max_cost_usd - self.spent_usd - self.in_flight_usd

    def reserve(self, usd: float) -> float:
        """Set money aside for something that is about to be sent. Returns it, for `settle`.

        Raises:
            BudgetExceeded: so much is not left. Nothing has been set aside.
        """
        with self._lock:
            if usd > self.left_usd + _ROUNDING_USD:
                raise BudgetExceeded(
                    f"the next request could cost ${usd:.6f}, and of ${self.max_cost_usd:.6f} are "
                    f"${self.spent_usd:.6f} spent and ${self.in_flight_usd:.6f} set aside for what is on its way"
                )
            self.in_flight_usd += usd
        return usd

    def settle(self, reserved_usd: float, actual_usd: float | None) -> None:
        """Replace a reservation by what was billed, or by itself where nobody knows (None).

        Args:
            reserved_usd: Sum as it was reserved.
            actual_usd: Sum as it was billed. None counts the reservation as spent, the most that it can have been.
        """
        with self._lock:
            # sums of floats may end a rounding error below zero
            self.in_flight_usd = max(0.0, self.in_flight_usd - reserved_usd)
            self.spent_usd += reserved_usd if actual_usd is None else actual_usd


class CostCeiling:
    """The most that a request can cost: its estimated prompt with a margin, and an answer as long as it may be.

    Rules of servers can differ from those that are published, so bills that exceed the margin widen it.

    Args:
        price: Price of the model.
        batch: Whether the batch service's discount applies.
        prompt_margin: Factor on the estimated prompt, to begin with.
    """

    def __init__(self, price: ModelPrice, batch: bool = False, prompt_margin: float = PROMPT_MARGIN):
        self.price = price
        self.batch = batch
        self.prompt_margin = prompt_margin
        # none at first: the limit is sent along, and servers cut answers there
        self.completion_margin = 1.0
        self.is_proven = not cost_usd(price, Usage(1, 1))  # by a bill; what costs nothing needs none

    def cost_usd(self, estimate: TokenEstimate) -> float:
        """The most that a request with this estimate can cost, in USD."""
        # no cached tokens: only the bill says whether there were any, and without them it is the upper bound
        usage = Usage(
            prompt_tokens=round(estimate.prompt_tokens * self.prompt_margin),
            completion_tokens=round(estimate.max_completion_tokens * self.completion_margin),
        )
        return cost_usd(self.price, usage, self.batch)

    def learn(self, estimate: TokenEstimate, usage: Usage) -> None:
        """Take note of what was billed for a request. What costs nothing teaches nothing.

        Args:
            estimate: Tokens as they were expected.
            usage: Tokens as they were billed.
        """
        if not cost_usd(self.price, usage):
            return
        self.is_proven = True
        prompt = usage.prompt_tokens / max(1, estimate.prompt_tokens)
        completion = usage.completion_tokens / max(1, estimate.max_completion_tokens)
        # 5 % above the highest bill so far, so that the next bill like it stays within its reservation
        if prompt > self.prompt_margin:
            logger.warning(
                "billed %d prompt tokens where %d were estimated; reservations grow accordingly",
                *(usage.prompt_tokens, estimate.prompt_tokens),
            )
            self.prompt_margin = 1.05 * prompt
        if completion > self.completion_margin:
            logger.warning(
                "billed %d completion tokens where at most %d were asked for; reservations grow accordingly",
                *(usage.completion_tokens, estimate.max_completion_tokens),
            )
            self.completion_margin = 1.05 * completion
