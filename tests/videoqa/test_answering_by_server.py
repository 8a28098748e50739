"""Questions answered at a server: what it is shown, money, resuming, and what of a run goes wrong alone."""

import base64
import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from fixtures.asked_videos import make_asked_videos, make_questions
from PIL import Image

from vidreason.llm.testing.chat_faults import Faults
from vidreason.llm.testing.chat_server import ChatServer
from vidreason.videoqa.__main__ import main
from vidreason.videoqa.tables import load_predictions

pytest.importorskip("openai")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_asked_videos(tmp_path_factory.mktemp("asked"))


def parts_of(payload, kind):
    return [part for part in payload["messages"][-1]["content"] if part["type"] == kind]


def brightness_of(payload):
    """Mean brightness of each picture of a request."""
    urls = [part["image_url"]["url"] for part in parts_of(payload, "image_url")]
    files = [io.BytesIO(base64.b64decode(url.partition(",")[2])) for url in urls]
    return [float(np.asarray(Image.open(file)).mean()) for file in files]


def look(payload):
    """A model that sees: the letter of what is true of the pictures."""
    shades = brightness_of(payload)
    if not shades:
        return "I guess B"
    return "A" if shades[-1] > shades[0] + 5 else "B." if shades[-1] < shades[0] - 5 else ""


def answer(server, questions, manifest, out, *flags):
    return main(
        [
            *("answer", "--questions", str(questions), "--manifest", str(manifest), "--out", str(out)),
            *("--base_url", server.url, "--model", "any", *flags),
        ]
    )


def rows_of(out):
    return {row["question_id"]: row for row in load_predictions(out)["test"]}


def test_what_is_shown_and_kept(manifest, tmp_path, capsys):
    """Frames in order with their times, texts by the prompt; a finished run sends nothing again."""
    questions = make_questions(tmp_path / "questions")
    bodies = []

    def remember(payload):
        bodies.append(payload)
        return look(payload)

    with ChatServer(remember) as server:
        assert answer(server, questions, manifest, tmp_path / "out", "--num_frames", "5") == 0
        first = json.loads(capsys.readouterr().out)
        assert answer(server, questions, manifest, tmp_path / "out", "--num_frames", "5") == 0
        second = json.loads(capsys.readouterr().out)
        assert len(server.log) == 8
    assert first["statuses"] == {"ok": 6, "empty": 2} == second["statuses"]
    assert first["asked_now"] == first["statuses"] and second["asked_now"] == {} and second["known_before"] == 8
    rows = rows_of(tmp_path / "out")
    assert list(rows)[:4] == ["rising-0", "falling-0", "still-0", "frames-0"], "in the order of the questions"
    assert {name: row["prediction"] for name, row in rows.items() if name.endswith("-1")} == {
        **{"rising-1": "A", "falling-1": "B.", "still-1": "", "frames-1": "A"},
    }
    for row in rows.values():
        assert row["num_frames"] == 5 and row["condition"] == "video" and row["producer"] == "llm"
        assert row["prompt_id"] == "videoqa_short_answer_1" and len(row["prompt_sha256"]) == 64
        assert len(row["request_hash"]) == 64 and row["prompt_tokens"] > 100 and row["seconds"] > 0
    rising = [body for body in bodies if brightness_of(body)[0] < brightness_of(body)[-1] - 100]
    texts = [part["text"] for part in parts_of(rising[0], "text")]
    assert texts[:5] == [f"Frame at {0.2 + 0.4 * number:.2f} s:" for number in range(5)]
    assert "A. Brighter.\nB. Darker.\n" in texts[5] and "5 frames of a video" in texts[5]
    shades = brightness_of(rising[0])
    assert shades == pytest.approx([20 + 10 * index for index in (2, 6, 10, 14, 18)], abs=3)


