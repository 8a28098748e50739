"""Guidance from a vision-language model for one clip that is in memory, with a key that a visitor brings along.

An `LLMRun` annotates data sets, and keeps answers, money and journal in files. Here a few pictures are asked about
once: nothing is written to a file, and the key is used for this one call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BudgetExceeded
from ...llm.chat import FAILED, ChatAnswer, Question, Usage
from ...llm.client import OpenAIChatClient
from ...llm.cost import (
    Budget,
    CostCeiling,
    ModelPrice,
    cost_usd,
    estimate_tokens,
    price_of,
    prices_copied_on,
)
from ...llm.online import OnlineAnswerer, RetryLimits
from ...llm.store import RequestStore
from .annotator import NOT_ASKED, LLMSettings, answer_row, encode_jpeg, make_requests
from .plan import expected_tokens
from .prompts import FrameAnswer, Prompt, load_prompt, read_answer

PROMPT = "general"

_GRID = (4, 4)  # the paper's
# low, for accounts with a small rate limit
_MAX_IN_FLIGHT = 8
_MAX_ATTEMPTS = 2  # a visitor waits for the answers


@dataclass(frozen=True)
class ClipPlan:
    """What asking about a clip costs.

    Args:
        model: Name of the model.
        frames: Number of pictures that are sent.
        prompt_tokens: Prompt tokens of all requests, estimated.
        cost_usd: Cost in USD where answers are as long as they usually are.
        max_cost_usd: Hard stop in USD at which nothing more is sent.
        prices_of: Day of the price list, as YYYY-MM-DD.
    """

    model: str
    frames: int
    prompt_tokens: int
    cost_usd: float
    max_cost_usd: float
    prices_of: str


def plan_clip(num_frames: int, size: tuple[int, int], model: str, base_url: str | None = None) -> ClipPlan:
    """The cost of asking about pictures, before anything is sent.

    Args:
        num_frames: Number of pictures.
        size: (height, width) of the pictures in pixels.
        model: Name of the model at its server.
        base_url: Address of the server; None is OpenAI's.

    Raises:
        LLMError: the model's price is not known.
    """
    price, prompt, settings = price_of(model, base_url), load_prompt(PROMPT), _settings(model)
    # no picture is needed: its tokens follow from its size
    estimate = estimate_tokens(make_requests(prompt, settings, _GRID, None, b"", size)[0])
    usage = Usage(num_frames * estimate.prompt_tokens, num_frames * expected_tokens(prompt, settings))
    return ClipPlan(
        model=model,
        frames=num_frames,
        prompt_tokens=usage.prompt_tokens,
        cost_usd=cost_usd(price, usage),
        # one attempt for each picture; a second one that is billed lives on what the others leave of theirs
        max_cost_usd=num_frames * CostCeiling(price).cost_usd(estimate),
        prices_of=prices_copied_on(),
    )


def ask_about_clip(
    pictures: Sequence[np.ndarray],
    frame_keys: Sequence[Mapping[str, Any]],
    plan: ClipPlan,
    api_key: str,
    base_url: str | None = None,
    timeout_s: float = 30.0,
) -> list[dict[str, Any]]:
    """Ask where the evidence is in each picture.

    Args:
        pictures: Frames of shape (height, width, 3), uint8, RGB.
        frame_keys: The frames' fields of `guidance.FRAME_KEY`.
        plan: Which model to ask, and the money at which asking stops.
        api_key: Key of the account that pays. It is kept nowhere.
        base_url: Address of the server; None is OpenAI's.
        timeout_s: Seconds in which a request must be answered.

    Returns:
        A row of the guidance table for each picture, with the producer `llm`. One that got no answer has the status
        `failed`.

    Raises:
        LLMError: no request will go well, for instance because the key is not accepted.
    """
    prompt, settings, price = load_prompt(PROMPT), _settings(plan.model), price_of(plan.model, base_url)
    questions = [_question(number, picture, prompt, settings) for number, picture in enumerate(pictures)]
    client = OpenAIChatClient(base_url, timeout_s, api_key=api_key)
    answers = asyncio.run(_ask(client, questions, price, plan.max_cost_usd))
    rows = []
    for key, question in zip(frame_keys, questions, strict=True):
        # a picture without an answer keeps its row, so that rows and pictures stay in step
        answer = answers.get(question.key) or ChatAnswer(question.request.request_hash, FAILED, NOT_ASKED)
        reading = answer.reading if isinstance(answer.reading, FrameAnswer) else None
        rows.append(answer_row(key, answer, reading, _GRID, prompt, settings.model))
    return rows


def _settings(model: str) -> LLMSettings:
    # the clip has no label, and guidance that knows the action would be for training only
    return LLMSettings(model=model, label_in_prompt=False)


def _question(number: int, picture: np.ndarray, prompt: Prompt, settings: LLMSettings) -> Question:
    """The question about a picture of shape (height, width, 3), uint8."""
    jpeg, size = encode_jpeg(picture, settings.max_side_px, settings.jpeg_quality)
    (request,) = make_requests(prompt, settings, _GRID, None, jpeg, size)
    return Question(number, request, lambda text: read_answer(text, _GRID, *size, settings.convention))


async def _ask(
    client: OpenAIChatClient, questions: list[Question], price: ModelPrice, max_cost_usd: float
) -> dict[int, ChatAnswer]:
    """The answers by the numbers of their pictures; fewer than there are questions where the money has ended."""
    answers = {}
    # SQLite's name for a database in memory: a visitor's answers are on no disk
    with RequestStore(":memory:") as store:
        answerer = OnlineAnswerer(
            *(client, store, price, Budget(max_cost_usd)),
            max_in_flight=_MAX_IN_FLIGHT,
            limits=RetryLimits(max_attempts=_MAX_ATTEMPTS, max_invalid_attempts=1, max_silences=2),
        )
        async with client, contextlib.aclosing(answerer.answer_all(questions)) as pairs:
            with contextlib.suppress(BudgetExceeded):  # what was answered until then was paid for
                async for number, answer in pairs:
                    answers[number] = answer
    return answers
