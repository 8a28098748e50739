import csv

import pytest

from vidreason.errors import VidreasonError
from vidreason.reporting.tables import Column, markdown_table, text_table, write_csv

ROWS = [
    {"method": "TSViT", "top1": 0.5, "seeds": 3, "folds": (0.5, 0.125)},
    {"method": "TSViT | RS", "top1": 0.62549, "seeds": 10, "folds": (0.75, None)},
    {"method": "ViViT", "top1": None, "seeds": None},
]
COLUMNS = [Column("method", "Method"), Column("top1", "Top-1 (%)", scale=100), "seeds", Column("folds", decimals=3)]


def test_markdown():
    assert markdown_table(ROWS, COLUMNS).splitlines() == [
        "| Method | Top-1 (%) | seeds | folds |",
        "| --- | ---: | ---: | ---: |",
        "| TSViT | 50.00 | 3 | 0.500 ± 0.125 |",
        "| TSViT \\| RS | 62.55 | 10 | 0.750 |",
        "| ViViT | not run | not run | not run |",
    ]


def test_csv_has_the_same_cells(tmp_path):
    path = write_csv(tmp_path / "results" / "table.csv", ROWS, COLUMNS)
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["Method", "Top-1 (%)", "seeds", "folds"],
            ["TSViT", "50.00", "3", "0.500 ± 0.125"],
            ["TSViT | RS", "62.55", "10", "0.750"],
            ["ViViT", "not run", "not run", "not run"],
        ]


def test_a_whole_number_among_others_gets_the_same_decimals():
    assert markdown_table([{"loss": 1}, {"loss": 0.25}], ["loss"]).splitlines()[2:] == ["| 1.00 |", "| 0.25 |"]


def test_a_table_without_rows_is_its_head():
    assert markdown_table([], ["a", "b"]) == "| a | b |\n| --- | --- |\n"


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        pytest.param(ROWS, [], "at least one column", id="no-columns"),
        pytest.param(ROWS, ["top_1"], "no row has a value for column 'top_1'", id="misspelt-key"),
        pytest.param([{"a": 1.0}, {"a": float("nan")}], ["a"], "table row 1, column 'a': nan", id="nan"),
        pytest.param([{"a": (0.5, float("inf"))}], ["a"], "table row 0, column 'a': inf", id="infinite-spread"),
        pytest.param([{"a": ["x"]}], ["a"], "table row 0, column 'a'", id="not-a-number"),
    ],
)
def test_bad_tables_are_named(tmp_path, rows, columns, message):
    with pytest.raises(VidreasonError, match=message):
        markdown_table(rows, columns)
    with pytest.raises(VidreasonError, match=message):
        write_csv(tmp_path / "table.csv", rows, columns)
    assert not (tmp_path / "table.csv").exists()


def test_texts_keep_their_cells():
    """A class's name with a bar in it stays one cell."""
    table = text_table(("class", "videos"), [("open|close", 3), ("wave", 12)], [False, True])
    assert table == "| class | videos |\n| --- | ---: |\n| open\\|close | 3 |\n| wave | 12 |"
