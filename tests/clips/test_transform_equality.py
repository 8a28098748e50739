"""The short cuts of the clip transform change nothing: pixels are bit for bit those of torchvision's own way."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from transformers.image_utils import PILImageResampling

from vidreason.clips.transforms import AugmentationConfig, ChannelPlanes, RandomAspectCrop, training_transform
from vidreason.guidance import GridMap, grid_cells
from vidreason.guidance.geometry import spread_over_grid

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZE, TOKENS = (32, 40), (5, 7)


def clip(seed: int) -> tuple[np.ndarray, list[GridMap | None]]:
    """Four frames of noise, with guidance on two grids and one frame without."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 255, (4, 48, 60, 3), dtype=np.uint8)
    maps = [GridMap(rng.dirichlet(np.ones(16)).astype(np.float32), (4, 4)) for _ in range(3)]
    maps[1] = GridMap(rng.dirichlet(np.ones(6)).astype(np.float32), (2, 3), (0.1, 0.2, 0.7, 0.9))
    return frames, [*maps, None]


def reference(frames: np.ndarray, maps: list[GridMap | None], augmentation: AugmentationConfig):
    """What training clips go through, put together from torchvision's parts and frame by frame."""
    height, width = frames.shape[1:3]
    strength = augmentation.brightness
    crop = RandomAspectCrop(SIZE, augmentation.crop_scale_min, augmentation.crop_ratio_max)
    crop.forward = lambda *inputs: v2.Transform.forward(crop, *inputs)
    steps = v2.Compose([crop, v2.ColorJitter(strength, strength, strength) if strength else v2.Identity()])
    finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    video = tv_tensors.Video(torch.from_numpy(frames).permute(0, 3, 1, 2))
    cells = [grid_cells((16, 16)), *(grid_cells(m.grid, m.rectangle) for m in maps if m is not None)]
    corners = torch.from_numpy(np.concatenate(cells) * [width, height, width, height]).float()
    video, boxes = steps(video, tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width)))
    if torch.rand(()) < augmentation.mirror_probability:
        video, boxes = v2.functional.horizontal_flip(video), v2.functional.horizontal_flip(boxes)
    shares = boxes.as_subclass(torch.Tensor).double().numpy() / [SIZE[1], SIZE[0], SIZE[1], SIZE[0]]
    moved = np.split(shares, np.cumsum([len(group) for group in cells])[:-1])
    areas = [(group[:, 2] - group[:, 0]) * (group[:, 3] - group[:, 1]) for group in (cells[0], moved[0])]
    scale = (areas[1] / areas[0]).max()
    guidance, position = np.zeros((len(maps), TOKENS[0] * TOKENS[1])), 1
    for frame, grid_map in enumerate(maps):
        if grid_map is not None:
            spread = spread_over_grid(moved[position], cells[position], TOKENS) / scale
            tokens = grid_map.weights.astype(np.float64) @ spread
            guidance[frame] = tokens / tokens.sum() if tokens.sum() >= 0.1 * grid_map.weights.sum() else 0
            position += 1
    return finish(video).as_subclass(torch.Tensor), torch.from_numpy(guidance.astype(np.float32))


@pytest.mark.parametrize("mirror_probability", [0.0, 1.0])
@pytest.mark.parametrize("brightness", [0.0, 0.3])
def test_training_clips_are_those_of_torchvision(brightness, mirror_probability):
    augmentation = AugmentationConfig(0.5, 1.3, mirror_probability, brightness)
    size = {"height": SIZE[0], "width": SIZE[1]}
    processor = SimpleNamespace(size=size, resample=PILImageResampling.BILINEAR, image_mean=MEAN, image_std=STD)
    transform = training_transform(processor, TOKENS, augmentation)
    for seed in range(8):
        frames, maps = clip(seed)
        torch.manual_seed(seed)
        expected = reference(frames, maps, augmentation)
        torch.manual_seed(seed)
        got = transform(frames, maps)
        assert torch.equal(got.pixel_values, expected[0])
        assert got.pixel_values.is_contiguous()
        torch.testing.assert_close(got.guidance, expected[1], rtol=1e-6, atol=1e-7)
        assert got.mirrored == (mirror_probability == 1)


def test_planes_hold_the_same_pixels():
    video = tv_tensors.Video(torch.randint(0, 255, (2, 8, 9, 3), dtype=torch.uint8).permute(0, 3, 1, 2))
    planes = ChannelPlanes()(video)
    assert isinstance(planes, tv_tensors.Video)
    assert planes.is_contiguous()
    assert not video.is_contiguous()
    assert torch.equal(planes, video)
