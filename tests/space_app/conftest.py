"""Small checkpoints of both tasks, small clips, and a service over them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

SPACE = Path(__file__).resolve().parents[2] / "space_app"
sys.path.insert(0, str(SPACE))  # as for the Space itself, whose folder is the root of its repository

from clipview.checkpoints import load_checkpoints  # noqa: E402
from clipview.guidance import KnownClips  # noqa: E402
from clipview.reading import read_clip  # noqa: E402
from clipview.service import Service  # noqa: E402
from clipview.settings import Drawing, Limits, SpaceSettings  # noqa: E402
from space_clips import LABELS, NUM_FRAMES, moving_square, write_clip  # noqa: E402
from space_segmenter import save_segmenter, write_colors  # noqa: E402

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor  # noqa: E402


def save_checkpoint(folder: Path, seed: int, **overrides) -> Path:
    """A TSViT with random weights, as `train.py` leaves it."""
    torch.manual_seed(seed)
    fields = {"image_size": 32, "num_frames": NUM_FRAMES, "hidden_size": 32, "intermediate_size": 32}
    fields |= {"num_spatial_layers": 1, "num_temporal_layers": 1, "num_attention_heads": 2, "initializer_range": 0.5}
    config = TSViTConfig(**fields, id2label=dict(enumerate(LABELS)), **overrides)
    TSViTForVideoClassification(config).save_pretrained(folder)
    TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=NUM_FRAMES).save_pretrained(folder)
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# Card of {folder.name}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def checkpoint_folders(tmp_path_factory) -> list[Path]:
    """Two checkpoints, called without and with."""
    root = tmp_path_factory.mktemp("checkpoints")
    return [save_checkpoint(root / name, seed) for seed, name in enumerate(("without", "with"))]


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

    def make(tables=None, loaded=None, truth=None, **settings) -> Service:
        ids = tuple(str(folder) for folder in checkpoint_folders)
        service = Service(SpaceSettings(ids, **settings), loaded or checkpoints, KnownClips(tables or {}), truth)
        made.append(service)
        return service

    yield make
    for service in made:
        service.close()
