import pytest
from transformers import AutoConfig

from modeling_tsvit import TSViTConfig


def test_defaults_are_the_grid_of_the_paper():
    config = TSViTConfig()
    assert config.grid_shape == (4, 4)
    assert config.num_patches == 16
    assert config.patch_size == (56, 56)
    assert config.supervised_layer_indices == (config.num_spatial_layers - 1,)


@pytest.mark.parametrize(
    ("values", "patch_size", "num_patches"),
    [
        ({"image_size": 64}, (16, 16), 16),
        ({"image_size": [64, 96]}, (16, 24), 16),
        ({"image_size": 64, "grid_size": (2, 8)}, (32, 8), 16),
        ({"image_size": (48, 64), "grid_size": (3, 4)}, (16, 16), 12),
    ],
)
def test_patch_size_follows_from_image_and_grid(values, patch_size, num_patches):
    config = TSViTConfig(**values)
    assert config.patch_size == patch_size
    assert config.num_patches == num_patches


@pytest.mark.parametrize(
    ("layers", "indices"),
    [((-1,), (3,)), (0, (0,)), (-2, (2,)), ([1, -1], (1, 3)), ([-1, 0], (0, 3)), ("all", (0, 1, 2, 3))],
)
def test_supervised_layers_resolve_in_ascending_order(layers, indices):
    assert TSViTConfig(num_spatial_layers=4, supervised_layers=layers).supervised_layer_indices == indices


def test_supervised_layers_can_be_set_anew_and_are_checked_again():
    config = TSViTConfig(num_spatial_layers=4)
    config.supervised_layers = 2
    assert config.supervised_layer_indices == (2,)
    config.supervised_layers = (9,)
    with pytest.raises(ValueError, match="supervised_layers names spatial layer 9"):
        config.supervised_layer_indices  # noqa: B018


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"image_size": [64, 64]},
        {"image_size": [64, 96], "grid_size": [2, 4]},
        {"supervised_layers": [0, -1]},
        {"supervised_layers": 2},
        {"supervised_layers": "all", "num_labels": 3, "id2label": {0: "a", 1: "b", 2: "c"}},
        {"patch_embedding": "conv_stem", "classifier_hidden_size": 32, "initializer_range": 0.02},
    ],
)
def test_json_round_trip_is_equal(values, tmp_path):
    config = TSViTConfig(**values)
    config.save_pretrained(tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(read, TSViTConfig)
    for field in ("image_size", "grid_size", "supervised_layers", "id2label", "patch_size"):
        assert getattr(read, field) == getattr(config, field), field
    config._name_or_path = read._name_or_path
    # What saving adds: which version wrote the file, and where its code is.
    written = {"transformers_version", "auto_map"}
    before = {name: value for name, value in config.to_dict().items() if name not in written}
    after = {name: value for name, value in read.to_dict().items() if name not in written}
    assert before == after


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 65}, "grid_size"),
        ({"image_size": (64, 66)}, "grid_size"),
        ({"image_size": "64"}, "image_size"),
        ({"image_size": (64, 64, 3)}, "image_size"),
        ({"image_size": 0}, "image_size"),
        ({"grid_size": 4.0}, "grid_size"),
        ({"grid_size": (4, -4)}, "grid_size"),
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": True}, "num_frames"),
        ({"num_channels": 0}, "num_channels"),
        ({"hidden_size": "256"}, "hidden_size"),
        ({"hidden_size": 100, "num_attention_heads": 8}, "num_attention_heads"),
        ({"num_spatial_layers": 0}, "num_spatial_layers"),
        ({"num_temporal_layers": 0}, "num_temporal_layers"),
        ({"intermediate_size": -1}, "intermediate_size"),
        ({"hidden_act": "gleu"}, "hidden_act"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob"),
        ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps"),
        ({"initializer_range": float("inf")}, "initializer_range"),
        ({"position_initializer_range": None}, "position_initializer_range"),
        ({"qkv_bias": "yes"}, "qkv_bias"),
        ({"patch_embedding": "tubelet"}, "patch_embedding"),
        ({"patch_embedding": "conv_stem", "image_size": 60}, "num_stem_blocks"),
        ({"patch_embedding": "conv_stem", "hidden_size": 250, "num_attention_heads": 1}, "hidden_size"),
        ({"classifier_hidden_size": 0}, "classifier_hidden_size"),
        ({"supervised_layers": ()}, "supervised_layers"),
        ({"supervised_layers": "last"}, "supervised_layers"),
        ({"supervised_layers": (6,)}, "supervised_layers"),
        ({"supervised_layers": (-7,)}, "supervised_layers"),
        ({"supervised_layers": (5, -1)}, "supervised_layers"),
        ({"supervised_layers": (1.5,)}, "supervised_layers"),
        ({"supervised_layers": None}, "supervised_layers"),
    ],
)
def test_an_unusable_value_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        TSViTConfig(**values)


def test_evaluation_does_not_gather_maps():
    ignored = TSViTConfig().keys_to_ignore_at_inference
    assert {"frame_attention", "layer_attention", "segment_logits", "hidden_states", "attentions"} <= set(ignored)
    assert "logits" not in ignored
