"""Takes keys out of texts that other people's programs wrote, before they reach a log, an error or the store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

REDACTED = "[redacted]"

MIN_SECRET_LENGTH = 8
"""Shorter values are placeholders such as "EMPTY", which would blacken innocent words."""

_TELLING_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_key_variables: set[str] = set()

_SHAPES = re.compile(
    r"""
    (?P<lead> \b(?:Bearer|Basic)\s+ | \bapi[-_ ]?key["'\s]*[:=]["'\s]* | ://(?=[^/\s]*@) )  # stands before a secret
      [^\s"',;@]+
    | \b(?:sk|pk|rk|hf|gsk|xai|sess)[-_][A-Za-z0-9_*.\-]{8,}                              # how services form keys
    """,
    re.VERBOSE | re.IGNORECASE,
)


def register_key_variable(name: str) -> None:
    """Say that a variable of the environment holds a key although its name may not tell. Only the name is kept."""
    _key_variables.add(name)


def secret_values(names: Iterable[str] | None = None) -> list[str]:
    """Secrets of this process, longest first: of these variables of the environment, or by default of all that are
    registered or named like one."""
    if names is None:
        names = _key_variables | {name for name in os.environ if _TELLING_NAME.search(name)}
    values = {os.environ.get(name, "").strip() for name in names}
    return sorted((value for value in values if len(value) >= MIN_SECRET_LENGTH), key=len, reverse=True)


def hide(text: str, values: Iterable[str]) -> str:
    """A text without these values, and otherwise as it was."""
    for value in values:
        if value in text:
            text = text.replace(value, REDACTED)
    return text


def redact(text: str) -> str:
    """A text of an error or a server without the secrets of this process and without what is shaped like a key."""
    return _SHAPES.sub(lambda match: (match["lead"] or "") + REDACTED, hide(text, secret_values()))
