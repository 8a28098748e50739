"""Whole runs of tiny backbones on the tiny world."""

from pathlib import Path

import pytest

from vidreason.rs.config import RSConfig
from vidreason.rs.run import DataArguments, ModelArguments, RunResult, run_training

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 24, "initializer_range": 0.2}
SQUARE = {**SMALL, "image_size": 32, "num_frames": 4, "intermediate_size": 32}
MODEL_CONFIGS = {
    "timesformer": {**SQUARE, "patch_size": 8},
    "vivit": {**SQUARE, "tubelet_size": [2, 8, 8]},
    "videomae": {**SQUARE, "patch_size": 8},
    "vjepa2": {
        **SMALL,
        "crop_size": 32,
        "num_frames": 4,
        "patch_size": 8,
        "num_pooler_layers": 1,
        "pred_hidden_size": 12,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    },
}


@pytest.fixture
def train(tiny_world, short_training, tmp_path):
    """Trains for two epochs of two steps each on the tiny world, and gives the result."""

    def run(output: str = "model", model: dict | None = None, data: dict | None = None, **changes) -> RunResult:
        settings = {
            **short_training,
            "output_dir": str(tmp_path / output),
            "num_train_epochs": 2,
            "seed": 3,
        }
        data_settings = {
            "manifest": str(tiny_world.manifest_folder),
            "guidance": str(tiny_world.guidance_folder),
            "test_splits": ["test"],
        }
        return run_training(
            ModelArguments(**(model or {})),
            DataArguments(**{**data_settings, **(data or {})}),
            RSConfig(**{**settings, **changes}),
        )

    return run


@pytest.fixture(scope="session")
def trained_before() -> dict[str, tuple[RunResult, Path]]:
    """What `trained` has trained, by type."""
    return {}


@pytest.fixture
def trained(train, new_model, trained_before, tmp_path_factory):
    """Gives the run of a type, with all layers supervised, and its folder; tests share it and leave it as it is."""

    def run(model_type: str) -> tuple[RunResult, Path]:
        if model_type not in trained_before:
            folder = tmp_path_factory.mktemp(model_type)
            result = train(str(folder), model=new_model(model_type), supervised_layers="all")
            trained_before[model_type] = result, folder
        return trained_before[model_type]

    return run


@pytest.fixture
def model_configs() -> dict[str, dict]:
    """`model_config` of a tiny model of each type."""
    return MODEL_CONFIGS


@pytest.fixture(params=MODEL_CONFIGS)
def model_type(request) -> str:
    return request.param


@pytest.fixture
def new_model():
    """`ModelArguments` of a new tiny model of a type."""

    def arguments(model_type: str, **changes) -> dict:
        return {"model_type": model_type, "model_config": {**MODEL_CONFIGS[model_type], **changes}}

    return arguments
