"""Replies are read for what they say: the option, yes or no, equal texts, spans. Nothing is read into them."""

import random

import pytest

from vidreason.videoqa.scoring.answers import is_exact, parse_yes_no
from vidreason.videoqa.scoring.choice import EMPTY, PARSED, UNPARSABLE, parse_choice
from vidreason.videoqa.scoring.spans import measure_overlap

OPTIONS = ("dunking a basketball", "dribbling a basketball", "a dog", "it is played backwards")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        *(("(B)", "B"), ("B.", "B"), ("B", "B"), ("b", "B"), ("Best option: (B", "B"), ("**D**", "D"), ("[C]", "C")),
        *(("B) whatever follows", "B"), ("The answer is (C).", "C"), ("Answer: B\nA man throws a ball.", "B")),
        *(("The correct option is C: a dog", "C"), ("\\boxed{C}", "C"), ("<think>(A)? No.</think>B", "B")),
        *(
            ("<answer>D</answer>", "D"),
            ("Option 2", "B"),
            ("Option 2: dribbling a basketball", "B"),
            ("Caption B", "B"),
        ),
        *(
            ("Sentence A.", "A"),
            ("Option A is wrong. Option B is correct.", "B"),
            ("option b", "B"),
            ("A, since", "A"),
        ),
        *(
            ("a dog", "C"),
            ("A dog.", "C"),
            ("Dribbling a basketball", "B"),
            ("The answer is dunking a basketball.", "A"),
        ),
        *(("D. it is played backwards", "D"), ("D. It runs the other way.", "D"), ("$B$", "B"), ("B</s>", "B")),
    ],
)
def test_a_choice_is_read(reply, letter):
    """T34: "(B)", "B.", "Best option: (B" are B; the text of an option is that option."""
    choice = parse_choice(reply, OPTIONS)
    assert (choice.status, choice.index) == (PARSED, ord(letter) - ord("A")), choice.rule


@pytest.mark.parametrize(
    "reply",
    [
        *("a man", "A man", "A man is dunking", "Answer: A man", "The answer is a horse", "I think it is a cat"),
        *("B or C", "A and B", "The answer is B or C.", "A/B", "(A) or (D)", "Both A and B."),
        *("E", "Z.", "Option 7", "None of the above", "It is not B", "The answer is not B", "Best option: ("),
        # the letter of one option with the text of another
        *("A. dribbling a basketball", "Option 1: a dog", "Answer: B. dunking a basketball"),
        *("Answer: A. Answer: B.", "option number 7", "?", "..."),
    ],
)
def test_what_names_no_option_or_several_is_unparsable(reply):
    """T34: "a man" is not option A, and "B or C" is unparsable."""
    choice = parse_choice(reply, OPTIONS)
    assert (choice.status, choice.index) == (UNPARSABLE, None), choice.rule


@pytest.mark.parametrize("reply", ["", "  \n", "<think>B</think>", "</s>"])
def test_an_empty_reply_is_empty(reply):
    """T34: empty is wrong, and counted apart."""
    assert parse_choice(reply, OPTIONS).status == EMPTY
    assert parse_yes_no(reply) == (None, EMPTY)


def test_options_that_are_letters_numbers_or_alike():
    assert parse_choice("2", ["2", "3", "1"]).index == 0  # a text, not a place
    assert parse_choice("B", ["B", "A"]).index == 0
    assert parse_choice("two", ["two", "two", "one"]).status == UNPARSABLE
    assert parse_choice("A. two", ["two", "two", "one"]).index == 0


def test_any_text_is_read_within_bounds():
    rng = random.Random(0)
    signs = "ABCDabcd ().:,\n*$\\{}<>/answeroption123ÄéI"
    for _ in range(3000):
        text = "".join(rng.choice(signs) for _ in range(rng.randrange(60)))
        choice = parse_choice(text, OPTIONS)
        assert (choice.index is not None) == (choice.status == PARSED)
        assert choice.index is None or 0 <= choice.index < len(OPTIONS)
    assert parse_choice("(" * 200_000, OPTIONS).status == UNPARSABLE
    assert parse_choice("the answer is " * 50_000 + "B", OPTIONS).index == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        *(("Yes.", "yes"), ("no", "no"), ("No, they are not.", "no"), ("**Yes**", "yes"), ("The answer is no.", "no")),
        *(("Nothing happens", None), ("Not sure", None), ("yes and no", None), ("Yes/No", None), ("maybe", None)),
    ],
)
def test_yes_and_no(reply, said):
    assert parse_yes_no(reply) == (said, PARSED if said else UNPARSABLE)


def test_equal_texts_by_each_normalisation():
    assert is_exact("on the street.", ["street", "On street"], "plain")
    assert not is_exact("On the street", ["on the street"], "verbatim")
    assert is_exact("On  the street", ["on the street"], "lower")
    assert not is_exact("", [""], "verbatim") and not is_exact("...", ["!"], "plain")
    assert is_exact("the", ["the"], "plain")  # an article that is all there is


def test_overlap_of_spans():
    """T35: a point inside the truth wins no IoP; the published rule's 1 is given beside."""
    half = measure_overlap([(0, 4)], [(2, 6), (10, 11)])
    assert (half.iop, half.iou, half.length_s) == (0.5, 2 / 6, 4)
    point = measure_overlap([(3, 3)], [(2, 6)])
    assert (point.iop, point.iou, point.iop_as_published, point.length_s) == (0, 0, 1, 0)
    assert measure_overlap([(1, 1)], [(2, 6)]).iop_as_published == 0
    assert measure_overlap([], [(2, 6)]).iou == 0
    # several spans are their union: saying much in pieces gains nothing
    assert measure_overlap([(0, 2), (1, 4), (4, 4)], [(2, 6)]) == half
    assert measure_overlap([(2, 6)], [(2, 6)]).iou == 1
