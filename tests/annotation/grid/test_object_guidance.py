"""Object guidance for long videos: named objects with pixel centres, from a chat server to a table of cells."""

import json

import numpy as np
import pytest

from vidreason.annotation.grid import prompts
from vidreason.errors import LLMError
from vidreason.files import read_folder
from vidreason.guidance import load_guidance
from vidreason.llm.store import RequestStore
from vidreason.llm.testing import chat_server
from vidreason.llm.testing.chat_wire import completion_body
from vidreason.manifests.manifest import manifest_row, write_manifest
from vidreason.manifests.segments import write_segments
from vidreason.synthetic import WorldConfig, build_synthetic_actions
from vidreason.synthetic.world_answers import WorldAnswers
from vidreason.video import probe_video, write_video

HEIGHT, WIDTH = 120, 160  # cells of a 4x4 grid have 30 rows and 40 columns of pixels
OBJECTS = {"prompt": "desktop_assembly", "policy": "desktop_assembly", "frames_per_video": None, "video_share": None}


def cell(x, y):
    """The cell of a pixel, by whole numbers alone."""
    return y // 30 * 4 + x // 40


# The world's own objects


@pytest.fixture(scope="module")
def long_world(tmp_path_factory):
    """Twelve videos of 2 s at 24 frames a second, with their actions over time beside the manifest."""
    folder = tmp_path_factory.mktemp("long_world") / "world"
    build_synthetic_actions(folder, WorldConfig(num_frames=48, fps=24), {"train": 12}, seed=11)
    rows = []
    for frame in read_folder(folder / "truth")["train"].to_list():
        time_s, key = frame["timestamp_s"], (frame["video_id"], frame["segment"])
        if not rows or (rows[-1]["video_id"], rows[-1]["label"]) != key:
            start = {"start_frame": frame["frame_index"], "start_s": time_s}
            rows.append({"video_id": key[0], "label": key[1], **start})
        rows[-1].update(end_frame=frame["frame_index"] + 1, end_s=time_s + 1 / 24)
    write_segments(folder, {"train": rows}, sorted({row["label"] for row in rows}))
    return folder


@pytest.fixture(scope="module")
def long_guidance(long_world, tmp_path_factory):
    """(frames of the table, texts that the server was told): one run over the long world at 10 frames a second."""
    from vidreason.annotation.grid.run import LLMArguments
    from vidreason.annotation.job import AnnotationArguments, AnnotationJob
    from vidreason.llm.testing.chat_server import ChatServer

    answer, told = WorldAnswers(long_world), []

    def watched(payload):
        told.append(payload["messages"][1]["content"][0]["text"])
        return answer(payload)

    out = tmp_path_factory.mktemp("long_guidance") / "guidance"
    with ChatServer(watched) as server:
        args = AnnotationArguments(manifest=str(long_world), out=str(out), frames_per_second=10)
        llm = LLMArguments(base_url=server.url, prompt="desktop_assembly", policy="desktop_assembly")
        AnnotationJob(args, llm).run(progress=False)
    return load_guidance(out)["train"].to_list(), told


def test_every_tenth_of_a_second_has_a_row(long_guidance):
    rows, told = long_guidance
    assert len(rows) == len(told) == 12 * 20 and {row["status"] for row in rows} <= {"ok", "empty"}
    # the frames of 1/24 s nearest to 0, 0.1, 0.2, ... s: 2.4, 4.8, 7.2, 9.6, 12, 14.4, ... of them
    assert [row["frame_index"] for row in rows[:11]] == [0, 2, 5, 7, 10, 12, 14, 17, 19, 22, 24]
    assert [row["timestamp_s"] for row in rows[:3]] == pytest.approx([0, 2 / 24, 5 / 24])


