"""From a question to what a model is trained on: the tokens of a conversation, and which of them have a loss.

A conversation is one question with one instruction, for its answer or for its rationale (STEP, section 3.2). Tokens
with a loss are those of the text that the model is to say, and the token that ends its turn. They are found by what
the chat template writes after the prompt, and not by the template's mask of the assistant's text, which is all zeros
for templates without marks for it (transformers, issue 46559). What is found is decoded and compared.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import ConfigError, QuestionError
from ..conversation import LETTERS, AnswerPrompt, Messages, chat_messages, encode, render
from ..frames import ShownFrames
from .losses import IGNORED_TOKEN

PARTS = ("answer", "rationale")
"""What a conversation asks for, and the parts of the loss, in the order of their numbers."""

SEGMENTS = "segment_ids"
"""Input of conversations that share a video: 0 for a token of all of them, else the number of the token's own."""

AFTER_PROMPT = {"attention_mask": 1, "mm_token_type_ids": 0, "token_type_ids": 0}
"""Inputs with a value for each token besides `input_ids` -> their value for a token of text."""

PER_TOKEN = ("input_ids", *AFTER_PROMPT)

DROPPED = ("truncated", "invalid", "empty", "failed")
"""Statuses of conversations that are not trained on: too long; with texts that a template would take for its own
marks; with nothing to say; with a video that cannot be read."""


class DroppedConversation(QuestionError):
    """A conversation that a model cannot be trained on as it is.

    Args:
        status: One of `DROPPED`.
        reason: What is wrong with it, for people.
    """

    def __init__(self, status: str, reason: str):
        self.status, self.reason = status, reason
        super().__init__(status, reason)

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True, eq=False)
class EncodedConversation:
    """The tokens of a conversation and the pixels of its video.

    Attributes:
        part: Name of the part of the loss that it counts for.
        inputs: What the model's `forward` takes, each with a batch of 1.
        labels: (1, tokens), int64; `IGNORED_TOKEN` where there is no loss. Empty for a prompt that the model goes on
            from itself.
    """

    part: str
    inputs: Mapping[str, torch.Tensor]
    labels: torch.Tensor

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.inputs["input_ids"].shape[1]


