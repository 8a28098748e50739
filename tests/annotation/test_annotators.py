"""The two annotators that need no key."""

import av
import numpy as np
import pytest

from vidreason.annotation import MotionAnnotator, NoiseModel, motion, truth_guidance
from vidreason.errors import ConfigError
from vidreason.guidance import check_row
from vidreason.manifests.manifest import Manifest
from vidreason.video import decode_frames, decode_readable_frames, write_video

KEY = {"video_id": "a", "source": "tests@1", "split": "train"}


def truth_row(frame_index=0, boxes=((0.3, 0.3, 0.45, 0.45),), relevant=True):
    objects = [{"name": "hand", "center": [], "box": list(box), "relevant": relevant} for box in boxes]
    frame = {"frame_index": frame_index, "timestamp_s": frame_index / 10, "frame_height": 120, "frame_width": 160}
    return {**KEY, **frame, "objects": objects}


def marked(row) -> list[int]:
    return np.flatnonzero(row["weights"]).tolist()


def test_truth_marks_the_cells_of_relevant_objects_alone():
    irrelevant = {"name": "cup", "center": [], "box": [0.8, 0.8, 0.9, 0.9], "relevant": False}
    row = truth_row()
    row["objects"].append(irrelevant)
    (guided,) = truth_guidance([row])
    assert marked(guided) == [5]
    assert guided["producer"] == "truth"
    assert [o["name"] for o in guided["objects"]] == ["hand", "cup"]


def test_a_frame_without_relevant_objects_is_empty_and_not_lost():
    (guided,) = truth_guidance([truth_row(relevant=False)])
    assert guided["status"] == "empty"


def test_without_noise_nothing_changes_and_with_it_the_rates_are_kept():
    rows = [truth_row(i) for i in range(4000)]
    assert {tuple(marked(row)) for row in truth_guidance(rows)} == {(5,)}
    noisy = list(truth_guidance(rows, noise=NoiseModel(missed_frames=0.2, misplaced_cells=0.3, extra_cells=0.05)))
    for row in noisy:
        check_row(row)
    missed = [row["status"] == "failed" for row in noisy]
    assert np.mean(missed) == pytest.approx(0.2, abs=0.03)
    answered = [marked(row) for row in noisy if row["status"] == "ok"]
    # cell 5 stays in 70 % of the frames; extra cells are drawn from those that were not marked
    assert np.mean([5 in cells for cells in answered]) == pytest.approx(0.7, abs=0.03)
    assert np.mean([15 in cells for cells in answered]) == pytest.approx(0.05, abs=0.015)  # no neighbour of cell 5
    assert len(noisy) == len(rows)


def test_a_misplaced_cell_moves_to_a_neighbour():
    noise = NoiseModel(misplaced_cells=1.0)
    cells = {tuple(marked(row)) for row in truth_guidance([truth_row(i) for i in range(300)], noise=noise)}
    assert cells == {(cell,) for cell in (0, 1, 2, 4, 6, 8, 9, 10)}


def test_a_wrong_cell_lies_where_no_evidence_is():
    rows = [truth_row(i, boxes=((0.3, 0.3, 0.7, 0.45),)) for i in range(2000)]  # cells 5 and 6
    assert {tuple(marked(row)) for row in truth_guidance(rows[:5])} == {(5, 6)}
    all_wrong = [marked(row) for row in truth_guidance(rows, noise=NoiseModel(wrong_cells=1.0))]
    assert {len(cells) for cells in all_wrong} == {2}
    assert {cell for cells in all_wrong for cell in cells} == set(range(16)) - {5, 6}  # wherever in the frame
    some_wrong = [marked(row) for row in truth_guidance(rows, noise=NoiseModel(wrong_cells=0.3))]
    assert np.mean([cell in (5, 6) for cells in some_wrong for cell in cells]) == pytest.approx(0.7, abs=0.03)
    # a misplaced cell, in contrast, often lands on the evidence beside it
    misplaced = [marked(row) for row in truth_guidance(rows, noise=NoiseModel(misplaced_cells=1.0))]
    assert np.mean([cell in (5, 6) for cells in misplaced for cell in cells]) > 0.1


def test_wrong_cells_leave_the_other_mistakes_as_they_are():
    rows = [truth_row(i) for i in range(200)]
    noise = NoiseModel(missed_frames=0.2, extra_cells=0.1)
    plain = list(truth_guidance(rows, noise=noise))
    wrong = list(truth_guidance(rows, noise=NoiseModel(missed_frames=0.2, extra_cells=0.1, wrong_cells=1.0)))
    assert [row["status"] == "failed" for row in plain] == [row["status"] == "failed" for row in wrong]
    for one, other in zip(plain, wrong, strict=True):
        assert set(marked(one)) - {5} <= set(marked(other))  # the extra cells
        assert 5 not in marked(other)


def test_where_evidence_is_everywhere_a_wrong_frame_is_empty():
    (row,) = truth_guidance([truth_row(boxes=((0.0, 0.0, 1.0, 1.0),))], noise=NoiseModel(wrong_cells=1.0))
    assert row["status"] == "empty"