def test_centres_become_cells_and_what_is_merely_visible_does_not(long_guidance, long_world):
    rows, _ = long_guidance
    truth = {(f["video_id"], f["frame_index"]): f["objects"] for f in read_folder(long_world / "truth")["train"]}
    num_visible = 0
    for row in rows:
        objects = truth[row["video_id"], row["frame_index"]]
        cells = set()
        for entry in (entry for entry in objects if entry["relevant"]):
            x, y = int(entry["center"][0] * WIDTH), int(entry["center"][1] * HEIGHT)
            cells.add(cell(min(x, WIDTH - 1), min(y, HEIGHT - 1)))
        assert set(np.flatnonzero(row["weights"])) == cells
        assert row["weights"] == pytest.approx([(i in cells) / max(1, len(cells)) for i in range(16)])
        for relevant in (True, False):
            names = sorted(entry["name"] for entry in row["objects"] if entry["relevant"] == relevant)
            assert names == sorted(entry["name"] for entry in objects if entry["relevant"] == relevant)
        assert all(len(entry["center"]) == (2 if entry["relevant"] else 0) for entry in row["objects"])
        num_visible += sum(not entry["relevant"] for entry in row["objects"])
    assert num_visible > 20


def test_the_model_is_told_the_action_of_the_moment(long_guidance, long_world):
    _, told = long_guidance
    actions = {row["segment"].replace("_", " ") for row in read_folder(long_world / "truth")["train"]}
    found = {text.partition('The action at this moment is "')[2].partition('"')[0] for text in told}
    assert len(found) > 1 and found == actions
    assert all("160 pixels wide and 120 pixels high" in text for text in told)


# Places that a world does not have


@pytest.fixture
def ask(serve, make_job, run_job, tmp_path, monkeypatch):
    """Runs a video of one second at 25 frames a second past a server that gives one answer; returns the rows."""
    frames = np.random.default_rng(0).integers(0, 255, (25, HEIGHT, WIDTH, 3), dtype=np.uint8)
    folder = tmp_path / "assembly"
    write_video(folder / "desk/a.mp4", frames, 25)
    row = manifest_row("desk/a.mp4", "desk", probe_video(folder / "desk/a.mp4"))
    write_manifest(folder, {"train": [row]}, ["desk"], "assembly@1", folder)

    def run(visible, relevant, told=None, named=None, **llm):
        places = [{"name": name, "location": place} for name, place in relevant]
        text = json.dumps({"all_os": visible, "im_o": places})

        def answer(payload):
            if told is not None:
                told.append(payload["messages"][1]["content"][0]["text"])
            return text

        def body(answer_id, model, *rest):
            return completion_body(answer_id, named or model, *rest)

        monkeypatch.setattr(chat_server, "completion_body", body)
        job = make_job(serve(answer=answer), manifest=str(folder), llm={**OBJECTS, **llm})
        return run_job(job)

    return run


def cells_of(row):
    return {int(index): row["weights"][index] for index in np.flatnonzero(row["weights"])}


def test_ten_frames_of_a_second_are_asked_about(ask):
    rows = ask(["screw"], [("screw", [0, 0])])
    # nearest to 0, 2.5, 5, 7.5, ... frames; of two as near, the earlier
    assert [row["frame_index"] for row in rows] == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]


@pytest.mark.parametrize(
    ("place", "index"),
    [
        ([0, 0], 0),
        ([39, 29], 0),
        ([40, 29], 1),  # on a line between cells: the cell right of it
        ([39, 30], 4),  # and below it
        ([40, 30], 5),
        ([159, 119], 15),
        ([160, 120], 15),  # the border itself
        ([163, -2], 3),  # up to 2 % outside: 3.2 and 2.4 pixels
    ],
)
def test_a_centre_marks_the_cell_that_holds_it(ask, place, index):
    assert cells_of(ask([], [("screw", place)])[0]) == {index: 1.0}


@pytest.mark.parametrize("place", [[164, 60], [80, -3], [-50, -50]])
def test_a_centre_outside_says_that_the_scale_is_another_one(ask, tmp_path, place):
    """Numbers that are no pixels of the picture: those beside them, which could be, are none either."""
    rows = ask(["hand"], [("screw", [0, 0]), ("hand", place)])
    assert {row["status"] for row in rows} == {"invalid"} and not any(rows[0]["weights"])
    with RequestStore(tmp_path / "guidance" / "work" / "requests.sqlite") as store:
        assert "cannot be in pixels of a picture of 120 x 160" in store.answer(rows[0]["request_hash"]).detail


