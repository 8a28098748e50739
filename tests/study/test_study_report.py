"""The page, tables and figures of a study, from made-up JSON."""

import csv
import json

import pytest
from fixtures import fake_runs
from fixtures.small_studies import VALUES, change_record

from vidreason.errors import ConfigError
from vidreason.study.records import copy_study
from vidreason.study.report import write_tables

PLAIN_OR_NOISY = {"guidance": ["unused", "noisy"]}
PLOTS = [
    {"kind": "points", "metric": "top1", "group": "share", "series": "supervision", "where": PLAIN_OR_NOISY},
    {"kind": "lines", "metric": "loss", "x": "share", "series": "supervision", "where": PLAIN_OR_NOISY},
    {
        "kind": "lines",
        "metric": "top1",
        "x": "guidance",
        "x_label": "wrong cells (%)",
        "series": "supervision",
        "where": {"share": 100},
        "level": ["unused"],
        "positions": {"noisy": 0, "wrong": 100},
    },
]


def value(cell: str, seed: int, split: str) -> float:
    return VALUES[cell][seed] if split == "test" else 0.1


@pytest.fixture
def results(make_study, write_results, tmp_path):
    """Writes the results of a study, but for some runs, and returns their folder."""

    def write(leave_out=(), **changes):
        study = make_study(**changes)
        copy_study(study, tmp_path / "out")
        write_results(study, tmp_path / "out", value, leave_out)
        return tmp_path / "out"

    return write


def section(page: str, start: str) -> list[str]:
    """The lines of a table, cells by cells, below a text."""
    lines = page[page.index(start) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def test_the_main_table(results):
    table = section(write_tables(results()), "## Top-1 on `test`")
    assert table[0] == [
        *("supervision", "guidance", "share", "seeds"),
        *("top-1 (%)", "95 % interval", "difference (points) [95 %]", "relative (%)", "p (paired)"),
    ]
    assert table[2] == ["none", "unused", "100", "3", "30.0 ± 10.0", "5.2 to 54.8", "baseline", "", ""]
    assert table[4][3:] == ["3", "40.0 ± 10.0", "15.2 to 64.8", "+10.0 [-14.8, +34.8]", "+33.3", "0.23"]
    assert table[5][3:] == ["3", "20.0 ± 10.0", "-4.8 to 44.8", "-10.0 [-34.8, +14.8]", "-33.3", "0.23"]


def test_the_other_measures(results):
    table = section(write_tables(results()), "Other measures on `test`")
    assert table[0][3:7] == ["top-5 (%)", "difference in top-5", "clip loss (nats)", "difference in clip loss"]
    noisy = table[4]
    assert noisy[3:7] == ["80.0 ± 20.0", "+20.0 [-29.7, +69.7]", "2.600 ± 0.100", "-0.100 [-0.348, +0.148]"]
    assert noisy[7:9] == ["not measured", "not measured"]


def test_what_was_not_run_is_named(results):
    missing = [f"both-wrong-100-seed{seed}" for seed in range(3)] + ["none-unused-50-seed1"]
    page = write_tables(results(leave_out=missing))
    table = section(page, "## Top-1 on `test`")
    assert table[5] == ["both", "wrong", "100", "0 of 3", "not run", "", "not run", "", ""]
    assert table[1][3] == "2 of 3"
    assert "11 of 15 runs; seeds 0, 1, 2." in page
    assert (
        "4 of 15 runs: none-unused-50-seed1, both-wrong-100-seed0, both-wrong-100-seed1, both-wrong-100-seed2." in page
    )


def test_a_study_without_any_run_has_a_page_too(make_study, tmp_path):
    copy_study(make_study(plots=PLOTS), tmp_path)
    page = write_tables(tmp_path)
    assert "0 of 15 runs" in page
    assert {row[4] for row in section(page, "## Top-1 on `test`")[1:]} == {"not run"}
    assert "## Cost" not in page
    assert not list(tmp_path.glob("*.png"))


def test_where_the_runs_were_made_and_what_they_cost(results):
    page = write_tables(results())
    assert "15 of 15 runs; seeds 0, 1, 2. Device: cpu (1 threads). python 3.10.1, torch 2.11.0." in page
    assert section(page, "## Cost")[1] == ["none", "unused", "50", "1.50", "2", "8", "2.0 ± 1.0"]


def test_json_and_csv_hold_the_same_numbers(results):
    folder = results(leave_out=["both-wrong-100-seed0"])
    write_tables(folder)
    content = json.loads((folder / "results.json").read_text())
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["results"]) == 5 * 2 * 5
    for row, entry in zip(rows, content["results"], strict=True):
        assert row == {name: "" if found is None else str(found) for name, found in entry.items()}
    assert content["not_run"] == ["both-wrong-100-seed0"]
    assert (content["study"], content["runs"]) == ("small", 14)


