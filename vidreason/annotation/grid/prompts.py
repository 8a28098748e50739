"""What a model is told about a frame, and how its answer is read.

A prompt file has a header of `key: value` lines (`id` and `form`), then the parts `[system]` and `[user]`, each a
Jinja template. Templates may use `rows` and `cols` of the grid, `label` (None where the model must not know it),
`dataset_name` (may be empty), `frame_height` and `frame_width` in pixels, as the model sees the picture, and `scale`
of the coordinates that it writes: "pixels", "share", "0-999" or "0-1000", with `scale_end`, the number at the far
edge.

The four built-in prompts carry the information of the paper's (appendix B, figures 3 to 5) in other words, and ask for
the same keys. We depart from the paper in this: any grid size; an empty answer is allowed, so that a frame without
evidence need not be guessed at; and `general` asks for the form of figure 1 with a list in place of a dictionary,
since strict schemas have no free keys.

Three forms are read, whichever was asked for, since models mix them up:

- `key_r`: a list of cells (the paper's figures 3 and 4),
- `im_o`: objects with pixel centres, and `all_os` with every object in sight (figure 5),
- `localization`: objects with cells, and `important_objects` with their names (figure 1).

The rules, for what the forms leave open:

- Cells are (row, column) pairs: lists, tuples, "r,c" strings, {"row": r, "col": c}, or one flat [r, c]. Numbers may be
  written as 1.0 or "1". A cell that is named twice counts once.
- Cells count from 0. Where no number in the answer is 0, none is above the size of the grid and one equals it, the
  model counted from 1, and all are shifted.
- Cells outside the grid, and entries that are no cells, are left out with a note. An answer of which nothing is left
  is invalid.
- A list that is there and empty says that nothing matters: all weights are 0, and the row's status will be `empty`.
- Centres are in the scale of the model (`vidreason.boxes_in_text`), in the order that the prompt asks for. One up to
  2 % of the picture's side outside of it is moved to its border. With one farther out the answer is invalid: its
  numbers are of another scale, in which those that would fit are other places too. Where all numbers lie in [0, 1] and
  one is no whole number, they are shares of the picture's sides.
- A centre marks the one cell that holds it: on a line between cells the one right of or below it, on the picture's
  right or lower border the last. Objects whose centres share a cell mark it once; their number adds no weight.
- Objects of `im_o` are relevant, each entry one object. Names of `all_os` that are not among theirs, whatever their
  case, are merely visible: each name once, without a place, and without weight.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...boxes_in_text import PIXELS, BoxConvention, points_from_text
from ...errors import ConfigError, InvalidAnswer
from ...guidance import points_to_cells
from ...llm.chat import render_templates
from ...llm.json_text import has_key, normalise_key, parse_json
from ...llm.prompt_file import read_prompt_file

FORMS = ("key_r", "im_o", "localization")
"""Forms of answers, named by the key that says where; in the order in which they are looked for."""

PROMPT_NAMES = ("ucf", "ssv2", "desktop_assembly", "general")

_FOLDER = Path(__file__).parent / "prompt_texts"
_MAX_OBJECTS = 50
"""Objects of one frame, at most. Without a limit, a model that repeats itself goes on until its answer is cut off."""


# Prompts


@dataclass(frozen=True)
class Prompt:
    """A prompt template.

    Args:
        prompt_id: Id for provenance; a changed text wants a new one.
        form: Form of the answer, one of `FORMS`.
        system_template: Jinja template of the system message.
        user_template: Jinja template of the message that goes with the picture.
        sha256: SHA-256 of the file's bytes, in hexadecimal digits, for provenance.

    Raises:
        ConfigError: an unknown form, or a template that does not work.
    """

    prompt_id: str
    form: str
    system_template: str
    user_template: str
    sha256: str

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"prompt {self.prompt_id!r}: form is {self.form!r}, expected one of {FORMS}")
        for label in ("an action", None):  # a fault of a template shows before anything is asked and paid for
            self.render((4, 4), label, 240, 320)

    def render(
        self,
        grid: tuple[int, int],
        label: str | None,
        frame_height: int,
        frame_width: int,
        dataset_name: str = "",
        convention: BoxConvention = PIXELS,
    ) -> tuple[str, str]:
        """The texts of the system and the user message.

        Args:
            grid: (rows, columns).
            label: Name of the action, or None to leave it out.
            frame_height: Height of the picture as it is sent, in pixels.
            frame_width: Width of the picture as it is sent, in pixels.
            dataset_name: Name of the data set as people know it, or empty.
            convention: In which scale the model writes coordinates.

        Raises:
            ConfigError: the template is no valid one, or uses a name that it is not given.
        """
        size, scale, scale_end = (frame_height, frame_width), "pixels", None
        if convention != PIXELS and not convention.is_in_pixels:
            scale, scale_end = convention.unit, convention.sides(size)[0]
        elif convention.resizing:
            size = convention.sides(size)  # as the model sees it
        values = {
            "rows": grid[0],
            "cols": grid[1],
            "label": label,
            "frame_height": size[0],
            "frame_width": size[1],
            "dataset_name": dataset_name,
            "scale": scale,
            "scale_end": scale_end,
        }
        return render_templates(self.prompt_id, (self.system_template, self.user_template), values)

    def schema(self, grid: tuple[int, int], convention: BoxConvention = PIXELS) -> dict[str, Any]:
        """The JSON schema of an answer, within what OpenAI's strict mode allows.

        Rows and columns share one list of numbers there, so that in a grid that is not square an answer may still
        name a cell outside of it.

        Args:
            grid: (rows, columns).
            convention: In which scale the model writes coordinates.
        """
        # an enumeration, so that in a square grid no cell outside of it can be named
        cell = _pair_schema({"type": "integer", "enum": list(range(max(grid)))})
        cells = _array_schema(cell, grid[0] * grid[1])
        name = {"type": "string"}
        if self.form == "key_r":
            return _object_schema({"key_r": cells})
        if self.form == "im_o":
            number = {"type": "number" if convention.unit == "share" else "integer"}
            centre = _object_schema({"name": name, "location": _pair_schema(number)})
            return _object_schema(
                {"all_os": _array_schema(name, _MAX_OBJECTS), "im_o": _array_schema(centre, _MAX_OBJECTS)}
            )
        place = _object_schema({"name": name, "cells": cells})
        return _object_schema(
            {
                "important_objects": _array_schema(name, _MAX_OBJECTS),
                "localization": _array_schema(place, _MAX_OBJECTS),
            }
        )

    def example_answer(self, num_cells: int) -> str:
        """An answer as models write it, for estimates of its length.

        Args:
            num_cells: Number of cells that are marked; for objects, one in every second cell.
        """
        cells = [[1, 2]] * num_cells
        names = ["left hand", "screwdriver"] * ((num_cells + 3) // 4)
        answer: dict[str, Any]
        if self.form == "key_r":
            answer = {"key_r": cells}
        elif self.form == "im_o":
            centres = [{"name": name, "location": [150, 110]} for name in names]
            answer = {"all_os": [*names, "table", "cardboard box"], "im_o": centres}
        else:
            places = [{"name": name, "cells": cells[:2]} for name in names]
            answer = {"important_objects": names, "localization": places}
        return json.dumps(answer)


def load_prompt(name_or_path: str | os.PathLike) -> Prompt:
    """Read a prompt.

    Args:
        name_or_path: One of `PROMPT_NAMES`, or the path of a file of the same form.

    Raises:
        ConfigError: there is no such prompt, or its file is not one.
    """
    built_in = str(name_or_path) in PROMPT_NAMES
    path = _FOLDER / f"{name_or_path}.txt" if built_in else Path(name_or_path)
    try:
        file = read_prompt_file(path, ("id", "form"))
    except OSError as error:
        known = ", ".join(PROMPT_NAMES)
        raise ConfigError(
            f"{str(name_or_path)!r} is no prompt: neither one of {known} nor a file ({error})"
        ) from error
    return Prompt(
        prompt_id=file.prompt_id,
        form=file.fields["form"],
        system_template=file.system_template,
        user_template=file.user_template,
        sha256=file.sha256,
    )


def _pair_schema(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 2, "maxItems": 2}


def _array_schema(item: dict[str, Any], max_items: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": max_items}


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """Strict mode wants every property required and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# Answers

