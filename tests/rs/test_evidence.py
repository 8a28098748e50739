"""Evidence views: what counts as evidence, and what a model sees of the rest."""

import numpy as np
import pytest
import torch

from vidreason.clips.data import GuidedClipCollator
from vidreason.clips.transforms import AugmentationConfig, training_transform
from vidreason.errors import ConfigError
from vidreason.guidance import GridMap
from vidreason.guidance.geometry import MIN_SIDE, evidence_rectangle
from vidreason.rs.config import RSConfig
from vidreason.rs.evidence import EvidenceViews, EvidenceZoom, evidence_tokens, random_margins, token_pixels
from vidreason.rs.trainer import RSTrainer


def guidance_of(*frames: dict[int, float]) -> torch.Tensor:
    """(1, frames, 16) from {cell: weight} of each frame."""
    guidance = torch.zeros(1, len(frames), 16)
    for index, cells in enumerate(frames):
        for cell, weight in cells.items():
            guidance[0, index, cell] = weight
    return guidance


def cells_of(guidance: torch.Tensor, valid: list[bool] | None = None, **settings) -> list[list[int]]:
    mask = guidance.sum(-1) > 0 if valid is None else torch.tensor([valid])
    return [frame.nonzero().flatten().tolist() for frame in evidence_tokens(guidance, mask, **settings)[0]]


def test_a_frame_has_its_own_cells_and_those_of_its_neighbours():
    guidance = guidance_of({0: 1}, {5: 0.5, 6: 0.5}, {9: 1}, {15: 1})
    assert cells_of(guidance, reach=0) == [[0], [5, 6], [9], [15]]
    assert cells_of(guidance, reach=1) == [[0, 5, 6], [0, 5, 6, 9], [5, 6, 9, 15], [9, 15]]


def test_a_frame_without_guidance_is_not_left_whole():
    guidance = guidance_of({}, {}, {3: 1}, {}, {}, {}, {8: 1}, {})
    expected = [[3], [3], [3], [3], [3], [8], [8], [8]]
    expected[4] = [3, 8]  # as near to the one as to the other
    assert cells_of(guidance, reach=0)[:4] == expected[:4]
    assert cells_of(guidance, reach=0)[4] == [3, 8]
    assert cells_of(guidance, reach=0)[5:] == [[8], [8], [8]]


def test_guidance_that_is_not_valid_is_not_evidence():
    guidance = guidance_of({1: 1}, {2: 1})
    assert cells_of(guidance, [False, True], reach=0) == [[2], [2]]


def test_a_clip_without_guidance_is_whole():
    assert cells_of(guidance_of({}, {})) == [list(range(16))] * 2


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, [1, 2, 3]), (0.3, [1, 2]), (0.5, [1, 2]), (0.7, [1])],
)
def test_an_unsure_cell_is_evidence_in_some_views(threshold, expected):
    """Weights 0.6, 0.18 and 0.06 are 1, 0.6 and 0.2 of what is certain, which is half of the largest."""
    guidance = guidance_of({1: 0.6, 2: 0.18, 3: 0.06})
    assert cells_of(guidance, reach=0, threshold=torch.tensor([threshold])) == [expected]


def test_pixels_of_tokens_lie_where_the_tokens_do():
    tokens = torch.zeros(1, 1, 6, dtype=torch.bool)
    tokens[0, 0, 1] = tokens[0, 0, 3] = True  # top middle, bottom left of a grid of 2 x 3
    pixels = token_pixels(tokens, (2, 3), (4, 6))[0, 0, 0]
    assert pixels.int().tolist() == [[0, 0, 1, 1, 0, 0]] * 2 + [[1, 1, 0, 0, 0, 0]] * 2


