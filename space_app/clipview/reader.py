"""Reading visitors' videos in processes of their own, which have little memory and little time.

A decoder is a large program in C that is given files by strangers. If it crashes, eats memory or does not come to an
end, it is such a process that dies; the request is refused, and the next one gets a new process. What comes back is
JSON and pixels, never pickled: a process that a file has taken over can send nothing that runs here.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path

import numpy as np

from vidreason.errors import VideoError

from .limits import Refused, check_file, refusal_of, too_slow
from .reading import Clip, ClipFacts
from .settings import Drawing, Limits

logger = logging.getLogger(__name__)

_REQUESTS_PER_PROCESS = 200
_START_TIMEOUT_S = 60.0
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
        self._lock = threading.Lock()

    def read(self, path: str | os.PathLike, frame_counts: Sequence[int], rates: Sequence[float] = ()) -> Clip:
        """As `reading.read_clip`, within the limits of memory and time.

        Raises:
            Refused: The video breaks a limit, cannot be read, or takes too long.
        """
        check_file(path, self.limits)  # here too: what is no video does not cost a process
        with self._lock:
            process = self._idle.pop() if self._idle else None
        try:
            process = process or _Process(self.limits, self.drawing)
            clip = process.read(os.fspath(path), list(frame_counts), list(rates), self.limits.read_timeout_s)
        except (EOFError, OSError) as error:  # it crashed, or its memory did not suffice
            logger.warning("a reading process has ended (%s)", type(error).__name__)
            if process is not None:
                process.kill()
            raise refusal_of(VideoError("", "decode_failed"), self.limits) from None
        except Refused as refused:
            self._give_back(process, usable=refused.reason != "timeout")
            raise
        self._give_back(process, usable=True)
        return clip

    def warm_up(self) -> None:
        """Start a process, so that the first visitor does not wait for it."""
        self._give_back(_Process(self.limits, self.drawing), usable=True)

    def close(self) -> None:
        """End all processes that wait for work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def _give_back(self, process: _Process, usable: bool) -> None:
        if not usable or process.num_requests >= _REQUESTS_PER_PROCESS:
            process.kill()
            return
        with self._lock:
            self._idle.append(process)


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
        self.num_requests = 0
        if not self._connection.poll(_START_TIMEOUT_S) or self._connection.recv_bytes() != b"ready":
            self.kill()
            raise EOFError("the reading process did not start")

    def read(self, path: str, frame_counts: list[int], rates: list[float], timeout_s: float) -> Clip:
        """Have a clip read. Raises `Refused`, or EOFError and OSError where the process has ended."""
        self.num_requests += 1
        self._connection.send_bytes(json.dumps([path, frame_counts, rates]).encode())
        if not self._connection.poll(timeout_s):
            raise too_slow()
        answer = json.loads(self._connection.recv_bytes())
        if "refused" in answer:
            raise Refused(*answer["refused"])
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
        )

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
