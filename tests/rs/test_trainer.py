"""The trainer: what a step is, what is logged, and what evaluation gives."""

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, TrainingArguments

from vidreason.clips.data import GuidedClipCollator
from vidreason.errors import ConfigError, TrainingError
from vidreason.rs.config import RSConfig
from vidreason.rs.evaluation import IGNORED, ClipMetrics, ClipOutcome, guided_region
from vidreason.rs.trainer import RSTrainer


@pytest.fixture
def train(make_model, make_clips, make_arguments):
    """Runs a short training and returns the trainer."""

    def run(model_changes=None, clips_changes=None, resume=None, **changes):
        trainer = RSTrainer(
            model=make_model(**(model_changes or {})),
            args=make_arguments(**changes),
            train_dataset=make_clips(**(clips_changes or {})),
            eval_dataset=make_clips("test"),
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run


def weights_of(trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def logged(trainer, key) -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_accumulation_follows_the_trajectory_of_the_whole_batch(train, micro_batch):
    # clip 1 has no guidance and the others unequal numbers of guided frames: a mean of means would differ
    settings = {
        "optim": "sgd",
        "learning_rate": 0.01,
        "num_train_epochs": 3,
        "spatial_weight": 2.0,
        "temporal_weight": 0.5,
    }
    model = {"initializer_range": 0.4}  # so that the three views differ by more than rounding
    whole = train(model, per_device_train_batch_size=8, **settings)
    parts = train(
        model,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=8 // micro_batch,
        **settings,
    )
    assert whole.state.global_step == parts.state.global_step == 3
    assert min(logged(whole, "loss_temporal")) > 1e-3
    for key in ("loss", "loss_classification", "loss_spatial", "loss_temporal"):
        np.testing.assert_allclose(logged(parts, key), logged(whole, key), rtol=2e-4)
    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=1e-4, atol=1e-6)


def test_the_trajectory_test_can_fail(train):
    settings = {"optim": "sgd", "learning_rate": 0.05, "num_train_epochs": 3}
    supervised = train(per_device_train_batch_size=8, spatial_weight=2.0, **settings)
    plain = train(per_device_train_batch_size=8, spatial_weight=0.0, **settings)
    assert (weights_of(supervised) - weights_of(plain)).abs().max() > 1e-4


def test_parts_are_logged_unweighted_and_sum_to_the_loss(train):
    trainer = train(spatial_weight=3.0, temporal_weight=0.5)
    parts = [np.asarray(logged(trainer, f"loss_{name}")) for name in ("classification", "spatial", "temporal")]
    expected = parts[0] + 3.0 * parts[1] + 0.5 * parts[2]
    np.testing.assert_allclose(logged(trainer, "loss"), expected, rtol=1e-4)


def test_weights_of_zero_compute_and_log_nothing_more(train):
    trainer = train(spatial_weight=0.0, temporal_weight=0.0)
    assert logged(trainer, "loss_classification")
    assert not logged(trainer, "loss_spatial")
    assert not logged(trainer, "loss_temporal")


def test_weights_warm_up(train):
    trainer = train(spatial_weight=3.0, temporal_weight=0.0, weight_warmup_ratio=1.0, num_train_epochs=2)
    losses, classification = np.asarray(logged(trainer, "loss")), np.asarray(logged(trainer, "loss_classification"))
    spatial = np.asarray(logged(trainer, "loss_spatial"))
    factors = np.arange(4) / 4  # steps 0 to 3 of 4
    np.testing.assert_allclose(losses, classification + 3.0 * factors * spatial, rtol=1e-4)


def test_supervision_moves_attention_into_the_region(train):
    settings = {"num_train_epochs": 40, "learning_rate": 3e-3, "logging_steps": 40, "temporal_weight": 0.0}
    supervised, plain = train(spatial_weight=1.0, **settings), train(spatial_weight=0.0, **settings)
    with_it, without = supervised.evaluate(), plain.evaluate()
    assert with_it["eval_attention_in_region"] > without["eval_attention_in_region"] + 0.2
    assert with_it["eval_loss_spatial"] < without["eval_loss_spatial"]


@pytest.mark.parametrize("layers", [(-1,), (0,), "all"])
def test_any_layer_can_be_supervised(train, layers):
    trainer = train({"supervised_layers": layers}, num_train_epochs=15, learning_rate=3e-3, logging_steps=5)
    spatial = logged(trainer, "loss_spatial")
    assert spatial[-1] < 0.9 * spatial[0]


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"bf16": True}])
def test_supervision_reaches_the_weights_under(train, changes):
    reference = train(spatial_weight=5.0, num_train_epochs=3, learning_rate=3e-3)
    trainer = train(spatial_weight=5.0, num_train_epochs=3, learning_rate=3e-3, **changes)
    np.testing.assert_allclose(logged(trainer, "loss_spatial"), logged(reference, "loss_spatial"), rtol=0.02)
    assert logged(trainer, "loss_spatial")[-1] < logged(trainer, "loss_spatial")[0]


