"""The loop: a language model writes a recogniser, it is trained and judged, and the model is shown how it did.

As in the search for objects, the best attempt on the validation split counts, the earliest of equal ones; test clips
are judged once, at the end, with the best code trained in full, and never reach a prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...files import file_hash, held_lock, write_whole
from ..agent import Answer
from ..agents.language_model import LanguageModel, load_prompt
from ..proposal import OK as ANSWERED
from .clips import CodeClips
from .sandbox import NO_CODE, OK, CodeRun, CodeTraining, SandboxLimits, run_sandboxed

TRIALS_FILE = "attempts.json"

_FENCED = re.compile(r"^```[ \t]*\w*[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHOWN_CHARACTERS = 12_000  # of the code of one attempt in the history: about 3,000 tokens


@dataclass(frozen=True)
class CodeSearchSettings:
    """How the search goes.

    Args:
        num_trials: Number of attempts, the paper's T.
        shown_trials: Attempts whose code is in the history: the best one, and the newest.
        seed: Seed that is sent to the language model.
        final_epochs: Epochs of the best code's training in full.
        description: A sentence or two about the videos.
        prompt: Name of the prompt, or a path.
    """

    num_trials: int = field(default=5, metadata={"help": "Attempts of the language model."})
    shown_trials: int = field(default=3, metadata={"help": "Attempts whose code is shown again: best and newest."})
    seed: int = field(default=0, metadata={"help": "Seed that is sent to the language model."})
    final_epochs: int = field(default=20, metadata={"help": "Epochs of the best code's training in full."})
    description: str = field(default="", metadata={"help": "A sentence or two about the videos."})
    prompt: str = field(default="write_code", metadata={"help": "Name of the prompt, or a path."})

    def __post_init__(self) -> None:
        for name in ("num_trials", "shown_trials", "final_epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1")


@dataclass(frozen=True)
class Attempt:
    """One attempt of the language model.

    Args:
        number: From 1.
        code: The code, as it was in the answer.
        status: A status of `sandbox.RUN_STATUSES`, or of the answer where there is none to read.
        reason: Why it is not `ok`.
        accuracy: On the validation clips; None where it was not judged.
        class_accuracy: The same for each class that has clips.
        num_parameters: Of the model that it builds.
        seconds: Wall-clock seconds of training and evaluation.
        answer: Where it comes from: prompt, request, model, tokens and cost.
    """

    number: int
    code: str
    status: str
    reason: str = ""
    accuracy: float | None = None
    class_accuracy: dict[str, float] = field(default_factory=dict)
    num_parameters: int = 0
    seconds: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeSearchResult:
    """What a search came to.

    Args:
        attempts: All attempts, in order.
        best: Number of the best; None where no attempt was judged.
        final: The best code trained in full; None where there is none.
        accuracy: Judged part of the final clips -> accuracy.
    """

    attempts: list[Attempt]
    best: int | None
    final: CodeRun | None = None
    accuracy: dict[str, float] = field(default_factory=dict)


def code_of(text: str) -> str:
    """The code in an answer: the block that defines `build_model`, else the longest one, else the whole text."""
    blocks = _FENCED.findall(text.replace("\r\n", "\n") + "\n")
    if not blocks:
        return text.strip()
    defining = [block for block in blocks if "def build_model" in block]
    return max(defining or blocks, key=len).strip()


def search_code(
    model: LanguageModel,
    clips: CodeClips,
    folder: Path,
    settings: CodeSearchSettings,
    training: CodeTraining,
    limits: SandboxLimits,
    allow_unconfined: bool = False,
) -> list[Attempt]:
    """Let a language model write recognisers, one after another. Attempts of an earlier process are not made again.

    Args:
        model: Who writes.
        clips: What is trained on, and the validation part that is judged: the only one in it.
        folder: Folder of the attempts.
        settings: How the search goes.
        training: How each model is trained.
        limits: How much each may use.
        allow_unconfined: See `run_sandboxed`.

    Raises:
        ConfigError: The folder holds another search, or one that is going on in another process; or code cannot be
            confined here.
        LLMError: The model cannot be asked, or the money does not suffice.
    """
    busy = f"another process is searching in {folder}: wait for its end, or name another folder"
    with held_lock(folder / "search.lock", busy):
        return _search_code(model, clips, folder, settings, training, limits, allow_unconfined)


def _search_code(
    model: LanguageModel,
    clips: CodeClips,
    folder: Path,
    settings: CodeSearchSettings,
    training: CodeTraining,
    limits: SandboxLimits,
    allow_unconfined: bool,
) -> list[Attempt]:
    (part,) = clips.labels
    prompt = load_prompt(settings.prompt)
    key = {
        "clips_sha256": file_hash(clips.file),
        "model": model.key,
        "prompt_sha256": prompt.sha256,
        # a search with more attempts goes on where one with fewer ended
        "settings": {name: value for name, value in asdict(settings).items() if name not in _FREE},
        "training": asdict(training),
        "limits": asdict(limits),
    }
    attempts = _load(folder, key)
    while len(attempts) < settings.num_trials:
        values = _prompt_values(clips, attempts, settings, training, limits)
        answer = model.ask(prompt, values, settings.seed + len(attempts))
        attempts.append(_attempt(len(attempts) + 1, answer, clips, part, training, limits, allow_unconfined))
        _save(folder, key, attempts)
    return attempts[: settings.num_trials]


_FREE = ("num_trials", "final_epochs")


def best_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """The one with the highest accuracy, the earliest of equal ones; None where no attempt was judged."""
    judged = [attempt for attempt in attempts if attempt.accuracy is not None]
    return max(judged, key=lambda attempt: attempt.accuracy or 0.0, default=None)  # max keeps the first of equal ones


def train_best(
    attempts: Sequence[Attempt],
    clips: CodeClips,
    settings: CodeSearchSettings,
    training: CodeTraining,
    limits: SandboxLimits,
    allow_unconfined: bool = False,
) -> CodeSearchResult:
    """Train the best code in full and judge it: the only place that reads test clips.

    Args:
        attempts: Attempts of `search_code`.
        clips: What is trained on, and the parts that are judged.
        settings: Number of epochs.
        training: All else about the training.
        limits: How much it may use; its seconds are for all epochs.
        allow_unconfined: See `run_sandboxed`.
    """
    best = best_attempt(attempts)
    if best is None:
        return CodeSearchResult(list(attempts), None)
    full = replace(training, num_epochs=settings.final_epochs)
    run = _run(best.code, clips, full, limits, allow_unconfined)
    accuracy = {part: float(np.mean(run.predictions[part] == clips.labels[part])) for part in run.predictions}
    return CodeSearchResult(list(attempts), best.number, run, accuracy)


def _attempt(
    number: int,
    answer: Answer,
    clips: CodeClips,
    part: str,
    training: CodeTraining,
    limits: SandboxLimits,
    allow_unconfined: bool,
) -> Attempt:
    told = {name: value for name, value in asdict(answer).items() if name not in ("text", "without_maps")}
    if answer.status != ANSWERED:
        return Attempt(number, "", answer.status, answer.detail, answer=told)
    code = code_of(answer.text)
    run = _run(code, clips, training, limits, allow_unconfined)
    if run.status != OK:
        kept = "" if run.status == NO_CODE and not code else code
        return Attempt(number, kept, run.status, run.reason, seconds=run.seconds, answer=told)
    right = run.predictions[part] == clips.labels[part]
    by_class = {
        name: float(right[clips.labels[part] == label].mean())
        for label, name in enumerate(clips.class_names)
        if (clips.labels[part] == label).any()
    }
    return Attempt(number, code, OK, "", float(right.mean()), by_class, run.num_parameters, run.seconds, told)


def _run(
    code: str, clips: CodeClips, training: CodeTraining, limits: SandboxLimits, allow_unconfined: bool
) -> CodeRun:
    sizes = {part: len(labels) for part, labels in clips.labels.items()}
    return run_sandboxed(code, clips.file, sizes, len(clips.class_names), training, limits, allow_unconfined)


def _prompt_values(
    clips: CodeClips,
    attempts: Sequence[Attempt],
    settings: CodeSearchSettings,
    training: CodeTraining,
    limits: SandboxLimits,
) -> dict[str, Any]:
    return {
        "class_names": list(clips.class_names),
        "num_classes": len(clips.class_names),
        "description": settings.description,
        "num_frames": clips.num_frames,
        "size_px": clips.size_px,
        "num_train": clips.num_train,
        "num_epochs": training.num_epochs,
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
        "seconds": round(limits.seconds),
        "max_parameters": limits.max_parameters,
        "history": _history(attempts, settings.shown_trials),
    }


def _history(attempts: Sequence[Attempt], num_shown: int) -> str:
    """All attempts with what came of them; the code of the best one and of the newest."""
    best = best_attempt(attempts)
    shown = {best.number} if best else set()
    for attempt in reversed(attempts):
        if len(shown) < num_shown:
            shown.add(attempt.number)
    return "\n\n".join(_describe(attempt, attempt.number in shown, attempt is best) for attempt in attempts)


def _describe(attempt: Attempt, with_code: bool, is_best: bool) -> str:
    lines = [f"### Model {attempt.number}{' (the best so far)' if is_best else ''}"]
    if attempt.accuracy is None:
        lines.append(f"It could not be judged: {attempt.status.replace('_', ' ')}. {attempt.reason}".rstrip())
    else:
        lines.append(f"Accuracy {attempt.accuracy:.1%}, {attempt.num_parameters} parameters, {attempt.seconds:.0f} s")
        lines += [f"- {name}: {accuracy:.1%}" for name, accuracy in attempt.class_accuracy.items()]
    if not attempt.code:
        return "\n".join(lines)
    if not with_code or len(attempt.code) > _SHOWN_CHARACTERS:
        return "\n".join([*lines, f"(its code, {len(attempt.code)} characters, is left out here)"])
    return "\n".join([*lines, "```python", attempt.code, "```"])


def _load(folder: Path, key: Mapping[str, Any]) -> list[Attempt]:
    file = folder / TRIALS_FILE
    if not file.is_file():
        return []
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        attempts = [Attempt(**entry) for entry in stored["attempts"]]
        found = stored["key"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: holds no attempts ({error})") from error
    if found != json.loads(json.dumps(key)):
        names = sorted(name for name in {*found, *key} if found.get(name) != json.loads(json.dumps(key.get(name))))
        raise ConfigError(f"{file}: is of another search, whose {', '.join(names)} differ; choose another folder")
    return attempts


def _save(folder: Path, key: Mapping[str, Any], attempts: Sequence[Attempt]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"key": key, "attempts": [asdict(attempt) for attempt in attempts]}, indent=1)
    write_whole(folder / TRIALS_FILE, text + "\n")
