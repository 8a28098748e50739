"""Keeps keys out of everything that is stored or shown: texts that other programs wrote go through a `Redactor`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

REDACTED = "[redacted]"

MIN_SECRET_LENGTH = 8
"""Shorter values are placeholders such as "EMPTY", which would blacken innocent words."""

# OPENAI_API_KEY, HF_TOKEN, AWS_SECRET_ACCESS_KEY: a server's message may quote any key that a proxy was given
_TELLING_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHAPES = re.compile(
    r"""
    (?P<lead> \b(?:Bearer|Basic)\s+ | \bapi[-_ ]?key["'\s]*[:=]["'\s]* | ://(?=[^/\s]*@) )  # stands before a secret
      [^\s"',;@]+
    | \b(?:sk|pk|rk|hf|gsk|xai|sess)[-_][A-Za-z0-9_*.\-]{8,}                              # how services form keys
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Redactor:
    """Takes keys out of texts that other programs wrote, before they reach a log, an error or the store.

    Values of environment variables are read anew each time, and kept nowhere.

    Args:
        key_variables: Environment variables that hold a key although their names may not tell.
        given_key: A key that is in no variable, or empty.
    """

    key_variables: tuple[str, ...] = ()
    given_key: str = field(default="", repr=False)

    def own_secrets(self) -> list[str]:
        """The given key and the values of `key_variables`, longest first."""
        return _by_length([self.given_key, *(os.environ.get(name, "").strip() for name in self.key_variables)])

    def secrets(self) -> list[str]:
        """All secrets of this process, longest first: its own, and variables that are named like a secret."""
        named = [value.strip() for name, value in os.environ.items() if _TELLING_NAME.search(name)]
        return _by_length([*self.own_secrets(), *named])

    def redact(self, text: str) -> str:
        """A text of an error or a server without any secret of this process and without what is shaped like a key."""
        # shapes as well as values: a server may quote a key of a relay's, which is in no variable here
        return _SHAPES.sub(lambda match: (match["lead"] or "") + REDACTED, hide(text, self.secrets()))


def _by_length(values: list[str]) -> list[str]:
    # longest first: a key that begins with another must not leave its end behind
    return sorted({value for value in values if len(value) >= MIN_SECRET_LENGTH}, key=len, reverse=True)


def hide(text: str, values: Iterable[str]) -> str:
    """A text without these values, and otherwise as it was."""
    for value in values:
        if value in text:
            text = text.replace(value, REDACTED)
    return text
