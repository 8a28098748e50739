"""Objects in the pixels and their maps stay one above the other, whatever is done to a clip."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from fixtures.detected_world import detection_rows
from torchvision.transforms import v2

from modeling_tsvit import TSViTVideoProcessor
from vidreason.clips.data import GuidedClipCollator
from vidreason.clips.object_maps import ClipObjects, ObjectMaps, map_size
from vidreason.clips.transforms import AugmentationConfig, ClipTransform, evaluation_transform, training_transform
from vidreason.detection import FEATURES, DetectionIndex, Found
from vidreason.detection.index import FrameDetections
from vidreason.errors import ConfigError, DetectionError, VideoError
from vidreason.guidance import GridMap

HEIGHT, WIDTH = 90, 160
BOXES = {"ball": (20, 30, 60, 50), "racket": (90, 10, 130, 80)}
"""Left, top, right, bottom in pixels of a wide frame."""


def frames_with(name: str, num_frames: int = 2) -> np.ndarray:
    left, top, right, bottom = BOXES[name]
    frames = np.zeros((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, top:bottom, left:right] = 255
    return frames


def found(name: str, score: float, with_mask: bool) -> Found:
    left, top, right, bottom = BOXES[name]
    box = np.asarray([left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT])
    if not with_mask:
        return Found.of([box], [score])
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return Found.of([box], [score], [mask])


def objects(with_mask: bool, size: tuple[int, int], num_frames: int = 2) -> ClipObjects:
    row = [found("ball", 1.0, with_mask), found("racket", 0.5, with_mask)]
    return ClipObjects(FrameDetections([row] * num_frames, [["ok", "ok"]] * num_frames), size)


def processor(**changes) -> TSViTVideoProcessor:
    return TSViTVideoProcessor(size={"height": 64, "width": 64}, do_sample_frames=False, **changes)


def light(pixel_values: torch.Tensor, like: TSViTVideoProcessor) -> torch.Tensor:
    """How bright each pixel is, from 0 to 1: (frames, height, width)."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (like.image_mean, like.image_std))
    return (pixel_values * std + mean).mean(dim=1)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("name", list(BOXES))
def test_a_map_lies_where_its_object_is_seen(name, with_mask):
    """Under random crops, stretches and flips of a wide frame, squeezed into a square input."""
    augmentation = AugmentationConfig(crop_scale_min=0.3, crop_ratio_max=1.5, mirror_probability=0.5, brightness=0.0)
    own = processor()
    transform = training_transform(own, (4, 4), augmentation)
    channel, score = list(BOXES).index(name), 1.0 if name == "ball" else 0.5
    seen, told_apart = 0, 0
    for seed in range(20):
        torch.manual_seed(seed)
        clip = transform(frames_with(name), [None] * 2, objects=objects(with_mask, (64, 64)))
        assert clip.object_maps.shape == (2, 2, 64, 64)
        pixels = light(clip.pixel_values, own)[0].clamp(0, 1)
        shown = clip.object_maps[0, channel] / score
        assert torch.equal(clip.object_maps[0], clip.object_maps[1])
        # pixels ring at edges: these apart, both are the same region
        assert not (((pixels > 0.9) & (shown < 0.5)) | ((pixels < 0.1) & (shown > 0.5))).any(), seed
        if shown.sum() < 100:
            continue  # hardly in the view
        seen += 1
        assert (center(shown) - center(pixels)).abs().max() < 0.15, seed
        told_apart += bool((center(shown.flip(-1)) - center(pixels)).abs().max() > 2)
    assert seen >= 10
    assert told_apart >= 5  # a map that was not mirrored with its pixels would have been found out


