"""Pixels and guidance move together: whatever happens to a bright cell happens to the weight above it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from transformers.image_utils import PILImageResampling

from modeling_tsvit import TSViTVideoProcessor
from vidreason.clips.transforms import (
    AugmentationConfig,
    ClipTransform,
    evaluation_transform,
    input_size,
    training_transform,
)
from vidreason.errors import ConfigError
from vidreason.guidance import GridMap

GRID = (4, 4)


def processor(**changes):
    settings = {
        "do_resize": True,
        "size": {"height": 64, "width": 64},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "do_center_crop": False,
    }
    return SimpleNamespace(**{**settings, **changes})


def bright_cell(cell: int, height: int = 96, width: int = 128, frames: int = 2) -> np.ndarray:
    """Black frames with one white cell of a 4x4 grid: (frames, height, width, 3)."""
    row, col = divmod(cell, 4)
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[:, row * height // 4 : (row + 1) * height // 4, col * width // 4 : (col + 1) * width // 4] = 255
    return video


def one_hot(cell: int) -> GridMap:
    return GridMap(np.eye(16)[cell], GRID)


def light_per_token(pixel_values: torch.Tensor, grid=GRID) -> torch.Tensor:
    """How the light of each frame spreads over the tokens: (frames, tokens), summing to 1."""
    light = (pixel_values.mean(dim=1) * 0.5 + 0.5).clamp(0, 1)
    frames, height, width = light.shape
    cells = light.reshape(frames, grid[0], height // grid[0], grid[1], width // grid[1]).sum(dim=(2, 4)).flatten(1)
    return cells / cells.sum(dim=1, keepdim=True)


AUGMENTATIONS = {
    "resize": AugmentationConfig(crop_scale_min=1.0, brightness=0.0),
    "flip": AugmentationConfig(crop_scale_min=1.0, brightness=0.0, mirror_probability=1.0),
    "crop": AugmentationConfig(crop_scale_min=0.3, crop_ratio_max=1.5, brightness=0.0),
    "crop and flip": AugmentationConfig(
        crop_scale_min=0.3, crop_ratio_max=1.5, brightness=0.0, mirror_probability=0.5
    ),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("cell", range(16))
def test_a_cell_lands_on_the_tokens_on_which_its_pixels_land(name, cell):
    transform = training_transform(processor(), GRID, AUGMENTATIONS[name])
    torch.manual_seed(cell)
    for _ in range(6):
        clip = transform(bright_cell(cell), [one_hot(cell)] * 2)
        light = light_per_token(clip.pixel_values)
        if clip.guidance.sum() == 0:  # cropped away, and so must be (nearly) all of the light
            assert (clip.pixel_values > 0).float().mean() < 0.02
            continue
        torch.testing.assert_close(clip.guidance.sum(dim=1), torch.ones(2))
        assert (clip.guidance - light).abs().max() < 0.06


def test_an_upright_frame_stays_upright():
    clip = evaluation_transform(processor(), GRID)(bright_cell(1), [one_hot(1)] * 2)
    assert clip.guidance.argmax(dim=1).tolist() == [1, 1]
    assert light_per_token(clip.pixel_values).argmax(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}},
        {"size": {"height": 80, "width": 80}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}},
        {"size": {"height": 64, "width": 64}, "resample": 3},
    ],
)
@pytest.mark.parametrize("cell", [0, 1, 6, 9, 15])
def test_what_a_processor_does_to_pixels_is_done_to_guidance(changes, cell):
    clip = evaluation_transform(processor(**changes), GRID)(bright_cell(cell), [one_hot(cell)] * 2)
    if clip.guidance.sum() == 0:
        assert (clip.pixel_values > 0).float().mean() < 0.02
    else:
        assert (clip.guidance - light_per_token(clip.pixel_values)).abs().max() < 0.06


@pytest.mark.parametrize("resample", [*PILImageResampling, *map(int, PILImageResampling), None, "lanczos", 99])
def test_pixels_are_resized_as_the_processor_resizes_them(resample):
    """By every filter there is: what the transforms give is what the processor itself gives, or an error names it."""
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(0, 255, (2, 3, 48, 64), dtype=torch.uint8, generator=generator)
    own = TSViTVideoProcessor(size={"height": 32, "width": 32}, do_sample_frames=False)
    own.resample = resample
    frames, still = clip.permute(0, 2, 3, 1).numpy(), AugmentationConfig(crop_scale_min=1.0, brightness=0.0)
    if resample in (PILImageResampling.BOX, PILImageResampling.HAMMING, None, "lanczos", 99):
        for make in (evaluation_transform, lambda *args: training_transform(*args, still)):
            with pytest.raises(ConfigError, match=rf"resample={re.escape(repr(resample))}.* 2 \(bilinear\)"):
                make(own, GRID)
        return
    expected = own(clip, return_tensors="pt")["pixel_values"][0]
    others = 0
    for transform in (evaluation_transform(own, GRID), training_transform(own, GRID, still)):
        torch.testing.assert_close(transform(frames, [None] * 2).pixel_values, expected)
    for other in (PILImageResampling.NEAREST, PILImageResampling.BILINEAR, PILImageResampling.BICUBIC):
        own.resample = other
        others += not torch.allclose(own(clip, return_tensors="pt")["pixel_values"][0], expected, atol=1e-3)
    assert others >= 2  # the filters can be told apart


def test_a_random_crop_is_resized_by_the_processors_filter():
    nearest = processor(resample=PILImageResampling.NEAREST)
    transform = training_transform(nearest, GRID, AugmentationConfig(crop_scale_min=0.3, brightness=0.0))
    torch.manual_seed(0)
    pixels = transform(bright_cell(5), [one_hot(5)] * 2).pixel_values
    assert set(pixels.unique().tolist()) == {-1.0, 1.0}  # no value between black and white is made up


@pytest.mark.parametrize("size", [{"shortest_edge": 64, "longest_edge": 80}, {"max_height": 64, "max_width": 64}])
def test_a_size_that_cannot_be_followed_is_named(size):
    crop = {"do_center_crop": True, "crop_size": {"height": 64, "width": 64}}
    with pytest.raises(ConfigError, match=next(iter(size))):
        evaluation_transform(processor(size=size, **crop), GRID)


def test_a_centre_crop_cuts_off_the_sides_of_a_wide_frame():
    changes = {"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}}
    transform = evaluation_transform(processor(**changes), GRID)
    wide = transform(bright_cell(0, height=64, width=256), [one_hot(0)] * 2)
    assert wide.guidance.sum() == 0  # the first quarter lies left of the middle


def test_every_frame_has_its_own_guidance():
    maps = [one_hot(3), None, GridMap(np.asarray([1.0, 0.0]), (1, 2), (0.0, 0.0, 1.0, 1.0))]
    clip = evaluation_transform(processor(), GRID)(bright_cell(0, frames=3), maps)
    assert clip.guidance[0].argmax() == 3
    assert clip.guidance[1].sum() == 0
    left_half = clip.guidance[2].reshape(4, 4)
    torch.testing.assert_close(left_half[:, :2], torch.full((4, 2), 1 / 8))
    assert left_half[:, 2:].sum() == 0


def test_finer_tokens_share_a_cell_evenly():
    clip = evaluation_transform(processor(), (8, 8))(bright_cell(5), [one_hot(5)] * 2)
    fine = clip.guidance[0].reshape(8, 8)
    torch.testing.assert_close(fine[2:4, 2:4], torch.full((2, 2), 0.25))
    assert fine.sum() == pytest.approx(1)


def test_any_torchvision_transform_can_be_used():
    steps = [v2.Pad([32, 0, 0, 0]), v2.RandomVerticalFlip(1.0), v2.Resize([64, 64])]
    transform = ClipTransform(steps, GRID, (64, 64), [0.5] * 3, [0.5] * 3)
    for cell in (0, 6, 15):
        clip = transform(bright_cell(cell), [one_hot(cell)] * 2)
        light = light_per_token(clip.pixel_values)
        assert (clip.guidance - light).abs().max() < 0.06


def test_a_sliver_of_guidance_is_not_supervised():
    class LeftEdge(v2.Transform):
        def transform(self, inpt, params):
            return v2.functional.crop(inpt, top=0, left=30, height=96, width=98)

    transform = ClipTransform([LeftEdge(), v2.Resize([64, 64])], GRID, (64, 64), [0.5] * 3, [0.5] * 3)
    assert transform(bright_cell(0), [one_hot(0)] * 2).guidance.sum() == 0  # 2 of its 32 columns are left
    assert transform(bright_cell(1), [one_hot(1)] * 2).guidance.sum() == pytest.approx(2)


def test_pad_or_truncate_flips_before_it_cuts():
    augmentation = AugmentationConfig(crop_scale_min=1.0, brightness=0.0, mirror_probability=1.0)
    clip = training_transform(processor(), (2, 3), augmentation, "pad_or_truncate")(bright_cell(0), [one_hot(0)] * 2)
    assert clip.mirrored
    assert clip.guidance[0].tolist() == [0, 0, 0, 1, 0, 0]


def test_all_frames_get_the_same_augmentation():
    transform = training_transform(processor(), GRID, AugmentationConfig(crop_scale_min=0.3, mirror_probability=0.5))
    clip = transform(bright_cell(6, frames=5), [one_hot(6)] * 5)
    assert all(torch.equal(clip.pixel_values[0], frame) for frame in clip.pixel_values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_scale_min": 0.0}, "crop_scale_min is 0.0"),
        ({"crop_ratio_max": 0.9}, "crop_ratio_max is 0.9"),
        ({"mirror_probability": 1.5}, "mirror_probability is 1.5"),
        ({"brightness": 1.0}, "brightness is 1.0"),
    ],
)
def test_augmentation_errors(changes, message):
    with pytest.raises(ConfigError, match=message):
        AugmentationConfig(**changes)


def test_the_papers_rule_cannot_follow_a_crop():
    with pytest.raises(ConfigError, match="crop_scale_min to 1"):
        training_transform(processor(), GRID, AugmentationConfig(crop_scale_min=0.5), "pad_or_truncate")


def test_unknown_rules_and_sizes_are_named():
    with pytest.raises(ConfigError, match="nearest"):
        evaluation_transform(processor(), GRID, "nearest")
    with pytest.raises(ConfigError, match="no fixed input size"):
        input_size(processor(size={"shortest_edge": 64}))