def test_a_study_without_a_baseline_compares_nothing(results):
    page = write_tables(results(baseline=None))
    assert section(page, "## Top-1 on `test`")[0][4:] == ["top-1 (%)", "95 % interval"]
    assert "difference" not in page


def test_videos_that_were_skipped_are_told(results):
    folder = results()
    change_record(folder, "none-unused-50-seed0", skipped={"test": {"a": "broken", "b": "broken"}})
    assert "Run none-unused-50-seed0 skipped videos that could not be read: 2 of test." in write_tables(folder)


def test_runs_of_another_study_are_named_as_such(results):
    folder = results()
    for seed in (0, 1):
        origin = {"study": "large", "run": f"plain-seed{seed}"}
        change_record(folder, f"none-unused-50-seed{seed}", reused_from=origin)
    assert "2 of the runs have the settings of runs of the study `large`, and are those." in write_tables(folder)
    assert json.loads((folder / "results.json").read_text())["reused"] == {"large": 2}


def test_published_figures_and_notes_stand_below_as_they_are_printed(results):
    rows = [["UCF50", "TSViT + RS", "80.07", "+6.56%"]]
    columns = ["data", "method", "top-1", "gain"]
    folder = results(paper={"title": "As published", "source": "Its table 1.", "columns": columns, "rows": rows})
    (folder / "NOTES.md").write_text("## What to make of it\n\nMuch.\n")
    page = write_tables(folder)
    assert section(page, "## As published")[1] == rows[0]
    assert page.endswith("## What to make of it\n\nMuch.\n")
    assert page == (folder / "README.md").read_text()


def test_rebuilding_changes_nothing(results):
    folder = results(plots=PLOTS)
    write_tables(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_tables(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_figures_are_drawn_and_shown(results):
    folder = results(plots=PLOTS)
    page = write_tables(folder)
    for name in ("plot_1_top1.png", "plot_2_loss.png", "plot_3_top1.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in page


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        ({"kind": "pie"}, "whose kind is one of"),
        ({"kind": "points", "metric": "top1"}, r"missing keys \['group'\]"),
        ({"kind": "points", "metric": "top1", "group": "share", "colour": "red"}, r"unknown keys \['colour'\]"),
        ({"kind": "points", "metric": "speed", "group": "share"}, "metric 'speed' is not among the study's"),
        ({"kind": "points", "metric": "top1", "group": "model"}, "are not all axes"),
        ({"kind": "points", "metric": "top1", "group": "share"}, "fall on one place; name one in `where`"),
        ({"kind": "points", "metric": "top1", "group": "share", "where": {"share": 7}}, "no setting fits"),
        ({"kind": "lines", "metric": "top1", "x": "guidance", "series": "share"}, "'unused' is no number"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_named(results, plot, message):
    with pytest.raises(ConfigError, match=message) as error:
        write_tables(results(plots=[plot]))
    assert "plots, number 1" in str(error.value)


def test_segmentation_has_a_tested_table_for_each_main_metric_and_narrow_ones_for_the_rest(
    make_study, write_results, tmp_path, monkeypatch
):
    rest = ["oversegmentation", "mof_unaveraged", "edit_unaveraged", "loss_temporal", "loss_smoothing"]
    metrics = ["mof", "edit", "f1_10", *rest]
    study = make_study({"task": "segmentation"}, metrics=metrics)
    monkeypatch.setattr(fake_runs, "fake_metrics", lambda top1: dict.fromkeys(metrics, top1))
    copy_study(study, tmp_path / "out")
    write_results(study, tmp_path / "out", value)
    page = write_tables(tmp_path / "out")
    for heading, column in (("MoF", "MoF (%)"), ("Edit", "Edit (%)"), ("F1@10", "F1@10 (%)")):
        table = section(page, f"## {heading} on `test`")
        assert table[0][4] == column and table[0][-1] == "p (paired)"
    others = page.split("Other measures on `test`:")[1].split("## ")[0]
    first, second = (block for block in others.split("\n\n") if block.startswith("|"))
    assert first.count("difference in", 0, first.index("\n")) == 4
    assert "smoothing" not in first and "smoothing (squared step)" in second
