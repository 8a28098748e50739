import numpy as np
import pytest

from vidreason.detection import Found, box_map, mask_map, render_maps
from vidreason.detection.run_lengths import decode_mask, encode_mask
from vidreason.errors import DetectionError


def test_a_box_covers_pixels_by_area_and_the_best_instance_wins():
    # a map of 2 x 4 pixels: a box over the left 1.5 pixels of the upper row, one over the whole at a lower score
    rendered = box_map(np.array([[0, 0, 0.375, 0.5], [0, 0, 1, 1]]), np.array([0.8, 0.3], np.float32), (2, 4))
    assert np.allclose(rendered, [[0.8, 0.4, 0.3, 0.3], [0.3, 0.3, 0.3, 0.3]])
    assert rendered.dtype == np.float32


def test_a_map_is_that_of_a_finer_one_averaged():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((1, 2, 2)), axis=1)
    box = np.concatenate([corners[:, 0], corners[:, 1]], axis=1)
    coarse, fine = (box_map(box, np.array([0.7]), size) for size in ((6, 10), (600, 1000)))
    assert np.allclose(coarse, fine.reshape(6, 100, 10, 100).mean(axis=(1, 3)), atol=1e-4)


def test_overlapping_classes_are_both_there_and_nothing_is_a_map_of_zeros():
    person = Found.of([[0, 0, 1, 1]], [0.9])
    hand = Found.of([[0.25, 0.25, 0.5, 0.5]], [0.6])
    maps = render_maps([person, hand, None, Found.without("failed", "decode failed")], (4, 4))
    assert maps.shape == (4, 4, 4)
    assert np.allclose(maps[0], 0.9)
    assert maps[1].max() == np.float32(0.6) and np.count_nonzero(maps[1]) == 1 and maps[1, 1, 1] > 0
    assert not maps[2:].any()


def test_masks_are_resampled_by_area_and_survive_run_lengths():
    rng = np.random.default_rng(1)
    masks = tuple(rng.random((6, 9)) > 0.5 for _ in range(2))
    assert all((decode_mask(encode_mask(mask), (6, 9)) == mask).all() for mask in masks)
    # COCO counts down the columns, zeros first
    assert encode_mask(np.array([[1, 0], [1, 1]], dtype=bool)) == [0, 2, 1, 1]
    rendered = mask_map(masks, np.array([0.9, 0.5]), (2, 3))
    parts = [mask.reshape(2, 3, 3, 3).mean(axis=(1, 3)) for mask in masks]
    assert np.allclose(rendered, np.maximum(0.9 * parts[0], 0.5 * parts[1]), atol=1e-6)
    assert np.allclose(render_maps([Found.of([[0, 0, 1, 1]], [1.0], [masks[0]])], (6, 9))[0], masks[0])


@pytest.mark.parametrize("counts", [[5], [3, 4], [-1, 7], [2.0, 4.0], [], [2**62, 2**62, 2**62, 2**62]])
def test_run_lengths_that_do_not_fill_the_mask_are_refused_before_anything_is_expanded(counts):
    with pytest.raises(DetectionError, match="run lengths"):
        decode_mask(counts, (2, 3))
    with pytest.raises(DetectionError, match="pixels"):
        decode_mask([10**12], (10**6, 10**6))
