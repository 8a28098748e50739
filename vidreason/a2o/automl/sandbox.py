"""Runs a recogniser's code that a language model wrote, in a process of its own that is confined and bounded.

The child (`child.py`) locks itself before it loads the code; what the kernel enforces is in its docstring. The parent
bounds the rest: it gives an empty environment and a temporary folder, kills the child when its time is over or its
answer is too long, reads the answer as data, and keeps the labels by which predictions are judged.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError

OK, NO_CODE, CRASHED, TIMED_OUT = "ok", "no_code", "crashed", "timed_out"
OUT_OF_MEMORY, BAD_OUTPUT = "out_of_memory", "bad_output"
RUN_STATUSES = (OK, NO_CODE, CRASHED, TIMED_OUT, OUT_OF_MEMORY, BAD_OUTPUT)

_CHILD = Path(__file__).with_name("child.py")
_FUNCTION = "build_model"
_MAX_CODE_CHARACTERS = 100_000
_FIRST_BYTES = 64 * 1024  # of an answer, beside its predictions
_BYTES_PER_PREDICTION = 16
_POLL_S = 0.01
_START_SECONDS = 120.0  # for Python, torch and the locks
_REQUIRED = ("limits", "torch", "files", "capabilities", "network")
# beside Python itself: what torch reads of the system. Not /proc, which shows the environment of other processes.
_SYSTEM_PLACES = (
    *("/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
)


@dataclass(frozen=True)
class SandboxLimits:
    """How much the code may use.

    Args:
        seconds: Wall-clock seconds after which it is killed, from when torch is loaded; it may use as many processor
            seconds on each thread.
        memory_mb: Address space in MiB. torch alone takes about two thousand.
        num_threads: Threads of torch.
        max_parameters: Largest number of parameters of the model.

    Raises:
        ConfigError: A limit is out of range.
    """

    seconds: float = field(default=300.0, metadata={"help": "Seconds of training and evaluation of one attempt."})
    memory_mb: int = field(default=6144, metadata={"help": "Address space of one attempt in MiB, torch included."})
    num_threads: int = field(default=1, metadata={"help": "Threads of torch."})
    max_parameters: int = field(default=50_000_000, metadata={"help": "Most parameters of a model."})

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 7 * 86400:
            raise ConfigError(f"seconds is {self.seconds}, expected from 0 to a week")
        for name, least in (("memory_mb", 1024), ("num_threads", 1), ("max_parameters", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")


@dataclass(frozen=True)
class CodeTraining:
    """How what the code builds is trained: the same for every attempt.

    Args:
        num_epochs: Passes over the training clips.
        batch_size: Clips of one step.
        learning_rate: Learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        seed: Seed of the weights and of the order of clips.
    """

    num_epochs: int = field(default=1, metadata={"help": "Passes over the training clips."})
    batch_size: int = field(default=8, metadata={"help": "Clips of one step."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of AdamW."})
    weight_decay: float = field(default=1e-4, metadata={"help": "Weight decay of AdamW."})
    seed: int = field(default=0, metadata={"help": "Seed of the weights and of the order of clips."})


@dataclass(frozen=True)
class CodeRun:
    """What came of running some code.

    Args:
        status: One of `RUN_STATUSES`.
        reason: Why it is not `ok`, for people and for the language model.
        predictions: Part of the clips -> predicted label of each, int64 (clips,).
        num_parameters: Number of parameters of the model.
        seconds: Wall-clock seconds that it took.
        lacking: What the kernel did not enforce -> why. Not empty only where that was allowed.
    """

    status: str
    reason: str = ""
    predictions: Mapping[str, np.ndarray] = field(default_factory=dict)
    num_parameters: int = 0
    seconds: float = 0.0
    lacking: Mapping[str, str] = field(default_factory=dict)


def run_sandboxed(
    code: str,
    data_file: str | os.PathLike,
    part_sizes: Mapping[str, int],
    num_classes: int,
    training: CodeTraining | None = None,
    limits: SandboxLimits | None = None,
    allow_unconfined: bool = False,
) -> CodeRun:
    """Train and run the recogniser that some code builds.

    Args:
        code: Python code that defines `build_model(num_classes)`, which returns a `torch.nn.Module` that takes frames
            (clips, frames, 3, height, width) in [-1, 1] and returns logits (clips, classes).
        data_file: safetensors file of `train`, uint8 (clips, frames, height, width, 3), `train_labels`, int64
            (clips,), and one tensor like `train` for each part to predict. It must hold no other labels.
        part_sizes: Part to predict -> its number of clips.
        num_classes: Number of classes.
        training: How it is trained.
        limits: How much it may use.
        allow_unconfined: Whether the code is run where this system cannot enforce all of the confinement. It then can
            do what its user can: only for code that was read.

    Raises:
        ConfigError: The confinement cannot be enforced here, or the child cannot be started.
    """
    training, limits = training or CodeTraining(), limits or SandboxLimits()
    if not sys.platform.startswith("linux"):
        raise ConfigError(f"code can be confined on Linux only, and this is {sys.platform}")
    problem = _problem_of(code)
    if problem:
        return CodeRun(NO_CODE, problem)
    with tempfile.TemporaryDirectory(prefix="vidreason-code-") as folder:
        config = {
            "code": code,
            "data_file": str(Path(data_file).resolve()),
            "parts": list(part_sizes),
            "num_classes": num_classes,
            "num_threads": limits.num_threads,
            "max_parameters": limits.max_parameters,
            "required": [] if allow_unconfined else list(_REQUIRED),
            "readable": [*_python_places(), *_SYSTEM_PLACES, folder, str(Path(data_file).resolve())],
            "limits": _rlimits(limits),
            **vars(training),
        }
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        most = _FIRST_BYTES + _BYTES_PER_PREDICTION * sum(part_sizes.values())
        done = _run_child(file, limits, most)
    return _read(done, part_sizes, num_classes, allow_unconfined)


@dataclass(frozen=True)
class _Done:
    """How the child ended: what it said, its exit code (None where it was killed here), and why it was killed."""

    said: bytes
    exit_code: int | None
    killed: str
    seconds: float


def _problem_of(code: str) -> str:
    """Why some text is no code that can be run; empty where it is."""
    if not code.strip():
        return "there is no code"
    if len(code) > _MAX_CODE_CHARACTERS:
        return f"the code has {len(code)} characters, at most {_MAX_CODE_CHARACTERS} are allowed"
    try:
        compiled = compile(code, "recogniser.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"the code is no Python: {error}"
    return "" if _FUNCTION in compiled.co_names else f"the code does not define {_FUNCTION}"


def _python_places() -> list[str]:
    """Where Python and its packages are."""
    paths = sysconfig.get_paths()
    places = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {os.path.join(prefix, "lib") for prefix in (sys.base_prefix, sys.base_exec_prefix)}
    # a virtual environment says in this file where its Python is
    return sorted({*places, os.path.join(sys.prefix, "pyvenv.cfg")})


def _rlimits(limits: SandboxLimits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": int(limits.seconds * limits.num_threads + _START_SECONDS) + 1,
        "RLIMIT_AS": limits.memory_mb * 2**20,
        "RLIMIT_FSIZE": 2**20,
        "RLIMIT_NOFILE": 256,
        "RLIMIT_CORE": 0,
    }


def _run_child(config: Path, limits: SandboxLimits, max_bytes: int) -> _Done:
    environment = {
        "OMP_NUM_THREADS": str(limits.num_threads),
        "OPENBLAS_NUM_THREADS": "1",  # it makes its threads when it is loaded, which is before files are locked
        "CUDA_VISIBLE_DEVICES": "",  # its driver maps more address space than any limit that would be one
        **dict.fromkeys(("HOME", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR"), str(config.parent)),
        "LANG": "C.UTF-8",
    }
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            # isolated: nothing of the user's own paths, and no folder of this library
            [sys.executable, "-I", "-B", str(_CHILD), str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=config.parent,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"{sys.executable} cannot be started for the code: {error}") from error
    try:
        said, killed = _listen(child, limits.seconds, max_bytes)
    finally:
        # the whole group, although the filter lets no further process come into being
        _kill_group(child)
    exit_code = child.wait()
    return _Done(said, None if killed else exit_code, killed, time.monotonic() - started)


def _listen(child: subprocess.Popen, seconds: float, max_bytes: int) -> tuple[bytes, str]:
    """What the child says until it ends, its time is over or it has said too much; and why it is to be killed.

    Its time begins when it has said its first words: loading torch is not the code's doing, and is slow on a busy
    machine.
    """
    assert child.stdout is not None
    said = bytearray()
    deadline, has_begun = time.monotonic() + _START_SECONDS, False
    with selectors.DefaultSelector() as selector, child.stdout:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return bytes(said), TIMED_OUT
            block = os.read(child.stdout.fileno(), 65536)
            if not block:
                break
            said += block
            if not has_begun and b"\n" in said:
                deadline, has_begun = time.monotonic() + seconds, True
            if len(said) > max_bytes:
                return bytes(said[:max_bytes]), BAD_OUTPUT
    # it may close its end and go on
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            return bytes(said), TIMED_OUT
        time.sleep(_POLL_S)
    return bytes(said), ""


def _kill_group(child: subprocess.Popen) -> None:
    # before it is waited for: until then its number is no other process's
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _read(done: _Done, part_sizes: Mapping[str, int], num_classes: int, allow_unconfined: bool) -> CodeRun:
    """What the child's end and its words mean."""
    first, _, rest = done.said.partition(b"\n")
    told = _parsed(first)
    if told is None or not isinstance(told.get("lacking"), dict):
        why = f"not within {_START_SECONDS:g} s" if done.killed == TIMED_OUT else f"exit code {done.exit_code}"
        raise ConfigError(f"the child that runs code cannot be started ({why})")
    lacking = {str(name): str(why) for name, why in told["lacking"].items()}
    if lacking and not allow_unconfined:
        missing = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        raise ConfigError(f"code cannot be confined here ({missing}), so none is run; see allow_unconfined")

    def ended(status: str, reason: str) -> CodeRun:
        return CodeRun(status, reason, seconds=done.seconds, lacking=lacking)

    if done.killed == TIMED_OUT:
        return ended(TIMED_OUT, f"stopped after {done.seconds:.0f} s")
    if done.killed:
        return ended(BAD_OUTPUT, "its answer is too long")
    answer = _parsed(rest)
    if done.exit_code == -signal.SIGXCPU:
        return ended(TIMED_OUT, "used all of its processor time")
    if done.exit_code == -signal.SIGKILL:  # not by us: the kernel takes the largest process where memory is short
        return ended(OUT_OF_MEMORY, "killed by the system")
    if done.exit_code != 0 and answer is None:
        return ended(CRASHED, f"the process ended with {done.exit_code}")
    if answer is None:
        return ended(BAD_OUTPUT, "its answer is no JSON object")
    if answer.get("failure") in (CRASHED, OUT_OF_MEMORY):
        return ended(answer["failure"], str(answer.get("reason", ""))[:2000])
    return _predicted(answer, part_sizes, num_classes, ended)


def _predicted(answer: Mapping[str, Any], part_sizes: Mapping[str, int], num_classes: int, ended: Any) -> CodeRun:
    found = answer.get("predictions")
    predictions: dict[str, np.ndarray] = {}
    for part, size in part_sizes.items():
        labels = found.get(part) if isinstance(found, dict) else None
        if not isinstance(labels, list) or len(labels) != size:
            return ended(BAD_OUTPUT, f"expected {size} predictions of {part}")
        if not all(type(label) is int and 0 <= label < num_classes for label in labels):
            return ended(BAD_OUTPUT, f"predictions of {part} are not labels from 0 to {num_classes - 1}")
        predictions[part] = np.asarray(labels, dtype=np.int64)
    number = answer.get("num_parameters")
    if type(number) is not int or not 0 <= number < 2**63:
        return ended(BAD_OUTPUT, "no number of parameters")
    run = ended(OK, "")
    return CodeRun(OK, "", predictions, number, run.seconds, run.lacking)


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A JSON object; None where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
