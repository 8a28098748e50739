"""Runs of a study in several processes of one machine, each of which makes whole runs on its share of the devices."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from .attempts import FAILED, Outcome, RunnerSettings, attempt, note
from .design import RunPlan
from .execution import DecodedVideos


def run_in_workers(todo: list[RunPlan], settings: RunnerSettings, outcome: Outcome, num_gpus: int = 0) -> Outcome:
    """Make runs in `num_workers` processes. One that dies is replaced, and its run counts as failed.

    Args:
        todo: The runs.
        settings: How and where they are made.
        outcome: What the command has done so far; it is added to, and returned.
        num_gpus: Number of visible GPUs; each worker sees one of them.
    """
    pending = list(todo)
    workers = [_Worker(number, settings, num_gpus) for number in range(min(settings.num_workers, len(todo)))]
    try:
        for worker in workers:
            worker.give(pending, workers)
        while any(worker.run for worker in workers):
            ready = wait([worker.connection for worker in workers if worker.run])
            for worker in [worker for worker in workers if worker.connection in ready]:
                name, state, text = worker.take()
                note(outcome, name, state, text, len(todo))
                worker.give(pending, workers)
    finally:
        for worker in workers:
            worker.stop()
    return outcome


class _Worker:
    """A process, and the run that it is making."""

    def __init__(self, number: int, settings: RunnerSettings, num_gpus: int):
        self.number, self.settings = number, settings
        self.environment = worker_environment(number, settings, num_gpus, dict(os.environ))
        self.run: RunPlan | None = None
        self.seed: int | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(other, self.settings, self.environment))
        self.process.start()
        other.close()  # so that the end of the process is the end of the pipe

    def give(self, pending: list[RunPlan], workers: list[_Worker]) -> None:
        """Hand over the next run: of the seed that this worker has had, else of a seed that no other is at.

        Runs of one seed share their data, so that these are made, and read, by one worker.
        """
        busy = {worker.seed for worker in workers if worker is not self and worker.run}
        self.run = min(pending, key=lambda run: (run.seed != self.seed, run.seed in busy), default=None)
        if self.run is not None:
            pending.remove(self.run)
            self.seed = self.run.seed
            self.connection.send(self.run)

    def take(self) -> tuple[str, str, str]:
        """The name of the run that ended, and what became of it."""
        assert self.run is not None, "only workers with a run are waited for"
        try:
            state, text = self.connection.recv()
            return self.run.name, state, text
        except EOFError:
            self.process.join()
            exit_code = self.process.exitcode
            self._start()
            return self.run.name, FAILED, f"its process ended with exit code {exit_code}"

    def stop(self) -> None:
        """End the process; one that is in the middle of a run, because this command is being broken off, at once."""
        self.connection.close()
        if self.run is not None:
            self.process.terminate()
        self.process.join()


def worker_environment(
    number: int, settings: RunnerSettings, num_gpus: int, environment: dict[str, str]
) -> dict[str, str]:
    """Variables that have to be set before torch is loaded: threads, and the one GPU that the worker sees.

    Args:
        number: Number of the worker, from 0.
        settings: How the study is run.
        num_gpus: Number of visible GPUs.
        environment: Variables of the command, whose choice of GPUs is kept.
    """
    threads = {"OMP_NUM_THREADS": str(settings.num_threads)}
    if not num_gpus:
        return threads
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(device) for device in range(num_gpus)]
    return {**threads, "CUDA_VISIBLE_DEVICES": devices[number % len(devices)]}


def _work(connection: Connection, settings: RunnerSettings, environment: dict[str, str]) -> None:
    """Make what comes through the pipe until it is closed."""
    os.environ.update(environment)
    videos = DecodedVideos()
    num_proc = max(1, (os.cpu_count() or 1) // settings.num_workers)
    while True:
        try:
            run = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        answer = attempt(run, settings, videos, num_proc)
        try:
            connection.send(answer)
        except BrokenPipeError:  # the command was killed; this run was still written
            return
