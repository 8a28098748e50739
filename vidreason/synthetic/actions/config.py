"""What the world is: its actions, its splits, and the settings of its nuisances."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...errors import ConfigError

WORLD_VERSION = "1.0"
"""Goes up whenever the same seed gives other clips than before."""

SOURCE = f"synthetic-actions@{WORLD_VERSION}"

ACTIONS = (
    "pick_up",
    "put_down",
    "open_box",
    "close_box",
    "slide_left",
    "slide_right",
    "take_out",
    "put_in",
    "shake",
    "tap",
    "stir",
    "wave",
)

REVERSED_PAIRS = {
    "put_down": "pick_up",
    "close_box": "open_box",
    "slide_left": "slide_right",
    "put_in": "take_out",
}
"""Action -> the action whose script it runs backwards in time: single frames do not tell the two apart."""

MIRRORED_PAIRS = {"slide_left": "slide_right", "slide_right": "slide_left"}
"""Action -> what it becomes in a mirror. All others stay what they are."""

DEFAULT_SPLIT_SIZES = {"train": 960, "validation": 120, "test": 240, "test_shifted": 240}

# Fixed before any result was looked at, and kept. They are the probabilities that a nuisance is the one tied to the
# label; otherwise it is drawn uniformly from all, whatever the label.
COOCCURRING_STRENGTHS = {"train": 0.6, "validation": 0.6, "test": 0.6, "test_shifted": 0.0}
BACKGROUND_STRENGTHS = {"train": 0.4, "validation": 0.4, "test": 0.4, "test_shifted": 0.0}

_MIN_SIDE_PX = 48
_MIN_FRAMES = 6


@dataclass(frozen=True)
class WorldConfig:
    """How clips look, apart from what is in them. Sizes in the scene follow the frame's height.

    Raises:
        ConfigError: a setting that no clip can be made with.
    """

    width: int = field(default=160, metadata={"help": "Width of the frame in pixels; even, as H.264 wants it."})
    height: int = field(default=120, metadata={"help": "Height of the frame in pixels; even."})
    num_frames: int = field(default=24, metadata={"help": "Number of frames of a clip."})
    fps: float = field(default=12.0, metadata={"help": "Frames per second."})
    max_jitter_px: float = field(default=1.5, metadata={"help": "Largest shift in pixels of the shaking camera."})
    max_brightness_change: float = field(
        default=0.08, metadata={"help": "Largest relative change of brightness within a clip, and between clips."}
    )
    noise_std: float = field(
        default=4.0, metadata={"help": "Standard deviation of the sensor's noise, in grey values of 0 to 255."}
    )
    max_distractors: int = field(default=2, metadata={"help": "Largest number of neutral things that lie about."})

    def __post_init__(self):
        for name in ("width", "height"):
            side = getattr(self, name)
            if side < _MIN_SIDE_PX or side % 2:
                raise ConfigError(f"{name} is {side}, expected an even number from {_MIN_SIDE_PX}")
        if not 2 / 3 <= self.width / self.height <= 3:
            raise ConfigError(f"frames of {self.width} x {self.height} are too narrow or too wide for the scene")
        if self.num_frames < _MIN_FRAMES:
            raise ConfigError(f"num_frames is {self.num_frames}, expected at least {_MIN_FRAMES}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps is {self.fps}, expected a positive number")
        for name in ("max_jitter_px", "max_brightness_change", "noise_std", "max_distractors"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}, expected zero or more")
        if self.max_brightness_change >= 0.5:
            raise ConfigError(f"max_brightness_change is {self.max_brightness_change}, expected less than 0.5")

    @property
    def unit_px(self) -> float:
        """Pixels per unit of the scene's own coordinates: 1 in a frame that is 120 high."""
        return self.height / 120


def check_action(action: str) -> None:
    """Raise `ConfigError` unless the world knows the action."""
    if action not in ACTIONS:
        raise ConfigError(f"unknown action {action!r}, expected one of {ACTIONS}")
