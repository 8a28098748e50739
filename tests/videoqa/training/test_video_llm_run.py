"""Whole runs of train.py on questions about videos: models of every kind, what they learn, what they leave behind."""

import json
import re
import shutil

import pytest
import torch
from fixtures.color_questions import make_question, write_color_questions
from fixtures.tiny_video_models import FAMILIES
from transformers import AutoModelForImageTextToText, AutoProcessor

from vidreason.commands import find_system
from vidreason.errors import ConfigError
from vidreason.rs import run as rs_run
from vidreason.videoqa.training import run as videoqa_run

LEARNING = {
    "num_train_epochs": 30,
    "optim": "adamw_torch",
    "learning_rate": 3e-3,
    "max_grad_norm": 1.0,
    "logging_steps": 20,
    "cache_clips": True,
    "evaluate_answers": True,
    "test_splits": ["train", "test"],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_any_model_that_takes_video_trains_and_loads(train, tmp_path, family):
    if family == "smolvlm":
        pytest.importorskip("num2words")
    result = train(family, test_splits=["test"], evaluate_answers=True, validation_split="test", eval_strategy="epoch")
    measured = result.metrics["test"]
    assert next(iter(measured)) == "accuracy" and measured["num_questions"] == 3 and measured["not_asked"] == 0
    assert measured["loss"] == pytest.approx(measured["loss_answer"] + measured["loss_rationale"])
    trained = [entry for entry in result.log_history if "loss" in entry]
    assert trained[1]["loss"] < trained[0]["loss"]
    during = next(entry for entry in result.log_history if "eval_loss" in entry)
    assert during["eval_loss"] == pytest.approx(measured["loss"])
    AutoProcessor.from_pretrained(tmp_path / "run")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "run")
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_it_learns_what_is_seen_and_a_blind_one_cannot(train, tmp_path):
    """The same training with the video, after which all answers are right, and without it."""
    seeing = train(output_dir=tmp_path / "seeing", **LEARNING)
    blind = train(output_dir=tmp_path / "blind", show_video=False, **LEARNING)
    assert seeing.metrics["train"]["accuracy"] == seeing.metrics["test"]["accuracy"] == 1
    assert blind.metrics["train"]["accuracy"] <= 3 / 8 and blind.metrics["test"]["accuracy"] <= 1 / 3
    assert seeing.metrics["test"]["loss_answer"] < 0.3 * blind.metrics["test"]["loss_answer"]
    card = (tmp_path / "blind" / "README.md").read_text()
    assert "no video: it was trained to answer blindly" in card


def test_the_card_states_the_facts(train, tmp_path):
    train(test_splits=["test"], license="apache-2.0", rationale_weight=0.5)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "pipeline_tag: video-text-to-text" in card and "license: apache-2.0" in card
    for fact in (
        "LlavaOnevisionForConditionalGeneration that answers",
        "all weights (",
        "2 frames of a video, the longer side at most 32 pixels",
        "| train | 8 | none |",
        "**Source:** colors@1",
        "rationale that was trained on:** 6",
        "+ 0.5 * mean over the tokens of the rationales",
        "`videoqa_short_answer_1`",
        "`videoqa_rationale_1`",
        "Rationales, per token (nats)",
    ):
        assert fact in card, fact
    assert "{{" not in card and "None" not in card
    # evaluation without answers measures no accuracy
    assert "Answered right" not in card


