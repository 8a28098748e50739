"""What answers come to, rule by rule: cells, centres, objects, and what makes an answer unusable."""

import json
import time

import numpy as np
import pytest

from vidreason.annotation.grid import prompts
from vidreason.annotation.grid.prompts import FrameAnswer, read_answer
from vidreason.boxes_in_text import CONVENTIONS, PIXELS, BoxConvention
from vidreason.errors import InvalidAnswer

HEIGHT, WIDTH = 240, 320


def read(text: str, grid: tuple[int, int] = (4, 4)) -> FrameAnswer:
    return read_answer(text, grid, HEIGHT, WIDTH)


def cells(answer: FrameAnswer, cols: int = 4) -> list[tuple[int, int]]:
    """The marked cells as (row, column)."""
    assert set(answer.weights) <= {0.0, 1.0}
    return [(int(cell) // cols, int(cell) % cols) for cell in np.flatnonzero(answer.weights)]


def named(*names: str, relevant: bool = True) -> list[dict]:
    return [{"name": name, "center": [], "box": [], "relevant": relevant} for name in names]


@pytest.mark.parametrize(
    ("value", "expected", "notes"),
    [
        ("[[1, 2], [2, 3]]", [(1, 2), (2, 3)], ()),
        ("[[2, 3], [1, 2], [2, 3], [1, 2]]", [(1, 2), (2, 3)], ()),  # twice is once
        ("[(1, 2), (2, 3)]", [(1, 2), (2, 3)], ()),
        ('["1,2", "2, 3"]', [(1, 2), (2, 3)], ()),
        ('["(1, 2)", "[2;3]", "3 3"]', [(1, 2), (2, 3), (3, 3)], ()),
        ('"1,2"', [(1, 2)], ()),
        ('"(1, 2), (2, 3)"', [(1, 2), (2, 3)], ()),
        ('"[[1, 2], [2, 3]]"', [(1, 2), (2, 3)], ()),
        ("[1, 2]", [(1, 2)], ()),
        ('["1", "2"]', [(1, 2)], ()),
        ('[["1", "2"], [2.0, "3.0"]]', [(1, 2), (2, 3)], ()),
        ("[[[1, 2], [2, 3]]]", [(1, 2), (2, 3)], ()),
        ('[{"row": 1, "col": 2}, {"Row": 2, "column": 3}]', [(1, 2), (2, 3)], ()),
        ('{"row": 1, "col": 2}', [(1, 2)], ()),
        ("[[0, 0], [4, 4]]", [(0, 0)], (prompts.CELLS_OUTSIDE,)),  # with a 0 it counts from 0
        ("[[4, 4], [1, 1]]", [(0, 0), (3, 3)], (prompts.COUNTED_FROM_ONE,)),
        ("[[1, 4]]", [(0, 3)], (prompts.COUNTED_FROM_ONE,)),
        ("[[4, 4], [5, 1]]", [], None),  # a 5 speaks against counting from 1, and then both are outside
        ("[[1, 1], [3, 3]]", [(1, 1), (3, 3)], ()),  # no evidence for counting from 1
        ("[[1, 2], [-1, 2], [9, 9]]", [(1, 2)], (prompts.CELLS_OUTSIDE,)),
        ('[[1, 2], [1.5, 3], "top left", [1, 2, 3], null, [true, 1]]', [(1, 2)], (prompts.CELLS_UNREADABLE,)),
        ("[[1, 2], [1e400, 2], [NaN, 1]]", [(1, 2)], (prompts.CELLS_UNREADABLE,)),
        ("[]", [], ()),
        ("{}", [], ()),
        ("[[9, 9], [7, 7]]", [], None),
        ("[[1, 4], [0, 4]]", [], None),
        ("null", [], None),
        ('"everywhere"', [], None),
        ("[5, 6]", [], None),
        ("[1, 2, 3]", [], None),
        ("[[]]", [], None),
        ("true", [], None),
    ],
)
def test_cells(value, expected, notes):
    text = '{"key_r": ' + value + "}"
    if notes is None:
        with pytest.raises(InvalidAnswer):
            read(text)
        return
    answer = read(text)
    assert (cells(answer), answer.notes, answer.objects) == (expected, notes, [])


@pytest.mark.parametrize(
    ("grid", "text", "expected"),
    [
        ((2, 8), "[[1, 7]]", [(1, 7)]),
        ((2, 8), "[[2, 3]]", [(1, 2)]),  # a row that equals the number of rows
        ((8, 2), "[[3, 2]]", [(2, 1)]),
        ((1, 4), "[[1, 3]]", [(0, 2)]),
        ((1, 1), "[[0, 0]]", [(0, 0)]),
    ],
)
def test_cells_of_other_grids(grid, text, expected):
    answer = read('{"key_r": ' + text + "}", grid)
    assert len(answer.weights) == grid[0] * grid[1]
    assert cells(answer, grid[1]) == expected


@pytest.mark.parametrize(
    "text",
    [
        '[{"key_r": [[0, 0]]}, {"key_r": [[1, 2]]}]',
        '{"answer": {"key_r": [[1, 2]]}}',
        '{"KEY_R": [[1, 2]]}',
        '{"frame": 3, "key_r": [[1, 2]], "why": "hand"}',
        "[[1, 2]]",
        '[{"row": 1, "col": 2}]',
    ],
)
def test_cells_are_found_in_other_wrappings(text):
    assert cells(read(text)) == [(1, 2)]


# Figure 1 of the paper's appendix, and other ways to write it
@pytest.mark.parametrize(
    "text",
    [
        '{"important_objects": ["chip", "hand"], "localization": {"chip": [[2, 2]], "hand": [[1, 2]]}}',
        '{"important_objects": ["chip", "hand"], "localization": [{"name": "chip", "cells": [[2, 2]]}, '
        '{"name": "hand", "cells": [[1, 2]]}]}',
        '{"localization": [{"chip": [[2, 2]]}, {"hand": [[1, 2]]}]}',
        '{"localization": [{"chip": [[2, 2]], "hand": [1, 2]}]}',
        '{"localization": {"chip": "2,2", "hand": ["1,2"]}}',
        '{"localization": [{"object": "chip", "cell": [2, 2]}, {"Name": " hand\\n", "location": [[1, 2]]}]}',
    ],
)
def test_localization(text):
    answer = read(text)
    assert (cells(answer), answer.objects, answer.notes) == ([(1, 2), (2, 2)], named("chip", "hand"), ())


@pytest.mark.parametrize(
    ("text", "expected", "objects", "notes"),
    [
        ('{"important_objects": [], "localization": {}}', [], [], ()),
        ('{"important_objects": [], "localization": []}', [], [], ()),
        ('{"important_objects": []}', [], [], ()),
        (
            '{"important_objects": ["chip", "hand"], "localization": {"hand": [[1, 2]]}}',
            [(1, 2)],
            named("hand", "chip"),
            (prompts.NOT_PLACED,),
        ),
        (
            '{"important_objects": ["chip"], "localization": {"chip": [], "hand": [[1, 2]]}}',
            [(1, 2)],
            named("chip", "hand"),
            (prompts.NOT_PLACED,),
        ),
        (  # the whole answer counts from 1, not one of its objects
            '{"localization": {"chip": [[1, 2]], "hand": [[4, 4]]}}',
            [(0, 1), (3, 3)],
            named("chip", "hand"),
            (prompts.COUNTED_FROM_ONE,),
        ),
        ('{"localization": {"hand": [[1, 2]], "": [[0, 0]]}}', [(1, 2)], named("hand"), (prompts.OBJECTS_UNREADABLE,)),
        ('{"localization": [{"name": "hand", "cells": [[1, 2]]}, 7]}', [(1, 2)], named("hand"), None),
        ('{"localization": {"hand\\ud800": [[1, 2]]}}', [(1, 2)], named("hand?"), ()),
    ],
)
def test_localization_with_gaps(text, expected, objects, notes):
    answer = read(text)
    assert (cells(answer), answer.objects) == (expected, objects)
    assert answer.notes == (notes if notes is not None else (prompts.OBJECTS_UNREADABLE,))


@pytest.mark.parametrize(
    "text",
    [
        '{"important_objects": ["hand"], "localization": {}}',
        '{"important_objects": ["hand"]}',
        '{"important_objects": [], "localization": {"hand": []}}',
        '{"localization": {"hand": [[7, 7]]}}',
        '{"localization": null}',
    ],
)
def test_objects_of_which_none_has_a_place(text):
    with pytest.raises(InvalidAnswer):
        read(text)


def test_names_are_told_apart_whatever_their_case():
    answer = read('{"important_objects": ["Hand", "Chip", "chip"], "localization": {"hand": [[1, 2]]}}')
    assert (answer.objects, answer.notes) == (named("hand", "Chip"), (prompts.NOT_PLACED,))


@pytest.mark.parametrize(
    "value",
    [
        "(1, 2)  " * 2000 + "x",
        "1" + " " * 40_000 + "x",
        "(" * 10_000,
        "( " * 10_000 + "1",
        "1" * 40_000 + ",",
        "[1," * 10_000,
    ],
)
def test_strings_that_are_nearly_cells_take_no_time(value):
    started = time.perf_counter()
    with pytest.raises(InvalidAnswer):
        read('{"key_r": "' + value + '"}')
    assert time.perf_counter() - started < 10


def center_of(answer: FrameAnswer, name: str) -> list[float]:
    (found,) = [entry for entry in answer.objects if entry["name"] == name]
    return found["center"]


def test_centres_become_cells_and_objects():
    answer = read(
        '{"all_os": ["hand", "screw", "table", "table"], '
        '"im_o": [{"name": "hand", "location": [160, 60]}, {"name": "screw", "location": [319, 239]}]}'
    )
    assert cells(answer) == [(1, 2), (3, 3)]
    assert center_of(answer, "hand") == [0.5, 0.25]
    assert [(entry["name"], entry["relevant"]) for entry in answer.objects] == [
        ("hand", True),
        ("screw", True),
        ("table", False),
    ]
    assert answer.notes == ()


@pytest.mark.parametrize(
    "im_o",
    [
        '[{"name": "hand", "location": [240, 30]}]',
        '[{"name": "hand", "location": (240, 30)}]',
        '[{"name": "hand", "location": [240.4, "30"]}]',
        '[{"name": "hand", "location": "240, 30"}]',
        '[{"name": "hand", "location": {"x": 240, "y": 30}}]',
        '[{"name": "hand", "location": [[240, 30]]}]',
        '[{"name": "hand", "center": [240, 30]}]',
        '{"name": "hand", "location": [240, 30]}',
        '{"hand": [240, 30]}',
        '[{"hand": [240, 30]}]',
        '[{"name": "hand", "location": [240, 30]}, {"name": "hand", "location": [240, 30]}]',
    ],
)
def test_ways_to_write_a_centre(im_o):
    answer = read('{"im_o": ' + im_o + "}")
    assert (cells(answer), answer.notes) == ([(0, 3)], ())
    assert center_of(answer, "hand") == pytest.approx([0.75, 0.125], abs=0.002)


def test_two_of_a_kind_are_two_objects():
    answer = read('{"im_o": [{"name": "screw", "location": [10, 10]}, {"name": "screw", "location": [300, 10]}]}')
    assert cells(answer) == [(0, 0), (0, 3)]
    assert [entry["name"] for entry in answer.objects] == ["screw", "screw"]


@pytest.mark.parametrize(
    ("location", "center", "note"),
    [
        ([320, 240], [1.0, 1.0], None),
        ([325, -3], [1.0, 0.0], prompts.CENTRES_MOVED),
        (None, [], prompts.NOT_PLACED),
        ("left", [], prompts.NOT_PLACED),
    ],
)
def test_centres_at_and_beyond_the_border(location, center, note):
    text = f"{{'im_o': [{{'name': 'a', 'location': [10, 10]}}, {{'name': 'b', 'location': {location!r}}}]}}"
    answer = read(text)
    assert center_of(answer, "b") == center
    assert answer.notes == ((note,) if note else ())
    assert (0, 0) in cells(answer)


@pytest.mark.parametrize(
    ("convention", "location", "cell", "center"),
    [
        (PIXELS, [230, 220], (3, 2), [230 / 320, 220 / 240]),
        (CONVENTIONS["qwen3-vl"], [230, 220], (0, 0), [0.23, 0.22]),
        (CONVENTIONS["gemini"], [230, 220], (0, 0), [0.23, 0.22]),  # in the order that the prompt asks for
        (CONVENTIONS["qwen3-vl"], [870, 410], (1, 3), [0.87, 0.41]),
        (BoxConvention("0-999"), [999, 999], (3, 3), [1.0, 1.0]),
        # Qwen2.5-VL sees 252 x 308 pixels
        (CONVENTIONS["qwen2.5-vl"], [231, 189], (3, 3), [0.75, 0.75]),
        (BoxConvention("share"), [0.5, 0.25], (1, 2), [0.5, 0.25]),
    ],
)
def test_centres_are_read_in_the_scale_of_the_model(convention, location, cell, center):
    text = json.dumps({"im_o": [{"name": "hand", "location": location}]})
    answer = read_answer(text, (4, 4), 240, 320, convention)
    assert (cells(answer), answer.notes) == ([cell], ())
    assert center_of(answer, "hand") == pytest.approx(center)


def test_centres_that_cannot_be_of_the_models_scale_say_so():
    text = '{"im_o": [{"name": "hand", "location": [1600, 900]}]}'
    with pytest.raises(InvalidAnswer, match=r"\(1600, 900\) cannot be in the scale 0-1000.*--coordinates says"):
        read_answer(text, (4, 4), 1080, 1920, CONVENTIONS["qwen3-vl"])
    with pytest.raises(InvalidAnswer, match=r"\(50, 40\) cannot be in shares"):
        read_answer(text.replace("1600, 900", "50, 40"), (4, 4), 240, 320, BoxConvention("share"))


def test_centres_as_shares_of_the_sides():
    answer = read('{"im_o": [{"name": "a", "location": [0.9, 0.1]}, {"name": "b", "location": [0, 1]}]}')
    assert (cells(answer), answer.notes) == ([(0, 3), (3, 0)], (prompts.CENTRES_AS_SHARES,))
    whole = read('{"im_o": [{"name": "b", "location": [0, 1]}]}')  # whole numbers are pixels
    assert (cells(whole), whole.notes) == ([(0, 0)], ())


def test_no_relevant_object_is_an_answer():
    answer = read('{"all_os": ["table", {"name": "lamp"}, "", 3], "im_o": []}')
    assert (cells(answer), answer.objects) == ([], named("table", "lamp", relevant=False))
    assert answer.notes == (prompts.OBJECTS_UNREADABLE,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"im_o": [{"name": "a", "location": [999, 999]}]}', r"\(999, 999\) cannot be in pixels .* 240 x 320"),
        # one number of another scale, and the other place may be wrong as well
        ('{"im_o": [{"name": "a", "location": [10, 10]}, {"name": "b", "location": [10, -100]}]}', r"\(10, -100\)"),
        ('{"im_o": ["hand"]}', "no object"),
        ('{"im_o": null}', "no object"),
        ('{"all_os": ["hand"]}', "none of key_r, im_o, localization"),
        ('{"cells": [[1, 2]]}', "none of key_r"),
        ("{}", "none of key_r"),
        ("I cannot help with that.", "no JSON"),
        ('{"key_r": [[1, 2], [', "cut off"),
        ('{"key_r": [[8, 8]]}', r"none of \[\(8, 8\)\] lies in a grid of 4 x 4"),
    ],
)
def test_what_cannot_be_used_is_said(text, message):
    with pytest.raises(InvalidAnswer, match=message):
        read(text)


def test_the_message_of_a_long_answer_is_short():
    with pytest.raises(InvalidAnswer) as caught:
        read('{"key_r": [' + "[77, 77], " * 500 + "[77, 77]]}")
    assert len(str(caught.value)) < 200
