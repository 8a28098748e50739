"""STAR: the published item and the four teaser questions, and files that are broken in every part."""

import json
import pickle

import pytest
from fixtures.layout_trees import put

from vidreason.errors import GraphError
from vidreason.scenegraph import check_graph
from vidreason.scenegraph.readers import (
    KnownVideos,
    ReadingReport,
    StarClasses,
    StarSettings,
    VideoFacts,
    read_star,
    read_star_classes,
    read_video_facts,
    star_files,
)
from vidreason.scenegraph.readers.keyframes import frame_index

KNOWN = KnownVideos(
    [
        VideoFacts("0TXYV", "", 29.452, 270, 480),  # the rate is that of STAR's own list
        VideoFacts("WBS4I", "", 29.97002997002997, 270, 480),
        VideoFacts("V0001", "", 10.0, 100, 200, 100),
    ]
)
CLASSES = StarClasses(
    {"o000": "person", "o003": "door", "r002": "in front of", "r009": "holding", "a001": "open a door"},
    {"a001": "o003"},
)


def situation(**changes):
    whole = {
        "rel_pairs": [["o000", "o003"]],
        "rel_labels": ["r002"],
        "bbox": [[20, 10, 60, 90], [100, 0, 200, 100]],
        "bbox_labels": ["o000", "o003"],
        "actions": ["a001"],
    }
    return {**whole, **changes}


def question(number=1, situations=None, **changes):
    frames = {"000011": situation(), "000021": situation()} if situations is None else situations
    whole = {"question_id": f"Interaction_T1_{number}", "video_id": "V0001", "start": 1.0, "end": 3.0}
    return {**whole, "situations": frames, **changes}


def read(tmp_path, content, **settings):
    file = put(tmp_path / "STAR_val.json", content if isinstance(content, bytes) else json.dumps(content))
    report = ReadingReport()
    settings = StarSettings(**{"classes": CLASSES, "known": KNOWN, **settings})
    graphs = list(read_star(file, "validation", report, settings))
    report.check()
    for graph in graphs:
        check_graph(graph)
    return graphs, report


def test_frames_count_from_one():
    """T26: STAR's and Action Genome's frame N is decode index N - 1, at (N - 1) / fps."""
    assert [frame_index(name) for name in ("000001", "000445", "000445.png")] == [0, 444, 444]
    for name in ("000000", "", "-00001", "1e3", "٣", "00001.exe", "9" * 10, 445, None, "000445\n"):
        with pytest.raises(GraphError, match="expected a number from 1 on"):
            frame_index(name)


def test_a_question_is_a_graph(tmp_path):
    (graph,), report = read(tmp_path, [question()])
    assert (graph.graph_id, graph.video_id, graph.split) == ("Interaction_T1_1", "V0001", "validation")
    person, door, event = graph.nodes
    assert [(point.frame_index, point.timestamp_s) for point in person.track] == [(10, 1.0), (20, 2.0)]
    assert person.track[0].box == (0.1, 0.1, 0.3, 0.9)  # corners, not x, y, w, h
    assert door.name == "door" and door.track[0].box == (0.5, 0.0, 1.0, 1.0)
    assert (event.kind, event.name, event.start_s, event.end_s) == ("event", "open a door", 1.0, pytest.approx(2.1))
    edges = {(edge.kind, edge.subject, edge.predicate, edge.object): edge for edge in graph.edges}
    assert set(edges) == {
        ("spatial", "person", "in front of", "door"),
        ("event", "person", "does", "event 0"),
        ("event", "door", "undergoes", "event 0"),
    }
    for edge in graph.edges:
        assert (edge.start_s, edge.end_s, edge.frame_indices) == (1.0, pytest.approx(2.1), (10, 20))
    assert report.kept == {"graphs": 1, "objects": 2, "boxes": 4, "relations": 2, "actions": 2}
    # without names of the ids nothing can be called by its name, and without a size boxes are no places
    graphs, report = read(tmp_path, [question()], classes=StarClasses())
    assert [graph.provenance["status"] for graph in graphs] == ["empty"]
    assert {reason for _, reason in report.dropped} == {"unknown_class"}
    sizeless = KnownVideos([VideoFacts("V0001", "test", 10.0)])
    (graph,), report = read(tmp_path, [question()], known=sizeless)
    assert graph.split == "test" and not any(node.track for node in graph.nodes) and len(graph.edges) == 3
    assert report.dropped == {("boxes", "no_frame_size"): 4}


def test_key_frames_hold_together_up_to_a_gap(tmp_path):
    holding = situation(rel_labels=["r009"], actions=[])
    frames = {"000011": situation(), "000021": holding, "000031": situation(), "000099": situation()}
    (graph,), _ = read(tmp_path, [question(situations=frames)], max_gap_s=5.0)
    said = [(e.predicate, e.frame_indices) for e in graph.edges if e.kind != "event"]
    # frame 20 says otherwise, and 30 and 98 are 6.8 s apart
    assert said == [("in front of", (10,)), ("in front of", (30,)), ("in front of", (98,)), ("holding", (20,))]
    (graph,), _ = read(tmp_path, [question(situations=frames)], max_gap_s=7.0)
    assert [e.frame_indices for e in graph.edges if e.predicate == "in front of"] == [(10,), (30, 98)]
    events = [(node.start_s, node.end_s) for node in graph.nodes if node.kind == "event"]
    assert events == [(1.0, pytest.approx(1.1)), (3.0, pytest.approx(9.9))]


