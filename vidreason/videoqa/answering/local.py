"""Answers of an image-text-to-text model of `transformers` in this process, in batches with left padding.

Greedy by default. What is sampled is asked one by one, each question with a seed of its own, so that an answer does
not depend on which others stood beside it, nor on where a run was broken off.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from ...errors import ConfigError, QuestionError, unforeseen
from ...files import content_hash
from ...whole_models import load_whole, one_line
from ..conversation import LETTERS, Messages, chat_messages, check_processor, conversation_hash, encode
from ..frames import FrameSampling, show_frames
from .asking import FAILED, OK, TRUNCATED, Keep, Outcome, Prepared, chunks

logger = logging.getLogger(__name__)

_WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".txt", ".model")
_TRIED_FRAMES = 4  # two of the models merge pairs of frames


@dataclass(frozen=True)
class LocalSettings:
    """Which model answers, and how.

    Args:
        model: Folder of a model, or its id on the Hub.
        revision: Branch, tag or commit of a model on the Hub.
        max_completion_tokens: Tokens at which an answer is cut.
        temperature: Temperature of the sampling; 0 takes the likeliest token each time.
        seed: Seed of the sampling.
        batch_size: Questions that are answered together.
        dtype: Type of the weights: "auto" as they are stored, or "float32", "bfloat16" or "float16".
        device: Such as "cuda" or "cpu"; None takes a GPU where there is one.
        max_seconds: Seconds of writing after which an answer is cut; None for any.
        safetensors_only: Whether weights in another format, whose reading could run code, are refused.

    Raises:
        ConfigError: A setting cannot be used.
    """

    model: str
    revision: str | None = None
    max_completion_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 4
    dtype: str = "auto"
    device: str | None = None
    max_seconds: float | None = None
    safetensors_only: bool = False

    def __post_init__(self) -> None:
        if min(self.max_completion_tokens, self.batch_size) < 1:
            raise ConfigError("max_completion_tokens and batch_size must be at least 1")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature is {self.temperature}, expected at least 0")
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise ConfigError(f"dtype is {self.dtype!r}, expected auto, float32, bfloat16 or float16")


class LocalAnswerer:
    """A model in this process.

    Args:
        settings: Which model, and how it answers.
        num_frames: Frames that questions will show; 0 where they show none.

    Raises:
        ConfigError: There is no such model, it cannot be loaded, or it cannot be shown videos (see `check_processor`).
    """

    producer = "video_llm"
    shares_requests = False

    def __init__(self, settings: LocalSettings, num_frames: int):
        self.settings, self.model = settings, settings.model
        self.device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.processor, self.network = load_model(settings, self.device)
        self.revision = _revision_of(settings, self.network)
        self.max_tokens = _most_tokens(self.network)
        if num_frames:
            check_processor(settings.model, self.processor, num_frames)
        self._check_network(_TRIED_FRAMES if num_frames else 0)

    def facts(self) -> dict[str, Any]:
        """What of it decides an answer: not the batch's size, nor the device."""
        names = ("model", "max_completion_tokens", "temperature", "dtype")
        facts = {name: getattr(self.settings, name) for name in names}
        sampling = {"seed": self.settings.seed} if self.settings.temperature else {}
        return {"producer": self.producer, **facts, **sampling, "revision": self.revision}

    def forget(self, statuses: Iterable[str]) -> None:
        """Nothing is kept here."""

    def answer_all(self, questions: Iterator[Prepared], keep: Keep) -> None:
        """Answer questions as they are drawn; the next batch is prepared while one is answered."""
        size = 1 if self.settings.temperature else self.settings.batch_size
        batches = chunks(questions, size)
        with ThreadPoolExecutor(1) as pool:  # decoding and the network both run outside Python's lock
            upcoming = pool.submit(next, batches, None)
            while (batch := upcoming.result()) is not None:
                upcoming = pool.submit(next, batches, None)
                for prepared, outcome in zip(batch, self.answer_batch(batch), strict=True):
                    keep(prepared, outcome)

    def answer_batch(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """What comes of asking some questions together; where that fails, of each of them alone."""
        try:
            return self._answer(batch)
        except QuestionError as error:
            if len(batch) == 1:
                return [self._failed(str(error))]
        except (RuntimeError, ValueError) as error:  # out of memory among them: one alone takes less
            if len(batch) == 1:
                named = unforeseen(batch[0].question["question_id"], error)
                return [self._failed(f"{named.reason}: {named.detail}")]
            logger.warning("a batch of %d questions fails, they are asked one by one: %s", len(batch), error)
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
        return [outcome for prepared in batch for outcome in self.answer_batch([prepared])]

    @torch.inference_mode()
    def option_probabilities(self, prepared: Prepared) -> tuple[list[float], float]:
        """How likely each letter is as the first token of the answer to a multiple choice.

        Args:
            prepared: A question with options, which the prompt has given their letters.

        Returns:
            The options' probabilities among one another, which sum to 1, and the share of the probability of all
            tokens that their letters have together.

        Raises:
            QuestionError: The question is too long, a text holds a sign of the model's, or a letter is no token.
        """
        messages = [chat_messages(prepared.system, prepared.user, prepared.shown is not None)]
        inputs = encode(self.processor, messages, None if prepared.shown is None else [prepared.shown])
        length = inputs["input_ids"].shape[1]
        if length + 1 > self.max_tokens:
            raise QuestionError(f"the question has {length} tokens, the model takes {self.max_tokens - 1}")
        letters = [self._letter_tokens(letter) for letter in LETTERS[: len(prepared.question["options"])]]
        config = self.generation_config()
        config.max_new_tokens = 1
        kept = {"output_logits": True, "return_dict_in_generate": True}  # logits of the last place alone
        generated = self.network.generate(**self._placed(inputs), generation_config=config, **kept)
        shares = generated.logits[0][0].float().softmax(dim=-1)
        masses = torch.stack([shares[tokens].sum() for tokens in letters]).double()
        total = float(masses.sum())
        if total <= 0:  # all below the smallest number: nothing tells the options apart
            return [1 / len(letters)] * len(letters), 0.0
        return (masses / total).tolist(), total

    def _letter_tokens(self, letter: str) -> list[int]:
        """Tokens that are a letter, with a space before it or without.

        Raises:
            QuestionError: There is none.
        """
        tokenizer = self.processor.tokenizer
        written = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (letter, f" {letter}")]
        single = {ids[0] for ids in written if len(ids) == 1} - {tokenizer.unk_token_id}
        if not single:
            raise QuestionError(f"the tokenizer of {self.model} has no token for the letter {letter}")
        return sorted(single)

    def _answer(self, batch: Sequence[Prepared]) -> list[Outcome]:
        start_s = time.perf_counter()
        conversations = [chat_messages(one.system, one.user, one.shown is not None) for one in batch]
        shown = [one.shown for one in batch if one.shown is not None]
        inputs = encode(self.processor, conversations, shown or None)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        if max(lengths) + self.settings.max_completion_tokens > self.max_tokens:
            if len(batch) == 1:
                return [self._too_long(lengths[0])]
            return [outcome for prepared in batch for outcome in self._answer([prepared])]
        tokens = self._generate(inputs, conversations)
        seconds = (time.perf_counter() - start_s) / len(batch)
        return [
            self._outcome(one, messages, answer, length, seconds)
            for one, messages, answer, length in zip(batch, conversations, tokens, lengths, strict=True)
        ]

    @torch.inference_mode()
    def _generate(self, inputs: Any, conversations: Sequence[Messages]) -> list[list[int]]:
        """Tokens of each answer."""
        if self.settings.temperature:
            key = hashlib.sha256(f"{self.settings.seed}\n{conversations}".encode()).digest()
            torch.manual_seed(int.from_bytes(key[:7], "big"))
        tokens = self.network.generate(**self._placed(inputs), generation_config=self.generation_config())
        return tokens[:, inputs["input_ids"].shape[1] :].tolist()

    def _placed(self, inputs: Any) -> dict[str, Any]:
        """Inputs on the network's device; pixels in its type, and nothing else: times would be rounded."""
        types = {name: self.network.dtype for name in inputs if name.startswith("pixel_values")}
        return {name: values.to(self.device, types.get(name)) for name, values in inputs.items()}

    def generation_config(self) -> GenerationConfig:
        """How tokens are chosen: by the settings alone. What a model's own configuration adds would be unseen here."""
        own, tokenizer = self.network.generation_config, self.processor.tokenizer
        sampling = {"temperature": self.settings.temperature} if self.settings.temperature else {}
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        return GenerationConfig(
            max_new_tokens=self.settings.max_completion_tokens,
            do_sample=bool(sampling),
            **{"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
            **({**sampling, "top_k": 0, "top_p": 1.0} if sampling else {}),
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else _first(ends),
            max_time=self.settings.max_seconds,
        )

    def _outcome(
        self, prepared: Prepared, messages: Messages, tokens: list[int], prompt_tokens: int, seconds: float
    ) -> Outcome:
        ends = set(_all(self.generation_config().eos_token_id))
        ended = next((place for place, token in enumerate(tokens) if token in ends), None)
        said = tokens if ended is None else tokens[:ended]
        return Outcome(
            status=OK if ended is not None else TRUNCATED,
            text=self.processor.tokenizer.decode(said, skip_special_tokens=True),
            request_hash=conversation_hash(messages, prepared.shown, answerer=self.facts()),
            model=self.model,
            revision=self.revision,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(said) + (ended is not None),
            seconds=seconds,
        )

    def _too_long(self, length: int) -> Outcome:
        most = f"{self.max_tokens} less the {self.settings.max_completion_tokens} of an answer"
        text = f"not asked: the question has {length} tokens, the model takes {most}"
        # never cut, which would drop the answer's instruction or tokens of the video
        return Outcome(
            *(TRUNCATED, text), model=self.model, revision=self.revision, prompt_tokens=length, was_asked=False
        )

    def _failed(self, text: str) -> Outcome:
        return Outcome(FAILED, text, model=self.model, revision=self.revision, was_asked=False)

    def _check_network(self, num_frames: int) -> None:
        """Try one token: a processor and a network that do not fit together should be found out before a long run."""
        frames = np.zeros((max(1, num_frames), 32, 32, 3), dtype=np.uint8)
        shown = show_frames(frames, FrameSampling(max(1, num_frames), None), frames_per_second=1.0)
        messages = [chat_messages("", "What is seen?", num_frames > 0)]
        try:
            with torch.inference_mode():
                self.network(**self._placed(encode(self.processor, messages, [shown] if num_frames else None)))
        except Exception as error:  # whatever a network raises, the user needs the model's name
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise ConfigError(f"{self.model}: its processor and its network do not fit together: {reason}") from error


def load_model(settings: LocalSettings, device: str) -> tuple[Any, Any]:
    """The processor and the network of a model, the network on its device.

    Raises:
        ConfigError: There is no such model, it lacks weights, or it is none that takes pictures and text.
    """
    try:
        processor = AutoProcessor.from_pretrained(settings.model, revision=settings.revision)
    except Exception as error:  # files from elsewhere: the libraries raise whatever there is
        reason = one_line(error)
        raise ConfigError(f"{settings.model}: no image-text-to-text model can be loaded of it: {reason}") from error
    network = load_whole(
        AutoModelForImageTextToText,
        settings.model,
        settings.model,
        revision=settings.revision,
        dtype=settings.dtype,
        use_safetensors=True if settings.safetensors_only else None,
    )
    return processor, network.to(device).eval()


def _revision_of(settings: LocalSettings, network: Any) -> str:
    """The commit of a model on the Hub; of a folder, a hash of its files."""
    folder = Path(settings.model)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _WEIGHTS)
        return content_hash(files)
    return getattr(network.config, "_commit_hash", None) or settings.revision or ""


def _most_tokens(network: Any) -> int:
    """Tokens that a network has positions for; of one that states no number, any."""
    most = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    return most if isinstance(most, int) and most > 0 else 2**31


def _all(ids: Any) -> list[int]:
    return list(ids) if isinstance(ids, list | tuple) else [] if ids is None else [ids]


def _first(ids: Any) -> int | None:
    return next(iter(_all(ids)), None)
