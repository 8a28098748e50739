"""Places in what models say and are told: the scale and order of numbers, and how they become shares of the frame.

Models write boxes and points in scales of their own: Qwen2-VL, Qwen3-VL, Gemini and InternVL in thousandths of the
frame's sides, Qwen2.5-VL in pixels of the frame as its processor resizes it, others as the prompt says. Read in a
wrong scale, a place is another place and looks as good. So a scale is never guessed from numbers: it is part of a
model's description (`CONVENTIONS`), and numbers that the scale does not have are an error.

Within the project, places are shares of the frame's sides in [0, 1], x to the right and y down, boxes as
(x0, y0, x1, y1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .errors import ConfigError, InvalidAnswer

Size = tuple[int, int]
"""(height, width) in pixels."""

UNITS = ("share", "0-999", "0-1000", "resized_pixels", "original_pixels")
"""Shares of the sides in [0, 1]; whole numbers from 0 to 999 or 1000 over each side; pixels of the frame as the model
sees it, or as the video has it."""

ORDERS: Mapping[str, tuple[int, int, int, int]] = MappingProxyType(
    {"xyxy": (0, 1, 2, 3), "yxyx": (1, 0, 3, 2), "xywh": (0, 1, 2, 3), "cxcywh": (0, 1, 2, 3)}
)
"""Order of a box's numbers -> where x, y and x, y (or width, height) stand among them."""

BORDER_SHARE = 0.02
"""Of a side: numbers this far beyond the frame are the error of a model that reads places off a picture, and are moved
to its border. Farther out the scale is another one."""


@dataclass(frozen=True)
class ModelResizing:
    """How a model's processor resizes a picture before the model sees it: both sides to multiples of a patch.

    This is `smart_resize` of Qwen2.5-VL's processor, whose pixels its answers are in.

    Args:
        factor: Side of a merged patch in pixels.
        min_pixels: Area in pixels below which a picture is enlarged.
        max_pixels: Area in pixels above which it is made smaller. Servers may be started with another one.
    """

    factor: int = 28
    min_pixels: int = 56 * 56
    max_pixels: int = 12_845_056  # of the published preprocessor configurations: 16384 patches of 28 x 28

    def resized(self, size: Size) -> Size:
        """The (height, width) in pixels in which the model sees a picture of `size`."""
        height, width = size
        rows, cols = (max(1, round(side / self.factor)) for side in size)
        if rows * cols * self.factor**2 > self.max_pixels:
            scale = math.sqrt(height * width / self.max_pixels)
            rows, cols = (max(1, math.floor(side / scale / self.factor)) for side in size)
        elif rows * cols * self.factor**2 < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (height * width))
            rows, cols = (math.ceil(side * scale / self.factor) for side in size)
        return rows * self.factor, cols * self.factor


@dataclass(frozen=True)
class BoxConvention:
    """How places are written in text.

    Args:
        unit: One of `UNITS`.
        order: Order of a box's four numbers, one of `ORDERS`. A point is (x, y), or (y, x) where boxes are yxyx.
        resizing: How the model's processor resizes what it is sent; None where the model sees the picture as it is
            sent. It matters for `resized_pixels` alone.

    Raises:
        ConfigError: there is no such unit or order.
    """

    unit: str
    order: str = "xyxy"
    resizing: ModelResizing | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(f"unit of boxes is {self.unit!r}, expected one of {', '.join(UNITS)}")
        if self.order not in ORDERS:
            raise ConfigError(f"order of boxes is {self.order!r}, expected one of {', '.join(ORDERS)}")

    @property
    def is_in_pixels(self) -> bool:
        """Whether the numbers depend on the size of the frame."""
        return self.unit in ("resized_pixels", "original_pixels")

    def sides(self, sent: Size, original: Size | None = None) -> Size:
        """The numbers that stand for the whole (height, width) of the frame, such as (1000, 1000).

        Args:
            sent: Size of the picture as it is sent to the model.
            original: Size of the frame in its video; that of the sent picture by default.
        """
        if self.unit == "resized_pixels":
            return self.resizing.resized(sent) if self.resizing else sent
        if self.unit == "original_pixels":
            return original or sent
        side = {"share": 1, "0-999": 999, "0-1000": 1000}[self.unit]
        return side, side

    def describe(self, sent: Size, original: Size | None = None) -> str:
        """The scale in words, for messages: `pixels of a picture of 240 x 320 (height x width)`."""
        if self.is_in_pixels:
            height, width = self.sides(sent, original)
            return f"pixels of a picture of {height} x {width} (height x width)"
        return "shares of the sides in [0, 1]" if self.unit == "share" else f"the scale {self.unit}"


