"""A2O models are built, supervised and read as the family of the classifier inside."""

import pytest
import torch

from vidreason.backbones import SupervisedView, backbone_for, plain_view, supervised_view
from vidreason.backbones.describe import describe_supervision
from vidreason.backbones.models import build_model, build_processor
from vidreason.errors import ConfigError

NAMES = ["wave", "run", "sit"]
CLASSES = ["person", "ball"]
TSVIT = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 16,
    "num_spatial_layers": 2,
    "num_temporal_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


@pytest.fixture
def fields(model_configs):
    def of(model_type: str) -> dict:
        return TSVIT if model_type == "tsvit" else model_configs[model_type]

    return of


@pytest.fixture(params=["tsvit", "timesformer", "vivit", "videomae", "vjepa2"])
def inside(request) -> str:
    return request.param


@pytest.fixture
def build(fields):
    """A function that builds a seeded A2O model with a trained adapter, in evaluation mode."""

    def make(inside, **values):
        torch.manual_seed(0)
        overrides = {**fields(inside), "class_texts": CLASSES, **values}
        model = build_model(NAMES, model_type=f"a2o_{inside}", overrides=overrides)
        with torch.no_grad():
            for parameter in model.adapter.parameters():
                parameter.normal_()
        return model.eval()

    return make


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.rand(2, 4, 2, 8, 8, generator=torch.Generator().manual_seed(2))


def test_supervision_reads_the_classifier_inside_that_sees_the_maps(build, fields, inside, clips, maps):
    """All that a supervised model gives is what the plain one gives of frames to which the maps are added."""
    model = build(inside)
    plain = build_model(NAMES, model_type=inside, overrides=fields(inside)).eval()
    weights = {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}
    plain.load_state_dict({name: value for name, value in weights.items() if not name.startswith("adapter.")})
    added = model.adapter(maps).repeat_interleave(4, -1).repeat_interleave(4, -2)
    labels = torch.tensor([0, 2])
    for layers in (None, "all"):
        model, plain = supervised_view(model, layers), supervised_view(plain, layers)
        outputs = model(pixel_values=clips, object_maps=maps, frame_mask=torch.ones(2, 4), labels=labels)
        expected = plain(pixel_values=clips + added, labels=labels)
        assert outputs.keys() == expected.keys() >= {"segment_logits", "frame_attention", "loss"}
        for name in outputs:
            torch.testing.assert_close(outputs[name], expected[name], msg=name)
        without = model(pixel_values=clips)
        torch.testing.assert_close(without.frame_attention, plain(pixel_values=clips).frame_attention)
        assert not torch.allclose(without.frame_attention, outputs.frame_attention)
        ours, theirs = describe_supervision(model), describe_supervision(plain)
        assert ours.supervised_layers == theirs.supervised_layers
        assert ours.gives_attention == theirs.gives_attention == (inside == "tsvit")
        assert ours.architecture.startswith("A2O with 2 object classes, a 1x1 convolution, around ")
    assert model.token_grid(32, 32) == plain.token_grid(32, 32) == (4, 4)
    outputs.frame_attention.square().sum().backward()  # where it looks is learned through the maps too
    assert model.adapter.projection.weight.grad.any()


def test_a_saved_run_goes_on(build, inside, clips, maps, tmp_path):
    model = build(inside, adapter_depth=1)
    expected = model(pixel_values=clips, object_maps=maps).logits
    model.save_pretrained(tmp_path)
    build_processor(model.config).save_pretrained(tmp_path)
    read = build_model(["sit", "wave", "run"], str(tmp_path), model_type=f"a2o_{inside}").eval()
    assert torch.equal(read(pixel_values=clips, object_maps=maps).logits, expected[:, [2, 0, 1]])
    assert read.config.id2label == read.backbone.config.id2label == {0: "sit", 1: "wave", 2: "run"}
    replaced = build_model(["a", "b"], str(tmp_path), replace_head=True)
    assert replaced(pixel_values=clips, labels=torch.tensor([0, 1])).logits.shape == (2, 2)
    assert replaced.num_labels == replaced.backbone.num_labels == 2
    torch.testing.assert_close(replaced.adapter.state_dict(), model.adapter.state_dict())
    # a trainer reads the weights of a checkpoint back into the model itself
    from safetensors.torch import load_file

    other = build(inside, adapter_depth=1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(pixel_values=clips, object_maps=maps).logits, expected)

    processor = build_processor(read.config, str(tmp_path))
    frames = torch.randint(0, 256, (9, 3, 40, 50), dtype=torch.uint8)
    assert read(**processor(frames, num_frames=4, return_tensors="pt")).logits.shape == (1, 3)


