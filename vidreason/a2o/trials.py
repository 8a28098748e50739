"""The trials of a search: kept in one SQLite file while it runs, and written as a table when it ends.

A process may be killed at any moment. A trial is written down when its proposal is there, a training when it begins
and when it ends, each in a transaction of its own. What a killed process left begun counts at the time that was set
aside for it, as nobody knows how long it ran (the store of requests does the same with money).
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Features, Value

from ..errors import ConfigError, VidreasonError
from ..files import database_errors, write_card, write_split
from ..reporting.tables import text_table
from .agent import Answer, Entry
from .environment import FinalOutcome, Outcome
from .proposal import FAILED, OK, Proposal

SCHEMA_VERSION = "1.0"
SPLIT = "trials"

_NAMED = [{"name": Value("string"), "accuracy": Value("float64")}]

FEATURES = Features(
    {
        "trial": Value("int32"),  # from 1
        "agent": Value("string"),
        "status": Value("string"),  # one of `proposal.STATUSES`
        "reason": Value("string"),  # of a status that is not ok
        "proposal": Value("string"),  # the answer, word for word
        "class_texts": [Value("string")],  # as parsed, in order
        "dropped": [{"entry": Value("string"), "reason": Value("string")}],  # what the set lacks of the answer
        "num_proposed": Value("int32"),  # classes that could be looked for, before the list was cut
        "prompt_id": Value("string"),
        "prompt_sha256": Value("string"),
        "request_hash": Value("string"),  # key in the store of requests
        "model": Value("string"),
        "prompt_tokens": Value("int64"),
        "completion_tokens": Value("int64"),
        "cost_usd": Value("float64"),
        "seeds": [Value("int64")],  # of the proxy trainings
        "proxy_accuracies": [Value("float64")],  # on the validation split, by seed; NaN where there is none
        "proxy_accuracy": Value("float64"),  # mean of the finite ones; NaN where there is none
        "class_accuracy": _NAMED,  # of the first seed, by action
        "seconds": Value("float64"),  # of all proxy trainings
        "gpu_seconds": Value("float64"),
        "detections_made": Value("int64"),  # pairs of frame and class
        "detections_reused": Value("int64"),
        "initial_weights_sha256": Value("string"),  # of the first seed
        "is_chosen": Value("bool"),
        "validation_accuracy": Value("float64"),  # of the training in full; NaN but for the chosen set
        "test_accuracy": _NAMED,  # of the training in full, by split; empty but for the chosen set
        "full_seconds": Value("float64"),  # of the training in full; 0 but for the chosen set
        "schema_version": Value("string"),
    }
)

PROXY, FULL = "proxy", "full"

_FORMAT = 1  # in SQLite's own `user_version`, so that another version's file is recognised before it is read
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS proposals (trial INTEGER PRIMARY KEY, answer TEXT NOT NULL, proposal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trainings (
    training_id INTEGER PRIMARY KEY, kind TEXT NOT NULL, trial INTEGER NOT NULL, seed INTEGER NOT NULL,
    reserved_s REAL NOT NULL, outcome TEXT, error TEXT NOT NULL DEFAULT '', seconds REAL
);
"""
_BUSY_S = 60.0


@dataclass(frozen=True)
class Training:
    """A proxy training that has ended.

    Args:
        seed: Its seed.
        outcome: What it brought; None where it came to nothing.
        error: Why it came to nothing, or empty.
    """

    seed: int
    outcome: Outcome | None
    error: str = ""

    @property
    def accuracy(self) -> float:
        """Accuracy on the validation split; NaN where there is none."""
        return math.nan if self.outcome is None else self.outcome.accuracy


