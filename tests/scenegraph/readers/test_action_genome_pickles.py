"""Action Genome: pickles in the layout of the release, made here, and pickles that would run code or never end."""

import os
import pickle

import numpy as np
import pytest
from fixtures.layout_trees import put

from vidreason.errors import GraphError
from vidreason.scenegraph import check_graph
from vidreason.scenegraph.readers import (
    KnownVideos,
    ReadingReport,
    VideoFacts,
    action_genome,
    open_action_genome,
    read_action_genome,
    split_of_videos,
)

KNOWN = KnownVideos([VideoFacts("AAAAA", "", 10.0), VideoFacts("charades/BBBBB", "mine", 25.0, 270, 480, 500)])


def thing(name="bottle", box=(48.0, 27.0, 96.0, 54.0), **changes):
    whole = {
        "class": name,
        "bbox": box,
        "attention_relationship": ["looking_at"],
        "spatial_relationship": ["in_front_of"],
        "contacting_relationship": ["holding", "touching"],
        "visible": True,
        "metadata": {"tag": "AAAAA.mp4/000011.png", "set": "train"},
    }
    return {**whole, **changes}


def unseen(name="table", of="train"):
    lists = ("attention_relationship", "spatial_relationship", "contacting_relationship")
    return thing(name, None, visible=False, metadata={"set": of}, **dict.fromkeys(lists))


def persons(*boxes, **changes):
    whole = {
        "bbox": np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
        "bbox_score": np.ones(len(boxes), np.float32),
        "bbox_size": (480, 270),
        "bbox_mode": "xyxy",
        "keypoints": np.zeros((len(boxes), 17, 3), np.float32),
        "keypoints_logits": np.zeros((len(boxes), 17), np.float32),
    }
    return {**whole, **changes}


ACTOR = (240.0, 0.0, 480.0, 270.0)


def release(tmp_path, objects, people=None, frame_list=None, protocol=3):
    put(tmp_path / "object_bbox_and_relationship.pkl", pickle.dumps(objects, protocol))
    if people is not None:
        put(tmp_path / "person_bbox.pkl", pickle.dumps(people, protocol))
    if frame_list is not None:
        put(tmp_path / "frame_list.txt", "\n".join(frame_list) + "\n")
    return tmp_path


def read(folder, known=KNOWN, **settings):
    report = ReadingReport()
    files = open_action_genome(folder, report)
    graphs = {
        split: list(read_action_genome(files, videos, split, report, known, **settings))
        for split, videos in split_of_videos(files, "other", known).items()
    }
    report.check()
    for of in graphs.values():
        for graph in of:
            check_graph(graph)
    return graphs, report


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_a_release(tmp_path, protocol):
    """T26: frame N is decode index N - 1, objects are x, y, width, height, persons are corners."""
    objects = {
        "AAAAA.mp4/000011.png": [thing(), unseen()],
        "AAAAA.mp4/000031.png": [thing(box=(0.0, 0.0, 480.0, 270.0), contacting_relationship=["not_contacting"])],
        "AAAAA.mp4/000021.png": [
            thing(attention_relationship=["unsure"], contacting_relationship=["other_relationship"])
        ],
        "BBBBB.mp4/000001.png": [thing("cup", spatial_relationship=["in", "beneath"], metadata={"set": "test"})],
    }
    people = {name: persons(ACTOR, (0, 0, 9, 9)) for name in objects}
    listed = [*objects, "AAAAA.mp4/000099.png"]
    graphs, report = read(release(tmp_path, objects, people, listed, protocol))
    assert {split: [graph.graph_id for graph in of] for split, of in graphs.items()} == {
        "train": ["AAAAA"],
        "mine": ["charades/BBBBB"],  # the manifest's split and name
    }
    (graph,) = graphs["train"]
    assert (graph.frame_height, graph.frame_width, graph.frames_per_second) == (270, 480, 10.0)
    person, bottle = graph.nodes
    assert [(point.frame_index, point.timestamp_s) for point in bottle.track] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert bottle.track[0].box == pytest.approx((0.1, 0.1, 0.3, 0.3))
    assert bottle.track[2].box == (0.0, 0.0, 1.0, 1.0)
    assert person.track[0].box == (0.5, 0.0, 1.0, 1.0)
    assert {(e.kind, e.subject, e.predicate, e.object, e.frame_indices) for e in graph.edges} == {
        ("relation", "person", "looking at", "bottle", (10,)),
        ("relation", "person", "looking at", "bottle", (30,)),  # unsure in between
        ("relation", "person", "holding", "bottle", (10,)),
        ("relation", "person", "touching", "bottle", (10,)),
        ("relation", "person", "not contacting", "bottle", (30,)),
        # where the object is to the person, not where the person is to the object
        ("spatial", "bottle", "in front of", "person", (10, 20, 30)),
    }
    (spatial,) = [edge for edge in graph.edges if edge.kind == "spatial"]
    assert (spatial.start_s, spatial.end_s) == (1.0, pytest.approx(3.1))
    assert report.dropped == {
        ("boxes", "not_visible"): 1,
        ("boxes", "another_person"): 4,
        ("relations", "says_nothing"): 2,
    }
    assert report.kept["boxes"] == 8 and report.kept["relations"] == 13
    assert report.noted == {("graphs", "frame_in_the_list_alone"): 1}
    assert "000099" in report.table()


