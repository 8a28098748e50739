"""The temporal views of every family, and the clips that a model can take."""

import pytest
import torch
from tiny_backbones import FAMILIES, FRAMES, GRID, make_clips, make_plain
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation, TSViTForVideoClassification
from vidreason.backbones import SupervisedModel, backbone_for, supervised_view, temporal_views, view_means
from vidreason.backbones.describe import describe_supervision
from vidreason.backbones.temporal_views import partial_view_weights
from vidreason.errors import ConfigError, TrainingError


@pytest.mark.parametrize("tubelet_size", [1, 2, 4])
@pytest.mark.parametrize("num_tubelets", [1, 2, 3, 5, 8, 16])
def test_a_tubelet_counts_with_its_frames_in_the_view(num_tubelets, tubelet_size):
    num_frames = num_tubelets * tubelet_size
    first = max(1, round(0.2 * num_frames))
    second = max(first + 1, round(0.8 * num_frames))
    views = [range(first), range(min(first, num_frames - 1), min(second, num_frames))]
    expected = [
        [sum(frame // tubelet_size == tubelet for frame in view) / tubelet_size for tubelet in range(num_tubelets)]
        for view in views
    ]
    assert partial_view_weights(num_frames, tubelet_size).tolist() == expected


def test_sixteen_frames_in_pairs():
    """The immediate view is frames 0 to 2 and the contextual 3 to 12: the second and the seventh pair are cut."""
    assert partial_view_weights(16, 2).tolist() == [[1, 0.5, 0, 0, 0, 0, 0, 0], [0, 0.5, 1, 1, 1, 1, 0.5, 0]]


@pytest.mark.parametrize("tubelet_size", [1, 2])
def test_view_means_are_means_over_frames(tubelet_size):
    states = torch.randn(3, 8 // tubelet_size, 5)
    frames = states.repeat_interleave(tubelet_size, dim=1)  # 8 frames: [0, 2) and [2, 6)
    expected = torch.stack((frames[:, :2].mean(dim=1), frames[:, 2:6].mean(dim=1)), dim=1)
    torch.testing.assert_close(view_means(states, tubelet_size), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_of_all_frames_gives_the_models_own_logits(family, monkeypatch):
    view, clips = supervised_view(make_plain(family)), make_clips()
    partial = view(clips).segment_logits[:, :2]
    bounds = torch.tensor([[[0, FRAMES]] * 3])
    monkeypatch.setattr(temporal_views, "segment_bounds", lambda lengths: bounds)
    outputs = view(clips)
    torch.testing.assert_close(outputs.segment_logits[:, :2], outputs.segment_logits[:, 2:].expand(-1, 2, -1))
    assert (partial - outputs.segment_logits[:, :2]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["vivit", "timesformer_joint"])
def test_a_view_does_not_see_other_frames_in_its_layer(family):
    """With one layer, frames meet in the attention that the view restricts."""
    view = supervised_view(make_plain(family, num_hidden_layers=1))
    clips = make_clips()
    changed = clips.clone()
    changed[:, -2:] += 1.0  # outside of the immediate [0, 1) and, in a pair or alone, partly of the contextual [1, 5)
    before, after = view(clips).segment_logits, view(changed).segment_logits
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert (after[:, 2] - before[:, 2]).abs().min() > 1e-4
    changed[:, :1] += 1.0
    assert (view(changed).segment_logits[:, 0] - before[:, 0]).abs().max() > 1e-3


def test_the_views_of_videomae_are_means_of_its_tokens():
    model, clips = make_plain("videomae"), make_clips()
    states = model.videomae(clips).last_hidden_state.unflatten(1, (3, 16)).mean(dim=2)
    immediate = states[:, 0]  # frame 0
    contextual = (states[:, 0] + 2 * states[:, 1] + states[:, 2]) / 4  # frames 1 to 4
    expected = model.classifier(model.fc_norm(torch.stack((immediate, contextual), dim=1)))
    torch.testing.assert_close(supervised_view(model)(clips).segment_logits[:, :2], expected)


def test_the_views_reach_the_weights():
    view = supervised_view(make_plain("vivit"))
    (view(make_clips()).segment_logits[:, :2] ** 2).sum().backward()
    without = [name for name, p in view.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("family", ["vivit", "videomae", "vjepa2"])
def test_frames_of_a_tubelet_share_its_attention(family):
    attention = supervised_view(make_plain(family))(make_clips()).frame_attention
    assert torch.equal(attention[:, 0::2], attention[:, 1::2])
    assert not torch.equal(attention[:, 0], attention[:, 2])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bright_cell_is_where_it_lies(family):
    """Rows, columns and frames. For a query that stays the same, one cell's attention changes against all others'."""
    model = make_plain(family, num_attention_heads=1)
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith("attention.query"):  # the mean query, which the pixels change; a CLS token's they do not
                module.weight.zero_()
    view, clips = supervised_view(model, 0), torch.zeros(1, FRAMES, 3, 32, 32)
    dark = view(clips).frame_attention[0]
    clips[0, 2:4, :, 8:16, 24:32] = 3.0  # frames 2 and 3, row 1, column 3
    change = (view(clips).frame_attention[0] / dark).log()
    change = (change - change.median(dim=1, keepdim=True).values).abs()
    cell = torch.zeros(16, dtype=torch.bool)
    cell[1 * 4 + 3] = True
    assert change[2:4, cell].min() > 1e-3
    assert change[:, ~cell].max() < 1e-4
    if family != "timesformer":  # which has looked along time before
        assert change[[0, 1, 4, 5]].max() < 1e-4


def test_labels_give_a_loss_and_missing_ones_do_not_count():
    view, clips = supervised_view(make_plain("vivit")), make_clips()
    outputs = view(clips, labels=torch.tensor([2, -100]))
    torch.testing.assert_close(outputs.loss, torch.nn.functional.cross_entropy(outputs.logits[:1], torch.tensor([2])))
    assert view(clips).get("loss") is None


def test_the_models_own_name_of_its_input_is_taken():
    view, clips = supervised_view(make_plain("vjepa2")), make_clips()
    assert torch.equal(view(pixel_values_videos=clips).logits, view(clips).logits)
    with pytest.raises(TypeError, match="pixels"):
        view(clips, pixels=clips)


# What a model cannot take


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_frames_are_refused_and_full_clips_are_not(family):
    view, clips = supervised_view(make_plain(family)), make_clips()
    mask = torch.ones(2, FRAMES, dtype=torch.bool)
    assert torch.equal(view(clips, frame_mask=mask).logits, view(clips).logits)
    mask[1, 4:] = False
    with pytest.raises(ConfigError, match=f"4 valid frames of {FRAMES}"):
        view(clips, frame_mask=mask)


def test_half_a_tubelet_is_named():
    with pytest.raises(ConfigError, match="5 frames are no multiple of 2"):
        supervised_view(make_plain("vjepa2"))(make_clips(num_frames=5))


@pytest.mark.parametrize("family", ["timesformer", "timesformer_joint", "vivit", "videomae"])
def test_another_number_of_frames_is_named(family):
    with pytest.raises(ConfigError, match="clips of 6 frames and was given 8"):
        supervised_view(make_plain(family))(make_clips(num_frames=8))


def test_vjepa2_takes_any_pairs_of_frames():
    outputs = supervised_view(make_plain("vjepa2"))(make_clips(num_frames=10))
    assert outputs.frame_attention.shape == (2, 10, GRID[0] * GRID[1])
    torch.testing.assert_close(outputs.frame_attention[:, ::2].sum(dim=(1, 2)), torch.ones(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_another_size_is_named(family):
    view = supervised_view(make_plain(family))
    with pytest.raises(ConfigError, match="32x32 pixels and was given 48x32"):
        view(torch.zeros(1, FRAMES, 3, 48, 32))
    with pytest.raises(ConfigError, match="32x32 pixels and was given 64x64"):
        view.token_grid(64, 64)
    with pytest.raises(ConfigError, match="shape"):
        view(torch.zeros(FRAMES, 3, 32, 32))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("timesformer", {"attention_type": "space_only"}, "space_only"),
        ("timesformer", {"image_size": [32, 32]}, "must be integers"),
        ("videomae", {"use_mean_pooling": False}, "use_mean_pooling"),
        ("vivit", {"num_frames": 7}, "7 frames are no multiple of 2"),
        ("videomae", {"num_frames": 5}, "5 frames are no multiple of 2"),
        ("vjepa2", {"frames_per_clip": 9}, "9 frames are no multiple of 2"),
    ],
)
def test_a_configuration_that_cannot_be_supervised_is_named(family, changes, message):
    with pytest.raises(ConfigError, match=message):
        supervised_view(make_plain(family, **changes))


def test_a_model_that_is_not_known_is_named():
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=2)
    with pytest.raises(ConfigError, match="model type 'resnet' is not known"):
        supervised_view(ResNetForImageClassification(config))
    with pytest.raises(ConfigError, match="Linear is no model of transformers"):
        supervised_view(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="VivitModel is not the model that VivitBackbone describes"):
        supervised_view(make_plain("vivit").vivit)


# One protocol


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_is_another_object_with_the_same_modules(family):
    model = make_plain(family)
    cls, attributes = type(model), set(vars(model))
    view = supervised_view(model)
    assert type(model) is cls and set(vars(model)) == attributes
    assert view.config is model.config
    assert all(one is other for one, other in zip(view.parameters(), model.parameters(), strict=True))
    assert not isinstance(model, SupervisedModel)


def test_a_model_has_one_view_at_a_time():
    model, clips = make_plain("timesformer"), make_clips()
    expected = supervised_view(make_plain("timesformer"))(clips)
    first = supervised_view(model, 0)
    second = supervised_view(model)
    outputs = second(clips)
    assert torch.equal(outputs.segment_logits, expected.segment_logits)
    assert torch.equal(outputs.frame_attention, expected.frame_attention)
    with pytest.raises(TrainingError, match="lost its hooks"):
        first(clips)


def make_tsvit(cls=TSViTForVideoClassification):
    config = {"image_size": 32, "hidden_size": 48, "num_attention_heads": 2, "num_spatial_layers": 2}
    return cls(TSViTConfig(**config, num_frames=FRAMES, num_temporal_layers=1, num_labels=3)).eval()


@pytest.mark.parametrize("family", ["tsvit", *FAMILIES])
def test_every_family_keeps_the_protocol(family):
    model = supervised_view(make_tsvit() if family == "tsvit" else make_plain(family), "all")
    assert isinstance(model, SupervisedModel)
    outputs = model(pixel_values=make_clips(), frame_mask=torch.ones(2, FRAMES, dtype=torch.bool))
    assert outputs.logits.shape == (2, 3)
    assert outputs.segment_logits.shape == (2, 3, 3)
    assert outputs.frame_attention.shape == (2, FRAMES, GRID[0] * GRID[1])
    assert torch.equal(outputs.layer_attention[:, -1], outputs.frame_attention)
    backbone = backbone_for(model.config)
    assert model.token_grid(32, 32) == backbone.token_grid(model.config, 32, 32) == GRID
    assert backbone.head(model).weight.shape == (3, 48)
    assert backbone.new_processor(model.config).num_frames == model.config.num_frames == FRAMES
    about = describe_supervision(model)
    assert about.gives_attention == (family == "tsvit")
    assert about.architecture.endswith(f"{FRAMES} frames")
    assert about.supervised_layers == ("all" if family == "tsvit" else tuple(range(outputs.layer_attention.shape[1])))


def test_tsvit_alone_is_trained_to_label_frames():
    model = supervised_view(make_tsvit(TSViTForActionSegmentation))
    backbone = backbone_for(model.config)
    assert type(backbone.tasks()["segmentation"].from_config(model.config)) is TSViTForActionSegmentation
    assert isinstance(model, SupervisedModel)
    others = [backbone_for(make_plain(family).config) for family in FAMILIES]
    assert all(list(other.tasks()) == ["classification"] for other in others)


def test_tsvit_supervises_itself():
    model = make_tsvit()
    assert supervised_view(model, "all") is model
    assert model(torch.zeros(1, 4, 3, 32, 32)).layer_attention.shape[1] == 2
    with pytest.raises(ConfigError, match="layer 5"):
        supervised_view(model, (5,))
    assert supervised_view(model).config.supervised_layers == "all"
    with pytest.raises(ConfigError, match="VivitForVideoClassification is not the model that TSViTBackbone describes"):
        backbone_for(model.config).choose_layers(make_plain("vivit"), "all")