@dataclass(frozen=True)
class Trial:
    """A proposal and what became of it.

    Args:
        number: Number of the trial, from 1.
        answer: What the agent said.
        proposal: How that was read.
        trainings: Proxy trainings that have ended, in order.
    """

    number: int
    answer: Answer
    proposal: Proposal
    trainings: tuple[Training, ...] = ()

    @property
    def class_texts(self) -> tuple[str, ...]:
        """The set."""
        return self.proposal.class_texts

    @property
    def status(self) -> str:
        """One of `proposal.STATUSES`, the training counted in."""
        is_failed = self.proposal.status == OK and self.trainings and not math.isfinite(self.trainings[0].accuracy)
        return FAILED if is_failed else self.proposal.status

    @property
    def reason(self) -> str:
        """Why the status is not `ok`."""
        if self.status == FAILED and self.proposal.status == OK:
            return self.trainings[0].error or "the accuracy is not a number"
        return self.proposal.reason

    @property
    def reward(self) -> float:
        """Accuracy of the first training, which all trials have with the same seed; NaN where there is none."""
        return self.trainings[0].accuracy if self.trainings else math.nan

    def mean_accuracy(self, seeds: Iterable[int] | None = None) -> float:
        """Mean of the finite accuracies of some seeds; NaN where there is none.

        Args:
            seeds: Seeds that count; None takes all.
        """
        counted = None if seeds is None else set(seeds)
        values = [t.accuracy for t in self.trainings if counted is None or t.seed in counted]
        finite = [value for value in values if math.isfinite(value)]
        return statistics.fmean(finite) if finite else math.nan

    def entry(self) -> Entry:
        """What agents are told of it: never a test accuracy, which a trial does not hold."""
        outcome = self.trainings[0].outcome if self.trainings and self.status == OK else None
        return Entry(
            self.number,
            self.class_texts,
            self.status,
            self.reason,
            self.proposal.dropped,
            # of the seed that all sets share, and not the mean: a seed that is lucky is so for every set, and a mean
            # over others would set the trial that the noise was measured with above or below all the rest
            self.reward if self.status == OK and math.isfinite(self.reward) else None,
            dict(outcome.class_accuracy) if outcome else {},
        )


