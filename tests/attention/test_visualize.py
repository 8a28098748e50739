"""Pictures of attention: the right weight over the right part of the frame."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vidreason.attention.normalize import normalize_attention
from vidreason.attention.visualize import attention_maps, comparison_frame, second_look_frame, seen_rectangle
from vidreason.clips.transforms import evaluation_transform
from vidreason.guidance import GridMap
from vidreason.rs.second_look import TwoLooks


def test_maps_are_the_models_attention_in_the_coordinates_of_the_frame(make_model, processor):
    model = make_model().train()
    frames = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)
    maps = attention_maps(model, processor, frames)
    assert model.training  # left as it was
    pixels = evaluation_transform(processor, (4, 4))(frames, [None] * 5).pixel_values
    with torch.no_grad():
        expected = normalize_attention(model.eval()(pixels[None]).frame_attention[0]).numpy()
    np.testing.assert_allclose(np.stack([m.weights for m in maps]), expected, atol=1e-6)
    assert {(m.grid, m.rectangle) for m in maps} == {((4, 4), (0.0, 0.0, 1.0, 1.0))}


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (96, 96)])
def test_what_is_seen_is_what_the_processors_crop_leaves(size):
    crop = SimpleNamespace(
        do_resize=True,
        size={"shortest_edge": 48},
        resample=2,
        do_center_crop=True,
        crop_size={"height": 32, "width": 32},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    # guidance that fills just the seen part is spread evenly over the tokens, by the path that training takes
    seen = GridMap(np.ones(1), (1, 1), seen_rectangle(crop, *size))
    frames = np.zeros((1, *size, 3), np.uint8)
    guidance = evaluation_transform(crop, (4, 4))(frames, [seen]).guidance
    torch.testing.assert_close(guidance, torch.full((1, 16), 1 / 16), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", [0, 3, 6, 12, 15])
def test_a_one_hot_map_colours_its_cell_and_no_other(cell):
    frame = np.full((64, 64, 3), 100, np.uint8)
    maps = {name: GridMap(np.eye(16)[c], (4, 4)) for name, c in (("one", cell), ("other", (cell + 5) % 16))}
    picture = comparison_frame(frame, maps, None, height_px=64).astype(int)
    strip = picture.shape[0] - 64
    panel = picture[strip:, :64].mean(axis=2).reshape(4, 16, 4, 16).mean(axis=(1, 3)).ravel()
    assert panel.argmax() == cell
    assert np.ptp(np.delete(panel, cell)) < 1


def test_both_looks_are_shown_with_what_the_second_is_given():
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[15:45, 40:80] = (0, 200, 0)  # right of the middle, three quarters of the way up and down
    attention = np.full((2, 4), 0.25, np.float32)
    logits = np.asarray([0.0, 1.0]), np.asarray([2.0, 1.0])
    looks = TwoLooks(logits[0], *logits, attention, rectangle=(0.5, 0.25, 1.0, 0.75))
    picture = second_look_frame(frame, looks, 1, (2, 2), ["open", "close"], height_px=120)
    second = picture[-120:, 160 + 8 :]  # below the titles, right of the first panel and the gap
    assert second.shape == (120, 160, 3)
    assert (second == (0, 200, 0)).all()  # the rectangle and nothing else
    first = picture[-120:, :160]
    assert (first[40:80, 100:140] == first[60, 120]).all()  # inside, the heat map as it was
    border = first[30, 90:150].astype(int) - first[60, 120]
    assert np.abs(border).max() > 20  # drawn where the rectangle begins, a quarter from the top
