"""Whole runs on packed clips: by index and streamed, in one process and two, and what a mistake looks like."""

import json

import pytest
from fixtures.train_runs import launch, run
from huggingface_hub import ModelCard

from vidreason.clips.packing import PackRequest, PackSettings, pack_clips
from vidreason.errors import ConfigError


@pytest.fixture(scope="module")
def store(tiny_world, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("packed_run") / "store"
    guidance = dict.fromkeys(("train", "test"), str(tiny_world.guidance_folder))
    settings = PackSettings(frames_per_clip=0, quality=95, subsampling="4:4:4")
    pack_clips(
        PackRequest(str(tiny_world.manifest_folder), None, ("train", "test"), guidance, settings=settings), folder
    )
    return str(folder)


@pytest.fixture
def recipe(store, write_recipe) -> str:
    return write_recipe(
        packed_clips=store, validation_split="test", per_device_eval_batch_size=2, eval_strategy="epoch"
    )


def test_packed_clips_train_as_videos_do(recipe, tiny_world, tmp_path):
    videos = ["--packed_clips", "", "--manifest", str(tiny_world.manifest_folder)]
    videos += ["--guidance", str(tiny_world.guidance_folder), "--output_dir", str(tmp_path / "from_videos")]
    expected, result = run(recipe, *videos), run(recipe)
    for name in ("loss", "attention_in_region"):  # up to JPEG
        assert result.metrics["test"][name] == pytest.approx(expected.metrics["test"][name], abs=2e-3)
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert "guidance" in card.content
    assert "tests" in card.content  # who made the guidance
    assert "videos with guidance" in card.content


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_stream_trains_for_whole_epochs(recipe, workers):
    result = run(recipe, "--streaming", "true", "--shuffle_buffer", "4", "--dataloader_num_workers", workers)
    steps = [entry["step"] for entry in result.log_history if "loss_classification" in entry]
    assert steps == [1, 2, 3, 4]
    evaluations = [entry["eval_num_clips"] for entry in result.log_history if "eval_num_clips" in entry]
    assert evaluations == [4, 4]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_stream_resumes_within_an_epoch(recipe, tmp_path, workers):
    """Its order and the draws of its clips are those of the epoch that was cut short."""
    arguments = ["--streaming", "true", "--shuffle_buffer", "4", "--dataloader_num_workers", workers]
    arguments += ["--dataloader_persistent_workers", str(workers != "0"), "--per_device_train_batch_size", "2"]
    arguments += ["--save_strategy", "steps", "--save_steps", "1", "--sampling", "jittered"]
    whole = run(recipe, *arguments)
    resumed = run(
        *(recipe, *arguments, "--output_dir", str(tmp_path / "resumed")),
        *("--resume_from_checkpoint", str(tmp_path / "model" / "checkpoint-6")),  # of 4 steps an epoch
    )
    losses = [[entry["loss"] for entry in one.log_history if "loss" in entry] for one in (whole, resumed)]
    assert len(losses[0]) == 8
    assert losses[1] == losses[0]
    assert resumed.metrics == whole.metrics


def test_the_same_clips_are_evaluated_by_index_and_streamed(recipe):
    """Without training (a learning rate of 0) both speak of the same weights."""
    still = ["--learning_rate", "0", "--num_train_epochs", "1"]
    by_index, streamed = run(recipe, *still), run(recipe, *still, "--streaming", "true")
    assert streamed.metrics["test"] == pytest.approx(by_index.metrics["test"])


def test_two_processes_stream_and_count_every_clip_once(recipe, repository, tmp_path):
    arguments = ["--streaming", "true", "--per_device_train_batch_size", "2", "--per_device_eval_batch_size", "1"]
    done = launch(repository, recipe, *arguments, "--dataloader_num_workers", "1", processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    history = json.loads((tmp_path / "model" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "loss_classification" in entry] == [1, 2, 3, 4]
    assert [entry["eval_num_clips"] for entry in history if "eval_num_clips" in entry] == [4, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--packed_clips", ""], "name the folder of a manifest of videos, or packed_clips"),
        (["--manifest", "somewhere"], "both manifest and packed_clips"),
        (["--packed_clips", "", "--manifest", "somewhere", "--streaming", "true"], "set packed_clips"),
        (["--streaming", "true", "--cache_videos", "true"], "streaming keeps no clips in memory"),
        (["--shuffle_buffer", "0"], "shuffle_buffer is 0"),
        (["--packed_clips", "no/such"], "packed clips 'no/such' are neither a folder nor"),
        (["--train_split", "training"], "no split 'training'"),
    ],
)
def test_mistakes_are_named(recipe, arguments, message):
    with pytest.raises(ConfigError, match=message):
        run(recipe, *arguments)


def test_a_store_without_guidance_cannot_supervise(recipe, tiny_world, tmp_path):
    settings = PackSettings(frames_per_clip=0)
    pack_clips(
        PackRequest(str(tiny_world.manifest_folder), None, ("train", "test"), settings=settings), tmp_path / "bare"
    )
    with pytest.raises(ConfigError, match="no guidance is given"):
        run(recipe, "--packed_clips", str(tmp_path / "bare"))
    table = ["--guidance", str(tiny_world.guidance_folder), "--num_train_epochs", "1"]
    assert run(recipe, "--packed_clips", str(tmp_path / "bare"), *table).metrics["test"]["attention_in_region"] > 0