PIXELS = BoxConvention("resized_pixels")
"""Pixels of the picture as it is sent: what a prompt can ask of any model that has no scale of its own."""

_THOUSANDTHS = BoxConvention("0-1000")

CONVENTIONS: Mapping[str, BoxConvention] = MappingProxyType(
    {
        "qwen2-vl": _THOUSANDTHS,
        "qwen2.5-vl": BoxConvention("resized_pixels", resizing=ModelResizing()),
        "qwen3-vl": _THOUSANDTHS,
        "gemini": BoxConvention("0-1000", "yxyx"),
        "internvl": _THOUSANDTHS,
        "gpt": PIXELS,
    }
)
"""Families of models -> how their boxes are written, by their makers' documentation. GPT has no scale of its own."""

# names as servers give them, such as "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl" or "models/gemini-2.5-pro"
_FAMILIES = (
    ("qwen2.5-vl", re.compile(r"qwen[-_ ]?2[._-]5[-_ ]?vl")),
    ("qwen2-vl", re.compile(r"qwen[-_ ]?2[-_ ]?vl")),
    ("qwen3-vl", re.compile(r"qwen[-_ ]?3([._-]\d)?[-_ ]?vl")),
    ("gemini", re.compile(r"gemini")),
    ("internvl", re.compile(r"intern[-_ ]?vl")),
    ("gpt", re.compile(r"(^|/)(chat)?(gpt-|o[134](-|$))")),
)


def find_family(model: str) -> str | None:
    """The family in `CONVENTIONS` that a model's name tells; None where it tells none.

    Args:
        model: Name of the model at its server.
    """
    name = model.lower()
    return next((family for family, pattern in _FAMILIES if pattern.search(name)), None)