@pytest.fixture
def batch():
    """Four clips, each of one colour, with evidence in another cell each; the last has no guidance."""
    guidance = torch.zeros(4, 2, 16)
    for clip in range(3):
        guidance[clip, :, 5 * clip] = 1
    return {
        "pixel_values": torch.arange(1.0, 5.0).view(4, 1, 1, 1, 1).expand(4, 2, 3, 8, 8).contiguous(),
        "frame_mask": torch.ones(4, 2, dtype=torch.bool),
        "labels": torch.arange(4),
        "guidance": guidance,
        "guidance_mask": guidance.sum(-1) > 0,
        "view_draw": torch.tensor([0.1, 0.4, 0.9, 0.1]),
    }


def cell_values(shown: dict, clip: int) -> list[float]:
    """The value of each cell of a clip's first frame, which has one value throughout each cell."""
    pixels = shown["pixel_values"][clip, 0, 0].unfold(0, 2, 2).unfold(1, 2, 2).reshape(16, 4)
    assert (pixels == pixels[:, :1]).all()
    return pixels[:, 0].tolist()


def test_swapped_clips_keep_their_evidence_and_show_another_clip_around_it(batch):
    shown = EvidenceViews(swap=0.2, reach=0).show(batch, (4, 4))
    expected = [2.0] * 16  # the next clip's
    expected[0] = 1.0  # its own evidence
    expected[5] = 0.0  # where the other's evidence is, nothing
    assert cell_values(shown, 0) == expected
    for clip in (1, 2, 3):  # drawn above the share, or without guidance
        assert cell_values(shown, clip) == [clip + 1.0] * 16
    assert shown["labels"].tolist() == [0, 1, 2, 3]
    assert "token_mask" not in shown


def test_a_clip_alone_is_blank_around_its_evidence(batch):
    alone = {name: value[:1] for name, value in batch.items()}
    shown = EvidenceViews(swap=0.2, reach=0).show(alone, (4, 4))
    assert cell_values(shown, 0) == [1.0] + [0.0] * 15


def test_blanked_and_dropped_clips(batch):
    shown = EvidenceViews(swap=0.2, blank=0.3, drop=0.5, reach=0).show(batch, (4, 4))
    assert cell_values(shown, 1) == [0.0] * 5 + [2.0] + [0.0] * 10
    assert cell_values(shown, 2) == [3.0] * 16
    assert shown["token_mask"][2, 0].nonzero().flatten().tolist() == [10]
    assert shown["token_mask"][[0, 1, 3]].all()


