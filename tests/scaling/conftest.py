"""Starts runs in several processes, as the config files of accelerate say."""

import os
import subprocess

import pytest

pytest.register_assert_rewrite("scaling_checks")


@pytest.fixture(scope="session")
def launch():
    """Runs commands at the same time to their end, and fails with what they wrote where one of them fails."""

    def run(*commands: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        started = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for command in commands
        ]
        try:
            for process in started:
                output, _ = process.communicate(timeout=600)
                assert process.returncode == 0, output[-8000:]
        finally:
            for process in started:
                process.kill()  # one that waits for another that failed; nothing where it has ended

    return run
