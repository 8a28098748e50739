"""The program that reads visitors' videos: `python -m clipview.reading_process FD SETTINGS`; see `reader`.

It is told paths over a connection, with the descriptor FD, and answers with JSON and pixels until that is closed.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

from vidreason.errors import VideoError
from vidreason.video.decode import forget_frame_tables

from .limits import Refused, refusal_of, too_large, undecodable
from .reading import read_clip
from .settings import Drawing, Limits


def main(descriptor: str, settings: str) -> None:
    """Serve until the parent closes the connection."""
    values = json.loads(settings)
    limits, drawing = Limits(**values["limits"]), Drawing(**values["drawing"])
    restrict(limits.read_memory_bytes)
    connection = Connection(int(descriptor))
    connection.send_bytes(b"ready")
    while True:
        try:
            path, frame_counts, rates = json.loads(connection.recv_bytes())
        except EOFError:
            return
        answer(connection, path, frame_counts, rates, limits, drawing)
        forget_frame_tables()


def restrict(memory_bytes: int) -> None:
    """Give up what reading does not need."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it has nothing to write
    logging.disable(logging.CRITICAL)  # warnings name paths of visitors' files


def answer(
    connection: Connection,
    path: str,
    frame_counts: list[int],
    rates: list[float],
    limits: Limits,
    drawing: Drawing,
) -> None:
    """Read one clip and send it, or why it is refused."""
    try:
        clip = read_clip(path, frame_counts, limits, drawing, rates)
    except Refused as refused:
        return _refuse(connection, refused)
    except VideoError as error:
        return _refuse(connection, refusal_of(error, limits))
    except MemoryError:
        return _refuse(connection, too_large(limits))
    except Exception as error:
        # whatever a file of a stranger brings about ends its request and no other; the operator is told of its kind
        return _refuse(connection, undecodable(), unforeseen=type(error).__name__)
    _send(
        connection,
        {
            "facts": asdict(clip.facts),
            "shape": clip.frames.shape,
            "times_s": clip.times_s.tolist(),
            "shown": clip.shown,
            "shown_fps": clip.shown_fps,
            "sampled": clip.sampled,
            "at_rate": list(clip.at_rate.items()),  # JSON would make texts of the rates if they were keys
            "num_replaced": clip.num_replaced,
            "peak_memory_bytes": peak_memory_bytes(),
        },
    )
    connection.send_bytes(clip.frames.reshape(-1).data)


def peak_memory_bytes() -> int:
    """The most memory that this process has ever had, in bytes."""
    try:
        # not `ru_maxrss`: in Linux it begins with that of the parent, which holds the models
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes in macOS, which has no /proc


def _refuse(connection: Connection, refused: Refused, unforeseen: str | None = None) -> None:
    answer = {"refused": [refused.reason, refused.text], "peak_memory_bytes": peak_memory_bytes()}
    _send(connection, answer | ({"unforeseen": unforeseen} if unforeseen else {}))


def _send(connection: Connection, message: dict) -> None:
    connection.send_bytes(json.dumps(message).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
