import inspect

import pytest
import torch
from torch import nn

from modeling_tsvit import TSViTForVideoClassification
from modeling_tsvit.modeling_tsvit import TSViTDropPath, segment_bounds, segment_means


@pytest.mark.parametrize("patch_embedding", ["linear", "conv_stem"])
@pytest.mark.parametrize("layers", [(-1,), "all"])
def test_output_shapes(make_model, clips, patch_embedding, layers):
    model = make_model(patch_embedding=patch_embedding, supervised_layers=layers)
    outputs = model(clips, labels=torch.tensor([0, 4]))
    assert outputs.loss.shape == ()
    assert outputs.logits.shape == (2, 5)
    assert outputs.segment_logits.shape == (2, 3, 5)
    assert outputs.frame_attention.shape == (2, 6, 16)
    assert (outputs.layer_attention is None) == (layers == (-1,))
    torch.testing.assert_close(outputs.logits, outputs.segment_logits[:, 2], rtol=0, atol=0)


def test_every_parameter_takes_part(make_model, clips):
    model = make_model(patch_embedding="conv_stem").train()
    model(clips, labels=torch.tensor([0, 4])).loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_tuple_on_request(make_model, clips):
    model = make_model()
    as_tuple = model(clips, return_dict=False)
    as_output = model(clips)
    assert isinstance(as_tuple, tuple)
    torch.testing.assert_close(as_tuple[0], as_output.logits)
    assert len(as_tuple) == 3  # logits, segment_logits, frame_attention
    model.config.return_dict = False
    assert isinstance(model(clips), tuple)


def bounds_of(num_frames: int) -> list[tuple[int, int]]:
    """The formula of the design, in plain Python."""
    first = max(1, round(0.2 * num_frames))
    second = max(first + 1, round(0.8 * num_frames))
    context = (first, second) if num_frames > 1 else (0, 1)  # nothing after the only frame: it serves for both
    return [(0, first), context, (0, num_frames)]


def test_segment_bounds_follow_the_formula():
    lengths = torch.arange(1, 200)
    expected = [bounds_of(length) for length in lengths.tolist()]
    assert segment_bounds(lengths).tolist() == [[list(pair) for pair in views] for views in expected]


@pytest.mark.parametrize(
    ("num_frames", "views"),
    [
        (1, [[0, 1], [0, 1], [0, 1]]),
        (2, [[0, 1], [1, 2], [0, 2]]),
        (3, [[0, 1], [1, 2], [0, 3]]),
        (5, [[0, 1], [1, 4], [0, 5]]),
        (8, [[0, 2], [2, 6], [0, 8]]),
        (16, [[0, 3], [3, 13], [0, 16]]),
        (20, [[0, 4], [4, 16], [0, 20]]),
    ],
)
def test_segment_bounds_table(num_frames, views):
    assert segment_bounds(torch.tensor([num_frames]))[0].tolist() == views


def test_segment_means_use_each_clips_own_length():
    lengths = list(range(0, 21))
    states = torch.randn(len(lengths), 20, 4)
    means = segment_means(states, torch.tensor(lengths))
    assert (means[0] == 0).all()  # no valid frame
    for clip, length in enumerate(lengths[1:], start=1):
        for view, (start, end) in enumerate(bounds_of(length)):
            torch.testing.assert_close(means[clip, view], states[clip, start:end].mean(dim=0))


def test_segment_logits_come_from_the_same_head(make_model, clips):
    model = make_model()
    states = model.tsvit(clips).last_hidden_state
    logits = model(clips).segment_logits
    for view, (start, end) in enumerate([(0, 1), (1, 5), (0, 6)]):
        torch.testing.assert_close(logits[:, view], model.classifier(states[:, start:end].mean(dim=1)))


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_padding_a_clip_changes_nothing(make_model, clips, attn_implementation, length):
    model = make_model(attn_implementation, supervised_layers="all")
    short = clips[:1, :length]
    alone = model(short, output_hidden_states=True)
    padded = torch.cat((short, torch.full((1, 6 - length, 3, 32, 32), 7.0)), dim=1)
    batch = torch.cat((padded, clips[1:]))
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[0, length:] = False
    together = model(batch, mask)
    torch.testing.assert_close(together.logits[:1], alone.logits)
    torch.testing.assert_close(together.segment_logits[:1], alone.segment_logits)
    torch.testing.assert_close(together.layer_attention[:1, :, :length], alone.layer_attention)
    assert (together.layer_attention[0, :, length:] == 0).all()
    torch.testing.assert_close(together.logits[1:], model(clips[1:]).logits)