def test_blind_shows_nothing(manifest, tmp_path, capsys):
    questions = make_questions(tmp_path / "questions")
    words = ["answer", "--questions", str(questions), "--out", str(tmp_path / "out"), "--model", "any"]
    with ChatServer(look) as server:
        assert main([*words, "--base_url", server.url, "--condition", "blind"]) == 0
        assert len(server.log) == 2, "two texts, each of them asked once for four videos"
        assert main([*words, "--base_url", server.url]) == 1
        assert "give their manifest" in capsys.readouterr().err
        assert answer(server, questions, manifest, tmp_path / "out") == 1
        assert "holds answers of condition 'blind'" in capsys.readouterr().err
    rows = rows_of(tmp_path / "out").values()
    assert {row["condition"] for row in rows} == {"blind"} and {row["num_frames"] for row in rows} == {0}
    assert {row["prediction"] for row in rows} == {"I guess B"}
    assert sum(row["prompt_tokens"] > 0 for row in rows) == 2, "what was paid once is stated once"


def test_a_bad_video_is_a_row(manifest, tmp_path, capsys):
    """Missing, broken and unknown videos, parts that are not there: each a failed row that says why."""
    extra = [
        {"question_id": "unknown", "video_id": "nowhere", "question": "What?"},
        {"question_id": "late", "video_id": "rising", "question": "What?", "start_s": 50.0, "end_s": 60.0},
        {"question_id": "part", "video_id": "rising", "question": "Is it dark?", "start_s": 0.0, "end_s": 0.3},
        {"question_id": "unmade", "video_id": "rising", "question": "", "answer": "", "status": "failed"},
    ]
    questions = make_questions(tmp_path / "questions", 1, ("rising", "broken", "missing", "frames"), extra)
    with ChatServer(look) as server:
        assert answer(server, questions, manifest, tmp_path / "out") == 0
        assert len(server.log) == 3
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 8
    said = {name: row["raw_response"] for name, row in rows.items() if row["status"] == "failed"}
    assert set(said) == {"broken-0", "missing-0", "unknown", "late", "unmade"}
    assert "missing" in said["missing-0"] and "the manifest has no such video" in said["unknown"]
    assert "no frame is in the part that is asked about, 50 s to 60 s of 2.000 s" in said["late"]
    assert "status 'failed'" in said["unmade"]
    assert not any(str(manifest.parent) in text for text in said.values()), "no paths of this machine"
    assert all(rows[name]["prediction"] == "" and rows[name]["num_frames"] == 0 for name in said)
    # the video comes: its question alone is asked
    (manifest.parent / "videos" / "missing.mp4").write_bytes((manifest.parent / "videos" / "falling.mp4").read_bytes())
    try:
        with ChatServer(look) as server:
            assert answer(server, questions, manifest, tmp_path / "out") == 0
            assert len(server.log) == 1
    finally:
        (manifest.parent / "videos" / "missing.mp4").unlink()
    assert rows_of(tmp_path / "out")["missing-0"]["prediction"] == "B."


def test_faults_end_as_statuses_and_are_asked_again(manifest, tmp_path):
    questions = make_questions(tmp_path / "questions", 12, ("rising", "falling"))
    faults = Faults(server_error=0.1, dropped=0.05, truncated=0.2, refused=0.2)
    with ChatServer(look, faults) as server:
        assert answer(server, questions, manifest, tmp_path / "out", "--num_frames", "2") == 0
        statuses = [row["status"] for row in rows_of(tmp_path / "out").values()]
        assert {"ok", "refused"} <= set(statuses) <= {"ok", "refused", "truncated", "failed", "empty"}
        assert len(statuses) == 24
    with ChatServer(look) as server:
        retry = ["--retry", "refused", "failed", "truncated"]
        assert answer(server, questions, manifest, tmp_path / "out", "--num_frames", "2", *retry) == 0
        assert 0 < len(server.log) <= 24 - statuses.count("ok")
    assert {row["status"] for row in rows_of(tmp_path / "out").values()} <= {"ok", "empty"}


