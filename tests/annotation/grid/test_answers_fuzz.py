"""More than ten thousand generated answers: well-formed ones in every manner of writing, damaged ones, and noise.

Whatever a model says, reading it ends with a usable answer or with `InvalidAnswer`, nothing else; where what was meant
is known, exactly that is read; and no beginning of an answer is taken for one.
"""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from vidreason.annotation.grid.prompts import COUNTED_FROM_ONE, FORMS, FrameAnswer, read_answer
from vidreason.errors import InvalidAnswer
from vidreason.files import read_folder, write_split
from vidreason.guidance import FEATURES, guidance_row

HEIGHT, WIDTH = 240, 320
GRIDS = [(4, 4), (4, 4), (2, 2), (1, 1), (3, 5), (8, 2), (1, 7), (16, 16)]
NAMES = [
    "hand",
    "left hand",
    "chip",
    'a "quoted" box',
    "person's bag",
    "scharfes ß",
    "箱",
    "{brace}",
    "[list]",
    "a, b",
]
KEY_R_COUNT, OBJECTS_COUNT, DAMAGED_COUNT, NOISE_COUNT, JSON_COUNT = 3500, 2500, 3500, 1500, 1500

Grid = tuple[int, int]
Cells = list[tuple[int, int]]


def read(text: str, grid: Grid) -> FrameAnswer:
    return read_answer(text, grid, HEIGHT, WIDTH)