COUNTED_FROM_ONE = "cells were counted from 1"
CELLS_OUTSIDE = "cells outside the grid were left out"
CELLS_UNREADABLE = "entries that are no cells were left out"
CENTRES_MOVED = "centres just outside the picture were moved to its border"
CENTRES_AS_SHARES = "centres were given as shares of the picture's sides"
NOT_PLACED = "objects without a place mark nothing"
OBJECTS_UNREADABLE = "entries that are no objects were left out"

_KEYS = (*FORMS, "important_objects", "all_os")
_NAME_KEYS = ("name", "object", "label")
_PLACE_KEYS = ("location", "cells", "cell", "center", "centre", "localization", "point")
# digits are bounded: no cell or pixel has more, and a text of thousands of them is no number here
_NUMBER = re.compile(r"[+-]?\d{1,9}(\.\d{0,9})?")
# none of these can match one text in many ways: that would take for ever on a text that nearly matches
_PAIR = re.compile(r"[(\[]?\s*([+-]?[\d.]+)(?:\s*[,;]\s*|\s+)([+-]?[\d.]+)\s*[)\]]?")
_PAIR_IN_BRACKETS = re.compile(r"[(\[]\s*[+-]?[\d.]+\s*[,;]\s*[+-]?[\d.]+\s*[)\]]")
_BETWEEN_PAIRS = re.compile(r"[\s,;\[\]()]*")