def center(picture: torch.Tensor) -> torch.Tensor:
    """Row and column of the centre of what is bright."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, picture.shape), indexing="ij")).flatten(1).float()
    return places @ picture.flatten() / picture.sum()


@pytest.mark.parametrize("with_mask", [False, True])
def test_smaller_maps_are_means_over_areas(with_mask):
    transform = evaluation_transform(processor(), (4, 4))
    whole = transform(frames_with("ball"), [None] * 2, objects=objects(with_mask, (64, 64))).object_maps
    small = transform(frames_with("ball"), [None] * 2, objects=objects(with_mask, (16, 16))).object_maps
    assert small.shape == (2, 2, 16, 16)
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(whole.flatten(0, 1), 4).unflatten(0, (2, 2)))


def test_a_zoom_and_a_centre_crop_move_maps_too():
    """A rectangle cuts the frame first; then the steps of a processor that crops."""
    own = TSViTVideoProcessor(
        size={"shortest_edge": 64},
        do_center_crop=True,
        crop_size={"height": 64, "width": 64},
        do_sample_frames=False,
    )
    transform = evaluation_transform(own, (4, 4))
    clip = transform(frames_with("racket"), [None] * 2, (0.4, 0.0, 1.0, 1.0), objects(False, (64, 64)))
    seen = light(clip.pixel_values, own)
    shown = clip.object_maps[:, 1] / 0.5
    assert shown.sum() > 200
    assert ((seen > 0.9) == (shown > 0.9)).float().mean() > 0.98
    assert clip.object_maps[:, 0].sum() == 0  # the ball was cut off


def test_colour_never_touches_maps_and_any_transform_moves_them():
    steps = [v2.ColorJitter(0.9, 0.9, 0.9), v2.Pad([32, 0, 0, 0]), v2.RandomVerticalFlip(1.0), v2.Resize([64, 64])]
    transform = ClipTransform(steps, (4, 4), (64, 64), [0.5] * 3, [0.5] * 3)
    for with_mask in (False, True):
        clip = transform(frames_with("racket"), [None] * 2, objects=objects(with_mask, (64, 64)))
        top_left, bottom_right = (clip.object_maps[0, 1] > 0.25).nonzero().aminmax(dim=0)
        left, top, right, bottom = BOXES["racket"]
        expected = [
            (HEIGHT - bottom) / HEIGHT,
            (left + 32) / (WIDTH + 32),
            (HEIGHT - top) / HEIGHT,
            (right + 32) / 192,
        ]
        ends = [*top_left.tolist(), *(bottom_right + 1).tolist()]
        assert np.allclose(np.asarray(ends) / 64, expected, atol=0.02)
        assert clip.object_maps.max() == 1.0
        assert clip.object_maps[0, 1].max() == 0.5


def test_guidance_is_the_same_with_objects_and_without():
    """Boxes of objects travel behind the cells of the guidance grid, in the same tensor."""
    transform = training_transform(processor(), (4, 4), AugmentationConfig(crop_scale_min=0.4, mirror_probability=0.5))
    maps = [GridMap(np.eye(16)[cell], (4, 4)) for cell in (5, 10)]
    results = []
    for shown in (None, objects(False, (64, 64)), objects(True, (16, 16))):
        torch.manual_seed(4)
        results.append(transform(frames_with("ball"), maps, objects=shown))
    assert results[0].object_maps is None
    for other in results[1:]:
        assert torch.equal(results[0].pixel_values, other.pixel_values)
        assert torch.equal(results[0].guidance, other.guidance)


def test_frames_without_a_row_and_failed_ones_are_zeros_and_counted():
    nothing, failed = Found.without("empty"), Found.without("failed", "no frame")
    ball = found("ball", 1.0, False)
    detections = FrameDetections([[ball, nothing], [None, failed]], [["ok", "empty"], ["missing", "failed"]])
    clip = evaluation_transform(processor(), (4, 4))(
        frames_with("ball"), [None] * 2, objects=ClipObjects(detections, (64, 64))
    )
    assert [float(one.sum()) > 0 for one in clip.object_maps.flatten(0, 1)] == [True, False, False, False]
    assert ClipObjects(detections, (64, 64)).missing == 0.5  # empty is an answer


@pytest.mark.parametrize("mirror_probability", [0.0, 1.0])
def test_masks_of_any_size_lie_on_the_frame(mirror_probability):
    """A mask has its own size; the same region of the frame gives the same map, whatever it was drawn at."""
    augmentation = AugmentationConfig(crop_scale_min=0.5, mirror_probability=mirror_probability)
    transform = training_transform(processor(), (4, 4), augmentation)
    shown = []
    for scale in (1, 3):
        mask = np.zeros((9 * scale, 16 * scale), bool)
        mask[2 * scale : 5 * scale, 9 * scale : 13 * scale] = True
        row = [Found.of([[9 / 16, 2 / 9, 13 / 16, 5 / 9]], [0.7], [mask])]
        torch.manual_seed(1)
        moving = ClipObjects(FrameDetections([row], [["ok"]]), (32, 32))
        shown.append(transform(frames_with("ball", 1), [None], objects=moving).object_maps)
    torch.testing.assert_close(*shown)
    row = [Found.of([[9 / 16, 2 / 9, 13 / 16, 5 / 9]], [0.7])]
    torch.manual_seed(1)
    moving = ClipObjects(FrameDetections([row], [["ok"]]), (32, 32))
    boxed = transform(frames_with("ball", 1), [None], objects=moving).object_maps
    torch.testing.assert_close(shown[0], boxed, atol=1e-4, rtol=0)  # a mask that fills its box
    assert boxed.sum() > 5


def test_sizes_of_maps():
    assert map_size(None, (64, 96)) == (64, 96)
    assert map_size(24, (64, 96)) == (16, 24)
    for wrong in (0, 40, 128):
        with pytest.raises(ConfigError, match=f"map_size_px is {wrong}"):
            map_size(wrong, (64, 96))
    with pytest.raises(ConfigError, match="cannot be divided by 3"):
        map_size(32, (64, 96))


def test_clips_join_detections_by_time_and_stack_them(make_clips, tiny_world):
    """Frames 1, 3, 5 and 7 of 8 are sampled; clip 1 has no detections at all."""
    ids = [row["video_id"] for row in make_clips().rows]
    rows = [row for video_id in (ids[0], *ids[2:]) for row in detection_rows(video_id, [i / 8 for i in range(8)])]
    index = DetectionIndex(Dataset.from_list(rows, features=FEATURES), ["ball"])
    clips = make_clips(objects=ObjectMaps(index, (32, 32)))
    clip = clips[0]
    assert clip["object_maps"].shape == (4, 1, 32, 32)
    assert torch.allclose(clip["object_maps"].mean(dim=(1, 2, 3)), torch.tensor([2, 4, 6, 8]) / 8)
    assert clip["maps_missing"] == 0.0
    assert clips[1]["maps_missing"] == 1.0
    batch = GuidedClipCollator()([clips[i] for i in range(3)])
    assert batch["object_maps"].shape == (3, 4, 1, 32, 32)
    assert batch["object_maps"][1].sum() == 0
    assert batch["maps_missing"].tolist() == [0.0, 1.0, 0.0]
    assert "object_maps" not in GuidedClipCollator()([make_clips()[0]])


def test_maps_are_the_same_in_any_worker(make_clips):
    ids = [row["video_id"] for row in make_clips().rows]
    rows = [row for video_id in ids for row in detection_rows(video_id, [i / 8 for i in range(8)])]
    index = DetectionIndex(Dataset.from_list(rows, features=FEATURES), ["ball"])

    def batches(num_workers):
        clips = make_clips(augment=True, sampling="jittered", objects=ObjectMaps(index, (16, 16)))
        loader = torch.utils.data.DataLoader(
            clips,
            batch_size=4,
            collate_fn=GuidedClipCollator(),
            num_workers=num_workers,
            multiprocessing_context="spawn" if num_workers else None,  # the index has to travel
        )
        return [batch["object_maps"] for batch in loader]

    assert all(torch.equal(one, other) for one, other in zip(batches(0), batches(1), strict=True))


def test_an_unreadable_video_has_maps_of_zeros_and_a_damaged_row_is_named(make_clips, monkeypatch):
    rows = detection_rows("videos/train/0", [i / 8 for i in range(8)])
    index = DetectionIndex(Dataset.from_list(rows, features=FEATURES), ["ball"])
    clips = make_clips(objects=ObjectMaps(index, (8, 8)))
    with monkeypatch.context() as patch:
        patch.setattr(type(clips.reader), "read", _unreadable)
        clip = clips[0]
    assert clip["object_maps"].shape == (4, 1, 8, 8)
    assert clip["object_maps"].sum() == 0
    assert clip["maps_missing"] == 1.0
    rows[3]["boxes"] = [[0.0, 0.0, 7.0, 1.0]]
    broken = DetectionIndex(Dataset.from_list(rows, features=FEATURES), ["ball"])
    with pytest.raises(DetectionError, match="videos/train/0 frame 3 class 'ball'"):
        make_clips(objects=ObjectMaps(broken, (8, 8)))[0]


def _unreadable(*args):
    raise VideoError("videos/train/0.mp4", "decode_failed")
