"""What an ideal model would answer about a frame of the synthetic world: its ground truth, in the form asked for.

`WorldAnswers` is the function that a `vidreason.llm.testing` server is given to answer with.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import read_folder
from ..guidance import boxes_to_cells
from ..llm.testing.chat_wire import image_bytes, message_parts
from .actions.build import TRUTH_FOLDER
from .frame_finder import FrameFinder

_GRID = (
    re.compile(r"(\d+)\s+rows?\b.{0,80}?(\d+)\s+col(?:umn)?s?\b", re.DOTALL | re.IGNORECASE),
    re.compile(r"(\d+)\s*(?:x|\u00d7|by)\s*(\d+)\s+(?:grid|cells)", re.IGNORECASE),
)
_FORMS = ("im_o", "localization", "key_r")
_NAMES_AS_KEYS = re.compile(r'"localization"\s*:\s*\{')


class WorldAnswers:
    """Answers chat completions about frames of a world with the world's truth, as JSON text.

    A frame is known by its pixels, and from the text of the request are read the form of the answer (by its keys
    `key_r`, `all_os` and `im_o`, or `important_objects` and `localization`) and the size of the grid. Cells are those
    that `vidreason.annotation.truth_guidance` marks; centres are whole pixels of the picture as it was sent.

    Args:
        world: Folder of `build_synthetic_actions`.
        grid: (rows, columns) where the text names none.
        splits: Splits whose frames are known; all by default.

    Raises:
        ManifestError: there is no such world or split.
    """

    def __init__(
        self, world: str | os.PathLike, grid: tuple[int, int] | None = None, splits: Iterable[str] | None = None
    ):
        self.grid = grid
        self.finder = FrameFinder(world, splits)
        self._objects: dict[tuple[str, str, int], Any] = {}
        for split, rows in read_folder(Path(world) / TRUTH_FOLDER).items():
            columns = rows.select_columns(["video_id", "frame_index", "objects"]).data.table.combine_chunks()
            ids, indices = columns["video_id"].to_pylist(), columns["frame_index"].to_pylist()
            # an Arrow scalar is turned into Python objects when its frame is asked for, and not before
            self._objects |= zip(
                ((split, *key) for key in zip(ids, indices, strict=True)), columns["objects"], strict=True
            )

    def __call__(self, payload: Mapping[str, Any]) -> str:
        """The answer to the body of a chat completion.

        Args:
            payload: Body of the request, with one picture.

        Raises:
            ValueError: it holds no picture, or one of no frame of this world, or asks for no known form or grid.
        """
        parts = list(message_parts(payload))
        pictures = [image_bytes(part) for part in parts if part["type"] == "image_url"]
        if len(pictures) != 1:
            raise ValueError(f"expected one picture, got {len(pictures)}")
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        frame = self.finder.find(pictures[0])
        if frame is None:
            raise ValueError("the picture shows no frame of this world")
        objects = self._objects[self.finder.keys[frame]].as_py()
        form = next((form for form in _FORMS if f'"{form}"' in text), None)
        if form is None:
            raise ValueError(f"the text names none of the keys {_FORMS}")
        if form == "im_o":
            return json.dumps(_centres(objects, _picture_size(pictures[0])))
        grid = find_grid(text) or self.grid
        if grid is None:
            raise ValueError("the text names no size of a grid")
        if form == "key_r":
            return json.dumps({"key_r": _cells([entry["box"] for entry in _relevant(objects)], grid)})
        return json.dumps(_localization(objects, grid, as_keys=bool(_NAMES_AS_KEYS.search(text))))


def find_grid(text: str) -> tuple[int, int] | None:
    """(rows, columns) as a text says them, such as "4 rows and 4 columns" or "a 4x4 grid"."""
    found = next(filter(None, (pattern.search(text) for pattern in _GRID)), None)
    return (int(found[1]), int(found[2])) if found else None


def _picture_size(file: bytes) -> tuple[int, int]:
    """(width, height) in pixels, without decoding."""
    with Image.open(io.BytesIO(file)) as picture:
        return picture.size


def _relevant(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in objects if entry["relevant"]]


def _cells(boxes: list[list[float]], grid: tuple[int, int]) -> list[list[int]]:
    """[row, column] of the cells that boxes mark."""
    marked = boxes_to_cells(np.asarray(boxes), grid)
    return [[int(cell) // grid[1], int(cell) % grid[1]] for cell in marked.nonzero()[0]]


def _centres(objects: list[dict[str, Any]], size: tuple[int, int]) -> dict[str, Any]:
    """The answer in the form `all_os` and `im_o`, in pixels of a picture of `size` (width, height)."""
    places = [
        {
            "name": entry["name"],
            "location": [min(int(c * side), side - 1) for c, side in zip(entry["center"], size, strict=True)],
        }
        for entry in _relevant(objects)
    ]
    return {"all_os": [entry["name"] for entry in objects], "im_o": places}


def _localization(objects: list[dict[str, Any]], grid: tuple[int, int], as_keys: bool) -> dict[str, Any]:
    """The answer in the form `important_objects` and `localization`, which is a list, or keyed by name."""
    cells = {entry["name"]: _cells([entry["box"]], grid) for entry in _relevant(objects)}
    places = cells if as_keys else [{"name": name, "cells": places} for name, places in cells.items()]
    return {"important_objects": list(cells), "localization": places}
