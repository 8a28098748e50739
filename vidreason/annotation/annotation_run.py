"""What an annotator writes down of its run, beside the table: facts that no row can carry and that a card should tell.

The file lies in the guidance folder under `work/`, with whatever else the annotator keeps there. Nothing of `work/` is
published; the card states these facts instead.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import GuidanceError
from ..files import write_whole

logger = logging.getLogger(__name__)

WORK_FOLDER, RUN_FILE = "work", "run.json"

_TEXTS = ("annotator", "model", "prompt_id", "prompt_sha256", "policy", "started_at", "finished_at")
_KINDS: dict[str, type] = {
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(("image_settings", "settings", "totals"), dict),
    **dict.fromkeys(("splits", "grid"), list),
    "label_in_prompt": bool,
    "seed": int,
}


@dataclass(frozen=True)
class AnnotationRun:
    """One run of an annotator. Whatever is None or empty is not known, and a card says so.

    Keep out of it what must not be published: paths of this machine, addresses of servers, keys.

    Args:
        annotator: such as "llm", "motion" or "truth".
        model: as it was asked for, or the settings of an algorithm.
        prompt_id: of the prompt.
        prompt_sha256: of the prompt's file.
        policy: which frames of which videos were annotated, in words or by the policy's name and settings.
        splits: that were annotated.
        label_in_prompt: whether the annotator was told the action. Such guidance exists in training only.
        grid: (rows, columns).
        image_settings: how pictures were sent, such as {"max_side_px": 320, "jpeg_quality": 90, "detail": "auto"}.
        settings: what else belongs to the request, such as {"temperature": 0.0, "samples_per_frame": 1}.
        seed: of every random choice.
        started_at: ISO 8601, with the time zone.
        finished_at: likewise.
        totals: sums over the run, all attempts included, such as {"videos": 10, "requests": 100, "cost_usd": 0.05}.
    """

    annotator: str | None = None
    model: str | None = None
    prompt_id: str | None = None
    prompt_sha256: str | None = None
    policy: str | None = None
    splits: tuple[str, ...] = ()
    label_in_prompt: bool | None = None
    grid: tuple[int, int] | None = None
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    totals: Mapping[str, float] = field(default_factory=dict)


def run_path(guidance_folder: str | os.PathLike) -> Path:
    """Where the facts of a table's run are."""
    return Path(guidance_folder) / WORK_FOLDER / RUN_FILE


def write_run(guidance_folder: str | os.PathLike, run: AnnotationRun) -> Path:
    """Write the facts of a run as JSON beside its table, and return the file."""
    path = run_path(guidance_folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(run), indent=2, ensure_ascii=False) + "\n")
    return path


def read_run(guidance_folder: str | os.PathLike) -> AnnotationRun | None:
    """The facts of a table's run, or None where none were written down.

    Raises:
        GuidanceError: the file is there but does not hold such facts. A field of a later version is left out, and the
            log says so.
    """
    path = run_path(guidance_folder)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise GuidanceError(f"{path}: not JSON ({error})") from error
    if not isinstance(facts, dict):
        raise GuidanceError(f"{path}: expected an object of facts, got {type(facts).__name__}")
    unknown = sorted(set(facts) - set(_KINDS))
    if unknown:
        logger.warning("%s: unknown facts %s are left out", path, unknown)
    known = {name: value for name, value in facts.items() if name not in unknown and value is not None}
    for name, value in known.items():
        if type(value) is not _KINDS[name]:  # not isinstance, for which True is a number
            raise GuidanceError(f"{path}: {name} is {value!r}")
    known |= {name: tuple(known[name]) for name in ("splits", "grid") if name in known}
    return AnnotationRun(**known)
