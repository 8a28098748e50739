"""Frames of the assembly world and their ground truth: what is drawn, where the boxes are, what is evidence."""

from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import pytest

from vidreason.annotation import truth_guidance
from vidreason.errors import ConfigError
from vidreason.guidance.schema import OBJECT_FEATURES
from vidreason.synthetic.assembly import ASSEMBLY_ACTIONS, AssemblyConfig, draw_sequence, render_assembly

TIMES = {"min_action_s": 1.5, "max_action_s": 4.0, "min_pause_s": 0.6, "max_pause_s": 1.5}
CONFIG = AssemblyConfig(min_duration_s=50.0, max_duration_s=60.0, **TIMES)
SHORT = AssemblyConfig(
    fps=5.0,
    min_duration_s=20.0,
    max_duration_s=26.0,
    noise_std=0.0,
    max_jitter_px=2.0,
    **{**TIMES, "min_action_s": 1.0, "max_action_s": 3.0},
)
ROLES = {"actor", "hand", "handled", "visible", "distractor", "cooccurring"}

# which kinds of things take part in an action, beside the hand
EVIDENCE = {
    "background": set(),
    "take_board": {"board"},
    "place_chip": {"chip"},
    "insert_card": {"card"},
    "screw": {"screwdriver", "screw"},
    "unscrew": {"screwdriver", "screw"},
    "plug_cable": {"plug"},
    "unplug_cable": {"plug"},
    "press_switch": {"switch"},
    "apply_tape": {"tape roll", "tape"},
    "wipe": {"cloth"},
    "turn_over": {"board"},
    "attach_cover": {"cover"},
    "test_meter": {"probe", "meter"},
    "put_away": {"board"},
}


def kind_of(name):
    return name.rstrip("0123456789 ")


def triples(frame):
    return {
        tuple(kind_of(relation[key]) for key in ("subject", "predicate", "object")) for relation in frame.relations
    }


def objects_of(frame):
    return {entry["name"]: entry for entry in frame.objects}


def seed_with(actions, config):
    """A seed whose video has all these actions."""
    return next(s for s in range(200) if {x.label for x in draw_sequence(s, "train", config)} >= set(actions))


@pytest.fixture(scope="module")
def video():
    """A video in which every action occurs."""
    return list(render_assembly(seed_with(ASSEMBLY_ACTIONS, CONFIG), "train", CONFIG))


@pytest.fixture(scope="module")
def segments(video):
    """(label, its frames), one after another."""
    return [(segment.label, list(frames)) for segment, frames in groupby(video, key=lambda frame: frame.segment)]


def rendered_bytes(seed):
    frames = render_assembly(seed, "test", SHORT)
    return [(next(frames).picture.tobytes(), next(frames).truth) for _ in range(10)]


def test_frames_come_one_after_another_and_have_the_shape_that_the_config_says(video):
    assert isinstance(render_assembly(0, "train"), Iterator)
    assert len(video) == draw_sequence(seed_with(ASSEMBLY_ACTIONS, CONFIG), "train", CONFIG)[-1].end_frame
    for index, frame in enumerate(video):
        assert frame.picture.shape == (120, 160, 3) and frame.picture.dtype == np.uint8
        assert frame.segment.start_frame <= index < frame.segment.end_frame
        assert frame.truth.segment == frame.segment.label


def test_objects_have_the_columns_of_the_guidance_and_are_in_the_frame(video):
    for frame in video:
        names = [entry["name"] for entry in frame.truth.objects]
        assert len(set(names)) == len(names)
        for entry in frame.truth.objects:
            assert set(entry) == {*OBJECT_FEATURES, "role"} and entry["role"] in ROLES
            x0, y0, x1, y1 = entry["box"]
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
            assert entry["center"] == pytest.approx([(x0 + x1) / 2, (y0 + y1) / 2])
        for relation in frame.truth.relations:
            assert {relation["subject"], relation["object"]} <= set(names)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    assert rendered_bytes(5) == rendered_bytes(5)
    assert rendered_bytes(5)[0][0] != rendered_bytes(6)[0][0]


