"""Short answers: yes or no, and texts that are equal once both are normalised as a benchmark has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from .choice import EMPTY, PARSED, UNPARSABLE, final_part

# "Nothing" and "not" begin with "no" and are none: TempCompass's own rule takes what begins so for a "no"
_YES_OR_NO = re.compile(r"(yes|no)\b", re.IGNORECASE)
_BOTH = re.compile(r"\W*(?:or|and|/)\W*(?:yes|no)\b", re.IGNORECASE)
_CUED = re.compile(
    r"\banswer\b(?:\s+to\s+the\s+question)?\s*(?:is|would\s+be)?\s*[:=]?\s*[\"'(*]*(yes|no)\b", re.IGNORECASE
)

_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = re.compile(r"[^\w\s]|_")


def parse_yes_no(reply: str) -> tuple[str | None, str]:
    """Whether a reply says yes or no.

    Args:
        reply: What a model said.

    Returns:
        "yes" or "no", else None; and `PARSED`, `EMPTY` or `UNPARSABLE`. "yes and no", and a reply that neither
        begins with one of the words nor calls it the answer, are unparsable.
    """
    text = final_part(reply)
    if not text:
        return None, EMPTY
    start = _YES_OR_NO.match(text.lstrip("\"'(*_` "))
    if start:
        rest = text.lstrip("\"'(*_` ")[start.end() :]
        return (None, UNPARSABLE) if _BOTH.match(rest) else (start[1].lower(), PARSED)
    said = {word.lower() for word in _CUED.findall(text)}
    return (said.pop(), PARSED) if len(said) == 1 else (None, UNPARSABLE)


def _verbatim(text: str) -> str:
    return text


def _lower(text: str) -> str:
    return " ".join(text.lower().split())


@lru_cache(maxsize=65_536)
def _plain(text: str) -> str:
    words = _PUNCTUATION.sub(" ", text.casefold()).split()
    return " ".join(word for word in words if word not in _ARTICLES) or " ".join(words)


NORMALISATIONS: Mapping[str, Callable[[str], str]] = {"verbatim": _verbatim, "lower": _lower, "plain": _plain}
"""How both texts are changed before they are compared.

`verbatim`: not at all, as ActivityNet-QA's evaluation/eval.py has it. `lower`: lower case and single spaces. `plain`:
lower case, without punctuation and articles.
"""


def is_exact(prediction: str, answers: Sequence[str], normalisation: str) -> bool:
    """Whether a prediction equals one of the answers.

    Args:
        prediction: What a model said. Without any text it equals nothing.
        answers: All answers that count as right.
        normalisation: Key of `NORMALISATIONS`.
    """
    change = NORMALISATIONS[normalisation]
    said = change(prediction)
    return bool(said.strip()) and any(said == change(answer) for answer in answers)
