"""What is drawn at random for a video apart from its segments: where things lie, and what they look like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..hand import HandLook
from ..scene import draw_color, draw_scene
from ..shapes import Color, Part, extent
from .config import AssemblyConfig
from .items import UNUSED_TOOLS, item_shapes, kind_of
from .state import HandState, Placement, Point, State, affine, placed

DESK_WIDTH, DESK_HEIGHT = 176.0, 132.0
"""The part of the desk that is surely in view, in units."""

DESK_TEXTURES = ("wood", "concrete", "paper", "tiles", "violet gradient")
"""Of `vidreason.synthetic.BACKGROUNDS`. They are drawn without regard to anything that happens."""

_STOCKS = {"chip": "chip tray", "card": "card box", "cover": "cover stack"}
_STOCK_PLACES: dict[str, tuple[Point, ...]] = {
    "chip": ((-12.5, 0.0), (0.0, 0.0), (12.5, 0.0)),
    "card": ((0.0, 2.0),),
    "cover": ((0.0, 0.0),),
}
_TOOLS = ("screwdriver", "tape roll", "cloth", "meter", "plug", *_STOCKS.values())
_ANGLES = {"screwdriver": 0.9, "plug": 0.0, "tape roll": 3.0, "cloth": 0.5}  # at home, at most; others lie straighter
_STRAIGHT = 0.12

# middles of the places around the board, of which each is used once; the hand comes in from below
_PLACES = tuple(
    (x, y) for y in (18.0, 50.0, 82.0, 114.0) for x in (24.0, 67.0, 109.0, 152.0) if y < 20 or x in (24.0, 152.0)
)


@dataclass(frozen=True, eq=False)
class Desk:
    """The desk of one video.

    Args:
        homes: Place of each item when it is not used.
        unused: Names of the items that are used in no video.
        colors: RGB color of each kind of item, and of skin and sleeve.
        thumb_side: Either -1 or +1, a left or a right hand.
        shoulder: Place that the arm comes from, (2,).
        board_place: Place of a board while it is worked on.
        board_angle: Angle of a board while it is worked on, in radians.
        mirror: Sign of the board's layout: -1 when it is mirrored, else +1.
        rack_side: Side of the rack: -1 when boards come from the left and leave to the right, +1 the other way round.
        rest_place: Place of the resting hand.
        outlet: Place where the cable goes out of view.
        view: Part of the desk that the frame shows without shake, (x0, y0, x1, y1) in units.
        texture: One of `DESK_TEXTURES`.
    """

    homes: dict[str, Placement]
    unused: tuple[str, ...]
    colors: dict[str, Color]
    thumb_side: int
    shoulder: np.ndarray
    board_place: Point
    board_angle: float
    mirror: int
    rack_side: int
    rest_place: Point
    outlet: Point
    view: tuple[float, float, float, float]
    texture: str

    @cached_property
    def boxes(self) -> dict[str, np.ndarray]:
        """Item -> the box (4,) around it at home."""
        state = self.start()
        return {name: self._box(state, name) for name in self.homes}

    def _box(self, state: State, name: str) -> np.ndarray:
        """(4,)."""
        shapes = placed(item_shapes(kind_of(name), self.colors[kind_of(name)]), *affine(state, name))
        return extent([Part(name, shapes)])

    @property
    def look(self) -> HandLook:
        """Of the hand."""
        return HandLook(self.colors["skin"], self.colors["sleeve"], self.thumb_side)

    def edge(self, side: int) -> float:
        """X of the frame's left (-1) or right (+1) edge."""
        return self.view[0] if side < 0 else self.view[2]

    def start(self) -> State:
        """Everything at home, no board yet, and the hand at rest."""
        return State(HandState(*self.rest_place), dict(self.homes), self.mirror)

    def stock(self, kind: str, rng: np.random.Generator) -> Placement:
        """Where the next chip, card or cover is taken from."""
        home, places = self.homes[_STOCKS[kind]], _STOCK_PLACES[kind]
        dx, dy = places[rng.integers(len(places))]
        cos, sin = math.cos(home.angle), math.sin(home.angle)
        return Placement(home.x + dx * cos - dy * sin, home.y + dx * sin + dy * cos, home.angle)


def units_per_px(config: AssemblyConfig) -> float:
    """How long a pixel's side is on the desk."""
    return max(DESK_WIDTH / config.width, DESK_HEIGHT / config.height)


