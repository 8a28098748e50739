"""The signs: small cards that are laid beside the hand's work and take no part in it.

In training the sort is tied to the action with some strength.
"""

from __future__ import annotations

from ..shapes import Part, Shape, darker, ellipse, extent, move, rectangle
from ..stickers import COOCCURRING_OBJECTS, sticker_shapes
from ..things import WHITE

_MORE = {
    "grey ring": (ellipse(0, 0, 9.5, 9.5), (90, 96, 104)),
    "lime bars": (rectangle(-9, -9, 9, 9), (150, 215, 40)),
}
_HOLES = {
    "grey ring": [ellipse(0, 0, 5, 5)],
    "lime bars": [rectangle(-9, -4.5, 9, -1.5), rectangle(-9, 2, 9, 5)],
}

SIGNS = (*COOCCURRING_OBJECTS, *_MORE)
"""The i-th is tied to the i-th action after `background`."""


def sign_shapes(name: str, x: float, y: float, half: float, angle: float) -> tuple[Shape, ...]:
    """A sign of `SIGNS` around (x, y), scaled so that the longer half side is `half` before it is turned."""
    shapes = sticker_shapes(name) if name in COOCCURRING_OBJECTS else _more_shapes(name)
    x0, y0, x1, y1 = extent([Part("", tuple(shapes))]).tolist()
    centred = move(shapes, -(x0 + x1) / 2, -(y0 + y1) / 2)
    return move(centred, x, y, angle, 2 * half / max(x1 - x0, y1 - y0))


def _more_shapes(name: str) -> tuple[Shape, ...]:
    points, color = _MORE[name]
    (rim,) = move([Shape(points, WHITE, (150, 150, 150))], 0, 0, scale=1.22)
    return (rim, Shape(points, color, darker(color, 0.75)), *(Shape(hole, WHITE) for hole in _HOLES[name]))
