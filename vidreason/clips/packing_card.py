"""The text of the dataset card of packed clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .packing import PackReport


def packing_card(facts: Mapping[str, Any], report: PackReport) -> str:
    """Markdown for a person: what was packed and how, what it holds, what was left out.

    Args:
        facts: of the store, as in its `packing.json`.
        report: what it holds.
    """
    parts = [
        f"# Packed clips of {facts['source']}",
        "A row is a clip: sampled frames of one video as JPEG, their times, the label, and the guidance of these "
        "frames, which says where in them the evidence for the action is. The pictures are those of the videos, "
        "whose licence holds for them.",
        _usage(next(iter(report.clips))),
        "## How it was packed",
        _settings(facts["settings"]),
        "## Splits",
        _splits(facts, report),
        "A frame whose guidance has a status other than `ok` is not supervised; `missing` means that the guidance "
        "table has no row within "
        f"{facts['guidance_tolerance_s']:g} s of the frame.",
        "## Left out",
        _skipped(report),
    ]
    return "\n\n".join(parts)


def _usage(split: str) -> str:
    return (
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'clips = load_dataset("this folder", split="{split}")  # or streaming=True\n'
        'print(clips[0]["video_id"], clips[0]["frames"][0], clips[0]["guidance"]["status"])\n'
        "```\n\n"
        "To train on it: `python train.py recipe.yaml --packed_clips <this folder>`."
    )


def _settings(settings: Mapping[str, Any]) -> str:
    count = settings["frames_per_clip"]
    frames = f"the middle frames of {count} equal segments of each video" if count else "every frame"
    size = "in the video's size"
    for side in ("short", "long"):
        if settings[f"{side}_side_px"] is not None:
            size = f"scaled down to a {side}er side of {settings[f'{side}_side_px']} pixels"
    return f"Packed are {frames}, {size}, as JPEG of quality {settings['quality']} ({settings['subsampling']})."


def _splits(facts: Mapping[str, Any], report: PackReport) -> str:
    lines = ["| split | clips | frames | MB | guidance | frames by status |", "|---|---|---|---|---|---|"]
    for split, clips in report.clips.items():
        statuses = ", ".join(f"{name} {count}" for name, count in sorted(report.statuses[split].items()))
        lines.append(
            f"| {split} | {clips} | {report.frames[split]} | {report.jpeg_bytes[split] / 1e6:.1f} "
            f"| {facts['guidance'].get(split, 'none')} | {statuses or '-'} |"
        )
    return "\n".join(lines)


def _skipped(report: PackReport) -> str:
    if not report.skipped:
        return "No video was left out."
    reasons = Counter(entry["reason"] for entry in report.skipped)
    lines = [f"{len(report.skipped)} videos were left out; `skipped.jsonl` names each.", ""]
    lines += ["| reason | videos |", "|---|---|", *(f"| {reason} | {n} |" for reason, n in reasons.most_common())]
    return "\n".join(lines)
