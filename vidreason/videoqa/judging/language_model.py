"""A language model as the judge: asked through the store of requests, so that no judgement is paid for twice.

What decides on a judgement is in its request: the model, the prompt's text, the question, the answers and what was
said. Another model, or another prompt, is another request and another judge. A call that fails is a row with a status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError, InvalidAnswer
from ...llm.chat import INVALID, OK, ChatAnswer, ChatRequest, PromptFile, Question, Usage, read_prompt_file
from ...llm.client import ChatClient
from ...llm.cost import Budget, ModelPrice, cost_usd, estimate_tokens
from ...llm.online import OnlineAnswerer, run_to_end
from ...llm.store import RequestStore
from ..rows import hash_prediction, judgement_row
from .scales import ASKED_SCALES, Mark, Scale

_PROMPTS = Path(__file__).parent / "prompt_texts"
PRODUCER = "judge"

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A question and its prediction."""


@dataclass(frozen=True)
class JudgeSettings:
    """Who judges, and how.

    Args:
        model: Name of the model at its server.
        scale: Key of `ASKED_SCALES`.
        prompt: Path of a prompt file of one's own; "" takes that of the scale.
        temperature: Sampling temperature; None leaves it to the server.
        seed: Seed that is sent along; None sends none.
        max_completion_tokens: Tokens at which a reply is cut, those that a model thinks in among them.
    """

    model: str
    scale: str
    prompt: str = ""
    temperature: float | None = 0.0
    seed: int | None = None
    max_completion_tokens: int = 128

    def __post_init__(self) -> None:
        if self.scale not in ASKED_SCALES:
            raise ConfigError(f"scale is {self.scale!r}, expected one of {sorted(ASKED_SCALES)}")

    @property
    def judged_on(self) -> Scale:
        """The scale."""
        return ASKED_SCALES[self.scale]

    def load_prompt(self) -> PromptFile:
        """The prompt.

        Raises:
            ConfigError: It cannot be read.
        """
        path = Path(self.prompt) if self.prompt else _PROMPTS / f"{self.scale}.txt"
        try:
            return read_prompt_file(path)
        except OSError as error:
            raise ConfigError(f"{path}: this prompt cannot be read ({error})") from error


@dataclass(frozen=True)
class Plan:
    """What a run would ask.

    Args:
        predictions: Number of predictions to judge.
        requests: Number of different requests among them.
        answered: Number of these that the store has an answer to.
        prompt_tokens: Estimate of the tokens of the others' prompts.
        most_usd: What the others cost at most, where every reply is as long as it may be.
    """

    predictions: int
    requests: int
    answered: int
    prompt_tokens: int
    most_usd: float


