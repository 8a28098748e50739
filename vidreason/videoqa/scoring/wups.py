"""WUPS, how alike two short answers are by WordNet, as NExT-OE has it (metrics.py, eval_oe.py).

Words are brought to their base forms, stop words are left out, and each word is compared with the nearest of the other
answer; words that are like none are passed over. The smaller of both directions counts. Colours and counts (types DC
and DB) must be equal.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .wordnet import WordNet

EXACT_TYPES = ("DC", "DB")
"""Question types whose answers must be equal."""


def measure_wups(
    wordnet: WordNet, prediction: str, answers: Sequence[str], stop_words: Collection[str], is_exact: bool = False
) -> float:
    """The best WUPS of a prediction with any of the answers, at threshold 0, from 0 to 1.

    Args:
        wordnet: WordNet.
        prediction: What a model said.
        answers: All answers that count as right.
        stop_words: Base forms that are left out, as a set.
        is_exact: Whether what is left must be equal.
    """
    said = _words(wordnet, prediction, stop_words)
    references = [_words(wordnet, answer, stop_words) for answer in answers]
    if is_exact:
        return float(any(said == reference for reference in references) and bool(prediction.strip()))
    return max(min(_one_way(wordnet, said, words), _one_way(wordnet, words, said)) for words in references)


def _words(wordnet: WordNet, text: str, stop_words: Collection[str]) -> list[str]:
    return [word for word in wordnet.lemmas(text) if word not in stop_words]


def _one_way(wordnet: WordNet, words: Sequence[str], others: Sequence[str]) -> float:
    product, is_like_any = 1.0, False
    for word in words:
        nearest = max((wordnet.similarity(word, other) for other in others), default=0.0)
        if nearest > 0:
            product *= nearest
            is_like_any = True
    return product if is_like_any else 0.0
