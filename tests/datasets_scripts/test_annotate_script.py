"""The command line of annotation."""

import itertools
import os
import subprocess
import sys

import pytest

from vidreason.guidance import load_guidance
from vidreason.llm.testing.chat_faults import Faults
from vidreason.llm.testing.chat_server import ChatServer
from vidreason.synthetic import WorldConfig, build_synthetic_actions
from vidreason.synthetic.world_answers import WorldAnswers

KEY = "sk-proj-thisIsNoRealKey0123456789"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotate") / "world"
    build_synthetic_actions(folder, WorldConfig(num_frames=8), {"train": 12, "test": 2}, seed=1)
    return folder


@pytest.fixture
def annotate(repository, world, tmp_path):
    """Runs the script and returns what it wrote, with the code that it ended with."""

    def run(*arguments: str, key: str | None = KEY, out: str = "out") -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        environment |= {"OPENAI_API_KEY": key} if key else {}
        command = [sys.executable, "datasets_scripts/annotate.py", "--manifest", str(world)]
        command += ["--out", str(tmp_path / out), *arguments]
        return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=120)

    return run


LLM = ("--annotator", "llm", "--prompt", "ucf", "--policy", "ucf", "--video_share", "1.0", "--frames_per_video", "1")


def test_a_dry_run_prints_the_plan_and_needs_neither_key_nor_server(annotate, tmp_path):
    done = annotate(*LLM, "--splits", "train", "test", "--dry_run", key=None)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["train", "12", "12", "12"],
        ["test", "2", "2", "2"],
        ["all", "14", "14", "14"],
    ]
    assert lines[-1] == "dry run: nothing was sent"
    assert not (tmp_path / "out" / "data").exists()


def test_a_run_shows_its_progress_and_its_bill(annotate, world, tmp_path):
    with ChatServer(WorldAnswers(world), api_key=KEY) as server:
        done = annotate(*LLM, "--base_url", server.url, "--max_cost_usd", "1")
        billed = server.billed_tokens
        again = annotate(*LLM, "--base_url", server.url)
        requests = len(server.log)
    assert done.returncode == 0, done.stderr
    assert f"12 requests in 12 attempts; {billed[0]:,} prompt tokens (estimated " in done.stdout
    assert "answers/s" in done.stderr and "to go" in done.stderr and "$" in done.stderr
    assert load_guidance(tmp_path / "out")["train"].num_rows == 12
    assert again.returncode == 0 and "earlier runs into this folder: 12 requests" in again.stdout and requests == 12
    assert KEY not in done.stdout + done.stderr


def test_a_cap_ends_the_run_with_one_line_and_keeps_the_answers(annotate, world):
    with ChatServer(WorldAnswers(world)) as server:
        done = annotate(*LLM, "--base_url", server.url, "--max_cost_usd", "0.0008")
        assert 0 < len(server.log) < 12
    assert done.returncode == 1
    error, advice = done.stderr.strip().splitlines()[-2:]
    assert error.startswith("error: ") and "0.0008" in error
    assert advice == "what was answered is kept, and the same command goes on"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "key", "message"),
    [
        (LLM, None, "set the environment variable OPENAI_API_KEY"),
        ((*LLM, "--model", "no-such-model"), KEY, "no-such-model"),
        ((*LLM, "--prompt", "nothing.txt"), KEY, "nothing.txt"),
        (
            (*LLM, "--max_cost_usd", "1", "--model", "m", "--base_url", "http://127.0.0.1:9/v1"),
            KEY,
            "--price_usd INPUT",
        ),
        ((*LLM, "--max_cost_usd", "nan"), KEY, "--max_cost_usd is nan"),
        ((*LLM, "--grid", "4"), KEY, "grid is [4]"),
        ((*LLM, "--splits", "all"), KEY, "no split 'all'"),
        (("--annotator", "motion", "--dry_run"), KEY, "--dry_run is for --annotator llm"),
        (("--annotator", "truth"), KEY, "--truth is not set"),
    ],
)
def test_a_mistake_is_one_line(annotate, arguments, key, message):
    done = annotate(*arguments, key=key)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in error and KEY not in done.stderr


def test_a_server_that_rejects_the_key_ends_the_run_at_once(annotate, world):
    with ChatServer(WorldAnswers(world), api_key="another") as server:
        done = annotate(*LLM, "--base_url", server.url)
        assert len(server.log) == 0
    assert done.returncode == 1 and "401" in done.stderr and KEY not in done.stderr


def test_a_run_of_which_nothing_can_be_used_says_so_and_why(annotate, world):
    useless = "It is a nice\npicture. " + "x" * 500
    texts = itertools.cycle(['{"key_r": [[1, 1]]}', useless, useless])
    with ChatServer(lambda payload: useless) as server:
        done = annotate(*LLM, "--base_url", server.url)
        again = annotate(*LLM, "--base_url", server.url)  # which asks nothing
        requests = len(server.log)
    with ChatServer(lambda payload: next(texts)) as server:
        some = annotate(*LLM, "--base_url", server.url, "--max_in_flight", "1", "--retry", "invalid")
    for ended in (done, again):
        assert ended.returncode == 1 and "guidance for train is in" not in ended.stdout
        last = ended.stderr.strip().splitlines()[-1]
        assert last.startswith("error: no row in") and "(12 invalid)" in last and "--retry" in last
        assert "The newest reason: invalid: " in last and len(last) < 600
    assert requests == 24  # each was asked twice
    assert some.returncode == 0, some.stderr
    rows = some.stdout.strip().splitlines()[-1]
    assert rows.startswith("rows: ") and " ok, " in rows and "cannot be used: invalid: " in rows


def test_what_a_run_had_to_overlook_is_counted(annotate, world):
    answer = '{"key_r": [[1, 1], [9, 9]]}'
    with ChatServer(lambda payload: answer, faults=Faults()) as server:
        done = annotate(*LLM, "--base_url", server.url)
    assert "overlooked in answers: cells outside the grid were left out (12 times)" in done.stdout


def test_truth_and_motion_need_no_key(annotate, world, tmp_path):
    truth = annotate("--annotator", "truth", "--truth", str(world / "truth"), key=None)
    motion = annotate("--annotator", "motion", "--splits", "test", key=None, out="motion")
    assert (truth.returncode, motion.returncode) == (0, 0), truth.stderr + motion.stderr
    assert truth.stdout.splitlines()[-1].startswith("rows: ") and " ok" in truth.stdout.splitlines()[-1]
    assert load_guidance(tmp_path / "out")["train"].num_rows == 96
    assert load_guidance(tmp_path / "motion")["test"].num_rows == 16
