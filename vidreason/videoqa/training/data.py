"""Questions as examples of training: the conversations of one clip, which is decoded once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch.utils.data import Dataset

from ...errors import ConfigError, QuestionError, VideoError
from ..answering.asking import Videos, why_not_asked
from ..frames import FrameSampling, ShownFrames
from .encoding import ConversationEncoder, DroppedConversation, EncodedConversation

QUESTION_COLUMNS = (
    *("question_id", "source", "split", "video_id", "start_s", "end_s", "question", "answer_format", "options"),
    *("answer_index", "answer", "more_answers", "rationale", "status"),
)
"""Columns that training reads. Others, such as raw responses, would lie in the memory of every loader worker."""

UNKNOWN_VIDEO = "unknown_video"
"""Why a question is left out whose video the manifest does not have."""


@dataclass(frozen=True)
class Dropped:
    """A conversation that is not trained on, or an answer that is not asked for.

    Args:
        split: Split of the question.
        source: Data set of the question.
        question_id: Its id there.
        video_id: Its video.
        part: Part of the loss that it would have counted for.
        status: One of `vidreason.videoqa.training.encoding.DROPPED`.
        reason: What is wrong, for people.
    """

    split: str
    source: str
    question_id: str
    video_id: str
    part: str
    status: str
    reason: str

    @classmethod
    def of(cls, question: Mapping[str, Any], part: str, status: str, reason: str) -> Dropped:
        """What is dropped of a question."""
        names = (question["split"], question["source"], question["question_id"], question["video_id"])
        return cls(*names, part, status, reason)


@dataclass(frozen=True, eq=False)
class ClipExample:
    """What is trained on of one clip.

    Args:
        conversations: Those that can be used; none where the video cannot be read.
        dropped: The others.
        question: Row of the question, in an example that is to be answered; None in training.
    """

    conversations: Sequence[EncodedConversation]
    dropped: Sequence[Dropped] = ()
    question: Mapping[str, Any] | None = None


class QuestionClips(Dataset):
    """Clips with the questions about them; an example is one clip with up to `questions_per_clip` questions.

    Args:
        questions: Rows with `QUESTION_COLUMNS`, all of them usable, see `usable_questions`.
        videos: Where their videos are.
        encoder: Makes conversations of them.
        parts: Parts of the loss that conversations are made for; a question without a rationale has none for that.
        sampling: Which frames are shown; None shows no video.
        questions_per_clip: Most questions of one example.
        keeps: Whether examples stay in memory once they are made. Each loader worker keeps its own.
        shares_video: Whether the conversations of an example that count for the same part of the loss are joined, see
            `ConversationEncoder.join`.
    """

    def __init__(
        self,
        questions: datasets.Dataset,
        videos: Videos,
        encoder: ConversationEncoder,
        parts: Sequence[str],
        sampling: FrameSampling | None,
        questions_per_clip: int = 1,
        keeps: bool = False,
        shares_video: bool = False,
    ):
        self.questions, self.videos, self.encoder = questions, videos, encoder
        self.parts, self.sampling, self.keeps = tuple(parts), sampling, keeps
        self.shares_video = shares_video
        self.groups = group_by_clip(questions, questions_per_clip)
        self._kept: dict[tuple[int, bool], ClipExample] = {}

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> ClipExample:
        return self._example(index, is_open=False)

    def opened(self, index: int) -> ClipExample:
        """The prompt of a clip's first question, for the model to answer."""
        return self._example(index, is_open=True)

    def _example(self, index: int, is_open: bool) -> ClipExample:
        if (index, is_open) in self._kept:
            return self._kept[index, is_open]
        rows = [self.questions[place] for place in self.groups[index]]
        example = self._open(rows[0]) if is_open else self._train(rows)
        if self.keeps:
            self._kept[index, is_open] = example
        return example

    def _train(self, rows: Sequence[Mapping[str, Any]]) -> ClipExample:
        wanted = [(row, part) for row in rows for part in self.parts if part == "answer" or row["rationale"]]
        try:
            shown = self._shown(rows[0])
        except (VideoError, QuestionError) as error:
            return ClipExample((), [Dropped.of(row, part, "failed", self._why(error)) for row, part in wanted])
        conversations: list[EncodedConversation] = []
        dropped: list[Dropped] = []
        for row, part in wanted:
            try:
                conversations.append(self.encoder.encode(row, part, shown))
            except DroppedConversation as error:
                dropped.append(Dropped.of(row, part, error.status, error.reason))
        if self.shares_video:
            of_parts = [[one for one in conversations if one.part == part] for part in self.parts]
            conversations = [self.encoder.join(some) for some in of_parts if some]
        return ClipExample(_with_shared_pixels(conversations), dropped)

    def _open(self, row: Mapping[str, Any]) -> ClipExample:
        try:
            return ClipExample([self.encoder.open(row, self._shown(row))], (), row)
        except DroppedConversation as error:
            return ClipExample((), [Dropped.of(row, "answer", error.status, error.reason)], row)
        except (VideoError, QuestionError) as error:
            return ClipExample((), [Dropped.of(row, "answer", "failed", self._why(error))], row)

    def _why(self, error: VideoError | QuestionError) -> str:
        return why_not_asked(error, self.videos.manifest.video_root if self.videos.manifest else None)

    def _shown(self, row: Mapping[str, Any]) -> ShownFrames | None:
        return None if self.sampling is None else self.videos.show(row, self.sampling)


