"""Reading and writing scene graphs: figures a graph, and ratios to the smallest number."""

import pytest


def test_rows_are_ratios_to_the_fewest_graphs():
    from scene_graphs import MIB, STEPS, table_rows

    def entry(count, seconds, peak):
        return {
            "num_graphs": count,
            "steps": {step: {"seconds": seconds, "bytes": peak, "graphs": count} for step in STEPS},
        }

    rows = table_rows([entry(10, 1.0, 2 * MIB), entry(100, 20.0, 3 * MIB)])
    assert [row["ms_per_graph"] for row in rows[:2]] == [100, 200] and len(rows) == 2 * len(STEPS)
    assert [row["time_ratio"] for row in rows[:2]] == [1, 2] and [row["memory_ratio"] for row in rows[:2]] == [1, 1.5]
    assert table_rows([entry(10, 1.0, 100), entry(20, 1.0, 200)])[1]["memory_ratio"] is None


def test_numbers_that_do_not_rise_are_refused(run_benchmark):
    code, report, text = run_benchmark("scene_graphs", "--num_graphs", "10", "5")
    assert code != 0 and report is None and "expected rising numbers" in text


@pytest.mark.slow
def test_a_small_run(run_benchmark):
    code, report, text = run_benchmark(
        "scene_graphs", "--num_graphs", "2", "4", "--num_frames", "5", "--num_random", "3"
    )
    assert code == 0, text
    steps = report["results"][1]["steps"]
    assert steps["read in order"]["graphs"] == 4 and steps["read at random"]["graphs"] == 3
    assert "| read at random | 4 |" in text and report["results"][1]["disk_bytes"] > 0
