"""The text of a manifest's dataset card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..reporting.tables import text_table

_CLASSES_SHOWN = 200


def manifest_card(
    splits: Mapping[str, list[dict]],
    class_names: Sequence[str],
    source: str,
    skipped: Sequence[Mapping[str, str]],
    description: str = "",
) -> str:
    """Markdown for a person: what this is, how many videos per split and class, what was left out.

    Args:
        splits: Maps each split's name to complete rows, with labels as ids.
        class_names: Names of the classes, in the order of the label ids.
        source: Data set and revision.
        skipped: Videos that were left out, with their reason.
        description: Paragraph to open with.
    """
    parts = [
        f"# Videos of {source}",
        description,
        "A manifest: each row names one video file with its label, its length and its size. The video files "
        "themselves are not in the tables; `path` is relative to the folder of videos, which `manifest.json` names.",
        _usage(next(iter(splits))),
        "## Splits",
        _split_table(splits),
        _group_sentence(splits),
        "## Classes",
        _class_table(splits, class_names),
        _absence_sentence(splits, class_names),
        "## Left out",
        _skipped_table(skipped),
    ]
    return "\n\n".join(part for part in parts if part)


def _usage(split: str) -> str:
    return (
        "```python\n"
        "from vidreason.manifests.manifest import load_manifest\n\n"
        'manifest = load_manifest("this folder")\n'
        f'row = manifest.split("{split}")[0]\n'
        "print(manifest.class_names[row['label']], manifest.video_path(row))\n"
        "```"
    )


def _split_table(splits: Mapping[str, list[dict]]) -> str:
    lines = []
    for split, rows in splits.items():
        frames = sum(row["num_frames"] for row in rows)
        minutes = sum(row["duration_s"] for row in rows) / 60
        lines.append((split, len(rows), frames, f"{minutes:.1f}", len(_groups(rows)) or "none"))
    return text_table(("split", "videos", "frames", "minutes", "groups"), lines)


def _groups(rows: list[dict]) -> set[str]:
    return {row["group"] for row in rows if row["group"]}


def _group_sentence(splits: Mapping[str, list[dict]]) -> str:
    counts = Counter(group for rows in splits.values() for group in _groups(rows))
    if not counts:
        return ""
    shared = sorted(group for group, count in counts.items() if count > 1)
    if not shared:
        return "No group is in more than one split."
    shown = ", ".join(shared[:10]) + (", ..." if len(shared) > 10 else "")
    return f"**{len(shared)} of {len(counts)} groups are in more than one split**: {shown}."


def _class_table(splits: Mapping[str, list[dict]], class_names: Sequence[str]) -> str:
    counts = {split: Counter(row["label"] for row in rows) for split, rows in splits.items()}
    rows = [
        (label, name, *(counts[split][label] for split in splits))
        for label, name in enumerate(class_names[:_CLASSES_SHOWN])
    ]
    table = text_table(["id", "class", *splits], rows)
    if len(class_names) <= _CLASSES_SHOWN:
        return table
    return f"{table}\n\n{len(class_names) - _CLASSES_SHOWN} more classes are in `manifest.json`."


def _absence_sentence(splits: Mapping[str, list[dict]], class_names: Sequence[str]) -> str:
    sentences = []
    for split, rows in splits.items():
        present = {row["label"] for row in rows}
        absent = [name for label, name in enumerate(class_names) if label not in present]
        if absent:
            sentences.append(f"**Split {split} has no video of {len(absent)} classes**: {', '.join(absent)}.")
    return "\n\n".join(sentences)


def _skipped_table(skipped: Sequence[Mapping[str, str]]) -> str:
    if not skipped:
        return "No video was left out."
    table = text_table(("reason", "files"), Counter(entry["reason"] for entry in skipped).most_common())
    return f"{len(skipped)} files were left out; `skipped.jsonl` names each.\n\n{table}"
