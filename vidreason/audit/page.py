"""An audit as one HTML file to look through: numbers, and frames that can be filtered by status, class and group.

Pictures are in the file, nothing is loaded from elsewhere, and without JavaScript all of it can still be read.
"""

from __future__ import annotations

import base64
import importlib.resources
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ..guidance.table import merge_summaries
from ..provenance import STATUSES
from ..reporting.tables import Column
from .drawing import GUIDANCE_COLOR, TRUTH_COLOR
from .pictures import CHOICE, CHOICE_UNJUDGED, GROUPS, ExampleFrame, describe_frame
from .report import (
    AuditReport,
    AuditSection,
    counts_sentence,
    group_table,
    group_title,
    reading_text,
    score_table,
    section_title,
    status_counts_table,
)
from .run import Audit

PAGE_FILE, TEMPLATE_FILE = "audit.html", "page.html"

_CELLS_NAMED = 8  # in a text for those who do not see the picture; more are counted

_Table = tuple[Sequence[dict[str, Any]], Sequence[Column | str]]


def write_page(folder: str | os.PathLike, report: AuditReport, audit: Audit, examples: Sequence[ExampleFrame]) -> Path:
    """Write the page and return its path.

    Args:
        folder: Folder of the report.
        report: The numbers to show.
        audit: The audit that the examples are from.
        examples: Frames to look at, with their pictures.
    """
    template = importlib.resources.files(__package__).joinpath(TEMPLATE_FILE).read_text(encoding="utf-8")
    # names of classes and videos come from outside and must not become HTML
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    whole = merge_summaries(report.splits.values())
    figures = {
        group: [_figure(audit, entry) for entry in examples if entry.group == group]
        for group in GROUPS
        if any(entry.group == group for entry in examples)
    }
    text = environment.from_string(template).render(
        name=report.name,
        producers=whole.producer_text,
        grids=whole.grid_text,
        statuses={"headers": ["split", "rows", "videos", *STATUSES], "rows": _status_rows(report)},
        sections=[_section(section, report) for section in report.sections],
        reference=audit.reference.name,
        is_judged=audit.is_judged,
        choice=CHOICE if audit.is_judged else CHOICE_UNJUDGED,
        has_pixels=any(entry.has_pixels for entry in examples),
        guidance_color=_css(GUIDANCE_COLOR),
        reference_color=_css(TRUTH_COLOR),
        filters=_filters(examples),
        groups=[{"name": group, "frames": members} for group, members in figures.items()],
    )
    path = Path(folder) / PAGE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _status_rows(report: AuditReport) -> list[list[str]]:
    return [
        [split, str(entry.rows), str(len(entry.videos)), *(str(entry.statuses[status]) for status in STATUSES)]
        for split, entry in report.splits.items()
    ]


def _section(section: AuditSection, report: AuditReport) -> dict[str, Any]:
    tables = [("Scores", score_table(section))] if section.scores else []
    tables.append(("Frames by the status of the guidance and of the reference", status_counts_table(section.counts)))
    tables += [(group_title(kind), group_table(section, kind)) for kind in section.groups]
    return {
        "title": section_title(section),
        "counts": counts_sentence(section.counts, report.tolerance_s),
        "tables": [_html_table(caption, table) for caption, table in tables],
        "reading": reading_text(section, report.bootstrap).replace("*", ""),
    }


def _html_table(caption: str, table: _Table) -> dict[str, Any]:
    rows, columns = table
    named = [Column(column) if isinstance(column, str) else column for column in columns]
    headers = [column.header or column.key for column in named]
    return {
        "caption": caption,
        "headers": headers,
        "rows": [[str(row[column.key]) for column in named] for row in rows],
    }


def _filters(examples: Sequence[ExampleFrame]) -> dict[str, list[str]]:
    """The values that occur, by name of the filter."""
    return {
        "status": sorted({entry.frame.status for entry in examples}),
        "class": sorted({entry.frame.class_name for entry in examples} - {""}),
        "group": [group for group in GROUPS if any(entry.group == group for entry in examples)],
    }


def _figure(audit: Audit, example: ExampleFrame) -> dict[str, Any]:
    frame, lines = example.frame, [line for line in describe_frame(audit, example.frame) if line]
    marked = ", ".join(f"({row}, {col})" for row, col in example.marked) or "no cell"
    if len(example.marked) > _CELLS_NAMED:
        marked = f"{len(example.marked)} cells"
    where = f"{frame.class_name or 'video'} at {frame.timestamp_s:.2f} s"
    return {
        "status": frame.status,
        "class_name": frame.class_name,
        "image": data_url(example.picture, example.has_pixels),
        "width": example.picture.shape[1],
        "height": example.picture.shape[0],
        "alt": f"{where}: guidance marks {marked} (row, column), beside {audit.reference.name}; {lines[0]}",
        "lines": [lines[0], f"{frame.timestamp_s:.2f} s of {frame.video_id}", *lines[2:]],
    }


def data_url(picture: np.ndarray, is_photo: bool) -> str:
    """A picture of (height, width, 3), uint8, as a data URL: JPEG where it shows pixels of a video, else PNG."""
    buffer = io.BytesIO()
    if is_photo:
        Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    else:
        Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _css(color: tuple[int, int, int]) -> str:
    return f"rgb({', '.join(map(str, color))})"