def test_the_batch_itself_is_left_alone(batch):
    before = {name: value.clone() for name, value in batch.items()}
    EvidenceViews(swap=0.5, drop=0.5).show(batch, (4, 4))
    for name, value in before.items():
        assert torch.equal(batch[name], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evidence_swap": 1.5}, "evidence_swap is 1.5"),
        ({"evidence_blank": float("nan")}, "evidence_blank is nan"),
        ({"evidence_swap": 0.6, "evidence_drop": 0.6}, "add up to 1.2"),
        ({"evidence_reach": -1}, "evidence_reach is -1"),
    ],
)
def test_settings_that_make_no_sense_are_named(make_arguments, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_arguments(**changes)


def test_a_model_that_cannot_drop_tokens_is_named(make_model, make_arguments):
    class Stubborn(type(make_model())):
        def forward(self, pixel_values, frame_mask=None):
            return super().forward(pixel_values, frame_mask)

    with pytest.raises(ConfigError, match="Stubborn cannot leave tokens unread"):
        RSTrainer(model=Stubborn(make_model().config), args=make_arguments(evidence_drop=0.5))


def train(model, clips, args) -> list[dict]:
    trainer = RSTrainer(model=model, args=args, train_dataset=clips)
    trainer.train()
    return trainer.state.log_history


@pytest.mark.parametrize("view", ["evidence_swap", "evidence_blank", "evidence_drop"])
def test_training_with_every_view_of_the_evidence_alone(make_model, make_clips, make_arguments, view):
    plain = train(make_model(), make_clips(), make_arguments())
    shown = train(make_model(), make_clips(), make_arguments(**{view: 1.0}))
    assert plain[0]["loss_classification"] != shown[0]["loss_classification"]
    assert all(np.isfinite(entry["loss"]) for entry in shown if "loss" in entry)


@pytest.mark.parametrize("view", ["evidence_blank", "evidence_drop"])
def test_accumulated_steps_show_what_whole_steps_show(make_model, make_clips, make_arguments, view):
    settings = {view: 0.5, "optim": "sgd", "learning_rate": 0.05, "num_train_epochs": 2}
    whole = train(make_model(), make_clips(), make_arguments(per_device_train_batch_size=4, **settings))
    parts = train(
        make_model(),
        make_clips(),
        make_arguments(per_device_train_batch_size=1, gradient_accumulation_steps=4, **settings),
    )
    for one, two in zip(whole, parts, strict=True):
        for key in {"loss_classification", "loss_spatial"} & one.keys():
            assert one[key] == pytest.approx(two[key], rel=1e-3), key


def test_evaluation_shows_clips_as_they_are(make_model, make_clips, make_arguments):
    metrics = []
    for share in (0.0, 1.0):
        trainer = RSTrainer(
            model=make_model(), args=make_arguments(evidence_swap=share), eval_dataset=make_clips("test")
        )
        metrics.append(trainer.evaluate())
    assert metrics[0]["eval_loss_classification"] == metrics[1]["eval_loss_classification"]


def test_batches_without_draws_are_named(make_model, make_clips, make_arguments):
    def collate(clips):
        return GuidedClipCollator()([{k: v for k, v in clip.items() if k != "view_draw"} for clip in clips])

    trainer = RSTrainer(
        model=make_model(), args=make_arguments(evidence_swap=1.0), train_dataset=make_clips(), data_collator=collate
    )
    with pytest.raises(ConfigError, match="view_draw"):
        trainer.train()


def test_draws_follow_clip_and_epoch(make_clips):
    clips = make_clips()
    first = [clips[index]["view_draw"] for index in range(4)]
    assert len(set(first)) == 4
    assert [clips[index]["view_draw"] for index in range(4)] == first
    clips.set_epoch(1)
    assert [clips[index]["view_draw"] for index in range(4)] != first


def one_cell(cell: int, grid=(4, 4)) -> GridMap:
    return GridMap(np.eye(grid[0] * grid[1])[cell], grid)


def test_the_rectangle_holds_the_evidence_but_for_outliers():
    # 40 frames whose evidence fills the two cells in the middle of row 1; one frame says bottom right
    maps = [one_cell(5)] * 20 + [None] + [one_cell(6)] * 20 + [one_cell(15)]
    x0, y0, x1, y1 = evidence_rectangle(maps)
    assert (x0, x1) == pytest.approx((0.25, 0.75), abs=0.04)
    middle = (y0 + y1) / 2
    assert middle == pytest.approx(0.375, abs=0.02)  # of row 1
    assert y1 - y0 == pytest.approx(MIN_SIDE)


@pytest.mark.parametrize("cell", [0, 3, 12, 15])
def test_a_rectangle_in_a_corner_stays_inside(cell):
    x0, y0, x1, y1 = evidence_rectangle([one_cell(cell)])
    assert x0 >= 0 and y0 >= 0 and x1 <= 1 and y1 <= 1
    assert (x1 - x0, y1 - y0) == pytest.approx((MIN_SIDE, MIN_SIDE))
    assert ((x0 + x1) / 2 < 0.5) == (cell % 4 == 0)
    assert ((y0 + y1) / 2 < 0.5) == (cell < 4)


def test_there_is_no_rectangle_without_guidance():
    assert evidence_rectangle([None, None]) is None


def test_margins_reach_outwards():
    for _ in range(50):
        x0, y0, x1, y1 = random_margins((0.1, 0.4, 0.5, 0.9))
        assert 0 <= x0 <= 0.1 and 0.4 - 0.125 <= y0 <= 0.4 and 0.5 <= x1 <= 0.6 and 0.9 <= y1 <= 1


def test_zooming_moves_pixels_and_guidance_together(processor):
    """A white cell on black is where the guidance is; after any zoom and crop, bright tokens are guided ones."""
    frames = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    frames[:, 16:32, 32:48] = 255
    augmentation = AugmentationConfig(crop_scale_min=0.8, brightness=0.0, mirror_probability=0.5)
    transform = training_transform(processor, (4, 4), augmentation, zoom=EvidenceZoom(1.0))
    torch.manual_seed(0)
    covered = []
    for _ in range(20):
        clip = transform(frames, [one_cell(6), None, one_cell(6), one_cell(6)])
        white, black = clip.pixel_values.max(), clip.pixel_values.min()
        light = ((clip.pixel_values[0, 0] - black) / (white - black)).unfold(0, 8, 8).unfold(1, 8, 8).mean((-1, -2))
        torch.testing.assert_close(light.flatten() / light.sum(), clip.guidance[0], atol=0.02, rtol=0.05)
        assert clip.guidance[1].sum() == 0
        covered.append(light.mean().item())
    assert np.mean(covered) > 2 / 16  # larger than in the whole frame, where it is one cell of sixteen


def test_a_clip_without_guidance_is_not_zoomed(processor):
    frames = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    outputs = []
    for zoom in (None, EvidenceZoom(1.0)):
        settings = AugmentationConfig(crop_scale_min=1.0, brightness=0.0)
        outputs.append(training_transform(processor, (4, 4), settings, zoom=zoom)(frames, [None, None]).pixel_values)
    assert torch.equal(*outputs)


def test_zoom_settings_are_checked(processor):
    with pytest.raises(ConfigError, match="evidence_zoom is 2"):
        EvidenceZoom(2)
    with pytest.raises(ConfigError, match="evidence_zoom to 0"):
        training_transform(
            processor, (4, 4), AugmentationConfig(crop_scale_min=1.0), "pad_or_truncate", EvidenceZoom(0.5)
        )


def test_what_needs_guidance():
    assert not RSConfig(output_dir="unused", spatial_weight=0, temporal_weight=0.1, report_to="none").needs_guidance
    assert RSConfig(output_dir="unused", spatial_weight=0, evidence_swap=0.5, report_to="none").needs_guidance


def test_maps_of_objects_follow_the_pixels_that_are_exchanged():
    """Maps that hold what the pixels hold, at a quarter of their size, still do so in every view."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 2, 2, 4, 4, generator=generator)
    pixels = maps.repeat_interleave(4, -1).repeat_interleave(4, -2)
    pixels = torch.cat([pixels, pixels[:, :, :1]], dim=2)
    guidance = torch.zeros(3, 2, 16)
    guidance[:, :, 5] = 1
    for draws in ([0.1, 0.1, 0.1], [0.6, 0.6, 0.6], [0.1, 0.6, 0.9]):
        batch = {
            "pixel_values": pixels,
            "object_maps": maps,
            "guidance": guidance,
            "guidance_mask": torch.ones(3, 2, dtype=torch.bool),
            "view_draw": torch.tensor(draws),
        }
        shown = EvidenceViews(swap=0.5, blank=0.3).show(batch, (4, 4))
        assert torch.equal(shown["pixel_values"][:, :, :2, ::4, ::4], shown["object_maps"])
        assert not torch.equal(shown["object_maps"], maps)
        assert torch.equal(shown["object_maps"][..., 1, 1], maps[..., 1, 1])  # the evidence stays
    without = {name: value for name, value in batch.items() if name != "object_maps"}
    assert "object_maps" not in EvidenceViews(swap=1.0).show(without, (4, 4))
