"""Deletion and insertion curves: by hand on a model that looks at one cell, on a real one, and as a command."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vidreason.attention.curves import (
    FaithfulnessSettings,
    measure_faithfulness,
    pixel_cells,
    step_counts,
    token_places,
)
from vidreason.attention.faithfulness import FaithfulnessArguments, draw_clips, run
from vidreason.attention.faithfulness_report import areas_under_curves, summarize_curves, verdict
from vidreason.clips.data import IGNORED_LABEL, GuidedClipCollator
from vidreason.errors import ConfigError, VidreasonError
from vidreason.reporting.bootstrap import Bootstrap

GRID = (2, 2)
HIGH, LOW = 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))


class OneCell(torch.nn.Module):
    """Says label 0 where one cell is bright, and attends to a cell that need not be the same."""

    def __init__(self, evidence: int, attended: int):
        super().__init__()
        self.evidence, self.attended = evidence, attended
        self.weight = torch.nn.Parameter(torch.tensor(10.0))

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        return GRID

    def forward(self, pixel_values, frame_mask):
        inside = pixel_cells(GRID, pixel_values.shape[-2:]) == self.evidence
        brightness = pixel_values[..., inside].mean(dim=(2, 3))
        evidence = (brightness * frame_mask).sum(dim=1) / frame_mask.sum(dim=1)
        score = self.weight * evidence - 5
        attention = torch.full((*pixel_values.shape[:2], 4), 0.1)
        attention[..., self.attended] = 0.7
        return {"logits": torch.stack((score, torch.zeros_like(score)), dim=1), "frame_attention": attention}


def clip(num_frames=1, label=0, guided_cell=None):
    guidance = torch.zeros(num_frames, 4)
    if guided_cell is not None:
        guidance[:, guided_cell] = 1.0
    return {
        "pixel_values": torch.ones(num_frames, 3, 8, 8),
        "labels": label,
        "guidance": guidance,
        "guidance_status": ["missing" if guided_cell is None else "ok"] * num_frames,
    }


def measure(model, clips, batch_size=8, **settings):
    collate = GuidedClipCollator()
    batches = [collate(clips[start : start + batch_size]) for start in range(0, len(clips), batch_size)]
    return measure_faithfulness(model, batches, FaithfulnessSettings(**settings))


def curve(measured, ranking, mode, measure_name="predicted_label"):
    return measured.values[ranking, mode, measure_name][0].tolist()


def test_the_right_map_makes_the_curve_fall_and_rise_at_once():
    measured = measure(OneCell(evidence=2, attended=2), [clip()], rankings=("attention",))
    assert measured.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve(measured, "attention", "deletion") == pytest.approx([HIGH, LOW, LOW, LOW, LOW])
    assert curve(measured, "attention", "insertion") == pytest.approx([LOW, HIGH, HIGH, HIGH, HIGH])
    assert curve(measured, "attention", "deletion", "top1") == [1, 0, 0, 0, 0]
    areas = areas_under_curves(measured.values, measured.fractions)["attention", "deletion", "predicted_label"]
    assert areas == pytest.approx([0.125 * HIGH + 0.875 * LOW])


def test_a_map_that_puts_the_evidence_last_leaves_it_standing_to_the_end():
    # guidance, which can rank a single cell last: all others are marked
    wrong = clip()
    wrong["guidance"] = torch.tensor([[1.0, 1.0, 0.0, 1.0]]) / 3
    wrong["guidance_status"] = ["ok"]
    measured = measure(OneCell(evidence=2, attended=0), [wrong], rankings=("guidance",))
    assert curve(measured, "guidance", "deletion") == pytest.approx([HIGH, HIGH, HIGH, HIGH, LOW])
    assert curve(measured, "guidance", "insertion") == pytest.approx([LOW, LOW, LOW, LOW, HIGH])
    areas = areas_under_curves(measured.values, measured.fractions)["guidance", "insertion", "predicted_label"]
    assert areas == pytest.approx([0.875 * LOW + 0.125 * HIGH])


def test_the_probability_of_a_label_that_the_model_does_not_give_rises_under_deletion():
    measured = measure(OneCell(evidence=2, attended=2), [clip(label=1)], rankings=("attention",))
    assert curve(measured, "attention", "deletion", "true_label") == pytest.approx([LOW, HIGH, HIGH, HIGH, HIGH])
    assert curve(measured, "attention", "deletion", "predicted_label")[0] == pytest.approx(HIGH)


def test_random_orders_have_the_area_that_counting_gives():
    measured = measure(OneCell(evidence=1, attended=1), [clip()] * 200, 50, rankings=("random",), num_draws=2)
    record = summarize_curves(
        measured.fractions, measured.values, [str(number) for number in range(200)], Bootstrap(200)
    )
    area = record["areas"]["random"]["deletion"]["true_label"]
    # the cell is gone after k of 4 with probability k / 4: the mean curve is a straight line
    assert area["low"] < (HIGH + LOW) / 2 < area["high"]
    assert area["high"] - area["low"] < 0.1
    line = [HIGH + (LOW - HIGH) * share for share in measured.fractions]
    assert record["curves"]["random"]["deletion"]["true_label"]["value"] == pytest.approx(line, abs=0.08)


@pytest.mark.parametrize(("attended", "expected"), [(2, "better than chance"), (3, "worse than chance")])
def test_a_mirrored_map_is_found_out(attended, expected):
    """Evidence in the left column, and a map that says right: the mistake that a flip without its grid would make."""
    clips = [clip(num_frames=2) for _ in range(40)]
    model = OneCell(evidence=2, attended=attended)
    measured = measure(model, clips, rankings=("attention", "random", "shuffled"), num_draws=2)
    record = summarize_curves(measured.fractions, measured.values, [str(n) for n in range(40)], Bootstrap(200))
    for chance in ("random", "shuffled"):
        for mode in ("deletion", "insertion"):
            assert verdict(record["gains"][chance]["attention"][mode]["predicted_label"]) == expected


def test_gradient_times_input_finds_the_evidence_and_leaves_no_gradient_behind():
    model = OneCell(evidence=3, attended=0)
    model.train()
    measured = measure(model, [clip()], rankings=("gradient",))
    assert curve(measured, "gradient", "deletion") == pytest.approx([HIGH, LOW, LOW, LOW, LOW])
    assert model.weight.grad is None and model.training


def test_a_blurred_clip_takes_the_place_of_deleted_pixels():
    # frames of one colour stay what they are when blurred: nothing can be deleted from them
    measured = measure(OneCell(evidence=0, attended=0), [clip()], rankings=("attention",), baseline="blur")
    assert curve(measured, "attention", "deletion") == pytest.approx([HIGH] * 5, abs=1e-4)


def test_clips_that_cannot_be_read_are_left_out_and_clips_without_guidance_have_no_value():
    unreadable = clip() | {"labels": IGNORED_LABEL}
    clips = [unreadable, clip(guided_cell=1), unreadable, clip()]
    measured = measure(OneCell(evidence=1, attended=1), clips, batch_size=1, rankings=("guidance",))
    assert (measured.clip_numbers, measured.skipped) == ([1, 3], [0, 2])
    values = measured.values["guidance", "deletion", "true_label"]
    assert values[0] == pytest.approx([HIGH, LOW, LOW, LOW, LOW])
    assert np.isnan(values[1]).all()


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ConfigError, match="none of the 1 clips could be read"):
        measure(OneCell(0, 0), [clip() | {"labels": IGNORED_LABEL}])


def test_a_model_without_attention_is_an_error():
    model = OneCell(0, 0)
    model.forward = lambda pixel_values, frame_mask: {"logits": torch.zeros(len(pixel_values), 2)}
    with pytest.raises(ConfigError, match="gives no 'frame_attention'"):
        measure(model, [clip()])


def test_batches_and_padding_change_nothing(make_model):
    """TSViT on clips of unequal length: each clip's curves are its own, its random orders too."""
    generator = torch.Generator().manual_seed(0)
    clips = []
    for number, num_frames in enumerate((4, 2, 3)):
        guidance = torch.rand(num_frames, 16, generator=generator)
        clips.append(
            {
                "pixel_values": torch.randn(num_frames, 3, 32, 32, generator=generator),
                "labels": number % 2,
                "guidance": guidance / guidance.sum(dim=1, keepdim=True),
                "guidance_status": ["ok"] * num_frames,
            }
        )
    alone = measure(make_model(), clips, batch_size=1, num_steps=4)
    together = measure(make_model(), clips, batch_size=3, num_steps=4)
    assert len(alone.fractions) == 5 and len(alone.values) == 5 * 2 * 3
    for key, values in alone.values.items():
        assert together.values[key] == pytest.approx(values, abs=1e-5), key


