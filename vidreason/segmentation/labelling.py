"""Labels for a video of any length, in memory that does not grow with it.

Frames are decoded at the model's rate in a thread of their own while the model works on those before. Each goes
through stage 1 once; windows of their representations overlap, and a frame's scores are the mean over the windows that
it is in, and over its neighbours where the model says so, exactly as in the evaluation of training runs. What is kept
is the representations of one window, the scores of the frames that another window will still see, and the segments
found so far.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, AutoVideoProcessor, BaseVideoProcessor

from modeling_tsvit import TSViTForActionSegmentation

from ..errors import ConfigError
from ..manifests.segments import SegmentIndex
from ..video.streaming import FrameStream, TimedFrame
from ..whole_models import load_whole
from .averaging import LabelledFrames, averaged, frames_each_side

_CHUNKS_AHEAD = 2
"""Chunks of decoded frames that wait for the model, at most."""


@dataclass(frozen=True)
class ActionSegment:
    """A stretch of a video with one label.

    Args:
        start_s: Time of its first frame in seconds.
        end_s: Time in seconds of the next segment's first frame, or of the end of the video.
        label: Name of the action.
        score: Mean probability of the label over its frames, in [0, 1].
    """

    start_s: float
    end_s: float
    label: str
    score: float


def true_segments(index: SegmentIndex, video_id: str) -> list[ActionSegment]:
    """The segments that a table has of a video, with a score of 1; none of an unknown video."""
    rows = index.segments_of(video_id)
    return [ActionSegment(row["start_s"], row["end_s"], row["label"], 1.0) for row in rows]


class VideoLabeller:
    """Labels videos with a segmentation model.

    Args:
        model: A model that was trained on windows of `config.num_frames` frames.
        processor: The model's video processor.
        fps: Frames per second that it was trained at; by default what its configuration says.
        stride: Frames from one window to the next; by default half a window.
        averaging_s: Seconds over which a frame's scores are averaged, the frame in the middle; by default what the
            configuration says, and 0 for its own scores alone.
        max_side_px: Longer side in pixels that frames are scaled down to while they are decoded, as in training.
        max_pixels: Pixels above which a frame is refused before it is decoded; None refuses none.
        chunk_frames: Frames that go through stage 1 together.

    Raises:
        ConfigError: The rate is not known, the stride leaves gaps, or seconds are below zero.
    """

    def __init__(
        self,
        model: TSViTForActionSegmentation,
        processor: BaseVideoProcessor,
        fps: float | None = None,
        stride: int | None = None,
        averaging_s: float | None = None,
        max_side_px: int | None = None,
        max_pixels: int | None = None,
        chunk_frames: int = 32,
    ):
        self.model, self.processor = model.eval(), processor
        rate = fps or model.config.frames_per_second
        if not rate:
            raise ConfigError("the model does not say how many frames per second it was trained at: give fps")
        self.fps: float = rate
        self.window = model.config.num_frames
        # half a window: a frame at the border of one window, with little context, is in the middle of another
        self.stride = max(1, self.window // 2) if stride is None else stride
        # with a longer stride some frames would be in no window, and have no scores
        if not 1 <= self.stride <= self.window:
            raise ConfigError(f"stride is {stride}, expected 1 to the {self.window} frames of a window")
        seconds = model.config.score_averaging_s if averaging_s is None else averaging_s
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"averaging_s is {seconds}, expected a number of seconds, 0 or more")
        self.each_side = frames_each_side(seconds, self.fps)
        self.max_side_px, self.max_pixels, self.chunk_frames = max_side_px, max_pixels, chunk_frames

    def predict_segments(self, video: str | os.PathLike) -> list[ActionSegment]:
        """The segments of a video file, from its start to its end without gaps; as short, calling the labeller.

        `segment_files` writes them as CSV, JSON and SRT, and `timeline.draw_timeline` draws them.

        Raises:
            VideoError: It cannot be read.
        """
        stream = self.open(video)
        return list(self.segments(self.label(stream), stream.duration_s))

    __call__ = predict_segments

    def open(self, path: str | os.PathLike) -> FrameStream:
        """The frames of a video at the model's rate.

        Args:
            path: The file.

        Raises:
            VideoError: It cannot be read.
        """
        return FrameStream(path, self.fps, self.max_side_px, self.max_pixels)

    def label(self, frames: Iterable[TimedFrame], overlapped: bool = True) -> Iterator[LabelledFrames]:
        """Scores of frames in order, each once, as soon as no later window can change them.

        Args:
            frames: Frames at the model's rate.
            overlapped: Decode in a thread while the model works; without it one waits for the other.
        """
        chunks = chunked(frames, self.chunk_frames)
        yield from averaged(self._merged(in_thread(chunks) if overlapped else chunks), self.each_side)

    def segments(self, labelled: Iterable[LabelledFrames], duration_s: float) -> Iterator[ActionSegment]:
        """Stretches of frames with one label, each as soon as it has ended.

        Args:
            labelled: Scored frames, as `label` gives them.
            duration_s: End of the last segment in seconds.
        """
        current, start_s, scores, count = None, 0.0, 0.0, 0
        for frames in labelled:
            # the softmax of averaged logits, not an average of softmaxes
            probabilities, labels = frames.logits.softmax(dim=-1).max(dim=-1)
            for time_s, label, score in zip(frames.timestamps_s, labels.tolist(), probabilities.tolist(), strict=True):
                if label != current and current is not None:
                    # a segment ends where the next begins, so that no gap of a frame's length is left between them
                    yield ActionSegment(start_s, time_s, self.model.config.id2label[current], scores / count)
                if label != current:
                    current, start_s, scores, count = label, time_s, 0.0, 0
                scores, count = scores + score, count + 1
        if current is not None:
            yield ActionSegment(start_s, duration_s, self.model.config.id2label[current], scores / count)

    def _merged(self, chunks: Iterable[list[TimedFrame]]) -> Iterator[LabelledFrames]:
        """The mean of each frame's scores over the windows that it is in."""
        merger = _WindowMerger(self.model, self.window, self.stride)
        for chunk in chunks:
            yield from merger.add([frame.timestamp_s for frame in chunk], self._encode(chunk))
        yield from merger.finish()

    @torch.inference_mode()
    def _encode(self, chunk: list[TimedFrame]) -> torch.Tensor:
        """Representations of frames: (frames, hidden)."""
        # (frames, channels, height, width)
        pixels = torch.from_numpy(np.stack([frame.frame for frame in chunk])).permute(0, 3, 1, 2)
        # already sampled at the model's rate: the processor must not drop frames
        inputs = self.processor(pixels, do_sample_frames=False, return_tensors="pt")
        pixel_values = inputs["pixel_values"].to(self.model.device, self.model.dtype)
        states, _ = self.model.tsvit.encode_frames(pixel_values)
        return states[0]