class OpenQuestions(Dataset):
    """The questions of clips, for the model to answer.

    Args:
        clips: Clips with one question each.
    """

    def __init__(self, clips: QuestionClips):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipExample:
        return self.clips.opened(index)


def group_by_clip(questions: datasets.Dataset, questions_per_clip: int) -> list[list[int]]:
    """Places of questions, those of one clip together, in the order in which clips come first.

    Args:
        questions: Rows of a table of questions.
        questions_per_clip: Most questions of a group.
    """
    if questions_per_clip == 1:
        return [[place] for place in range(len(questions))]
    of_clip: dict[tuple, list[int]] = {}
    columns = zip(*(questions[name] for name in ("video_id", "start_s", "end_s")), strict=True)
    for place, clip in enumerate(columns):
        of_clip.setdefault(clip, []).append(place)
    return [
        places[first : first + questions_per_clip]
        for places in of_clip.values()
        for first in range(0, len(places), questions_per_clip)
    ]


def usable_questions(
    tables: Iterable[tuple[str, datasets.DatasetDict]], split: str, videos: Videos
) -> tuple[datasets.Dataset, Counter[str]]:
    """The questions of a split, of all tables, that can be trained on, and how many are left out by reason.

    Args:
        tables: (name, table) of each.
        split: Name of the split, which one of the tables has at least.
        videos: Where the videos are.

    Returns:
        The questions, and reason -> number of those that are left out: a status other than `ok`, or `UNKNOWN_VIDEO`.

    Raises:
        ConfigError: No table has the split, a question is in two tables, or no question can be used.
    """
    tables = list(tables)
    found = [table[split].select_columns(list(QUESTION_COLUMNS)) for _, table in tables if split in table]
    if not found:
        names = {name: sorted(table) for name, table in tables}
        raise ConfigError(f"no table of questions has a split {split!r}; there are {names}")
    rows = datasets.concatenate_datasets(found) if len(found) > 1 else found[0]
    seen: set[tuple[str, str]] = set()
    left_out: Counter[str] = Counter()
    kept = []
    columns = zip(*(rows[name] for name in ("source", "question_id", "video_id", "status")), strict=True)
    for place, (source, question_id, video_id, status) in enumerate(columns):
        if (source, question_id) in seen:
            raise ConfigError(f"split {split!r}: question {question_id!r} of {source!r} is there twice")
        seen.add((source, question_id))
        reason = status if status != "ok" else None if video_id in videos else UNKNOWN_VIDEO
        if reason is None:
            kept.append(place)
        else:
            left_out[reason] += 1
    if not kept:
        counted = ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items()))
        raise ConfigError(f"split {split!r}: none of its {len(rows)} questions can be used ({counted})")
    return (rows.select(kept) if left_out else rows), left_out


def _with_shared_pixels(conversations: list[EncodedConversation]) -> list[EncodedConversation]:
    """Conversations of one clip whose equal inputs are one tensor, which halves what is kept of an answer's clip."""
    if not conversations:
        return conversations
    first = conversations[0].inputs

    def shared(name: str, value: torch.Tensor) -> torch.Tensor:
        other = first.get(name)
        is_same = other is not None and other.shape == value.shape and other.dtype == value.dtype
        return other if is_same and other is not None and torch.equal(other, value) else value

    return [
        EncodedConversation(one.part, {name: shared(name, value) for name, value in one.inputs.items()}, one.labels)
        for one in conversations
    ]
