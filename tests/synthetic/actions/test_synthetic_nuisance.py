"""The draws of a clip: seeds, and the strength of the nuisances in each split. Nothing is rendered here."""

from collections import Counter

import pytest
from scipy.stats import binomtest, chisquare

from vidreason.errors import ConfigError
from vidreason.synthetic import (
    ACTIONS,
    BACKGROUND_STRENGTHS,
    BACKGROUNDS,
    COOCCURRING_OBJECTS,
    COOCCURRING_STRENGTHS,
    SPLITS,
    clip_seed,
    draw_nuisance,
)

DRAWS = 3000
P_VALUE = 1e-4  # the seed is fixed: this never fails by chance on code that has passed once


@pytest.fixture(scope="module", params=SPLITS)
def draws(request):
    """(split, [(label, nuisance)])."""
    split = request.param
    actions = [ACTIONS[index % 12] for index in range(DRAWS)]
    return split, [
        (index % 12, draw_nuisance(action, split, clip_seed(0, split, index))) for index, action in enumerate(actions)
    ]


def test_the_settings_are_those_that_were_fixed():
    assert COOCCURRING_STRENGTHS == {"train": 0.6, "validation": 0.6, "test": 0.6, "test_shifted": 0.0}
    assert BACKGROUND_STRENGTHS == {"train": 0.4, "validation": 0.4, "test": 0.4, "test_shifted": 0.0}
    assert len(BACKGROUNDS) == len(COOCCURRING_OBJECTS) == len(ACTIONS) == 12


@pytest.mark.parametrize(
    ("name", "names", "strengths"),
    [
        ("background", BACKGROUNDS, BACKGROUND_STRENGTHS),
        ("cooccurring_object", COOCCURRING_OBJECTS, COOCCURRING_STRENGTHS),
    ],
)
def test_nuisances_are_tied_as_strongly_as_the_split_says(draws, name, names, strengths):
    split, rows = draws
    strength = strengths[split]
    tied = sum(getattr(nuisance, f"{name}_tied") for _, nuisance in rows)
    hits = sum(getattr(nuisance, name) == names[label] for label, nuisance in rows)
    assert all(getattr(n, name) == names[label] for label, n in rows if getattr(n, f"{name}_tied"))
    assert binomtest(tied, DRAWS, strength).pvalue > P_VALUE
    assert binomtest(hits, DRAWS, strength + (1 - strength) / 12).pvalue > P_VALUE


@pytest.mark.parametrize("name", ["background", "cooccurring_object"])
def test_untied_draws_are_uniform_and_independent_of_the_label(draws, name):
    _, rows = draws
    free = [(label, getattr(nuisance, name)) for label, nuisance in rows if not getattr(nuisance, f"{name}_tied")]
    counts = Counter(value for _, value in free)
    assert len(counts) == 12 and chisquare(list(counts.values())).pvalue > P_VALUE
    pairs = Counter(free)
    table = [pairs[label, value] for label in range(12) for value in counts]
    assert chisquare(table).pvalue > P_VALUE


def test_the_two_ties_are_independent():
    seeds = [clip_seed(1, "train", index) for index in range(DRAWS)]
    rows = [draw_nuisance("wave", "train", seed) for seed in seeds]
    both = sum(nuisance.background_tied and nuisance.cooccurring_object_tied for nuisance in rows)
    assert binomtest(both, DRAWS, 0.6 * 0.4).pvalue > P_VALUE


def test_seeds_of_clips_are_all_different_and_repeatable():
    keys = [(world, split, index) for world in (0, 1) for split in SPLITS for index in range(200)]
    states = {tuple(clip_seed(*key).generate_state(4)) for key in keys}
    assert len(states) == len(keys)
    assert clip_seed(0, "test", 3).generate_state(4).tolist() == clip_seed(0, "test", 3).generate_state(4).tolist()


def test_bad_requests_are_named():
    with pytest.raises(ConfigError, match="unknown split 'dev'"):
        clip_seed(0, "dev", 0)
    with pytest.raises(ConfigError, match="must not be negative"):
        clip_seed(-1, "train", 0)
    with pytest.raises(ConfigError, match="unknown action 'jump'"):
        draw_nuisance("jump", "train", 0)
