"""The probed attention: that of the eager map, with its gradient, and the main path as it was."""

import copy
from importlib import import_module

import pytest
import torch
from tiny_backbones import (
    DROPOUT,
    FAMILIES,
    FRAMES,
    GRID,
    LABELS,
    NUM_LAYERS,
    ON_SDPA,
    expected_maps,
    inputs_of,
    make_clips,
    make_plain,
)

from vidreason.backbones import plain_view, supervised_view
from vidreason.backbones.probe import LayerProbe
from vidreason.errors import ConfigError, TrainingError

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable.*:FutureWarning")


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


def test_every_layers_probe_equals_the_eager_map(family):
    clips = make_clips()
    view = supervised_view(make_plain(family), "all")
    outputs = view(clips)
    _, expected = expected_maps(family, clips)
    assert outputs.layer_attention.shape == (2, NUM_LAYERS[family], FRAMES, GRID[0] * GRID[1])
    torch.testing.assert_close(outputs.layer_attention, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(outputs.frame_attention, expected[:, -1], rtol=1e-4, atol=1e-6)
    assert view.token_grid(32, 32) == GRID
    assert expected.std() > 1e-3  # not all the same, so that the order of the tokens matters


def test_vivits_eager_map_is_what_output_attentions_gives():
    """The helper that collects eager maps against the public way."""
    clips = make_clips()
    model, expected = expected_maps("vivit", clips)
    attentions = model(clips, output_attentions=True).attentions
    rows = torch.stack([a.mean(dim=1)[:, 0, 1:] for a in attentions], dim=1).unflatten(2, (3, 16))
    torch.testing.assert_close(rows.repeat_interleave(2, dim=2), expected)


def test_the_gradient_is_that_of_the_eager_map(family):
    clips, target = make_clips(), torch.randn(2, NUM_LAYERS[family], FRAMES, 16)
    view = supervised_view(make_plain(family), "all")
    (view(clips).layer_attention * target).sum().backward()
    model, expected = expected_maps(family, clips)
    (expected * target).sum().backward()
    expected_gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    gradients = {name: p.grad for name, p in view.named_parameters() if p.grad is not None}
    assert any("q" in name and gradient.abs().max() > 1e-4 for name, gradient in gradients.items())
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_the_gradient_stops_at_the_supervised_layer(family):
    view = supervised_view(make_plain(family), 0)
    (view(make_clips()).frame_attention ** 2).sum().backward()
    moved = {name for name, p in view.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert any("embeddings" in name for name in moved)
    assert any(".0." in name and ("quer" in name or "q_proj" in name or "qkv" in name) for name in moved)
    assert not any(".1." in name or "classifier" in name for name in moved)


def test_logits_are_those_of_the_plain_model(family):
    model, clips = make_plain(family), make_clips()
    plain = model(**inputs_of(model, clips)).logits
    outputs = supervised_view(model, "all")(clips)
    assert torch.equal(outputs.logits, plain)
    assert torch.equal(outputs["segment_logits"][:, 2], outputs.get("logits"))
    assert outputs.segment_logits.shape == (2, 3, LABELS)


@pytest.mark.parametrize("family", ON_SDPA)
def test_the_main_path_stays_on_sdpa(family, monkeypatch):
    module = import_module(f"transformers.models.{family}.modeling_{family}")
    monkeypatch.setattr(module, "eager_attention_forward", None)  # a call would fail
    view = supervised_view(make_plain(family), "all")
    assert view.config._attn_implementation == "sdpa"
    assert view(make_clips()).layer_attention.dtype == torch.float32


def total_gradients(view, clips, seed: int = 3) -> dict[str, torch.Tensor]:
    """Of a sum of all outputs. Dropout is on, from the same seed."""
    view.zero_grad()
    view.train()
    torch.manual_seed(seed)
    outputs = view(clips)
    total = (outputs.layer_attention**2).sum() + (outputs.segment_logits**2).sum() + outputs.logits.exp().mean()
    total.backward()
    return {name: p.grad.clone() for name, p in view.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(family, use_reentrant):
    clips = make_clips()
    view = supervised_view(make_plain(family, **DROPOUT[family]), "all")
    expected = total_gradients(view, clips)
    view.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    found = total_gradients(view, clips)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_nothing_of_a_pass_is_held_after_it(family):
    """Also not after a backward pass that ran the layers again."""
    view = supervised_view(make_plain(family), "all").train()
    view.gradient_checkpointing_enable()
    total_gradients(view, make_clips())
    assert view._recorder.kept is None
    assert view._recorder.scratch == {}
    probes = [watcher for watcher in view._watchers if isinstance(watcher, LayerProbe)]
    assert len(probes) == NUM_LAYERS[family]
    assert all(probe._query is probe._key is probe._value is None for probe in probes)


def test_a_checkpoint_that_cuts_off_the_gradient_is_named():
    view = supervised_view(make_plain("vivit")).train()
    block = view.vivit.layers[-1]
    inner = block.forward
    block.forward = lambda states, mask: torch.utils.checkpoint.checkpoint(inner, states, mask, use_reentrant=True)
    with pytest.raises(TrainingError, match="use_reentrant=False"):
        view(make_clips())


def test_attention_is_float32_under_autocast(family):
    clips = make_clips()
    view = supervised_view(make_plain(family), "all")
    exact = view(clips).layer_attention
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = view(clips)
    assert outputs.layer_attention.dtype == torch.float32
    sums = outputs.layer_attention.sum(dim=(2, 3))
    torch.testing.assert_close(sums, exact.sum(dim=(2, 3)), rtol=0.1, atol=0.01)
    assert (outputs.layer_attention - exact).abs().max() < 0.15 * exact.max()
    (outputs.layer_attention**2).sum().backward()
    assert sum(p.grad.abs().sum() for name, p in view.named_parameters() if p.grad is not None and "q" in name) > 0


def test_half_precision_weights_give_a_float32_softmax():
    """A bfloat16 softmax would not sum to 1 but by chance."""
    view = supervised_view(make_plain("videomae").to(torch.bfloat16))
    attention = view(make_clips().to(torch.bfloat16)).frame_attention
    torch.testing.assert_close(attention[:, ::2].sum(dim=(1, 2)), torch.ones(2), rtol=1e-5, atol=1e-5)


def test_a_copy_is_independent(family):
    clips = make_clips()
    view = supervised_view(make_plain(family), "all")
    other = copy.deepcopy(view)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    before = view(clips).layer_attention
    assert not torch.allclose(other(clips).layer_attention, before)
    assert torch.equal(view(clips).layer_attention, before)


def test_the_plain_model_comes_back(family):
    model, clips = make_plain(family), make_clips()
    cls, keys = type(model), list(model.state_dict())
    view = supervised_view(model)
    assert isinstance(view, cls)
    assert list(view.state_dict()) == keys
    plain = plain_view(view)
    assert type(plain) is cls
    assert not any(module._forward_hooks for module in plain.modules())
    assert not hasattr(plain(**inputs_of(plain, clips)), "frame_attention")


def test_layers_are_chosen_by_index(family):
    clips, number = make_clips(), NUM_LAYERS[family]
    everything = supervised_view(make_plain(family), "all")(clips).layer_attention
    for layers, indices in ((None, [number - 1]), (-number, [0]), ((-1, 0), [0, number - 1])):
        view = supervised_view(make_plain(family), layers)
        outputs = view(clips)
        assert view.supervised_layer_indices == tuple(indices)
        torch.testing.assert_close(outputs.frame_attention, everything[:, indices[-1]])
        if len(indices) == 1:
            assert outputs.get("layer_attention") is None
        else:
            torch.testing.assert_close(outputs.layer_attention, everything[:, indices])


@pytest.mark.parametrize("layers", [7, (0, -9), (0, 0), (), "last", (True,)])
def test_a_layer_that_does_not_exist_is_named(family, layers):
    named = {7: "layer 7", (0, -9): "layer -9", (0, 0): "twice"}.get(layers, "expected 'all' or indices")
    with pytest.raises(ConfigError, match=named):
        supervised_view(make_plain(family), layers)


def test_layers_can_be_chosen_anew(family):
    view = supervised_view(supervised_view(make_plain(family), 0), -1)
    assert view.supervised_layer_indices == (NUM_LAYERS[family] - 1,)
    assert sum(cls.__name__ == "SupervisedView" for cls in type(view).__mro__) == 1
    assert len(view._watchers) == len(supervised_view(make_plain(family), -1)._watchers)
    assert view(make_clips()).get("layer_attention") is None


@pytest.fixture
def process_group():
    """A group of one process: what DDP demands of a graph does not depend on how many there are."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("use_reentrant", [None, False, True])
def test_every_weight_has_one_gradient_under_ddp(family, process_group, use_reentrant):
    view = supervised_view(make_plain(family)).train()
    if use_reentrant is not None:
        view.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    parallel = torch.nn.parallel.DistributedDataParallel(view, find_unused_parameters=False)
    for _ in range(2):  # a weight without a gradient is found in the second step
        outputs = parallel(pixel_values=make_clips())
        (outputs.logits.sum() + (outputs.frame_attention**2).sum() + (outputs.segment_logits**2).sum()).backward()
    assert all(p.grad is not None for p in view.parameters() if p.requires_grad)


@pytest.mark.parametrize("compile_family", ["vivit", "videomae"])
def test_a_view_compiles_to_the_same(compile_family):
    view, clips = supervised_view(make_plain(compile_family), "all"), make_clips()
    expected = view(clips)
    outputs = torch.compile(view, backend="eager")(clips)
    torch.testing.assert_close(outputs.layer_attention, expected.layer_attention)
    torch.testing.assert_close(outputs.segment_logits, expected.segment_logits)