def test_frame_order_matters(make_model, clips):
    model = make_model()
    assert (model(clips).logits - model(clips.flip(1)).logits).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_a_mask_of_ones_is_no_mask(make_model, clips, dtype):
    model = make_model()
    torch.testing.assert_close(model(clips, torch.ones(2, 6, dtype=dtype)).logits, model(clips).logits)


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_a_clip_without_a_valid_frame_stays_finite(make_model, clips, attn_implementation):
    model = make_model(attn_implementation).train()
    mask = torch.tensor([[1] * 6, [0] * 6])
    outputs = model(clips, mask, labels=torch.tensor([1, -100]))
    (outputs.loss + outputs.frame_attention.sum() + outputs.segment_logits.square().sum()).backward()
    assert torch.isfinite(outputs.segment_logits).all()
    assert (outputs.frame_attention[1] == 0).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("size", "grid"), [((32, 32), (4, 4)), ((48, 32), (6, 4)), ((16, 64), (2, 8)), ((8, 8), (1, 1))]
)
@pytest.mark.parametrize("patch_embedding", ["linear", "conv_stem"])
def test_other_resolutions(make_model, size, grid, patch_embedding):
    model = make_model(patch_embedding=patch_embedding)
    outputs = model(torch.randn(2, 6, 3, *size))
    assert model.token_grid(*size) == grid
    assert outputs.frame_attention.shape == (2, 6, grid[0] * grid[1])
    assert torch.isfinite(outputs.logits).all()


def test_interpolated_grid_keeps_its_orientation(make_model):
    """Positions that encode row and column still do so on a grid twice as large."""
    embeddings = make_model().tsvit.spatial_embeddings
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    with torch.no_grad():
        embeddings.position_embeddings[0, 1:, 0] = rows.flatten()
        embeddings.position_embeddings[0, 1:, 1] = columns.flatten()
        resized = embeddings.interpolated_positions((8, 12))
    assert resized.shape == (1, 97, 16)
    torch.testing.assert_close(resized[:, :1], embeddings.position_embeddings[:, :1])
    row_map, column_map = resized[0, 1:, 0].view(8, 12), resized[0, 1:, 1].view(8, 12)
    assert (row_map.diff(dim=0)[1:-1] > 0).all() and row_map.diff(dim=1).abs().max() < 1e-4
    assert (column_map.diff(dim=1)[:, 2:-2] > 0).all() and column_map.diff(dim=0).abs().max() < 1e-4


@pytest.mark.parametrize("num_frames", [1, 2, 5, 7, 13])
def test_other_frame_counts_interpolate_positions(make_model, num_frames):
    model = make_model()
    embeddings = model.tsvit.temporal_embeddings
    expected = nn.functional.interpolate(
        embeddings.position_embeddings.T[None], size=num_frames, mode="linear", align_corners=False
    )[0].T
    positions = embeddings.interpolated_positions(torch.tensor([num_frames]), num_frames)[0]
    torch.testing.assert_close(positions, expected)
    outputs = model(torch.randn(2, num_frames, 3, 32, 32))
    assert outputs.frame_attention.shape == (2, num_frames, 16)


def test_the_configured_frame_count_takes_positions_as_they_are(make_model):
    embeddings = make_model().tsvit.temporal_embeddings
    positions = embeddings.interpolated_positions(torch.tensor([6]), 6)[0]
    torch.testing.assert_close(positions, embeddings.position_embeddings, rtol=0, atol=0)


@pytest.mark.parametrize("patch_embedding", ["linear", "conv_stem"])
@pytest.mark.parametrize("cell", [(0, 0), (0, 3), (1, 2), (3, 0), (2, 1)])
def test_tokens_are_row_major_from_the_top_left(make_model, patch_embedding, cell):
    """A bright patch in one cell moves that cell's token (it keeps clear of the stem windows of the next cells)."""
    model = make_model(patch_embedding=patch_embedding)
    row, column = cell
    frames = torch.zeros(1, 3, 32, 32)
    frames[:, :, 8 * row + 1 : 8 * row + 5, 8 * column + 1 : 8 * column + 5] = 1.0
    embed = model.tsvit.spatial_embeddings.patch_embedding
    change = (embed(frames) - embed(torch.zeros_like(frames))).norm(dim=-1)[0]
    assert change.argmax().item() == row * 4 + column
    if patch_embedding == "linear":
        assert change.count_nonzero().item() == 1


