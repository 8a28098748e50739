"""What happens when in a video, without any picture: its segments, in an order that a stochastic grammar gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..seeds import Seed, clip_seed, stream
from .config import ASSEMBLY_ACTIONS, BACKGROUND, SIGN_STRENGTHS, AssemblyConfig
from .signs import SIGNS

# streams of random numbers, apart from those of `vidreason.synthetic.actions.nuisance`
GRAMMAR_STREAM, TIME_STREAM, SIGN_STREAM, DESK_STREAM, MOTION_STREAM, VIEW_STREAM, TEXTURE_STREAM, PLACE_STREAM = (
    range(20, 28)
)

PAUSES = ("rest", "away", "hesitate")
"""What the hand does in a pause."""

# which part of the range from the shortest to the longest action each one takes
_DURATION_SHARES: dict[str, tuple[float, float]] = {
    "take_board": (0.10, 0.45),
    "place_chip": (0.20, 0.55),
    "insert_card": (0.20, 0.60),
    "screw": (0.35, 1.00),
    "unscrew": (0.35, 1.00),
    "plug_cable": (0.20, 0.55),
    "unplug_cable": (0.15, 0.45),
    "press_switch": (0.00, 0.30),
    "apply_tape": (0.30, 0.80),
    "wipe": (0.25, 0.95),
    "turn_over": (0.10, 0.40),
    "attach_cover": (0.25, 0.70),
    "test_meter": (0.30, 0.95),
    "put_away": (0.10, 0.40),
}
_MAX_SIGN_DELAY = 0.25  # of a segment's length, at either end


Expansion = tuple[float, tuple[str, ...]]

START = "unit"
"""The symbol of one board, from rack to shelf. A video is one unit after another, and can end after any action."""

GRAMMAR: dict[str, tuple[Expansion, ...]] = {
    "unit": (
        (0.5, ("take_board", "inspect", "populate", "fasten", "close", "power", "put_away")),
        (0.3, ("take_board", "populate", "inspect", "close", "power", "put_away")),
        (0.2, ("take_board", "inspect", "populate", "power", "fasten", "close", "put_away")),
    ),
    "inspect": (
        (0.30, ("wipe",)),
        (0.40, ("turn_over", "back", "turn_over")),
        (0.15, ("wipe", "turn_over", "back", "turn_over")),
        (0.15, ()),
    ),
    "back": (
        (0.35, ("test_meter",)),
        (0.35, ("apply_tape",)),
        (0.30, ("wipe",)),
    ),
    "populate": (
        (0.30, ("place_chip", "insert_card")),
        (0.25, ("insert_card", "place_chip")),
        (0.25, ("place_chip", "insert_card", "place_chip")),
        (0.20, ("insert_card", "place_chip", "insert_card")),
    ),
    "fasten": (
        (0.35, ("screw",)),
        (0.25, ("screw", "apply_tape")),
        (0.25, ("screw", "unscrew", "screw")),
        (0.15, ("apply_tape",)),
    ),
    "close": (
        (0.40, ("attach_cover", "screw")),
        (0.20, ("attach_cover", "apply_tape")),
        (0.15, ("attach_cover",)),
        (0.25, ("attach_cover", "screw", "unscrew", "screw")),
    ),
    "power": (
        (0.40, ("plug_cable", "press_switch", "unplug_cable")),
        (0.25, ("plug_cable", "press_switch", "test_meter", "unplug_cable")),
        (0.20, ("plug_cable", "test_meter", "press_switch", "unplug_cable")),
        (0.15, ("test_meter",)),
    ),
}
"""Symbol -> (probability, what it becomes). A symbol that is no key is an action. No action follows itself."""


@dataclass(frozen=True)
class AssemblySegment:
    """Frames [start_frame, end_frame) of one label.

    Args:
        start_frame: First frame of the segment.
        end_frame: Frame after the last of the segment.
        label: One of `ASSEMBLY_ACTIONS`.
        pause: One of `PAUSES` for `background`; else empty.
        sign: One of `SIGNS`, which lies on the desk meanwhile and takes no part.
        sign_tied: Whether the sign was chosen for the label. An untied draw can hit the same one by chance.
        sign_start_frame: First frame that shows the sign.
        sign_end_frame: Frame after the last that shows the sign.
    """

    start_frame: int
    end_frame: int
    label: str
    pause: str
    sign: str
    sign_tied: bool
    sign_start_frame: int
    sign_end_frame: int

    @property
    def num_frames(self) -> int:
        """Its length."""
        return self.end_frame - self.start_frame


def draw_sequence(seed: Seed, split: str, config: AssemblyConfig | None = None) -> tuple[AssemblySegment, ...]:
    """Draw the segments of a video from the grammar, without rendering anything. They follow without a gap.

    Args:
        seed: Seed of the video; see `vidreason.synthetic.clip_seed`.
        split: Split of the video, which says how strongly signs are tied to actions.
        config: Settings of the world.

    Raises:
        ConfigError: an unknown split.
    """
    config = config or AssemblyConfig()
    if split not in SIGN_STRENGTHS:
        clip_seed(0, split, 0)  # names it
    signs = stream(seed, SIGN_STREAM)
    segments, start = [], 0
    for label, pause, num_frames in _draw_lengths(seed, config):
        sign, tied = _draw_sign(label, split, signs)
        delays = np.floor(signs.random(2) * _MAX_SIGN_DELAY * num_frames).astype(int).tolist()
        end = start + num_frames
        segments.append(AssemblySegment(start, end, label, pause, sign, tied, start + delays[0], end - delays[1]))
        start = end
    return tuple(segments)


def _draw_lengths(seed: Seed, config: AssemblyConfig) -> list[tuple[str, str, int]]:
    """(label, pause, frames) of each segment. A video begins and ends with a pause."""
    rng, actions = stream(seed, TIME_STREAM), draw_actions(stream(seed, GRAMMAR_STREAM))
    target_s = rng.uniform(config.min_duration_s, config.max_duration_s - config.tail_s)
    lengths = [_draw_pause(config, rng)]
    while sum(num_frames for _, _, num_frames in lengths) < target_s * config.fps:
        if lengths[-1][0] != BACKGROUND and rng.random() < config.pause_probability:
            lengths.append(_draw_pause(config, rng))
        action = next(actions)
        low, high = _DURATION_SHARES[action]
        action_s = config.min_action_s + rng.uniform(low, high) * (config.max_action_s - config.min_action_s)
        lengths.append((action, "", _frames(action_s, config)))
    return [*lengths, _draw_pause(config, rng)]


def _draw_pause(config: AssemblyConfig, rng: np.random.Generator) -> tuple[str, str, int]:
    seconds = rng.uniform(config.min_pause_s, config.max_pause_s)
    return BACKGROUND, PAUSES[rng.integers(len(PAUSES))], _frames(seconds, config)


def _frames(seconds: float, config: AssemblyConfig) -> int:
    """Rounded down, so that no sum of parts exceeds the longest video."""
    return max(1, int(seconds * config.fps))


def _draw_sign(label: str, split: str, rng: np.random.Generator) -> tuple[str, bool]:
    tied = bool(rng.random() < SIGN_STRENGTHS[split]) and label != BACKGROUND
    # drawn also where the sign is tied, so that the strengths change no other draw
    free = int(rng.integers(len(SIGNS)))
    return SIGNS[ASSEMBLY_ACTIONS.index(label) - 1 if tied else free], tied


def draw_unit(rng: np.random.Generator) -> list[str]:
    """The actions of one board."""
    return _expand(START, rng)


def draw_actions(rng: np.random.Generator) -> Iterator[str]:
    """The actions of one board after another, without an end."""
    while True:
        yield from draw_unit(rng)


def _expand(symbol: str, rng: np.random.Generator) -> list[str]:
    if symbol not in GRAMMAR:
        return [symbol]
    weights, expansions = zip(*GRAMMAR[symbol], strict=True)
    chosen = expansions[rng.choice(len(expansions), p=weights)]
    return [action for part in chosen for action in _expand(part, rng)]
