"""Guidance from a vision-language model: which frames it is shown, what it is asked, and what its answers become.

The paper shows GPT-4.1-mini one frame at a time with the action's name and asks for the grid cells that matter
(section 2.2, appendix B). Here the model is any that speaks chat completions. The annotator makes questions and, when
they are answered, rows; the way in between is an `Answerer`'s (`vidreason.llm`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ...errors import ConfigError, InvalidAnswer, VideoError
from ...guidance import guidance_row
from ...guidance.merge import merge_rows
from ...llm.chat import FAILED, OK, ChatAnswer, ChatRequest, Question, Usage
from ...llm.store import RequestStore
from ...manifests.manifest import Manifest
from ...video import decode_readable_frames
from ...video.decode import read_frame_table
from ..frame_journal import FirstUses, FrameJournal, JournalFrame
from ..frame_selection import FramePolicy
from ..labels import ClassLabels, LabelSource
from ..shard import Shard
from .answers import read_answer
from .prompts import Prompt
from .requests import LLMSettings, encode_jpeg, make_requests

logger = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 16
"""Frames of a video that are decoded together; more would only cost memory."""

NOT_ASKED = "not asked"


class LLMAnnotator:
    """Asks a vision-language model about the frames of videos.

    Args:
        manifest: of the videos.
        splits: to annotate.
        prompt: what the model is told.
        policy: which videos, and which of their frames.
        settings: what is asked about each frame.
        store: of the answers.
        journal: of the frames; it may know them from an earlier run.
        seed: of the choice of videos.
        labels: where the action's name in the prompt comes from; by default the video's class.
        shard: the part of the chosen videos that is this annotator's.
    """

    def __init__(
        self,
        manifest: Manifest,
        splits: Sequence[str],
        prompt: Prompt,
        policy: FramePolicy,
        settings: LLMSettings,
        store: RequestStore,
        journal: FrameJournal,
        seed: int = 0,
        labels: LabelSource | None = None,
        shard: Shard | None = None,
    ):
        self.manifest, self.prompt, self.policy, self.settings = manifest, prompt, policy, settings
        self.store, self.journal = store, journal
        self.labels = labels or ClassLabels(manifest.class_names)
        shard = shard or Shard()
        self.videos = {
            split: policy.choose_videos(manifest.split(split), seed)[shard.index :: shard.count] for split in splits
        }
        self.notes: Counter = Counter()  # what the answers' reader had to overlook, by kind
        self._settings_text = json.dumps(
            [asdict(settings), prompt.sha256, policy.description], sort_keys=True, ensure_ascii=False
        )

    @property
    def num_frames(self) -> int:
        """Frames that the manifest lets expect; exact where it counts frames rightly."""
        return sum(self.policy.count(row) for rows in self.videos.values() for row in rows)

    @property
    def num_requests(self) -> int:
        """Requests that the manifest lets expect, with those that are answered already."""
        return self.num_frames * self.settings.samples_per_frame

    def questions(self, on_answered: Callable[[int], None] = lambda count: None) -> Iterator[Question]:
        """The questions that have no answer yet, in the order of the table. Videos are decoded as they are drawn.

        Args:
            on_answered: told the number of requests that were found answered, as they are found.
        """
        for split, rows in self.videos.items():
            for row in rows:
                yield from self._video_questions(split, row, on_answered)

    def _video_questions(self, split: str, row: Mapping[str, Any], on_answered) -> Iterator[Question]:
        fingerprint = self._fingerprint(row)
        frames = self.journal.frames(split, row["video_id"], fingerprint)
        if frames is None:
            frames = []
            for frame, requests in self._read_frames(row, None):
                frames.append(frame)
                yield from self._open_questions(frame, requests, on_answered)
            self.journal.put(split, row["video_id"], fingerprint, frames)
            return
        answered = [all(map(self._is_answered, frame.request_hashes)) for frame in frames]
        on_answered(sum(len(frame.request_hashes) for frame, done in zip(frames, answered, strict=True) if done))
        wanted = [frame.frame_index for frame, done in zip(frames, answered, strict=True) if not done]
        if wanted:
            for frame, requests in self._read_frames(row, wanted):
                yield from self._open_questions(frame, requests, on_answered)

    def _open_questions(self, frame: JournalFrame, requests: list[ChatRequest], on_answered) -> Iterator[Question]:
        for request in requests:
            if self._is_answered(request.request_hash):
                on_answered(1)
            else:
                yield Question(request.request_hash, request, self._check(frame))

    def _is_answered(self, request_hash: str) -> bool:
        return self.store.answer(request_hash) is not None

    def _check(self, frame: JournalFrame) -> Callable[[str], object]:
        grid, height, width = self.settings.grid, frame.sent_height, frame.sent_width
        return lambda text: read_answer(text, grid, height, width)

    def _read_frames(
        self, row: Mapping[str, Any], indices: list[int] | None
    ) -> Iterator[tuple[JournalFrame, list[ChatRequest]]]:
        """The frames of a video with their requests; frames that cannot be read come without.

        Args:
            row: of the manifest.
            indices: of the frames; None leaves the choice to the policy.
        """
        path = self.manifest.video_path(row)
        try:
            times_s = read_frame_table(path).times_s
        except VideoError as error:
            logger.warning("%s", error)
            yield self._unreadable(row, 0, 0.0, error), []
            return
        if indices is None:
            indices = self.policy.frame_indices(times_s)
        for start in range(0, len(indices), _FRAMES_AT_ONCE):
            yield from self._read_piece(row, path, times_s, indices[start : start + _FRAMES_AT_ONCE])

    def _read_piece(self, row, path, times_s: np.ndarray, indices: list[int]):
        decoded, errors = decode_readable_frames(path, indices)
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
            row: of the manifest.
            frame_index: native index.
            timestamp_s: presentation time.
            picture: uint8 (height, width, 3), RGB.
        """
        label = self.labels.label_at(row, timestamp_s) if self.settings.label_in_prompt else None
        jpeg, (sent_height, sent_width) = encode_jpeg(picture, self.settings.max_side_px, self.settings.jpeg_quality)
        requests = make_requests(self.prompt, self.settings, label, jpeg, (sent_height, sent_width))
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
        text = f"{error.reason}: {error.detail}" if error.detail else error.reason  # without the path of this machine
        return JournalFrame(index, timestamp_s, row["height"], row["width"], error=text)

    def _fingerprint(self, row: Mapping[str, Any]) -> str:
        """Of everything that the requests of a video depend on, without reading the video."""
        try:
            stat = self.manifest.video_path(row).stat()
            file = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            file = []
        text = json.dumps([self._settings_text, file, self.labels.describe(row)], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def rows(self, split: str, partial: bool = False) -> Iterator[dict[str, Any]]:
        """Rows of the guidance table from the answers in the store, in the order of the manifest.

        A request that several frames share was paid for once: the first of them states its tokens and its cost.

        Args:
            split: which split.
            partial: take frames whose answers are not there as `failed` rows that say so.

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
        try:
            times_s = read_frame_table(self.manifest.video_path(row)).times_s
        except VideoError as error:
            return [self._unreadable(row, 0, 0.0, error)]
        return [
            JournalFrame(index, float(times_s[index]), row["height"], row["width"], error=NOT_ASKED)
            for index in self.policy.frame_indices(times_s)
        ]

    def _row(self, split: str, video: Mapping[str, Any], frame: JournalFrame, partial: bool, uses: FirstUses):
        key = {
            "video_id": video["video_id"],
            "source": self.manifest.source,
            "split": split,
            "frame_index": frame.frame_index,
            "timestamp_s": frame.timestamp_s,
            "frame_height": frame.frame_height,
            "frame_width": frame.frame_width,
        }
        if frame.error:
            lost = ChatAnswer("", FAILED, frame.error, model=self.settings.model)
            return self._answer_row(key, frame, lost)
        answers = [self.store.answer(request_hash) for request_hash in frame.request_hashes]
        if None in answers and not partial:
            raise ConfigError(f"{video['video_id']} frame {frame.frame_index} has no answer yet; run again to go on")
        rows = [
            self._answer_row(key, frame, self._paid_once(answer, request_hash, uses))
            for answer, request_hash in zip(answers, frame.request_hashes, strict=True)
        ]
        return rows[0] if len(rows) == 1 else merge_rows(rows, producer="llm")

    def _paid_once(self, answer: ChatAnswer | None, request_hash: str, uses: FirstUses) -> ChatAnswer:
        if answer is None:
            return ChatAnswer(request_hash, FAILED, NOT_ASKED, model=self.settings.model)
        return answer if uses.first(request_hash) else replace(answer, usage=Usage(), cost_usd=0.0)

    def _answer_row(self, key: Mapping[str, Any], frame: JournalFrame, answer: ChatAnswer) -> dict[str, Any]:
        """A row from one answer."""
        weights, objects, status = [0.0] * (self.settings.grid[0] * self.settings.grid[1]), [], answer.status
        if answer.status == OK:
            try:
                read = read_answer(answer.text, self.settings.grid, frame.sent_height, frame.sent_width)
            except InvalidAnswer as error:  # the store's answers were checked by the reader of the day they came
                logger.warning("%s frame %d: %s", key["video_id"], key["frame_index"], error)
                status = "invalid"
            else:
                weights, objects, status = read.weights, read.objects, None
                self.notes.update(read.notes)
        return guidance_row(
            key,
            weights,
            self.settings.grid,
            producer="llm",
            status=status,
            objects=objects,
            model=answer.model or self.settings.model,
            prompt_id=self.prompt.prompt_id,
            prompt_sha256=self.prompt.sha256,
            request_hash=answer.request_hash,
            raw_response=answer.text,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            cost_usd=answer.cost_usd,
        )