def test_what_cannot_be_used_is_counted(tmp_path):
    good = {"AAAAA.mp4/000001.png": [thing()]}
    objects = {
        **good,
        "CCCCC.mp4/000001.png": [thing()],  # no rate
        "BBBBB.mp4/000999.png": [thing()],  # of 500 frames
        "DDDDD.mp4/first.png": [thing()],
        "EEEEE.mp4/000001.png": "nothing",
        "EEEEE.mp4/000002.png": [thing()],
        "FFFFF.mp4/000001.png": [thing()],
        "FFFFF.mp4/1.png": [thing()],
        "GGGGG.mp4/000001.png": [thing()],
        "GGGGG.mp4/000002.png": [thing()],
        "no frame": [],
        7: [],
    }
    people = {
        "GGGGG.mp4/000001.png": persons(ACTOR),
        "GGGGG.mp4/000002.png": persons(ACTOR, bbox_size=(270, 480)),
        "AAAAA.mp4/000001.png": persons(ACTOR),
    }
    rates = KNOWN.with_facts(VideoFacts(name * 5, "", 10.0) for name in "DEFG")
    graphs, report = read(release(tmp_path, objects, people), rates)
    assert [graph.graph_id for of in graphs.values() for graph in of] == ["AAAAA"]
    assert report.dropped == {
        ("graphs", "no_frame_rate"): 1,
        ("graphs", "beyond_the_video"): 1,
        ("graphs", "malformed"): 2,
        ("graphs", "id_twice"): 1,
        ("graphs", "other_shape"): 1,
    }
    assert report.noted == {("graphs", "entry_of_no_frame"): 2}
    assert "object_bbox_and_relationship.pkl: CCCCC" in report.examples["graphs", "no_frame_rate"]
    _, report = read(release(tmp_path, good), KnownVideos(), only_known=True)
    assert report.dropped == {("graphs", "unknown_video"): 1}


