"""The text that asks a detector for one class of objects, and its tokens in a prompt.

A class text is one visual concept in a few words, such as "person" or "sports ball". It is the name of a class in
tables and caches and the channel of a score map, so it has one spelling: lower case, single spaces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from ..errors import DetectionError

MAX_CHARACTERS = 80
MAX_WORDS = 8
"""Longer texts are descriptions. A detector of open vocabulary is trained on noun phrases."""

_SEPARATORS = frozenset(".!?;:,/|\n\r\t")
"""Grounding DINO ends a class at a full stop, and a comma or slash would put two concepts into one channel."""


def check_class_text(text: str) -> str:
    """A class text in its one spelling: lower case, words parted by single spaces.

    Args:
        text: Name of one visual concept.

    Raises:
        DetectionError: The text is empty, no text, longer than a name, or holds more than one concept. It is never
            cut, because a cut text asks for something else.
    """
    if not isinstance(text, str):
        raise DetectionError(f"class text {text!r} is no text")
    found = sorted(_SEPARATORS & set(text.strip()))
    if found:
        raise DetectionError(f"class text {_shorten(text)} holds {found[0]!r}: one concept, without punctuation")
    words = unicodedata.normalize("NFC", text).lower().split()
    if not words:
        raise DetectionError("a class text is empty")
    spelled = " ".join(words)
    if not spelled.isprintable():
        raise DetectionError(f"class text {_shorten(text)} holds characters that cannot be printed")
    if not any(character.isalnum() for character in spelled):
        raise DetectionError(f"class text {_shorten(text)} holds no letter or digit")
    if len(words) > MAX_WORDS or len(spelled) > MAX_CHARACTERS:
        raise DetectionError(
            f"class text {_shorten(text)} has {len(words)} words and {len(spelled)} characters: expected a name of at "
            f"most {MAX_WORDS} words and {MAX_CHARACTERS} characters"
        )
    return spelled


def check_class_texts(texts: Iterable[str]) -> tuple[str, ...]:
    """Class texts in their one spelling, in the order given, which is the order of the channels of score maps.

    Raises:
        DetectionError: There are none, one cannot be used, or two are the same.
    """
    if isinstance(texts, str):
        raise DetectionError(f"expected a list of class texts, got the text {_shorten(texts)}")
    spelled: list[str] = []
    for text in texts:
        checked = check_class_text(text)
        if checked in spelled:
            raise DetectionError(f"class text {checked!r} is given twice")
        spelled.append(checked)
    if not spelled:
        raise DetectionError("there are no class texts")
    return tuple(spelled)


def token_spans(prompt_ids: Sequence[int], class_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Where the tokens of a class stand in a prompt, as [start, end) positions; in order, and never overlapping.

    Whole sequences of tokens are compared. Comparing texts finds "arm" within "forearm" and "dog" within "hot dog",
    and gives one class the boxes of another.

    Args:
        prompt_ids: Ids of the prompt's tokens.
        class_ids: Ids of the class's own tokens, without special tokens or the full stop.
    """
    width = len(class_ids)
    if width == 0:
        raise DetectionError("a class without tokens has no place in a prompt")
    spans: list[tuple[int, int]] = []
    start = 0
    while start + width <= len(prompt_ids):
        if list(prompt_ids[start : start + width]) == list(class_ids):
            spans.append((start, start + width))
            start += width
        else:
            start += 1
    return spans


def _shorten(text: str, length: int = 60) -> str:
    shown = repr(text[: length + 1])
    return shown if len(text) <= length else f"{text[:length]!r}..."
