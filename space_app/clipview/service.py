"""A request from its file to what the page shows, with a cache at every step."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidreason.detection import Found
from vidreason.guidance import GridMap
from vidreason.segmentation.labelling import ActionSegment
from vidreason.segmentation.segment_files import rounded_segment
from vidreason.video import uniform_indices

from .agreement import AgreementSummary, FrameAgreement, frame_agreement, summarize
from .analysis import VIEWS, Analysis, analyse
from .cache import Cache
from .checkpoints import Checkpoint
from .detectors import Detectors, WorldTruth
from .guidance import PUBLISHED, ClipGuidance, KnownClips, motion_guidance, rows_guidance
from .limits import Deadline, Refused, check_file
from .objects import Channel, ObjectsAnswer, answer_with_objects, frame_keys, read_classes
from .painting import write_attention, write_guidance
from .reader import ClipReader
from .reading import Clip
from .scratch import Scratch, sweep_regularly
from .settings import MIB, SpaceSettings, digest_of
from .video_llms import SAMPLING, QuestionAnswer, Said, VideoLLM, ask, read_question

logger = logging.getLogger(__name__)

AUTOMATIC, MOTION_ONLY = "automatic", "motion"

_MAX_CLIP_BYTES = 600 * MIB
_MAX_VIDEOS = 60
_MAX_FOUND = 600  # classes of clips; of most of them some boxes in some frames

_KNOWN = ("answer", "rationale", "evidence_spans", "evidence_boxes")
"""Fields of an example's question that are shown beside an answer."""


@dataclass(frozen=True, eq=False)
class Ask:
    """What a visitor wants to see.

    Args:
        path: File of the video.
        checkpoints: Names of one checkpoint or two.
        guidance: AUTOMATIC (a published table where one knows the clip, else movement) or MOTION_ONLY.
        strength: Share of the heat map's colours in the picture, 0 to 1.
        llm_rows: Rows that a language model gave for this clip; they are used in place of other guidance.
        llm_digest: SHA-256 of the clip that they are about.
    """

    path: str
    checkpoints: tuple[str, ...]
    guidance: str = AUTOMATIC
    strength: float = 0.5
    llm_rows: Sequence[Mapping[str, Any]] = ()
    llm_digest: str = ""


@dataclass(frozen=True, eq=False)
class Answer:
    """What one checkpoint, whose task this is, made of the clip. One that takes object maps was shown none."""

    name: str
    task: str
    analysis: Analysis
    frames: list[FrameAgreement]
    summary: AgreementSummary
    video: Path
    takes_maps: bool = False


@dataclass(frozen=True, eq=False)
class Shown:
    """What the page shows of a request.

    Args:
        digest: SHA-256 of the file.
        clip: Clip as it was read.
        guidance: Guidance of its pictures.
        guidance_video: File of the video with guidance drawn over it.
        answers: What each checkpoint makes of the clip.
        true_segments: Segments of a clip whose truth is known; their scores say nothing.
        seconds: Seconds by step, and `total`; steps that came from the cache take next to none.
    """

    digest: str
    clip: Clip
    guidance: ClipGuidance
    guidance_video: Path
    answers: list[Answer]
    true_segments: Sequence[ActionSegment] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same for programs. No path is in it."""
        return {
            "video": _video_json(self.clip),
            "guidance": {
                "kind": self.guidance.kind,
                "source": self.guidance.source,
                "guided_pictures": self.guidance.guided,
                "weights": [None if m is None else _rounded_weights(m) for m in self.guidance.maps],
            },
            "times_s": _rounded_all(self.clip.shown_times_s),
            "checkpoints": [_answer_json(answer) for answer in self.answers],
            "true_segments": [_without_score(rounded_segment(s)) for s in self.true_segments] or None,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, eq=False)
class ShownObjects:
    """What the page shows of object maps.

    Args:
        clip: Clip as it was read.
        answer: What the checkpoint made of it.
        detector: Name of the detector that looked.
        note: What a visitor should know about the detector, may be empty.
        seconds: Seconds that the request took.
    """

    clip: Clip
    answer: ObjectsAnswer
    detector: str
    note: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs, without pictures and masks. No path is in it."""
        answer = self.answer
        return {
            "video": _video_json(self.clip),
            "times_s": _rounded_all(self.clip.times_s[answer.positions]),
            "detector": self.detector,
            "note": self.note,
            "labels": _labels_json(answer.top(answer.with_maps, len(answer.labels))),
            "labels_without_maps": _labels_json(answer.top(answer.without_maps, len(answer.labels))),
            "channels": [_channel_json(channel) for channel in answer.channels],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, eq=False)