def test_parts_that_cannot_be_used_are_counted(tmp_path):
    frame = [
        thing("cup"),
        thing("cup", (9, 9, 20, 20)),
        thing("bed", (400, 10, 200, 10)),
        thing("bag", (10, 10, -5, 10)),
        thing("box", (10, 10, 5)),
        thing("sofa", (10, 10, float("nan"), 10)),
        thing("book", None),
        thing("dish", np.asarray([48.0, 27.0, 96.0, 54.0])),
        thing("", (1, 1, 9, 9)),
        "cup",
        {"class": "cup"},
        thing("door", attention_relationship=[3], spatial_relationship=None, contacting_relationship="eating"),
    ]
    graphs, report = read(release(tmp_path, {"AAAAA.mp4/000001.png": frame}, {"AAAAA.mp4/000001.png": persons(ACTOR)}))
    ((graph,),) = graphs.values()
    boxes = {node.name: len(node.track) for node in graph.nodes}
    assert {name for name, count in boxes.items() if count} == {"person", "cup", "dish", "door"}
    assert {reason: count for (unit, reason), count in report.dropped.items() if unit == "boxes"} == {
        "class_twice": 1,
        "outside_frame": 1,
        "inverted_or_empty": 1,
        "malformed": 3,
        "not_finite": 1,
        "no_box": 1,
        "no_name": 1,
    }
    assert {reason: count for (unit, reason), count in report.dropped.items() if unit == "relations"} == {"no_name": 1}
    assert ("person", "eating", "door") in {(e.subject, e.predicate, e.object) for e in graph.edges}
    # without the file of persons nobody says how large frames are
    (tmp_path / "person_bbox.pkl").unlink()
    graphs, report = read(tmp_path)
    assert report.dropped["boxes", "no_frame_size"] == 9 and not report.kept["boxes"]
    for wrong in (persons(ACTOR, bbox_mode="xywh"), persons(ACTOR, bbox=[[1, 2]]), {}, 5, persons(ACTOR, bbox=None)):
        _, report = read(release(tmp_path, {"AAAAA.mp4/000001.png": []}, {"AAAAA.mp4/000001.png": wrong}))
        assert report.dropped["boxes", "malformed"] == 1, wrong


class Runs:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.makedirs, (str(self.mark),)


def test_pickles_that_would_run_code_or_hold_too_much(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    hostile = {"AAAAA.mp4/000001.png": [thing(metadata=Runs(mark))]}
    with pytest.raises(
        GraphError, match=r"object_bbox_and_relationship\.pkl: no pickle of plain data.*makedirs.*nothing"
    ):
        open_action_genome(release(tmp_path, hostile), ReadingReport())
    good = {"AAAAA.mp4/000001.png": [thing()]}
    with pytest.raises(GraphError, match=r"person_bbox\.pkl: no pickle of plain data"):
        open_action_genome(release(tmp_path, good, {"a": Runs(mark)}), ReadingReport())
    assert not mark.exists()
    (tmp_path / "person_bbox.pkl").unlink()
    for content, said in (
        (b"", "no pickle"),
        (pickle.dumps([1]), "expected frame: objects"),
        (pickle.dumps({}), "no frame"),
    ):
        put(tmp_path / "object_bbox_and_relationship.pkl", content)
        with pytest.raises(GraphError, match=said):
            open_action_genome(tmp_path, ReadingReport())
    with pytest.raises(GraphError, match="cannot be read"):
        open_action_genome(tmp_path / "none", ReadingReport())
    # one list that many frames name, one that holds itself, and one array for all
    shared = [thing()] * 900
    many = {f"AAAAA.mp4/{number:06d}.png": shared for number in range(1, 200)}
    monkeypatch.setattr(action_genome, "MAX_OBJECTS", 100_000)
    with pytest.raises(GraphError, match="179,100 objects, expected at most 100,000"):
        open_action_genome(release(tmp_path, many), ReadingReport())
    itself: list = []
    itself.append(itself)
    crowd = persons(bbox=np.zeros((100_000, 4), np.float32))
    objects = {"AAAAA.mp4/000001.png": [itself, thing(itself), thing(box=itself)], "BBBBB.mp4/000001.png": shared * 2}
    _, report = read(release(tmp_path, objects, {"AAAAA.mp4/000001.png": crowd}))
    assert report.dropped == {("boxes", "malformed"): 3, ("boxes", "no_name"): 1, ("graphs", "malformed"): 1}
