"""VidOR: the published files to the last box and frame, and files that are broken in every part."""

import json
from pathlib import Path

import pytest
from fixtures.layout_trees import put

from vidreason.errors import GraphError
from vidreason.scenegraph import check_graph
from vidreason.scenegraph.readers import KnownVideos, ReadingReport, Unusable, VideoFacts
from vidreason.scenegraph.readers.vidor import (
    OBJECT_CLASSES,
    RELATION_KINDS,
    read_vidor,
    read_vidor_file,
    vidor_files,
)


def box(tid, xmin=0, ymin=0, xmax=9, ymax=9, **more):
    return {"tid": tid, "bbox": {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}, "generated": 0, **more}


def relation(subject=0, object_=1, predicate="watch", begin=0, end=3):
    ends = {"subject_tid": subject, "object_tid": object_}
    return {**ends, "predicate": predicate, "begin_fid": begin, "end_fid": end}


def annotation(**changes):
    whole = {
        "version": "VERSION 1.0",
        "video_id": "77",
        "video_path": "0001/77.mp4",
        "frame_count": 4,
        "fps": 10.0,
        "width": 100,
        "height": 50,
        "subject/objects": [{"tid": 0, "category": "adult"}, {"tid": 1, "category": "Ball/Sports_ball"}],
        "trajectories": [[box(0), box(1, 90, 40, 99, 49)], [box(0)], [box(0, generated=1)], []],
        "relation_instances": [relation(), relation(1, 0, "in_front_of", 1, 4), relation(0, 1, "speak_to", 2, 3)],
    }
    return {**whole, **changes}


def write(tmp_path, content, name="77.json") -> Path:
    return put(tmp_path / name, content if isinstance(content, bytes) else json.dumps(content).encode())


def read(tmp_path, content, **more):
    report = ReadingReport()
    graph = read_vidor_file(write(tmp_path, content), "train", report, **more)
    report.check()
    return graph, report


def test_a_small_file(tmp_path):
    graph, report = read(tmp_path, annotation())
    check_graph(graph, {"relation": RELATION_KINDS, "spatial": RELATION_KINDS})
    assert (graph.graph_id, graph.video_id, graph.split, graph.num_frames) == ("77", "77", "train", 4)
    assert (graph.frames_per_second, graph.frame_height, graph.frame_width) == (10.0, 50, 100)
    assert [(node.node_id, node.name) for node in graph.nodes] == [
        ("0_adult", "adult"),
        ("1_ball/sports_ball", "ball/sports ball"),
    ]
    # the last column and row of pixels belong to a box
    assert graph.node("1_ball/sports_ball").track[0].box == (0.9, 0.8, 1.0, 1.0)
    assert [(point.frame_index, point.timestamp_s) for point in graph.node("0_adult").track] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
    ]
    assert [(edge.kind, edge.subject, edge.predicate, edge.start_s, edge.end_s) for edge in graph.edges] == [
        ("relation", "0_adult", "watch", 0.0, 0.3),
        ("spatial", "1_ball/sports_ball", "in front of", 0.1, 0.4),
        ("relation", "0_adult", "speak to", 0.2, 0.3),
    ]
    assert report.noted == {("boxes", "by_a_tracker"): 1}
    assert len(OBJECT_CLASSES) == 80 and len(RELATION_KINDS) == 50
    assert sorted(set(RELATION_KINDS.values())) == ["action", "social", "spatial"]