class ShownAnswer:
    """What the page shows of a question.

    Args:
        clip: Clip as it was read.
        question: Row with `question`, `options` and `answer_format`.
        answer: What the model said.
        known: Row of the question with its right answer and evidence, where it is one of an example's.
        seconds: Seconds that the request took.
    """

    clip: Clip
    question: Mapping[str, Any]
    answer: QuestionAnswer
    known: Mapping[str, Any] | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The same for programs, without pictures. No path is in it."""
        options, known = self.question["options"], self.known
        return {
            "video": _video_json(self.clip),
            "question": self.question["question"],
            "times_s": _rounded_all(self.answer.shown.timestamps_s),
            "with_video": _said_json(self.answer.with_video, options),
            "blind": _said_json(self.answer.blind, options),
            "known": None if known is None else {name: known[name] for name in _KNOWN},
            "seconds": round(self.seconds, 3),
        }


def _video_json(clip: Clip) -> dict[str, Any]:
    return asdict(clip.facts) | {"replaced_frames": clip.num_replaced}


def _labels_json(shares: Sequence[tuple[str, float]]) -> dict[str, float]:
    return {label: round(share, 6) for label, share in shares}


def _channel_json(channel: Channel) -> dict[str, Any]:
    return {
        "trained": channel.trained,
        "asked": channel.asked,
        "statuses": [one.status for one in channel.found],
        "boxes": [[_rounded_all(box) for box in one.boxes] for one in channel.found],
        "scores": [_rounded_all(one.scores) for one in channel.found],
    }


def _said_json(said: Said, options: Sequence[str]) -> dict[str, Any]:
    shares = _labels_json(list(zip(options, said.shares, strict=True))) if said.shares else None
    letters_share = None if shares is None else round(said.letters_share, 6)
    return {"text": said.text, "is_cut": said.is_cut, "options": shares, "letters_share": letters_share}


def _answer_json(answer: Answer) -> dict[str, Any]:
    analysis = answer.analysis
    return {
        "name": answer.name,
        "task": answer.task,
        "labels": _labels_json(analysis.top(len(analysis.labels))),
        "views": {
            view: dict(zip(analysis.labels, (round(float(share), 6) for share in shares), strict=True))
            for view, shares in zip(VIEWS, analysis.views, strict=True)
        },
        "views_divergence_nats": round(analysis.divergence, 6),
        "segments": None if analysis.segments is None else [rounded_segment(s) for s in analysis.segments],
        "attention_grid": list(analysis.attention[0].grid),
        "attention_rectangle": list(analysis.attention[0].rectangle),
        "attention": [_rounded_weights(m) for m in analysis.attention],
        "agreement": {
            "mean": asdict(answer.summary),
            "mass_inside": [_rounded(frame.mass) for frame in answer.frames],
            "divergence_nats": [_rounded(frame.divergence) for frame in answer.frames],
            "hit": [frame.hit for frame in answer.frames],
        },
    }


def _without_score(segment: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in segment.items() if name != "score"}


def _rounded_weights(grid_map: GridMap) -> list[float]:
    return _rounded_all(grid_map.weights)


def _rounded_all(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


class Service:
    """Answers requests.

    Args:
        settings: Settings of the operator.
        checkpoints: Name -> checkpoint.
        known: Guidance tables for clips that they know.
        truth: File -> true segments of clips that have them. A visitor's clip is one of these if it has the same
            bytes.
        worlds: Worlds whose clips' objects are known.
        video_llms: Name -> model that answers questions.
        questions: File -> questions about it whose answers and evidence are known; likewise by its bytes.
    """

    def __init__(
        self,
        settings: SpaceSettings,
        checkpoints: Mapping[str, Checkpoint],
        known: KnownClips,
        truth: Mapping[Path, Sequence[ActionSegment]] | None = None,
        worlds: Sequence[WorldTruth] = (),
        video_llms: Mapping[str, VideoLLM] | None = None,
        questions: Mapping[Path, Sequence[Mapping[str, Any]]] | None = None,
    ):
        self.settings, self.checkpoints, self.known = settings, checkpoints, known
        self._truth = {digest_of(path): segments for path, segments in (truth or {}).items()}
        self.video_llms = dict(video_llms or {})
        self._questions = {digest_of(path): rows for path, rows in (questions or {}).items()}
        self.scratch = Scratch()
        self.kept_uploads: Callable[[], Collection[str]] = (
            tuple  # Gradio's copies of the examples, once there is a page
        )
        self.reader = ClipReader(settings.limits, settings.drawing)
        self._workers = ThreadPoolExecutor(settings.limits.max_at_once, thread_name_prefix="worker")
        rates = {checkpoint.frames_per_second for checkpoint in checkpoints.values()}
        self._rates = sorted(rate for rate in rates if rate is not None)
        counts = {c.num_frames for c in checkpoints.values() if c.frames_per_second is None}
        self._frame_counts = sorted(counts | ({SAMPLING.num_frames} if self.video_llms else set()))
        kept_s = settings.clips_kept_s
        self._clips: Cache[Clip] = Cache(_MAX_CLIP_BYTES, kept_s, size_of=lambda clip: clip.frames.nbytes)
        self._analyses: Cache[Analysis] = Cache(_MAX_VIDEOS, kept_s)
        self._guidance: Cache[ClipGuidance] = Cache(_MAX_VIDEOS, kept_s)
        self._videos: Cache[Path] = Cache(_MAX_VIDEOS, kept_s, on_removed=_delete)
        self._found: Cache[dict[str, list[Found]]] = Cache(_MAX_FOUND, kept_s)
        self.detectors = Detectors(worlds, self._found)
        self._closed = threading.Event()
        sweeping = (self.sweep, settings.sweep_every_s, self._closed.wait)
        threading.Thread(target=sweep_regularly, args=sweeping, name="sweeper", daemon=True).start()

    def show(self, ask: Ask, progress: Callable[[float, str], None] = lambda share, text: None) -> Shown:
        """Carry a request out.

        Args:
            ask: Request.
            progress: Called with the share that is done, 0 to 1, and a word for the visitor.

        Raises:
            Refused: The request cannot be carried out; the text is for the visitor.
        """
        started = time.perf_counter()
        deadline = self._deadline()
        chosen = self._chosen(ask.checkpoints)
        seconds: dict[str, float] = {}
        progress(0.05, "reading the video")
        with _timed(seconds, "read"):
            digest, clip = self.read(ask.path, deadline)
        deadline.check()
        progress(0.35, "asking the model")
        finding = self._workers.submit(self._guidance_of, ask, digest, clip, deadline)  # while the model is asked
        with _timed(seconds, "model"):
            analyses = [self._analysis(digest, clip, checkpoint, deadline) for checkpoint in chosen]
        progress(0.5, "finding guidance")
        with _timed(seconds, "guidance"):
            guidance = finding.result()
        progress(0.65, "drawing and writing the videos")
        with _timed(seconds, "draw_and_write"):
            guidance_video, videos = self._draw(ask, digest, clip, chosen, analyses, guidance, deadline)
        answers = []
        for checkpoint, analysis, video in zip(chosen, analyses, videos, strict=True):
            frames = frame_agreement(analysis.attention, guidance.maps)
            made = (analysis, frames, summarize(frames), video, checkpoint.object_model is not None)
            answers.append(Answer(checkpoint.name, checkpoint.task, *made))
        seconds["total"] = round(time.perf_counter() - started, 3)
        progress(1.0, "done")
        return Shown(digest, clip, guidance, guidance_video, answers, self._truth.get(digest, ()), seconds)

    def show_objects(
        self, path: str, name: str, classes: str, progress: Callable[[float, str], None] = lambda share, text: None
    ) -> ShownObjects:
        """Look for objects in a clip and ask a checkpoint with their maps and without.

        Args:
            path: File of the video.
            name: Name of a checkpoint that takes object maps.
            classes: Class of each channel, a line each; an empty line is a map of zeros.
            progress: Called with the share that is done, 0 to 1, and a word for the visitor.

        Raises:
            Refused: The request cannot be carried out; the text is for the visitor.
        """
        started = time.perf_counter()
        deadline = self._deadline()
        (checkpoint,) = self._chosen([name])
        if checkpoint.object_model is None:
            raise Refused("no_maps", "This checkpoint takes no object maps.")
        progress(0.05, "reading the video")
        digest, clip = self.read(path, deadline)
        config = checkpoint.object_model.config
        chosen = self.detectors.choose(config, digest)
        detector = chosen.lookout.detector
        asked = read_classes(classes, config.class_texts, detector)
        progress(0.3, "looking for objects")
        keys = frame_keys(clip, checkpoint.num_frames, chosen.video_id)
        frames = clip.frames[clip.sampled[checkpoint.num_frames]]
        texts = [text for text in asked if text is not None]
        found = self.detectors.find(chosen, frames, keys, texts, digest, deadline)
        progress(0.8, "asking the model")
        answer = answer_with_objects(checkpoint, clip, asked, found, deadline)
        progress(1.0, "done")
        return ShownObjects(clip, answer, detector.name, chosen.note, time.perf_counter() - started)

    def show_answer(
        self,
        path: str,
        name: str,
        question: str,
        options: str,
        progress: Callable[[float, str], None] = lambda share, text: None,
    ) -> ShownAnswer:
        """Ask a Video-LLM a question about a clip, and the same without the clip.

        Args:
            path: File of the video.
            name: Name of a Video-LLM.
            question: The question.
            options: Options of a multiple choice, a line each; empty for a free answer.
            progress: Called with the share that is done, 0 to 1, and a word for the visitor.

        Raises:
            Refused: The request cannot be carried out; the text is for the visitor.
        """
        started = time.perf_counter()
        deadline = self._deadline()
        if name not in self.video_llms:
            raise Refused("unknown_model", "Please choose one of the Video-LLMs that are listed.")
        text, listed = read_question(question, options)  # before anything is decoded
        progress(0.05, "reading the video")
        digest, clip = self.read(path, deadline)
        known = self._known_question(digest, text, listed)
        answer_format = "choice" if listed else "open" if known is None else known["answer_format"]
        asked = {"question": text, "options": listed, "answer_format": answer_format}
        progress(0.3, "asking the model, with the clip and without it")
        answer = ask(self.video_llms[name], asked, clip, deadline)
        progress(1.0, "done")
        return ShownAnswer(clip, asked, answer, known, time.perf_counter() - started)

    def _known_question(self, digest: str, text: str, options: Sequence[str]) -> Mapping[str, Any] | None:
        """The row of a question about an example, if it is asked in its own words; with other options it still is."""
        same = [row for row in self._questions.get(digest, ()) if row["question"].lower() == text.lower()]
        return next((row for row in same if not options or row["answer"] in options), None)

    def single_frames(self, path: str, count: int) -> tuple[str, list[np.ndarray], list[dict[str, Any]]]:
        """Frames of a clip at equal distances, for a language model: the clip's digest, pictures and frame keys.

        Raises:
            Refused: The clip breaks a limit or cannot be read.
        """
        digest, clip = self.read(path, self._deadline())
        chosen = [clip.shown[place] for place in uniform_indices(len(clip.shown), min(count, len(clip.shown)))]
        key = {"video_id": digest[:16], "source": "upload", "split": "upload"}
        size = {"frame_height": clip.facts.height, "frame_width": clip.facts.width}
        keys = [
            key | size | {"frame_index": number, "timestamp_s": float(clip.times_s[position])}
            for number, position in enumerate(chosen)
        ]
        return digest, [clip.frames[position] for position in chosen], keys

    def read(self, path: str, deadline: Deadline) -> tuple[str, Clip]:
        """The digest of a file and what is in it.

        Args:
            path: File to read.
            deadline: Time at which the request is given up.

        Raises:
            Refused: The clip breaks a limit or cannot be read.
        """
        check_file(path, self.settings.limits)
        digest = digest_of(Path(path))  # of a size that was looked at

        def make() -> Clip:
            return self.reader.read(path, self._frame_counts, self._rates, deadline.left_s)

        return digest, self._clips.get_or_make(digest, make)

    def close(self) -> None:
        """Stop all threads and processes, and delete uploads and what was drawn."""
        self._closed.set()
        self.reader.close()
        self._workers.shutdown(cancel_futures=True)
        self.scratch.close()

    def sweep(self) -> None:
        """Forget and delete what is too old."""
        for cache in (self._clips, self._analyses, self._guidance, self._videos, self._found):
            cache.sweep()
        settings = self.settings
        self.scratch.sweep_uploads(settings.clips_kept_s, settings.sweep_every_s, self.kept_uploads())

    def _deadline(self) -> Deadline:
        return Deadline(self.settings.limits.request_timeout_s, self._closed)

    def _chosen(self, names: Sequence[str]) -> list[Checkpoint]:
        names = list(dict.fromkeys(names))
        if not 1 <= len(names) <= 2 or any(name not in self.checkpoints for name in names):
            raise Refused("unknown_checkpoint", "Please choose one or two of the checkpoints that are listed.")
        return [self.checkpoints[name] for name in names]

    def _analysis(self, digest: str, clip: Clip, checkpoint: Checkpoint, deadline: Deadline) -> Analysis:
        return self._analyses.get_or_make((digest, checkpoint.name), lambda: analyse(checkpoint, clip, deadline))

    def _guidance_of(self, ask: Ask, digest: str, clip: Clip, deadline: Deadline) -> ClipGuidance:
        if ask.llm_rows and ask.llm_digest == digest:
            source = f"the language model {ask.llm_rows[0]['model']}"
            return rows_guidance(source, ask.llm_rows, clip.shown_times_s)  # the visitor's own, and in no cache
        file_name = Path(ask.path).name
        if ask.guidance == AUTOMATIC and self.known.find(file_name, clip.facts):
            key = (digest, PUBLISHED, file_name)
            return self._guidance.get_or_make(key, lambda: self.known.guidance(file_name, clip))
        fps = self.settings.drawing.guidance_fps
        return self._guidance.get_or_make((digest, MOTION_ONLY), lambda: motion_guidance(clip, fps, deadline))

    def _draw(self, ask: Ask, digest: str, clip: Clip, chosen, analyses, guidance: ClipGuidance, deadline: Deadline):
        """The guidance's video and the attention's of each checkpoint, two written at a time."""
        strength = round(min(max(float(ask.strength), 0.0), 1.0), 2)
        drawing, pictures = self.settings.drawing, (clip.frames, clip.shown)

        def draw_guidance() -> Path:
            return write_guidance(
                self._new_path("guidance"), *pictures, guidance.maps, clip.shown_fps, drawing, deadline
            )

        def draw_attention(analysis: Analysis) -> Callable[[], Path]:
            return lambda: write_attention(
                *(self._new_path("attention"), *pictures, analysis.attention, clip.shown_fps, strength),
                *(drawing, deadline),
            )

        # an LLM's guidance is another object each time, so that its video has a key that nobody else finds
        jobs = [(("guidance", digest, guidance), draw_guidance)]
        for checkpoint, analysis in zip(chosen, analyses, strict=True):
            jobs.append((("attention", digest, checkpoint.name, strength), draw_attention(analysis)))
        first, *others = self._workers.map(lambda job: self._videos.get_or_make(*job), jobs)
        return first, others

    def _new_path(self, name: str) -> Path:
        return self.scratch.drawn / f"{name}_{uuid.uuid4().hex}.mp4"


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)


class _timed:
    """Adds the seconds that a block takes to a dictionary, under a name."""

    def __init__(self, seconds: dict[str, float], name: str):
        self.seconds, self.name = seconds, name

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *_):
        self.seconds[self.name] = round(time.perf_counter() - self.started, 3)