@dataclass(frozen=True, slots=True)  # slots: one for each answer of a run is held in memory
class FrameAnswer:
    """What an answer says about a frame.

    Args:
        weights: Weights of the cells, (rows * columns,), row-major: 1.0 where a cell is marked and 0.0 elsewhere, the
            paper's binary mask.
        objects: Entries of `vidreason.guidance.schema.OBJECT_FEATURES`. Centres are known from `im_o` only: a cell
            says too little about a place.
        notes: What was overlooked in reading, each of the sentences of this module at most once.
    """

    weights: list[float]
    objects: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def read_answer(
    text: str, grid: tuple[int, int], frame_height: int, frame_width: int, convention: BoxConvention = PIXELS
) -> FrameAnswer:
    """Read an answer by the rules of this module.

    Args:
        text: Text of the answer.
        grid: (rows, columns) that the model was told.
        frame_height: Height in pixels of the picture as it was sent.
        frame_width: Width in pixels of the picture as it was sent.
        convention: In which scale the model writes coordinates.

    Raises:
        InvalidAnswer: it cannot be used; the message says why.
    """
    # the order is the prompt's, whatever that of the model's own boxes is
    convention = convention if convention.order == "xyxy" else replace(convention, order="xyxy")
    reader = _Reader(grid, (frame_height, frame_width), convention)
    value = parse_json(text, keys=_KEYS)
    if isinstance(value, list):
        return reader.read_key_r(value)
    fields = {normalise_key(key): entry for key, entry in value.items()}
    if "key_r" in fields:
        return reader.read_key_r(fields["key_r"])
    if "im_o" in fields:
        return reader.read_im_o(fields["im_o"], fields.get("all_os", []))
    if "localization" in fields or fields.get("important_objects") == []:
        return reader.read_localization(fields.get("localization", []), fields.get("important_objects", []))
    expected = ", ".join(FORMS)
    raise InvalidAnswer(f"the answer has none of {expected}, but {_shorten(list(value))}")


