"""Models that are not in the list: a picture classifier for each frame, and one that has no attention."""

import json
import re

import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from vidreason.backbones import Backbone, backbone, register_backbone, supervised_view
from vidreason.errors import ConfigError

VIT = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.2,
}


@pytest.fixture
def framewise_vit(repository) -> None:
    """Registers the example of docs/backbones.md, word for word."""
    page = (repository / "docs" / "backbones.md").read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "FramewiseViT" in block]
    exec(example, {})


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(backbone, "_BACKBONES", dict(backbone._BACKBONES))


def make_vit(**changes) -> ViTForImageClassification:
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(**VIT, num_labels=3, **changes)).eval()


def test_a_registered_model_is_supervised(framewise_vit):
    clips = torch.randn(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    model = make_vit()
    frames = model(clips.flatten(0, 1)).logits.unflatten(0, (2, 5))
    model.set_attn_implementation("eager")
    eager = model(clips.flatten(0, 1), output_attentions=True).attentions
    view = supervised_view(make_vit(num_frames=5), "all")
    outputs = view(clips)
    expected = torch.stack([a.mean(dim=1)[:, 0, 1:].unflatten(0, (2, 5)) for a in eager], dim=1)
    torch.testing.assert_close(outputs.layer_attention, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(outputs.logits, frames.mean(dim=1))
    torch.testing.assert_close(outputs.segment_logits[:, 0], frames[:, 0])
    torch.testing.assert_close(outputs.segment_logits[:, 1], frames[:, 1:4].mean(dim=1))
    assert supervised_view(make_vit()).config.num_frames == 8


def test_a_registered_model_trains_and_is_saved_as_what_it_is(framewise_vit, train, tmp_path):
    train(model={"model_type": "vit", "model_config": VIT}, supervised_layers="0,1")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["ViTForImageClassification"]
    assert config["num_frames"] == 8
    model, report = AutoModelForImageClassification.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert model.config.label2id == {"left_to_right": 0, "right_to_left": 1}
    again = train("again", model={"model_name_or_path": str(tmp_path / "model")}, num_train_epochs=1)
    assert again.metrics["test"]["loss"] is not None


def test_a_model_without_attention_is_refused():
    class Convolutions(Backbone):
        model_type = "resnet"

        def layers(self, model):
            return []

    register_backbone(Convolutions())
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)
    with pytest.raises(ConfigError, match="ResNetForImageClassification has no attention layer"):
        supervised_view(ResNetForImageClassification(config))


def test_a_description_without_a_type_or_layers_is_refused():
    with pytest.raises(ConfigError, match="Backbone has no model_type"):
        register_backbone(Backbone())
    with pytest.raises(ConfigError, match="model type 'vit' is not known"):
        supervised_view(make_vit())