def marked(answer: FrameAnswer, grid: Grid) -> set[tuple[int, int]]:
    return {(int(cell) // grid[1], int(cell) % grid[1]) for cell in np.flatnonzero(answer.weights)}


def frame_key(index: int = 0) -> dict:
    key = {
        "video_id": "clips/a",
        "source": "fuzz@1",
        "split": "train",
        "frame_index": index,
        "timestamp_s": index / 25,
    }
    return key | {"frame_height": HEIGHT, "frame_width": WIDTH}


def row_of(answer: FrameAnswer, grid: Grid, index: int = 0) -> dict:
    """A row of the guidance table, which checks itself."""
    return guidance_row(frame_key(index), answer.weights, grid, producer="fuzz", objects=answer.objects)


def read_or_refuse(text: str, grid: Grid) -> FrameAnswer | None:
    """Read any text; whatever is read must make a row. Any error but InvalidAnswer fails the test."""
    try:
        answer = read(text, grid)
    except InvalidAnswer as error:
        assert str(error).encode("utf-8")  # it is stored too
        return None
    row = row_of(answer, grid)
    assert row["status"] in ("ok", "empty")
    assert set(answer.weights) <= {0.0, 1.0}
    json.dumps(row, ensure_ascii=False).encode("utf-8")
    for entry in answer.objects:
        assert entry["name"] and isinstance(entry["relevant"], bool)
        assert len(entry["center"]) in (0, 2) and all(0 <= number <= 1 for number in entry["center"])
    return answer


def pick_grid_and_cells(rng: random.Random) -> tuple[Grid, Cells]:
    grid = rng.choice(GRIDS)
    count = rng.randint(1, min(6, grid[0] * grid[1]))
    return grid, [divmod(cell, grid[1]) for cell in rng.sample(range(grid[0] * grid[1]), count)]


# Writing answers as models do


def write_pair(pair: tuple[int, int], rng: random.Random) -> str:
    row, col = pair
    ways = [
        f"[{row}, {col}]",
        f"[{row},{col}]",
        f"({row}, {col})",
        f"[{row}.0, {col}]",
        f'["{row}", "{col}"]',
        f'"{row},{col}"',
        f'"({row}, {col})"',
        f'{{"row": {row}, "col": {col}}}',
        f'{{"row": {row}, "column": {col}}}',
    ]
    return rng.choice(ways)


def write_cells(cells: Cells, rng: random.Random) -> str:
    """Cells in any order, some of them twice, at times with a comma too many."""
    listed = [*cells, *rng.sample(cells, rng.randint(0, len(cells)))]
    rng.shuffle(listed)
    if len(listed) == 1 and rng.random() < 0.2:
        return f"[{listed[0][0]}, {listed[0][1]}]"
    separator = rng.choice([", ", ",", ",\n    "])
    text = separator.join(write_pair(pair, rng) for pair in listed) + rng.choice(["", "", "", ","])
    return rng.choice(["[{}]", "[{}]", "[ {} ]", "[\n  {}\n]", "[[{}]]"]).format(text)


def write_string(text: str, rng: random.Random) -> str:
    if "'" not in text and rng.random() < 0.2:
        return "'" + text + "'"
    return json.dumps(text, ensure_ascii=rng.random() < 0.5)


def write_object(members: list[tuple[str, str]], rng: random.Random) -> str:
    """{key: value, ...} from texts of values."""
    pairs = [f"{write_string(key, rng)}{rng.choice([': ', ':', ' : '])}{value}" for key, value in members]
    comment = rng.choice(["", "", "", "", " // it's [here", " /* {not} this */", "  # the 'first' part ("])
    separator = f",{comment}\n" if comment else rng.choice([", ", ",\n  "])
    return "{" + separator.join(pairs) + rng.choice(["", "", "", ","]) + "}"


def wrap(text: str, rng: random.Random) -> str:
    """Fences, thoughts, sentences and other objects around an answer."""
    if rng.random() < 0.1:
        text = rng.choice(['{"answer": %s}', "[%s]", "{%s}"]) % text
    text = rng.choice(["{}", "{}", "```json\n{}\n```", "```\n{}\n```", "```json\n{}"]).replace("{}", text)
    before = ["", "", "Here you are:\n", "It's the person's hand (left). ", 'Form: {"key_r": [[9, 9]]}. Answer: ']
    before += ["<think>Is it {'key_r': [[0, 0]]}? No [</think>", "\ufeff", '{"im_o": []} is wrong; ']
    after = ["", "", "\n", " Let me know if you'd like more (or less).", "\n```", ' {"confidence": 0.9}', " <think>["]
    return rng.choice(before) + text + rng.choice(after)


def test_cells_are_read_exactly_however_they_are_written():
    rng = random.Random(1)
    for _ in range(KEY_R_COUNT):
        grid, cells = pick_grid_and_cells(rng)
        key = rng.choice(["key_r", "key_r", "Key_R", "KEY_R "])
        others = [("frame", "3"), ("why", write_string(rng.choice(NAMES), rng)), ("ok", "true")]
        members = [(key, write_cells(cells, rng)), *rng.sample(others, rng.randint(0, 2))]
        rng.shuffle(members)
        text = wrap(write_object(members, rng), rng)
        answer = read_or_refuse(text, grid)
        assert answer is not None, (grid, text)
        assert marked(answer, grid) == set(cells), (grid, text)
        assert answer.notes == (), (grid, text)


def test_answers_that_count_from_one_are_found_by_their_evidence():
    rng = random.Random(2)
    found = 0
    for _ in range(1000):
        grid, cells = pick_grid_and_cells(rng)
        shifted = [(row + 1, col + 1) for row, col in cells]
        evidence = any(row == grid[0] or col == grid[1] for row, col in shifted)
        answer = read_or_refuse('{"key_r": ' + write_cells(shifted, rng) + "}", grid)
        assert answer is not None
        assert marked(answer, grid) == set(cells if evidence else shifted)
        assert (COUNTED_FROM_ONE in answer.notes) == evidence
        found += evidence
    assert 200 < found < 1000  # both kinds were there


def test_cells_outside_take_nothing_from_those_inside():
    rng = random.Random(3)
    for _ in range(500):
        grid, cells = pick_grid_and_cells(rng)
        cells = [*cells, (0, 0)]  # a zero: it counts from 0
        outside = [(grid[0] + rng.randint(0, 5), 0), (-rng.randint(1, 3), 0), (0, grid[1] + rng.randint(0, 900))]
        listed = [*cells, *rng.sample(outside, rng.randint(1, 3))]
        rng.shuffle(listed)
        answer = read_or_refuse(json.dumps({"key_r": listed}), grid)
        assert answer is not None and marked(answer, grid) == set(cells) and answer.notes


def object_answer(form: str, grid: Grid, named_cells: list[tuple[str, tuple[int, int]]], rng: random.Random) -> str:
    """An answer about objects that lie in one cell each."""
    names = [name for name, _ in named_cells]
    if form == "im_o":
        places = []
        for name, (row, col) in named_cells:
            # a pixel well inside the cell
            x, y = (
                int((place + rng.uniform(0.2, 0.8)) * side / count)
                for place, side, count in ((col, WIDTH, grid[1]), (row, HEIGHT, grid[0]))
            )
            point = rng.choice(
                [f"[{x}, {y}]", f"({x}, {y})", f'{{"x": {x}, "y": {y}}}', f'"{x}, {y}"', f"[{x}.0, {y}]"]
            )
            places.append(write_object([("name", write_string(name, rng)), ("location", point)], rng))
        members = [("all_os", json.dumps([*names, "wall"])), ("im_o", "[" + ", ".join(places) + "]")]
    else:
        by_name: dict[str, Cells] = {}
        for name, cell in named_cells:
            by_name.setdefault(name, []).append(cell)
        if rng.random() < 0.5:
            places = write_object([(name, write_cells(cells, rng)) for name, cells in by_name.items()], rng)
        else:
            entries = [
                write_object([("name", write_string(name, rng)), ("cells", write_cells(cells, rng))], rng)
                for name, cells in by_name.items()
            ]
            places = "[" + ", ".join(entries) + "]"
        members = [("important_objects", json.dumps(list(by_name))), ("localization", places)]
    return wrap(write_object(members, rng), rng)


@pytest.mark.parametrize("form", ["im_o", "localization"])
def test_objects_are_read_exactly_however_they_are_written(form):
    rng = random.Random(4)
    for _ in range(OBJECTS_COUNT // 2):
        grid, cells = pick_grid_and_cells(rng)
        named_cells = [(rng.choice(NAMES), cell) for cell in cells]
        text = object_answer(form, grid, named_cells, rng)
        answer = read_or_refuse(text, grid)
        assert answer is not None, (grid, text)
        assert marked(answer, grid) == set(cells), (grid, text)
        relevant = {entry["name"] for entry in answer.objects if entry["relevant"]}
        assert relevant == {name for name, _ in named_cells}, (grid, text)


# Damage


def damage(text: str, rng: random.Random) -> str:
    """One to four random changes: letters lost, doubled, exchanged or put in, pieces cut out or repeated."""
    for _ in range(rng.randint(1, 4)):
        at, stop = sorted(rng.randint(0, len(text)) for _ in range(2))
        stop = min(stop, at + 12)
        letter = rng.choice("{}[](),:\"'\\ 0179-.eE#/`<>\n\x00é\ud800")
        edits = [
            text[:at] + text[at + 1 :],
            text[:at] + letter + text[at:],
            text[:at] + text[stop:],
            text[:stop] + text[at:],
            text[:at],
            text[at:],
            text[:at] + text[at:stop][::-1] + text[stop:],
        ]
        text = rng.choice(edits)
    return text


def test_damaged_answers_are_read_or_refused():
    rng = random.Random(5)
    outcomes = []
    for number in range(DAMAGED_COUNT):
        grid, cells = pick_grid_and_cells(rng)
        form = FORMS[number % 3]
        if form == "key_r":
            text = wrap(write_object([("key_r", write_cells(cells, rng))], rng), rng)
        else:
            text = object_answer(form, grid, [(rng.choice(NAMES), cell) for cell in cells], rng)
        outcomes.append(read_or_refuse(damage(text, rng), grid) is not None)
    assert 0.1 < np.mean(outcomes) < 0.9  # the damage is neither nothing nor everything


def test_beginnings_of_answers_are_refused():
    rng = random.Random(6)
    for _ in range(60):
        grid, cells = pick_grid_and_cells(rng)
        texts = [json.dumps({"key_r": cells}), json.dumps({"localization": {"hand": cells}, "why": "it's there"})]
        texts.append(json.dumps({"all_os": ["a"], "im_o": [{"name": "a", "location": [10, 10]}]}))
        texts.append(write_object([("key_r", write_cells(cells, rng)), ("why", "'a {hand}'")], rng))
        for text in texts:
            for stop in range(len(text)):
                assert read_or_refuse(text[:stop], grid) is None, text[:stop]


# Noise


def random_value(rng: random.Random, depth: int = 0):
    """Any JSON value, with a liking for what answers are made of."""
    kinds = ["number", "text", "none", "flag", "pair"] + (["list", "object"] * 3 if depth < 4 else [])
    kind = rng.choice(kinds)
    if kind == "number":
        return rng.choice([0, 1, 3, 4, 17, -1, 2.5, 1e300, float("inf"), float("nan"), 10**30, -(10**9)])
    if kind == "text":
        return rng.choice(["", "hand", "1,2", "(3, 4)", "[[1, 2]]", "\ud800", "\x00", "x" * 300, "1e999", "١,٢"])  # noqa: RUF001
    if kind in ("none", "flag"):
        return None if kind == "none" else rng.random() < 0.5
    if kind == "pair":
        return [rng.randint(-1, 5), rng.randint(-1, 5)]
    if kind == "list":
        return [random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    keys = ["name", "location", "cells", "row", "col", "x", "y", "hand", "", "key_r", "im_o", "localization"]
    return {rng.choice(keys): random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))}


def test_any_json_under_the_known_keys_is_read_or_refused():
    rng = random.Random(7)
    keys = [*FORMS, "important_objects", "all_os"]
    outcomes = []
    for _ in range(JSON_COUNT):
        value = {key: random_value(rng) for key in rng.sample(keys, rng.randint(1, 3))}
        outcomes.append(read_or_refuse(json.dumps(value), rng.choice(GRIDS)) is not None)
    assert any(outcomes) and not all(outcomes)


def test_noise_is_read_or_refused():
    rng = random.Random(8)
    pieces = [
        *"{}[](),:\"'`\\\n 0123456789.-eE#/*",
        "key_r",
        "im_o",
        "localization",
        "name",
        "location",
        "null",
        "NaN",
    ]
    pieces += ["```json", "<think>", "</think>", "hand", "é", "\ud83d", "\x00", "“", "”", "//", "/*", "*/", '"key_r":']
    read_count = 0
    for _ in range(NOISE_COUNT):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 120)))
        read_count += read_or_refuse(text, rng.choice(GRIDS)) is not None
    assert read_count < 0.01 * NOISE_COUNT  # noise that happens to say something is rare


def test_there_are_ten_thousand():
    assert KEY_R_COUNT + OBJECTS_COUNT + DAMAGED_COUNT + NOISE_COUNT + JSON_COUNT >= 10_000


def test_whatever_was_read_can_be_stored(tmp_path):
    rng = random.Random(9)
    rows = []
    for _ in range(400):
        grid, cells = pick_grid_and_cells(rng)
        text = object_answer(rng.choice(["im_o", "localization"]), grid, [(rng.choice(NAMES), c) for c in cells], rng)
        answer = read_or_refuse(damage(text, rng) if rng.random() < 0.5 else text, grid)
        if answer is not None:
            rows.append(row_of(answer, grid, len(rows)))
    write_split(tmp_path, "train", rows, FEATURES)
    assert read_folder(tmp_path)["train"]["weights"][:] == [pytest.approx(row["weights"]) for row in rows]
