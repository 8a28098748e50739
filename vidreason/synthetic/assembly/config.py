"""What the assembly world is: its actions, its splits, and the settings of its videos."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...errors import ConfigError

ASSEMBLY_VERSION = "1.0"
"""Goes up whenever the same seed gives other videos than before."""

SOURCE = f"synthetic-assembly@{ASSEMBLY_VERSION}"

ACTIVITY = "board_assembly"
"""The one class of the manifest. The actions are in the table of segments."""

BACKGROUND = "background"

ASSEMBLY_ACTIONS = (
    BACKGROUND,
    "take_board",
    "place_chip",
    "insert_card",
    "screw",
    "unscrew",
    "plug_cable",
    "unplug_cable",
    "press_switch",
    "apply_tape",
    "wipe",
    "turn_over",
    "attach_cover",
    "test_meter",
    "put_away",
)
"""The labels, in the order of their ids. `background` is a pause: the hand rests, is away, or hesitates."""

DEFAULT_SPLIT_SIZES = {"train": 30, "validation": 4, "test": 10, "test_shifted": 10}

# Fixed before any result was looked at, and kept: the probability that the sign of a segment is the one tied to the
# segment's action; otherwise it is drawn uniformly from all, whatever the action. That of a pause is never tied.
SIGN_STRENGTHS = {"train": 0.6, "validation": 0.6, "test": 0.6, "test_shifted": 0.0}

_MIN_SIDE_PX = 48
_MIN_ACTION_FRAMES = 5
_MAX_DISTRACTORS = 2  # as many free places as the desk has


@dataclass(frozen=True)
class AssemblyConfig:
    """How videos look and how long they are. Sizes in the scene follow the frame's.

    A video ends after the first action that reaches a length drawn between the shortest and the longest, and one more
    pause, so that no action is cut off.

    Raises:
        ConfigError: a setting that no video can be made with.
    """

    width: int = field(default=160, metadata={"help": "Width of the frame in pixels; even, as H.264 wants it."})
    height: int = field(default=120, metadata={"help": "Height of the frame in pixels; even."})
    fps: float = field(default=10.0, metadata={"help": "Frames per second."})
    min_duration_s: float = field(
        default=60.0, metadata={"help": "Shortest length that is drawn for a video, in seconds."}
    )
    max_duration_s: float = field(default=180.0, metadata={"help": "Length in seconds that no video exceeds."})
    min_action_s: float = field(
        default=1.5,
        metadata={
            "help": "Shortest time in seconds that an action can take; each action has its own part of the range."
        },
    )
    max_action_s: float = field(default=8.0, metadata={"help": "Longest time in seconds that an action can take."})
    pause_probability: float = field(default=0.5, metadata={"help": "Probability of a pause between two actions."})
    min_pause_s: float = field(default=1.0, metadata={"help": "Shortest pause in seconds."})
    max_pause_s: float = field(default=4.0, metadata={"help": "Longest pause in seconds."})
    max_jitter_px: float = field(default=1.0, metadata={"help": "Largest shift in pixels of the shaking camera."})
    max_brightness_change: float = field(
        default=0.08, metadata={"help": "Largest relative change of brightness within a video, and between videos."}
    )
    noise_std: float = field(
        default=4.0, metadata={"help": "Standard deviation of the sensor's noise, in grey values of 0 to 255."}
    )
    max_distractors: int = field(
        default=2, metadata={"help": "Largest number of tools that lie about and are used in no video, up to 2."}
    )

    def __post_init__(self):
        self._check_picture()
        self._check_times()

    def _check_picture(self) -> None:
        for name in ("width", "height"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int) or side < _MIN_SIDE_PX or side % 2:
                raise ConfigError(f"{name} is {side}, expected an even number from {_MIN_SIDE_PX}")
        if not 1 <= self.width / self.height <= 2:
            raise ConfigError(f"frames of {self.width} x {self.height} are too narrow or too wide for the desk")
        for name in ("max_jitter_px", "max_brightness_change", "noise_std", "max_distractors"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}, expected zero or more")
        if self.max_brightness_change >= 0.5:
            raise ConfigError(f"max_brightness_change is {self.max_brightness_change}, expected less than 0.5")
        if not isinstance(self.max_distractors, int) or self.max_distractors > _MAX_DISTRACTORS:
            raise ConfigError(
                f"max_distractors is {self.max_distractors}, expected a whole number to {_MAX_DISTRACTORS}"
            )

    def _check_times(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps is {self.fps}, expected a positive number")
        for kind in ("duration", "action", "pause"):
            low, high = getattr(self, f"min_{kind}_s"), getattr(self, f"max_{kind}_s")
            if not (math.isfinite(high) and 0 < low <= high):
                raise ConfigError(
                    f"min_{kind}_s is {low} and max_{kind}_s {high}, expected seconds, the first not above the second"
                )
        if not 0 <= self.pause_probability <= 1:
            raise ConfigError(f"pause_probability is {self.pause_probability}, expected a probability")
        if self.min_action_s * self.fps < _MIN_ACTION_FRAMES:
            raise ConfigError(
                f"min_action_s is {self.min_action_s} at {self.fps} frames per second, expected {_MIN_ACTION_FRAMES} "
                "frames or more"
            )
        if self.min_pause_s * self.fps < 1:
            raise ConfigError(f"min_pause_s is {self.min_pause_s}, which is less than a frame")
        if self.max_duration_s < self.min_duration_s + self.tail_s:
            raise ConfigError(
                f"max_duration_s is {self.max_duration_s}, expected min_duration_s and {self.tail_s:g} s more: the "
                "longest action with a pause before and after it"
            )

    @property
    def tail_s(self) -> float:
        """By how much a video can become longer than the length that was drawn for it."""
        return self.max_action_s + 2 * self.max_pause_s
