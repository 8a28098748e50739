"""A small synthetic world with a server that knows its truth, and annotation runs over the two."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from vidreason.annotation.grid.run import LLMArguments
from vidreason.annotation.job import AnnotationArguments, AnnotationJob, Producer
from vidreason.guidance import load_guidance
from vidreason.llm.testing.chat_server import ChatServer
from vidreason.synthetic import WorldConfig, build_synthetic_actions
from vidreason.synthetic.world_answers import WorldAnswers

KEY = "sk-proj-thisIsNoRealKey0123456789"


@pytest.fixture(scope="session")
def small_world(tmp_path_factory) -> Path:
    """Twelve training clips and three test clips of 12 frames."""
    folder = tmp_path_factory.mktemp("small_world") / "world"
    build_synthetic_actions(folder, WorldConfig(num_frames=12), {"train": 12, "test": 3}, seed=5)
    return folder


@pytest.fixture(scope="session")
def world_answers(small_world) -> WorldAnswers:
    return WorldAnswers(small_world)


@pytest.fixture(autouse=True)
def key(monkeypatch) -> str:
    """A key that must turn up nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return KEY


@pytest.fixture
def serve(world_answers):
    """Starts servers that answer from the small world, and stops them after the test."""
    with contextlib.ExitStack() as stack:

        def start(**settings) -> ChatServer:
            answer = settings.pop("answer", world_answers)
            return stack.enter_context(ChatServer(answer, **{"api_key": KEY, **settings}))

        yield start


@pytest.fixture
def make_job(small_world, tmp_path):
    """Builds annotation jobs over the small world: 4 frames of each training video, unless told otherwise."""

    def make(
        server: ChatServer | None,
        out: str = "guidance",
        llm: dict | None = None,
        producer: Producer | None = None,
        **changes,
    ) -> AnnotationJob:
        args = {"manifest": str(small_world), "out": str(tmp_path / out), **changes}
        settings = LLMArguments(
            base_url=server.url if server else "http://127.0.0.1:9/v1",
            prompt="ucf",
            policy="ucf",
            video_share=1.0,
            frames_per_video=4,
            max_in_flight=8,
        )
        return AnnotationJob(AnnotationArguments(**args), producer or replace(settings, **(llm or {})))

    return make


@pytest.fixture
def run_job():
    """Runs a job and returns the rows of a split."""

    def run(job: AnnotationJob, split: str = "train", **options) -> list[dict]:
        return load_guidance(job.run(progress=False, **options))[split].to_list()

    return run
