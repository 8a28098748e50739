"""An audit as one HTML file to look through: numbers, and frames that can be filtered by status, class and group.

Pictures are in the file, nothing is loaded from elsewhere, and without JavaScript all of it can still be read.
"""

from __future__ import annotations

import base64
import importlib.resources
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ..files import write_whole
from ..guidance.table import merge_summaries
from ..provenance import STATUSES
from ..reporting.tables import Column, RowSummary
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
    whole = merge_summaries(report.splits.values())
    figures = {
        group: [_figure(audit, entry) for entry in examples if entry.group == group]
        for group in GROUPS
        if any(entry.group == group for entry in examples)
    }
    return render_page(
        folder,
        heading=f"Audit of the guidance table {report.name}",
        summary=f"Produced by {whole.producer_text}. Grids (rows x columns): {whole.grid_text}.",
        statuses={"headers": ["split", "rows", "videos", *STATUSES], "rows": status_rows(report.splits, STATUSES)},
        sections=[_section(section, report) for section in report.sections],
        judged="guidance",
        reference=audit.reference.name,
        is_judged=audit.is_judged,
        choice=CHOICE if audit.is_judged else CHOICE_UNJUDGED,
        has_pixels=any(entry.has_pixels for entry in examples),
        figures=figures,
    )


def render_page(folder: str | os.PathLike, figures: Mapping[str, Sequence[dict[str, Any]]], **texts: Any) -> Path:
    """Write the page of any audit and return its path.

    Args:
        folder: Folder of the report.
        figures: Frames to look at by group, each with `status`, `class_name`, `image` (a data URL), `width`, `height`,
            `alt` and `lines`.
        texts: What else the template shows.
    """
    template = importlib.resources.files(__package__).joinpath(TEMPLATE_FILE).read_text(encoding="utf-8")
    # names of classes and videos come from outside and must not become HTML
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(template).render(
        **texts,
        judged_color=_css(GUIDANCE_COLOR),
        reference_color=_css(TRUTH_COLOR),
        filters=_filters(figures),
        groups=[{"name": group, "frames": members} for group, members in figures.items()],
    )
    path = Path(folder) / PAGE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def status_rows(splits: Mapping[str, RowSummary], statuses: Sequence[str]) -> list[list[str]]:
    """Rows, videos and statuses of each split, as cells of the page's first table."""
    return [
        [split, str(entry.rows), str(len(entry.videos)), *(str(entry.statuses[status]) for status in statuses)]
        for split, entry in splits.items()
    ]


def _section(section: AuditSection, report: AuditReport) -> dict[str, Any]:
    tables = [("Scores", score_table(section))] if section.scores else []
    tables.append(("Frames by the status of the guidance and of the reference", status_counts_table(section.counts)))
    tables += [(group_title(kind), group_table(section, kind)) for kind in section.groups]
    return {
        "title": section_title(section),
        "counts": counts_sentence(section.counts, report.tolerance_s),
        "tables": [html_table(caption, table) for caption, table in tables],
        "reading": reading_text(section, report.bootstrap).replace("*", ""),
    }


def html_table(caption: str, table: _Table) -> dict[str, Any]:
    """A table as the page's template takes it."""
    rows, columns = table
    named = [Column(column) if isinstance(column, str) else column for column in columns]
    headers = [column.header or column.key for column in named]
    return {
        "caption": caption,
        "headers": headers,
        "rows": [[str(row[column.key]) for column in named] for row in rows],
    }


def _filters(figures: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, list[str]]:
    """The values that occur, by name of the filter."""
    shown = [figure for members in figures.values() for figure in members]
    return {
        "status": sorted({figure["status"] for figure in shown}),
        "class": sorted({figure["class_name"] for figure in shown} - {""}),
        "group": list(figures),
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