class _Reader:
    """Reads the parts of one answer, and remembers what it had to overlook."""

    def __init__(self, grid: tuple[int, int], sent_size: tuple[int, int], convention: BoxConvention):
        self.grid, self.sent_size, self.convention = grid, sent_size, convention
        self.notes: dict[str, None] = {}  # in the order in which they came up

    def read_key_r(self, value: Any) -> FrameAnswer:
        """A list of cells."""
        pairs = self._read_pairs(value)
        return self._answer(self._mark_cells(pairs, nothing_said=_is_empty(value)))

    def read_localization(self, value: Any, names: Any) -> FrameAnswer:
        """Objects with their cells: {name: cells} as in the paper, or [{"name": ..., "cells": ...}]."""
        placed = [(name, self._read_pairs(cells)) for name, cells in self._read_places(value)]
        unplaced = _others(self._read_names(names), [name for name, _ in placed])
        if unplaced or not all(pairs for _, pairs in placed):
            self._note(NOT_PLACED)
        nothing_said = _is_empty(value) and not unplaced
        marked = self._mark_cells([pair for _, pairs in placed for pair in pairs], nothing_said)
        all_names = dict.fromkeys([*(name for name, _ in placed), *unplaced])
        return self._answer(marked, [_object(name) for name in all_names])

    def read_im_o(self, value: Any, all_names: Any) -> FrameAnswer:
        """Objects with the pixels of their centres, and the names of all objects in sight."""
        # one object at one place is one entry: models that run on repeat themselves
        entries = list(dict.fromkeys((name, self._read_point(place)) for name, place in self._read_places(value)))
        points = self._normalise([point for _, point in entries])
        found = [point for point in points if point is not None]
        # something was named and none of it can be placed, which is worth another try; an empty list is an answer
        if not found and not _is_empty(value):
            raise InvalidAnswer(f"no object in {_shorten(value)} has a centre")
        if any(point is None for _, point in entries):
            self._note(NOT_PLACED)
        objects = [_object(name, point) for (name, _), point in zip(entries, points, strict=True)]
        others = _others(self._read_names(all_names), [name for name, _ in entries])
        objects += [_object(name, relevant=False) for name in others]
        return self._answer(points_to_cells(np.asarray(found).reshape(-1, 2), self.grid), objects)

    def _answer(self, marked: np.ndarray, objects: list[dict[str, Any]] | None = None) -> FrameAnswer:
        weights = [1.0 if cell else 0.0 for cell in marked]  # the same two objects for every cell of a run
        return FrameAnswer(weights, objects or [], tuple(self.notes))

    def _note(self, note: str) -> None:
        self.notes[note] = None

    # Cells

    def _read_pairs(self, value: Any) -> list[tuple[int, int]]:
        """The pairs of whole numbers in a list of cells; entries that are none are noted."""
        pairs = []
        for entry in _cell_entries(value):
            numbers = _pair_of(entry)
            if numbers is not None and all(number.is_integer() for number in numbers):
                pairs.append((int(numbers[0]), int(numbers[1])))
            else:
                self._note(CELLS_UNREADABLE)
        return pairs

    def _mark_cells(self, pairs: list[tuple[int, int]], nothing_said: bool) -> np.ndarray:
        """The marked cells of the whole answer: (rows * columns,) booleans."""
        rows, cols = self.grid
        marked = np.zeros((rows, cols), dtype=bool)
        # an empty list is an answer, so it must not reach the error for answers without a cell
        if nothing_said:
            return marked.reshape(-1)
        # one 0, or one number above the grid, and the cells were not counted from 1
        within = all(1 <= row <= rows and 1 <= col <= cols for row, col in pairs)
        if within and any(row == rows or col == cols for row, col in pairs):
            self._note(COUNTED_FROM_ONE)
            pairs = [(row - 1, col - 1) for row, col in pairs]
        for row, col in pairs:
            if 0 <= row < rows and 0 <= col < cols:
                marked[row, col] = True
            else:
                self._note(CELLS_OUTSIDE)
        if not marked.any():
            found = f"none of {_shorten(pairs)} lies in a grid of {rows} x {cols}" if pairs else "it names no cell"
            raise InvalidAnswer(f"the answer cannot be used: {found}")
        return marked.reshape(-1)

    # Objects

    def _read_places(self, value: Any) -> Iterator[tuple[str, Any]]:
        """(name, place) of each object: {name: place}, [{name: place}, ...] or [{"name": ..., "cells": ...}, ...]."""
        for entry in _as_list(value):
            entry = {"name": entry} if isinstance(entry, str) else entry
            places = _named_places(entry) if isinstance(entry, dict) else []
            named = [(_clean_name(name), place) for name, place in places]
            if not places or not all(name for name, _ in named):
                self._note(OBJECTS_UNREADABLE)
            yield from ((name, place) for name, place in named if name)

    def _read_names(self, value: Any) -> list[str]:
        """The names in a list of names, or of objects with names."""
        names = []
        for entry in _as_list(value):
            if isinstance(entry, dict):
                entry = _first(entry, _NAME_KEYS)
            name = _clean_name(entry)
            if name:
                names.append(name)
            else:
                self._note(OBJECTS_UNREADABLE)
        return names

    def _read_point(self, value: Any) -> tuple[float, float] | None:
        """(x, y) as given."""
        if isinstance(value, list) and len(value) == 1:
            # one list too many: [[x, y]]
            value = value[0]
        return _pair_of(value, ("x", "y"))

    def _normalise(self, points: list[tuple[float, float] | None]) -> list[tuple[float, float] | None]:
        """Numbers of the model's scale to shares of the picture's sides; None where there is no place."""
        found = [point for point in points if point is not None]
        numbers, convention = [number for point in found for number in point], self.convention
        # pixels of a picture are seldom all 0 or 1, so numbers of that size with a fraction among them are shares
        if all(0 <= number <= 1 for number in numbers) and not all(number.is_integer() for number in numbers):
            if convention.unit != "share":
                self._note(CENTRES_AS_SHARES)
            convention = BoxConvention("share")
        height, width = convention.sides(self.sent_size)
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in found):
            self._note(CENTRES_MOVED)
        try:
            places = iter(points_from_text(found, convention, self.sent_size).tolist())
        except InvalidAnswer as error:
            raise InvalidAnswer(f"{error}; --coordinates says in which scale it answers") from error
        return [None if point is None else (*next(places),) for point in points]


