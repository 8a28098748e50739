"""Tables against boxes and against one another: what is matched, what is counted, on which grid."""

import json

import datasets
import numpy as np
import pytest

from vidreason.audit.references import OtherTable, TrueBoxes, TrueVideo, boxes_from_json, boxes_from_table
from vidreason.audit.run import (
    CENTRE,
    GUIDANCE,
    OUTSIDE,
    TRUE_CELLS,
    UNIFORM,
    audit_table,
    count_frames,
    score_sources,
)
from vidreason.errors import GuidanceError
from vidreason.guidance import FEATURES, guidance_row
from vidreason.manifests.manifest import manifest_row, write_manifest
from vidreason.reporting.bootstrap import Bootstrap
from vidreason.video import probe_video, write_video
from vidreason.video.decode import match_times, read_frame_table

TOP_LEFT, BOTTOM_RIGHT = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]


def row(weights, index, time_s=None, grid=(2, 2), video_id="v", **extra):
    key = {"video_id": video_id, "source": "tests@1", "split": "train", "frame_index": index}
    key |= {"timestamp_s": index / 10 if time_s is None else time_s, "frame_height": 60, "frame_width": 80}
    return guidance_row(key, list(weights), grid, producer="tests", **extra)


def table(*rows):
    return datasets.Dataset.from_list(list(rows), FEATURES)


def boxes_at(*frames, class_name=""):
    """A true video at 10 frames a second."""
    boxes = [np.asarray(frame, dtype=float).reshape(-1, 4) for frame in frames]
    return TrueVideo(np.arange(len(frames)) / 10, boxes, class_name)


def values(scores, source):
    (found,) = [entry for entry in scores if entry.source == source]
    return {name: estimate.value for name, estimate in found.measures.items()}


@pytest.mark.parametrize(
    ("first", "second", "tolerance", "expected"),
    [
        ([0.0, 0.1, 0.2], [0.0, 0.1, 0.2], 0.05, [0, 1, 2]),
        ([0.0, 0.1, 0.2], [0.2], 0.05, [-1, -1, 0]),
        # at 25 frames a second a row lies within the tolerance of three frames; it speaks for one
        ([0.0, 0.04, 0.08], [0.041], 0.05, [-1, 0, -1]),
        # more rows than frames: the nearest row speaks
        ([0.1], [0.06, 0.09, 0.14], 0.05, [1]),
        ([0.0, 1.0], [0.04, 0.94], 0.05, [0, -1]),
        ([0.0], [], 0.05, [-1]),
        ([], [0.0], 0.05, []),
        ([0.0, 0.1], [0.05], 0.05, [0, -1]),
    ],
)
def test_frames_and_rows_pair_with_their_nearest(first, second, tolerance, expected):
    assert match_times(np.asarray(first, float), np.asarray(second, float), tolerance).tolist() == expected


def test_every_frame_and_row_is_counted():
    truth = TrueBoxes({"v": boxes_at([TOP_LEFT], [TOP_LEFT], [], [TOP_LEFT], [TOP_LEFT]), "w": boxes_at([TOP_LEFT])})
    rows = table(
        row([1, 0, 0, 0], 0),
        row([0, 0, 0, 0], 1),  # empty
        row([1, 0, 0, 0], 2),  # marks a cell where there is nothing
        row([0, 0, 0, 0], 3, status="refused"),
        row([1, 0, 0, 0], 90),  # beside no frame of the truth
        row([1, 0, 0, 0], 0, video_id="stranger"),
    )
    audit = audit_table(rows, truth)
    counts = count_frames(audit)
    assert (counts.reference_frames, counts.judgeable_frames, counts.scored_frames) == (6, 5, 1)
    assert counts.missing_frames == 2  # the last frame of v, and all of w
    assert counts.coverage == 1 / 5
    assert (counts.reference_videos, counts.guided_videos) == (2, 1)
    assert (counts.rows, counts.rows_without_reference) == (6, 2)
    assert counts.statuses == {
        "empty": {"ok": 1},
        "missing": {"ok": 2},
        "ok": {"empty": 1, "ok": 1},
        "refused": {"ok": 1},
    }


