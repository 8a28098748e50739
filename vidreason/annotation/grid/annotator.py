"""Guidance from a vision-language model: which frames it is shown, what it is asked, and what its answers become.

The paper shows GPT-4.1-mini one frame at a time with the action's name and asks for the grid cells that matter
(section 2.2, appendix B). Here the model is any that speaks chat completions. From the inside out: `make_requests`
asks about one picture and `answer_row` makes a row of its answer; an `LLMAnnotator` makes questions and, when they are
answered, rows of all videos. Between the two stands an `Answerer` (`vidreason.llm`), which a run (`grid.run`) sets up.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ...boxes_in_text import CONVENTIONS, PIXELS, BoxConvention, find_convention, find_family
from ...errors import ConfigError, InvalidAnswer, LLMError, VideoError, unforeseen
from ...guidance import guidance_row
from ...guidance.merge import merge_rows
from ...llm.chat import (
    DEFAULT_MODEL,
    FAILED,
    INVALID,
    OK,
    ChatAnswer,
    ChatRequest,
    Question,
    Usage,
    image_part,
)
from ...llm.store import RequestStore
from ...manifests.manifest import Manifest
from ...video import decode_readable_frames
from ...video.decode import read_frame_table
from ..frames import (
    ClassLabels,
    FirstUses,
    FrameJournal,
    FramePolicy,
    JournalFrame,
    LabelSource,
)
from ..job import Shard
from ..outcome import one_line
from .prompts import FrameAnswer, Prompt, read_answer

logger = logging.getLogger(__name__)

T = TypeVar("T")

PRODUCER = "llm"
"""What rows and runs call this producer."""

NOT_ASKED = "not asked"
"""What stands in place of an answer where the money ended before a frame was asked about."""

_FRAMES_AT_ONCE = 16
"""Frames of a video that are decoded together; more would only cost memory."""

_MAX_READINGS = 50_000
"""Answers of this run whose readings are kept in memory until the table is written, about 0.4 kB each and a few with
many objects. The answers beyond that are read again from the store, since a run over millions of frames must not fill
the memory."""

OnAnswered = Callable[[int], None]


# One frame


@dataclass(frozen=True)
class LLMSettings:
    """What is asked of a model about each frame. A change of any of it makes other requests.

    Each field is a flag of `--annotator llm`, where its help says what it does.
    """

    model: str = field(default=DEFAULT_MODEL, metadata={"help": "Name of the model at the server."})
    dataset_name: str = field(default="", metadata={"help": "Name of the data set in the prompt."})
    label_in_prompt: bool = field(
        default=True, metadata={"help": "Tell the model the action; such guidance is for training only."}
    )
    max_side_px: int | None = field(default=None, metadata={"help": "Scale pictures down to this longer side."})
    jpeg_quality: int = field(default=90, metadata={"help": "Quality of the pictures that are sent, 1 to 95."})
    image_detail: str = field(default="auto", metadata={"help": "Detail of the OpenAI API: auto, low or high."})
    max_completion_tokens: int = field(
        default=300, metadata={"help": "Tokens at which an answer is cut, and counts as truncated."}
    )
    temperature: float | None = field(default=0.0, metadata={"help": "Temperature of the model's sampling."})
    samples_per_frame: int = field(default=1, metadata={"help": "Answers that are merged into one map."})
    structured: bool = field(default=True, metadata={"help": "Ask for answers by JSON schema where the server can."})
    coordinates: str = field(
        default="auto",
        metadata={
            "help": "Scale in which the model writes places: pixels (of the picture that is sent), share, 0-999, "
            "0-1000, or a family: qwen2-vl, qwen2.5-vl, qwen3-vl, gemini, internvl, gpt. auto knows it by the model's "
            "name, and takes pixels for others."
        },
    )
    extra_body: str = field(
        default="",
        metadata={
            "help": "JSON object of further fields that the server knows, such as "
            '{"chat_template_kwargs": {"enable_thinking": false}}.'
        },
    )

    @functools.cached_property
    def extra_fields(self) -> dict[str, Any]:
        """The object in `extra_body`."""
        return json.loads(self.extra_body) if self.extra_body else {}

    def __post_init__(self) -> None:
        if self.image_detail not in ("auto", "low", "high"):
            raise ConfigError(f"image_detail is {self.image_detail!r}, expected auto, low or high")
        if not 1 <= self.jpeg_quality <= 95:  # above 95 Pillow's files grow and the picture does not get better
            raise ConfigError(f"jpeg_quality is {self.jpeg_quality}, expected 1 to 95")
        if self.max_side_px is not None and self.max_side_px < 16:
            raise ConfigError(f"max_side_px is {self.max_side_px}, expected at least 16")
        if self.samples_per_frame < 1 or self.max_completion_tokens < 1:
            raise ConfigError("samples_per_frame and max_completion_tokens must be at least 1")
        if self.samples_per_frame > 1 and self.temperature == 0:
            raise ConfigError("samples_per_frame > 1 wants a temperature above 0: else all samples are the same")
        if self.convention.unit == "original_pixels":
            raise ConfigError("coordinates cannot be original_pixels: the model sees the picture that is sent")
        try:
            if not isinstance(self.extra_fields, dict):
                raise ValueError("it is no object")
            ChatRequest(self.model, [], extra_body=self.extra_fields)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"extra_body must be a JSON object, got {self.extra_body[:200]!r}: {error}") from error

    @cached_property
    def convention(self) -> BoxConvention:
        """How the model writes places; found once, as every frame and every answer wants it.

        Raises:
            ConfigError: `coordinates` is none of the scales.
        """
        if self.coordinates != "auto":
            return find_convention(self.coordinates)
        family = find_family(self.model)
        return PIXELS if family is None else CONVENTIONS[family]


def make_requests(
    prompt: Prompt,
    settings: LLMSettings,
    grid: tuple[int, int],
    label: str | None,
    jpeg: bytes,
    size: tuple[int, int],
) -> list[ChatRequest]:
    """The requests about one picture, one for each sample.

    Args:
        prompt: What the model is told.
        settings: What is asked.
        grid: (rows, columns) of the guidance.
        label: Name of the action, or None to leave it out.
        jpeg: The picture's file.
        size: (height, width) of the picture in pixels.
    """
    system, user = prompt.render(
        grid=grid,
        label=label,
        frame_height=size[0],
        frame_width=size[1],
        dataset_name=settings.dataset_name,
        convention=settings.convention,
    )
    content = [{"type": "text", "text": user}, image_part(jpeg, settings.image_detail)]
    first = ChatRequest(
        model=settings.model,
        messages=[{"role": "system", "content": system}, {"role": "user", "content": content}],
        max_completion_tokens=settings.max_completion_tokens,
        temperature=settings.temperature,
        schema=prompt.schema(grid, settings.convention) if settings.structured else None,
        image_sizes=(size,),
        extra_body=settings.extra_fields,
    )
    if settings.samples_per_frame == 1:
        return [first]  # without a seed, so that one sample is the same request whether or not samples are in use
    return [replace(first, seed=sample) for sample in range(settings.samples_per_frame)]


def encode_jpeg(picture: np.ndarray, max_side_px: int | None, quality: int) -> tuple[bytes, tuple[int, int]]:
    """A JPEG of a frame, scaled down where it is larger.

    Args:
        picture: Frame of shape (height, width, 3), uint8, RGB.
        max_side_px: Longer side in pixels, at most; None leaves the size.
        quality: Quality of the JPEG, 1 to 95.

    Returns:
        The file's bytes, and the (height, width) of the picture in it.
    """
    image = Image.fromarray(picture)
    if max_side_px is not None:
        # never enlarged: more pixels would cost more tokens and show nothing more
        image.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # these bytes are in the request's hash: another encoder makes other requests, which are paid for anew
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue(), (image.height, image.width)


def answer_row(
    frame_key: Mapping[str, Any],
    answer: ChatAnswer,
    reading: FrameAnswer | None,
    grid: tuple[int, int],
    prompt: Prompt,
    model: str,
) -> dict[str, Any]:
    """A row of the guidance table from an answer about a frame.

    Args:
        frame_key: Fields of `guidance.FRAME_KEY`.
        answer: What came of the request, whatever its status.
        reading: What the answer says; None where it says nothing that can be used.
        grid: (rows, columns) that the model was told.
        prompt: What the model was told.
        model: Name of the model as it was asked for.
    """
    # OK without a reading: an earlier version's reader took what this one does not
    status = None if reading else INVALID if answer.status == OK else answer.status
    return guidance_row(
        frame_key,
        reading.weights if reading else [0.0] * (grid[0] * grid[1]),
        grid,
        producer=PRODUCER,
        status=status,
        objects=reading.objects if reading else [],
        model=answer.model or model,
        prompt_id=prompt.prompt_id,
        prompt_sha256=prompt.sha256,
        request_hash=answer.request_hash,
        raw_response=answer.text,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        cost_usd=answer.cost_usd,
    )


def _says_scale(prompt: Prompt, convention: BoxConvention) -> bool:
    """Whether a prompt's text is another one than for a model that writes pixels of the picture that is sent."""
    if convention == PIXELS:
        return False
    rendered = (prompt.render((4, 4), None, 240, 320, convention=scale) for scale in (convention, PIXELS))
    return len(set(rendered)) > 1


