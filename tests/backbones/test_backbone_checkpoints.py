"""Models of train.py: new, from presets and from checkpoints; labels, heads, biases and processors."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_backbones import make_clips, make_plain
from transformers import (
    AutoVideoProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    TimesformerVideoProcessor,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    VideoMAEVideoProcessor,
    VivitVideoProcessor,
    VJEPA2VideoProcessor,
    conversion_mapping,
    modeling_utils,
)

from vidreason.backbones import supervised_view
from vidreason.backbones.checkpoints import head_of
from vidreason.backbones.layers import read_layers
from vidreason.backbones.models import PRESETS, build_model, build_processor
from vidreason.backbones.processors import followed_settings
from vidreason.clips.pixel_scale import pixel_statistics
from vidreason.clips.transforms import evaluation_transform, input_size
from vidreason.errors import ConfigError
from vidreason.rs.run import ModelArguments
from vidreason.training.arguments import read_mapping

LABELS = ["pour", "stir", "cut"]


@pytest.fixture
def build():
    """Builds the model that train.py would of its flags."""

    def make(class_names=LABELS, supervised_layers=None, **arguments):
        args = ModelArguments(**arguments)
        return build_model(
            class_names,
            args.model_name_or_path,
            args.model_type,
            read_mapping(args.model_config, "model_config"),
            args.replace_head,
            read_layers(supervised_layers),
        )

    return make


@pytest.fixture
def saved(tmp_path):
    """Saves a tiny plain model with labels, and gives its folder."""

    def save(family="vivit", labels=LABELS, processor=None, **changes):
        model = make_plain(family, **changes)
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: index for index, label in enumerate(labels)}
        folder = tmp_path / f"saved_{family}"
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        return model, str(folder)

    return save


# Labels


@pytest.mark.parametrize("family", ["timesformer", "vivit", "videomae", "vjepa2"])
def test_a_checkpoint_for_these_labels_is_taken_as_it_is(saved, build, family, caplog):
    model, folder = saved(family)
    view = build(model_name_or_path=folder)
    clips = make_clips()
    torch.testing.assert_close(view(clips).logits, supervised_view(model)(clips).logits)
    assert view.config.id2label == dict(enumerate(LABELS))
    assert "start anew" not in caplog.text


def test_labels_in_another_order_keep_their_weights(saved, build):
    model, folder = saved("vivit")
    view = build(["cut", "pour", "stir"], model_name_or_path=folder)
    clips = make_clips()
    torch.testing.assert_close(view(clips).logits, supervised_view(model)(clips).logits[:, [2, 0, 1]])
    assert view.config.id2label == {0: "cut", 1: "pour", 2: "stir"}
    assert view.config.label2id["cut"] == 0


@pytest.mark.parametrize("labels", [["pour", "stir", "fold"], ["pour", "stir"], ["pour", "stir", "cut", "fold"]])
def test_other_labels_are_refused_with_both_sets(saved, build, labels):
    _, folder = saved("vivit")
    with pytest.raises(ConfigError) as raised:
        build(labels, model_name_or_path=folder)
    assert "[pour, stir, cut]" in str(raised.value)
    assert f"[{', '.join(labels)}]" in str(raised.value)
    assert "replace_head" in str(raised.value)


@pytest.mark.parametrize("labels", [["pour", "stir", "fold"], ["a", "b"], LABELS])
def test_a_new_head_is_asked_for_and_said(saved, build, labels, caplog):
    model, folder = saved("timesformer")
    view = build(labels, model_name_or_path=folder, replace_head=True)
    assert head_of(view).weight.shape == (len(labels), 48)
    assert f"the classification head starts anew, for [{', '.join(labels)}]" in caplog.text
    assert not torch.equal(head_of(view).weight[:2], model.classifier.weight[:2])
    assert head_of(view).weight.std().item() == pytest.approx(0.3, rel=0.3)  # initializer_range of the tiny model
    assert head_of(view).bias.abs().max() == 0
    torch.testing.assert_close(view.timesformer.state_dict(), model.timesformer.state_dict())
    assert view(make_clips()).segment_logits.shape == (2, 3, len(labels))


def test_a_checkpoint_without_a_head_needs_no_flag(saved, build, tmp_path, caplog):
    """As the published encoders are: their configuration names no labels that anything was trained for."""
    model, _ = saved("vjepa2")
    model.vjepa2.save_pretrained(tmp_path / "encoder")
    view = build(["a", "b"], model_name_or_path=str(tmp_path / "encoder"))
    assert "classifier.weight" in caplog.text
    assert "pooler.query_tokens" in caplog.text
    assert "did not fill" in caplog.text
    torch.testing.assert_close(view.vjepa2.encoder.state_dict(), model.vjepa2.encoder.state_dict())
    assert view.config.num_labels == 2


# Weights


def in_former_names(folder: str) -> None:
    """Rewrite a saved VideoMAE as it was published: biases of the attention and not of its projections."""
    weights = load_file(f"{folder}/model.safetensors")
    former = {
        name.replace("attention.query.bias", "attention.q_bias").replace("attention.value.bias", "attention.v_bias"): w
        for name, w in weights.items()
    }
    assert sum(name.endswith(("q_bias", "v_bias")) for name in former) == 4
    save_file(former, f"{folder}/model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("translates", [True, False])
def test_biases_under_their_former_names_are_loaded(saved, build, translates, monkeypatch, caplog, tmp_path):
    model, folder = saved("videomae")
    in_former_names(folder)
    if not translates:  # as transformers did for a while
        _forget_the_former_names(monkeypatch)
        blank, report = VideoMAEForVideoClassification.from_pretrained(folder, output_loading_info=True)
        assert any(name.endswith("q_bias") for name in report["unexpected_keys"])
        assert not torch.equal(blank(make_clips()).logits, model(make_clips()).logits)
    view = build(model_name_or_path=folder)
    for name, weight in model.state_dict().items():
        assert torch.equal(view.state_dict()[name], weight), name
    assert "start anew" not in caplog.text
    view.save_pretrained(tmp_path / "again")  # and what is saved is read back by the same version
    again, report = VideoMAEForVideoClassification.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not report["missing_keys"]
    torch.testing.assert_close(again(make_clips()).logits, model(make_clips()).logits)


def _forget_the_former_names(monkeypatch) -> None:
    def without(function):
        def wrapped(*args, **kwargs):
            key_mapping = kwargs.get("key_mapping") or (args[1] if len(args) > 1 else None) or {}
            return [
                entry
                for entry in function(*args, **kwargs)
                if key_mapping or not any("_bias" in pattern for pattern in entry.source_patterns)
            ]

        return wrapped

    original = conversion_mapping.get_model_conversion_mapping
    for module in (conversion_mapping, modeling_utils):
        monkeypatch.setattr(module, "get_model_conversion_mapping", without(original))


def test_weights_that_are_missing_are_named(saved, build, caplog):
    _, folder = saved("timesformer")
    weights = load_file(f"{folder}/model.safetensors")
    name = "timesformer.encoder.layer.1.attention.attention.qkv.weight"
    save_file({k: w for k, w in weights.items() if k != name}, f"{folder}/model.safetensors", {"format": "pt"})
    build(model_name_or_path=folder)
    assert f"did not fill 1 weights, which start anew: {name}" in caplog.text


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("timesformer", {"num_frames": 8}, r"num_frames 6 \(now 8\).*time_embeddings \(1, 6, 48\), not \(1, 8, 48\)"),
        ("vivit", {"num_frames": 8}, r"num_frames 6 \(now 8\).*position_embeddings"),
        ("vivit", {"num_frames": 5}, "5 frames are no multiple of 2"),
        ("vivit", {"image_size": 64}, r"image_size 32 \(now 64\)"),
        ("videomae", {"num_frames": 7}, "7 frames are no multiple of 2"),
        ("vjepa2", {"hidden_size": 96}, r"hidden_size 48 \(now 96\)"),
        ("vivit", {"depth": 3}, r"VivitConfig has no \['depth'\]"),
    ],
)
def test_a_configuration_that_the_weights_do_not_fit_is_named(saved, build, family, changes, message):
    _, folder = saved(family)
    with pytest.raises(ConfigError, match=message):
        build(model_name_or_path=folder, model_config=changes)


@pytest.mark.parametrize("family", ["videomae", "vjepa2"])
def test_models_without_learned_positions_take_other_numbers_of_frames(saved, build, family):
    _, folder = saved(family)
    view = build(model_name_or_path=folder, model_config={"num_frames": 8})
    assert view(make_clips(num_frames=8)).frame_attention.shape == (2, 8, 16)


def test_half_precision_checkpoints_are_trained_in_full(saved, build):
    model, folder = saved("vivit")
    model.half().save_pretrained(folder)
    assert build(model_name_or_path=folder).dtype == torch.float32


# Types and presets


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_models(build, name):
    view = build(model_type=name)
    model_type, fields = PRESETS[name]
    assert view.config.model_type == model_type
    assert all(getattr(view.config, field) == value for field, value in fields.items())
    size = view.config.crop_size if model_type == "vjepa2" else view.config.image_size
    if name == "vivit_compact":
        assert 4.2e6 < view.num_parameters() < 4.4e6
    else:
        outputs = view(torch.zeros(1, 8, 3, size, size))
        assert outputs.frame_attention.shape == (1, 8, 16)


def test_fields_win_over_a_preset(build):
    view = build(model_type="vivit_small", model_config='{"num_frames": 4, "num_hidden_layers": 1}')
    assert (view.config.num_frames, view.config.num_hidden_layers, view.config.hidden_size) == (4, 1, 96)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_type": "resnet"}, "model_type is 'resnet', expected one of tsvit, .*vivit_compact"),
        ({"model_type": "vivit_huge"}, "vivit_huge"),
        ({"model_type": "vivit_small", "model_config": {"tubelets": 2}}, r"VivitConfig has no \['tubelets'\]"),
        ({"model_type": "vivit_small", "model_config": {"num_frames": 7}}, "7 frames are no multiple of 2"),
        ({"model_type": "vivit_small", "model_config": {"hidden_size": "wide"}}, "hidden_size"),
        ({"supervised_layers": "9"}, "layer 9, but num_spatial_layers is 6"),
        ({"model_type": "videomae_small", "supervised_layers": "9"}, "layer 9, but this videomae has 4"),
        ({"model_type": "timesformer_small", "model_config": {"image_size": 60}}, "60x60 pixels does not divide"),
    ],
)
def test_a_mistake_is_named(build, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)


def test_a_checkpoint_of_another_kind_is_named(saved, build, tmp_path):
    _, folder = saved("vivit")
    with pytest.raises(ConfigError, match=r"model_type is 'timesformer'.*holds a model of type 'vivit'"):
        build(model_name_or_path=folder, model_type="timesformer")
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    with pytest.raises(ConfigError, match="'resnet' is not known to reasoning supervision"):
        build(model_name_or_path=str(tmp_path / "resnet"))


# Processors

NATIVE = {
    "timesformer": TimesformerVideoProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
    "videomae": VideoMAEVideoProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    "vivit": VivitVideoProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}),
    "vjepa2": VJEPA2VideoProcessor(crop_size=32),
}


def native_pixels(processor, clip):
    batch = processor(clip, do_sample_frames=False, return_tensors="pt")
    return batch.get("pixel_values", batch.get("pixel_values_videos"))


@pytest.mark.parametrize("family", NATIVE)
def test_a_checkpoints_processor_is_followed(saved, family):
    """The project's processor, and its transform of evaluation, give what the checkpoint's own gives."""
    model, folder = saved(family, processor=NATIVE[family])
    processor = build_processor(model.config, folder)
    clip = torch.randint(0, 255, (6, 3, 48, 64), dtype=torch.uint8)
    expected = native_pixels(NATIVE[family], clip)
    torch.testing.assert_close(native_pixels(processor, clip), expected, rtol=1e-4, atol=1e-4)
    transformed = evaluation_transform(processor, (4, 4))(clip.permute(0, 2, 3, 1).numpy(), [None] * 6).pixel_values
    torch.testing.assert_close(transformed, expected[0], rtol=1e-3, atol=0.05)
    assert input_size(processor) == (32, 32)
    assert processor.num_frames == 6
    assert processor.model_input_names == ["pixel_values_videos" if family == "vjepa2" else "pixel_values"]


def test_a_checkpoint_with_an_image_processor_is_followed(saved, tmp_path):
    """As TimeSformer was published."""
    native = VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model, folder = saved("timesformer", processor=native)
    processor = build_processor(model.config, folder)
    assert input_size(processor) == (32, 32)
    assert list(pixel_statistics(processor)[0]) == list(native.image_mean)


@pytest.mark.parametrize("family", NATIVE)
def test_a_processor_is_scaled_to_the_models_frames(saved, family):
    model, folder = saved(family, processor=NATIVE[family])
    model.config.crop_size = model.config.image_size = 64
    processor = build_processor(model.config, folder)
    assert input_size(processor) == (64, 64)
    assert processor.size["shortest_edge"] in (64, 72)


def test_a_checkpoint_without_a_processor_is_named(saved):
    model, folder = saved("vivit")
    with pytest.raises(ConfigError, match="has no video processor"):
        build_processor(model.config, folder)


@pytest.mark.parametrize("family", NATIVE)
def test_a_new_processor_reads_back_as_one_of_transformers(family, tmp_path):
    processor = build_processor(make_plain(family).config)
    processor.save_pretrained(tmp_path)
    read = AutoVideoProcessor.from_pretrained(tmp_path)
    assert type(read) is type(NATIVE[family])
    clip = torch.randint(0, 255, (6, 3, 48, 64), dtype=torch.uint8)
    torch.testing.assert_close(native_pixels(read, clip), native_pixels(processor, clip), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0.75, 0.25)),  # 2 x - 1, less 0.5, by 0.5: ViViT's own
        ({"do_normalize": False}, (0.5, 0.5)),
        ({"rescale_factor": 1 / 255}, (1.5, 0.5)),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, (0.5, 0.2)),
    ],
)
def test_pixel_statistics_follow_vivits_rule(changes, expected):
    processor = VivitVideoProcessor(**changes)
    mean, std = pixel_statistics(processor)
    assert mean == pytest.approx([expected[0]] * 3, rel=1e-5)
    assert std == pytest.approx([expected[1]] * 3, rel=1e-5)
    followed = followed_settings(processor, 32, 32)  # of bytes
    assert not followed["do_rescale"] and followed["do_normalize"]
    assert followed["image_mean"] == pytest.approx([255 * expected[0]] * 3, rel=1e-6)
    assert followed["image_std"] == pytest.approx([255 * expected[1]] * 3, rel=1e-6)


def test_a_tsvit_of_another_length_is_named(build, tmp_path):
    fields = {"image_size": 32, "num_frames": 4, "hidden_size": 16, "num_attention_heads": 2}
    build(model_config=fields).save_pretrained(tmp_path / "tsvit")
    with pytest.raises(ConfigError, match=r"num_frames 4 \(now 6\).*position_embeddings"):
        build(model_name_or_path=str(tmp_path / "tsvit"), model_config={"num_frames": 6})
    assert build(model_name_or_path=str(tmp_path / "tsvit"), supervised_layers="all").config.supervised_layers == "all"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"\0" * 100),
        ("config.json", None),
        ("config.json", b"[1]"),
        ("config.json", b"[" * 100_000),
        ("*processor_config.json", None),
        ("*processor_config.json", b"[1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "half" if value is None else f"{len(value)}_bytes",
)
def test_a_damaged_checkpoint_is_named_in_one_line(build, saved, file, content):
    """Garbage, or half of a file, as a full disk or an interrupted download leaves it."""
    model, folder = saved(processor=VivitVideoProcessor())
    path = next(Path(folder).glob(file))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(ConfigError) as caught:
        build(model_name_or_path=folder)
        build_processor(model.config, folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