def load_labeller(name: str, **settings: Any) -> VideoLabeller:
    """A labeller from a folder or Hub id of a segmentation model.

    Args:
        name: Folder or Hub id of the model.
        **settings: Settings of `VideoLabeller`.

    Raises:
        ConfigError: There is no such model, or it labels no frames.
    """
    try:
        model = load_whole(AutoModelForTokenClassification, name, f"segmentation model {name}")
        processor = AutoVideoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot load a segmentation model from {name}: {error}") from error
    architectures = getattr(model.config, "architectures", None) or []
    # the Auto class loads token classifiers of text as well
    if TSViTForActionSegmentation.__name__ not in architectures:
        raise ConfigError(f"{name} holds {', '.join(architectures) or 'another model'}, which labels no frames")
    return VideoLabeller(model, processor, **settings)


class _WindowMerger:
    """Puts overlapping windows together as the frames come in.

    Windows start at 0, stride, 2 stride, ... and the last one ends with the video, as `window_starts` has it. A frame
    is final once a window has started after it: the last window, whose start is not known before the video's end,
    starts no earlier than that.
    """

    def __init__(self, model: TSViTForActionSegmentation, window: int, stride: int):
        self.model, self.window, self.stride = model, window, stride
        self.first = 0  # number of the first frame that is kept
        self.next_start = 0  # number of the next window's first frame
        self.timestamps_s: list[float] = []
        self.states = torch.empty(0)  # (frames, hidden); all three start at frame `first`
        self.sums = torch.empty(0)  # (frames, labels): over the windows so far
        self.counts = torch.empty(0)  # (frames,): windows that each frame was in

    def add(self, timestamps_s: list[float], states: torch.Tensor) -> Iterator[LabelledFrames]:
        """Take the next frames, states (frames, hidden), and give those that are final."""
        num_labels = len(self.model.config.id2label or {})
        self.timestamps_s += timestamps_s
        self.states = torch.cat((self.states, states)) if len(self.states) else states
        sums, counts = states.new_zeros(len(states), num_labels), states.new_zeros(len(states))
        self.sums = torch.cat((self.sums, sums)) if len(self.sums) else sums
        self.counts = torch.cat((self.counts, counts)) if len(self.counts) else counts
        # a loop: one chunk may complete several windows
        while self.first + len(self.states) >= self.next_start + self.window:
            self._predict(self.next_start, self.window)
            # no later window reaches before the start of this one
            yield from self._release(self.next_start)
            self.next_start += self.stride

    def finish(self) -> Iterator[LabelledFrames]:
        """The frames that are left, after the window that ends with the video."""
        end = self.first + len(self.states)
        if end == 0:
            return
        # a full window up to the end: a short remainder would lack context; a shorter video is one short window
        last = max(0, end - self.window)
        if last != self.next_start - self.stride:  # where no regular window was the last one
            self._predict(last, end - last)
        yield from self._release(end)

    @torch.inference_mode()
    def _predict(self, start: int, length: int) -> None:
        place = slice(start - self.first, start - self.first + length)
        self.sums[place] += self.model.predict_logits(self.states[None, place])[0]
        self.counts[place] += 1

    def _release(self, end: int) -> Iterator[LabelledFrames]:
        """Give the frames before `end`, and forget them."""
        number = end - self.first
        if number > 0:
            # overlapping windows are averaged, as in evaluation; how many there are differs along the video
            logits = self.sums[:number] / self.counts[:number, None]
            yield LabelledFrames(self.timestamps_s[:number], logits.float().cpu())
            self.timestamps_s = self.timestamps_s[number:]
            # copies: a view would keep all that came before alive
            self.states, self.sums = self.states[number:].clone(), self.sums[number:].clone()
            self.counts, self.first = self.counts[number:].clone(), end


def chunked(frames: Iterable[TimedFrame], size: int) -> Iterator[list[TimedFrame]]:
    """The same frames, so many at a time."""
    chunk: list[TimedFrame] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def in_thread(chunks: Iterator[list[TimedFrame]]) -> Iterator[list[TimedFrame]]:
    """The same chunks, made in a thread that is a few of them ahead. The thread ends when reading ends."""
    # bounded: decoding that is faster than the model would fill the memory
    waiting: queue.Queue = queue.Queue(_CHUNKS_AHEAD)
    stopped = threading.Event()

    def put(item: object) -> bool:
        # with a timeout: nobody takes anything out any more once reading has ended
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for chunk in chunks:
                if not put((chunk, None)):
                    return
            put((None, None))
        except BaseException as error:  # it is raised where the chunks are read
            put((None, error))

    # daemon: a decoder that hangs does not keep the interpreter from exiting
    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        while True:
            chunk, error = waiting.get()
            if error is not None:
                raise error
            if chunk is None:
                return
            yield chunk
    finally:
        stopped.set()
        thread.join()
