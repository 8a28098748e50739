"""Metrics as `evaluate` modules: one folder each, with the script and its metric card.

They load offline, without the Hub:

    import evaluate
    from vidreason.metrics import metric_path

    top_k = evaluate.load(metric_path("topk_accuracy"))

Some of their code is the same on purpose: `evaluate` copies one script with the files beside it to its own folder and
runs it there, where nothing of another metric, nor of this package, can be imported.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError

_ROOT = Path(__file__).resolve().parent


def metric_names() -> list[str]:
    """The names of the metrics that are here, sorted."""
    return sorted(script.stem for script in _ROOT.glob("*/*.py") if script.stem == script.parent.name)


def metric_path(name: str) -> str:
    """The folder of a metric, in the form that `evaluate.load` opens offline: it holds a script of the same name.

    Raises:
        ConfigError: there is no metric of that name; the message lists those that there are.
    """
    known = metric_names()
    if name not in known:
        raise ConfigError(f"unknown metric {name!r}; known metrics: {', '.join(known)}")
    return str(_ROOT / name)