def view_of(config: AssemblyConfig) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1), what the frame shows: the desk in its middle, and more where it has another shape."""
    half_width, half_height = (side * units_per_px(config) / 2 for side in (config.width, config.height))
    x, y = DESK_WIDTH / 2, DESK_HEIGHT / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def draw_desk(config: AssemblyConfig, rng: np.random.Generator) -> Desk:
    """Draw the desk of a video."""
    mirror, rack_side = rng.choice((-1, 1), size=2).tolist()
    # the rest of the scene is drawn for nothing, and must be: the draws after it hang on its number
    look = draw_scene(rng).look
    colors = {**_draw_colors(rng), "skin": look.skin, "sleeve": look.sleeve}
    places = rng.permutation(np.array(_PLACES)).tolist()
    unused = tuple(rng.permutation(np.array(UNUSED_TOOLS))[: rng.integers(config.max_distractors + 1)].tolist())
    homes = {}
    for name, (x, y) in zip((*_TOOLS, *unused), places, strict=False):
        angle = rng.uniform(-1, 1) * _ANGLES.get(name, 1.2 if name in unused else _STRAIGHT)
        homes[name] = _home(name, x + rng.uniform(-1.5, 1.5), y + rng.uniform(-1.5, 1.5), angle, mirror)
    meter = homes["meter"]
    # meter and probe share one place
    homes["meter"] = meter._replace(x=meter.x - 6)
    homes["probe"] = Placement(meter.x + 12, meter.y - 9, rng.uniform(-0.15, 0.15))
    board_x, board_y = 88 + rng.uniform(-3, 3), 64 + rng.uniform(-3, 3)
    return Desk(
        homes=homes,
        unused=unused,
        colors=colors,
        thumb_side=look.thumb_side,
        shoulder=np.array([88 + rng.uniform(-40, 40), DESK_HEIGHT + rng.uniform(95, 130)]),
        board_place=(board_x, board_y),
        board_angle=rng.uniform(-0.06, 0.06),
        mirror=mirror,
        rack_side=rack_side,
        rest_place=(88 + rng.uniform(-22, 22), DESK_HEIGHT - 8),
        outlet=_outlet(homes["plug"], view_of(config), mirror),
        view=view_of(config),
        texture=DESK_TEXTURES[rng.integers(len(DESK_TEXTURES))],
    )


def _home(name: str, x: float, y: float, angle: float, mirror: int) -> Placement:
    """A place where the middle of an item is at (x, y): tools are drawn around their tips."""
    flip = mirror if name == "plug" else 1.0
    x0, y0, x1, y1 = extent([Part("", item_shapes(name, (0, 0, 0)))]).tolist()
    dx, dy = flip * (x0 + x1) / 2, (y0 + y1) / 2
    cos, sin = math.cos(angle), math.sin(angle)
    return Placement(x - dx * cos + dy * sin, y - dx * sin - dy * cos, angle, flip)


def _outlet(plug: Placement, view: tuple[float, float, float, float], mirror: int) -> Point:
    """Beside the plug, where it lies at the side that its tail points to; else above it. Out of view."""
    if (plug.x - DESK_WIDTH / 2) * mirror > 40:
        return (view[2] + 8, plug.y) if mirror > 0 else (view[0] - 8, plug.y)
    return plug.x + 24 * mirror, view[1] - 8


def _draw_colors(rng: np.random.Generator) -> dict[str, Color]:
    """Kind -> RGB. Boards, tapes and plugs have the colors that they mostly have; tools have any."""
    tones = rng.integers(-18, 19, size=(8, 3))
    usual = {
        "board": (34, 120, 62),
        "tape": (226, 196, 60),
        "card": (46, 96, 178),
        "cover": (206, 208, 212),
        "meter": (222, 170, 40),
        "cloth": (196, 120, 150),
        "plug": (52, 52, 58),
        "chip": (44, 44, 50),
    }
    if rng.random() < 0.4:
        usual["board"] = (36, 78, 140)
    colors = {
        kind: tuple(np.clip(np.array(color) + tone, 0, 255).tolist())
        for (kind, color), tone in zip(usual.items(), tones, strict=True)
    }
    colors |= {kind: draw_color(rng) for kind in ("screwdriver", *UNUSED_TOOLS)}
    colors |= {"tape roll": colors["tape"], "board back": colors["board"], "probe": (205, 40, 40)}
    colors |= {"screw": (176, 180, 188), "switch": (225, 45, 45)}
    return colors | {stock: colors[kind] for kind, stock in _STOCKS.items()}
