"""What the benchmarks share: medians with intervals, turns, memory of a step, reports."""

import json

import common
import numpy as np
import pytest
import torch


def test_the_interval_of_a_median_is_that_of_order_statistics():
    # of 20 values, the 6th and the 15th: textbook, coverage 95.9 %
    assert common.median_spread(range(20)) == common.Spread(9.5, 5.0, 14.0, 20)
    assert common.median_spread([3.0, 1.0, 2.0]) == common.Spread(2.0, None, None, 3)


def test_the_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(2000, 15))  # a skewed distribution, whose median is log 2
    spreads = [common.median_spread(sample) for sample in samples]
    covered = np.mean([spread.low <= np.log(2) <= spread.high for spread in spreads])
    assert 0.94 < covered < 0.99


def test_a_ratio_is_taken_within_each_round():
    # the machine was slow in the second round, for both alike
    assert common.paired_ratio([1.0, 30.0, 1.0], [2.0, 60.0, 2.0]).median == 0.5


def test_a_rate_is_of_the_same_amount_in_every_round():
    assert common.per_second(6, [1.0, 2.0, 3.0]) == {"median": 3.0, "low": None, "high": None, "repeats": 3}


def test_settings_leave_out_where_things_lie():
    spread = common.Spread(1.0, None, None, 3)
    assert common.settings_of(spread, ("low", "high")) == {"median": 1.0, "repeats": 3}


def test_variants_take_turns_and_none_always_follows_the_same_other():
    called = []
    variants = {name: (lambda name=name: called.append(name)) for name in "abc"}
    times = common.interleave(variants, repeats=6, warmup=1)
    assert len(called) == 3 * 7
    rounds = [called[start : start + 3] for start in range(3, 21, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({names[0] for names in rounds}) == 3
    assert all(len(measured.wall_s) == len(measured.cpu_s) == 6 for measured in times.values())


def test_what_takes_longer_is_measured_as_longer():
    small, large = torch.randn(50, 50), torch.randn(600, 600)
    times = common.interleave({"small": lambda: small @ small, "large": lambda: large @ large}, repeats=7)
    assert common.paired_ratio(times["large"].cpu_s, times["small"].cpu_s).median > 3


def test_peak_memory_of_a_step_is_exact():
    matrix = torch.randn(1000, 1000)

    def step():
        product = matrix @ matrix  # 4 MB that stay
        (product + 1).sum()  # 4 MB that go
        (product + 1).sum()

    assert common.peak_step_bytes(step) == pytest.approx(8e6, abs=1000)
    assert common.peak_step_bytes(lambda: matrix @ matrix) == 4_000_000


def test_peak_of_a_trace_is_the_largest_running_sum():
    def event(ts, size, device=0, name="[memory]"):
        return {"name": name, "ts": ts, "args": {"Bytes": size, "Device Type": device}}

    events = [event(3, -60), event(1, 100), event(2, 50), event(2.5, 999, device=1), event(4, 5), {"name": "other"}]
    assert common.peak_of_trace(events) == 150
    assert common.peak_of_trace([]) == 0


def test_held_bytes_count_weights_gradients_and_the_optimizers_state():
    layer = torch.nn.Linear(10, 10)
    assert common.held_bytes(layer) == 440
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    # weights, gradients, two moments; and a step counter of 4 bytes for each of two parameters
    assert common.held_bytes(layer, optimizer) == 4 * 440 + 8


def test_a_report_is_json_and_markdown(tmp_path, capsys):
    common.write_report(tmp_path / "deep" / "a.json", {"x": 1}, "# A\n")
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"x": 1}
    assert (tmp_path / "deep" / "a.md").read_text() == "# A\n" and "# A" in capsys.readouterr().out
    with pytest.raises(ValueError, match="JSON"):
        common.write_report(tmp_path / "b.json", {"x": float("nan")}, "")
    assert not (tmp_path / "b.json").exists()


def test_the_machine_is_named():
    facts = common.machine()
    assert facts["cores"] >= 1 and facts["torch"] == torch.__version__
    line = common.describe_machine(facts)
    assert facts["processor"] in line and f"{facts['threads']} threads" in line


def test_tables_and_ratios():
    assert common.markdown_rows(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"
    assert common.show_ratio({"median": 1.5, "low": None, "high": None}) == "1.500"
    assert common.show_ratio({"median": 1.5, "low": 1.25, "high": 2}) == "1.500 (1.250 to 2.000)"
    assert common.show_ratio(None) == "not run"