@pytest.mark.parametrize("size", [(64, 48), (128, 128), (240, 120)])
def test_other_sizes(size):
    config = AssemblyConfig(size[0], size[1], 5.0, 8.0, 13.0, **{**TIMES, "max_action_s": 2.0})
    frames = list(render_assembly(2, "train", config))
    assert {frame.picture.shape for frame in frames} == {(size[1], size[0], 3)}
    boards = [objects_of(f.truth)["board"]["box"] for f in frames if "board" in objects_of(f.truth)]
    assert max(abs((x0 + x1) / 2 - 0.5) for x0, _, x1, _ in boards[-3:]) < 0.1
    assert min(x1 - x0 for x0, _, x1, _ in boards) < 0.5 * max(
        x1 - x0 for x0, _, x1, _ in boards
    )  # comes from outside


# What is evidence


def test_evidence_is_the_hand_and_what_it_uses(segments):
    for label, frames in segments:
        relevant = {kind_of(o["name"]) for frame in frames for o in frame.truth.objects if o["relevant"]}
        assert relevant == EVIDENCE[label] | ({"hand"} if label != "background" else set()), label
        for frame in frames:
            for entry in frame.truth.objects:
                assert not entry["relevant"] or entry["role"] in ("hand", "handled")
                assert entry["role"] != "handled" or entry["relevant"]
                assert (entry["role"] == "hand") == (entry["name"] == "hand")


def test_the_evidence_is_a_small_part_of_the_grid(video):
    rows = [{"video_id": "v", "frame_index": i, "objects": f.truth.objects} for i, f in enumerate(video)]
    key = {"source": "", "split": "train", "timestamp_s": 0.0, "frame_height": 120, "frame_width": 160}
    shares = []
    for row, frame in zip(truth_guidance({**key, **row} for row in rows), video, strict=True):
        weights = np.array(row["weights"]).reshape(4, 4)
        if frame.segment.label == "background":
            assert row["status"] == "empty" and not weights.any()
            continue
        assert row["status"] == "ok"
        shares.append((weights > 0).sum())
        for entry in frame.truth.objects:
            x, y = entry["center"]
            width, height = entry["box"][2] - entry["box"][0], entry["box"][3] - entry["box"][1]
            if entry["relevant"] and max(width, height) < 0.25:  # at most four cells, of which the middle is in one
                assert weights[int(y * 4), int(x * 4)] > 0 or min(x * 4 % 1, y * 4 % 1) < 0.2
    assert 2 <= np.mean(shares) <= 4.5


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ("take_board", ("hand", "holding", "board")),
        ("place_chip", ("chip", "on", "board")),
        ("insert_card", ("hand", "holding", "card")),
        ("screw", ("screwdriver", "touching", "screw")),
        ("unscrew", ("hand", "holding", "screwdriver")),
        ("plug_cable", ("plug", "inside", "board")),
        ("unplug_cable", ("plug", "inside", "board")),
        ("press_switch", ("hand", "touching", "switch")),
        ("apply_tape", ("tape", "on", "board")),
        ("wipe", ("cloth", "on", "board")),
        ("turn_over", ("hand", "holding", "board")),
        ("attach_cover", ("hand", "touching", "cover")),
        ("test_meter", ("probe", "touching", "board")),
        ("put_away", ("hand", "holding", "board")),
    ],
)
def test_relations_tell_what_happens(segments, action, found):
    for label, frames in segments:
        if label == action:
            assert any(found in triples(frame.truth) for frame in frames)
        elif label == "background":
            assert not any(subject == "hand" for frame in frames for subject, _, _ in triples(frame.truth))


