"""Small copies of GMDCSA24. Every video is 30 frames of noise in 1.2 s."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from layout_trees import clip_bytes, put

HEADER = "File Name,Length (seconds),Time of Recording,Attire,Description, Classes"


def line(name: str, classes: str, length: str = "01") -> str:
    """A line of a table, typed as in the release."""
    return f"{name},{length}, Day (Light On), T-shirt, Walks; then sits,{classes}"


def gmdcsa24(root: Path, tables: Mapping[str, list[str]], videos: int = 2) -> Path:
    """A copy with tables of some lines.

    Args:
        root: of the data set.
        tables: such as `subject_1/ADL` -> lines without the header.
        videos: 01.mp4 and so on, in the folder of each table.
    """
    for name, lines in tables.items():
        put(root / f"{name}.csv", "\n".join([HEADER, *lines]))
        for number in range(1, videos + 1):
            put(root / name / f"{number:02d}.mp4", clip_bytes(".mp4", 30))
    return root


def two_people(root: Path) -> Path:
    """Two people with two videos of each class, without errors."""
    day = [
        line("01.mp4", " Walking[0 to 0.4]; Sitting[0.4 to 1]"),
        line("02.mp4", " Reading[0 to 1]; Sitting[0 to 1]"),
    ]
    fall = [line("01.mp4", " Falling (SW)[0.6 to 1]; Standing[0 to 0.6]"), line("02.mp4", "Falling (BW)[0 to 1]")]
    return gmdcsa24(
        root, {f"subject_{n}/{of}": day if of == "ADL" else fall for n in (1, 2) for of in ("ADL", "Fall")}
    )