@dataclass(frozen=True)
class ConversationEncoder:
    """Makes conversations of questions, with the processor of the model that is trained.

    Args:
        processor: Processor of an image-text-to-text model that takes video.
        prompts: Part -> its instruction.
        max_length: Most tokens of a conversation; None for any number.
        name_times: Whether the times of frames are written into the prompt.
    """

    processor: Any
    prompts: Mapping[str, AnswerPrompt]
    max_length: int | None = None
    name_times: bool = False

    def messages(self, question: Mapping[str, Any], part: str, shown: ShownFrames | None) -> Messages:
        """The conversation up to what the model is to say.

        Args:
            question: Row of a table of questions.
            part: One of `PARTS`.
            shown: What is shown of its video; None for none.
        """
        system, user = self.prompts[part].texts(question, shown, self.name_times)
        return chat_messages(system, user, with_video=shown is not None)

    def encode(self, question: Mapping[str, Any], part: str, shown: ShownFrames | None) -> EncodedConversation:
        """A conversation that the model is trained on.

        Args:
            question: Row of a table of questions, with a rationale where that is the part.
            part: One of `PARTS`.
            shown: What is shown of its video; None for none.

        Raises:
            DroppedConversation: It is too long, or its texts hold tokens that only a template may write.
            ConfigError: The model's chat template does not fit training.
        """
        with _invalid_texts():
            messages = self.messages(question, part, shown)
        target = self._target_ids(messages, target_text(question, part))
        inputs = self._inputs(messages, shown)
        prompt_length = inputs["input_ids"].shape[1]
        self._check_length(prompt_length + len(target))
        labels = torch.tensor([target])
        whole = {name: _with_target(name, value, labels) for name, value in inputs.items()}
        ignored = torch.full((1, prompt_length), IGNORED_TOKEN)
        return EncodedConversation(part, whole, torch.cat([ignored, labels], dim=1))

    def open(self, question: Mapping[str, Any], shown: ShownFrames | None) -> EncodedConversation:
        """A prompt that the model is to answer.

        Args:
            question: Row of a table of questions.
            shown: What is shown of its video; None for none.

        Raises:
            DroppedConversation: It is too long, or its texts hold tokens that only a template may write.
        """
        with _invalid_texts():
            messages = self.messages(question, "answer", shown)
        inputs = self._inputs(messages, shown)
        self._check_length(inputs["input_ids"].shape[1])
        return EncodedConversation("answer", inputs, torch.empty(1, 0, dtype=torch.int64))

    def join(self, conversations: Sequence[EncodedConversation]) -> EncodedConversation:
        """Several conversations about the same frames as one row of tokens, in which these stand once.

        What all begin with, the video among it, is followed by the rest of each. `segment_ids` (1, tokens) says which
        token is whose; with the mask and the positions of `vidreason.videoqa.training.shared_video`, what a model says
        in each is what it says in it alone.

        Args:
            conversations: At least one, from `encode`, all of one part and with the same frames.

        Raises:
            ConfigError: A question is written before the video, so that what all begin with does not hold it.
        """
        ids = [one.inputs["input_ids"][0].tolist() for one in conversations]
        prompts = [int((one.labels[0] == IGNORED_TOKEN).sum()) for one in conversations]
        # of each conversation a token of the prompt is left, from which the first word of its answer is predicted
        alike = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*ids, strict=False))
        shared = min(len(list(alike)), min(prompts) - 1)
        rests = [row[shared:] for row in ids]
        if any(id_ in self._media_ids for rest in rests for id_ in rest):
            raise ConfigError("share_video is true, but the prompt says something of a question before the video")
        first = conversations[0]
        rest_ids = torch.tensor([[id_ for rest in rests for id_ in rest]])
        inputs = {
            name: _with_target(name, value[:, :shared] if name in PER_TOKEN else value, rest_ids)
            for name, value in first.inputs.items()
        }
        numbers = [0] * shared + [number for number, rest in enumerate(rests, 1) for _ in rest]
        labels = [first.labels[:, :shared], *(one.labels[:, shared:] for one in conversations)]
        return EncodedConversation(first.part, {**inputs, SEGMENTS: torch.tensor([numbers])}, torch.cat(labels, dim=1))

    def _inputs(self, messages: Messages, shown: ShownFrames | None) -> dict[str, torch.Tensor]:
        with _invalid_texts():
            found = encode(self.processor, [messages], None if shown is None else [shown], padding_side="right")
        # of what a processor gives, such as metadata of the video, the model takes tensors
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}

    def _check_length(self, length: int) -> None:
        if self.max_length is not None and length > self.max_length:
            # never cut: what is left could be a question without its end, or a video without its last frames
            raise DroppedConversation("truncated", f"{length} tokens, max_length is {self.max_length}")

    def _target_ids(self, messages: Messages, text: str) -> list[int]:
        """Ids of what the model is to say, the end of its turn included."""
        if not text:
            raise DroppedConversation("empty", "there is nothing that the model is to say")
        answered = [*messages, {"role": "assistant", "content": [{"type": "text", "text": text}]}]
        with _invalid_texts():
            prompt, whole = render(self.processor, messages), render(self.processor, answered)
        if not whole.startswith(prompt):
            raise ConfigError(
                f"the chat template does not go on where a prompt for an answer ends: {prompt[-40:]!r} is followed by "
                f"{whole[-len(text) - 80 :]!r}"
            )
        # apart from the prompt, as in generation: there, too, no token reaches over the end of the prompt
        ids = self._ids(whole[len(prompt) :])
        end = next((place for place, id_ in enumerate(ids) if id_ in self._special_ids), len(ids))
        said = self.processor.tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False)
        # some tokenizers add space at the front, and those of whole words write it between all
        if said.split() != text.split() and "".join(said.split()) != "".join(text.split()):
            raise DroppedConversation("invalid", f"its tokens say {said!r} where {text!r} is to be said")
        return ids[: end + 1] if end < len(ids) else [*ids, self._end_id()]

    def _end_id(self) -> int:
        """What ends a turn where the template writes nothing: without it a model would never learn to stop."""
        id_ = self.processor.tokenizer.eos_token_id
        if id_ is None:
            raise ConfigError("neither the chat template nor the tokenizer has a token that ends an answer")
        return id_

    def _ids(self, text: str) -> list[int]:
        return self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]

    @functools.cached_property
    def _special_ids(self) -> frozenset[int]:
        tokenizer = self.processor.tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        found = {*tokenizer.all_special_ids, *(id_ for id_, token in added.items() if token.special)}
        found |= self._media_ids
        # an unknown word is a word, and none of the template's marks
        return frozenset(found - {tokenizer.unk_token_id, None})

    @functools.cached_property
    def _media_ids(self) -> frozenset[int | None]:
        """Ids of what stands for frames."""
        names = [getattr(self.processor, name, None) for name in ("image_token", "video_token")]
        return frozenset(self.processor.tokenizer.convert_tokens_to_ids(name) for name in names if name is not None)


@contextmanager
def _invalid_texts() -> Iterator[None]:
    """Texts of a question that its conversation cannot be written with are `invalid`."""
    try:
        yield
    except QuestionError as error:
        raise DroppedConversation("invalid", str(error)) from error


def target_text(question: Mapping[str, Any], part: str) -> str:
    """What a model is to say: the letter of the right option, the answer, or the rationale.

    Args:
        question: Row of a table of questions.
        part: One of `PARTS`.
    """
    if part == "rationale":
        return (question["rationale"] or "").strip()
    if question["options"]:
        # as the prompt asks for it
        return LETTERS[question["answer_index"]]
    return (question["answer"] or "").strip()


def _with_target(name: str, value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """An input of the prompt with the tokens that follow it; what is not of tokens stays as it is."""
    if name == "input_ids":
        return torch.cat([value, target.to(value.dtype)], dim=1)
    if name in AFTER_PROMPT:
        return torch.cat([value, value.new_full(target.shape, AFTER_PROMPT[name])], dim=1)
    return value
