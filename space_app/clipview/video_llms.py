"""Video-LLMs of the operator's, and what one says to a question about a clip: with the clip, and without it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from vidreason.errors import ConfigError, QuestionError
from vidreason.videoqa.answering.asking import OK, TRUNCATED, Prepared
from vidreason.videoqa.answering.local import LocalAnswerer, LocalSettings
from vidreason.videoqa.conversation import LETTERS, AnswerPrompt, load_answer_prompt
from vidreason.videoqa.frames import SAMPLINGS, ShownFrames, scale_down

from .checkpoints import display_name, read_card
from .limits import Deadline, Refused, too_slow
from .reading import Clip

logger = logging.getLogger(__name__)

SAMPLING = SAMPLINGS["step"]
"""What a Video-LLM is shown: 8 frames of 224 pixels, as the training's defaults have it."""

MAX_QUESTION_CHARACTERS, MAX_OPTION_CHARACTERS = 500, 200
MAX_OPTIONS_CHARACTERS = 27 * MAX_OPTION_CHARACTERS
_MAX_TOKENS, _MAX_WRITING_S = 32, 15.0


@dataclass(eq=False)
class VideoLLM:
    """A loaded Video-LLM.

    Args:
        name: Name for the visitor.
        answerer: What asks it.
        card: Markdown of its card without the front matter, empty where it has none.
        prompt: What it is told with a question.
        lock: Held while it is asked: one question at a time, each with all of the machine.
    """

    name: str
    answerer: LocalAnswerer
    card: str
    prompt: AnswerPrompt = field(default_factory=load_answer_prompt)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Said:
    """What a model said to a question.

    Args:
        text: Its words, or the text of the likeliest option.
        shares: Probability of each option, in their order; empty for a question without options.
        letters_share: Share of the probability of all tokens that the options' letters have together; 0 without
            options.
        is_cut: Whether the words were cut at the most tokens or seconds.
    """

    text: str
    shares: tuple[float, ...] = ()
    letters_share: float = 0.0
    is_cut: bool = False


@dataclass(frozen=True, eq=False)
class QuestionAnswer:
    """What a model said to a question about a clip.

    Args:
        shown: Frames that it was shown.
        with_video: What it said to them.
        blind: What it said without any.
    """

    shown: ShownFrames
    with_video: Said
    blind: Said


def is_video_llm(model_id: str) -> bool:
    """Whether a folder or Hub id is a model that takes pictures and text and writes text, by its configuration.

    One that cannot be read is none; what loads it otherwise says what is wrong with it.
    """
    try:
        config = AutoConfig.from_pretrained(model_id, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError):
        return False
    known = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    return known is not None and known in (config.architectures or [known])


def load_video_llms(model_ids: Sequence[str], prompt: str = "short_answer") -> dict[str, VideoLLM]:
    """Load Video-LLMs, from safetensors only and without any code of theirs: name -> model, in the order given.

    Args:
        model_ids: Folders or Hub ids.
        prompt: Name or path of the prompt by which all are asked.

    Raises:
        ConfigError: There is no such prompt, one cannot be loaded or cannot be shown videos, or two have one name.
    """
    loaded: dict[str, VideoLLM] = {}
    told = load_answer_prompt(prompt)
    for model_id in model_ids:
        settings = LocalSettings(
            model_id, max_completion_tokens=_MAX_TOKENS, max_seconds=_MAX_WRITING_S, safetensors_only=True
        )
        model = VideoLLM(
            display_name(model_id), LocalAnswerer(settings, SAMPLING.num_frames), read_card(model_id), told
        )
        if model.name in loaded:
            raise ConfigError(f"two Video-LLMs are called {model.name!r}: rename a folder")
        loaded[model.name] = model
    return loaded


def read_question(question: str, options: str) -> tuple[str, list[str]]:
    """A visitor's question and its options, a line each; blank lines are none.

    Raises:
        Refused: There is no question, one is too long, or there is a single option or one twice.
    """
    question = " ".join(question.split())
    if not 0 < len(question) <= MAX_QUESTION_CHARACTERS:
        raise Refused("bad_question", f"Please ask a question, of at most {MAX_QUESTION_CHARACTERS} characters.")
    lines = [" ".join(line.split()) for line in options.splitlines()]
    listed = [line for line in lines if line]
    if len(listed) == 1 or len(listed) > len(LETTERS):
        raise Refused("bad_options", f"Options: {len(listed)} lines, expected none or 2 to {len(LETTERS)}.")
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_OPTION_CHARACTERS:
            raise Refused("bad_options", f"Options, line {number}: longer than {MAX_OPTION_CHARACTERS} characters.")
        if line and line in lines[: number - 1]:
            raise Refused("bad_options", f"Options, line {number}: {line!r} is there twice.")
    return question, listed


def frames_to_show(clip: Clip) -> ShownFrames:
    """What a model is shown of a clip that was read with `SAMPLING.num_frames` frames."""
    positions = clip.sampled[SAMPLING.num_frames]
    times_s = tuple(float(time_s) for time_s in clip.times_s[positions])
    return ShownFrames(
        frames=scale_down(clip.frames[positions], SAMPLING.max_side_px),
        timestamps_s=times_s,
        frame_indices=tuple(positions),
        start_s=0.0,
        end_s=clip.facts.duration_s,
        duration_s=clip.facts.duration_s,
    )


def ask(model: VideoLLM, question: Mapping[str, Any], clip: Clip, deadline: Deadline) -> QuestionAnswer:
    """Ask a question about a clip, and the same question without it.

    Args:
        model: Model to ask.
        question: Row with `question`, `options` and `answer_format`.
        clip: Clip that was read with `SAMPLING.num_frames` frames.
        deadline: Time at which the request is given up; it is looked at between the two.

    Raises:
        Refused: The model cannot be asked this, or the time is over.
    """
    shown = frames_to_show(clip)
    with _held(model.lock, deadline):
        with_video = _say(model, question, shown)
        deadline.check()
        blind = _say(model, question, None)
    return QuestionAnswer(shown, with_video, blind)


@contextmanager
def _held(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    if not lock.acquire(timeout=max(0.0, deadline.left_s)):
        raise too_slow()
    try:
        deadline.check()
        yield
    finally:
        lock.release()


def _say(model: VideoLLM, question: Mapping[str, Any], shown: ShownFrames | None) -> Said:
    row = {"question_id": "visitor", "source": "space", **question}
    system, user = model.prompt.texts(row, shown)
    prepared = Prepared(row, "", system, user, shown)
    if row["options"]:
        try:
            shares, letters_share = model.answerer.option_probabilities(prepared)
        except QuestionError as error:
            raise _unanswered(str(error)) from None
        best = max(range(len(shares)), key=shares.__getitem__)
        return Said(row["options"][best], tuple(shares), letters_share)
    (outcome,) = model.answerer.answer_batch([prepared])
    if not outcome.was_asked or outcome.status not in (OK, TRUNCATED):
        raise _unanswered(outcome.text)
    return Said(outcome.text.strip(), is_cut=outcome.status == TRUNCATED)


def _unanswered(reason: str) -> Refused:
    logger.warning("a question was not answered: %s", reason)  # it may name a folder: for the operator
    text = "The model cannot be asked this: it is too long for it, or holds signs that the model takes for its own."
    return Refused("not_answered", text)
