"""What the benchmarks share: the machine's description, interleaved timing, peak memory of a step, rates, reports.

Scripts of this folder import it by its bare name, since Python puts a script's own folder first on its path.
"""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scipy import stats

from vidreason.reporting.tables import NOT_RUN, Column, markdown_table

MIB = 2**20


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a figure was measured on, and how busy it was at that moment."""
    device = torch.device(device)
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def describe_machine(facts: Mapping[str, Any]) -> str:
    """One line of `machine`, for people."""
    device = "" if facts["device"] == "cpu" else f"{facts['device']}; "
    return (
        f"{device}{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, load "
        f"{facts['load_1min']}; Python {facts['python']}, torch {facts['torch']}, transformers {facts['transformers']}"
    )


def _processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def settings_of(arguments: Any, but_for: Sequence[str] = ("out",)) -> dict[str, Any]:
    """The fields of a dataclass, for a report, but for those that say where things lie on this machine."""
    return {name: value for name, value in asdict(arguments).items() if name not in but_for}


def pick_device(name: str | None) -> torch.device:
    """The named device, or a GPU where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Spread:
    """A median of repeated measurements.

    Args:
        median: Median of the measurements.
        low: Lower end of the interval that holds the median of the distribution with 95 %; None for fewer than 6
            values.
        high: Upper end of the interval; None where `low` is.
        repeats: Number of measurements.
    """

    median: float
    low: float | None
    high: float | None
    repeats: int

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def median_spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """The median with its order-statistic interval, which assumes nothing of the distribution.

    The number of values below the true median is binomial with probability one half; with fewer than 6 values no pair
    of them covers 95 %.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    rank = int(stats.binom.ppf((1 - confidence) / 2, n, 0.5))  # values below the interval
    if rank < 1:
        return Spread(float(np.median(ordered)), None, None, n)
    return Spread(float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[n - rank]), n)


@dataclass
class Times:
    """Seconds of a variant, one of each round.

    Args:
        wall_s: Seconds by the clock.
        cpu_s: Seconds of processor time, all threads of this process. What other processes take away is not in it,
            which on a busy machine makes it the steadier of the two; on a GPU it says nothing.
    """

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def interleave(
    variants: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 2, device: torch.device | str = "cpu"
) -> dict[str, Times]:
    """Time calls whose variants take turns, so that what else the machine does slows all alike.

    The order turns around from one round to the next: no variant always follows the same other one.

    Args:
        variants: Name -> the call that is timed.
        repeats: Number of rounds that count.
        warmup: Number of rounds before them.
        device: Device that is waited for before and after each call.
    """
    device = torch.device(device)
    times = {name: Times() for name in variants}
    names = list(variants)
    for round_number in range(-warmup, repeats):
        shift = round_number % len(names)
        order = names[shift:] + names[:shift]
        for name in order if round_number % 2 else reversed(order):
            synchronize(device)
            started, cpu_started = time.perf_counter(), time.process_time()
            variants[name]()
            synchronize(device)
            if round_number >= 0:
                times[name].wall_s.append(time.perf_counter() - started)
                times[name].cpu_s.append(time.process_time() - cpu_started)
    return times


def classification_steps(
    model: torch.nn.Module,
    clips: torch.Tensor,
    labels: torch.Tensor,
    forward: Callable[..., Any] | None = None,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> tuple[torch.optim.Optimizer, dict[str, Callable[[], None]]]:
    """One training step (forward pass, cross-entropy, backward pass, AdamW) and one inference call, on a fixed batch.

    Args:
        model: A model that takes `pixel_values` and gives `logits`.
        clips: Tensor of shape (batch, frames, channels, height, width).
        labels: Tensor of shape (batch,), int64.
        forward: Function that is called, where it is not the model itself but is made from it.
        autocast: Function that gives the context of the forward pass.

    Returns:
        The optimizer, and {"training", "inference"}.
    """
    forward = forward or model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def train() -> None:
        model.train()
        with autocast():
            loss = torch.nn.functional.cross_entropy(forward(pixel_values=clips).logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def infer() -> None:
        model.eval()
        with torch.no_grad(), autocast():
            forward(pixel_values=clips)

    return optimizer, {"training": train, "inference": infer}


def paired_ratio(values: Sequence[float], peer_values: Sequence[float]) -> Spread:
    """The median of the ratios of two variants' values, each of the same round."""
    return median_spread([mine / peers for mine, peers in zip(values, peer_values, strict=True)])


def per_second(amount: float, seconds: Sequence[float]) -> dict[str, Any]:
    """How much is done a second, where the same amount took so long in each round: a `Spread` as JSON."""
    return median_spread([amount / taken for taken in seconds]).as_json()


def peak_step_bytes(step: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """The most that is allocated at one time during a step, above what was allocated when it began.

    On a CPU it is read off the events of PyTorch's allocator, which `torch.profiler` records one by one: exact and
    the same every time, temporaries inside an operator included. What MKL or oneDNN allocate on their own is not in
    it. Resident memory of a process would be, but moves by more than the few per cent that are looked for here.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    # the trace is the public way to single allocations: tables hold sums per operator
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return peak_of_trace(events)


def peak_of_trace(events: Sequence[Mapping[str, Any]]) -> int:
    """The largest running sum of the allocations (positive) and releases (negative) of a profiler's trace."""
    allocations = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    # "Ev Idx" tells those of one microsecond apart
    allocations.sort(key=lambda event: (event["ts"], event["args"].get("Ev Idx", 0)))
    held = peak = 0
    for event in allocations:
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def held_bytes(module: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Bytes of a model's parameters, gradients and buffers and of its optimizer's state."""
    tensors = [*module.parameters(), *module.buffers()]
    tensors += [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if optimizer is not None:
        tensors += [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def write_report(path: str | os.PathLike, report: Mapping[str, Any], text: str) -> None:
    """Write the JSON and, beside it under the same name, the Markdown, and print the latter.

    A number that is not finite is an error: JSON has no NaN.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def show_ratio(spread: Mapping[str, Any] | None) -> str:
    """A ratio with its interval, for a table."""
    if spread is None:
        return NOT_RUN
    if spread["low"] is None:
        return f"{spread['median']:.3f}"
    return f"{spread['median']:.3f} ({spread['low']:.3f} to {spread['high']:.3f})"


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table from texts, the first column to the left and the others to the right."""
    columns = [Column(str(number), text, right=number > 0) for number, text in enumerate(header)]
    return markdown_table([dict(zip(map(str, range(len(header))), row, strict=True)) for row in rows], columns)


def is_finite(value: Any) -> bool:
    """Whether a value is a number that JSON can hold."""
    return isinstance(value, int | float) and math.isfinite(value)