def find_convention(name: str) -> BoxConvention:
    """A convention by its name.

    Args:
        name: A family of models in `CONVENTIONS`, one of `UNITS`, or "pixels" for those of the picture as it is sent.

    Raises:
        ConfigError: there is none of this name.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    if name == "pixels":
        return PIXELS
    if name in UNITS:
        return BoxConvention(name)
    known = ", ".join(("pixels", *UNITS, *CONVENTIONS))
    raise ConfigError(f"there is no scale of coordinates {name!r}; there are {known}")


# From text


def points_from_text(
    points: Sequence[Sequence[float]] | np.ndarray,
    convention: BoxConvention,
    sent: Size,
    original: Size | None = None,
) -> np.ndarray:
    """Points as a model wrote them, as shares of the frame's sides.

    Args:
        points: Points of shape (points, 2), in the convention's unit and order.
        convention: How they are written.
        sent: (height, width) in pixels of the picture as it was sent.
        original: (height, width) in pixels of the frame in its video; as it was sent by default.

    Returns:
        (points, 2) as (x, y) in [0, 1].

    Raises:
        InvalidAnswer: a number that the scale does not have: it is of another one.
    """
    numbers = _numbers(points, 2)
    if convention.order == "yxyx":
        numbers = numbers[:, ::-1]
    height, width = convention.sides(sent, original)
    return _in_frame(numbers / [width, height], numbers, convention, sent, original)


def boxes_from_text(
    boxes: Sequence[Sequence[float]] | np.ndarray,
    convention: BoxConvention,
    sent: Size,
    original: Size | None = None,
) -> np.ndarray:
    """Boxes as a model wrote them, as shares of the frame's sides.

    Args:
        boxes: Boxes of shape (boxes, 4), in the convention's unit and order.
        convention: How they are written.
        sent: (height, width) in pixels of the picture as it was sent.
        original: (height, width) in pixels of the frame in its video; as it was sent by default.

    Returns:
        (boxes, 4) as (x0, y0, x1, y1) in [0, 1].

    Raises:
        InvalidAnswer: a number that the scale does not have, or a corner that lies above or left of the first one.
    """
    numbers = _numbers(boxes, 4)[:, ORDERS[convention.order]]
    height, width = convention.sides(sent, original)
    shares = numbers / [width, height, width, height]
    first, second = shares[:, :2], shares[:, 2:]
    if convention.order == "xywh":
        second = first + second
    elif convention.order == "cxcywh":
        first, second = first - second / 2, first + second / 2
    if (second < first).any():
        wrong = boxes[int(np.flatnonzero((second < first).any(axis=1))[0])]
        raise InvalidAnswer(f"{list(wrong)} is no box in the order {convention.order}")
    corners = np.concatenate([first, second], axis=1)
    return _in_frame(corners, numbers, convention, sent, original)


def _numbers(values: Sequence[Sequence[float]] | np.ndarray, count: int) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64).reshape(-1, count)
    except (TypeError, ValueError) as error:
        raise InvalidAnswer(f"expected {count} numbers for each place ({error})") from error
    if not np.isfinite(numbers).all():
        raise InvalidAnswer("a coordinate is not a finite number")
    return numbers


def _in_frame(
    shares: np.ndarray, numbers: np.ndarray, convention: BoxConvention, sent: Size, original: Size | None
) -> np.ndarray:
    outside = ((shares < -BORDER_SHARE) | (shares > 1 + BORDER_SHARE)).any(axis=1)
    if outside.any():
        wrong = [float(number) for number in numbers[int(np.flatnonzero(outside)[0])]]
        written = ", ".join(f"{number:g}" for number in wrong)
        raise InvalidAnswer(
            f"({written}) cannot be in {convention.describe(sent, original)}: the scale is another one"
        )
    return np.clip(shares, 0.0, 1.0)


# To text


def points_to_text(
    points: np.ndarray, convention: BoxConvention, sent: Size, original: Size | None = None
) -> list[list[float]]:
    """Points as a model of this convention writes them: whole numbers, but for shares, which have three decimals.

    Args:
        points: Points of shape (points, 2) as (x, y) in [0, 1].
        convention: How to write them.
        sent: (height, width) in pixels of the picture as it is sent.
        original: (height, width) in pixels of the frame in its video; as it is sent by default.
    """
    height, width = convention.sides(sent, original)
    numbers = np.asarray(points, dtype=np.float64).reshape(-1, 2) * [width, height]
    return _written(numbers[:, ::-1] if convention.order == "yxyx" else numbers, convention)


def boxes_to_text(
    boxes: np.ndarray, convention: BoxConvention, sent: Size, original: Size | None = None
) -> list[list[float]]:
    """Boxes as a model of this convention writes them, as in `points_to_text`.

    Args:
        boxes: Boxes of shape (boxes, 4) as (x0, y0, x1, y1) in [0, 1].
        convention: How to write them.
        sent: (height, width) in pixels of the picture as it is sent.
        original: (height, width) in pixels of the frame in its video; as it is sent by default.
    """
    height, width = convention.sides(sent, original)
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    first, second = corners[:, :2], corners[:, 2:]
    if convention.order == "xywh":
        second = second - first
    elif convention.order == "cxcywh":
        first, second = (first + second) / 2, second - first
    numbers = np.concatenate([first, second], axis=1) * [width, height, width, height]
    # each order is its own inverse: yxyx swaps the two numbers of each corner
    return _written(numbers[:, ORDERS[convention.order]], convention)


def _written(numbers: np.ndarray, convention: BoxConvention) -> list[list[float]]:
    if convention.unit == "share":
        return [[round(number, 3) for number in row] for row in numbers.tolist()]
    return [[round(number) for number in row] for row in numbers.tolist()]