def test_questions_of_one_video_can_be_one_graph(tmp_path):
    first = question(1, {"000011": situation()})
    second = question(2, {"000011": situation(rel_labels=["r009"]), "000021": situation()})
    other = question(3, video_id="0TXYV")
    graphs, report = read(tmp_path, [first, other, second, question(4, {"0": situation()})], by_video=True)
    assert [graph.graph_id for graph in graphs] == ["V0001", "0TXYV"]
    assert {(e.predicate, e.frame_indices) for e in graphs[0].edges if e.kind != "event"} == {
        ("in front of", (10, 20)),
        ("holding", (10,)),
    }
    assert report.kept["graphs"] == 3 and report.dropped["graphs", "malformed"] == 1


def test_questions_that_cannot_be_used_are_counted(tmp_path):
    broken = {
        "malformed": [
            7,
            {"question_id": "x"},
            question(2, question_id=""),
            question(3, video_id=5),
            question(4, situations=[]),
            question(5, {"zero": situation()}),
            question(6, {"000001": []}),
            question(7, {"000001": {"rel_pairs": []}}),
            question(8, {"000001": situation(actions="a001")}),
        ],
        "counts_differ": [
            question(9, {"000001": situation(rel_labels=[])}),
            question(10, {"000001": situation(bbox_labels=["o000"])}),
        ],
        "no_frame_rate": [question(11, video_id="NOFPS")],
        "beyond_the_video": [question(12, {"000101": situation()})],
        "id_twice": [question(1), question(13, {"1": situation(), "000001": situation()})],
    }
    items = [question(1), *(item for some in broken.values() for item in some)]
    graphs, report = read(tmp_path, items)
    assert [graph.graph_id for graph in graphs] == ["Interaction_T1_1"]
    assert {reason: count for (unit, reason), count in report.dropped.items() if unit == "graphs"} == {
        reason: len(some) for reason, some in broken.items()
    }
    assert (
        "STAR_val.json: Interaction_T1_9: frame 000001 has 1 relations" in report.examples["graphs", "counts_differ"]
    )
    _, report = read(tmp_path, [question(1, video_id="AAAAA")], only_known=True)
    assert report.dropped == {("graphs", "unknown_video"): 1}


def test_parts_that_cannot_be_used_are_counted(tmp_path):
    frame = situation(
        rel_pairs=[["o000", "o003"], ["o000", "o099"], ["o003", "o003"], ["o000"], "o0", [None, "o003"]],
        rel_labels=["r009", "r009", "r009", "r009", "r009", "r009"],
        bbox=[[20, 10, 60, 90], None, [0, 0, 300, 5], [9, 9, 2, 20], [1, 2, 3], [0, 0, 1, 1e999], [1, 1, 9, 9]],
        bbox_labels=["o000", "o003", "o003", "o003", "o003", "o003", "o000"],
        actions=["a001", "a999", 5],
    )
    (graph,), report = read(tmp_path, [question(situations={"000011": frame})])
    assert [node.name for node in graph.nodes] == ["person", "door", "open a door"]
    assert {key: count for key, count in report.dropped.items() if key[0] != "boxes"} == {
        ("relations", "unknown_class"): 1,
        ("relations", "with_itself"): 1,
        ("relations", "malformed"): 2,
        ("relations", "no_name"): 1,
        ("actions", "unknown_class"): 1,
        ("actions", "no_name"): 1,
    }
    assert {reason: count for (unit, reason), count in report.dropped.items() if unit == "boxes"} == {
        "no_box": 1,
        "outside_frame": 1,
        "inverted_or_empty": 1,
        "malformed": 1,
        "not_finite": 1,
        "class_twice": 1,
    }


def test_files_that_are_none(tmp_path):
    for content, said in (
        (b"{", "no JSON"),
        (b"[]", "no question with 'situations'"),
        (b'{"a": {"b": 1}}', "no question with 'situations'"),
        (json.dumps([question()])[:-1].encode() + b",]", "a comma before a closing bracket"),
    ):
        with pytest.raises(GraphError, match=said):
            read(tmp_path, content)
    graphs, _ = read(tmp_path, json.dumps([question()])[:-1].encode() + b",]", allow_trailing_commas=True)
    assert len(graphs) == 1
    for name in ("STAR_train.json", "STAR_val.json"):
        put(tmp_path / "release" / name)
    assert list(star_files(tmp_path / "release")) == ["train", "validation"]
    assert list(star_files(put(tmp_path / "mine.json"), "test")) == ["test"]
    with pytest.raises(GraphError, match="no such file"):
        star_files(tmp_path / "none")