def test_coordinates_are_told_and_read_in_the_models_scale(ask, caplog):
    """Thousandths are pixels of another place: (230, 220) is cell 0 of 4 x 4, and no pixel of 120 x 160."""
    asked: list[str] = []
    place = [("hand", [230, 220])]
    for llm in ({"model": "Qwen/Qwen3-VL-8B-Instruct"}, {"model": "m", "coordinates": "0-1000"}):
        rows = ask([], place, told=asked, **llm)
        assert {row["status"] for row in rows} == {"ok"} and cells_of(rows[0]) == {0: 1.0}
        assert "from 0 at the left edge to 1000 at the right edge" in asked[-1] and "whole pixels" not in asked[-1]
    assert "not known" not in caplog.text
    assert {row["status"] for row in ask([], place, told=asked, model="other")} == {"invalid"}
    assert "whole pixels: x counts" in asked[-1]
    assert "it is not known in which scale 'other' writes coordinates" in caplog.text
    # Qwen2.5-VL is told of the picture that it sees, of 112 x 168, and answers in its pixels
    rows = ask([], [("hand", [126, 84])], told=asked, model="Qwen2.5-VL-7B")
    assert "168 pixels wide and 112 pixels high" in asked[-1] and cells_of(rows[0]) == {15: 1.0}


def test_a_server_that_names_a_model_of_another_scale_ends_the_run(ask):
    with pytest.raises(LLMError, match=r"'/models/Qwen3-VL-8B', and qwen3-vl writes .* say --coordinates qwen3-vl"):
        ask([], [("hand", [10, 10])], named="/models/Qwen3-VL-8B", model="alias")
    for number, scale in enumerate(("qwen3-vl", "pixels")):
        settings = {"model": f"alias{number}", "coordinates": scale}
        rows = ask([], [("hand", [100, 100])], named="/models/Qwen3-VL-8B", **settings)
        assert cells_of(rows[0]) == ({0: 1.0} if scale == "qwen3-vl" else {14: 1.0})


def test_objects_in_one_cell_mark_it_once(ask):
    row = ask([], [("hand", [50, 40]), ("screwdriver", [60, 50]), ("screw", [70, 55]), ("board", [150, 100])])[0]
    assert cells_of(row) == {5: 0.5, 15: 0.5}  # and not 0.75 and 0.25
    assert len(row["objects"]) == 4 and all(entry["relevant"] for entry in row["objects"])
    assert row["objects"][0]["center"] == pytest.approx([50 / 160, 40 / 120])


def test_visible_and_relevant_objects_are_kept_apart(ask):
    row = ask(["Screw", "table", "lamp", "table", "hand"], [("screw", [10, 10]), ("screw", [150, 10])])[0]
    objects = sorted((entry["name"], entry["relevant"]) for entry in row["objects"])
    assert objects == [("hand", False), ("lamp", False), ("screw", True), ("screw", True), ("table", False)]
    assert cells_of(row) == {0: 0.5, 3: 0.5}


def test_nothing_relevant_is_an_empty_row_with_its_objects(ask):
    row = ask(["table", "lamp"], [])[0]
    assert row["status"] == "empty" and not any(row["weights"])
    assert [(entry["name"], entry["relevant"]) for entry in row["objects"]] == [("table", False), ("lamp", False)]


def test_centres_are_read_in_the_picture_as_it_was_sent(ask):
    # the longer side of 80 pixels: cells of 20 x 15
    row = ask([], [("screw", [20, 14])], max_side_px=80)[0]
    assert cells_of(row) == {1: 1.0} and (row["frame_height"], row["frame_width"]) == (HEIGHT, WIDTH)
    assert row["objects"][0]["center"] == pytest.approx([20 / 80, 14 / 60])


def test_a_crowded_desk_fits_into_the_default_length_of_answers(ask):
    visible = [f"object number {number}" for number in range(30)]
    rows = ask(visible, [(name, [150, 110]) for name in visible[:10]])
    assert {row["status"] for row in rows} == {"ok"}
    assert [sum(entry["relevant"] == value for entry in rows[0]["objects"]) for value in (True, False)] == [10, 20]


def test_what_was_overlooked_is_counted(ask, tmp_path):
    ask([], [("hand", [163, 10]), ("screw", "left")])
    totals = json.loads(next((tmp_path / "guidance").rglob("run.json")).read_text())["totals"]
    assert totals[f"note: {prompts.CENTRES_MOVED}"] == totals[f"note: {prompts.NOT_PLACED}"] == 10
