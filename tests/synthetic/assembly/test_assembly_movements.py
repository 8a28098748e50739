"""The mechanics under the assembly world: places on the board, and movements in time."""

import math

import numpy as np
import pytest

from vidreason.synthetic.assembly.state import (
    BACK,
    FRONT,
    HandState,
    Placement,
    State,
    affine,
    fixed_to_board,
    point_of_board,
)
from vidreason.synthetic.assembly.steps import Step, carry, cycles, follow, lengths_of, reach, stroke, visiting


def state_of(flip, mirror, angle=0.3, **items):
    return State(HandState(0.0, 0.0), {"board": Placement(50.0, 40.0, angle, flip), **items}, mirror)


def test_an_items_points_are_flipped_then_turned_then_shifted():
    state = state_of(1.0, 1, chip=Placement(10.0, 20.0, math.pi / 2, -2.0))
    matrix, shift = affine(state, "chip")
    # (3, 1) -> (-6, 1), a quarter turn clockwise on a screen with y down -> (-1, -6)
    np.testing.assert_allclose(np.array([3.0, 1.0]) @ matrix + shift, [9.0, 14.0])


@pytest.mark.parametrize("mirror", [-1, 1])
@pytest.mark.parametrize("flip", [-1.0, 1.0])
def test_what_is_fixed_to_the_board_stays_where_it_was(flip, mirror):
    state = state_of(flip, mirror, chip=Placement(60.0, 45.0, 0.7, 1.0))
    fixed = fixed_to_board(state, "chip")
    assert fixed.items["chip"].parent == (FRONT if flip * mirror > 0 else BACK)
    for found, expected in zip(affine(fixed, "chip"), affine(state, "chip"), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_what_is_fixed_moves_with_the_board_and_is_hidden_on_its_lower_side():
    state = fixed_to_board(state_of(1.0, 1, 0.0, chip=Placement(60.0, 45.0)), "chip")
    moved = state.with_item("board", Placement(150.0, 40.0, math.pi))
    np.testing.assert_allclose(affine(moved, "chip")[1], [140.0, 35.0])
    assert state.is_seen("chip")
    turned = state.with_item("board", Placement(50.0, 40.0, 0.0, -1.0))
    assert turned.side_up == BACK and not turned.is_seen("chip") and turned.is_seen("board")


@pytest.mark.parametrize("flip", [-1.0, 1.0])
def test_a_place_of_the_layout_is_the_same_on_both_sides_and_mirrored_in_a_mirrored_video(flip):
    assert point_of_board(state_of(flip, 1, 0.0), (10.0, 5.0)) == pytest.approx((60.0, 45.0))
    assert point_of_board(state_of(flip, -1, 0.0), (10.0, 5.0)) == pytest.approx((40.0, 45.0))


def test_work_takes_what_time_is_left_and_never_too_little():
    def play(state, u, seconds):
        return state

    steps = [Step(play, 1.0), Step(play, stretches=True), Step(play, 0.5)]
    assert lengths_of(steps, 6.0) == pytest.approx([1.0, 4.5, 0.5])
    assert lengths_of(steps, 1.0) == pytest.approx([0.55 * 2 / 3, 0.45, 0.55 / 3])
    assert lengths_of([Step(play, stretches=True)] * 2, 3.0) == pytest.approx([1.5, 1.5])


def test_reaching_ends_at_the_target_and_begins_where_the_hand_was():
    step = reach(lambda state: (8.0, 6.0), grip=1.0)
    before = state_of(1.0, 1)
    assert step.play(before, 0.0, 1.0) == before
    assert step.play(before, 1.0, 1.0).hand == HandState(8.0, 6.0, 1.0, 0.0)
    assert step.play(before, 0.5, 1.0).hand[:2] == pytest.approx((4.0, 3.0))


def test_what_is_carried_goes_with_the_hand():
    before = state_of(1.0, 1, tool=Placement(10.0, 10.0, 0.0))
    step = carry("tool", (0.0, 5.0), Placement(30.0, 10.0, math.pi / 2))
    after = step.play(before, 1.0, 1.0)
    assert after.items["tool"][:3] == pytest.approx((30.0, 10.0, math.pi / 2))
    assert after.hand[:2] == pytest.approx((25.0, 10.0))
    assert before.items["tool"] == Placement(10.0, 10.0, 0.0)  # states are never changed in place
    assert not step.stretches and step.held == "tool"
    assert follow("tool", (0.0, 5.0), lambda start, u, seconds: start).stretches


def test_a_stroke_is_slow_one_way_and_quick_the_other():
    assert [stroke(u) for u in (0.0, 0.35, 0.7, 0.85)] == pytest.approx([-1, 0, 1, 0])
    assert stroke(0.999999) == pytest.approx(-1, abs=1e-3)


def test_visiting_stays_at_each_place():
    places = [(0.0, 0.0), (4.0, 0.0), (4.0, 8.0)]
    assert visiting(places, 0.0, 0.5) == ((0.0, 0.0), 0.0)
    assert visiting(places, 0.125, 0.5)[0] == pytest.approx((2.0, 0.0))
    assert visiting(places, 0.4, 0.5) == ((4.0, 0.0), 1.0)
    assert visiting(places, 1.0, 0.5) == ((4.0, 8.0), 1.0)
    assert visiting(places[:1], 0.7, 0.5)[0] == (0.0, 0.0)


def test_something_is_repeated_at_least_once():
    assert [cycles(seconds, 0.5) for seconds in (0.1, 4.0, 7.0)] == [1, 2, 4]
