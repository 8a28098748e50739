"""The loss of a Video-LLM's training: two means, exact however a step is cut up, of whatever is trained."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from fixtures.color_questions import make_question, write_color_questions
from fixtures.tiny_video_models import FAMILIES, without_a_weight
from fixtures.train_runs import launch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText

from vidreason.errors import ConfigError, TrainingError
from vidreason.videoqa.training.config import VideoLanguageModelArguments
from vidreason.videoqa.training.data import QuestionClips
from vidreason.videoqa.training.losses import IGNORED_TOKEN
from vidreason.videoqa.training.model import load_model, load_weights
from vidreason.videoqa.training.shared_video import check_attention
from vidreason.videoqa.training.task import VideoQATask
from vidreason.videoqa.training.trainer import VideoQATrainer

WHOLE = {"max_steps": 1, "learning_rate": 1.0, "per_device_train_batch_size": 8}
"""One step over all eight clips whose change of the weights is the gradient."""


def gradient(start, end):
    """What one step of SGD at a rate of 1 took from the weights, as one vector."""
    before, after = load_file(start / "model.safetensors"), load_file(end / "model.safetensors")
    assert before.keys() == after.keys()
    return torch.cat([(before[name] - after[name]).flatten().double() for name in sorted(before)])


def logged(result, key):
    return [entry[key] for entry in result.log_history if key in entry]


def difference(one, other):
    return ((one - other).norm() / other.norm()).item()


@pytest.fixture
def prepared(parse, tmp_path):
    """Makes the task's trainer, and a batch of all its training clips."""

    def make(*family, **changes):
        task = VideoQATask(*parse(*family, **changes))
        ready = task.prepare()
        trainer = task.make_trainer(ready, [])
        return trainer, ready.data.collator([ready.data.train[index] for index in range(len(ready.data.train))])

    return make


def part_gradients(trainer, batch, pooled=False):
    """Gradient of each part of the loss of a batch, or that of one cross-entropy over all tokens."""
    trainer.model.train()
    outputs = trainer.model(**trainer.model_inputs(batch))
    parts = trainer.loss_parts(outputs, batch, {})
    if pooled:
        targets = batch["labels"][:, batch["label_positions"] + 1]
        parts = {"pooled": cross_entropy(outputs.logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED_TOKEN)}
    weights = [one for one in trainer.model.parameters() if one.requires_grad]
    return {
        name: torch.cat(
            [
                torch.zeros_like(weight).flatten() if found is None else found.flatten()
                for weight, found in zip(
                    weights, torch.autograd.grad(part, weights, retain_graph=True, allow_unused=True), strict=True
                )
            ]
        )
        for name, part in parts.items()
    }


def test_a_longer_rationale_leaves_the_answers_gradient_as_it_is(prepared, tmp_path):
    """T17. Pooled, as one cross-entropy has it, the same change moves the gradient by half of its length."""

    def double(row):
        return {**row, "rationale": f"{row['rationale']} {row['rationale']}".strip()}

    longer = write_color_questions(tmp_path / "longer", double)
    once, twice = prepared(), prepared(questions=longer)
    tokens = [trainer.count(batch) for trainer, batch in (once, twice)]
    assert tokens[1]["rationale"] > 1.9 * tokens[0]["rationale"] > 0 and tokens[0]["answer"] == tokens[1]["answer"]
    ours, theirs = part_gradients(*twice), part_gradients(*once)
    assert difference(ours["answer"], theirs["answer"]) < 1e-5
    assert difference(ours["rationale"], theirs["rationale"]) > 0.05  # or nothing has changed at all
    assert (
        difference(part_gradients(*twice, pooled=True)["pooled"], part_gradients(*once, pooled=True)["pooled"]) > 0.05
    )
    # what one token of an answer weighs in the whole is its share of three, and not of a hundred
    assert ours["answer"].norm() > 0.2 * ours["rationale"].norm()