def test_ties_are_broken_by_chance_and_not_by_place():
    scores = torch.zeros(500, 4)
    scores[:, 3] = 1.0
    places = token_places(scores, torch.rand(500, 4, generator=torch.Generator().manual_seed(0)))
    assert (places[:, 3] == 0).all()
    assert (places.sort(dim=1).values == torch.arange(4)).all()
    assert places[:, :3].float().mean(dim=0).tolist() == pytest.approx([2, 2, 2], abs=0.15)


def test_steps_go_from_nothing_to_everything():
    assert step_counts(4, 16) == [0, 1, 2, 3, 4]
    assert step_counts(196, 4) == [0, 49, 98, 147, 196]
    for num_tokens, num_steps in [(7, 5), (16, 16), (50, 16), (3, 2)]:
        counts = step_counts(num_tokens, num_steps)
        assert counts[0] == 0 and counts[-1] == num_tokens and len(counts) == min(num_tokens, num_steps) + 1
        assert (np.diff(counts) > 0).all()


def test_pixels_go_with_the_cell_that_holds_their_centre():
    assert pixel_cells((2, 2), (4, 4))[:, 1].tolist() == [0, 0, 2, 2]
    assert pixel_cells((1, 3), (1, 4)).tolist() == [[0, 1, 1, 2]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rankings": ("attention", "colour")}, "rankings"),
        ({"rankings": ()}, "rankings"),
        ({"baseline": "black"}, "baseline"),
        ({"num_steps": 0}, "num_steps"),
        ({"num_draws": 0}, "num_draws"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        FaithfulnessSettings(**changes)


@pytest.fixture
def arguments(tiny_world, make_model, processor, tmp_path):
    """A trained model's folder and the command's arguments for it."""
    for name in ("first", "second"):
        make_model().save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    return SimpleNamespace(
        out=str(tmp_path / "out"),
        models=[f"{name}={tmp_path / name}" for name in ("first", "second")],
        manifest=str(tiny_world.manifest_folder),
        guidance=str(tiny_world.guidance_folder),
        num_steps=4,
        num_draws=1,
        resamples=100,
        device="cpu",
    )


def test_the_command_measures_and_rebuilds_its_pages(arguments, tmp_path, capsys):
    run(FaithfulnessArguments(**vars(arguments)))
    report = json.loads((tmp_path / "out" / "faithfulness.json").read_text())
    models = report["splits"]["test"]["models"]
    assert models["first"]["num_clips"] == 4
    assert set(models["first"]["areas"]) == {"attention", "shuffled", "random", "guidance", "gradient"}
    # the same model under two names: no difference at all
    difference = report["splits"]["test"]["against_first"]["second"]["random"]["attention"]["deletion"]["true_label"]
    assert difference == {"value": 0, "low": 0, "high": 0}
    assert str(tmp_path) not in json.dumps(report)
    page = (tmp_path / "out" / "README.md").read_text()
    assert "attention over shuffled" in page and page in capsys.readouterr().out
    (tmp_path / "out" / "README.md").unlink()
    (tmp_path / "out" / "test.png").unlink()
    run(FaithfulnessArguments(out=arguments.out, report_only=True))
    assert (tmp_path / "out" / "README.md").read_text() == page
    assert (tmp_path / "out" / "test.png").stat().st_size > 10_000


@pytest.mark.parametrize("content", ['{"kind": "something else"}', '{"kind": "vidr'])
def test_what_is_not_a_report_is_not_overwritten(arguments, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faithfulness.json").write_text(content)
    with pytest.raises(ConfigError, match=r"faithfulness\.json"):
        run(FaithfulnessArguments(**vars(arguments)))
    assert (tmp_path / "out" / "faithfulness.json").read_text() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": []}, "expected name=folder"),
        ({"models": ["a=x", "a=y"]}, "different names"),
        ({"models": ["a=nowhere"]}, "nowhere cannot be loaded"),
        ({"manifest": None}, "manifest is not set"),
        ({"splits": ["other"]}, "other"),
        ({"guidance": "nowhere"}, "nowhere"),
        ({"supervised_layers": "7"}, "layer 7"),
        ({"supervised_layers": "last"}, "supervised_layers"),
        ({"max_clips": 0}, "max_clips"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(arguments, changes, message):
    with pytest.raises(VidreasonError, match=message):
        run(FaithfulnessArguments(**{**vars(arguments), **changes}))


def test_a_smaller_number_of_clips_is_drawn_from_all_labels():
    chosen = draw_clips(240, 60, seed=0)
    assert len(set(chosen)) == 60 and chosen == sorted(chosen) == draw_clips(240, 60, seed=0)
    assert {number % 12 for number in chosen} == set(range(12))  # labels that take turns, as in the synthetic actions
    assert chosen != draw_clips(240, 60, seed=1)
    assert draw_clips(3, None, 0) == draw_clips(3, 5, 0) == [0, 1, 2]
