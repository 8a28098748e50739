"""Tiny A2O models around tiny classifiers of several families: frames of 32x32 pixels, six in a clip."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForVideoClassification, PreTrainedModel

import modeling_tsvit  # noqa: F401  makes TSViT a classifier that may be inside
from modeling_a2o import A2OForVideoClassification

CLASSES = ("person", "ball", "tennis racket")
_SHARED = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
_SQUARE = {**_SHARED, "image_size": 32, "num_frames": 6, "intermediate_size": 32}
CLASSIFIERS = {
    "tsvit": {
        "image_size": 32,
        "num_frames": 6,
        "hidden_size": 16,
        "num_spatial_layers": 2,
        "num_temporal_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    },
    "vjepa2": {
        **_SHARED,
        "crop_size": 32,
        "patch_size": 8,
        "frames_per_clip": 6,
        "num_pooler_layers": 1,
        "pred_hidden_size": 12,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    },
    "videomae": {**_SQUARE, "patch_size": 8},
    "vivit": {**_SQUARE, "tubelet_size": [2, 8, 8]},
    "timesformer": {**_SQUARE, "patch_size": 8},
}


@pytest.fixture
def make_classifier():
    """A function that builds a seeded plain classifier in evaluation mode; keywords change its configuration."""

    def make(model_type="tsvit", attn_implementation=None, **values) -> PreTrainedModel:
        torch.manual_seed(0)
        labels = {} if "id2label" in values else {"num_labels": 4}
        config = AutoConfig.for_model(model_type, **{**CLASSIFIERS[model_type], **labels, **values})
        chosen = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
        model = AutoModelForVideoClassification.from_config(config, **chosen)
        with torch.no_grad():  # biases and positions that start from zero would hide what is lost of them
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.2)
        return model.eval()

    return make


@pytest.fixture
def make_model(make_classifier):
    """A function that puts an adapter with weights of its own around such a classifier; keywords are the adapter's."""

    def make(model_type="tsvit", trained=True, classifier=None, **values) -> A2OForVideoClassification:
        inside = make_classifier(model_type) if classifier is None else classifier
        model = A2OForVideoClassification.from_backbone(inside, **{"class_texts": CLASSES, **values})
        if trained:
            torch.manual_seed(1)
            with torch.no_grad():
                for parameter in model.adapter.parameters():
                    parameter.normal_()
        return model

    return make


@pytest.fixture
def clips() -> torch.Tensor:
    """Two clips of six frames: (2, 6, 3, 32, 32)."""
    return torch.randn(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def maps() -> torch.Tensor:
    """Their maps, at a quarter of the size: (2, 6, 3, 8, 8)."""
    return torch.rand(2, 6, len(CLASSES), 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=CLASSIFIERS)
def model_type(request) -> str:
    return request.param