def test_without_weight_rationales_are_not_there(train, tiny_folder, tmp_path):
    """T17 and T22: a weight of 0, a table without rationales and answers alone are one training."""

    def without(row):
        return {**row, "rationale": ""}

    bare = write_color_questions(tmp_path / "bare", without)
    runs = {
        "weightless": train(rationale_weight=0, output_dir=tmp_path / "weightless", **WHOLE),
        "bare": train(questions=bare, output_dir=tmp_path / "bare_run", **WHOLE),
        "method": train(method="video_qa_answers", output_dir=tmp_path / "method", **WHOLE),
        "both": train(output_dir=tmp_path / "both", **WHOLE),
    }
    folders = {"weightless": "weightless", "bare": "bare_run", "method": "method", "both": "both"}
    found = {name: gradient(tiny_folder(), tmp_path / folder) for name, folder in folders.items()}
    assert torch.equal(found["weightless"], found["bare"]) and torch.equal(found["method"], found["bare"])
    assert difference(found["both"], found["bare"]) > 0.1
    assert logged(runs["bare"], "loss") == logged(runs["weightless"], "loss") == logged(runs["bare"], "loss_answer")
    # absent, and neither 0/0 nor a 0 that looks measured
    assert not logged(runs["weightless"], "loss_rationale") and not logged(runs["bare"], "loss_rationale")


def test_a_step_is_the_same_however_it_is_cut_up(train, flags, tiny_folder, tmp_path, repository):
    """T18: whole, in micro-batches of one, several questions in an example, and in two processes: to 1e-6.

    Answers have 4 to 6 tokens and rationales 18 to 60, and of some clips there is none: means of means would differ.
    """
    tested = {"rationale_weight": 0.5, "test_splits": ["test"], "evaluate_answers": True}
    whole = train(output_dir=tmp_path / "whole", **tested, **WHOLE)
    cut = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    single = train(output_dir=tmp_path / "single", rationale_weight=0.5, **{**WHOLE, **cut})
    shared = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 2}
    arguments = flags(output_dir=tmp_path / "two", **tested, **{**WHOLE, **shared})
    finished = launch(repository, *arguments, processes=2)
    assert finished.returncode == 0, finished.stderr[-3000:]
    expected = gradient(tiny_folder(), tmp_path / "whole")
    for name in ("single", "two"):
        assert difference(gradient(tiny_folder(), tmp_path / name), expected) < 1e-6, name
    for part in ("loss", "loss_answer", "loss_rationale"):
        assert logged(single, part) == pytest.approx(logged(whole, part), rel=1e-5)
    # three questions do not divide into two processes with two each, and are three all the same
    log = json.loads((tmp_path / "two" / "trainer_state.json").read_text())["log_history"]
    measured = next(entry for entry in log if "test_loss" in entry)
    assert measured["test_num_questions"] == 3
    for name, value in whole.metrics["test"].items():
        assert measured[f"test_{name}"] == pytest.approx(value, rel=1e-4), name
    assert logged(whole, "loss")[0] == pytest.approx(
        logged(whole, "loss_answer")[0] + 0.5 * logged(whole, "loss_rationale")[0], rel=1e-5
    )


