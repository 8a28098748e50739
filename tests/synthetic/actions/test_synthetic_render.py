"""Clips and their ground truth: what is drawn, where the boxes are, and what happens in which action."""

import multiprocessing
from itertools import pairwise

import numpy as np
import pytest

from vidreason.errors import ConfigError
from vidreason.guidance.schema import OBJECT_FEATURES
from vidreason.synthetic import (
    ACTIONS,
    BACKGROUNDS,
    COOCCURRING_OBJECTS,
    MIRRORED_PAIRS,
    REVERSED_PAIRS,
    Nuisance,
    WorldConfig,
    clip_seed,
    draw_nuisance,
    render_clip,
    render_masks,
)

CONFIG = WorldConfig()
ROLES = {"actor", "hand", "handled", "container", "distractor", "cooccurring"}
CONTAINERS = {"open_box": "box", "close_box": "box", "take_out": "box", "put_in": "box", "stir": "bowl"}


def render(action, index, config=CONFIG):
    seed = clip_seed(3, "train", index)
    return render_clip(action, seed, config, draw_nuisance(action, "train", seed))


def rendered_bytes(action):
    return render(action, 8).frames.tobytes()


def objects_with(clip, role):
    return [[entry for entry in frame.objects if entry["role"] == role] for frame in clip.truth.frames]


def centers(clip, role):
    """(frames, 2)."""
    return np.array([entries[0]["center"] for entries in objects_with(clip, role)])


def triples(frame):
    return {(relation["subject"], relation["predicate"], relation["object"]) for relation in frame.relations}


@pytest.fixture(scope="module", params=ACTIONS)
def clip(request):
    return render(request.param, ACTIONS.index(request.param))


def test_frames_and_truth_have_the_shape_that_the_config_says(clip):
    assert clip.frames.shape == (24, 120, 160, 3) and clip.frames.dtype == np.uint8
    assert len(clip.truth.frames) == 24
    for frame in clip.truth.frames:
        names = [entry["name"] for entry in frame.objects]
        assert len(set(names)) == len(names)
        for entry in frame.objects:
            assert set(entry) == {*OBJECT_FEATURES, "role"} and entry["role"] in ROLES
            x0, y0, x1, y1 = entry["box"]
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
            assert entry["relevant"] == (entry["role"] in ("hand", "handled", "container"))
        for subject, _, other in triples(frame):
            assert {subject, other} <= set(names)


def test_segments_cover_the_clip_and_agree_with_the_frames(clip):
    segments = clip.truth.segments
    assert [segment.label for segment in segments] == ["idle", clip.truth.action, "idle"]
    assert segments[0].start_frame == 0 and segments[-1].end_frame == 24
    for before, after in pairwise(segments):
        assert before.end_frame == after.start_frame
    by_frame = [segment.label for segment in segments for _ in range(segment.start_frame, segment.end_frame)]
    assert by_frame == [frame.segment for frame in clip.truth.frames]


def test_every_action_shows_its_evidence(clip):
    action = clip.truth.action
    handled = {entry["name"] for entries in objects_with(clip, "handled") for entry in entries}
    containers = {entry["name"] for entries in objects_with(clip, "container") for entry in entries}
    assert len(handled) == (0 if action == "wave" else 1)
    assert containers == ({CONTAINERS[action]} if action in CONTAINERS else set())
    assert any(objects_with(clip, "hand"))
    assert all(len(entries) == 1 for entries in objects_with(clip, "cooccurring"))


def test_the_evidence_is_a_small_part_of_the_grid():
    shares = []
    for index in range(24):
        for frame in render(ACTIONS[index % 12], index).truth.frames:
            cells = np.zeros((4, 4), dtype=bool)
            for x0, y0, x1, y1 in (entry["box"] for entry in frame.objects if entry["relevant"]):
                cells[int(y0 * 4) : int(np.ceil(y1 * 4)), int(x0 * 4) : int(np.ceil(x1 * 4))] = True
            shares.append(cells.sum())
    assert 2 <= np.mean(shares) <= 5