class TrialStore:
    """The trials of one search in an SQLite file.

    Args:
        path: The file; it and its folder are made where they are missing.

    Raises:
        ConfigError: The file is no store of trials, or of another version; from any method, it cannot be read or
            written any more, as on a full disk.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=_BUSY_S)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise ConfigError(f"{self.path}: trials of format {version}, this version reads {_FORMAT}")
            with self._connection:
                self._connection.executescript(_TABLES)
                self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
        except sqlite3.Error as error:
            raise ConfigError(f"{self.path} cannot be used as a store of trials: {error}") from error

    def __enter__(self) -> TrialStore:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def settle_key(self, key: Mapping[str, Any]) -> None:
        """Note what decides on the search's results, or check it against what was noted.

        Raises:
            ConfigError: The search that is there is of other settings; the message names those that differ.
        """
        kept = self.fact("key")
        if kept is None:
            self.set_fact("key", json.dumps(key, sort_keys=True))
            return
        earlier, now = json.loads(kept), json.loads(json.dumps(key))
        differing = sorted(name for name in {*earlier, *now} if earlier.get(name) != now.get(name))
        if differing:
            name = differing[0]
            raise ConfigError(
                f"{self.path}: the search that is here differs in {', '.join(differing)} ({name} was "
                f"{_shorten(earlier.get(name))}, now {_shorten(now.get(name))}); take another folder"
            )

    def fact(self, name: str) -> str | None:
        """A text that was noted under a name, or None."""
        found = self._read("SELECT value FROM facts WHERE name = ?", [name])
        return found[0][0] if found else None

    def set_fact(self, name: str, value: str) -> None:
        """Note a text under a name; one that is there is replaced."""
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, value])

    def add(self, number: int, answer: Answer, proposal: Proposal) -> None:
        """Write down a trial's proposal."""
        values = [number, _dump(asdict(answer)), _dump(asdict(proposal))]
        self._write("INSERT INTO proposals VALUES (?, ?, ?)", values)

    def begin(self, kind: str, trial: int, seed: int, reserved_s: float) -> int:
        """Write down that a training is about to begin. Returns its number, for `end`.

        Args:
            kind: `PROXY` or `FULL`.
            trial: Number of the trial.
            seed: Seed of the training.
            reserved_s: Time in seconds that is set aside for it.
        """
        statement = "INSERT INTO trainings (kind, trial, seed, reserved_s) VALUES (?, ?, ?, ?)"
        number = self._write(statement, [kind, trial, seed, reserved_s]).lastrowid
        assert number is not None  # None only where no row was inserted
        return number

    def end(self, training_id: int, outcome: Outcome | FinalOutcome | None, seconds: float, error: str = "") -> None:
        """Write down how a training ended.

        Args:
            training_id: What `begin` gave.
            outcome: What it brought; None where it came to nothing.
            seconds: Time in seconds that it took.
            error: Why it came to nothing.
        """
        statement = "UPDATE trainings SET outcome = ?, error = ?, seconds = ? WHERE training_id = ?"
        dumped = None if outcome is None else _dump(asdict(outcome))
        self._write(statement, [dumped, error, seconds, training_id])

    def cut(self, training_id: int, seconds: float) -> None:
        """Write down for how long a training ran that was stopped; it is made again, and its time stays spent.

        Args:
            training_id: What `begin` gave.
            seconds: Time in seconds that it took.
        """
        self._write("UPDATE trainings SET reserved_s = ? WHERE training_id = ?", [seconds, training_id])

    def trials(self) -> list[Trial]:
        """All trials, in order, with the trainings that have ended."""
        trainings: dict[int, list[Training]] = {}
        query = """SELECT trial, seed, outcome, error FROM trainings
            WHERE kind = ? AND seconds IS NOT NULL ORDER BY training_id"""
        for trial, seed, outcome, error in self._read(query, [PROXY]):
            read = None if outcome is None else Outcome(**json.loads(outcome))
            trainings.setdefault(trial, []).append(Training(seed, read, error))
        rows = self._read("SELECT trial, answer, proposal FROM proposals ORDER BY trial")
        return [
            Trial(number, Answer(**json.loads(answer)), _read_proposal(proposal), tuple(trainings.get(number, ())))
            for number, answer, proposal in rows
        ]

    def final(self, trial: int) -> FinalOutcome | None:
        """What the training in full of a trial's set brought; None where there was none."""
        query = "SELECT outcome FROM trainings WHERE kind = ? AND trial = ? AND outcome IS NOT NULL"
        found = self._read(query, [FULL, trial])
        if not found:
            return None
        values = json.loads(found[0][0])
        return FinalOutcome(**{**values, "validation": Outcome(**values["validation"])})

    def spent_s(self) -> float:
        """Seconds of all proxy trainings: of those that ended what they took, of others what was set aside."""
        query = "SELECT COALESCE(SUM(COALESCE(seconds, reserved_s)), 0.0) FROM trainings WHERE kind = ?"
        return self._read(query, [PROXY])[0][0]

    def longest_s(self) -> float | None:
        """Seconds of the longest proxy training that ended; None where none has."""
        return self._read("SELECT MAX(seconds) FROM trainings WHERE kind = ?", [PROXY])[0][0]

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple]:
        with database_errors(self.path, ConfigError):
            return self._connection.execute(query, values).fetchall()

    def _write(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        with database_errors(self.path, ConfigError), self._connection:
            return self._connection.execute(statement, values)


def _dump(values: Mapping[str, Any]) -> str:
    # SQLite takes no lone surrogates, which a JSON answer can hold; escaped by `ensure_ascii` they are plain text
    return json.dumps(values, ensure_ascii=True)


def _read_proposal(text: str) -> Proposal:
    values = json.loads(text)
    dropped = tuple((entry, reason) for entry, reason in values["dropped"])
    return Proposal(**{**values, "class_texts": tuple(values["class_texts"]), "dropped": dropped})


def _shorten(value: object, length: int = 80) -> str:
    text = json.dumps(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def trial_rows(
    trials: Sequence[Trial], agent: str, chosen: int | None = None, final: FinalOutcome | None = None
) -> list[dict[str, Any]]:
    """Rows of `FEATURES`.

    Args:
        trials: The trials, in order.
        agent: Name of the agent.
        chosen: Number of the trial that the search ended with; None before it has.
        final: What the training in full of that one brought.
    """
    return [_row(trial, agent, trial.number == chosen, final) for trial in trials]


def _row(trial: Trial, agent: str, is_chosen: bool, final: FinalOutcome | None) -> dict[str, Any]:
    answer, proposal = trial.answer, trial.proposal
    outcomes = [training.outcome for training in trial.trainings if training.outcome is not None]
    first = outcomes[0] if outcomes else Outcome(math.nan)
    full = final if is_chosen else None
    return {
        "trial": trial.number,
        "agent": agent,
        "status": trial.status,
        "reason": trial.reason,
        "proposal": _utf8(answer.text),
        "class_texts": list(trial.class_texts),
        "dropped": [{"entry": _utf8(entry), "reason": _utf8(reason)} for entry, reason in proposal.dropped],
        "num_proposed": proposal.num_proposed,
        **{name: getattr(answer, name) for name in ("prompt_id", "prompt_sha256", "request_hash", "model")},
        **{name: getattr(answer, name) for name in ("prompt_tokens", "completion_tokens", "cost_usd")},
        "seeds": [training.seed for training in trial.trainings],
        "proxy_accuracies": [training.accuracy for training in trial.trainings],
        "proxy_accuracy": trial.mean_accuracy(),
        "class_accuracy": _named(first.class_accuracy),
        "seconds": sum(outcome.seconds for outcome in outcomes),
        "gpu_seconds": sum(outcome.gpu_seconds for outcome in outcomes),
        "detections_made": sum(outcome.detections_made for outcome in outcomes),
        "detections_reused": sum(outcome.detections_reused for outcome in outcomes),
        "initial_weights_sha256": first.initial_weights_sha256,
        "is_chosen": is_chosen,
        "validation_accuracy": full.validation.accuracy if full else math.nan,
        "test_accuracy": _named(full.test_accuracy) if full else [],
        "full_seconds": full.validation.seconds if full else 0.0,
        "schema_version": SCHEMA_VERSION,
    }


def _named(accuracies: Mapping[str, float]) -> list[dict[str, Any]]:
    return [{"name": name, "accuracy": accuracy} for name, accuracy in accuracies.items()]


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


CARD_BODY = """
# {title}

A search for the classes of objects that a video model is shown: a row is one trial, in which the agent `{agent}`
proposed a set of classes and a model was trained with their maps for one epoch. The reward is the accuracy on a
validation split with the seed that all sets share, the first of `proxy_accuracies`; `proxy_accuracy` is the mean over
all seeds that a set was trained with. Only the set that was chosen has been trained in full, and only it has a test
accuracy. {description}

{table}

A trial whose `status` is not `ok` has no reward: `reason` says why, and the agent was told. Schema version
{schema_version}.
"""


def write_trials(
    folder: str | os.PathLike,
    rows: Sequence[Mapping[str, Any]],
    title: str = "Trials of a search for object classes",
    description: str = "",
    **card_metadata: Any,
) -> Path:
    """Write a table of trials with its card.

    Args:
        folder: Folder to write; a table that is there is replaced.
        rows: Rows of `FEATURES`, of one search.
        title: Heading of the card.
        description: Text of the card about the search.
        card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        VidreasonError: There are no rows.
    """
    if not rows:
        raise VidreasonError(f"{folder}: there are no trials to write")
    write_split(folder, SPLIT, rows, FEATURES)
    body = CARD_BODY.format(
        title=title,
        agent=rows[0]["agent"],
        description=description,
        table=trials_table(rows),
        schema_version=SCHEMA_VERSION,
    )
    metadata = {"pretty_name": title, "tags": ["video", "object-search", "vidreason"], **card_metadata}
    write_card(folder, [SPLIT], body, **metadata)
    return Path(folder)


def trials_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `FEATURES` as a Markdown table."""
    header = ["trial", "status", "classes", "reward (%)", "mean over seeds (%)", "seeds", "detected", "reused"]
    header += ["seconds", "USD"]
    shown = [
        (
            f"{row['trial']}{' (chosen)' if row['is_chosen'] else ''}",
            row["status"],
            ", ".join(row["class_texts"]) or "-",
            _percent(row["proxy_accuracies"][0] if row["proxy_accuracies"] else math.nan),
            _percent(row["proxy_accuracy"]),
            len(row["seeds"]),
            row["detections_made"],
            row["detections_reused"],
            f"{row['seconds']:.1f}",
            f"{row['cost_usd']:.4f}",
        )
        for row in rows
    ]
    return text_table(header, shown, [False, False, False, *[True] * 7])


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if math.isfinite(share) else "-"
