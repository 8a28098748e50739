"""What a run over a model will ask for and what it may cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from ...llm.chat import ChatRequest, Usage
from ...llm.cost import ModelPrice, cost_usd, estimate_tokens, text_tokens
from .annotator import LLMAnnotator, LLMSettings, make_requests
from .prompts import Prompt

TYPICAL_CELLS = 4
"""Cells, or objects, that an answer is expected to name. Only the expected cost depends on it, never the cap."""


@dataclass(frozen=True)
class Plan:
    """Size and price of a run.

    Args:
        videos: Number of videos that were chosen.
        frames: Number of their frames that were chosen.
        requests: Number of requests, one for each sample of a frame.
        prompt_tokens: Prompt tokens of all requests, estimated.
        completion_tokens: Tokens of all answers, as long as answers usually are.
        cost_usd: Cost of these tokens in USD.
        max_cost_usd: Cost in USD if every answer ran to the limit and none had to be asked for twice.
    """

    videos: int = 0
    frames: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    max_cost_usd: float = 0.0

    def __add__(self, other: Plan) -> Plan:
        return Plan(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def make_plan(annotator: LLMAnnotator, price: ModelPrice, batch: bool = False) -> dict[str, Plan]:
    """The plan of each split. No video is opened: sizes and frame counts are the manifest's.

    Args:
        annotator: Annotator that would ask.
        price: Price of the model.
        batch: Whether batch jobs ask, which are cheaper.
    """
    plans: dict[str, Plan] = {}
    known: dict[tuple[str, tuple[tuple[int, int], ...]], int] = {}  # prompts differ by label and size of picture alone
    for split, rows in annotator.videos.items():
        plan = Plan()
        for row in rows:
            frames = annotator.policy.count(row)
            request = _stand_in(annotator, row)
            key = (request.payload["messages"][1]["content"][0]["text"], request.image_sizes)
            if key not in known:
                known[key] = estimate_tokens(request).prompt_tokens
            plan += _plan_of(annotator, frames, known[key], price, batch)
        plans[split] = plan
    return plans


def expected_tokens(prompt: Prompt, settings: LLMSettings) -> int:
    """Tokens of an answer of the usual length."""
    # a longer answer is cut at the limit, and billed up to it
    return min(text_tokens(prompt.example_answer(TYPICAL_CELLS)), settings.max_completion_tokens)


def _plan_of(annotator: LLMAnnotator, frames: int, prompt_tokens: int, price: ModelPrice, batch: bool) -> Plan:
    """The plan of one video."""
    settings = annotator.settings
    requests = frames * settings.samples_per_frame
    expected = expected_tokens(annotator.prompt, settings)
    usage = Usage(prompt_tokens * requests, expected * requests)
    # prompts as estimated, without the margin that reservations have on top
    most = Usage(prompt_tokens * requests, settings.max_completion_tokens * requests)
    return Plan(
        videos=1,
        frames=frames,
        requests=requests,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=cost_usd(price, usage, batch),
        max_cost_usd=cost_usd(price, most, batch),
    )


def _stand_in(annotator: LLMAnnotator, row: Mapping[str, Any]) -> ChatRequest:
    """A request about a video with everything but its picture."""
    settings = annotator.settings
    height, width = row["height"], row["width"]
    # about as `encode_jpeg` scales it: a picture's tokens depend on the size that is sent
    scale = min(1.0, settings.max_side_px / max(height, width)) if settings.max_side_px else 1.0
    # the label at the start stands for all: those of other times differ by a few tokens
    label = annotator.labels.label_at(row, 0.0) if settings.label_in_prompt else None
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # without bytes of a picture: its tokens follow from its size, and samples differ in their seed alone
    return make_requests(annotator.prompt, settings, annotator.grid, label, b"", size)[0]


def plan_table(plans: Mapping[str, Plan]) -> str:
    """The plans as a table for a terminal, with a line for all together where there are several."""
    plans = dict(plans)
    if len(plans) > 1:
        plans["all"] = sum(plans.values(), Plan())
    header = ("split", "videos", "frames", "requests", "prompt tokens", "answer tokens", "about USD", "at most USD")
    lines: list[tuple[str, ...]] = [header]
    for split, plan in plans.items():
        counts = (plan.videos, plan.frames, plan.requests, plan.prompt_tokens, plan.completion_tokens)
        lines.append((split, *(f"{n:,}" for n in counts), f"{plan.cost_usd:.4f}", f"{plan.max_cost_usd:.4f}"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
