"""Whole runs of train.py, in this process and in others."""

import os
import subprocess
import sys
from pathlib import Path

from vidreason.rs.arguments import parse_arguments
from vidreason.rs.run import RunResult, run_training


def run(*arguments: str) -> RunResult:
    """Train in this process, as `train.py` does with these arguments."""
    return run_training(*parse_arguments(list(arguments)))


def launch(repository: Path, *arguments: str, processes: int | None = None) -> subprocess.CompletedProcess:
    """Start train.py in a process of its own, through `accelerate launch` where a number of processes is given."""
    command = [sys.executable]
    if processes:
        command += ["-m", "accelerate.commands.launch", "--num_processes", str(processes)]
        command += ["--multi_gpu"] if processes > 1 else ["--cpu"]  # torchrun; the recipe says that devices are CPUs
        command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*command, str(repository / "train.py"), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
