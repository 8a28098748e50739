"""Words for where boxes are, on cases that can be worked out by hand, and both ways round."""

import numpy as np
import pytest

from vidreason.scenegraph.geometry import (
    INVERSES,
    SPATIAL_PREDICATES,
    border_gap,
    intersection_over_union,
    spatial_predicates,
)


@pytest.mark.parametrize(
    ("box_a", "box_b", "said"),
    [
        ((0.1, 0.4, 0.2, 0.6), (0.7, 0.4, 0.8, 0.6), ("left of",)),
        ((0.1, 0.1, 0.2, 0.2), (0.7, 0.7, 0.8, 0.8), ("left of", "above")),
        ((0.4, 0.8, 0.6, 0.9), (0.4, 0.1, 0.6, 0.5), ("below",)),
        ((0.1, 0.4, 0.2, 0.6), (0.3, 0.4, 0.4, 0.6), ("left of", "near")),  # a gap of exactly a tenth
        ((0.1, 0.4, 0.2, 0.6), (0.31, 0.4, 0.4, 0.6), ("left of",)),
        ((0.1, 0.4, 0.3, 0.6), (0.25, 0.4, 0.45, 0.6), ("left of", "overlaps", "near")),  # a quarter of the side
        ((0.1, 0.4, 0.3, 0.6), (0.24, 0.4, 0.44, 0.6), ("overlaps", "near")),
        ((0.4, 0.4, 0.5, 0.5), (0.2, 0.2, 0.8, 0.8), ("inside", "near")),
        ((0.2, 0.2, 0.8, 0.8), (0.4, 0.4, 0.5, 0.5), ("contains", "near")),
        ((0.19, 0.4, 0.29, 0.5), (0.2, 0.2, 0.8, 0.8), ("inside", "near")),  # nine tenths of it
        ((0.18, 0.4, 0.28, 0.5), (0.2, 0.2, 0.8, 0.8), ("overlaps", "near")),
        ((0.2, 0.2, 0.8, 0.8), (0.2, 0.2, 0.8, 0.8), ("overlaps", "near")),  # alike: neither is in the other
    ],
)
def test_words_of_two_boxes(box_a, box_b, said):
    assert spatial_predicates(box_a, box_b) == said
    # as a table of detections stores boxes: what stands at a threshold still does
    stored_a, stored_b = (tuple(map(float, np.float32(box))) for box in (box_a, box_b))
    assert spatial_predicates(stored_a, stored_b) == said


def test_each_word_is_its_inverse_the_other_way_round():
    """T27 for geometry: no pair of boxes says one thing in one direction and another in the other."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(5000):
        corners = np.sort(rng.uniform(size=(2, 2, 2)), axis=1)
        box_a, box_b = (tuple(map(float, box.reshape(4))) for box in corners)
        said, back = spatial_predicates(box_a, box_b, 1.7), spatial_predicates(box_b, box_a, 1.7)
        assert sorted(INVERSES[word] for word in said) == sorted(back), (box_a, box_b)
        assert said == tuple(word for word in SPATIAL_PREDICATES if word in said)
        assert sum(word in said for word in ("left of", "right of")) <= 1
        assert sum(word in said for word in ("above", "below")) <= 1
        assert sum(word in said for word in ("inside", "contains", "overlaps")) <= 1
        seen |= set(said)
    assert seen == set(SPATIAL_PREDICATES)


def test_gaps_are_in_units_of_the_shorter_side():
    left, right = (0.0, 0.0, 0.1, 1.0), (0.16, 0.0, 0.3, 1.0)
    assert border_gap(left, right) == pytest.approx(0.06)
    assert border_gap(left, right, aspect_ratio=2.0) == pytest.approx(0.12)
    assert "near" in spatial_predicates(left, right) and "near" not in spatial_predicates(left, right, 2.0)
    # a tall frame: its width is the shorter side, and shares of the height are longer ways
    top, bottom = (0.0, 0.0, 1.0, 0.1), (0.0, 0.16, 1.0, 0.3)
    assert border_gap(top, bottom, aspect_ratio=0.5) == pytest.approx(0.12)
    assert border_gap((0.0, 0.0, 0.1, 0.1), (0.13, 0.14, 0.2, 0.2)) == pytest.approx(0.05)


def test_intersection_over_union():
    assert intersection_over_union((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert intersection_over_union((0, 0, 1, 1), (1, 0, 2, 1)) == 0
    assert intersection_over_union((0, 0, 2, 2), (0, 0, 2, 2)) == 1