def test_the_published_files(shared_data):
    """T26: 1,925 frames, 6 objects, 40 relations; 872, 3, 15; `end_fid` is exclusive."""
    report = ReadingReport()
    files = vidor_files(shared_data / "videoqa" / "vidor", "validation")
    assert list(files) == ["validation"]
    graphs = {graph.graph_id: graph for graph in read_vidor(files["validation"], "validation", report)}
    report.check()
    counts = {name: (graph.num_frames, len(graph.nodes), len(graph.edges)) for name, graph in graphs.items()}
    assert counts == {"2793806282": (1925, 6, 40), "11566930393": (872, 3, 15)}
    assert not report.dropped and report.kept == report.seen
    assert report.kept == {"graphs": 2, "objects": 9, "boxes": 7370, "relations": 55}
    assert set(report.noted) == {("boxes", "by_a_tracker")}
    inclusive = 0
    for path in files["validation"]:
        source = json.loads(path.read_text())
        graph = graphs[source["video_id"]]
        check_graph(graph, RELATION_KINDS)
        frames = {node.node_id: {point.frame_index for point in node.track} for node in graph.nodes}
        for edge, said in zip(graph.edges, source["relation_instances"], strict=True):
            begin, end = said["begin_fid"], said["end_fid"]
            # the frames with begin <= t < end by their times are begin .. end - 1, all with a box of both
            held = {
                point.frame_index
                for point in graph.node(edge.subject).track
                if edge.start_s - 1e-9 <= point.timestamp_s < edge.end_s - 1e-9
            }
            assert held == set(range(begin, end))
            assert held <= frames[edge.object]
            assert edge.end_s - edge.start_s == pytest.approx((end - begin) / source["fps"])
            inclusive += end in frames[edge.subject] & frames[edge.object]
        # the borders of the frame are reached, and nothing lies beyond them
        boxes = [point.box for node in graph.nodes for point in node.track]
        assert max(corner for one in boxes for corner in one) == 1.0 and min(min(one) for one in boxes) == 0.0
    assert inclusive < 55  # were `end_fid` a frame of the relation, both would have a box there


BROKEN_FILES = {
    "unreadable": [b"{", b'{"video_id": 1,}', b"\xff", b"[" * 100_000, json.dumps(annotation()).encode()[:-9]],
    "malformed": [
        [],
        {"video_id": "77"},
        annotation(video_id=""),
        annotation(video_id="a\x00b"),
        annotation(frame_count=0),
        annotation(frame_count=True),
        annotation(width="100"),
        annotation(height=-5),
        annotation(trajectories={}),
        annotation(trajectories=[None]),
        {**annotation(), "subject/objects": "none"},
        annotation(relation_instances=None),
    ],
    "no_frame_rate": [annotation(fps=0), annotation(fps=float("nan")), annotation(fps="25"), annotation(fps=10**400)],
}


def test_files_that_cannot_be_used_are_skipped_and_counted(tmp_path):
    files = [write(tmp_path, annotation(), "good.json")]
    for reason, contents in BROKEN_FILES.items():
        for number, content in enumerate(contents):
            file = write(tmp_path, content, f"{reason}{number}.json")
            with pytest.raises(Unusable, match=rf"{reason}{number}\.json") as caught:
                read_vidor_file(file, "train", ReadingReport())
            assert caught.value.reason == reason, (content, caught.value)
            assert isinstance(caught.value, GraphError) and len(str(caught.value).splitlines()) == 1
            files.append(file)
    report = ReadingReport()
    assert [graph.graph_id for graph in read_vidor(files, "train", report)] == ["77"]
    report.check()
    assert report.seen["graphs"] == len(files) and report.kept["graphs"] == 1
    assert {reason: count for (_, reason), count in report.dropped.items()} == {
        reason: len(contents) for reason, contents in BROKEN_FILES.items()
    }
    assert "unreadable0.json" in report.table() and report.as_dict()["graphs"]["dropped"]["no_frame_rate"] == 4


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("vidreason.scenegraph.readers.vidor.MAX_BYTES", 100)
    with pytest.raises(Unusable, match=r"77\.json: is larger than 100 bytes"):
        read_vidor_file(write(tmp_path, annotation()), "train", ReadingReport())


