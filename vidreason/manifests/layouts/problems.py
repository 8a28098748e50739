"""Collects what is wrong with a data set's layout, so that one run names all of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ...errors import ManifestError
from ..splits import name_examples

logger = logging.getLogger(__name__)


class LayoutProblems:
    """What is wrong with the layout of a data set.

    Two kinds: what is contradictory is always an error; what is merely not there, such as a class that was not
    downloaded, is an error unless a part of the data set is asked for.

    Args:
        root: of the data set, for messages.
        allow_incomplete: what is missing is a warning.
    """

    def __init__(self, root: Path, allow_incomplete: bool = False):
        self.root = root
        self.allow_incomplete = allow_incomplete
        self._contradictions: list[str] = []
        self._missing: list[str] = []

    def add(self, sentence: str, names: Sequence[str] | None = None) -> None:
        """Note a contradiction. With names, it is one only if there are any; the first few are told."""
        self._note(self._contradictions, sentence, names)

    def add_missing(self, sentence: str, names: Sequence[str] | None = None) -> None:
        """Note something that is not there, likewise."""
        self._note(self._missing, sentence, names)

    def check(self) -> None:
        """Warn of what may be missing, and raise for the rest.

        Raises:
            ManifestError: naming every problem.
        """
        fatal = list(self._contradictions)
        if self.allow_incomplete:
            for sentence in self._missing:
                logger.warning("%s: %s", self.root, sentence)
        else:
            fatal += self._missing
        if fatal:
            hint = "" if self._contradictions else " (allow_incomplete builds from what is there)"
            raise ManifestError(f"{self.root}: {'; '.join(fatal)}{hint}")

    @staticmethod
    def _note(sentences: list[str], sentence: str, names: Sequence[str] | None) -> None:
        if names is None:
            sentences.append(sentence)
        elif names:
            sentences.append(f"{sentence}: {name_examples(names)}")
