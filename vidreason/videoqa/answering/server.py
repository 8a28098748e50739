"""Answers of a model at an OpenAI-compatible server, which is shown frames as pictures.

Before each picture stands its time. Everything goes through `vidreason.llm`: answers are stored by the whole request
and paid once, money has a hard limit, and what a server does wrong is a status.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...llm.chat import ANSWER_STATUSES, ChatAnswer, ChatRequest, Question, Usage, image_part
from ...llm.client import ChatClient, OpenAIChatClient
from ...llm.completions import RawCompletion
from ...llm.cost import Budget, ModelPrice, cost_usd, estimate_tokens
from ...llm.online import OnlineAnswerer, RetryLimits, run_to_end
from ...llm.store import RequestStore
from ...video.jpeg import encode_jpeg
from ..conversation import time_text
from ..frames import ShownFrames
from .asking import Asking, Keep, Outcome, Prepared

logger = logging.getLogger(__name__)

_SUBSAMPLING = "4:2:0"


@dataclass(frozen=True)
class ServerSettings:
    """Which model is asked, and how.

    Args:
        model: Name of the model at the server.
        base_url: Its address, such as "http://localhost:8000/v1"; `OPENAI_BASE_URL` or OpenAI's where it is None.
        max_completion_tokens: Tokens at which an answer is cut.
        temperature: Temperature of the model's sampling; None leaves it to the server.
        seed: Seed of the sampling; None sends none.
        jpeg_quality: Quality of the pictures, 1 to 95.
        image_detail: Detail of the OpenAI API: "auto", "low" or "high".
        extra_body: Further fields that the server knows.
        max_in_flight: Requests at the same time.
        timeout_s: Seconds after which a request counts as lost.
        max_attempts: Attempts at a request that does not get through.

    Raises:
        ConfigError: A setting cannot be used.
    """

    model: str
    base_url: str | None = None
    max_completion_tokens: int = 64
    temperature: float | None = 0.0
    seed: int | None = None
    jpeg_quality: int = 90
    image_detail: str = "auto"
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    max_in_flight: int = 16
    timeout_s: float = 120.0
    max_attempts: int = 4

    def __post_init__(self) -> None:
        if self.image_detail not in ("auto", "low", "high"):
            raise ConfigError(f"image_detail is {self.image_detail!r}, expected auto, low or high")
        if not 1 <= self.jpeg_quality <= 95:  # above 95 Pillow's files grow and the picture does not get better
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality}, expected 1 to 95")
        if min(self.max_completion_tokens, self.max_in_flight, self.max_attempts) < 1:
            raise ConfigError("max_completion_tokens, max_in_flight and max_attempts must be at least 1")
        try:
            ChatRequest(self.model, [], extra_body=self.extra_body)
        except ValueError as error:
            raise ConfigError(str(error)) from error


class ServerAnswerer:
    """A model at a server.

    Args:
        settings: Which model, and how it is asked.
        store: Store of answers and money.
        price: Price of the model.
        budget: Money that may be spent, with what earlier runs spent.
    """

    producer = "llm"
    shares_requests = True

    def __init__(self, settings: ServerSettings, store: RequestStore, price: ModelPrice, budget: Budget):
        self.settings, self.store, self.price, self.budget = settings, store, price, budget
        self.model = settings.model
        self._pictures: tuple[ShownFrames, list[bytes]] | None = None

    def facts(self) -> dict[str, Any]:
        """What of it decides an answer; not the address, at which the same model may be found tomorrow."""
        settings = self.settings
        names = ("model", "max_completion_tokens", "temperature", "seed", "jpeg_quality", "image_detail")
        return {"producer": self.producer, **{name: getattr(settings, name) for name in names}} | (
            {"extra_body": dict(settings.extra_body)} if settings.extra_body else {}
        )

    def forget(self, statuses: Iterable[str]) -> None:
        """Forget stored answers that ended so."""
        self.store.forget(set(statuses) & set(ANSWER_STATUSES))

    def answer_all(self, questions: Iterator[Prepared], keep: Keep) -> None:
        """Answer questions as they are drawn; see `VideoAnswerer`.

        Raises:
            LLMError: The run cannot go on, `BudgetExceeded` among them. What was answered is kept.
        """
        run_to_end(self._answer_all(questions, keep))

    async def _answer_all(self, questions: Iterator[Prepared], keep: Keep) -> None:
        client = OpenAIChatClient(self.settings.base_url, timeout_s=self.settings.timeout_s)
        timed = _TimedClient(client)
        answerer = OnlineAnswerer(
            timed,
            self.store,
            self.price,
            self.budget,
            self.settings.max_in_flight,
            RetryLimits(max_attempts=self.settings.max_attempts),
        )
        asked = (self._question(prepared) for prepared in questions)
        # closed also when `keep` raises, or tasks would go on asking and paying
        async with client, contextlib.aclosing(answerer.answer_all(asked)) as answers:
            async for prepared, answer in answers:
                keep(prepared, self._outcome(answer, timed.seconds.pop(answer.request_hash, 0.0)))

    def _question(self, prepared: Prepared) -> Question:
        request = self.request(prepared.system, prepared.user, prepared.shown, self._jpegs(prepared.shown))
        # without the frames, which would lie in memory until the answer comes; their number is told
        return Question(_Asked.of(prepared), request, str.strip)

    def request(self, system: str, user: str, shown: ShownFrames | None, jpegs: list[bytes]) -> ChatRequest:
        """The request of a question.

        Args:
            system: Text of the system message; none is sent of an empty one.
            user: Text of the user's message.
            shown: What is shown; None for nothing.
            jpegs: Its frames as pictures.
        """
        content: list[dict[str, Any]] = []
        sizes = () if shown is None else (shown.frames.shape[1:3],) * len(jpegs)
        for jpeg, time_s in zip(jpegs, shown.timestamps_s if shown else (), strict=True):
            content.append({"type": "text", "text": f"Frame at {time_text(time_s)}:"})
            content.append(image_part(jpeg, self.settings.image_detail))
        content.append({"type": "text", "text": user})
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        settings = self.settings
        return ChatRequest(
            model=settings.model,
            messages=[*messages, {"role": "user", "content": content}],
            max_completion_tokens=settings.max_completion_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
            image_sizes=sizes,
            extra_body=settings.extra_body,
        )

    def _jpegs(self, shown: ShownFrames | None) -> list[bytes]:
        if shown is None:
            return []
        # several questions about one video have the same pictures; questions are drawn by one thread
        if self._pictures is None or self._pictures[0] is not shown:
            quality = self.settings.jpeg_quality
            self._pictures = shown, [encode_jpeg(frame, quality, _SUBSAMPLING) for frame in shown.frames]
        return self._pictures[1]

    def _outcome(self, answer: ChatAnswer, seconds: float) -> Outcome:
        return Outcome(
            status=answer.status,
            text=answer.text,
            request_hash=answer.request_hash,
            model=answer.model or self.model,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            cost_usd=answer.cost_usd,
            seconds=seconds,
        )


@dataclass(frozen=True, eq=False)
class _Asked(Prepared):
    """A question without its frames."""

    frames_shown: int = 0

    @classmethod
    def of(cls, prepared: Prepared) -> _Asked:
        texts = (prepared.system, prepared.user)
        return cls(prepared.question, prepared.fingerprint, *texts, None, frames_shown=prepared.num_frames)

    @property
    def num_frames(self) -> int:
        return self.frames_shown


class _TimedClient:
    """A client that notes how long the newest attempt at each request took, in seconds."""

    def __init__(self, client: ChatClient):
        self.client = client
        self.seconds: dict[str, float] = {}

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        start_s = time.perf_counter()
        try:
            return await self.client.complete_once(request)
        finally:
            self.seconds[request.request_hash] = time.perf_counter() - start_s


# What a run may cost


@dataclass(frozen=True)
class AnswerPlan:
    """Size and price of a run, before anything is sent.

    Args:
        questions: Questions that have no answer yet.
        unknown_videos: Those among them that are about videos which the manifest does not have; they are not sent.
        prompt_tokens: Tokens of all requests, estimated.
        max_cost_usd: Cost in USD if every answer ran to the limit and none had to be asked for twice.
    """

    questions: int
    unknown_videos: int
    prompt_tokens: int
    max_cost_usd: float


def plan_answers(answerer: ServerAnswerer, asking: Asking, open_questions: Iterator[Mapping[str, Any]]) -> AnswerPlan:
    """What a run would cost at most. No video is opened: sizes are the manifest's.

    Args:
        answerer: Who would be asked.
        asking: The questions of the run.
        open_questions: Those that have no answer yet.
    """
    settings, count, unknown, tokens = asking.settings, 0, 0, 0
    for question in open_questions:
        count += 1
        shown = None
        if settings.shows_video:
            row = asking.videos.row(question["video_id"])
            if row is None:
                unknown += 1
                continue
            shown = _stand_in(row, settings.sampling.num_frames, settings.sampling.max_side_px)
        system, user = settings.prompt.texts(question, shown, settings.name_times)
        jpegs = [b""] * (len(shown) if shown else 0)  # a picture's tokens follow from its size
        tokens += estimate_tokens(answerer.request(system, user, shown, jpegs)).prompt_tokens
    most = Usage(tokens, (count - unknown) * answerer.settings.max_completion_tokens)
    return AnswerPlan(count, unknown, tokens, cost_usd(answerer.price, most))


def _stand_in(row: Mapping[str, Any], num_frames: int, max_side_px: int | None) -> ShownFrames:
    """Frames of the size that a video's will have, of which nothing but the size is in memory."""
    height, width = max(1, row["height"]), max(1, row["width"])
    scale = min(1.0, max_side_px / max(height, width)) if max_side_px else 1.0
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    frames = np.broadcast_to(np.zeros((), dtype=np.uint8), (num_frames, *size, 3))
    duration_s = max(0.0, float(row["duration_s"]))
    times_s = tuple((index + 0.5) * duration_s / num_frames for index in range(num_frames))
    return ShownFrames(frames, times_s, tuple(range(num_frames)), 0.0, duration_s, duration_s)