@pytest.mark.parametrize(
    ("action", "relation", "at_start", "at_end"),
    [
        ("plug_cable", ("plug", "inside", "board"), False, True),
        ("unplug_cable", ("plug", "inside", "board"), True, False),
        ("attach_cover", ("cover", "on", "board"), False, True),
    ],
)
def test_relations_tell_what_changed(segments, action, relation, at_start, at_end):
    for label, frames in segments:
        if label == action:
            assert [relation in triples(frames[place].truth) for place in (0, -1)] == [at_start, at_end]


def test_screws_are_there_after_they_were_driven_and_gone_after_they_were_taken_out(segments):
    def screws(frame):
        return sum(entry["name"].startswith("screw ") for entry in frame.truth.objects)

    seen = 0
    for label, frames in segments:
        if label in ("screw", "unscrew"):
            seen += 1
            assert (screws(frames[-1]) - screws(frames[0])) * (1 if label == "screw" else -1) > 0
    assert seen >= 2


def test_screwing_in_and_out_differ_by_the_direction_in_time(video):
    """The hand swings around the screw: slowly clockwise and quickly back, or the other way round."""
    balance = {"screw": 0, "unscrew": 0}
    for one, other in pairwise(frame for frame in video if frame.segment.label in balance):
        angles = []
        for frame in (one, other):
            if ("screwdriver", "touching", "screw") in triples(frame.truth):
                x0, y0, x1, y1 = objects_of(frame.truth)["hand"]["box"]
                name = next(r["object"] for r in frame.truth.relations if r["predicate"] == "touching")
                x, y = objects_of(frame.truth)[name]["center"]
                angles.append((name, np.arctan2(((y0 + y1) / 2 - y) * 120, ((x0 + x1) / 2 - x) * 160)))
        if len(angles) == 2 and angles[0][0] == angles[1][0] and one.segment == other.segment:
            balance[one.segment.label] += np.sign(angles[1][1] - angles[0][1])
    assert balance["screw"] >= 4 and balance["unscrew"] <= -4


# Motion


def test_nothing_jumps_from_one_segment_to_the_next(video):
    """Most of all not the hand; what is carried moves at most as fast as a quick arm."""
    for one, other in pairwise(video):
        limit = 45 if one.segment == other.segment else 20
        before, after = objects_of(one.truth), objects_of(other.truth)
        for name in {*before, *after} - {"person", "cable", "lead"}:
            if before.get(name, {}).get("role") == "cooccurring" or after.get(name, {}).get("role") == "cooccurring":
                continue
            if name in before and name in after:
                shift = (np.array(after[name]["box"]) - before[name]["box"]) * [160, 120, 160, 120]
                moved = np.abs(shift).min()  # boxes change their size where a hand opens or something leaves the frame
                assert moved < limit, (name, one.segment, other.segment)


def test_nothing_moves_without_a_hand(video):
    for one, other in pairwise(video):
        before, after = objects_of(one.truth), objects_of(other.truth)
        if other.segment.label == "background":
            for name in {*before, *after} - {"hand", "person"}:
                if before.get(name, after.get(name))["role"] != "cooccurring":
                    shift = (np.array(after[name]["box"]) - before[name]["box"]) * [160, 120, 160, 120]
                    assert np.abs(shift).max() <= 2 * CONFIG.max_jitter_px + 1, name


# Signs


def test_a_sign_lies_still_beside_the_work_in_its_time(segments):
    shared = total = 0
    for _, frames in segments:
        segment, places = frames[0].segment, []
        for index, frame in enumerate(frames, start=segment.start_frame):
            signs = [entry for entry in frame.truth.objects if entry["role"] == "cooccurring"]
            shown = segment.sign_start_frame <= index < segment.sign_end_frame
            assert [entry["name"] for entry in signs] == [segment.sign] * shown
            cells = {True: np.zeros((4, 4), dtype=bool), False: np.zeros((4, 4), dtype=bool)}
            for entry in [*signs, *(entry for entry in frame.truth.objects if entry["relevant"])]:
                x0, y0, x1, y1 = entry["box"]
                rows = slice(int(y0 * 4), int(np.ceil(y1 * 4)))
                cells[entry["relevant"]][rows, int(x0 * 4) : int(np.ceil(x1 * 4))] = True
            shared += (cells[True] & cells[False]).any()
            total += bool(signs) and cells[True].any()
            places += [entry["center"] for entry in signs]
        assert np.ptp(np.array(places) * [160, 120], axis=0).max() <= 2 * CONFIG.max_jitter_px + 1
    assert shared < 0.15 * total


