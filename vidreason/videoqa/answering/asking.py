"""What a question shows and says: its row joined to the video in the manifest, its frames, its texts."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from datasets import DatasetDict

from ...errors import ConfigError, QuestionError, VideoError, one_of_many
from ...manifests.manifest import Manifest
from ...provenance import EMPTY_PROVENANCE
from ..conversation import AnswerPrompt, load_answer_prompt
from ..frames import FrameSampling, ShownFrames, show_video
from ..rows import check_read, prediction_row
from ..scoring.scores import column_rows
from ..tables import RowKeys

VIDEO, BLIND = "video", "blind"
CONDITIONS = (VIDEO, BLIND)
"""What is shown: the video, or nothing of it, which is the baseline that every score stands beside."""

_ASKED_COLUMNS = (
    *("question_id", "source", "split", "video_id", "start_s", "end_s", "question", "answer_format", "options"),
    "status",
)

_VIDEOS_KEPT = 2  # questions come by video; two, because the next one is prepared while one is asked

OK, TRUNCATED, FAILED = "ok", "truncated", "failed"


@dataclass(frozen=True)
class AskingSettings:
    """What decides what a question shows and says, whoever answers.

    Args:
        condition: One of `CONDITIONS`.
        sampling: How many frames, and how large.
        prompt: What the model is told.
        name_times: Whether the prompt names the times of the frames.

    Raises:
        ConfigError: There is no such condition.
    """

    condition: str = VIDEO
    sampling: FrameSampling = field(default_factory=FrameSampling)
    prompt: AnswerPrompt = field(default_factory=load_answer_prompt)
    name_times: bool = False

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ConfigError(f"there is no condition {self.condition!r}; there are {', '.join(CONDITIONS)}")

    @property
    def shows_video(self) -> bool:
        """Whether anything of the video is shown."""
        return self.condition != BLIND

    def facts(self) -> dict[str, Any]:
        """These settings as JSON has them."""
        prompt = {"prompt_id": self.prompt.prompt_id, "prompt_sha256": self.prompt.sha256}
        sampling = asdict(self.sampling) if self.shows_video else {}
        return {"condition": self.condition, **sampling, **prompt, "name_times": self.name_times}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A question that is ready to be asked.

    Args:
        question: Its row.
        fingerprint: Hash of what decides its answer, as far as it is known without decoding the video.
        system: Text of the system message.
        user: Text of the user's message.
        shown: What is shown of the video; None where nothing is.
    """

    question: Mapping[str, Any]
    fingerprint: str
    system: str
    user: str
    shown: ShownFrames | None

    @property
    def num_frames(self) -> int:
        """Number of frames that are shown."""
        return 0 if self.shown is None else len(self.shown)


@dataclass(frozen=True)
class Outcome:
    """What came of asking a question.

    Args:
        status: One of `vidreason.provenance.STATUSES`.
        text: The answer word for word, or why there is none.
        request_hash: Key of the whole request.
        model: Name of the model that answered.
        revision: Its revision, where it is known.
        prompt_tokens: Tokens of the question, frames included.
        completion_tokens: Tokens of the answer.
        cost_usd: Cost in USD.
        seconds: Seconds from request to answer; 0 where not measured.
        was_asked: Whether `text` is a model's; where it is not, it says why.
    """

    status: str
    text: str
    request_hash: str = ""
    model: str = ""
    revision: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    was_asked: bool = True


Keep = Callable[[Prepared, Outcome], None]


class VideoAnswerer(Protocol):
    """Answers questions about videos."""

    producer: str
    """What rows name it: "llm" for a server, "video_llm" for a model in this process."""

    model: str
    """Name of the model as it was asked for."""

    shares_requests: bool
    """Whether equal requests are asked and paid for once."""

    def facts(self) -> dict[str, Any]:
        """What of it decides an answer, as JSON has it."""
        ...

    def forget(self, statuses: Iterable[str]) -> None:
        """Forget answers of its own keeping that ended so, since their questions are asked again."""
        ...

    def answer_all(self, questions: Iterator[Prepared], keep: Keep) -> None:
        """Answer questions as they are drawn.

        Args:
            questions: The questions; each is prepared when it is drawn.
            keep: Is given each question, which need not hold its frames any more, with what came of it.
        """
        ...


