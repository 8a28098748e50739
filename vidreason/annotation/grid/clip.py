"""Guidance from a vision-language model for one clip that is in memory, with a key that somebody brings along.

`llm_run` annotates data sets, and keeps answers, money and journal in files. Here a few pictures are asked about once:
nothing is written anywhere, and the key is used for this one call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BudgetExceeded, InvalidAnswer
from ...guidance import guidance_row
from ...llm.chat import FAILED, OK, ChatAnswer, ChatRequest, Question, Usage
from ...llm.client import OpenAIChatClient
from ...llm.cost import (
    Budget,
    CostCeiling,
    ModelPrice,
    cost_usd,
    estimate_tokens,
    price_of,
    prices_copied_on,
    text_tokens,
)
from ...llm.online import OnlineAnswerer, RetryLimits
from ...llm.store import RequestStore
from .answers import read_answer
from .plan import TYPICAL_CELLS
from .prompts import Prompt, load_prompt
from .requests import LLMSettings, encode_jpeg, make_requests

PROMPT = "general"

_MAX_IN_FLIGHT = 8
_MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class ClipPlan:
    """What asking about a clip costs.

    Args:
        model: its name.
        frames: pictures that are sent.
        prompt_tokens: of all requests, estimated.
        cost_usd: as long as answers usually are.
        max_cost_usd: a hard stop at which nothing more is sent.
        prices_of: the day of the price list.
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
        num_frames: pictures.
        size: (height, width) of them.
        model: its name at the server.
        base_url: of the server; None is OpenAI's.

    Raises:
        LLMError: the model's price is not known.
    """
    price, prompt, settings = price_of(model, base_url), load_prompt(PROMPT), _settings(model)
    estimate = estimate_tokens(make_requests(prompt, settings, None, b"", size)[0])
    expected = min(text_tokens(prompt.example_answer(TYPICAL_CELLS)), settings.max_completion_tokens)
    usage = Usage(num_frames * estimate.prompt_tokens, num_frames * expected)
    return ClipPlan(
        model=model,
        frames=num_frames,
        prompt_tokens=usage.prompt_tokens,
        cost_usd=cost_usd(price, usage),
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
        pictures: each uint8 (height, width, 3), RGB.
        frame_keys: their fields of `guidance.FRAME_KEY`.
        plan: which model, and the money at which asking stops.
        api_key: of the account that pays. It is kept nowhere.
        base_url: of the server; None is OpenAI's.
        timeout_s: of one request.

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
    return [
        _row(key, question.request, answers.get(question.key), settings, prompt)
        for key, question in zip(frame_keys, questions, strict=True)
    ]


def _settings(model: str) -> LLMSettings:
    return LLMSettings(model=model, label_in_prompt=False)


def _question(number: int, picture: np.ndarray, prompt: Prompt, settings: LLMSettings) -> Question:
    """picture: uint8 (height, width, 3)."""
    jpeg, size = encode_jpeg(picture, settings.max_side_px, settings.jpeg_quality)
    (request,) = make_requests(prompt, settings, None, jpeg, size)
    return Question(number, request, lambda text: read_answer(text, settings.grid, *size))


async def _ask(
    client: OpenAIChatClient, questions: list[Question], price: ModelPrice, max_cost_usd: float
) -> dict[int, ChatAnswer]:
    """The answers by the numbers of their pictures; fewer than there are questions where the money has ended."""
    answers = {}
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


def _row(
    key: Mapping[str, Any], request: ChatRequest, answer: ChatAnswer | None, settings: LLMSettings, prompt: Prompt
) -> dict[str, Any]:
    """A row from an answer, or from its absence."""
    answer = answer or ChatAnswer(request.request_hash, FAILED, "not asked", model=settings.model)
    weights, objects, status = [0.0] * (settings.grid[0] * settings.grid[1]), [], answer.status
    if answer.status == OK:
        try:
            read = read_answer(answer.text, settings.grid, *request.image_sizes[0])
        except InvalidAnswer:
            status = "invalid"
        else:
            weights, objects, status = read.weights, read.objects, None
    return guidance_row(
        key,
        weights,
        settings.grid,
        producer="llm",
        status=status,
        objects=objects,
        model=answer.model or settings.model,
        prompt_id=prompt.prompt_id,
        prompt_sha256=prompt.sha256,
        request_hash=answer.request_hash,
        raw_response=answer.text,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        cost_usd=answer.cost_usd,
    )