@pytest.mark.parametrize(
    ("loading", "steps"),
    [
        # from within an epoch, from its last step but one, and from its end
        ({}, (1, 6, 7, 8)),
        # steps of two micro-batches, and a last one of each epoch that is cut short
        ({"gradient_accumulation_steps": 3}, (1, 3)),
        ({"dataloader_num_workers": 2}, (5,)),
        ({"dataloader_num_workers": 2, "dataloader_persistent_workers": True}, (5, 8)),
    ],
)
def test_resuming_anywhere_follows_the_same_trajectory(train, make_clips, tmp_path, loading, steps):
    settings = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "save_strategy": "steps",
        "save_steps": 1,
        "eval_strategy": "epoch",  # whose loader draws from the same random numbers as dropout
        "evidence_swap": 0.5,
        "clips_changes": {"augment": True, "sampling": "jittered"},
        **loading,
    }
    model = {"drop_path_rate": 0.2, "hidden_dropout_prob": 0.1}
    whole = train(model, output_dir=str(tmp_path / "whole"), **settings)
    for step in steps:
        checkpoint = tmp_path / "whole" / f"checkpoint-{step}"
        resumed = train(model, output_dir=str(tmp_path / f"from_{step}"), resume=str(checkpoint), **settings)
        assert logged(resumed, "loss") == logged(whole, "loss"), step
        assert torch.equal(weights_of(resumed), weights_of(whole)), step
    # were the draws of every epoch the same, resuming would be no test of them
    clips = make_clips(augment=True, sampling="jittered")
    first = clips[0]["pixel_values"]
    clips.set_epoch(1)
    assert not torch.equal(clips[0]["pixel_values"], first)


def test_evaluation_reports_what_the_issue_of_trust_needs(train):
    metrics = train().evaluate()
    for name in ("top1", "top5", "loss", "loss_classification", "loss_spatial", "loss_temporal"):
        assert 0 <= metrics[f"eval_{name}"] < 20
    assert metrics["eval_num_clips"] == 4
    assert metrics["eval_skipped_videos"] == 0
    assert 0 <= metrics["eval_attention_in_region"] <= 1
    assert 0 <= metrics["eval_pointing_accuracy"] <= 1


def test_evaluation_does_not_depend_on_the_batch_size(make_model, make_clips, make_arguments):
    def evaluate(batch_size):
        args = make_arguments(per_device_eval_batch_size=batch_size)
        metrics = RSTrainer(model=make_model(), args=args, eval_dataset=make_clips("test")).evaluate()
        return {k: v for k, v in metrics.items() if "runtime" not in k and "second" not in k and "time" not in k}

    assert evaluate(3) == pytest.approx(evaluate(4), rel=1e-5)


def test_evaluation_keeps_no_maps(make_model, make_clips, make_arguments):
    trainer = RSTrainer(model=make_model(), args=make_arguments(), eval_dataset=make_clips("test"))
    prediction = trainer.predict(make_clips("test"))
    floats = [p for p in prediction.predictions if p.dtype.kind == "f"]
    assert max(p.size for p in floats) <= 4 * 4  # logits, or one number per frame; never one per token


def test_evaluation_without_guidance_reports_accuracy_alone(make_model, make_clips, make_arguments):
    trainer = RSTrainer(model=make_model(), args=make_arguments(), eval_dataset=make_clips("test", guided=False))
    metrics = trainer.evaluate()
    assert "eval_top1" in metrics
    assert "eval_pointing_accuracy" not in metrics


def test_a_loss_that_is_not_finite_ends_the_run_with_a_name(make_model, make_clips, make_arguments):
    model = make_model()
    with torch.no_grad():
        next(iter(model.classifier.parameters())).fill_(float("nan"))
    trainer = RSTrainer(model=model, args=make_arguments(), train_dataset=make_clips())
    with pytest.raises(TrainingError, match=r"the loss is nan at step 1 .*classification nan.*learning_rate"):
        trainer.train()


def test_a_step_reads_one_value_however_many_micro_batches_it_has(host_reads, make_model, make_clips, make_arguments):
    views = {"evidence_swap": 0.4, "evidence_blank": 0.3, "evidence_drop": 0.3}
    args = make_arguments(spatial_weight=2.0, temporal_weight=0.5, gradient_accumulation_steps=4, **views)
    clips = make_clips(augment=True)
    trainer = RSTrainer(model=make_model(), args=args, train_dataset=clips)
    host_reads.step_of(trainer, [[clips[2 * number], clips[2 * number + 1]] for number in range(4)])
    assert host_reads.reads == ["_local_scalar_dense"], "the loss of the step, which has to be finite"


