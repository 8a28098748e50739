"""What was answered of a run, in one SQLite file: it survives being killed at any moment."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answered (
    source TEXT, question_id TEXT, fingerprint TEXT NOT NULL, status TEXT NOT NULL, row TEXT NOT NULL,
    PRIMARY KEY (source, question_id)
) WITHOUT ROWID;
"""


class PredictionJournal:
    """The newest prediction of each question.

    Args:
        path: Path of the SQLite file; made where it is not there.
    """

    def __init__(self, path: str | os.PathLike):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # questions are prepared in one thread, and fail there; answers come in another
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._lock = threading.Lock()
        with self._lock, self._connection:
            self._connection.execute("PRAGMA journal_mode=WAL")  # a kill loses no more than the answer being written
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)

    def __enter__(self) -> PredictionJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._connection.close()

    def row(self, question: Mapping[str, Any], fingerprint: str) -> dict[str, Any] | None:
        """The row of a question, None where it was not asked in this way.

        Args:
            question: Row with `source` and `question_id`.
            fingerprint: Hash of what decides its answer. With another one it is asked anew.
        """
        with self._lock:
            found = self._connection.execute(
                "SELECT fingerprint, row FROM answered WHERE source = ? AND question_id = ?",
                (question["source"], question["question_id"]),
            ).fetchone()
        return json.loads(found[1]) if found and found[0] == fingerprint else None

    def put(self, row: Mapping[str, Any], fingerprint: str) -> None:
        """Keep a row of predictions in place of any that was there of its question."""
        values = (row["source"], row["question_id"], fingerprint, row["status"], json.dumps(row))
        with self._lock, self._connection:
            self._connection.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?, ?, ?)", values)

    def forget(self, statuses: Iterable[str]) -> int:
        """Forget rows that ended so, and return how many there were."""
        with self._lock, self._connection:
            return sum(
                self._connection.execute("DELETE FROM answered WHERE status = ?", (status,)).rowcount
                for status in set(statuses)
            )

    def statuses(self) -> Counter[str]:
        """How many rows have which status."""
        with self._lock:
            found = self._connection.execute("SELECT status, COUNT(*) FROM answered GROUP BY status").fetchall()
        return Counter(dict(found))
