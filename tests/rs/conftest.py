"""A very small data set on which the whole path from video files to a trained model can be walked in seconds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification, TSViTVideoProcessor
from vidreason.guidance import GuidanceIndex, guidance_row, load_guidance, write_guidance
from vidreason.rs.config import RSConfig
from vidreason.rs.data import ClipSettings, GuidedClips
from vidreason.rs.transforms import AugmentationConfig, ClipTransform, evaluation_transform, training_transform
from vidreason.video import probe_video, write_video
from vidreason.video.manifest import Manifest, load_manifest, manifest_row, write_manifest

CLASS_NAMES = ["left_to_right", "right_to_left"]
NUM_FRAMES, FPS = 8, 8.0


@dataclass(frozen=True)
class TinyWorld:
    """Where the tiny data set lies."""

    folder: Path

    @property
    def manifest_folder(self) -> Path:
        return self.folder / "manifest"

    @property
    def guidance_folder(self) -> Path:
        return self.folder / "guidance"

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.manifest_folder)

    def index(self, split: str = "train") -> GuidanceIndex:
        return GuidanceIndex(load_guidance(self.guidance_folder)[split])


def moving_square(label: int, row: int, rng: np.random.Generator) -> np.ndarray:
    """A bright square that crosses one row of a 4x4 grid: (frames, 64, 64, 3)."""
    frames = rng.integers(0, 40, (NUM_FRAMES, 64, 64, 3), dtype=np.uint8)
    for index in range(NUM_FRAMES):
        left = 2 + 7 * (index if label == 0 else NUM_FRAMES - 1 - index)
        frames[index, row * 16 + 2 : row * 16 + 14, left : left + 12] = 230
    return frames


def cell_of(label: int, row: int, frame: int) -> int:
    step = frame if label == 0 else NUM_FRAMES - 1 - frame
    return row * 4 + min(3, (8 + 7 * step) // 16)


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory) -> TinyWorld:
    """Eight training and four test clips of two classes; every third frame of the guidance failed."""
    world = TinyWorld(tmp_path_factory.mktemp("tiny_world"))
    rng = np.random.default_rng(0)
    rows, guidance = {}, {}
    for split, count in {"train": 8, "test": 4}.items():
        rows[split], guidance[split] = [], []
        for number in range(count):
            label, place = number % 2, int(rng.integers(0, 4))
            path = world.manifest_folder / "videos" / split / f"{number}.mp4"
            write_video(path, moving_square(label, place, rng), FPS, crf=10)
            rows[split].append(manifest_row(f"videos/{split}/{number}.mp4", label, probe_video(path)))
            for frame in range(NUM_FRAMES):
                key = {
                    "video_id": f"videos/{split}/{number}",
                    "source": "tiny@1",
                    "split": split,
                    "frame_index": frame,
                    "timestamp_s": frame / FPS,
                    "frame_height": 64,
                    "frame_width": 64,
                }
                failed = frame % 3 == 2 or number == 1  # clip 1 has no guidance at all
                weights = np.zeros(16) if failed else np.eye(16)[cell_of(label, place, frame)]
                status = "failed" if failed else "ok"
                guidance[split].append(guidance_row(key, weights.tolist(), (4, 4), "tests", status))
    write_manifest(world.manifest_folder, rows, CLASS_NAMES, "tiny@1", world.manifest_folder)
    write_guidance(world.guidance_folder, guidance)
    return world


TINY_MODEL = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_spatial_layers": 2,
    "num_temporal_layers": 1,
}


@pytest.fixture
def tiny_model() -> dict[str, int]:
    """Fields of a TSViTConfig that trains in seconds."""
    return dict(TINY_MODEL)


def tiny_config(**changes) -> TSViTConfig:
    settings = {
        **TINY_MODEL,
        "id2label": dict(enumerate(CLASS_NAMES)),
        "label2id": {name: index for index, name in enumerate(CLASS_NAMES)},
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0.0,
        "initializer_range": 0.1,  # large, so that no part of the loss starts out as rounding error
    }
    return TSViTConfig(**{**settings, **changes})


@pytest.fixture
def make_model():
    """Builds tiny models, the same weights every time."""

    def make(**changes) -> TSViTForVideoClassification:
        import torch

        torch.manual_seed(0)
        return TSViTForVideoClassification(tiny_config(**changes))

    return make


@pytest.fixture
def short_training() -> dict[str, object]:
    """Arguments of short runs on the CPU that leave nothing but what they are asked for."""
    return {
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }


@pytest.fixture
def write_recipe(short_training, tiny_model, tmp_path):
    """Writes a recipe that trains the tiny model for two epochs, and gives its path."""

    def write(**settings) -> str:
        path = tmp_path / "recipe.yaml"
        common = {"model_config": tiny_model, "output_dir": str(tmp_path / "model"), "num_train_epochs": 2, "seed": 3}
        path.write_text(yaml.safe_dump({**short_training, **common, "test_splits": ["test"], **settings}))
        return str(path)

    return write


@pytest.fixture
def processor() -> TSViTVideoProcessor:
    return TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=4)


@pytest.fixture
def make_transform():
    """Builds transforms over a grid of 4x4 tokens."""

    def make(processor: TSViTVideoProcessor, augment: bool, **augmentation) -> ClipTransform:
        if augment:
            return training_transform(processor, (4, 4), AugmentationConfig(mirror_probability=0.5, **augmentation))
        return evaluation_transform(processor, (4, 4))

    return make


@pytest.fixture
def make_clips(tiny_world, processor, make_transform):
    """Builds data sets over the tiny world."""

    def make(split="train", augment=False, guided=True, sampling="uniform", manifest=None, **changes) -> GuidedClips:
        transform = make_transform(processor, augment)
        index = tiny_world.index(split) if guided else None
        settings = ClipSettings(num_frames=4, sampling=sampling, cache=changes.pop("cache", False))
        return GuidedClips(manifest or tiny_world.manifest, split, transform, settings, index, **changes)

    return make


@pytest.fixture
def make_arguments(short_training, tmp_path):
    """Builds an RSConfig for short runs on the CPU."""

    def make(**changes) -> RSConfig:
        settings = {
            **short_training,
            "output_dir": str(tmp_path / "run"),
            "per_device_eval_batch_size": 4,
            "num_train_epochs": 2,
            "seed": 7,
        }
        return RSConfig(**{**settings, **changes})

    return make
