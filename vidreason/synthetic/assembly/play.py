"""A video's segments played through, one after another: where everything is in each frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..seeds import Seed, stream
from .config import AssemblyConfig
from .desk import Desk
from .scripts import write_script
from .stage import Script
from .state import State
from .steps import Step, lengths_of
from .timeline import MOTION_STREAM, AssemblySegment


class Moment(NamedTuple):
    """One frame: where everything is, and which movement goes on."""

    state: State
    step: Step


class PlayedSegment(NamedTuple):
    """A segment with its frames.

    Args:
        segment: The segment as it was drawn.
        used: Names of the items that take part in it.
        moments: States and movements, one per frame.
    """

    segment: AssemblySegment
    used: frozenset[str]
    moments: tuple[Moment, ...]


def play_segments(
    segments: Sequence[AssemblySegment], desk: Desk, seed: Seed, config: AssemblyConfig
) -> Iterator[PlayedSegment]:
    """Play segments, each from where the one before it ended, so that nothing jumps. One at a time is in memory."""
    rng, state = stream(seed, MOTION_STREAM), desk.start()
    for segment in segments:
        seconds = segment.num_frames / config.fps
        script = write_script(segment.label, segment.pause, state, desk, seconds, rng)
        moments, state = _play(script, segment.num_frames, seconds)
        yield PlayedSegment(segment, frozenset(script.used), tuple(moments))


def _play(script: Script, num_frames: int, seconds: float) -> tuple[list[Moment], State]:
    """The moments of a script, the last of which is its end; and the state at its end."""
    lengths = lengths_of(script.steps, seconds)
    moments: list[Moment] = []
    before, start_s = script.state, 0.0
    for step, length_s in zip(script.steps, lengths, strict=True):
        end_s = start_s + length_s
        while len(moments) < num_frames and _time(len(moments), num_frames, seconds) < end_s:
            u = (_time(len(moments), num_frames, seconds) - start_s) / length_s
            moments.append(Moment(step.play(before, u, length_s), step))
        # also where no frame fell into the step: the next one goes on from its end
        before, start_s = step.play(before, 1.0, length_s), end_s
    while len(moments) < num_frames:  # the last, and what rounding left
        moments.append(Moment(before, script.steps[-1]))
    return moments, before


def _time(index: int, num_frames: int, seconds: float) -> float:
    """Of a frame from the start of its segment, whose first frame is a step on and whose last is its end."""
    return (index + 1) / num_frames * seconds
