"""A small study over the synthetic world, as files."""

import copy
from pathlib import Path

import yaml

RECIPE = {
    "test_splits": ["test", "test_shifted"],
    "cache_videos": True,
    "decode_max_side_px": 48,
    "crop_scale_min": 0.8,
    "brightness": 0.0,
    "model_config": {
        "image_size": 32,
        "num_frames": 4,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_spatial_layers": 2,
        "num_temporal_layers": 1,
    },
    "num_train_epochs": 1,
    "per_device_train_batch_size": 6,
    "per_device_eval_batch_size": 12,
    "learning_rate": 1e-3,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
}

STUDY = {
    "name": "small",
    "title": "A small study",
    "question": "Does it work?",
    "recipe": "recipe.yaml",
    "seeds": [0, 1, 2],
    "data": {
        "synthetic": {
            "split_sizes": {"train": 24, "test": 12, "test_shifted": 12},
            "world": {"width": 80, "height": 60, "num_frames": 6},
        }
    },
    "axes": {
        "supervision": {
            "none": {"spatial_weight": 0.0, "temporal_weight": 0.0},
            "both": {"spatial_weight": 1.0, "temporal_weight": 0.1},
        },
        "guidance": {
            "unused": {},
            "noisy": {"producer": "truth", "missed_frames": 0.1},
            "wrong": {"producer": "truth", "wrong_cells": 1.0},
        },
        "share": {"50": {"train_share": 0.5}, "100": {}},
    },
    "defaults": {"share": "100"},
    "blocks": [
        {"supervision": "none", "guidance": "unused", "share": "all"},
        {"supervision": "both", "guidance": ["noisy", "wrong"]},
        {"supervision": "both", "guidance": "noisy", "share": "50"},
    ],
    "baseline": {"supervision": "none", "guidance": "unused"},
}

VALUES = {
    "none-unused-50": [0.10, 0.10, 0.10],
    "none-unused-100": [0.20, 0.30, 0.40],
    "both-noisy-100": [0.30, 0.50, 0.40],
    "both-wrong-100": [0.20, 0.10, 0.30],
    "both-noisy-50": [0.20, 0.20, 0.30],
}
"""Made-up results of its settings: the top-1 accuracy of each seed."""


def write_study(folder: Path, changes: dict | None = None, recipe: dict | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    study = {**copy.deepcopy(STUDY), **(changes or {})}
    study = {key: value for key, value in study.items() if value is not None}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **(recipe or {})}, sort_keys=False))
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path