def test_mistakes_do_not_depend_on_the_order_of_frames():
    noise = NoiseModel(0.2, 0.3, 0.05, seed=4)
    rows = [truth_row(i) for i in range(50)]
    forward = {r["frame_index"]: r["weights"] for r in truth_guidance(rows, noise=noise)}
    backward = {r["frame_index"]: r["weights"] for r in truth_guidance(rows[::-1], noise=noise)}
    assert forward == backward
    other = {r["frame_index"]: r["weights"] for r in truth_guidance(rows, noise=NoiseModel(0.2, 0.3, 0.05, seed=5))}
    assert forward != other


def test_a_noise_model_is_read_back_from_its_provenance():
    noise = NoiseModel(0.1, 0.25, 0.02, seed=3)
    assert noise.description == "missed=0.1,misplaced=0.25,extra=0.02,seed=3"  # as in tables of earlier versions
    assert NoiseModel.from_description(noise.description) == noise
    wrong = NoiseModel(0.1, seed=3, wrong_cells=0.5)
    assert NoiseModel.from_description(wrong.description) == wrong
    with pytest.raises(ConfigError, match="does not describe"):
        NoiseModel.from_description("frame-difference,lag_s=0.12")


@pytest.mark.parametrize("name", ["missed_frames", "misplaced_cells", "extra_cells", "wrong_cells"])
def test_rates_are_probabilities(name):
    with pytest.raises(ConfigError, match=f"{name} is 1.5"):
        NoiseModel(**{name: 1.5})


def textured(height=96, width=128, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 190, (height // 8 + 8, width // 8 + 8)).astype(float)
    return np.kron(coarse, np.ones((8, 8)))


def moving_square(path, pan_px=0, frames=12, square=True, light=0):
    """A dark square that moves within cell (1, 2) of a 4x4 grid, before a texture that may pan or brighten."""
    texture = textured()
    video = []
    for i in range(frames):
        picture = texture[:96, pan_px * i : pan_px * i + 128] + light * i
        picture = np.repeat(picture[..., None], 3, axis=-1)
        if square:
            left = 68 + (i % 4) * 5
            picture[28:42, left : left + 10] = 10
        video.append(np.clip(picture, 0, 255).astype(np.uint8))
    return write_video(path, video, fps=12, crf=10)


@pytest.mark.parametrize("changes", [{}, {"pan_px": 2}, {"light": 3}])
def test_motion_finds_what_moves_also_when_camera_or_light_change(tmp_path, changes):
    path = moving_square(tmp_path / "a.mp4", **changes)
    rows = list(MotionAnnotator().annotate_video(path, KEY))
    assert len(rows) == 12
    for row in rows:
        check_row(row)
    # cell (1, 2); the square moves at the cell's middle
    assert np.mean([int(np.argmax(row["weights"])) == 6 for row in rows]) >= 0.9


def test_a_still_video_is_empty(tmp_path):
    rows = list(MotionAnnotator().annotate_video(moving_square(tmp_path / "a.mp4", square=False), KEY))
    assert {row["status"] for row in rows} == {"empty"}


def test_a_single_frame_is_empty(tmp_path):
    rows = list(MotionAnnotator().annotate_video(moving_square(tmp_path / "a.mp4", frames=1), KEY))
    assert [row["status"] for row in rows] == ["empty"]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 64), (2, 64), (64, 1), (3, 64), (1, 512)])