def test_other_arguments_are_refused(make_model, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(ConfigError, match="takes an RSConfig"):
        RSTrainer(model=make_model(), args=arguments)


def test_a_model_that_attends_over_other_tokens_is_named(make_model, make_clips, make_arguments):
    trainer = RSTrainer(model=make_model(grid_size=2), args=make_arguments(), train_dataset=make_clips())
    with pytest.raises(ConfigError, match="attends over 4 tokens and guidance was prepared for 16"):
        trainer.train()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spatial_weight": -1.0}, "spatial_weight is -1"),
        ({"temporal_weight": float("nan")}, "temporal_weight is nan"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"weight_warmup_ratio": 2.0}, "weight_warmup_ratio is 2"),
        ({"supervised_layers": "last"}, "supervised_layers is 'last'"),
        ({"remove_unused_columns": True}, "remove_unused_columns must be False"),
    ],
)
def test_settings_that_make_no_sense_are_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        RSConfig(output_dir=str(tmp_path), **changes)


def test_layers_are_read_from_text():
    assert RSConfig(output_dir="x", supervised_layers="0,-1").supervised_layer_indices == (0, -1)
    assert RSConfig(output_dir="x", supervised_layers="all").supervised_layer_indices == "all"
    assert RSConfig(output_dir="x").supervised_layer_indices is None


def test_the_guided_region_is_what_was_marked():
    guidance = torch.zeros(2, 16)
    guidance[0, [3, 7]] = 0.5
    assert guided_region(guidance).nonzero().tolist() == [[0, 3], [0, 7]]
    full = torch.full((16,), 1 / 16)
    assert guided_region(full).all()


def test_metrics_of_known_outcomes(make_arguments):
    outcome = ClipOutcome(
        logits=torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]),
        temporal=torch.tensor([0.1, 0.3, 9.0]),
        spatial=torch.tensor([[1.0, IGNORED], [2.0, 3.0], [50.0, 50.0]]),
        mass=torch.tensor([[0.5, IGNORED], [0.25, 0.75], [1.0, 1.0]]),
        pointed=torch.tensor([[0, 1], [1, 2], [0, 0]]),
        region=torch.tensor([[[1, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 1]], [[1, 1, 1], [1, 1, 1]]]),
        rectangle=torch.zeros(3, 4),
    )
    labels = np.asarray([0, 2, -100])  # the third clip could not be read
    predictions = tuple(part.numpy() for part in outcome.as_tuple())
    metrics = ClipMetrics(make_arguments(spatial_weight=2.0, temporal_weight=1.0))(EvalPrediction(predictions, labels))
    assert metrics["top1"] == 0.5
    assert metrics["num_clips"] == 2
    assert metrics["skipped_videos"] == 1
    expected = -torch.log_softmax(outcome.logits[:2], -1)[[0, 1], [0, 2]].mean().item()
    assert metrics["loss_classification"] == pytest.approx(expected)
    assert metrics["loss_temporal"] == pytest.approx(0.2)
    assert metrics["loss_spatial"] == pytest.approx(2.0)
    assert metrics["attention_in_region"] == pytest.approx(0.5)
    assert metrics["pointing_accuracy"] == pytest.approx(2 / 3)  # of three guided frames, the second is missed
    assert metrics["loss"] == pytest.approx(expected + 2.0 * 2.0 + 0.2)


def test_a_batch_without_guidance_fields_is_named(make_model, make_arguments):
    trainer = RSTrainer(model=make_model(), args=make_arguments())
    with pytest.raises(ConfigError, match=r"no \['frame_mask', 'guidance', 'guidance_mask'\]"):
        trainer.prediction_step(trainer.model, {"pixel_values": torch.zeros(1, 4, 3, 32, 32), "labels": None}, False)


def test_a_model_that_does_not_show_where_it_looks_is_named(make_model, make_clips, make_arguments):
    class Blind(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = make_model()

        def forward(self, pixel_values, frame_mask):
            return {"logits": self.model(pixel_values, frame_mask).logits}

    trainer = RSTrainer(model=Blind(), args=make_arguments(), train_dataset=make_clips())
    with pytest.raises(ConfigError, match="gives no 'frame_attention'"):
        trainer.train()


def test_the_collator_is_the_default(make_model, make_arguments):
    assert isinstance(RSTrainer(model=make_model(), args=make_arguments()).data_collator, GuidedClipCollator)


def test_workers_that_stay_read_the_split_that_is_asked_for(make_model, make_clips, make_arguments):
    arguments = make_arguments(dataloader_num_workers=1, dataloader_persistent_workers=True)
    trainer = RSTrainer(model=make_model(), args=arguments, eval_dataset=make_clips("test"))
    counts = [trainer.evaluate(clips)["eval_num_clips"] for clips in (None, make_clips("train"), make_clips("test"))]
    assert counts == [4, 8, 4]
