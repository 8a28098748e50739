"""Small checkpoints of both tasks, small clips, and a service over them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SPACE = Path(__file__).resolve().parents[2] / "space_app"
sys.path.insert(0, str(SPACE))  # as for the Space itself, whose folder is the root of its repository

from clipview.checkpoints import load_checkpoints  # noqa: E402
from clipview.guidance import KnownClips  # noqa: E402
from clipview.reading import read_clip  # noqa: E402
from clipview.service import Service  # noqa: E402
from clipview.settings import Drawing, Limits, SpaceSettings  # noqa: E402
from fixtures.space_clips import NUM_FRAMES, moving_square, write_clip  # noqa: E402
from fixtures.space_segmenter import save_segmenter, write_colors  # noqa: E402


@pytest.fixture(scope="session")
def checkpoints(checkpoint_folders):
    """Both, loaded: name -> checkpoint."""
    return load_checkpoints([str(folder) for folder in checkpoint_folders])


@pytest.fixture(scope="session")
def segmenter_folder(tmp_path_factory) -> Path:
    """A segmentation checkpoint, called segmenter."""
    return save_segmenter(tmp_path_factory.mktemp("segmenters") / "segmenter")


@pytest.fixture(scope="session")
def all_checkpoints(checkpoints, segmenter_folder):
    """Those that classify and the one that segments."""
    return {**checkpoints, **load_checkpoints([str(segmenter_folder)])}


@pytest.fixture(scope="session")
def colors_path(tmp_path_factory) -> Path:
    """Four seconds of colours, which the segmentation checkpoint knows."""
    return write_colors(tmp_path_factory.mktemp("colors") / "colors.mp4")


@pytest.fixture(scope="session")
def limits() -> Limits:
    """Those of the Space."""
    return Limits()


@pytest.fixture(scope="session")
def square_path(tmp_path_factory) -> Path:
    """Two seconds of a square that moves through the third row of cells."""
    return write_clip(tmp_path_factory.mktemp("clips") / "square.mp4", moving_square(24), fps=12)


@pytest.fixture(scope="session")
def square(square_path, limits):
    """The same, as it is read."""
    return read_clip(square_path, [NUM_FRAMES], limits, Drawing())


@pytest.fixture
def make_service(checkpoint_folders, checkpoints):
    """Makes services, with tables of guidance, other checkpoints and limits if wanted, and closes them."""
    made = []

    def make(tables=None, loaded=None, truth=None, worlds=(), video_llms=None, questions=None, **settings) -> Service:
        ids = tuple(str(folder) for folder in checkpoint_folders)
        service = Service(
            SpaceSettings(ids, **settings),
            loaded or checkpoints,
            KnownClips(tables or {}),
            truth,
            worlds,
            video_llms,
            questions,
        )
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()
