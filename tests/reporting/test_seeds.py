import subprocess
import sys

import numpy as np
import pytest

from vidreason.reporting.seeds import derive_seed


def test_derived_seeds_are_the_same_in_every_process():
    # a value fixed for good: published runs are repeated from it
    assert derive_seed(0, "weizmann", 3) == 2798357591
    program = "from vidreason.reporting.seeds import derive_seed; print(derive_seed(0, 'weizmann', 3))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(finished.stdout) == 2798357591


def test_numpy_numbers_and_text_name_the_same_part():
    assert derive_seed(np.int64(0), np.str_("fold"), np.int32(3)) == derive_seed(0, "fold", 3)


def test_a_fraction_names_no_part():
    with pytest.raises(TypeError):
        derive_seed(0, 0.5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((0, "a"), (1, "a"), id="seed"),
        pytest.param((0, "a"), (0, "b"), id="name"),
        pytest.param((0, "a", "bc"), (0, "ab", "c"), id="border-between-names"),
        pytest.param((0, "1"), (0, 1), id="text-and-number"),
        pytest.param((0,), (0, ""), id="an-empty-name"),
    ],
)
def test_different_parts_get_different_seeds(first, second):
    assert derive_seed(*first) != derive_seed(*second)


def test_derived_seeds_fit_every_generator_and_spread():
    seeds = [derive_seed(7, "fold", fold) for fold in range(2000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert 0.45 < np.mean(seeds) / 2**32 < 0.55
    np.random.RandomState(max(seeds))