def test_priors_are_scored_on_the_frames_and_grids_of_the_guidance():
    truth = TrueBoxes({"v": boxes_at([TOP_LEFT], [BOTTOM_RIGHT])})
    rows = table(row([1, 0, 0, 0], 0), row([0] * 15 + [1], 1, grid=(4, 4)))
    scores = score_sources(audit_table(rows, truth), Bootstrap())
    assert values(scores, GUIDANCE)["precision"] == 1
    assert values(scores, GUIDANCE)["recall"] == pytest.approx((1 + 1 / 4) / 2)  # one of four cells on the fine grid
    assert values(scores, UNIFORM)["share_marked"] == 1
    assert values(scores, UNIFORM)["mass_inside"] == pytest.approx((1 / 4 + 4 / 16) / 2)
    assert values(scores, TRUE_CELLS)["iou"] == 1
    gain = values(scores, f"{GUIDANCE} - {CENTRE}")["mass_inside"]
    assert gain == pytest.approx(values(scores, GUIDANCE)["mass_inside"] - values(scores, CENTRE)["mass_inside"])


def test_a_grid_over_a_part_of_the_frame_is_judged_there():
    left = (0.0, 0.0, 0.5, 1.0)
    truth = TrueBoxes({"v": boxes_at([TOP_LEFT], [BOTTOM_RIGHT])})
    rows = table(
        row([1, 0], 0, grid=(2, 1), rectangle=left),
        row([1, 0], 1, grid=(2, 1), rectangle=left),  # what is true lies outside of it
    )
    audit = audit_table(rows, truth)
    assert [frame.reference_status for frame in audit.frames] == ["ok", OUTSIDE]
    assert values(score_sources(audit, Bootstrap()), GUIDANCE)["iou"] == 1
    assert count_frames(audit).statuses == {"ok": {"ok": 1, OUTSIDE: 1}}


def test_classes_are_scored_apart():
    truth = TrueBoxes({"a": boxes_at([TOP_LEFT], class_name="x"), "b": boxes_at([TOP_LEFT], class_name="y")})
    rows = table(row([1, 0, 0, 0], 0, video_id="a"), row([0, 0, 0, 1], 0, video_id="b"))
    audit = audit_table(rows, truth, truth.class_names)
    by_class = audit.scored_by("class_name")
    assert list(by_class) == ["x", "y"]
    found = {name: values(score_sources(audit, Bootstrap(), frames), GUIDANCE) for name, frames in by_class.items()}
    assert (found["x"]["iou"], found["y"]["iou"]) == (1, 0)
    assert values(score_sources(audit, Bootstrap()), GUIDANCE)["iou"] == 0.5


def test_nothing_in_common_is_an_error():
    with pytest.raises(GuidanceError, match="no video in common: v against other"):
        audit_table(table(row([1, 0, 0, 0], 0)), TrueBoxes({"other": boxes_at([TOP_LEFT])}))
    with pytest.raises(GuidanceError, match="no frames"):
        TrueBoxes({})


def test_no_judged_frame_gives_no_scores():
    audit = audit_table(table(row([1, 0, 0, 0], 0)), TrueBoxes({"v": boxes_at([])}))
    assert score_sources(audit, Bootstrap()) == []
    assert count_frames(audit).coverage is None


# another table


def test_a_table_agrees_with_itself():
    rows = table(row([3, 1, 0, 0], 0), row([0, 0, 0, 1], 1), row([0, 0, 0, 0], 2))
    found = values(score_sources(audit_table(rows, OtherTable(rows)), Bootstrap()), GUIDANCE)
    assert found["iou"] == found["precision"] == found["recall"] == found["pointing_accuracy"] == 1
    assert found["total_variation"] == pytest.approx(0, abs=1e-6)
    assert found["jensen_shannon_bits"] == pytest.approx(0, abs=1e-6)
    assert found["correlation"] == pytest.approx(1)


def test_unlike_grids_meet_on_the_finer_one_by_exact_area():
    fine = np.kron(np.asarray([[0.75, 0.25], [0, 0]]), np.full((2, 2), 0.25)).reshape(-1)
    coarse, fine = table(row([3, 1, 0, 0], 0)), table(row(fine, 0, grid=(4, 4)))
    for guidance, other in ((coarse, fine), (fine, coarse)):
        found = values(score_sources(audit_table(guidance, OtherTable(other)), Bootstrap()), GUIDANCE)
        assert found["total_variation"] == pytest.approx(0, abs=1e-6)
        assert found["iou"] == 1
    tall, wide = table(row([1, 0, 0], 0, grid=(3, 1))), table(row([1, 0], 0, grid=(1, 2)))
    found = values(score_sources(audit_table(tall, OtherTable(wide)), Bootstrap()), GUIDANCE)
    # on 3 x 2 cells the first is (1/2, 1/2, 0, 0, 0, 0), the second (1/3, 0, 1/3, 0, 1/3, 0)
    assert found["total_variation"] == pytest.approx(2 / 3)
    assert (found["precision"], found["recall"]) == (pytest.approx(1 / 2), pytest.approx(1 / 3))