def test_money(manifest, tmp_path, capsys):
    """Priced before anything is sent; a hard stop; the same command goes on; --write_partial has a row for all."""
    questions = make_questions(tmp_path / "questions", 5)
    price = ["--price_usd", "1", "1", "--num_frames", "4", "--max_in_flight", "1"]
    with ChatServer(look) as server:
        assert answer(server, questions, manifest, tmp_path / "out", *price, "--dry_run") == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["questions"] == plan["to_ask"] == 20 and len(server.log) == 0
        assert not (tmp_path / "out" / "run.json").exists()
        cap = ["--max_cost_usd", str(plan["at_most_usd"] / 2)]
        assert answer(server, questions, manifest, tmp_path / "out", *price, *cap) == 1
        asked = len(server.log)
        assert 2 < asked < 20 and "go" in capsys.readouterr().err
        billed = sum(server.billed_tokens) / 1e6
        assert billed <= plan["at_most_usd"] / 2
        assert answer(server, questions, manifest, tmp_path / "out", *price, *cap, "--write_partial") == 0
        record = json.loads(capsys.readouterr().out)
        assert len(server.log) == asked and record["spent_usd"] == pytest.approx(billed)
        rows = rows_of(tmp_path / "out")
        assert len(rows) == 20
        assert [row["raw_response"] for row in rows.values()].count("not asked") == 20 - asked
        assert answer(server, questions, manifest, tmp_path / "out", *price) == 0
        assert len(server.log) == 20
        whole = sum(server.billed_tokens) / 1e6
    assert sum(row["cost_usd"] for row in rows_of(tmp_path / "out").values()) == pytest.approx(whole)
    assert whole <= plan["at_most_usd"]
    assert whole == pytest.approx(plan["prompt_tokens"] / 1e6, rel=0.6), "the estimate is of the right size"


def test_killed_in_the_middle(manifest, tmp_path, capsys):
    """What was answered before a kill is not asked again; another condition cannot go on with what is left."""
    questions = make_questions(tmp_path / "questions", 10)
    words = ["answer", "--questions", str(questions), "--manifest", str(manifest), "--out", str(tmp_path / "out")]
    with ChatServer(look, latency_s=0.05) as server:
        words += ["--base_url", server.url, "--model", "any", "--max_in_flight", "2", "--num_frames", "2"]
        process = subprocess.Popen([sys.executable, "-m", "vidreason.videoqa", *words], stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 120
        while len(server.log) < 8 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.kill()
        process.wait()
        before = len(server.log)
        assert 8 <= before < 40
        assert main([*words, "--condition", "blind"]) == 1
        assert "holds answers of condition 'video'" in capsys.readouterr().err
        assert main(words) == 0
        record = json.loads(capsys.readouterr().out)
        # at most what was in flight is asked twice
        assert 40 <= len(server.log) <= 42 and record["known_before"] >= before - 4
    assert len(rows_of(tmp_path / "out")) == 40 and set(record["statuses"]) == {"ok", "empty"}


def test_a_useless_model_is_found_out(manifest, tmp_path, capsys):
    questions = make_questions(tmp_path / "questions", 5)
    with ChatServer(look, Faults(refused=1.0)) as server:
        code = answer(server, questions, manifest, tmp_path / "out", "--max_useless", "4", "--max_in_flight", "1")
        assert code == 1 and len(server.log) < 12
    assert "none of the first 4 questions has an answer (4 refused)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--num_frames", "0"], "num_frames is 0"),
        (["--jpeg_quality", "99"], "jpeg_quality is 99"),
        (["--extra_body", "[1]"], "must be a JSON object"),
        (["--extra_body", '{"stream": true}'], "must not hold stream"),
        (["--max_cost_usd", "nan"], "expected a number of dollars"),
        (["--max_cost_usd", "1"], "price of 'any'"),
        (["--prompt", "nothing_such"], "is no prompt"),
        (["--splits", "train"], "no split 'train'"),
        (["--max_questions", "0"], "expected at least 1"),
        (["--condition", "deaf"], "invalid choice"),
    ],
)
def test_settings_that_cannot_be(manifest, tmp_path, capsys, flags, said):
    questions = make_questions(tmp_path / "questions", 1)
    with ChatServer(look) as server:
        assert answer(server, questions, manifest, tmp_path / "out", *flags) != 0
        assert not server.log
    assert said in capsys.readouterr().err
