"""What a model is told about a frame: prompt templates in text files, and the JSON schema of the answer.

A prompt file has a header of `key: value` lines (`id` and `form`), then the parts `[system]` and `[user]`, each a
Jinja template. Templates may use `rows` and `cols` of the grid, `label` (None where the model must not know it),
`dataset_name` (may be empty), and `frame_height` and `frame_width` in pixels, as the picture is sent.

The four built-in prompts carry the information of the paper's (appendix B, figures 3 to 5) in other words, and ask for
the same keys. We depart from the paper in this: any grid size; an empty answer is allowed, so that a frame without
evidence need not be guessed at; and `general` asks for the form of figure 1 with a list in place of a dictionary,
since strict schemas have no free keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ...errors import ConfigError
from .answers import FORMS

PROMPT_NAMES = ("ucf", "ssv2", "desktop_assembly", "general")

_FOLDER = Path(__file__).parent / "prompt_texts"
_PART = re.compile(r"^\[(system|user)\][ \t]*$", re.MULTILINE)
_MAX_OBJECTS = 50
"""Of one frame. Without a limit, a model that repeats itself goes on until its answer is cut off."""


@dataclass(frozen=True)
class Prompt:
    """A prompt template.

    Args:
        prompt_id: for provenance; a changed text wants a new one.
        form: of the answer, one of `vidreason.annotation.grid.answers.FORMS`.
        system_template: of the system message.
        user_template: of the message that goes with the picture.
        sha256: of the file's bytes, in hexadecimal digits, for provenance.

    Raises:
        ConfigError: an unknown form, or a template that does not work.
    """

    prompt_id: str
    form: str
    system_template: str
    user_template: str
    sha256: str

    def __post_init__(self):
        if self.form not in FORMS:
            raise ConfigError(f"prompt {self.prompt_id!r}: form is {self.form!r}, expected one of {FORMS}")
        for label in ("an action", None):  # whatever is wrong with a template shows before anything is asked
            self.render((4, 4), label, 240, 320)

    def render(
        self, grid: tuple[int, int], label: str | None, frame_height: int, frame_width: int, dataset_name: str = ""
    ) -> tuple[str, str]:
        """The texts of the system and the user message.

        Args:
            grid: (rows, columns).
            label: the action's name, or None to leave it out.
            frame_height: pixels of the picture as it is sent.
            frame_width: likewise.
            dataset_name: as people know it, or empty.

        Raises:
            ConfigError: the template is no valid one, or uses a name that it is not given.
        """
        values = {
            "rows": grid[0],
            "cols": grid[1],
            "label": label,
            "frame_height": frame_height,
            "frame_width": frame_width,
            "dataset_name": dataset_name,
        }
        try:
            templates = map(_compile, (self.system_template, self.user_template))
            system, user = (template.render(values).strip() for template in templates)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(f"prompt {self.prompt_id!r}: {error}") from error
        return system, user

    def schema(self, grid: tuple[int, int]) -> dict[str, Any]:
        """The JSON schema of an answer, within what OpenAI's strict mode allows.

        Rows and columns share one list of numbers there, so that in a grid that is not square an answer may still
        name a cell outside of it.

        Args:
            grid: (rows, columns).
        """
        cell = _pair({"type": "integer", "enum": list(range(max(grid)))})
        cells = _array(cell, grid[0] * grid[1])
        name = {"type": "string"}
        if self.form == "key_r":
            return _object({"key_r": cells})
        if self.form == "im_o":
            centre = _object({"name": name, "location": _pair({"type": "integer"})})
            return _object({"all_os": _array(name, _MAX_OBJECTS), "im_o": _array(centre, _MAX_OBJECTS)})
        place = _object({"name": name, "cells": cells})
        return _object({"important_objects": _array(name, _MAX_OBJECTS), "localization": _array(place, _MAX_OBJECTS)})

    def example_answer(self, num_cells: int) -> str:
        """An answer as models write it, for estimates of its length.

        Args:
            num_cells: that are marked; for objects, one in every second cell.
        """
        cells = [[1, 2]] * num_cells
        names = ["left hand", "screwdriver"] * ((num_cells + 3) // 4)
        if self.form == "key_r":
            answer = {"key_r": cells}
        elif self.form == "im_o":
            centres = [{"name": name, "location": [150, 110]} for name in names]
            answer = {"all_os": [*names, "table", "cardboard box"], "im_o": centres}
        else:
            places = [{"name": name, "cells": cells[:2]} for name in names]
            answer = {"important_objects": names, "localization": places}
        return json.dumps(answer)


@lru_cache(maxsize=64)
def _compile(template: str) -> Template:
    # the sandbox: a prompt file may come from anywhere, and is text, not a program
    return SandboxedEnvironment(undefined=StrictUndefined).from_string(template)


def load_prompt(name_or_path: str | os.PathLike) -> Prompt:
    """Read a prompt.

    Args:
        name_or_path: one of `PROMPT_NAMES`, or a file of the same form.

    Raises:
        ConfigError: there is no such prompt, or its file is not one.
    """
    built_in = str(name_or_path) in PROMPT_NAMES
    path = _FOLDER / f"{name_or_path}.txt" if built_in else Path(name_or_path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        known = ", ".join(PROMPT_NAMES)
        raise ConfigError(
            f"{str(name_or_path)!r} is no prompt: neither one of {known} nor a file ({error})"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"prompt {path}: not UTF-8 text ({error})") from error
    header, *parts = _PART.split(text)
    fields = _read_header(header, path)
    templates = dict(zip(parts[::2], parts[1::2], strict=True))
    if len(parts) != 4 or len(templates) != 2:
        raise ConfigError(f"prompt {path}: expected one part [system] and one part [user]")
    return Prompt(
        prompt_id=fields["id"],
        form=fields["form"],
        system_template=templates["system"],
        user_template=templates["user"],
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _read_header(header: str, path: Path) -> dict[str, str]:
    pairs = [line.partition(":") for line in header.splitlines() if line.strip()]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    if set(fields) != {"id", "form"} or not all(fields.values()):
        raise ConfigError(f"prompt {path}: expected the lines `id: ...` and `form: ...` first, got {fields}")
    return fields


def _pair(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 2, "maxItems": 2}


def _array(item: dict[str, Any], max_items: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": max_items}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Strict mode wants every property required and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