def test_a_new_adapter_goes_around_the_checkpoint_of_a_classifier(fields, inside, clips, maps, tmp_path):
    plain = build_model(NAMES, model_type=inside, overrides=fields(inside)).eval()
    plain_view(plain).save_pretrained(tmp_path)
    if isinstance(plain, SupervisedView):
        plain = supervised_view(plain_view(plain))
    expected = plain(pixel_values=clips)
    for model_type in ("a2o", f"a2o_{inside}"):
        own = {"class_texts": CLASSES, "adapter_depth": 3, "detector": "coco"}
        model = build_model(NAMES, str(tmp_path), model_type, own, supervised_layers="all").eval()
        outputs = model(pixel_values=clips, object_maps=maps)
        assert torch.equal(outputs.logits, expected.logits)
        assert torch.equal(outputs.segment_logits, expected.segment_logits)
        assert model.config.detector == "coco"
    with pytest.raises(ConfigError, match=r"'a2o_nothing'.*leave model_type out"):
        build_model(NAMES, str(tmp_path), "a2o_nothing", own)
    with pytest.raises(ConfigError, match="class_texts is empty"):
        build_model(NAMES, str(tmp_path), "a2o")
    with pytest.raises(ConfigError, match="'Person'; write it in lower case"):
        build_model(NAMES, str(tmp_path), "a2o", {"class_texts": ["Person"]})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "class_texts is empty"),
        ({"class_texts": ["ball"], "depth": 2}, r"TSViTConfig has no \['depth'\]"),
        ({"class_texts": ["ball"], "backbone_config": {"patch": 2}}, r"TSViTConfig has no \['patch'\]"),
        ({"class_texts": ["ball"], "backbone_config": "tsvit"}, "backbone_config is 'tsvit', expected fields"),
        ({"class_texts": ["ball"], "backbone_config": {"model_type": "x"}}, "'x', expected one of tsvit, "),
        ({"class_texts": ["ball"], "adapter_depth": -1}, "adapter_depth"),
        ({"class_texts": ["ball"], "image_size": 30}, "grid_size"),
    ],
)
def test_settings_that_cannot_be_used_are_named(values, named):
    with pytest.raises(ConfigError, match=named):
        build_model(NAMES, model_type="a2o_tsvit", overrides={**TSVIT, **values})


def test_settings_of_the_classifier_may_stand_by_themselves_or_in_their_own_place(fields):
    for overrides in (
        {"num_frames": 8, "hidden_size": 48},
        {"backbone_config": {"num_frames": 8}, "hidden_size": 48},
        {"backbone_config": {"frames_per_clip": 8, "hidden_size": 48}},
    ):
        model = build_model(NAMES, model_type="a2o_vjepa2_small", overrides={"class_texts": CLASSES, **overrides})
        config = model.config.backbone_config
        assert (config.frames_per_clip, config.hidden_size, config.crop_size) == (8, 48, 64)
    with pytest.raises(ConfigError, match="the model_type 'tsvit_small', expected one of"):
        build_model(NAMES, model_type="a2o_tsvit_small", overrides={"class_texts": CLASSES})


def test_an_adapter_keeps_the_classes_that_it_was_trained_for(build, tmp_path):
    """As many of other names would fit in shape."""
    build("tsvit").save_pretrained(tmp_path)
    for texts in (["ball", "person"], ["person", "net"], ["person"]):
        with pytest.raises(ConfigError, match="was trained for person, ball, in this order"):
            build_model(NAMES, str(tmp_path), overrides={"class_texts": texts})
    with pytest.raises(ConfigError, match="inside is of type 'tsvit', and cannot be made one of 'vivit'"):
        build_model(NAMES, str(tmp_path), overrides={"backbone_config": {"model_type": "vivit"}})
    with pytest.raises(ConfigError, match=r"trained with hidden_size 16 \(now 32\); its weights do not fit"):
        build_model(NAMES, str(tmp_path), overrides={"hidden_size": 32})
    same = build_model(NAMES, str(tmp_path), overrides={"class_texts": CLASSES, "detector": "coco"})
    assert same.config.detector == "coco"


def test_maps_go_to_none_but_an_a2o_model(fields, clips, maps):
    plain = build_model(NAMES, model_type="videomae", overrides=fields("videomae"))
    with pytest.raises(ConfigError, match="videomae takes no object_maps"):
        plain(pixel_values=clips, object_maps=maps)
    assert not backbone_for(plain.config).takes_object_maps
    with pytest.raises(TypeError, match="needed"):
        plain(object_maps=None)


def test_the_task_is_classification(fields):
    with pytest.raises(ConfigError, match="task is 'segmentation'"):
        build_model(NAMES, model_type="a2o_tsvit", overrides={**TSVIT, "class_texts": CLASSES}, task="segmentation")