def test_several_questions_of_a_clip_decode_it_once(train, tiny_folder, tmp_path, monkeypatch):
    from vidreason.videoqa.answering import asking as module

    more = [make_question(0, "train", question_id=f"more{n}", question=f"And {n}?", answer="no") for n in range(3)]
    table = write_color_questions(tmp_path / "questions", train=more)
    decoded = []
    show_video = module.show_video

    def count(path, *args, **kwargs):
        decoded.append(path.stem)
        return show_video(path, *args, **kwargs)

    monkeypatch.setattr(module, "show_video", count)
    settings = {**WHOLE, "questions": table, "per_device_train_batch_size": 16}
    apart = train(output_dir=tmp_path / "apart", **settings)
    assert len(decoded) > 9  # shuffled, of 11 questions about 8 clips, and the first when it is looked at
    decoded.clear()
    together = train(output_dir=tmp_path / "together", questions_per_clip=8, **settings)
    assert sorted(set(decoded)) == sorted(f"clip{number}" for number in range(8)) and len(decoded) <= 9
    found, expected = (gradient(tiny_folder(), tmp_path / name) for name in ("together", "apart"))
    assert difference(found, expected) < 1e-6
    assert logged(together, "loss") == pytest.approx(logged(apart, "loss"), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_that_share_a_video_have_the_loss_that_they_have_apart(prepared, tmp_path, family):
    """Each clip is one row for its answers and one for its rationales; gradients are those of a row for each."""
    if family == "smolvlm":
        pytest.importorskip("num2words")
    more = [make_question(0, "train", question_id=f"more{n}", question=f"And {n}?", answer="no") for n in range(3)]
    again = make_question(1, "train", question_id="again", answer="blue")  # the very same prompt as another
    table = write_color_questions(tmp_path / "questions", train=[*more, again])
    trainer, apart = prepared(family=family, questions=table, questions_per_clip=8)
    expected = part_gradients(trainer, apart)
    assert apart["labels"].shape[0] == 12 + 10
    for attention in ("sdpa", "eager"):
        changes = {"questions_per_clip": 8, "share_video": True, "attn_implementation": attention}
        trainer, together = prepared(family=family, questions=table, **changes)
        assert together["labels"].shape[0] == 8 + 6  # of two clips there is no rationale
        said = trainer.count(together)
        assert said == trainer.count(apart) and said["answer"] > 0 and said["rationale"] > 0
        for part, found in part_gradients(trainer, together).items():
            assert expected[part].norm() > 0 and difference(found, expected[part]) < 1e-4, (attention, part)


def test_questions_share_a_video_only_where_it_is_exact(prepared, tmp_path):
    with pytest.raises(ConfigError, match=r"does not take: set one of .*share_video to false"):
        check_attention(SimpleNamespace(config=FlashConfig()))
    two = write_color_questions(tmp_path / "two", train=[make_question(0, "train", question_id="b", question="So?")])
    early = tmp_path / "early.txt"
    early.write_text("id: early\n\n[system]\n{{ question }}\n\n[user]\n{{ question }}\n")
    with pytest.raises(ConfigError, match="says something of a question before the video"):
        prepared(questions=two, questions_per_clip=8, share_video=True, answer_prompt=early)


class FlashConfig:
    """Of a model whose attention is computed by a kernel with a mask of its own."""

    _attn_implementation = "flash_attention_2"

    def get_text_config(self):
        return self


def test_what_is_too_long_or_cannot_be_read_is_no_part_of_the_loss(train, tiny_folder, color_world, tmp_path):
    """T20: training on a table with such rows is training on the table without them, and they are counted."""

    def lengthen(row):
        return {**row, "rationale": "so " * 200} if row["question_id"] in ("0", "3") else row

    def shorten(row):
        return {**row, "rationale": ""} if row["question_id"] in ("0", "3") else row

    gone = [make_question(20, "train", video_id="gone"), make_question(21, "train", status="failed")]
    settings = {**WHOLE, "max_length": 700, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    long = write_color_questions(tmp_path / "long", lengthen, train=gone)
    long_run = train(questions=long, output_dir=tmp_path / "long_run", **settings)
    train(questions=write_color_questions(tmp_path / "short", shorten), output_dir=tmp_path / "short_run", **settings)
    assert logged(long_run, "dropped_truncated") == [2]
    found, expected = (gradient(tiny_folder(), tmp_path / name) for name in ("long_run", "short_run"))
    assert torch.equal(found, expected)
    rows = (tmp_path / "long_run" / "dropped.jsonl").read_text().splitlines()
    assert len(rows) == 2 and all('"status": "truncated"' in row and "max_length is 700" in row for row in rows)
    assert not (tmp_path / "short_run" / "dropped.jsonl").read_text()
    card = (tmp_path / "long_run" / "README.md").read_text()
    assert "| train | 8 | failed 1, unknown_video 1 |" in card and "by status:** truncated 2" in card


@pytest.mark.parametrize(
    "changes", [{"gradient_checkpointing": True}, {"bf16": True}, {"lora_rank": 4, "gradient_checkpointing": True}]
)
def test_training_goes_the_same_way_under(train, tmp_path, changes):
    plain = {name: value for name, value in changes.items() if name.startswith("lora")}
    settings = {"num_train_epochs": 2}
    expected = train(output_dir=tmp_path / "plain", **settings, **plain)
    found = train(output_dir=tmp_path / "changed", **settings, **changes)
    assert logged(found, "loss") == pytest.approx(logged(expected, "loss"), rel=0.01)
    assert logged(found, "loss")[-1] < logged(found, "loss")[0]


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 4, "lora_dropout": 0.2}])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(train, tmp_path, changes):
    settings = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch", **changes}
    whole = train(output_dir=tmp_path / "whole", **settings)
    checkpoint = tmp_path / "whole" / "checkpoint-3"  # within the second epoch, of two steps each
    again = train(output_dir=tmp_path / "again", resume_from_checkpoint=checkpoint, **settings)
    name = "adapter_model.safetensors" if changes else "model.safetensors"
    weights, expected = (load_file(tmp_path / folder / name) for folder in ("again", "whole"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    assert logged(again, "loss") == logged(whole, "loss")


def test_lora_is_the_same_after_saving_loading_and_merging(parse, tiny_folder, tmp_path):
    """T23, with a module that is trained in full beside it."""
    start, folder = tiny_folder(), tmp_path / "run"
    settings = {"lora_rank": 4, "lora_trained": ["multi_modal_projector"], "merge_lora": True, "num_train_epochs": 4}
    task = VideoQATask(*parse(**settings))
    ready = task.prepare()
    trainer = task.make_trainer(ready, [])
    trainer.train()
    trainer.save_model()
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "processor_config.json", "merged"} <= names
    assert "model.safetensors" not in names  # LoRA alone
    batch = ready.data.collator([ready.data.train[index] for index in range(3)])

    def logits(model):
        with torch.no_grad():
            return model.eval()(**trainer.model_inputs(batch)).logits

    before = logits(AutoModelForImageTextToText.from_pretrained(start))
    loaded = logits(AutoModelForImageTextToText.from_pretrained(folder))
    merged = logits(AutoModelForImageTextToText.from_pretrained(folder / "merged"))
    assert (loaded - before).abs().max() > 0.1
    torch.testing.assert_close(loaded, logits(trainer.model), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(merged, loaded, rtol=1e-4, atol=1e-4)
    changed = load_file(folder / "merged" / "model.safetensors")
    original = load_file(start / "model.safetensors")
    assert changed.keys() == original.keys()
    moved = {name for name, value in original.items() if not torch.equal(value, changed[name])}
    assert all("language_model" in name or "multi_modal_projector" in name for name in moved)
    assert any("q_proj" in name for name in moved) and any("multi_modal_projector" in name for name in moved)


def test_frozen_modules_stay_as_they_are(train, tiny_folder, tmp_path):
    train(output_dir=tmp_path / "run", freeze=["vision_tower", "language_model.embed_tokens"], **WHOLE)
    before, after = load_file(tiny_folder() / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    frozen = {name for name in before if "vision_tower" in name or "embed_tokens" in name}
    assert frozen and frozen <= same
    assert any("multi_modal_projector" in name for name in before.keys() - same)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "all but vision_tower, language_model.embed_tokens" in card


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"freeze": ["vision"]},
            "which LlavaOnevisionForConditionalGeneration has not; it has lm_head, model",
        ),
        ({"freeze": ["model", "lm_head"]}, "leaves nothing to be trained"),
        ({"freeze": ["lm_head"], "lora_rank": 4}, "LoRA freezes all weights but its own"),
        ({"lora_rank": 4, "lora_modules": ["query"]}, "lora_modules names 'query', of which there is no linear layer"),
        ({"lora_rank": 4, "lora_trained": ["projector"]}, "lora_trained names 'projector'"),
        ({"lora_alpha": 4}, "lora_alpha without lora_rank"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"model_config": {"text_config": "no"}}, "cannot be loaded"),
        ({"model_name_or_path": "nowhere"}, "model_name_or_path nowhere cannot be loaded"),
    ],
)
def test_weights_that_there_are_not_are_named(tiny_folder, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_model(VideoLanguageModelArguments(**{"model_name_or_path": str(tiny_folder()), **changes}))


def test_weights_that_a_checkpoint_lacks_are_not_drawn_at_random(tiny_folder, tmp_path):
    """Neither where training begins nor where it goes on."""
    model = load_model(VideoLanguageModelArguments(model_name_or_path=str(tiny_folder("qwen3_vl"))))
    folder = without_a_weight(tiny_folder("qwen3_vl"), tmp_path / "lacking")
    message = r"lacking lacks 1 weights, such as model.*norm.weight"
    with pytest.raises(ConfigError, match=message):
        load_model(VideoLanguageModelArguments(model_name_or_path=str(folder)))
    with pytest.raises(TrainingError, match=f"checkpoint .*{message}"):
        load_weights(model, str(folder))


def test_only_batches_of_conversations_and_their_settings_are_taken(prepared, parse):
    trainer, _ = prepared()
    with pytest.raises(ConfigError, match="wants a ConversationCollator"):
        VideoQATrainer(model=trainer.model, args=trainer.args, train_dataset=trainer.train_dataset)
    assert isinstance(trainer.train_dataset, QuestionClips)
