"""The history of a search as text for a prompt, within a number of tokens.

What is cut is said in the text itself, and the best trial is never cut: an agent that does not see the best set cannot
improve on it, and would propose it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import ConfigError
from ..llm.cost import text_tokens
from .agent import Entry, State

_NAMES_SHOWN = 5
"""Dropped entries that are named; an answer of 200 lines has 192 of them."""


def render_history(state: State, heading: str = "Iteration") -> str:
    """The history with accuracies over all and by class; empty where there are no trials.

    Where it has more tokens than the task allows, first the accuracies by class of old trials go, then old trials,
    then the accuracies by class of the latest one and at last those of the best one.

    Args:
        state: Task and history.
        heading: What a trial is called.

    Raises:
        ConfigError: Not even the best trial's set and accuracy fit.
    """
    best = state.best
    kept = list(state.history)
    short: set[int] = set()
    limit = state.task.max_history_tokens
    while True:
        text = _render(state, kept, short, best, heading)
        if text_tokens(text) <= limit:
            return text
        if not _cut(kept, short, best):
            raise ConfigError(f"max_history_tokens is {limit}, too few for the best trial alone: {text_tokens(text)}")


def _cut(kept: list[Entry], short: set[int], best: Entry | None) -> bool:
    """Cut one thing; False where nothing is left to cut."""
    latest = kept[-1] if kept else None
    others = [entry for entry in kept if entry is not best and entry is not latest]
    for entry in others:
        if entry.number not in short and entry.class_accuracy:
            short.add(entry.number)
            return True
    if others:
        kept.remove(others[0])
        return True
    for last in (latest, best):
        if last is not None and last in kept and last.number not in short and last.class_accuracy:
            short.add(last.number)
            return True
    if latest is not None and latest is not best:
        kept.remove(latest)
        return True
    return False


def _render(state: State, kept: Sequence[Entry], short: set[int], best: Entry | None, heading: str) -> str:
    left_out = [str(entry.number) for entry in state.history if entry not in kept]
    parts = []
    if left_out:
        parts.append(f"(To save room, {heading.lower()} {', '.join(left_out)} of this history is left out.)")
    parts += [_render_entry(entry, entry.number in short, entry is best, heading) for entry in kept]
    return "\n\n".join(parts)


def _render_entry(entry: Entry, is_short: bool, is_best: bool, heading: str) -> str:
    lines = [f"### {heading} {entry.number}" + (" (best so far)" if is_best else "")]
    if entry.class_texts:
        lines.append("Objects: " + ", ".join(entry.class_texts))
    if entry.status != "ok":
        lines.append(f"Not used ({entry.status.replace('_', ' ')}): {entry.reason}")
    if entry.dropped:
        lines.append("Dropped: " + _render_dropped(entry.dropped))
    if entry.accuracy is not None:
        lines.append(f"Overall accuracy: {entry.accuracy:.2%}")
    if entry.class_accuracy and is_short:
        lines.append("(Accuracy by class is left out to save room.)")
    elif entry.class_accuracy:
        lines += ["Accuracy by class:", *_render_classes(entry.class_accuracy)]
    return "\n".join(lines)


def _render_classes(accuracies: Mapping[str, float]) -> list[str]:
    return [f"{name}: {accuracy:.2%}" for name, accuracy in accuracies.items()]


def _render_dropped(dropped: Sequence[tuple[str, str]]) -> str:
    shown = [f"{name[:40]!r} ({reason[:80]})" for name, reason in dropped[:_NAMES_SHOWN]]
    rest = len(dropped) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more" if rest else "")
