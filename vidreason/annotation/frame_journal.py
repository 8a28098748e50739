"""Which request each frame became, on disk, so that a run that goes on need not decode and encode what it had asked.

The answers lie with their requests (`vidreason.llm`); the journal leads from a frame to the request. One SQLite file
beside them; a video's frames appear in it all at once or not at all, so that it survives being killed at any moment.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS videos (
    split TEXT NOT NULL, video_id TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (split, video_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frames (
    split TEXT NOT NULL, video_id TEXT NOT NULL, position INTEGER NOT NULL,
    frame_index INTEGER NOT NULL, timestamp_s REAL NOT NULL,
    frame_height INTEGER NOT NULL, frame_width INTEGER NOT NULL,
    sent_height INTEGER NOT NULL, sent_width INTEGER NOT NULL, request_hashes TEXT NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (split, video_id, position)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class JournalFrame:
    """A frame that was chosen, and what became of it.

    Args:
        frame_index: native index, in order of presentation from 0.
        timestamp_s: presentation time.
        frame_height: pixels as displayed.
        frame_width: likewise.
        sent_height: pixels of the picture in the request; 0 where there is none.
        sent_width: likewise.
        request_hashes: of its requests, one for each sample that is asked for; none where the frame cannot be read.
        error: why the frame cannot be read, or empty.
    """

    frame_index: int
    timestamp_s: float
    frame_height: int
    frame_width: int
    sent_height: int = 0
    sent_width: int = 0
    request_hashes: tuple[str, ...] = ()
    error: str = ""


class FrameJournal:
    """The frames of a run, video by video.

    Args:
        path: of the SQLite file; made where it is not there.
    """

    def __init__(self, path: str | os.PathLike):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # questions are made in a thread of their own, the table is written from the main one
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._lock = threading.Lock()
        with self._lock, self._connection:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> FrameJournal:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def frames(self, split: str, video_id: str, fingerprint: str) -> list[JournalFrame] | None:
        """The frames of a video in the order in which they were chosen, or None where it was not done in this way.

        Args:
            split: of the video.
            video_id: of the video.
            fingerprint: of everything that its requests depend on.
        """
        with self._lock:
            known = self._connection.execute(
                "SELECT fingerprint FROM videos WHERE split = ? AND video_id = ?", (split, video_id)
            ).fetchone()
            if known != (fingerprint,):
                return None
            rows = self._connection.execute(
                "SELECT frame_index, timestamp_s, frame_height, frame_width, sent_height, sent_width, request_hashes, "
                "error FROM frames WHERE split = ? AND video_id = ? ORDER BY position",
                (split, video_id),
            ).fetchall()
        return [JournalFrame(*row[:6], tuple(row[6].split()), row[7]) for row in rows]

    def put(self, split: str, video_id: str, fingerprint: str, frames: Sequence[JournalFrame]) -> None:
        """Write a video's frames in place of any that were there."""
        rows = [
            (split, video_id, position, *astuple(frame)[:6], " ".join(frame.request_hashes), frame.error)
            for position, frame in enumerate(frames)
        ]
        marks = ", ".join("?" * 11)
        with self._lock, self._connection:
            self._connection.execute("DELETE FROM frames WHERE split = ? AND video_id = ?", (split, video_id))
            self._connection.executemany(f"INSERT INTO frames VALUES ({marks})", rows)
            self._connection.execute("INSERT OR REPLACE INTO videos VALUES (?, ?, ?)", (split, video_id, fingerprint))


class FirstUses:
    """Tells the first use of each request from later ones, without holding them in memory.

    Frames that look alike share one request. It was paid for once, so one row of a table may state its cost.
    """

    def __init__(self):
        self._connection = sqlite3.connect("")  # a temporary file of SQLite's own, gone when it is closed
        self._connection.execute("CREATE TABLE seen (request_hash TEXT PRIMARY KEY) WITHOUT ROWID")

    def first(self, request_hash: str) -> bool:
        """Whether this hash is given for the first time."""
        cursor = self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (request_hash,))
        return cursor.rowcount == 1

    def close(self) -> None:
        """Forget all."""
        self._connection.close()