def _problem_of(answer: ChatAnswer) -> str:
    """Why an answer cannot be used, with its status."""
    return f"{answer.status}: {answer.detail or answer.text or 'the answer is empty'}"


# All frames of a run


class LLMAnnotator:
    """Asks a vision-language model about the frames of videos.

    Args:
        manifest: Manifest of the videos.
        splits: Splits to annotate.
        grid: (rows, columns) of the guidance.
        prompt: What the model is told.
        policy: Which videos, and which of their frames.
        settings: What is asked about each frame.
        store: Store of the answers.
        journal: Journal of the frames; it may know them from an earlier run.
        seed: Seed of the choice of videos.
        labels: Where the action's name in the prompt comes from; by default the video's class.
        shard: Part of the chosen videos that is this annotator's.
    """

    def __init__(
        self,
        manifest: Manifest,
        splits: Sequence[str],
        grid: tuple[int, int],
        prompt: Prompt,
        policy: FramePolicy,
        settings: LLMSettings,
        store: RequestStore,
        journal: FrameJournal,
        seed: int = 0,
        labels: LabelSource | None = None,
        shard: Shard | None = None,
    ):
        self.manifest, self.grid, self.prompt, self.policy, self.settings = manifest, grid, prompt, policy, settings
        self.store, self.journal = store, journal
        self.labels = labels or ClassLabels(manifest.class_names)
        shard = shard or Shard()
        # every count-th of the chosen videos: parts of one size, whose union is the choice of an undivided run
        self.videos = {
            split: policy.choose_videos(manifest.split(split), seed)[shard.index :: shard.count] for split in splits
        }
        self.notes: Counter[str] = Counter()  # what the answers' reader had to overlook, by kind
        self.num_kept = 0  # answers that came in this run, whatever their status
        self.newest_problem = ""  # why the newest answer that cannot be used cannot; empty where there is none
        self._readings: dict[str, FrameAnswer] = {}
        asked = {entry.name: getattr(settings, entry.name) for entry in fields(LLMSettings)}
        # only where it changes what is asked: other journals are older than the setting
        if not _says_scale(prompt, settings.convention):
            del asked["coordinates"]
        if not settings.extra_body:  # as it was spelt before there were any
            del asked["extra_body"]
        # this text goes into the journal's fingerprints: another spelling of it would decode every video again
        self._settings_text = json.dumps(
            [{**asked, "grid": grid}, prompt.sha256, policy.description], sort_keys=True, ensure_ascii=False
        )

    @property
    def num_frames(self) -> int:
        """Frames that the manifest lets expect; exact where it counts frames rightly."""
        return sum(self.policy.count(row) for rows in self.videos.values() for row in rows)

    @property
    def num_requests(self) -> int:
        """Requests that the manifest lets expect, with those that are answered already."""
        return self.num_frames * self.settings.samples_per_frame

    # Questions

    def questions(self, on_answered: OnAnswered = lambda count: None) -> Iterator[Question]:
        """The questions that have no answer yet, in the order of the table. Videos are decoded as they are drawn.

        Args:
            on_answered: Function that is told the number of requests that were found answered, as they are found.
        """
        for split, rows in self.videos.items():
            for row in rows:
                yield from self._video_questions(split, row, on_answered)

    def keep(self, answer: ChatAnswer) -> None:
        """Keep what an answer's check read in it until its row is made, so that it need not be parsed again.

        Raises:
            LLMError: the server names a model whose coordinates are of another scale than they are read in.
        """
        self.num_kept += 1
        self._check_scale(answer)
        if answer.status != OK:
            self.newest_problem = _problem_of(answer)
        if isinstance(answer.reading, FrameAnswer) and len(self._readings) < _MAX_READINGS:
            self._readings[answer.request_hash] = answer.reading

    def _check_scale(self, answer: ChatAnswer) -> None:
        """An alias says nothing of a model, but its answers do: the first ends a run that would read all wrongly."""
        settings = self.settings
        if self.prompt.form != "im_o" or settings.coordinates != "auto":
            return
        family = find_family(answer.model)
        if family is None:
            return
        own = CONVENTIONS[family]
        if (own.unit, own.resizing) != (settings.convention.unit, settings.convention.resizing):
            raise LLMError(
                f"the server names its model {one_line(answer.model)!r}, and {family} writes coordinates in a scale "
                f"of its own, which {settings.model!r} does not tell: say --coordinates {family}, or pixels"
            )

    def _video_questions(self, split: str, row: Mapping[str, Any], on_answered: OnAnswered) -> Iterator[Question]:
        fingerprint = self._fingerprint(row)
        frames = self.journal.frames(split, row["video_id"], fingerprint)
        if frames is None:
            frames = []
            for frame, requests in self._read_frames(row, None):
                frames.append(frame)
                yield from self._open_questions(frame, requests, on_answered)
            # only now: a journal with part of a video's frames would be taken for the whole of them
            self.journal.put(split, row["video_id"], fingerprint, frames)
            return
        answered = [all(map(self._is_answered, frame.request_hashes)) for frame in frames]
        on_answered(sum(len(frame.request_hashes) for frame, done in zip(frames, answered, strict=True) if done))
        # the journal names the requests by their hashes, so that answered frames need not be decoded again
        wanted = [frame.frame_index for frame, done in zip(frames, answered, strict=True) if not done]
        if wanted:
            for frame, requests in self._read_frames(row, wanted):
                yield from self._open_questions(frame, requests, on_answered)

    def _open_questions(
        self, frame: JournalFrame, requests: list[ChatRequest], on_answered: OnAnswered
    ) -> Iterator[Question]:
        for request in requests:
            if self._is_answered(request.request_hash):
                on_answered(1)
            else:
                yield Question(request.request_hash, request, self._check(frame))

    def _is_answered(self, request_hash: str) -> bool:
        return self.store.answer(request_hash) is not None

    def _check(self, frame: JournalFrame) -> Callable[[str], FrameAnswer]:
        convention = self.settings.convention
        return lambda text: read_answer(text, self.grid, frame.sent_height, frame.sent_width, convention)

    def _read_frames(
        self, row: Mapping[str, Any], indices: list[int] | None
    ) -> Iterator[tuple[JournalFrame, list[ChatRequest]]]:
        """The frames of a video with their requests; frames that cannot be read come without.

        Args:
            row: Row of the manifest.
            indices: Native indices of the frames; None leaves the choice to the policy.
        """
        path = self.manifest.video_path(row)
        try:
            times_s = _of_many(read_frame_table, path).times_s
        except VideoError as error:
            logger.warning("%s", error)
            # one row for the whole video: how many frames it has is not known
            yield self._unreadable(row, 0, 0.0, error), []
            return
        # exact times come from the file: the manifest's frame count and rate may be off
        if indices is None:
            indices = self.policy.frame_indices(times_s)
        for start in range(0, len(indices), _FRAMES_AT_ONCE):
            yield from self._read_piece(row, path, times_s, indices[start : start + _FRAMES_AT_ONCE])

    def _read_piece(
        self, row: Mapping[str, Any], path: Path, times_s: np.ndarray, indices: list[int]
    ) -> Iterator[tuple[JournalFrame, list[ChatRequest]]]:
        # at full size, which the rows state; `encode_jpeg` makes the size that is sent
        try:
            decoded, errors = _of_many(decode_readable_frames, path, indices)
        except VideoError as error:
            decoded, errors = None, dict.fromkeys(indices, error)
        pictures = dict(zip(decoded.frame_indices, decoded.frames, strict=True)) if decoded else {}
        for index in indices:
            time_s = float(times_s[index])
            if index in errors:
                logger.warning("%s", errors[index])
                yield self._unreadable(row, index, time_s, errors[index]), []
            else:
                yield self._ask_about(row, index, time_s, pictures[index])

    def _ask_about(
        self, row: Mapping[str, Any], frame_index: int, timestamp_s: float, picture: np.ndarray
    ) -> tuple[JournalFrame, list[ChatRequest]]:
        """A frame with its requests, one for each sample.

        Args:
            row: Row of the manifest.
            frame_index: Native index.
            timestamp_s: Presentation time in seconds.
            picture: Frame of shape (height, width, 3), uint8, RGB.
        """
        settings = self.settings
        label = self.labels.label_at(row, timestamp_s) if settings.label_in_prompt else None
        jpeg, (sent_height, sent_width) = encode_jpeg(picture, settings.max_side_px, settings.jpeg_quality)
        requests = make_requests(self.prompt, settings, self.grid, label, jpeg, (sent_height, sent_width))
        frame = JournalFrame(
            frame_index=frame_index,
            timestamp_s=timestamp_s,
            frame_height=picture.shape[0],
            frame_width=picture.shape[1],
            sent_height=sent_height,
            sent_width=sent_width,
            request_hashes=tuple(request.request_hash for request in requests),
        )
        return frame, requests

    def _unreadable(self, row: Mapping[str, Any], index: int, timestamp_s: float, error: VideoError) -> JournalFrame:
        detail = error.detail.replace(error.path, row["path"])  # a table is not to tell the paths of this machine
        text = f"{error.reason}: {detail}" if detail else error.reason
        return JournalFrame(index, timestamp_s, row["height"], row["width"], error=text)

    def _fingerprint(self, row: Mapping[str, Any]) -> str:
        """Hash of everything that the requests of a video depend on, without reading the video."""
        try:
            stat = self.manifest.video_path(row).stat()
            # not a hash of the bytes, for which each start would read every video
            file = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            file = []
        text = json.dumps([self._settings_text, file, self.labels.describe(row)], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    # Rows

    def rows(self, split: str, partial: bool = False) -> Iterator[dict[str, Any]]:
        """Rows of the guidance table from the answers in the store, in the order of the manifest.

        A request that several frames share was paid for once: the first of them states its tokens and its cost.

        Args:
            split: Split of the videos.
            partial: Whether frames whose answers are not there become `failed` rows that say so.

        Raises:
            ConfigError: a frame has no answer yet, unless partial.
        """
        uses = FirstUses()
        try:
            for row in self.videos[split]:
                for frame in self._frames_for_rows(split, row, partial):
                    yield self._row(split, row, frame, partial, uses)
        finally:
            uses.close()

    def _frames_for_rows(self, split: str, row: Mapping[str, Any], partial: bool) -> list[JournalFrame]:
        frames = self.journal.frames(split, row["video_id"], self._fingerprint(row))
        if frames is None and not partial:
            raise ConfigError(f"{row['video_id']} ({split}) has not been annotated in full; run again to go on")
        return self._unasked_frames(row) if frames is None else frames

    def _unasked_frames(self, row: Mapping[str, Any]) -> list[JournalFrame]:
        """The frames that would have been asked about, had the money not ended before the video was read."""
        path = self.manifest.video_path(row)
        try:
            times_s = _of_many(read_frame_table, path).times_s
        except VideoError as error:
            return [self._unreadable(row, 0, 0.0, error)]
        return [
            JournalFrame(index, float(times_s[index]), row["height"], row["width"], error=NOT_ASKED)
            for index in self.policy.frame_indices(times_s)
        ]

    def _row(
        self, split: str, video: Mapping[str, Any], frame: JournalFrame, partial: bool, uses: FirstUses
    ) -> dict[str, Any]:
        """The row of a frame, merged from those of its samples where there are several."""
        key = {
            "video_id": video["video_id"],
            "source": self.manifest.source,
            "split": split,
            "frame_index": frame.frame_index,
            "timestamp_s": frame.timestamp_s,
            "frame_height": frame.frame_height,
            "frame_width": frame.frame_width,
        }
        answers = [self._answer(request_hash, uses) for request_hash in frame.request_hashes]
        if None in answers and not partial:
            raise ConfigError(f"{video['video_id']} frame {frame.frame_index} has no answer yet; run again to go on")
        if frame.error:
            answers = [ChatAnswer("", FAILED, frame.error)]
        rows = []
        for answer, request_hash in zip(answers, frame.request_hashes or ("",), strict=True):
            answer = answer or ChatAnswer(request_hash, FAILED, NOT_ASKED)
            reading = self._reading(key, frame, answer)
            rows.append(answer_row(key, answer, reading, self.grid, self.prompt, self.settings.model))
        return rows[0] if len(rows) == 1 else merge_rows(rows, producer=PRODUCER)

    def _answer(self, request_hash: str, uses: FirstUses) -> ChatAnswer | None:
        """The answer that the store has, with tokens and cost for the first frame that shares it alone."""
        answer = self.store.answer(request_hash)
        if answer is None or uses.first(request_hash):
            return answer
        # so that sums over the table are what was paid
        return replace(answer, usage=Usage(), cost_usd=0.0)

    def _reading(self, key: Mapping[str, Any], frame: JournalFrame, answer: ChatAnswer) -> FrameAnswer | None:
        """What an answer says: as its check read it in this run, else read now. None where it cannot be used."""
        if answer.status != OK:
            self.newest_problem = self.newest_problem or _problem_of(answer)
            return None
        reading = self._readings.get(answer.request_hash)
        if reading is None:
            try:
                reading = self._check(frame)(answer.text)
            except InvalidAnswer as error:  # the store's answers were checked by the reader of the day they came
                logger.warning("%s frame %d: %s", key["video_id"], key["frame_index"], error)
                self.newest_problem = self.newest_problem or f"{INVALID}: {error}"
                return None
        self.notes.update(reading.notes)
        return reading


def _of_many(read: Callable[..., T], path: Path, *settings: Any) -> T:
    """Read something of one video; what nobody foresaw is an error of that video."""
    try:
        return read(path, *settings)
    except Exception as error:  # not `one_of_many`, through which every video would have to pass
        raise unforeseen(path, error) from error