def test_broken_parts_are_dropped_by_reason_and_the_rest_is_kept(tmp_path):
    nan, inf = float("nan"), float("inf")
    content = annotation(
        **{
            "subject/objects": [
                {"tid": 0, "category": "adult"},
                {"tid": 1, "category": "unicorn"},  # kept: the file says what it is
                {"tid": 1, "category": "dog"},
                {"tid": 2, "category": ""},
                {"tid": 3, "category": "x" * 300},
                {"tid": -1, "category": "dog"},
                {"tid": True, "category": "dog"},
                {"category": "dog"},
                "dog",
            ],
            "trajectories": [
                [box(0), box(0), box(1), box(9)],
                [box(0, 5, 5, 2, 9), box(1, xmin=nan), box(1, xmax=inf), box(0, xmax=101), box(1, xmax=140)],
                [box(1, "a"), {"tid": 1}, {"tid": 1, "bbox": [1, 2, 3, 4]}, 7, box(1, xmax=10**400)],
                [],
                [box(0)],  # a fifth frame of a video of four
            ],
            "relation_instances": [
                relation(),
                relation(predicate="teleports"),  # kept and noted
                relation(0, 5),
                relation(0, 0),
                relation(begin=2, end=2),
                relation(begin=3, end=1),
                relation(end=5),
                relation(begin=-1),
                relation(predicate=None),
                relation(begin=0.5),
                {"predicate": "watch"},
            ],
        }
    )
    graph, report = read(tmp_path, content)
    check_graph(graph)
    assert [node.name for node in graph.nodes] == ["adult", "unicorn"]
    assert [edge.predicate for edge in graph.edges] == ["watch", "teleports"]
    assert {key: count for key, count in report.dropped.items() if key[0] == "objects"} == {
        ("objects", "id_twice"): 1,
        ("objects", "no_name"): 2,
        ("objects", "malformed"): 4,
    }
    assert {reason: count for (unit, reason), count in report.dropped.items() if unit == "boxes"} == {
        "id_twice": 1,
        "unknown_object": 1,
        "inverted_or_empty": 1,
        "not_finite": 2,
        "outside_frame": 1,
        "malformed": 5,
        "beyond_the_video": 1,
    }
    assert {reason: count for (unit, reason), count in report.dropped.items() if unit == "relations"} == {
        "unknown_object": 1,
        "with_itself": 1,
        "inverted_or_empty": 2,
        "beyond_the_video": 3,
        "no_name": 1,
        "malformed": 1,
    }
    assert report.noted["boxes", "cut_at_the_border"] == 1
    assert report.noted["objects", "class_outside_the_vocabulary"] == 1
    assert "teleports" in report.examples["relations", "predicate_outside_the_vocabulary"]
    assert "trajectories[1][4]" in report.examples["boxes", "outside_frame"]
    assert "50 x 100" in report.examples["boxes", "outside_frame"]


def test_videos_of_a_manifest(tmp_path):
    """An annotation of another frame rate, cut or shape says nothing true about the video at hand."""

    def known(**changes):
        facts = {"frames_per_second": 10.0, "frame_height": 100, "frame_width": 200, "num_frames": 4}
        return KnownVideos([VideoFacts("0001/77", "test", **{**facts, **changes})], is_manifest=True)

    graph, _ = read(tmp_path, annotation(), known=known(), only_known=True)
    assert (graph.video_id, graph.split) == ("0001/77", "test")
    assert (graph.frame_height, graph.frame_width) == (50, 100)  # that the boxes were drawn on
    for reason, changes in {
        "other_frame_rate": {"frames_per_second": 12.0},
        "other_length": {"num_frames": 400},
        "other_shape": {"frame_height": 200},
    }.items():
        with pytest.raises(Unusable, match=r"77\.json") as caught:
            read(tmp_path, annotation(), known=known(**changes))
        assert caught.value.reason == reason
    read(tmp_path, annotation(), known=KnownVideos())
    with pytest.raises(Unusable, match="not among the videos"):
        read(tmp_path, annotation(), known=KnownVideos(), only_known=True)
    two = KnownVideos([VideoFacts("a/77"), VideoFacts("b/77")])
    with pytest.raises(Unusable, match="could be 'a/77' or 'b/77'"):
        read(tmp_path, annotation(), known=two)


def test_the_folders_of_the_release_are_its_splits(tmp_path):
    for path in ("training/0001/1.json", "training/0000/2.json", "validation/0001/3.json", "4.json"):
        write(tmp_path, annotation(video_id=Path(path).stem), path)
    files = vidor_files(tmp_path, "other")
    assert {split: [path.stem for path in paths] for split, paths in files.items()} == {
        "other": ["4"],
        "train": ["2", "1"],
        "validation": ["3"],
    }
    assert list(vidor_files(tmp_path / "training")) == ["train"]
    with pytest.raises(GraphError, match="no such file, or no folder"):
        vidor_files(tmp_path / "nowhere")