class Videos:
    """The videos of a manifest by id, and the frames of those that were asked about last.

    Args:
        manifest: The manifest; None where nothing is shown.
    """

    def __init__(self, manifest: Manifest | None):
        self.manifest = manifest
        self._rows: dict[str, tuple[str, int]] = {}
        self._kept: OrderedDict[tuple, ShownFrames] = OrderedDict()
        for split, rows in manifest.splits.items() if manifest else ():
            self._rows |= {video_id: (split, number) for number, video_id in enumerate(rows["video_id"])}

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._rows

    def row(self, video_id: str) -> Mapping[str, Any] | None:
        """The manifest's row of a video; None where it has none."""
        if self.manifest is None or video_id not in self._rows:
            return None
        split, number = self._rows[video_id]
        return self.manifest.splits[split][number]

    def state(self, video_id: str) -> list[Any]:
        """What tells that a video's file has changed: its path, size and time of change."""
        row = self.row(video_id)
        if row is None or self.manifest is None:
            return []
        path = self.manifest.video_path(row)
        try:
            # not a hash of the bytes, for which each start would read every video
            stat = path.stat()
        except OSError:
            return [row["path"]]
        folder = [len(list(path.iterdir())), row["fps"]] if path.is_dir() else []
        return [row["path"], stat.st_size, stat.st_mtime_ns, *folder]

    def show(self, question: Mapping[str, Any], sampling: FrameSampling) -> ShownFrames:
        """What is shown of a question's video. A row whose path is a folder of numbered pictures has their rate.

        Args:
            question: Row with `video_id`, `start_s` and `end_s`.
            sampling: How many frames, and how large.

        Raises:
            VideoError: The video is unknown or cannot be read.
            QuestionError: None of it is in the part that is asked about.
        """
        row = self.row(question["video_id"])
        if row is None or self.manifest is None:
            raise VideoError(question["video_id"], "missing", "the manifest has no such video")
        path, part = self.manifest.video_path(row), (question["start_s"], question["end_s"])
        key = (path, sampling, *part)
        if key not in self._kept:
            with one_of_many(path):
                self._kept[key] = show_video(path, sampling, *part, frames_per_second=float(row["fps"]))
            while len(self._kept) > _VIDEOS_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]