def test_maps_of_unlike_parts_of_the_frame_are_compared_on_the_whole_of_it():
    left = table(row([1], 0, grid=(1, 1), rectangle=(0.0, 0.0, 0.5, 1.0)))
    whole = table(row([1, 0, 1, 0], 0))
    found = values(score_sources(audit_table(left, OtherTable(whole)), Bootstrap()), GUIDANCE)
    assert found["total_variation"] == pytest.approx(0, abs=1e-6)


def test_statuses_of_both_tables_are_counted():
    first = table(row([1, 0, 0, 0], 0), row([0] * 4, 1, status="failed"), row([1, 0, 0, 0], 2))
    second = table(row([1, 0, 0, 0], 0), row([1, 0, 0, 0], 1), row([0] * 4, 2), row([1, 0, 0, 0], 3))
    counts = count_frames(audit_table(first, OtherTable(second)))
    assert counts.statuses == {"failed": {"ok": 1}, "missing": {"ok": 1}, "ok": {"empty": 1, "ok": 1}}


# ground truth


def test_truth_from_a_table_keeps_relevant_boxes_and_classes():
    entry = {"name": "hand", "center": [], "box": TOP_LEFT, "relevant": True}
    features = datasets.Features(
        {name: FEATURES[name] for name in ("video_id", "timestamp_s", "objects")}
        | {"label": datasets.ClassLabel(names=["tap", "wave"])}
    )
    rows = [
        {"video_id": "v", "timestamp_s": 0.1, "objects": [entry, {**entry, "relevant": False}], "label": 1},
        {"video_id": "v", "timestamp_s": 0.0, "objects": [{**entry, "box": []}], "label": 1},
    ]
    truth = boxes_from_table(datasets.Dataset.from_list(rows, features))["v"]
    assert truth.times_s.tolist() == [0.0, 0.1]
    assert [len(boxes) for boxes in truth.boxes] == [0, 1]
    assert truth.class_name == "wave"
    with pytest.raises(GuidanceError, match="a frame is there twice"):
        boxes_from_table(datasets.Dataset.from_list([rows[0], rows[0]], features))
    with pytest.raises(GuidanceError, match=r"folder: columns \['objects'\] are missing"):
        boxes_from_table(datasets.Dataset.from_list(rows, features).remove_columns("objects"), "folder")


@pytest.fixture
def manifest(tmp_path):
    """Two clips of 5 frames, at 10 frames a second."""
    rows = []
    for name in ("juggle/a", "juggle/b"):
        path = tmp_path / "videos" / f"{name}.mp4"
        write_video(path, np.full((5, 48, 64, 3), 90, dtype=np.uint8), 10.0)
        rows.append(manifest_row(f"{name}.mp4", "juggle", probe_video(path)))
    return write_manifest(tmp_path / "manifest", {"test": rows}, ["juggle"], "tests@1", tmp_path / "videos")


def boxes_file(folder, **videos):
    path = folder / "boxes.json"
    path.write_text(json.dumps({name.replace("__", "/"): entry for name, entry in videos.items()}))
    return path


def tubes(first_frame, boxes):
    return {"frame_width": 64, "frame_height": 48, "tubes": [{"first_frame": first_frame, "boxes_xywh": boxes}]}


def test_boxes_of_a_file_get_the_times_of_the_video(tmp_path, manifest, caplog):
    path = boxes_file(tmp_path, juggle__a=tubes(1, [[0, 0, 32, 24]] * 6), nowhere=tubes(0, []))
    truth = boxes_from_json(path, manifest)
    assert list(truth) == ["juggle/a"]
    times_s = read_frame_table(manifest.video_root / "juggle/a.mp4").times_s
    np.testing.assert_allclose(truth["juggle/a"].times_s, times_s[1:])  # frame 0 has no box, and is not known
    np.testing.assert_allclose(truth["juggle/a"].boxes[0], [TOP_LEFT])
    assert truth["juggle/a"].class_name == "juggle"
    assert "boxes of 2 frames that the video has not" in caplog.text
    assert "1 of 2 videos are left out, such as nowhere" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "not a file of boxes"),
        ('{"juggle/a": {"tubes": []}}', "not a file of boxes"),
        ('{"nowhere": {}}', "none of its 1 videos"),
    ],
)
def test_a_file_of_boxes_that_cannot_be_used_is_named(tmp_path, manifest, text, message):
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(GuidanceError, match=message):
        boxes_from_json(path, manifest)
