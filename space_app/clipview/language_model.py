"""Guidance from a language model with the visitor's own key, after the price was shown.

The key is an argument of one call and is kept nowhere; not in the cache, a log, a message or the state of the session.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from vidreason.annotation.grid.clip import ClipPlan, ask_about_clip, plan_clip
from vidreason.errors import LLMError

from .limits import Refused
from .service import Service

logger = logging.getLogger(__name__)

MODELS = ("gpt-4.1-mini", "gpt-4.1-nano", "gpt-4.1", "gpt-4o-mini")
MAX_FRAMES = 12

_MAX_KEY_LENGTH = 512


@dataclass(frozen=True)
class Quote:
    """A price that a visitor was shown, for one clip."""

    digest: str
    plan: ClipPlan

    def describe(self) -> str:
        """The price in a sentence for the visitor."""
        plan = self.plan
        return (
            f"{plan.frames} pictures for {plan.model}: about ${plan.cost_usd:.4f}, never more than "
            f"${plan.max_cost_usd:.4f} (price list of {plan.prices_of}). Your key pays, and is used for this one "
            "request only."
        )


@dataclass(frozen=True)
class LLMRows:
    """What a language model said of a clip. Kept in the visitor's session."""

    digest: str
    rows: list[dict[str, Any]]

    @property
    def usable(self) -> int:
        """Pictures for which it marked anything."""
        return sum(row["status"] == "ok" for row in self.rows)

    @property
    def cost_usd(self) -> float:
        """What was billed, in US dollars."""
        return sum(row["cost_usd"] for row in self.rows)


def quote(service: Service, path: str, model: str, num_frames: int) -> Quote:
    """What asking about a clip costs. Nothing is sent.

    Raises:
        Refused: The clip cannot be used, or there is no such model here.
    """
    if model not in MODELS or not 1 <= num_frames <= MAX_FRAMES:
        raise Refused("unknown_model", "Please choose one of the models and numbers of pictures that are listed.")
    digest, pictures, _ = service.single_frames(path, num_frames)
    plan = plan_clip(len(pictures), pictures[0].shape[:2], model, service.settings.llm_base_url)
    return Quote(digest, plan)


def ask(service: Service, path: str, quoted: Quote | None, api_key: str) -> LLMRows:
    """Ask about a clip for which a price was shown.

    Raises:
        Refused: No price was shown for this clip, there is no key, or the server does not answer.
    """
    if quoted is None:
        raise Refused("no_quote", "Please look at the price first.")
    if not 0 < len(api_key.strip()) <= _MAX_KEY_LENGTH:
        raise Refused("no_key", "Please enter your key.")
    digest, pictures, keys = service.single_frames(path, quoted.plan.frames)
    if digest != quoted.digest:
        raise Refused("no_quote", "This is another clip than the price was for. Please look at the price again.")
    try:
        rows = ask_about_clip(pictures, keys, quoted.plan, api_key, service.settings.llm_base_url)
    except LLMError as error:
        logger.warning("a language model was asked in vain (%s)", type(error).__name__)
        text = "The language model's server did not answer this request. Please check the key and its account."
        raise Refused("llm_failed", text) from None
    return LLMRows(digest, rows)
