"""Fixtures that tests of several rooms share."""

import logging
import os
from pathlib import Path

import pytest

# before transformers or datasets are imported: nothing here may look for the network
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = [
    "fixtures.color_questions",
    "fixtures.detected_world",
    "fixtures.host_reads",
    "fixtures.line_task",
    "fixtures.odd_videos",
    "fixtures.small_studies",
    "fixtures.small_worlds",
    "fixtures.space_checkpoints",
    "fixtures.tiny_assembly",
    "fixtures.tiny_training",
]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_unforeseen_errors(request):
    """A mistake in the library fails the test, also where a loop over many files would list it and go on."""
    seen: list[logging.LogRecord] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = seen.append
    log = logging.getLogger("vidreason.errors")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield
    log.removeHandler(handler)
    log.setLevel(level)
    if seen and not request.node.get_closest_marker("unforeseen_errors"):
        error = seen[0].exc_info[1] if seen[0].exc_info else None
        raise AssertionError(f"an error that nobody foresaw: {seen[0].getMessage()}") from error


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds `pyproject.toml`."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real video and reference values, which are not part of the repository."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data does not exist beside the repository")
    return folder