def test_distractors_are_only_those_that_are_used_in_no_video():
    names = {
        entry["name"]: (entry["role"], entry["relevant"])
        for seed in range(8)
        for entry in next(render_assembly(seed, "train", SHORT)).truth.objects
    }
    distractors = {name for name, (role, _) in names.items() if role == "distractor"}
    assert distractors and distractors <= {"pliers", "wrench", "brush", "ruler", "pen", "coil"}
    bare = AssemblyConfig(max_distractors=0)
    for seed in range(8):
        assert "distractor" not in {o["role"] for o in next(render_assembly(seed, "train", bare)).truth.objects}


# Boxes against pixels


@pytest.fixture(scope="module")
def plain():
    return list(render_assembly(4, "train", SHORT))


def changed_boxes(plain, colors):
    """Frame by frame: the truth, and the box (4,) in pixels around what other colors change; None for nothing."""
    for frame, colored in zip(plain, render_assembly(4, "train", SHORT, colors=colors), strict=True):
        assert frame.truth == colored.truth
        rows, cols = np.nonzero((frame.picture != colored.picture).any(axis=-1))
        box = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1] if len(rows) else None
        yield frame.truth, box


def test_the_boxes_of_the_person_are_tight_around_hand_and_arm(plain):
    """Also at the frame's edges, and in motion. What is held can cover a part of the hand."""
    seen = 0
    for truth, changed in changed_boxes(plain, {"skin": (255, 0, 255), "sleeve": (255, 0, 255)}):
        person = objects_of(truth).get("person")
        assert (person is None) == (changed is None)
        if person:
            box = np.array(person["box"]) * [160, 120, 160, 120]
            assert (box[:2] <= np.array(changed[:2]) + 1.6).all() and (box[2:] >= np.array(changed[2:]) - 1.6).all()
            if not any(subject == "hand" for subject, _, _ in triples(truth)):
                # a pixel counts from the first touch, and shapes are rounded to half of one
                np.testing.assert_allclose(box, changed, atol=1.6)
                seen += 1
    assert seen > 40


@pytest.mark.parametrize(
    "kind", ["board", "cover", "cloth", "tape roll", "meter", "screwdriver", "plug", "card", "chip"]
)
def test_what_another_color_changes_is_in_the_boxes(plain, kind):
    touching = {"chip": ("chip", "chip tray"), "card": ("card", "card box")}.get(kind, (kind,))
    tight = seen = 0
    for truth, changed in changed_boxes(plain, {kind: (255, 0, 255)}):
        boxes = [entry["box"] for entry in truth.objects if kind_of(entry["name"]) in touching]
        if changed is None:
            continue
        seen += 1
        around = np.array(boxes) * [160, 120, 160, 120]
        around = np.concatenate([around[:, :2].min(axis=0), around[:, 2:].max(axis=0)])
        assert (np.array(changed[:2]) >= around[:2] - 1.6).all() and (np.array(changed[2:]) <= around[2:] + 1.6).all()
        tight += np.abs(around - changed).max() <= 1.6
    assert seen > 10
    # tools have parts of other colors, and hands cover what they hold
    assert tight > 0.5 * seen or kind in ("screwdriver", "plug", "card", "chip")


def test_colors_of_unknown_kinds_are_named():
    with pytest.raises(ConfigError, match=r"unknown kinds \['hammer'\]"):
        next(render_assembly(0, "train", colors={"hammer": (0, 0, 0)}))
