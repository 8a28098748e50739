"""What the tabletop world is: its things, its actions, and the settings of its videos."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...errors import ConfigError

TABLETOP_VERSION = "1.0"
"""Goes up whenever the same seed gives other videos than before."""

SOURCE = f"synthetic-tabletop@{TABLETOP_VERSION}"

ACTIVITY = "tabletop"
"""The one class of the manifest. What happens in a video is in its ground truth."""

IDLE = "idle"

TABLETOP_ACTIONS = ("tap", "pick_up", "shake", "slide_left", "slide_right", "put_in")
"""What the hand can do with a thing. Each ends with the thing at rest, so that any can follow any other."""

PALETTE = {
    "red": (208, 44, 44),
    "green": (48, 160, 72),
    "blue": (48, 92, 216),
    "yellow": (242, 208, 48),
    "purple": (142, 70, 192),
    "black": (44, 44, 50),
}
"""Name of a color -> RGB, about which a thing's own color is drawn. They are told apart under any
light here."""

KINDS = ("ball", "block", "bottle", "mug", "book")
CONTAINER = "box"
"""What a thing can be put in. At most one is on a table."""

SIZES = {"small": 1.0, "large": 1.6}
"""Name of a size -> scale of the thing; a box has none."""

BACKGROUNDS = ("concrete", "paper")
"""Some of `vidreason.synthetic.BACKGROUNDS`, tied to nothing: they are of no color that a thing has."""

DEFAULT_SPLIT_SIZES = {"train": 2000, "validation": 100, "test": 300}

_MIN_SIDE_PX = 48


@dataclass(frozen=True)
class TabletopConfig:
    """How videos look and how much happens in them. Sizes in the scene follow the frame's shorter side.

    Raises:
        ConfigError: a setting that no video can be made with.
    """

    width: int = field(default=96, metadata={"help": "Width of the frame in pixels; even, as H.264 wants it."})
    height: int = field(default=96, metadata={"help": "Height of the frame in pixels; even."})
    fps: float = field(default=8.0, metadata={"help": "Frames per second."})
    min_things: int = field(default=3, metadata={"help": "Smallest number of things on the table, a box included."})
    max_things: int = field(default=4, metadata={"help": "Largest number of things, up to 5: one place stays free."})
    min_actions: int = field(default=2, metadata={"help": "Smallest number of actions in a video."})
    max_actions: int = field(default=3, metadata={"help": "Largest number of actions in a video."})
    min_action_s: float = field(default=1.25, metadata={"help": "Shortest time in seconds that an action takes."})
    max_action_s: float = field(default=1.75, metadata={"help": "Longest time in seconds that an action takes."})
    max_jitter_px: float = field(default=0.5, metadata={"help": "Largest shift in pixels of the shaking camera."})
    max_brightness_change: float = field(
        default=0.05, metadata={"help": "Largest relative change of brightness within a video, and between videos."}
    )
    noise_std: float = field(
        default=3.0, metadata={"help": "Standard deviation of the sensor's noise, in grey values of 0 to 255."}
    )

    def __post_init__(self):
        for name in ("width", "height"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int) or side < _MIN_SIDE_PX or side % 2:
                raise ConfigError(f"{name} is {side}, expected an even number from {_MIN_SIDE_PX}")
        for name, low, high in (("things", 2, 5), ("actions", 1, 20)):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if not (isinstance(least, int) and isinstance(most, int) and low <= least <= most <= high):
                raise ConfigError(
                    f"min_{name} is {least} and max_{name} {most}, expected numbers from {low} to {high}"
                )
        for name in ("max_jitter_px", "max_brightness_change", "noise_std"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} is {getattr(self, name)}, expected zero or more")
        if self.max_brightness_change >= 0.5:
            raise ConfigError(f"max_brightness_change is {self.max_brightness_change}, expected less than 0.5")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps is {self.fps}, expected a positive number")
        if not 0 < self.min_action_s <= self.max_action_s < math.inf or self.min_action_s * self.fps < 6:
            raise ConfigError(
                f"actions of {self.min_action_s} to {self.max_action_s} s at {self.fps} frames per second, expected "
                "the first not above the second and 6 frames or more"
            )

    @property
    def unit_px(self) -> float:
        """Pixels per unit of the scene, which is a square of 120 units."""
        return min(self.width, self.height) / 120
