"""Which option a reply names: a parser that takes nothing for a choice that is none.

The parsers of public harnesses are fooled by the article in "a man" (read as option A), by an empty reply (counted as
right, or left out) and by replies that name two options (a random one is taken). Here a reply names an option by its
letter, set apart as a letter is, or by the whole text of the option; anything else is unparsable, which is wrong and
counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARACTERS = 20_000
"""Characters of a reply that are looked at, from its end: a long chain of thought ends with the answer."""

PARSED, EMPTY, UNPARSABLE = "parsed", "empty", "unparsable"

_THOUGHT = re.compile(r"<(think|thinking)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?([^{}]*)\}")
# signs of Markdown and TeX around a letter; without them all forms below are plain
_ORNAMENT = re.compile(r"[*_`$\"'\u201c\u201d\u2018\u2019]|\\text|\\mathrm")
# what a reply puts before an option; "Option 2", "Sentence A" and "Caption B" are how TempCompass names its options
_NOUN = r"(?:answer|option|choice|caption|sentence|description|response|statement)"
_CUE = re.compile(
    rf"\b{_NOUN}s?\b(?:\s+(?:choice|option|letter|to\s+the\s+question))?\s*(?:(?:is|are|would\s+be|should\s+be|was)\b)?"
    r"\s*[:=]?\s*(?:(?:the\s+)?(?:option|choice|letter|caption|sentence)\s*)?[:=]?\s*",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"\s*(?:is|was|would be|seems)\s+(?:not|wrong|incorrect|false)\b", re.IGNORECASE)
_SEVERAL = r"(?:or|and|and/or|nor)"


@dataclass(frozen=True)
class Choice:
    """What a reply chooses.

    Args:
        index: Index of the option, from 0; None where it names none, or more than one.
        status: `PARSED`, `EMPTY` or `UNPARSABLE`.
        rule: How it was read: "letter", "text", "number"; what is wrong where nothing was.
    """

    index: int | None
    status: str
    rule: str


_EMPTY = Choice(None, EMPTY, "the reply is empty")


def parse_choice(reply: str, options: Sequence[str]) -> Choice:
    """The option that a reply names.

    Args:
        reply: What a model said, of any length.
        options: Texts of the options, without letters; from 2 to 26.
    """
    text = final_part(reply)
    if not text:
        return _EMPTY
    by_text = _option_of(text, options)
    if by_text is not None:  # before letters: an option may itself be "A" or "I"
        return Choice(by_text, PARSED, "text")
    named = _letters(text, len(options))
    numbers = {} if named else _numbers(text, len(options))
    found = named or numbers
    if len(found) > 1:
        return Choice(None, UNPARSABLE, f"it names options {', '.join(map(letter_of, sorted(found)))}")
    if found:
        (index, rest), *_ = found.items()
        other = _option_of(rest, options)
        # "A. it plays backwards", where that is the text of B, says two things
        if other is not None and normalise(options[other]) != normalise(options[index]):
            return Choice(None, UNPARSABLE, f"it names option {letter_of(index)} with the text of {letter_of(other)}")
        return Choice(index, PARSED, "letter" if named else "number")
    said = {place for part in _after_cues(text) if (place := _option_of(part, options)) is not None}
    if len(said) == 1:
        return Choice(said.pop(), PARSED, "text")
    return Choice(None, UNPARSABLE, "it names no option" if not said else "it names several options")


def letter_of(index: int) -> str:
    """The letter of an option: A for 0."""
    return chr(ord("A") + index)


def final_part(reply: str) -> str:
    r"""What a reply comes to: without thoughts, and of a text with an `<answer>` or a `\boxed` that part alone."""
    text = _THOUGHT.sub(" ", reply[-MAX_CHARACTERS:]).replace("</s>", " ")
    for marked in (_ANSWER_TAG, _BOXED):
        parts = marked.findall(text)
        if parts:
            text = parts[-1]
    return text.strip()


@lru_cache(maxsize=65_536)
def normalise(text: str) -> str:
    """A text as options are compared: in lower case, without marks at the ends of words, single spaces."""
    words = (word.strip(".,;:!?()[]\"'\u201c\u201d\u2018\u2019*`") for word in text.casefold().split())
    return " ".join(word for word in words if word)


def _option_of(text: str, options: Sequence[str]) -> int | None:
    """The one option whose whole text this is; None where it is none, or that of two that are alike."""
    wanted = normalise(text)
    places = [place for place, option in enumerate(options) if normalise(option) == wanted] if wanted else []
    return places[0] if len(places) == 1 else None


def _letters(text: str, count: int) -> dict[int, str]:
    """The options that are named by letter -> what is said after the letter."""
    plain = _ORNAMENT.sub("", text).strip()
    first, last = "A", letter_of(count - 1)
    upper, either = f"[{first}-{last}]", f"[{first}-{last}{first.lower()}-{last.lower()}]"
    whole = re.fullmatch(rf"[(\[{{]?\s*({either})\s*[)\]}}]?\s*[.:,;!]?", plain)
    if whole:
        return {_place(whole[1]): ""}
    start = re.match(
        rf"(?:[(\[]\s*({either})\s*[)\]]|({upper})\s*[.):,;]|({upper})\s*[-\u2013\u2014]\s|({upper})\s*\n)", plain
    )
    found: dict[int, str] = {}
    if start:
        found[_place(start[1] or start[2] or start[3] or start[4])] = plain[start.end() :]
    for part in _after_cues(plain):
        alone = re.fullmatch(rf"\s*({either})\s*[.)]?\s*", part)
        if alone:
            found.setdefault(_place(alone[1]), "")
            continue
        match = re.match(
            # a bare letter that a word follows is an article or a pronoun, "A man", unless no word is spelt like it
            rf"(?:[(\[]\s*({either})\b\s*[)\]]?|({upper})(?=\s*(?:[.,;:)!?\]]|$|\n))|([B-HJ-Z])\b(?!['\u2019]))",
            part,
        )
        letter = match and (match[1] or match[2] or match[3])
        if match and letter and _place(letter) < count and not _DENIAL.match(part[match.end() :]):
            found.setdefault(_place(letter), _first_sentence(part[match.end() :]))
    if not found:
        for match in re.finditer(rf"[(\[]\s*({upper})\s*[)\]]", plain):
            found.setdefault(_place(match[1]), "")
    # "B or C", "A and B", "A/B", "A, C": another letter joined to one is named as well
    joint = rf"(?:[(\[]?\s*({upper})\s*[)\]]?)\s*(?:{_SEVERAL}\b|[/,&+])\s*[(\[]?\s*({upper})\b(?!\s+[a-z])"
    for match in re.finditer(joint, plain):
        found.setdefault(_place(match[1]), "")
        found.setdefault(_place(match[2]), "")
    return found


def _numbers(text: str, count: int) -> dict[int, str]:
    """The options that are named as "Option 2" -> what is said after the number."""
    found: dict[int, str] = {}
    plain = _ORNAMENT.sub("", text)
    for match in re.finditer(rf"\b{_NOUN}\s*[#:]?\s*\(?(\d{{1,2}})\)?(?![\d.]\d)\s*[.:)]?", plain, re.IGNORECASE):
        place = int(match[1]) - 1
        if 0 <= place < count:
            found.setdefault(place, _first_sentence(plain[match.end() :]))
    return found


def _after_cues(text: str) -> list[str]:
    """What follows words such as "the answer is"."""
    return [text[match.end() :] for match in _CUE.finditer(text)]


def _first_sentence(text: str) -> str:
    return text.strip(" .:)-\n").split("\n")[0]


def _place(letter: str) -> int:
    return ord(letter.upper()) - ord("A")