def _is_empty(value: Any) -> bool:
    """Whether nothing is said on purpose: an empty list or object, but not a null."""
    return isinstance(value, list | dict) and not value


def _as_list(value: Any) -> list[Any]:
    """A list as it is, one thing as a list of it, and an empty object as the empty list that was meant."""
    return value if isinstance(value, list) else [] if _is_empty(value) else [value]


def _cell_entries(value: Any, depth: int = 0) -> Iterator[Any]:
    """The single entries of a list of cells, which may be one cell, one list too many, or text."""
    pairs_in_text = _PAIR_IN_BRACKETS.findall(value) if isinstance(value, str) else []
    if pairs_in_text and _BETWEEN_PAIRS.fullmatch(_PAIR_IN_BRACKETS.sub("", value)):
        yield from pairs_in_text
    # depth is bounded: what is nested deeper is no list of cells
    elif _is_empty(value) or (isinstance(value, list) and _pair_of(value) is None and depth < 3):
        for entry in value:
            yield from _cell_entries(entry, depth + 1)
    else:
        yield value


def _pair_of(value: Any, keys: tuple[str, str] = ("row", "col")) -> tuple[float, float] | None:
    """Two numbers from a pair, a string or an object; None where it is none of these."""
    if isinstance(value, str):
        match = _PAIR.fullmatch(value.strip())
        value = list(match.groups()) if match else None
    elif isinstance(value, dict):
        fields = {normalise_key(key): entry for key, entry in value.items()}
        value = [fields.get(keys[0]), fields.get(keys[1], fields.get("column"))]
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, second = map(_number, value)
    return None if first is None or second is None else (first, second)


def _number(value: Any) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    # True is an int to Python, and no coordinate
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return None
    return float(value) if math.isfinite(value) else None


def _named_places(entry: dict[str, Any]) -> list[tuple[Any, Any]]:
    """(name, place) of one object that has a key for its name, or of several that stand under their names."""
    if not has_key(entry, _NAME_KEYS):
        return list(entry.items())
    return [(_first(entry, _NAME_KEYS), _first(entry, _PLACE_KEYS))]


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The value of the first of some keys that an object has."""
    fields = {normalise_key(key): value for key, value in entry.items()}
    return next((fields[key] for key in keys if key in fields), None)


def _clean_name(name: Any) -> str:
    """A name as it can be stored; empty where there is none."""
    if not isinstance(name, str):
        return ""
    # half of a surrogate pair can be written in JSON, but not in UTF-8
    return " ".join(name.encode("utf-8", "replace").decode("utf-8").split())


def _others(names: list[str], known: list[str]) -> list[str]:
    """The names that are not among others, each once, whatever their case."""
    known_names = {name.lower() for name in known}
    # reversed, so that of spellings which differ in case the first one stays
    others = {name.lower(): name for name in reversed(names) if name.lower() not in known_names}
    return list(reversed(others.values()))


def _object(name: str, point: tuple[float, float] | None = None, relevant: bool = True) -> dict[str, Any]:
    return {"name": name, "center": [] if point is None else list(point), "box": [], "relevant": relevant}


def _shorten(value: Any, length: int = 80) -> str:
    text = repr(value)  # escapes what cannot be stored
    return text if len(text) <= length else text[:length] + "..."
