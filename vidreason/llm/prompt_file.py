"""Prompts in text files: read, identified by their bytes, and filled in.

A prompt file has a header of `key: value` lines, the `id` among them, then the parts `[system]` and `[user]`, each a
Jinja template.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .chat import render_templates

_PART = re.compile(r"^\[(system|user)\][ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class PromptFile:
    """A prompt as its file has it.

    Args:
        fields: The header, by key.
        system_template: Jinja template of the system message.
        user_template: Jinja template of the user's message.
        sha256: SHA-256 of the file's bytes, in hexadecimal digits, for provenance.
    """

    fields: Mapping[str, str]
    system_template: str
    user_template: str
    sha256: str

    @property
    def prompt_id(self) -> str:
        """Id for provenance; a changed text wants a new one."""
        return self.fields["id"]

    def render(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """The texts of the system and the user message; see `render_templates`."""
        return render_templates(self.prompt_id, (self.system_template, self.user_template), values)


def read_prompt_file(path: Path, keys: tuple[str, ...] = ("id",)) -> PromptFile:
    """Read a prompt file.

    Args:
        path: The file, which is there.
        keys: Keys that its header has, each of them with a value.

    Raises:
        ConfigError: It is no UTF-8 text, or has not the form of one.
        OSError: It cannot be read.
    """
    content = path.read_bytes()
    try:
        # byte order mark and line ends of Windows go, so that an edited copy renders to the same requests
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"prompt {path}: not UTF-8 text ({error})") from error
    header, *parts = _PART.split(text)
    fields = _read_header(header, path, keys)
    templates = dict(zip(parts[::2], parts[1::2], strict=True))
    if len(parts) != 4 or len(templates) != 2:
        raise ConfigError(f"prompt {path}: expected one part [system] and one part [user]")
    return PromptFile(fields, templates["system"], templates["user"], hashlib.sha256(content).hexdigest())


def _read_header(header: str, path: Path, keys: tuple[str, ...]) -> dict[str, str]:
    pairs = [line.partition(":") for line in header.splitlines() if line.strip()]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    if set(fields) != set(keys) or not all(fields.values()):
        expected = " and ".join(f"`{key}: ...`" for key in keys)
        raise ConfigError(f"prompt {path}: expected the lines {expected} first, got {fields}")
    return fields
