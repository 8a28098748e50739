"""What detectors have found, kept in one SQLite file, so that no frame is searched for the same class twice.

A detection is found again by the *content* of the video, the frame, the class, and all that decides on the detector's
results: a search that changes two of eight classes detects two classes. Nothing found is kept as well; a failure is
not, so that it is tried again. A process may be killed at any moment: what it found of a video is one transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..errors import DetectionError
from ..files import database_errors
from .detector import LASTING, Found
from .run_lengths import decode_mask, encode_mask

_FORMAT = 1  # in SQLite's own `user_version`, so that another version's file is recognised before it is read
_TABLES = """
CREATE TABLE IF NOT EXISTS asked (ask_id INTEGER PRIMARY KEY, video TEXT NOT NULL, detector TEXT NOT NULL,
    class_text TEXT NOT NULL, UNIQUE (video, detector, class_text));
CREATE TABLE IF NOT EXISTS found (ask_id INTEGER NOT NULL, frame_index INTEGER NOT NULL, status TEXT NOT NULL,
    reason TEXT NOT NULL, boxes BLOB NOT NULL, scores BLOB NOT NULL, masks TEXT NOT NULL,
    PRIMARY KEY (ask_id, frame_index)) WITHOUT ROWID;
"""
_BUSY_S = 60.0
"""Seconds to wait for another process that writes; a video's detections are written in milliseconds."""


class DetectionStore:
    """Detections of any number of detectors, videos and classes. Several processes may use one file.

    Args:
        path: The SQLite file; it and its folder are made where they are not there.

    Raises:
        DetectionError: The file is no store, or of another version.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_S)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise DetectionError(f"{self.path}: format {version} of detections, this version reads {_FORMAT}")
            with self._connection:
                self._connection.executescript(_TABLES)
                self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
        except sqlite3.Error as error:
            raise DetectionError(f"{self.path} cannot be used as a store of detections: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> DetectionStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, video: str, detector: str, class_text: str, frame_indices: Iterable[int]) -> dict[int, Found]:
        """What is known of some frames: frame index -> what was found; frames that are not known are left out.

        Args:
            video: SHA-256 of the video file.
            detector: The detector's `key_text`.
            class_text: The class.
            frame_indices: Native indices of the frames.

        Raises:
            DetectionError: The file is damaged.
        """
        query = """SELECT frame_index, status, reason, boxes, scores, masks FROM found JOIN asked USING (ask_id)
            WHERE video = ? AND detector = ? AND class_text = ?"""
        wanted = set(frame_indices)
        with database_errors(self.path, DetectionError):
            rows = self._connection.execute(query, (video, detector, class_text)).fetchall()
        try:
            return {row[0]: _found(*row[1:]) for row in rows if row[0] in wanted}
        except (ValueError, KeyError, TypeError, DetectionError) as error:
            raise DetectionError(f"{self.path}: a row of class {class_text!r} is damaged: {error}") from error

    def put(self, video: str, detector: str, found: Mapping[str, Mapping[int, Found]]) -> None:
        """Keep what was found in a video, all or nothing. Failures are left out: they are to be tried again.

        Args:
            video: SHA-256 of the video file.
            detector: The detector's `key_text`.
            found: Class -> native frame index -> what was found.

        Raises:
            DetectionError: The file cannot be written, as on a full disk, or is damaged.
        """
        with database_errors(self.path, DetectionError), self._connection:
            for class_text, by_frame in found.items():
                rows = [(index, *_columns(one)) for index, one in by_frame.items() if one.status in LASTING]
                if not rows:
                    continue
                key = (video, detector, class_text)
                self._connection.execute(
                    "INSERT OR IGNORE INTO asked (video, detector, class_text) VALUES (?, ?, ?)", key
                )
                ask_id = self._connection.execute(
                    "SELECT ask_id FROM asked WHERE video = ? AND detector = ? AND class_text = ?", key
                ).fetchone()[0]
                # the first answer stays: of two processes that detect the same, either is right
                self._connection.executemany(
                    "INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?, ?, ?, ?)", [(ask_id, *row) for row in rows]
                )


def _columns(found: Found) -> tuple[str, str, bytes, bytes, str]:
    masks = ""
    if found.masks is not None:
        size = list(found.masks[0].shape) if found.masks else [0, 0]
        masks = json.dumps({"size": size, "counts": [encode_mask(mask) for mask in found.masks]})
    boxes, scores = (np.ascontiguousarray(values, dtype="<f4").tobytes() for values in (found.boxes, found.scores))
    return found.status, found.reason, boxes, scores, masks


def _found(status: str, reason: str, boxes: bytes, scores: bytes, masks: str) -> Found:
    decoded = None
    if masks:
        kept = json.loads(masks)
        decoded = tuple(decode_mask(counts, tuple(kept["size"])) for counts in kept["counts"])
    # copies, because what lies in bytes cannot be written to
    return Found(
        np.frombuffer(boxes, dtype="<f4").reshape(-1, 4).astype(np.float32),
        np.frombuffer(scores, dtype="<f4").astype(np.float32),
        decoded,
        status,
        reason,
    )