def test_videos_that_cannot_be_read_are_rows_with_a_reason(train, color_world, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(color_world / "videos", videos)
    (videos / "clip1.mp4").write_bytes(b"no video")
    (videos / "clip2.mp4").unlink()
    (videos / "clip8.mp4").write_bytes((videos / "clip8.mp4").read_bytes()[:50])
    late = make_question(3, "train", question_id="late", start_s=90.0, end_s=95.0)
    table = write_color_questions(tmp_path / "questions", train=[late])
    # one clip in each batch: what is left of some is nothing at all
    settings = {"per_device_train_batch_size": 1, "num_train_epochs": 1, "gradient_accumulation_steps": 1}
    result = train(video_root=videos, questions=table, test_splits=["test"], evaluate_answers=True, **settings)
    assert set(result.skipped["train"]) == {"clip1", "clip2", "clip3"}
    rows = [json.loads(line) for line in (tmp_path / "run" / "dropped.jsonl").read_text().splitlines()]
    found = {(row["question_id"], row["part"], row["status"]) for row in rows}
    assert found == {
        *{("1", "answer", "failed"), ("1", "rationale", "failed"), ("2", "answer", "failed")},
        *{("late", "answer", "failed"), ("late", "rationale", "failed")},
    }
    assert sum(entry.get("dropped_failed", 0) for entry in result.log_history) == 5
    # in evaluation, what could not be asked stays in the denominator
    assert result.metrics["test"]["num_questions"] == 3 and result.metrics["test"]["not_asked"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": "nowhere"}, "nowhere"),
        ({"train_split": "half"}, "no table of questions has a split 'half'"),
        ({"max_length": 40}, "max_length is 40"),
        ({"validation_split": "test", "test_splits": ["dev"]}, "has a split 'dev'"),
        ({"eval_strategy": "epoch"}, "validation_split is not set"),
        ({"rationale_weight": -1}, "rationale_weight is -1.0"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"questions_per_clip": 0}, "questions_per_clip is 0"),
        ({"share_video": True}, "share_video with questions_per_clip 1"),
        ({"remove_unused_columns": True}, "remove_unused_columns must be False"),
        ({"answer_prompt": "essay"}, "'essay' is no prompt"),
        ({"lora_rank": 4, "lora_modules": ["query"]}, "lora_modules names 'query'"),
    ],
)
def test_what_cannot_be_trained_is_named_before_training(train, changes, message):
    with pytest.raises(Exception, match=re.escape(message)) as caught:
        train(**changes)
    assert type(caught.value).__module__ == "vidreason.errors"


def test_a_table_of_which_nothing_can_be_used_is_named(train, color_world, tmp_path):
    twice = write_color_questions(tmp_path / "twice")
    with pytest.raises(ConfigError, match="question '0' of 'colors@1' is there twice"):
        train(questions=[color_world / "questions", twice])
    gone = write_color_questions(tmp_path / "gone", lambda row: {**row, "video_id": "gone"})
    with pytest.raises(ConfigError, match=re.escape("none of its 8 questions can be used (8 unknown_video)")):
        train(questions=gone)


def test_a_task_or_a_method_names_the_system(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: video_qa\n")
    assert find_system([str(recipe)]) is videoqa_run
    assert find_system(["--task", "video_qa"]) is videoqa_run
    assert find_system(["--method", "video_qa_answers"]) is videoqa_run
    assert find_system([str(recipe), "--task", "classification"]) is rs_run
    assert find_system(["--task", "segmentation"]) is rs_run


def test_the_recipe_of_a_large_model_trains_a_small_one(repository, flags, tmp_path):
    """`recipes/videoqa_lora.yaml` as it is, but for the model, its data and what wants a GPU."""
    recipe = str(repository / "recipes" / "videoqa_lora.yaml")
    model_args, data_args, args = videoqa_run.parse_arguments([recipe, "--use_cpu", "true", "--bf16", "false"])
    assert model_args.model_name_or_path == "Qwen/Qwen2.5-VL-3B-Instruct" and data_args.num_frames == 8
    assert args.rationale_weight == 1.0 and model_args.lora_rank == 16
    own = dict(zip(flags("qwen2_5_vl")[::2], flags("qwen2_5_vl")[1::2], strict=True))
    kept = ("--model_name_or_path", "--manifest", "--questions", "--output_dir", "--disable_tqdm")
    changed = [text for name in kept for text in (name, own[name])]
    small = ["--validation_split", "test", "--test_splits", "test", "--max_length", "4096"]
    arguments = [recipe, *changed, *small, "--use_cpu", "true", "--bf16", "false", "--dataloader_num_workers", "0"]
    result = videoqa_run.run_training(*videoqa_run.parse_arguments(arguments))
    assert result.metrics["test"]["num_questions"] == 3
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()
    assert "LoRA of rank 16 on all linear layers of the language model" in (tmp_path / "run" / "README.md").read_text()
