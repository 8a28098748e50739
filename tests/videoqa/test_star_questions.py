"""Steps of STAR's templates: the shares that STEP prints, and how many tables would give them."""

from collections import Counter

import numpy as np
import pytest

from vidreason.videoqa.benchmarks import read_benchmark
from vidreason.videoqa.benchmarks.star import STEPS

PRINTED = (1744, 3978, 1376)
"""24.57, 56.04 and 19.39 % of 7,098 (STEP, table 2)."""

BEFORE_AFTER = [("Sequence_T1", "Sequence_T2"), ("Sequence_T3", "Sequence_T4"), ("Sequence_T5", "Sequence_T6")]
GIVEN_ASKED = [("Prediction_T2", "Prediction_T3")]  # an object is given and a verb asked for, or the other way


@pytest.fixture(scope="module")
def templates(shared_data):
    reading = read_benchmark("star", shared_data / "videoqa" / "star", "val")
    return Counter(row["question_type"] for row in reading.rows())


def test_the_table_gives_the_printed_shares(templates):
    counts = Counter()
    for template, count in templates.items():
        counts[STEPS[template]] += count
    assert tuple(counts[steps] for steps in (1, 2, 3)) == PRINTED
    assert [round(100 * count / 7098, 2) for count in PRINTED] == [24.57, 56.04, 19.39]
    assert set(STEPS) == set(templates)


def test_of_all_tables_with_these_shares_one_treats_twins_alike(templates):
    names = sorted(templates)
    sizes = np.array([templates[name] for name in names])
    # all subsets of 19 templates as rows of bits
    bits = (np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1).astype(np.int32)
    sums = bits @ sizes
    ones, threes = bits[sums == PRINTED[0]], bits[sums == PRINTED[2]]
    tables = [
        {name: 1 if one[n] else 3 if three[n] else 2 for n, name in enumerate(names)}
        for one in ones
        for three in threes
        if not (one & three).any()
    ]
    assert len(tables) == 116
    of_order = [table for table in tables if all(table[a] == table[b] for a, b in BEFORE_AFTER)]
    assert len(of_order) == 2
    (only,) = [table for table in of_order if all(table[a] == table[b] for a, b in GIVEN_ASKED)]
    assert only == STEPS
    # the other one
    (other,) = [table for table in of_order if table != STEPS]
    changed = {name: (STEPS[name], other[name]) for name in names if STEPS[name] != other[name]}
    assert changed == {
        **dict.fromkeys(("Prediction_T3", "Prediction_T4", "Feasibility_T2"), (3, 2)),
        **dict.fromkeys(("Feasibility_T3", "Feasibility_T4", "Feasibility_T5", "Feasibility_T6"), (2, 3)),
    }