def test_a_video_of_few_pixels_on_a_side_is_marked_where_it_moves(tmp_path, height, width):
    frames = np.full((8, height, width, 3), 20, dtype=np.uint8)
    # on and off in the last quarter of the longer side, or in the only pixel that there is
    place = np.s_[1::2, :, -(width // 4) :] if width > 1 else np.s_[1::2, -(height // 4) :]
    frames[place] = 230
    with av.open(str(tmp_path / "a.avi"), "w") as container:  # not H.264, whose pictures have even sides
        stream = container.add_stream("png", rate=8, width=width, height=height, pix_fmt="rgb24")
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    for row in MotionAnnotator().annotate_video(tmp_path / "a.avi", KEY):
        check_row(row)
        cells = np.asarray(row["weights"]).reshape(4, 4)
        if height == width:  # all of the frame changes alike, which is no movement in it
            assert row["status"] == "empty"
            continue
        assert row["status"] == "ok"
        expected = np.zeros((4, 4))
        # every cell that lies over the pixels that change, however few pixels there are to share
        expected[(slice(None), -1) if width > 1 else -1] = 0.25
        np.testing.assert_allclose(cells, expected, atol=0.02)


def test_any_grid_and_any_rate(tmp_path):
    path = moving_square(tmp_path / "a.mp4")
    rows = list(MotionAnnotator(grid=(2, 8)).annotate_video(path, KEY, frames_per_second=4))
    assert [row["frame_index"] for row in rows] == [0, 3, 6, 9]
    # rows 28 to 41 of 96 lie in the upper half; columns 68 to 93 of 128 in cells 4 and 5 of 8
    assert all(np.argmax(row["weights"]) in (4, 5) for row in rows)


def test_a_video_is_read_in_pieces_that_change_nothing(tmp_path, monkeypatch):
    path = moving_square(tmp_path / "a.mp4", frames=20)
    whole = list(MotionAnnotator().annotate_video(path, KEY))
    held = []

    def decode_and_count(*args, **options):
        decoded, errors = decode_readable_frames(*args, **options)
        held.append(len(decoded))
        return decoded, errors

    monkeypatch.setattr(motion, "decode_readable_frames", decode_and_count)
    monkeypatch.setattr(motion, "_FRAMES_AT_ONCE", 4)
    assert list(MotionAnnotator().annotate_video(path, KEY)) == whole
    assert len(held) == 5 and max(held) <= 4 + 2 * 2  # a piece, and the neighbours at its ends


def test_a_frame_that_does_not_decode_is_a_failed_row(tmp_path):
    path = moving_square(tmp_path / "a.mp4", frames=20)
    with av.open(str(path)) as container:
        position, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][7]
    content = bytearray(path.read_bytes())
    content[position : position + size] = bytes(size)
    path.write_bytes(content)
    readable = set(decode_frames(path).frame_indices)
    rows = list(MotionAnnotator().annotate_video(path, KEY))
    assert [row["frame_index"] for row in rows] == list(range(20))
    assert 0 < len(readable) < 20
    assert {row["frame_index"] for row in rows if row["status"] != "failed"} == readable


def test_a_video_that_cannot_be_read_becomes_a_row_and_a_name(tiny_world, tmp_path):
    manifest = tiny_world.manifest
    broken = Manifest(manifest.class_names, manifest.splits, tmp_path, manifest.source)  # no file is there
    annotator = MotionAnnotator()
    rows = list(annotator.annotate(broken, "test"))
    assert [row["status"] for row in rows] == ["failed"] * 4
    assert {row["raw_response"] for row in rows} == {"missing"}
    assert len(annotator.failures) == 4


@pytest.mark.unforeseen_errors
def test_an_error_that_nobody_foresaw_ends_no_more_than_its_video(tiny_world, monkeypatch):
    rows = tiny_world.manifest.split("test").to_list()
    whole = list(MotionAnnotator().annotate(tiny_world.manifest, "test"))
    first, second = (tiny_world.manifest.video_path(row) for row in rows[:2])
    probe, decode = motion.probe_video, motion.decode_readable_frames

    def fail_to_probe(path):
        if path == first:
            raise ValueError("29 is not a valid Type")
        return probe(path)

    def fail_in_the_middle(path, indices, *args):
        if path == second and 4 in indices:
            raise TypeError("'NoneType' object is not subscriptable")
        return decode(path, indices, *args)

    monkeypatch.setattr(motion, "probe_video", fail_to_probe)
    monkeypatch.setattr(motion, "decode_readable_frames", fail_in_the_middle)
    monkeypatch.setattr(motion, "_FRAMES_AT_ONCE", 2)
    annotator = MotionAnnotator()
    made = list(annotator.annotate(tiny_world.manifest, "test"))
    keys = [(row["video_id"], row["frame_index"]) for row in made]
    assert len(set(keys)) == len(keys)
    failed = {key for key, row in zip(keys, made, strict=True) if row["raw_response"] == "unexpected_error"}
    # of the second video, what was made before stays, and a piece whose neighbours cannot be read fails with them
    assert failed == {(rows[0]["video_id"], 0), *((rows[1]["video_id"], index) for index in (2, 3, 4, 5))}
    assert [row for row in made if row["video_id"] not in {rows[0]["video_id"], rows[1]["video_id"]}] == [
        row for row in whole if row["video_id"] not in {rows[0]["video_id"], rows[1]["video_id"]}
    ]
    assert annotator.failures == {
        rows[0]["video_id"]: f"{first}: unexpected error (ValueError: 29 is not a valid Type)"
    }


def test_motion_of_the_tiny_world_agrees_with_its_truth(tiny_world):
    index = tiny_world.index("test")
    compared = 0
    for row in MotionAnnotator().annotate(tiny_world.manifest, "test"):
        (truth,) = index.lookup(row["video_id"], [row["timestamp_s"]]).maps
        if truth.weights.any():
            found, true = divmod(int(np.argmax(row["weights"])), 4), divmod(int(truth.weights.argmax()), 4)
            assert found[0] == true[0]
            assert abs(found[1] - true[1]) <= 1  # the square's trail and its next place count as movement too
            compared += 1
    assert compared > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (0, 4)}, "grid is"),
        ({"lag_s": 0}, "lag_s"),
        ({"min_share": 2}, "min_share is 2"),
        ({"slack_px": -1}, "-1"),
    ],
)
def test_motion_settings_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        MotionAnnotator(**changes)