class Asking:
    """The questions of a run: joined to their videos, told apart by what decides their answers, prepared one by one.

    Args:
        questions: Table of questions.
        splits: Splits to ask; none asks all.
        manifest: Manifest of the videos; None where nothing is shown.
        settings: What is shown and said.
        answerer_facts: What of the answerer decides an answer.
        max_questions: Questions of each split to ask, the first ones; None asks all.

    Raises:
        QuestionError: There is no such split, or a question breaks the contract or is there twice.
        ConfigError: Videos are to be shown and there is no manifest.
    """

    def __init__(
        self,
        questions: DatasetDict,
        splits: Sequence[str],
        manifest: Manifest | None,
        settings: AskingSettings,
        answerer_facts: Mapping[str, Any],
        max_questions: int | None = None,
    ):
        unknown = [split for split in splits if split not in questions]
        if unknown:
            raise QuestionError(f"there is no split {unknown[0]!r} of the questions; there are {sorted(questions)}")
        if settings.shows_video and manifest is None:
            raise ConfigError(f"condition {settings.condition!r} shows videos: give their manifest (--manifest)")
        self.settings, self.videos = settings, Videos(manifest if settings.shows_video else None)
        self.rows = {
            split: rows.select_columns(list(_ASKED_COLUMNS)).select(range(min(len(rows), max_questions or len(rows))))
            for split, rows in questions.items()
            if not splits or split in splits
        }
        self._check()
        self._facts_text = json.dumps([settings.facts(), answerer_facts], sort_keys=True, ensure_ascii=False)
        self._states: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    def _check(self) -> None:
        """Before anything is asked, and paid for: at the end, the table of answers could not be written.

        Raises:
            QuestionError: There is no question, one breaks the contract, or one is there twice.
        """
        if not len(self):
            raise QuestionError("there are no questions to ask")
        keys = RowKeys("question")
        for split, rows in self.rows.items():
            for row in column_rows(rows, _ASKED_COLUMNS):
                check_read(row, "asked question")
                keys.add(split, row)

    def in_order(self, split: str) -> Iterator[dict[str, Any]]:
        """The questions of a split as the table has them."""
        return iter(self.rows[split])

    def by_video(self) -> Iterator[dict[str, Any]]:
        """All questions, those about one part of a video together, so that it is decoded once."""
        for rows in self.rows.values():
            parts = zip(rows["video_id"], rows["start_s"], rows["end_s"], strict=True)
            keys = [(video_id, start_s or 0.0, end_s or 0.0) for video_id, start_s, end_s in parts]
            for number in sorted(range(len(keys)), key=lambda number: keys[number]):
                yield rows[number]

    def fingerprint(self, question: Mapping[str, Any]) -> str:
        """Hash of what decides the answer of a question, without decoding its video: 64 hexadecimal digits."""
        video_id = question["video_id"]
        if video_id not in self._states:
            self._states[video_id] = self.videos.state(video_id)
        said = [question[name] for name in _ASKED_COLUMNS]
        text = json.dumps([self._facts_text, self._states[video_id], said], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def prepare(self, question: Mapping[str, Any], fingerprint: str) -> Prepared:
        """What a question shows and says.

        Raises:
            VideoError: Its video is unknown or cannot be read.
            QuestionError: It cannot be asked.
        """
        if question["status"] != OK:
            raise QuestionError(f"the question itself has the status {question['status']!r}")
        settings = self.settings
        shown = self.videos.show(question, settings.sampling) if settings.shows_video else None
        return Prepared(
            question, fingerprint, *settings.prompt.texts(question, shown, settings.name_times), shown=shown
        )

    def row_of(self, question: Mapping[str, Any], producer: str, outcome: Outcome, num_frames: int) -> dict[str, Any]:
        """The row of predictions that an outcome becomes."""
        # a text that was cut at the limit of tokens may hold the answer all the same
        has_answer = outcome.was_asked and outcome.status in (OK, TRUNCATED) and outcome.text.strip()
        status = "empty" if outcome.status == OK and not has_answer else outcome.status
        return prediction_row(
            **EMPTY_PROVENANCE
            | {
                **{name: question[name] for name in ("question_id", "source", "split")},
                "condition": self.settings.condition,
                "prediction": outcome.text.strip() if has_answer else "",
                "num_frames": num_frames,
                "seconds": outcome.seconds,
                "producer": producer,
                "model": outcome.model,
                "revision": outcome.revision,
                "prompt_id": self.settings.prompt.prompt_id,
                "prompt_sha256": self.settings.prompt.sha256,
                "request_hash": outcome.request_hash,
                "status": status,
                "raw_response": outcome.text,
                "prompt_tokens": outcome.prompt_tokens,
                "completion_tokens": outcome.completion_tokens,
                "cost_usd": outcome.cost_usd,
            }
        )


def why_not_asked(error: VideoError | QuestionError, video_root: Path | None) -> str:
    """Why a question could not be asked, without the paths of this machine: a table may be published."""
    text = f"{error.reason}: {error.detail}" if isinstance(error, VideoError) else str(error)
    return text if video_root is None else text.replace(f"{video_root}/", "")


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Consecutive lists of at most so many items."""
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