def test_lists_of_classes_and_rates(tmp_path):
    put(tmp_path / "object_classes.txt", "o000 person\no001 sofa/couch\n")
    put(tmp_path / "action_classes.txt", "a000 sit on  a sofa\na001 run\n")
    put(tmp_path / "action_mapping.txt", "a000 v001 o001\na001 v002 None\n")
    classes = read_star_classes(tmp_path)
    assert classes.names["a000"] == "sit on a sofa" and classes.object_of == {"a000": "o001"}
    for file, line in (
        ("object_classes.txt", "x000 person"),
        ("object_classes.txt", "o000 a\no000 b"),
        ("action_mapping.txt", "a0"),
    ):
        folder = tmp_path / file.replace(".", "_")
        put(folder / file, line)
        with pytest.raises(GraphError, match=file):
            read_star_classes(folder)
    rates = {"A.mp4": 29.97, "B": 25}
    for content in (pickle.dumps(rates, 3), json.dumps(rates)):
        found = read_video_facts(put(tmp_path / "video_fps", content))
        assert found == [VideoFacts("A", "", 29.97), VideoFacts("B", "", 25.0)]
    whole = {"A": {"frames_per_second": 5, "frame_height": 4, "frame_width": 3, "num_frames": 2}}
    assert read_video_facts(put(tmp_path / "f.json", json.dumps(whole))) == [VideoFacts("A", "", 5.0, 4, 3, 2)]
    for wrong in (
        {"A": "25"},
        {"A": float("nan")},
        {"A": -1},
        {"A": {"fps": 5}},
        {"A": {"frame_width": 1.5}},
        [1],
        {"": 5},
    ):
        with pytest.raises(GraphError, match=r"f\.json"):
            read_video_facts(put(tmp_path / "f.json", json.dumps(wrong)))


def test_the_published_item(shared_data):
    star = shared_data / "videoqa" / "star"
    classes = read_star_classes(star)
    assert len([name for name in classes.names if name[0] == "o"]) == 37 and classes.object_of["a086"] == "o003"
    report = ReadingReport()
    settings = StarSettings(classes, KNOWN)
    (graph,) = read_star(star / "sample_item.json.txt", "validation", report, settings)
    report.check()
    check_graph(graph)
    assert not report.dropped and not report.noted
    assert report.kept == {"graphs": 1, "objects": 4, "boxes": 19, "relations": 24, "actions": 7}
    person = graph.node("person")
    assert person.track[-1].frame_index == 446  # "000447"
    assert person.track[-1].timestamp_s == pytest.approx(446 / 29.97, abs=1e-3)
    assert all(
        8.9 <= point.timestamp_s <= 15.5 for node in graph.nodes for point in node.track
    )  # the segment asked of
    # were the boxes x, y, w, h, 9 of 19 would end outside the frame, which is 270 high
    source = json.loads((star / "sample_item.json.txt").read_text())
    boxes = [box for frame in source["situations"].values() for box in frame["bbox"]]
    assert sum(x + w > 480 or y + h > 270 for x, y, w, h in boxes) == 9
    assert all(x0 < x1 <= 480 and y0 < y1 <= 270 for x0, y0, x1, y1 in boxes)
    (event,) = [node for node in graph.nodes if node.kind == "event"]
    assert event.name == "close a closet/cabinet"
    assert ("closet/cabinet", "undergoes") in {(e.subject, e.predicate) for e in graph.edges if e.kind == "event"}


def test_the_teaser(shared_data):
    """Four questions on one video, with words in place of ids; their key frames are the real frames beside them."""
    star = shared_data / "videoqa" / "star"
    report = ReadingReport()
    graphs = list(read_star(star / "teaser_questions.json", "validation", report, StarSettings(known=KNOWN)))
    report.check()
    assert [graph.graph_id for graph in graphs] == [
        "Interaction_T2_8166",
        "Sequence_T1_7788",
        "Prediction_T3_729",
        "Feasibility_T3_123",
    ]
    assert report.kept == {"graphs": 4, "objects": 20, "relations": 142, "actions": 40} and not report.dropped
    there = {int(path.stem) - 1 for path in (star / "frames" / "0TXYV").glob("*.png")}
    source = json.loads((star / "teaser_questions.json").read_text())
    for graph in graphs:
        check_graph(graph)
        question = source[graph.graph_id]
        seen = {index for edge in graph.edges for index in edge.frame_indices}
        assert seen == {int(name) - 1 for name in question["situations"]} and seen <= there
        for index in seen:  # in the part of the video that is asked about, as STAR's own tool cuts it
            assert question["start"] - 0.05 <= index / 29.452 <= question["end"] + 0.05
    first = graphs[0]
    holds = [edge for edge in first.edges if (edge.subject, edge.predicate) == ("person", "drinking from")]
    assert [(edge.object, edge.frame_indices) for edge in holds] == [("bottle", (438,))]
    (joined,) = read_star(
        star / "teaser_questions.json", "validation", ReadingReport(), StarSettings(known=KNOWN, by_video=True)
    )
    assert joined.graph_id == "0TXYV" and sum(node.kind == "object" for node in joined.nodes) == 5