@pytest.mark.parametrize("action", ["pick_up", "wave"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(action):
    first, again, other = render(action, 5), render(action, 5), render(action, 6)
    assert first.frames.tobytes() == again.frames.tobytes()
    assert first.truth == again.truth
    assert first.frames.tobytes() != other.frames.tobytes()


def test_a_plain_number_is_a_seed_too():
    np.testing.assert_array_equal(render_clip("tap", 7).frames, render_clip("tap", 7).frames)
    assert (render_clip("tap", 7).frames != render_clip("tap", 8).frames).any()


@pytest.mark.parametrize(("backward", "forward"), REVERSED_PAIRS.items())
@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_are_the_same_frames_in_opposite_order(backward, forward, seed):
    nuisance = Nuisance(BACKGROUNDS[seed], COOCCURRING_OBJECTS[seed])
    one, other = (render_clip(action, seed, CONFIG, nuisance) for action in (backward, forward))
    np.testing.assert_array_equal(one.frames, other.frames[::-1])
    assert (one.frames != other.frames).any()
    assert [frame.objects for frame in one.truth.frames] == [frame.objects for frame in other.truth.frames[::-1]]
    assert [triples(frame) for frame in one.truth.frames] == [triples(frame) for frame in other.truth.frames[::-1]]
    active, mirrored = one.truth.segments[1], other.truth.segments[1]
    assert (active.start_frame, active.end_frame) == (24 - mirrored.end_frame, 24 - mirrored.start_frame)


@pytest.mark.parametrize("index", range(12, 24))
def test_boxes_are_tight_around_what_is_drawn(index):
    action, seed = ACTIONS[index % 12], clip_seed(3, "train", index)
    nuisance = draw_nuisance(action, "train", seed)
    masks = render_masks(action, seed, CONFIG, nuisance)
    for number, frame in enumerate(render_clip(action, seed, CONFIG, nuisance).truth.frames):
        boxes = {entry["name"]: np.array(entry["box"]) * [160, 120, 160, 120] for entry in frame.objects}
        drawn = {name for name, mask in masks.items() if (mask[number] >= 128).any()}
        assert drawn <= set(boxes)
        for name, box in boxes.items():
            rows, cols = np.nonzero(masks[name][number])
            covered = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
            # a pixel counts from the first touch, and shapes are rounded to half of one
            np.testing.assert_allclose(box, covered, atol=1.5, err_msg=f"{action} frame {number}: {name}")


def test_masks_lie_where_the_pixels_change():
    """The mask of the co-occurring object is where another sort of it changes the picture, and nowhere else."""
    config = WorldConfig(noise_std=0.0)
    clips = [render_clip("tap", 4, config, Nuisance("paper", name)) for name in COOCCURRING_OBJECTS[:2]]
    masks = [render_masks("tap", 4, config, Nuisance("paper", name))[name] for name in COOCCURRING_OBJECTS[:2]]
    changed = (clips[0].frames != clips[1].frames).any(axis=-1)
    assert changed.any()
    assert not (changed & (masks[0] == 0) & (masks[1] == 0)).any()


def test_the_cooccurring_object_keeps_off_the_cells_of_the_evidence_and_stands_still():
    for index in range(36):
        clip = render(ACTIONS[index % 12], index)
        cells = {True: np.zeros((4, 4), dtype=bool), False: np.zeros((4, 4), dtype=bool)}
        for frame in clip.truth.frames:
            for entry in frame.objects:
                if entry["relevant"] or entry["role"] == "cooccurring":
                    x0, y0, x1, y1 = entry["box"]
                    rows = slice(int(y0 * 4), int(np.ceil(y1 * 4)))
                    cells[entry["relevant"]][rows, int(x0 * 4) : int(np.ceil(x1 * 4))] = True
        assert cells[True].any() and cells[False].any()
        assert not (cells[True] & cells[False]).any(), f"{clip.truth.action}, clip {index}"
        drift_px = np.ptp(centers(clip, "cooccurring") * [160, 120], axis=0)
        assert drift_px.max() <= 2 * CONFIG.max_jitter_px + 1


def test_what_is_handled_says_nothing_about_the_action():
    actions = [action for action in ACTIONS if action not in ("open_box", "close_box", "stir", "wave")]
    for seed in range(6):
        kinds = {objects_with(render_clip(action, seed), "handled")[12][0]["name"] for action in actions}
        assert len(kinds) == 1


@pytest.mark.parametrize(("action", "sign"), [("slide_right", 1), ("slide_left", -1)])
def test_sliding_goes_sideways(action, sign):
    path = centers(render(action, 1), "handled") * [160, 120]
    dx, dy = path[-1] - path[0]
    assert sign * dx > 25 and abs(dy) < 6
    assert MIRRORED_PAIRS[MIRRORED_PAIRS[action]] == action


@pytest.mark.parametrize(("action", "sign"), [("pick_up", -1), ("put_down", 1)])
def test_picking_up_lifts(action, sign):
    heights = centers(render(action, 2), "handled")[:, 1] * 120
    assert sign * (heights[-1] - heights[0]) > 15


@pytest.mark.parametrize(
    ("action", "predicate", "at_start", "at_end"),
    [
        ("open_box", "on", True, False),
        ("close_box", "on", False, True),
        ("take_out", "inside", True, False),
        ("put_in", "inside", False, True),
        ("stir", "inside", False, True),
        ("pick_up", "holding", False, True),
        ("put_down", "holding", True, False),
        ("shake", "holding", False, True),
    ],
)
def test_relations_tell_what_happened(action, predicate, at_start, at_end):
    frames = render(action, 3).truth.frames
    found = [any(predicate == name for _, name, _ in triples(frame)) for frame in (frames[0], frames[-1])]
    assert found == [at_start, at_end]


def test_tapping_touches_again_and_again():
    touching = [bool(triples(frame)) for frame in render("tap", 4).truth.frames]
    assert sum(now and not before for before, now in zip([False, *touching], touching, strict=False)) >= 2
    assert np.ptp(centers(render("tap", 4), "handled") * [160, 120], axis=0).max() <= 2 * CONFIG.max_jitter_px + 1


@pytest.mark.parametrize("size", [(64, 48), (128, 128), (320, 240)])
def test_other_sizes_and_lengths(size):
    width, height = size
    config = WorldConfig(width=width, height=height, num_frames=9)
    for index, action in enumerate(ACTIONS):
        assert render(action, index, config).frames.shape == (9, height, width, 3)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"width": 161}, "width is 161"),
        ({"height": 20}, "height is 20"),
        ({"width": 640, "height": 120}, "640 x 120"),
        ({"num_frames": 2}, "num_frames is 2"),
        ({"fps": 0.0}, "fps is 0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"noise_std": -1.0}, "noise_std is -1"),
        ({"max_brightness_change": 0.7}, "max_brightness_change is 0.7"),
    ],
)
def test_settings_that_make_no_clip_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        WorldConfig(**settings)


def test_unknown_names_are_named():
    with pytest.raises(ConfigError, match="unknown action 'jump'"):
        render_clip("jump", 0)
    with pytest.raises(ConfigError, match="unknown background 'sea'"):
        Nuisance(background="sea")
    with pytest.raises(ConfigError, match="unknown cooccurring_object 'cat'"):
        Nuisance(cooccurring_object="cat")


def test_another_process_renders_the_same_bytes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(rendered_bytes, ["open_box", "stir"])
    assert found == [rendered_bytes("open_box"), rendered_bytes("stir")]
