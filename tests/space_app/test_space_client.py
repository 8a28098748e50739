"""The running app, as programs see it: `python space_app/app.py` in a process of its own, asked by `gradio_client`."""

import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from app import ended_by_signals
from fixtures.space_clips import bad_files
from fixtures.space_object_model import CLASSES, save_object_model
from fixtures.space_question_model import OPTIONS, QUESTION, save_question_model
from fixtures.space_segmenter import SEGMENT_LABELS
from fixtures.space_server import SpaceServer
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

DOCUMENTED = re.compile(r"```python\n(.*?gradio_client.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def server(checkpoint_folders, segmenter_folder, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    others = [save_object_model(models / "with_maps", detector="truth"), save_question_model(models / "tiny_llm")]
    with SpaceServer([*checkpoint_folders, segmenter_folder, *others], tmp_path_factory.mktemp("space")) as running:
        yield running


@pytest.fixture
def rendered(server) -> dict[str, str]:
    """For apps that need not render examples of their own."""
    return {"EXAMPLES_FOLDER": str(server.uploads.parent / "examples")}


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    return Client(server.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def analyse(client, path, name="with", other="none", guidance="automatic"):
    return client.predict(video=handle_file(str(path)), name=name, other=other, guidance=guidance, api_name="/analyse")


def test_the_answer_is_json(client, square_path):
    result = analyse(client, square_path, other="without")
    assert [answer["name"] for answer in result["checkpoints"]] == ["with", "without"]
    assert result["video"]["num_frames"] == 24 and result["guidance"]["kind"] == "motion"
    assert sum(result["checkpoints"][0]["labels"].values()) == pytest.approx(1, abs=1e-4)
    assert len(result["checkpoints"][0]["attention"]) == 24


def test_the_documented_calls_work(server, square_path, colors_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "space.md").read_text(encoding="utf-8")
    codes = (code.replace("OWNER/SPACE", server.url) for code in DOCUMENTED.findall(page))
    of_clips, of_segments, of_objects, of_questions = codes
    names = {}
    exec(of_clips.replace("my_video.mp4", str(square_path)).replace("rs_evidence", "with"), names)
    assert names["result"]["checkpoints"][0]["name"] == "with"
    exec(of_segments.replace("my_video.mp4", str(colors_path)).replace('"assembly"', '"segmenter"'), names)
    lines = [line for line in capsys.readouterr().out.splitlines() if " s  " in line]
    assert len(lines) == 4 and lines[1].startswith(f"  1.00 to   2.50 s  {SEGMENT_LABELS[1]}")
    # of an example, whose objects and questions are known
    example = next(iter(sorted((server.uploads.parent / "examples" / "world").rglob("*.mp4"))))
    of_objects = of_objects.replace("my_video.mp4", str(example)).replace('"object_maps"', '"with_maps"')
    exec(of_objects.replace("11 *", "1 *"), names)  # it has three channels
    assert [channel["asked"] for channel in names["result"]["channels"]] == [*CLASSES[:2], None]
    assert all(len(boxes) == 1 for boxes in names["result"]["channels"][1]["boxes"])  # the hand, in every frame
    assert names["result"]["labels"] != names["result"]["labels_without_maps"]
    of_questions = of_questions.replace("my_video.mp4", str(square_path)).replace('"my_video_llm"', '"tiny_llm"')
    exec(of_questions.replace("what is picked up?", QUESTION).replace(r"box\nbook", r"\n".join(OPTIONS)), names)
    assert list(names["result"]["with_video"]["options"]) == OPTIONS


def test_a_segmentation_checkpoint_gives_its_segments(client, colors_path):
    with_segments, with_clip = analyse(client, colors_path, "segmenter", "with")["checkpoints"]
    found = [(segment["label"], segment["start_s"], segment["end_s"]) for segment in with_segments["segments"]]
    background, red, green = SEGMENT_LABELS
    assert found == [(background, 0.0, 1.0), (red, 1.0, 2.5), (green, 2.5, 3.5), (red, 3.5, 4.0)]
    assert with_segments["task"] == "segmentation" and with_segments["labels"][red] == 0.5
    assert with_clip["task"] == "classification" and with_clip["segments"] is None


def test_bad_files_get_their_message_and_no_more(client, tmp_path, square_path, server):
    for name, (path, _) in bad_files(tmp_path / "bad").items():
        with pytest.raises(AppError) as caught:
            analyse(client, path)
        text = str(caught.value)
        assert re.search(r"[A-Z][a-z].*\.", text) and "/" not in text and "Traceback" not in text, name
    assert analyse(client, square_path)["video"]["num_frames"] == 24
    assert "a request failed" not in server.log()  # each of them was expected


def test_eight_requests_at_once(client, square_path):
    with ThreadPoolExecutor(8) as pool:
        names = ["with", "without"] * 4
        results = list(pool.map(lambda name: analyse(client, square_path, name), names))
    assert [result["checkpoints"][0]["name"] for result in results] == names


def test_unknown_checkpoints_are_refused(client, square_path):
    for name in ("nobody", "../../etc"):
        with pytest.raises((AppError, ValueError)):
            analyse(client, square_path, name)


def test_other_events_are_not_for_programs(client):
    assert "/analyse" in str(client.view_api(return_format="dict"))
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/analyse", "/objects", "/answer"]


def test_files_of_the_machine_are_not_served(server, client, square_path):
    for path in ("/etc/passwd", str(Path(__file__)), str(square_path)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server.url}/gradio_api/file={path}")
        assert caught.value.code in (403, 404)
    # nor read for those who name them
    file = {"path": str(square_path), "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [file, "with", "none", "automatic"]}).encode()
    call = f"{server.url}/gradio_api/call/analyse"
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event_id = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{call}/{event_id}") as answer:
        events = answer.read().decode()
    assert "event: error" in events and "checkpoints" not in events and str(square_path.parent) not in events


def test_too_large_files_are_not_even_taken(server, tmp_path):
    large = tmp_path / "large.mp4"
    with open(large, "wb") as file:
        file.truncate(51 * 2**20)
    with pytest.raises(Exception, match=r"(?i)size|413|large"):
        analyse(Client(server.url, verbose=False), large)


def test_clips_and_what_was_made_of_them_are_deleted(checkpoint_folders, tmp_path, square_path, rendered):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with SpaceServer(checkpoint_folders, tmp_path, CLIPS_KEPT_S="12", TMPDIR=str(scratch), **rendered) as server:
        analyse(Client(server.url, verbose=False, download_files=False), square_path)
        # the client's copy is sent back and forth; the app's own videos lie in the temporary folder

        def files():
            found = [path for folder in (scratch, server.uploads) for path in folder.rglob("*.mp4")]
            return [path for path in found if not path.name.startswith("test_0")]  # examples stay

        assert {path.name.split("_")[0] for path in files()} >= {"square.mp4", "attention", "guidance"}
        await_that(lambda: not files())


def upload(server, path) -> dict:
    """Gradio's note of a file that was uploaded."""
    with open(path, "rb") as file:
        answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": file})
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


def call(server, data, endpoint="analyse") -> str:
    """The events of a raw call of an endpoint."""
    url = f"{server.url}/gradio_api/call/{endpoint}"
    answer = httpx.post(url, json={"data": data}, timeout=60)
    return httpx.get(f"{url}/{answer.json()['event_id']}", timeout=60).text


def test_values_of_a_wrong_kind_are_named_and_leave_no_trace(server, square_path):
    """What no part of the page sends, a program may. The answer says which value is wrong, and the log stays empty."""
    good = {"video": upload(server, square_path), "name": "with", "other": "none", "guidance": "automatic"}
    assert "event: complete" in call(server, list(good.values()))
    before = server.log()
    files = [{"path": "http://127.0.0.1:9/x.mp4"}, {"path": 5}, {"path": ["a"]}, {"path": ""}, {"path": "/x\0.mp4"}]
    files = [file | {"meta": {"_type": "gradio.FileData"}} for file in files] + [{"path": good["video"]["path"]}]
    for wrong in (5, 1.5, True, "", [], ["with"], [["with"]], {}, {"a": 1}, [None], "x" * 100_000, *files):
        for name in good:
            events = call(server, list((good | {name: wrong}).values()))
            assert "event: error" in events and f"{name}: expected" in events, (name, wrong)
            assert len(events) < 400 and "Something went wrong" not in events
    for too_few in ([], [good["video"], "with"]):
        assert "expected: video, name, other, guidance" in call(server, too_few)
    texts = {
        "objects": {"video": good["video"], "name": "with_maps", "classes": "\n".join(CLASSES)},
        "answer": {"video": good["video"], "name": "tiny_llm", "question": QUESTION, "options": ""},
    }
    for endpoint, values in texts.items():
        for wrong in (5, True, [], {"a": 1}, "x" * 100_000, files[0]):
            for name in values:
                events = call(server, list((values | {name: wrong}).values()), endpoint)
                assert "event: error" in events and f"{name}: expected" in events, (endpoint, name, wrong)
                assert len(events) < 400 and "Something went wrong" not in events
        assert f"expected: {', '.join(values)}" in call(server, [good["video"]], endpoint)
    # it has the form of an upload, and is none
    for path in ("/etc/passwd", "/tmp", str(square_path)):
        events = call(server, [good["video"] | {"path": path}, "with", "none", "automatic"])
        assert "A file has to be uploaded here first" in events and path not in events
    log = server.log().removeprefix(before)
    assert "Traceback" not in log and "a request failed" not in log and "Error:" not in log


def cut_upload(server, num_bytes=5_000_000) -> None:
    """Send the beginning of an upload, and hang up."""
    host, port = server.url.removeprefix("http://").split(":")
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (host.encode(), 40_000_000, head) + bytes(num_bytes)
        )


def test_uploads_that_are_cut_off_are_deleted_and_what_is_left_at_the_end(
    checkpoint_folders, tmp_path, square_path, rendered
):
    """Twenty of them; a signal, as a container's end sends it, leaves nothing of what visitors brought or saw."""
    foreign = tmp_path / "uploads" / "another_program"
    foreign.mkdir(parents=True)
    (foreign / "file").write_bytes(b"its own")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with SpaceServer(checkpoint_folders, tmp_path, CLIPS_KEPT_S="3", TMPDIR=str(scratch), **rendered) as server:
        for _ in range(20):
            cut_upload(server)

        def parts() -> list[Path]:
            return [path for path in server.uploads.rglob("tmp*") if path.stat().st_size > 1000]

        await_that(lambda: parts())  # they do lie there
        await_that(lambda: not parts())
        analyse(Client(server.url, verbose=False, download_files=False), square_path)
        cut_upload(server)
        await_that(lambda: list(server.uploads.rglob("guidance*.mp4")))
    assert server.returncode == 0
    assert [path for path in server.uploads.rglob("*") if path.is_file()] == [foreign / "file"]
    assert [path.name for path in scratch.iterdir() if path.name.startswith("vidreason_space_run")] == []
    assert "Traceback" not in server.log()


def test_a_signal_ends_the_app_before_it_serves_as_well(checkpoint_folders, tmp_path):
    """While it loads and renders, when a signal may come from an impatient operator."""
    server = SpaceServer(checkpoint_folders[:1], tmp_path)
    process = server.start()
    await_that(lambda: (tmp_path / "examples").is_dir() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_what_is_inside_once(number):
    before, done = signal.getsignal(number), []
    with ended_by_signals():
        try:
            signal.raise_signal(number)
            done.append("went on")
        finally:
            signal.raise_signal(number)  # a second one does not cut the closing short
            done.append("closed")
    assert done == ["closed"] and signal.getsignal(number) is before


def await_that(condition, patience_s: float = 120.0) -> None:
    """Wait until a condition holds; only where it never does is the time of any matter."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.05)


def test_the_page_tells_programs_nothing_of_the_machine(server):
    with urllib.request.urlopen(f"{server.url}/config") as answer:
        config = json.load(answer)
    text = json.dumps(config)
    assert "checkpoints0" not in text and '"run_history": false' in text  # the folder of the checkpoints
