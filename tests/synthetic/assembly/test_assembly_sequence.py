"""Sequences of the assembly world: their grammar, their times, and how signs go with actions. Nothing is rendered."""

from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from vidreason.errors import ConfigError
from vidreason.synthetic import clip_seed
from vidreason.synthetic.assembly import (
    ASSEMBLY_ACTIONS,
    GRAMMAR,
    PAUSES,
    SIGN_STRENGTHS,
    SIGNS,
    SPLITS,
    START,
    AssemblyConfig,
    draw_sequence,
    draw_unit,
)

P_VALUE = 1e-4  # the seed is fixed: this never fails by chance on code that has passed once
VIDEOS = 60


@pytest.fixture(scope="module")
def sequences():
    """Split -> sequences of many videos."""
    return {split: [draw_sequence(clip_seed(0, split, n), split) for n in range(VIDEOS)] for split in SPLITS}


def actions_of(sequence):
    return [segment.label for segment in sequence if segment.label != "background"]


def ends_of(symbol, actions, start):
    """Where a symbol that begins at `start` can end. A recording that is over satisfies whatever was to come."""
    if start == len(actions):
        return {start}
    if symbol not in GRAMMAR:
        return {start + 1} if actions[start] == symbol else set()
    found = set()
    for _, symbols in GRAMMAR[symbol]:
        ends = {start}
        for part in symbols:
            ends = {end for begin in ends for end in ends_of(part, actions, begin)}
        found |= ends
    return found


def obeys(actions):
    ends = {0}
    while ends and len(actions) not in ends:
        ends = {end for begin in ends for end in ends_of(START, actions, begin)}
    return bool(ends)


def test_the_grammar_is_complete():
    for symbol, expansions in GRAMMAR.items():
        assert sum(weight for weight, _ in expansions) == pytest.approx(1), symbol
        assert all(part in GRAMMAR or part in ASSEMBLY_ACTIONS[1:] for _, symbols in expansions for part in symbols)
    reached = {START} | {part for expansions in GRAMMAR.values() for _, symbols in expansions for part in symbols}
    assert set(GRAMMAR) <= reached and set(ASSEMBLY_ACTIONS[1:]) <= reached
    assert len(ASSEMBLY_ACTIONS) == 15 and ASSEMBLY_ACTIONS[0] == "background"


def test_every_sequence_obeys_the_grammar_and_all_actions_occur(sequences):
    for split, of in sequences.items():
        assert all(obeys(actions_of(sequence)) for sequence in of), split
        assert {action for sequence in of for action in actions_of(sequence)} == set(ASSEMBLY_ACTIONS[1:])
        assert len({tuple(actions_of(sequence)) for sequence in of}) > 0.9 * VIDEOS


def test_the_check_of_the_grammar_finds_what_is_wrong(sequences):
    actions = actions_of(sequences["train"][0])
    swapped = [actions[1], actions[0], *actions[2:]]
    assert not obeys(swapped)
    assert not obeys(["take_board", "wipe", "wipe"])
    assert not obeys([*actions[:3], "take_board", *actions[3:]])
    assert obeys(["take_board", "turn_over"])


