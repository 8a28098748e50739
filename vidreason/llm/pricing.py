"""What tokens cost. The table of OpenAI's models is a copy, dated, beside this file: prices change, so check them."""

from __future__ import annotations

import functools
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import LLMError
from .chat import Usage
from .client import is_openai

logger = logging.getLogger(__name__)

_TABLE_PATH = Path(__file__).with_name("openai_prices.json")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class ModelPrice:
    """Prices of one model, in USD per million tokens.

    Args:
        input_usd: of prompt tokens.
        cached_input_usd: of those that the server still had from an earlier prompt.
        output_usd: of completion tokens, those of reasoning included.
        batch_discount: the share of the price that the batch service takes off, such as 0.5.
    """

    input_usd: float
    cached_input_usd: float
    output_usd: float
    batch_discount: float = 0.5


FREE = ModelPrice(0.0, 0.0, 0.0)


@functools.cache
def _read_table() -> dict:
    return json.loads(_TABLE_PATH.read_text(encoding="utf-8"))


def prices_copied_on() -> str:
    """The date of the table, as YYYY-MM-DD: for cards and dry runs."""
    return _read_table()["copied_on"]


def model_family(model: str) -> str:
    """A model's name without its date: "gpt-4.1-mini" for "gpt-4.1-mini-2025-04-14"."""
    return _DATE.sub("", model)


def price_of(model: str, base_url: str | None = None) -> ModelPrice:
    """The price of a model. A dated name has the price of its family unless the table knows better.

    A model of the table has its price at whatever server it is asked for, since the server may be a relay that bills
    it. Any other model costs nothing at a server other than OpenAI's, which is said in the log.

    Args:
        model: its name at the server.
        base_url: of the server; None is OpenAI's.

    Raises:
        LLMError: OpenAI is asked for a model whose price is not known. Give a `ModelPrice` of your own instead.
    """
    table = _read_table()
    prices = table["models"].get(model) or table["models"].get(model_family(model))
    if prices is not None:
        return ModelPrice(**prices, batch_discount=table["batch_discount"])
    if not is_openai(base_url):
        logger.info("%s at %s is taken to cost nothing; give its prices if it does", model, base_url)
        return FREE
    known = ", ".join(table["models"])
    raise LLMError(f"the price of {model!r} is not in the table of {table['copied_on']} ({known}): give it explicitly")


def cost_usd(price: ModelPrice, usage: Usage, batch: bool = False) -> float:
    """What a number of tokens costs, in USD."""
    cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
    total = (usage.prompt_tokens - cached) * price.input_usd + cached * price.cached_input_usd
    total += usage.completion_tokens * price.output_usd
    return total * (1.0 - price.batch_discount if batch else 1.0) / 1e6
