"""Two processes take the steps of one and report what it reports.

They are started as on two machines of one process each, except that both are this machine.
"""

import socket
from pathlib import Path

import pytest
from scaling_checks import accelerate_command, assert_same_training, read, training_log
from scaling_runs import EVALUATED, run


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Path:
    """The runs of one process, made here."""
    folder = tmp_path_factory.mktemp("one_process")
    run(folder, ["steps", "videomae", "evidence_views", "evaluation", "second_look", "bf16", "segmentation"])
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, launch) -> Path:
    """The runs of two processes."""
    folder = tmp_path_factory.mktemp("two_processes")
    scenarios = (
        "steps",
        "videomae",
        "evidence_views",
        "accumulation",
        "bf16",
        "resumed",
        "segmentation",
        "evaluation",
        "second_look",
    )
    arguments = (str(folder), "--scenarios", *scenarios)
    flags = ("--mixed_precision", "no", "--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port()))
    ranks = [(*flags, "--machine_rank", rank) for rank in ("0", "1")]
    launch(*(accelerate_command("ddp_2_nodes.yaml", *arguments, flags=rank) for rank in ranks))
    return folder


def test_the_clips_make_the_cases_that_are_to_be_tested(two_processes):
    first, second = (read(two_processes / "steps", f"seen_{rank}.json")[:4] for rank in (0, 1))
    assert read(two_processes / "steps")["processes"] == 2
    guided = [(one["guided_frames"], other["guided_frames"]) for one, other in zip(first, second, strict=True)]
    assert guided[0][0] > guided[0][1] > 0  # uneven
    assert guided[1][0] > 0 == guided[1][1]  # one process has none
    assert guided[3] == (0, 0)
    assert second[2] == {"guided_frames": 0, "readable_clips": 0}
    assert first[2]["readable_clips"] == 4


@pytest.mark.parametrize("scenario", ["steps", "videomae", "evidence_views"])
def test_two_processes_take_the_steps_of_one(two_processes, one_process, scenario):
    assert_same_training(two_processes / scenario, one_process / scenario)


def test_evidence_views_change_the_steps(one_process):
    whole, shown = (training_log(one_process / name) for name in ("steps", "evidence_views"))
    assert whole[0]["loss_classification"] != shown[0]["loss_classification"]


def test_the_steps_are_not_all_the_same(one_process):
    log = training_log(one_process / "steps")
    assert [entry["loss_spatial"] > 0 for entry in log] == [True, True, True, False]
    assert min(entry["loss_temporal"] for entry in log) > 1e-3


def test_accumulation_in_two_processes_takes_the_steps_of_one(two_processes, one_process):
    assert_same_training(two_processes / "accumulation", one_process / "steps")


def test_half_precision_in_two_processes_comes_close(two_processes, one_process):
    assert_same_training(two_processes / "bf16", one_process / "bf16", rel=2e-2, atol=2e-3)
    exact, half = training_log(two_processes / "steps"), training_log(two_processes / "bf16")
    assert [entry["loss"] for entry in half] != [entry["loss"] for entry in exact]


def test_two_processes_resume_to_the_same_weights(two_processes):
    whole, again = two_processes / "resumed" / "whole", two_processes / "resumed" / "again"
    assert len(training_log(again)) == 8
    assert_same_training(again, whole, rel=0, atol=0)
    assert read(whole)["epoch"] == 1, "the clips are drawn anew in every epoch"


def test_two_processes_take_the_steps_of_one_over_windows_of_long_videos(two_processes, one_process):
    assert_same_training(two_processes / "segmentation", one_process / "segmentation")
    logs = [training_log(folder / "segmentation") for folder in (two_processes, one_process)]
    for ours, expected in zip(*logs, strict=True):
        assert ours["loss_smoothing"] == pytest.approx(expected["loss_smoothing"], rel=1e-4)


def test_two_processes_put_the_same_videos_together(two_processes, one_process):
    ours, expected = (read(folder / "segmentation")["metrics"] for folder in (two_processes, one_process))
    assert expected["eval_num_videos"] == 2
    assert expected["eval_num_frames"] == 33 + 12 - 4
    assert ours == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["", ", streamed"])
@pytest.mark.parametrize("split", EVALUATED)
def test_no_clip_counts_twice_in_evaluation(two_processes, one_process, split, kind):
    """Processes are given the same number of clips, so the last batches hold clips that were there before."""
    name = f"{split}{kind}"
    ours, expected = (read(folder / "evaluation")["metrics"][name] for folder in (two_processes, one_process))
    assert ours == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert ours["eval_num_clips"] + ours["eval_skipped_videos"] == len(EVALUATED[split])


@pytest.mark.parametrize("split", EVALUATED)
def test_a_second_look_is_at_the_same_clips_in_two_processes(two_processes, one_process, split):
    ours, expected = (read(folder / "second_look")["metrics"][split] for folder in (two_processes, one_process))
    assert ours == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert ours["eval_loss_classification"] != ours["eval_loss_classification_one_look"]


def test_evaluation_has_guided_frames_and_skipped_videos(one_process):
    metrics = read(one_process / "evaluation")["metrics"]
    assert metrics["an odd one left"]["eval_skipped_videos"] == 4
    assert metrics["an odd one left"]["eval_guided_frames"] > 0
