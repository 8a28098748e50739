"""What is read from searches that have ended, and tuning."""

import math

import numpy as np
import pytest

from vidreason.a2o.analysis import best_so_far, class_change, rank_correlation, spread
from vidreason.a2o.tuning import LEARNING_RATES, MAX_ADAPTER_DEPTH, WEIGHT_DECAYS, Hyperparameters, tune
from vidreason.errors import ConfigError, TrainingError


def test_the_best_so_far_never_falls_and_overlooks_what_is_no_number():
    found = best_so_far([math.nan, 0.4, 0.3, math.nan, 0.6, 0.5])
    assert math.isnan(found[0]) and found[1:] == [0.4, 0.4, 0.4, 0.6, 0.6]


def test_classes_before_and_after():
    def row(status, texts, accuracy, is_chosen=False):
        by_class = [{"name": "serve", "accuracy": accuracy}]
        return {"status": status, "class_texts": texts, "class_accuracy": by_class, "is_chosen": is_chosen}

    rows = [
        row("refused", [], 0.0),
        row("ok", ["person", "ball"], 0.4),
        row("ok", ["ball", "net"], 0.6, True),
        row("ok", ["floor"], 0.1),
    ]
    change = class_change(rows)
    assert (change.added, change.removed) == (("net",), ("person",))
    assert change.by_class == {"serve": (0.4, 0.6)}


def test_the_spread_of_texts_is_the_variance_of_their_vectors():
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 0.0]}
    embed = lambda texts: np.array([vectors[text] for text in texts])  # noqa: E731
    assert spread(["a"], embed) is None and spread(["a", "c"], embed) == 0.0
    assert spread(["a", "b"], embed) == pytest.approx(0.5)  # each is sqrt(0.5) from the middle


def test_ranks_are_compared_where_they_can_be():
    found = rank_correlation([0.1, 0.2, 0.3, math.nan], [0.5, 0.7, 0.9, 0.1])
    assert found.rho == pytest.approx(1.0) and found.n == 3
    assert rank_correlation([0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.1]).rho == pytest.approx(-1.0)
    assert rank_correlation([0.1, 0.2], [0.5, 0.7]).rho is None
    assert rank_correlation([0.1, 0.2, 0.3], [0.5, 0.5, 0.5]).rho is None


def test_tuning_goes_on_where_it_was_broken_off(tmp_path):
    pytest.importorskip("optuna")
    asked: list[Hyperparameters] = []

    def objective(values):
        asked.append(values)
        if len(asked) == 2:
            raise TrainingError("the loss is not finite")
        if len(asked) == 4:
            raise KeyboardInterrupt  # as a kill, it leaves the trial running
        return -abs(math.log10(values.learning_rate) + 4) - 0.1 * values.adapter_depth

    with pytest.raises(KeyboardInterrupt):
        tune(objective, tmp_path, num_trials=6)
    tuned = tune(objective, tmp_path, num_trials=6)
    assert len(asked) == 7 and asked[4] == asked[3]  # the one that was broken off, again
    assert tuned.num_trials == 5  # of six, one failed
    finished = [values for number, values in enumerate(asked) if number not in (1, 3)]
    best = max(finished, key=lambda v: -abs(math.log10(v.learning_rate) + 4) - 0.1 * v.adapter_depth)
    assert tuned.best == best
    for values in asked:
        assert LEARNING_RATES[0] <= values.learning_rate <= LEARNING_RATES[1]
        assert WEIGHT_DECAYS[0] <= values.weight_decay <= WEIGHT_DECAYS[1]
        assert 0 <= values.adapter_depth <= MAX_ADAPTER_DEPTH
    assert tune(objective, tmp_path, num_trials=6) == tuned and len(asked) == 7
    with pytest.raises(ConfigError, match="num_trials is 0"):
        tune(objective, tmp_path, num_trials=0)

    def impatient(values):
        with pytest.raises(ConfigError, match="another process is tuning in"):
            tune(objective, tmp_path / "shared", num_trials=1)
        return 0.5

    assert tune(impatient, tmp_path / "shared", num_trials=1).accuracy == 0.5

    def failing(values):
        return math.nan

    with pytest.raises(TrainingError, match="no trial of 2 brought an accuracy"):
        tune(failing, tmp_path / "failing", num_trials=2)
