"""The gradient that the adapter learns from: as the patch convolution's own, and nothing else of it changes."""

import copy

import pytest
import torch
from torch import nn

from modeling_a2o.modeling_a2o import _is_over_patches, _PatchHooks


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [
        (nn.Conv2d(3, 5, (4, 2), stride=(4, 2)), (2, 3, 8, 6)),
        (nn.Conv3d(3, 5, (2, 4, 2), stride=(2, 4, 2), bias=False), (2, 3, 4, 8, 6)),
        (nn.Conv2d(3, 5, 4, stride=4), (2, 3, 9, 8)),  # the last row of pixels is in no patch
    ],
)
def test_it_is_that_of_the_convolution(convolution, shape):
    assert _is_over_patches(convolution)
    hooked, hooks = copy.deepcopy(convolution), _PatchHooks()
    hooked.register_forward_pre_hook(hooks.before)
    hooked.register_forward_hook(hooks.after)
    frames = torch.randn(shape)
    results = []
    for module in (convolution, hooked):
        given = frames.clone().requires_grad_()
        embedded = module(given)
        (embedded * torch.arange(embedded.numel()).view_as(embedded)).sum().backward()
        results.append((embedded, given.grad, *(parameter.grad for parameter in module.parameters())))
    assert torch.equal(results[0][0], results[1][0])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    with torch.no_grad():
        assert torch.equal(hooked(frames), convolution(frames))
    assert torch.equal(hooked(frames), convolution(frames))  # frames of no graph
    assert type(hooked(frames.requires_grad_()).grad_fn).__name__ == (
        "ConvolutionBackward0" if 9 in shape else "_PatchGradientBackward"
    )


def test_other_convolutions_keep_their_own():
    for other in (
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.Conv2d(4, 5, 2, stride=2),
        nn.Conv2d(3, 6, 2, stride=2, groups=3),
        nn.Conv2d(3, 5, 2, stride=2, dilation=2),
        nn.Linear(3, 5),
    ):
        assert not _is_over_patches(other)
