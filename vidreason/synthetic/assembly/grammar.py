"""In which order a board is put together: a stochastic grammar, written down as data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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