def test_a_bright_cell_leads_the_map_when_attention_is_made_to_follow_brightness(make_model):
    """Through the whole first stage: keys are set to brightness, and the map's highest cell is the bright one."""
    model = make_model(num_spatial_layers=1, supervised_layers=0)
    layer = model.tsvit.spatial_layers[0]
    embeddings = model.tsvit.spatial_embeddings
    with torch.no_grad():
        embeddings.position_embeddings.zero_()
        embeddings.cls_token.zero_()
        embeddings.patch_embedding.projection.weight.zero_()
        embeddings.patch_embedding.projection.bias.zero_()
        embeddings.patch_embedding.projection.weight[0] = 1.0
        layer.attention.k_proj.weight.zero_()
        layer.attention.k_proj.weight[:, 0] = 1.0
        layer.attention.q_proj.weight.zero_()
        layer.attention.q_proj.bias.fill_(1.0)
        frames = torch.zeros(1, 1, 3, 32, 32)
        frames[..., 8:16, 24:32] = 1.0  # row 1, column 3
        attention = model(frames).frame_attention[0, 0].view(4, 4)
    assert divmod(attention.argmax().item(), 4) == (1, 3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"pixel_values": torch.zeros(2, 6, 3, 33, 32)}, "33x32 pixels.*8x8"),
        ({"pixel_values": torch.zeros(2, 6, 3, 32, 4)}, "32x4 pixels.*8x8"),
        ({"pixel_values": torch.zeros(2, 3, 32, 32)}, "pixel_values"),
        ({"pixel_values": torch.zeros(2, 6, 1, 32, 32)}, "pixel_values"),
        ({"pixel_values": torch.zeros(2, 0, 3, 32, 32)}, "without a frame"),
        ({"pixel_values": torch.zeros(2, 6, 3, 32, 32, dtype=torch.uint8)}, "floating point"),
        ({"pixel_values": torch.zeros(2, 6, 3, 32, 32), "frame_mask": torch.ones(2, 5)}, "frame_mask"),
        (
            {"pixel_values": torch.zeros(1, 3, 3, 32, 32), "frame_mask": torch.tensor([[1, 0, 1]])},
            "frame_mask.*first frames",
        ),
        ({"pixel_values": torch.zeros(1, 3, 3, 32, 32), "labels": torch.tensor([5])}, "labels holds 5"),
        ({"pixel_values": torch.zeros(1, 3, 3, 32, 32), "labels": torch.tensor([-1])}, "labels holds -1"),
        ({"pixel_values": torch.zeros(1, 3, 3, 32, 32), "labels": torch.tensor([1, 2])}, "labels must have"),
    ],
)
def test_wrong_inputs_are_named(make_model, inputs, message):
    with pytest.raises(ValueError, match=message):
        make_model()(**inputs)


def test_loss_is_the_mean_over_labelled_clips(make_model, clips):
    model = make_model()
    batch = torch.cat((clips, clips.flip(0)))
    logits = model(batch).logits
    loss = model(batch, labels=torch.tensor([0, -100, 3, -100])).loss
    expected = nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([0, 3]))
    torch.testing.assert_close(loss, expected)


def test_loss_without_labelled_clips_is_zero_and_has_a_graph(make_model, clips):
    model = make_model().train()
    loss = model(clips, labels=torch.tensor([-100, -100])).loss
    assert loss.item() == 0.0
    loss.backward()
    assert model.classifier.out_proj.weight.grad.abs().max() == 0.0


def test_trainer_does_not_hand_loss_arguments_to_the_model():
    """The cross-entropy of the model is a mean; `num_items_in_batch` would divide it once more."""
    assert TSViTForVideoClassification.accepts_loss_kwargs is False
    parameters = inspect.signature(TSViTForVideoClassification.forward).parameters
    assert not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    assert {"pixel_values", "frame_mask", "labels"} <= set(parameters)


def test_stochastic_depth_grows_over_both_stages_and_rests_in_evaluation(make_model, clips):
    model = make_model(drop_path_rate=0.4)
    rates = [module.drop_probability for module in model.modules() if isinstance(module, TSViTDropPath)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(model(clips).logits, model(clips).logits, rtol=0, atol=0)
    torch.testing.assert_close(model(clips).logits, make_model()(clips).logits, rtol=0, atol=0)
    model.train()
    assert (model(clips).logits - model(clips).logits).abs().max() > 0


def test_drop_path_drops_whole_rows_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = TSViTDropPath(0.25).train()
    branch = drop(torch.ones(4000, 2, 3))
    rows = branch.flatten(1)
    assert ((rows == 0).all(dim=1) | torch.isclose(rows, torch.tensor(1 / 0.75)).all(dim=1)).all()
    assert (rows[:, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert branch.mean().item() == pytest.approx(1.0, abs=0.03)


def test_gradient_checkpointing_gives_the_same_gradients(make_model, clips):
    labels = torch.tensor([0, 4])
    gradients = []
    for kwargs in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        model = make_model().train()
        if kwargs:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)
        model(clips, labels=labels).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for checkpointed in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_bfloat16_weights_and_autocast_stay_close(make_model, clips):
    model = make_model()
    expected = model(clips).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(clips).logits.float(), expected, rtol=0.1, atol=0.1)
    half = model.to(torch.bfloat16)
    torch.testing.assert_close(half(clips).logits.float(), expected, rtol=0.1, atol=0.1)
