"""The conversation in which a model is asked a question about a video, for answering and for training alike.

A prompt file says what is written (`AnswerPrompt`), `chat_messages` puts it into the messages that the processors of
`transformers` take, and `encode` makes a batch of model inputs of them. Which frames are shown, and when, is decided
in `vidreason.videoqa.frames`: processors are told not to choose among them, and their times.

Which model says what of the times, in transformers 5: Qwen3-VL writes seconds before each pair of frames, SmolVLM
minutes and seconds before each frame, Qwen2.5-VL turns them into positions. LLaVA-OneVision and InternVL have no
times; for these a prompt can name them (`AnswerPrompt.texts(..., name_times=True)`).
"""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, QuestionError
from ..llm.chat import PromptFile, read_prompt_file
from .frames import ShownFrames

PROMPT_NAMES = ("short_answer", "rationale", "bare_question", "bare_rationale")

LETTERS = string.ascii_uppercase
"""Letters of the options, in their order."""

_FOLDER = Path(__file__).parent / "prompt_texts"
_TRIED_ROWS = (
    {"question": "What?", "options": ["one", "two"], "answer_format": "choice"},
    {"question": "What?", "options": [], "answer_format": "open"},
)

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class AnswerPrompt:
    """What a model is told with a question.

    Templates may use `question`, `options` (pairs of letter and text; empty where there are none), `answer_format`,
    `num_frames` (0 where no video is shown), and `times` and `duration`, texts such as "1.50 s" (empty where times are
    not named).

    Args:
        file: The prompt file.

    Raises:
        ConfigError: A template does not work, or leaves out the question.
    """

    file: PromptFile

    def __post_init__(self) -> None:
        for row in _TRIED_ROWS:  # a fault of a template shows before a model is asked
            if "What?" not in "".join(self.texts(row, None)):
                raise ConfigError(f"prompt {self.prompt_id!r}: it does not say the question")

    @property
    def prompt_id(self) -> str:
        """Id for provenance; a changed text wants a new one."""
        return self.file.prompt_id

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal digits, for provenance."""
        return self.file.sha256

    def texts(
        self, question: Mapping[str, Any], shown: ShownFrames | None, name_times: bool = False
    ) -> tuple[str, str]:
        """The texts of the system message, which may be empty, and of the user's.

        Args:
            question: Row with `question`, `options` and `answer_format`; nothing else of it is told.
            shown: What is shown of the video; None for a question without it.
            name_times: Whether the times of the frames are named in the text.

        Raises:
            QuestionError: The question has more options than there are letters.
            ConfigError: The template does not work.
        """
        options = list(question["options"] or ())
        if len(options) > len(LETTERS):
            where = f"{question.get('source', '')}/{question.get('question_id', '')}"
            raise QuestionError(f"question {where}: {len(options)} options, there are {len(LETTERS)} letters for them")
        times = shown is not None and name_times
        return self.file.render(
            {
                "question": question["question"],
                "options": list(zip(LETTERS, options, strict=False)),
                "answer_format": question["answer_format"],
                "num_frames": 0 if shown is None else len(shown),
                "times": [time_text(time_s) for time_s in shown.timestamps_s] if shown and times else [],
                "duration": time_text(shown.duration_s) if shown and times else "",
            }
        )


def load_answer_prompt(name_or_path: str | os.PathLike = "short_answer") -> AnswerPrompt:
    """Read a prompt.

    Args:
        name_or_path: One of `PROMPT_NAMES`, or the path of a file of the same form.

    Raises:
        ConfigError: There is no such prompt, or its file is not one.
    """
    built_in = str(name_or_path) in PROMPT_NAMES
    path = _FOLDER / f"{name_or_path}.txt" if built_in else Path(name_or_path)
    try:
        return AnswerPrompt(read_prompt_file(path))
    except OSError as error:
        raise ConfigError(
            f"{str(name_or_path)!r} is no prompt: neither one of {', '.join(PROMPT_NAMES)} nor a file ({error})"
        ) from error


def time_text(time_s: float) -> str:
    """A time as it is written for a model, such as "1.50 s"."""
    return f"{time_s:.2f} s"


def chat_messages(system: str, user: str, with_video: bool, answer: str | None = None) -> Messages:
    """A conversation as the chat templates of `transformers` take it.

    Args:
        system: Text of the system message; none is made of an empty one.
        user: Text of the user's message, which stands after the video.
        with_video: Whether the user's message holds a video.
        answer: Text of the assistant's message, for training; None leaves it open.
    """
    # lists of parts throughout: some templates take nothing else
    messages = [{"role": "system", "content": [_text(system)]}] if system else []
    video = [{"type": "video"}] if with_video else []
    messages.append({"role": "user", "content": [*video, _text(user)]})
    if answer is not None:
        messages.append({"role": "assistant", "content": [_text(answer)]})
    return messages


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def render(processor: Any, messages: Messages) -> str:
    """The text of a conversation by the model's chat template; open for an answer where it has none.

    Args:
        processor: Processor of an image-text-to-text model.
        messages: Conversation from `chat_messages`.

    Raises:
        QuestionError: A text holds what the tokenizer would take for a frame of a video, or for the end of a turn.
    """
    control = [token.content for token in processor.tokenizer.added_tokens_decoder.values() if token.special]
    for message in messages:
        written = [token for part in message["content"] for token in control if token in part.get("text", "")]
        if written:
            raise QuestionError(f"a text holds {written[0]!r}, which the model reads as a sign and not as text")
    is_open = messages[-1]["role"] != "assistant"
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=is_open)


def encode(
    processor: Any,
    conversations: Sequence[Messages],
    shown: Sequence[ShownFrames] | None,
    padding_side: str = "left",
    **processor_kwargs: Any,
) -> Any:
    """Model inputs of a batch of conversations.

    Args:
        processor: Processor of an image-text-to-text model.
        conversations: Conversations from `chat_messages`, all with a video or all without.
        shown: What is shown in each; None where the conversations have no video.
        padding_side: "left" for generation, "right" for training.
        processor_kwargs: Further arguments of the processor, such as its `size`.

    Returns:
        A `BatchFeature` of tensors: `input_ids` and `attention_mask` (batch, tokens), the pixels by the model's own
        names, and what else its `forward` takes.
    """
    texts = [render(processor, messages) for messages in conversations]
    arguments: dict[str, Any] = {"padding": True, "padding_side": padding_side, "return_tensors": "pt"}
    bos = processor.tokenizer.bos_token
    if bos is not None and texts[0].startswith(bos):  # the template wrote it, the tokenizer would once more
        arguments["add_special_tokens"] = False
    if shown is not None:
        arguments |= {
            "videos": [clip.frames for clip in shown],
            "video_metadata": [video_metadata(clip) for clip in shown],
            "do_sample_frames": False,  # they are chosen
            "input_data_format": "channels_last",  # else guessed, which fails for a video of 3 pixels' width
        }
    return processor(text=texts, **arguments, **processor_kwargs)


def video_metadata(shown: ShownFrames) -> dict[str, Any]:
    """Times of frames as the video processors of `transformers` take them.

    They know an index and a rate alone, which cannot say the times of a variable rate. So time is counted in
    milliseconds: a frame's index is its time, and the rate is 1000. The mean rate that Qwen2.5-VL takes from it,
    frames / total x rate, is that of the part that is shown.

    Args:
        shown: What is shown of the video.
    """
    return {
        "total_num_frames": max(1, round(1000 * (shown.end_s - shown.start_s))),
        "fps": 1000.0,
        "duration": shown.duration_s,
        "frames_indices": [round(1000 * time_s) for time_s in shown.timestamps_s],  # a new list: processors extend it
        "height": shown.frames.shape[1],
        "width": shown.frames.shape[2],
    }


# Models that cannot be asked


def check_processor(name: str, processor: Any, num_frames: int = 8) -> None:
    """Check that a model can be shown videos in a conversation, by encoding one.

    Args:
        name: Name of the model, for the error.
        processor: Its processor.
        num_frames: Frames that questions will be asked with.

    Raises:
        ConfigError: There is no chat template or no video processor; the template leaves out the video or the
            question; frames are dropped, or tokens cut off. The message names the model and says which.
    """
    for part in ("tokenizer", "video_processor"):
        if getattr(processor, part, None) is None:
            raise ConfigError(f"{name}: {type(processor).__name__} has no {part.replace('_', ' ')}")
    fewer, more = sorted({num_frames, num_frames // 2 if num_frames > 3 else num_frames + 2})
    tokens = {frames: _tried_tokens(name, processor, frames) for frames in (0, fewer, more)}
    # by the number of tokens, since another token marks a frame in each model; some merge two frames into one
    if tokens[fewer] <= tokens[0] or tokens[more] - tokens[fewer] < (more - fewer) // 2:
        counts = ", ".join(f"{count} with {frames} frames" for frames, count in tokens.items())
        raise ConfigError(f"{name}: {type(processor).__name__} drops video tokens: a question has {counts}")


def _tried_tokens(name: str, processor: Any, num_frames: int) -> int:
    """Tokens of a conversation with so many frames."""
    question = "What is seen at the end of the video?"
    frames = np.zeros((num_frames, 64, 64, 3), dtype=np.uint8)
    times_s = tuple(float(second) for second in range(num_frames))
    shown = ShownFrames(frames, times_s, tuple(range(num_frames)), 0.0, float(num_frames), float(num_frames))
    messages = chat_messages("", question, with_video=num_frames > 0)
    try:
        text = render(processor, messages)
        inputs = encode(processor, [messages], [shown] if num_frames else None) if question in text else {}
    except Exception as error:  # whatever a template or a processor raises, the user needs the model's name
        raise ConfigError(f"{name}: it cannot be shown videos: {_one_line(error)}") from error
    if question not in text:
        raise ConfigError(f"{name}: its chat template leaves out the question")
    ids = inputs["input_ids"][0].tolist()
    # a tokenizer may cut at a length of its own, and says nothing
    ending = processor.tokenizer(text[text.index(question) :], add_special_tokens=False)["input_ids"][-3:]
    if ids[-len(ending) :] != ending and ids[-len(ending) - 1 : -1] != ending:  # some add a token at the end
        raise ConfigError(f"{name}: its tokenizer cuts conversations: {num_frames} frames are {len(ids)} tokens")
    return len(ids)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# Identity


def conversation_hash(messages: Messages, shown: ShownFrames | None, **facts: Any) -> str:
    """Key of a request: SHA-256 over its texts, pixels and times and what else decides the answer.

    Args:
        messages: Conversation from `chat_messages`.
        shown: What is shown of the video; None for none.
        facts: The rest, as JSON has it: model, revision, settings of generation.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps([messages, facts], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode())
    if shown is not None:
        digest.update(repr((shown.frames.shape, shown.timestamps_s, shown.duration_s)).encode())
        digest.update(shown.frames.tobytes())
    return digest.hexdigest()
