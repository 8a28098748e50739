"""Reading visitors' videos in processes of their own, which have little memory and little time.

A decoder is a large program in C that is given files by strangers. If it crashes, eats memory or does not come to an
end, it is such a process that dies; the request is refused, and the next one gets a new process. What comes back is
JSON and pixels, never pickled: a process that a file has taken over can send nothing that runs here.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path

import numpy as np

from .limits import Refused, check_file, too_slow, undecodable
from .reading import Clip, ClipFacts
from .settings import MIB, Drawing, Limits

logger = logging.getLogger(__name__)

_REQUESTS_PER_PROCESS = 200
_START_TIMEOUT_S = 60.0
_MAX_ANSWER_BYTES = 4 * MIB  # facts and lists of at most some thousand numbers; pixels come apart
_PASSED_VARIABLES = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")  # no secrets


class ClipReader:
    """Reads clips in processes of their own, one for each request that is worked on at the same time.

    Args:
        limits: Limits of videos, of memory and of time.
        drawing: Size and rate of what is shown.
    """

    def __init__(self, limits: Limits, drawing: Drawing):
        self.limits, self.drawing = limits, drawing
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._lock = threading.Lock()

    def read(
        self,
        path: str | os.PathLike,
        frame_counts: Sequence[int],
        rates: Sequence[float] = (),
        timeout_s: float = math.inf,
    ) -> Clip:
        """As `reading.read_clip`, within the limits of memory and time.

        Args:
            path: File to read.
            frame_counts: Numbers of frames that models take of the whole video.
            rates: Frames per second that models take.
            timeout_s: Seconds that the request has left; the limit for reading holds besides.

        Raises:
            Refused: The video breaks a limit, cannot be read, or takes too long.
        """
        check_file(path, self.limits)  # here too: what is no video does not cost a process
        process = self._take()
        timeout_s = max(0.0, min(timeout_s, self.limits.read_timeout_s))
        try:
            return process.read(os.fspath(path), list(frame_counts), list(rates), timeout_s)
        except (EOFError, OSError) as error:  # it crashed, or its memory did not suffice
            logger.warning("a reading process has ended (%s)", type(error).__name__)
            process.end()
            raise undecodable() from None
        finally:
            self._give_back(process)

    def warm_up(self) -> None:
        """Start a process, so that the first visitor does not wait for it."""
        self._give_back(_Process(self.limits, self.drawing))

    def close(self) -> None:
        """End all processes, also those that are reading: nobody waits for them any more."""
        with self._lock:
            idle, self._idle, busy = self._idle, [], list(self._busy)
        for process in idle:
            process.kill()
        for process in busy:
            process.end()  # its reader closes it

    def _take(self) -> _Process:
        """A process that waits for work, or a new one."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        try:
            process = process or _Process(self.limits, self.drawing)
        except (EOFError, OSError) as error:
            logger.error("no reading process can be started (%s)", type(error).__name__)
            raise undecodable() from None
        with self._lock:
            self._busy.add(process)
        return process

    def _give_back(self, process: _Process) -> None:
        worn = process.num_requests >= _REQUESTS_PER_PROCESS
        # the allocator keeps what a large clip took: only an end gives it back
        spent = process.ended.is_set() or worn or process.peak_memory_bytes > self.limits.kept_memory_bytes
        with self._lock:
            self._busy.discard(process)
            if not spent:
                self._idle.append(process)
        if spent:
            process.kill()


class _Process:
    """One reading process, seen from outside.

    A program of its own, not a fork or a spawn of multiprocessing's: it shares no memory with the models and does not
    import what its parent's main module does.
    """

    def __init__(self, limits: Limits, drawing: Drawing):
        self._connection, theirs = Pipe()
        environment = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
        settings = json.dumps({"limits": asdict(limits), "drawing": asdict(drawing)})
        command = [sys.executable, "-m", f"{__package__}.reading_process", str(theirs.fileno()), settings]
        self._process = subprocess.Popen(
            command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        theirs.close()
        self.num_requests, self.peak_memory_bytes = 0, 0
        self.ended = threading.Event()
        self._max_shape = (limits.max_frames, drawing.max_side_px, drawing.max_side_px, 3)
        if not self._connection.poll(_START_TIMEOUT_S) or self._connection.recv_bytes() != b"ready":
            self.kill()
            raise EOFError("the reading process did not start")

    def read(self, path: str, frame_counts: list[int], rates: list[float], timeout_s: float) -> Clip:
        """Have a clip read. Raises `Refused`, or EOFError and OSError where the process has ended.

        When the time is over the process is ended, whatever it is at: it could also stop in the middle of an answer.
        """
        self.num_requests += 1
        timer = threading.Timer(timeout_s, self.end)
        timer.start()
        try:
            return self._exchange(json.dumps([path, frame_counts, rates]).encode())
        except (EOFError, OSError):
            if self.ended.is_set():
                raise too_slow() from None
            raise
        except (ValueError, KeyError, TypeError) as error:  # a process that a file has taken over may answer anything
            raise EOFError(f"the answer makes no sense ({type(error).__name__})") from None
        finally:
            timer.cancel()
            timer.join()  # so that it is known whether it has ended the process

    def _exchange(self, request: bytes) -> Clip:
        self._connection.send_bytes(request)
        answer = json.loads(self._connection.recv_bytes(_MAX_ANSWER_BYTES))
        self.peak_memory_bytes = answer["peak_memory_bytes"]
        if "unforeseen" in answer:
            logger.error("a video brought about an error that was not foreseen (%s)", answer["unforeseen"])
        if "refused" in answer:
            raise Refused(*answer["refused"])
        if any(size > most for size, most in zip(answer["shape"], self._max_shape, strict=True)):
            raise ValueError("more frames or larger ones than there can be")
        frames = np.empty(answer["shape"], dtype=np.uint8)
        self._connection.recv_bytes_into(frames.reshape(-1))
        return Clip(
            facts=ClipFacts(**answer["facts"]),
            frames=frames,
            times_s=np.asarray(answer["times_s"]),
            shown=answer["shown"],
            shown_fps=answer["shown_fps"],
            sampled={int(count): positions for count, positions in answer["sampled"].items()},
            at_rate=dict(answer["at_rate"]),
            num_replaced=answer["num_replaced"],
        )

    def end(self) -> None:
        """End the process, whatever it is doing; whoever waits for its answer is told that the time is over."""
        self.ended.set()
        self._process.kill()

    def kill(self) -> None:
        """End the process and close the connection to it. For its owner alone."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
