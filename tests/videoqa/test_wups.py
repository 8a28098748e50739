"""WUPS worked out by hand, on a WordNet of a few words; what lacks for the real one is named."""

import pytest

from vidreason.errors import ConfigError
from vidreason.videoqa.scoring import wordnet
from vidreason.videoqa.scoring.wups import measure_wups

ALIKE = {frozenset(("dog", "cat")): 0.8, frozenset(("run", "walk")): 0.5, frozenset(("dog", "run")): 0.1}


class FewWords:
    def lemmas(self, text):
        return text.split()

    def similarity(self, first, second):
        return 1.0 if first == second else ALIKE.get(frozenset((first, second)), 0.0)


@pytest.mark.parametrize(
    ("said", "answers", "value"),
    [
        ("dog", ["dog"], 1.0),
        ("the dog", ["a dog"], 1.0),  # stop words are left out
        ("cat", ["dog"], 0.8),
        ("cat walk", ["dog run"], 0.8 * 0.5),  # each word with its nearest
        ("dog", ["dog run"], 0.1),  # the smaller of both directions: "run" is nearest to "dog"
        ("cat", ["cup", "dog"], 0.8),  # the best of the answers
        ("cat xyz", ["dog"], 0.8),  # a word that is like none is passed over
        ("xyz", ["dog"], 0.0),
        ("the", ["dog"], 0.0),
    ],
)
def test_wups_by_hand(said, answers, value):
    assert measure_wups(FewWords(), said, answers, {"the", "a"}) == pytest.approx(value)


def test_counts_and_yes_or_no_must_be_equal():
    assert measure_wups(FewWords(), "the dog", ["a dog"], {"the", "a"}, is_exact=True) == 1
    assert measure_wups(FewWords(), "cat", ["dog"], set(), is_exact=True) == 0
    assert measure_wups(FewWords(), " ", ["the"], {"the"}, is_exact=True) == 0  # nothing said is nothing


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(wordnet, "_WORDNET", ("no_such_package", "data"))
    wordnet.load_wordnet.cache_clear()
    with pytest.raises(ConfigError, match=r"requirements/wups\.txt"):
        wordnet.load_wordnet()