def test_units_make_sense_on_a_desk():
    """Worked out from what can be done with a board, not from the grammar's rules."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        unit = draw_unit(rng)
        assert unit[0] == "take_board" and unit[-1] == "put_away"
        assert unit.count("take_board") == unit.count("put_away") == unit.count("attach_cover") == 1
        assert all(action != following for action, following in pairwise(unit))
        assert unit.count("place_chip") <= 2 and unit.count("insert_card") <= 2
        assert unit.count("turn_over") in (0, 2)
        plugged, turned, screws = False, False, 0
        for action in unit:
            turned ^= action == "turn_over"
            assert not turned or action in ("turn_over", "test_meter", "apply_tape", "wipe")
            assert plugged == (action == "unplug_cable" or (plugged and action in ("press_switch", "test_meter")))
            plugged = action == "plug_cable" or (plugged and action != "unplug_cable")
            assert action != "unscrew" or screws > 0
            screws += {"screw": 1, "unscrew": -1}.get(action, 0)
        assert not plugged and not turned


def test_segments_follow_without_gaps_and_have_the_lengths_that_were_asked_for(sequences):
    for sequence in (sequence for of in sequences.values() for sequence in of):
        assert sequence[0].start_frame == 0
        assert all(one.end_frame == other.start_frame for one, other in pairwise(sequence))
        assert 600 <= sequence[-1].end_frame <= 1800
        for segment in sequence:
            low, high = (10, 40) if segment.label == "background" else (15, 80)
            assert low <= segment.num_frames <= high
            assert segment.start_frame <= segment.sign_start_frame < segment.sign_end_frame <= segment.end_frame


def test_pauses_are_where_they_should_be(sequences):
    gaps, paused = 0, 0
    for sequence in sequences["train"]:
        labels = [segment.label for segment in sequence]
        assert labels[0] == labels[-1] == "background"
        assert all(one != other for one, other in pairwise(labels))
        gaps += len(actions_of(sequence)) - 1
        paused += labels[1:-1].count("background")
        assert all((segment.pause in PAUSES) == (segment.label == "background") for segment in sequence)
    assert binomtest(paused, gaps, 0.5).pvalue > P_VALUE
    assert {segment.pause for sequence in sequences["train"] for segment in sequence} == {"", *PAUSES}


def test_without_and_with_pauses_everywhere():
    for probability, expected in ((0.0, 2), (1.0, None)):
        sequence = draw_sequence(5, "train", AssemblyConfig(pause_probability=probability))
        pauses = [segment.label for segment in sequence].count("background")
        assert pauses == (expected or len(actions_of(sequence)) + 1)


def test_the_same_seed_gives_the_same_sequence_and_another_seed_another():
    assert draw_sequence(3, "train") == draw_sequence(3, "train")
    assert draw_sequence(3, "train") != draw_sequence(4, "train")


def test_the_split_changes_signs_only():
    def without_signs(sequence):
        return [(s.start_frame, s.end_frame, s.label, s.pause) for s in sequence]

    one, other = draw_sequence(3, "train"), draw_sequence(3, "test_shifted")
    assert without_signs(one) == without_signs(other) and one != other


def test_the_strengths_are_those_that_were_fixed():
    assert SIGN_STRENGTHS == {"train": 0.6, "validation": 0.6, "test": 0.6, "test_shifted": 0.0}
    assert len(SIGNS) == len(set(SIGNS)) == len(ASSEMBLY_ACTIONS) - 1


@pytest.mark.parametrize("split", SPLITS)
def test_signs_are_tied_to_actions_as_strongly_as_the_split_says(sequences, split):
    segments = [s for sequence in sequences[split] for s in sequence if s.label != "background"]
    tie = dict(zip(ASSEMBLY_ACTIONS[1:], SIGNS, strict=True))
    strength = SIGN_STRENGTHS[split]
    tied = sum(segment.sign_tied for segment in segments)
    hits = sum(segment.sign == tie[segment.label] for segment in segments)
    assert all(segment.sign == tie[segment.label] for segment in segments if segment.sign_tied)
    assert binomtest(tied, len(segments), strength).pvalue > P_VALUE
    assert binomtest(hits, len(segments), strength + (1 - strength) / 14).pvalue > P_VALUE


def test_untied_signs_and_those_of_pauses_are_uniform(sequences):
    for pause in (True, False):
        segments = [s for of in sequences.values() for sequence in of for s in sequence if bool(s.pause) == pause]
        free = Counter(segment.sign for segment in segments if not segment.sign_tied)
        assert len(free) == 14 and chisquare(list(free.values())).pvalue > P_VALUE
        if pause:
            assert not any(segment.sign_tied for segment in segments)


def test_signs_are_drawn_anew_for_each_segment(sequences):
    """Also where the action before was the same: the next segment's sign says nothing about this one's."""
    signs = [segment.sign for sequence in sequences["test_shifted"] for segment in sequence]
    repeats = sum(one == other for one, other in pairwise(signs))
    assert binomtest(repeats, len(signs) - 1, 1 / 14).pvalue > P_VALUE
    assert max(len(list(run)) for _, run in groupby(signs)) < 6


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"width": 161}, "width is 161"),
        ({"height": 20}, "height is 20"),
        ({"width": 480, "height": 120}, "480 x 120"),
        ({"fps": 0.0}, "fps is 0"),
        ({"min_duration_s": 0.0}, "min_duration_s is 0"),
        ({"min_action_s": 9.0}, "min_action_s is 9.0 and max_action_s 8.0"),
        ({"max_pause_s": float("nan")}, "max_pause_s nan"),
        ({"pause_probability": 1.5}, "pause_probability is 1.5"),
        ({"min_action_s": 0.3}, "min_action_s is 0.3"),
        ({"min_pause_s": 0.05}, "min_pause_s is 0.05"),
        ({"max_duration_s": 70.0}, "max_duration_s is 70.0"),
        ({"noise_std": -1.0}, "noise_std is -1"),
        ({"max_brightness_change": 0.7}, "max_brightness_change is 0.7"),
        ({"max_distractors": 3}, "max_distractors is 3"),
    ],
)
def test_settings_that_make_no_video_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        AssemblyConfig(**settings)


def test_an_unknown_split_is_named():
    with pytest.raises(ConfigError, match="unknown split 'dev'"):
        draw_sequence(0, "dev")