class LanguageModelJudge:
    """Judges predictions by asking a model about each.

    Args:
        settings: Who judges, and how.
    """

    def __init__(self, settings: JudgeSettings):
        self.settings, self.prompt = settings, settings.load_prompt()
        read = settings.judged_on.read
        assert read is not None
        self._read = read

    @property
    def name(self) -> str:
        """Name of the judge in tables."""
        return f"llm {self.settings.model}"

    def request(self, question: Mapping[str, Any], prediction: Mapping[str, Any]) -> ChatRequest:
        """What is asked about a prediction."""
        options = question["options"]
        system, user = self.prompt.render(
            {
                "question": "\n".join([question["question"], *(f"- {option}" for option in options)]),
                "answer": question["answer"],
                "more_answers": list(question["more_answers"]),
                "prediction": prediction["prediction"],
            }
        )
        settings = self.settings
        return ChatRequest(
            settings.model,
            [{"role": "system", "content": system}, {"role": "user", "content": user}],
            max_completion_tokens=settings.max_completion_tokens,
            temperature=settings.temperature,
            seed=settings.seed,
        )

    def plan(self, pairs: Iterable[Pair], store: RequestStore, price: ModelPrice) -> Plan:
        """What a run would ask and cost; nothing is sent.

        Args:
            pairs: Questions with their predictions.
            store: Store of earlier runs.
            price: Price of the model.
        """
        seen: set[str] = set()
        predictions = answered = tokens = 0
        most_usd = 0.0
        for question, prediction in pairs:
            predictions += 1
            request = self.request(question, prediction)
            if request.request_hash in seen:
                continue
            seen.add(request.request_hash)
            if store.answer(request.request_hash) is not None:
                answered += 1
                continue
            prompt_tokens = estimate_tokens(request).prompt_tokens
            tokens += prompt_tokens
            most_usd += cost_usd(price, Usage(prompt_tokens, request.max_completion_tokens))
        return Plan(predictions, len(seen), answered, tokens, most_usd)

    def ask(
        self,
        pairs: Iterable[Pair],
        store: RequestStore,
        client: ChatClient,
        price: ModelPrice,
        budget: Budget,
        max_in_flight: int = 32,
        on_answered: Callable[[ChatAnswer], Any] = lambda answer: None,
    ) -> None:
        """Ask all that the store has no answer to.

        Args:
            pairs: Questions with their predictions.
            store: Store of the answers.
            client: Client of the model's server; its connections are closed at the end.
            price: Price of the model.
            budget: Money that may be spent.
            max_in_flight: Requests that are on their way at a time.
            on_answered: Function that is given each answer that comes in.

        Raises:
            LLMError: The run cannot go on; BudgetExceeded where the money does not suffice. What was answered is kept.
        """
        answerer = OnlineAnswerer(client, store, price, budget, max_in_flight=max_in_flight)
        run_to_end(self._ask(self._questions(pairs, store), answerer, on_answered))

    async def _ask(
        self, questions: Iterator[Question], answerer: OnlineAnswerer, on_answered: Callable[[ChatAnswer], Any]
    ) -> None:
        try:
            async with contextlib.aclosing(answerer.answer_all(questions)) as answers:
                async for _, answer in answers:
                    on_answered(answer)
        finally:
            # connections belong to this event loop, which ends with this run
            close = getattr(answerer.client, "close", None)
            if close is not None:
                await close()

    def _questions(self, pairs: Iterable[Pair], store: RequestStore) -> Iterator[Question]:
        for question, prediction in pairs:
            request = self.request(question, prediction)
            if store.answer(request.request_hash) is None:
                yield Question(request.request_hash, request, self._read)

    def rows(self, pairs: Iterable[Pair], store: RequestStore) -> Iterator[dict[str, Any]]:
        """Judgements from the answers in a store, in the order of the predictions.

        A request that several predictions share was paid for once: the first of them states its tokens and its cost.

        Args:
            pairs: Questions with their predictions.
            store: Store of the answers.
        """
        paid: set[str] = set()
        for question, prediction in pairs:
            request_hash = self.request(question, prediction).request_hash
            answer = store.answer(request_hash)
            yield self._row(prediction, request_hash, answer, request_hash not in paid)
            paid.add(request_hash)

    def _row(
        self, prediction: Mapping[str, Any], request_hash: str, answer: ChatAnswer | None, states_cost: bool
    ) -> dict[str, Any]:
        mark, status = self._mark(answer)
        usage = answer.usage if answer and states_cost else Usage()
        return judgement_row(
            **{name: prediction[name] for name in ("question_id", "source", "split", "condition")},
            prediction_sha256=hash_prediction(prediction["prediction"]),
            judge=self.name,
            scale=self.settings.judged_on.name,
            is_right=mark.is_right if mark else None,
            score=mark.score if mark else None,
            status=status,
            producer=PRODUCER,
            model=(answer.model if answer else "") or self.settings.model,
            prompt_id=self.prompt.prompt_id,
            prompt_sha256=self.prompt.sha256,
            request_hash=request_hash,
            raw_response=answer.text if answer else "it was not asked",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=answer.cost_usd if answer and states_cost else 0.0,
        )

    def _mark(self, answer: ChatAnswer | None) -> tuple[Mark | None, str]:
        if answer is None:
            return None, "failed"
        if answer.status != OK:
            return None, answer.status
        try:
            return self._read(answer.text), OK
        except InvalidAnswer:  # an earlier version's reader took what this one does not
            return None, INVALID
