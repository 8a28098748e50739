"""An audit from folders to a report: tables, contact sheet and page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import datasets

from ..errors import GuidanceError
from ..files import read_folder
from ..guidance.join import DEFAULT_TOLERANCE_S
from ..guidance.table import load_guidance, summarize_table
from ..manifests.manifest import Manifest, load_manifest
from ..reporting.bootstrap import Bootstrap
from .drawing import frame_sizes
from .page import write_page
from .pictures import choose_frames, draw_examples, write_contact_sheet
from .references import OtherTable, TrueBoxes, boxes_from_json, boxes_from_table
from .report import AuditReport, audit_section, write_report
from .run import Audit, audit_table

SHEET_FILE = "contact_sheet.png"


@dataclass(frozen=True)
class AuditSettings:
    """What an audit reads and writes.

    Raises:
        GuidanceError: there is nothing to judge by, or too much.
    """

    guidance: str = field(metadata={"help": "Folder of the guidance table."})
    out: str = field(metadata={"help": "Folder of the report; it is made where it does not exist."})
    truth: str | None = field(
        default=None, metadata={"help": "Folder of ground truth with the boxes of relevant objects."}
    )
    boxes: str | None = field(
        default=None, metadata={"help": "JSON file of boxes by frame index; needs --manifest for the frames' times."}
    )
    compare: str | None = field(default=None, metadata={"help": "Folder of another guidance table."})
    manifest: str | None = field(
        default=None, metadata={"help": "Folder of the manifest, for classes and the pixels of pictures."}
    )
    video_root: str | None = field(
        default=None, metadata={"help": "Folder of the videos, if they are not where the manifest says."}
    )
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )
    splits: list[str] = field(default_factory=list, metadata={"help": "Names of the splits to audit; all by default."})
    tolerance_s: float = field(
        default=DEFAULT_TOLERANCE_S, metadata={"help": "Seconds that a row may lie from the frame it speaks for."}
    )
    resamples: int = field(default=1000, metadata={"help": "Number of bootstrap resamples of whole videos."})
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap and of the random examples."})
    frames_per_group: int = field(
        default=24, metadata={"help": "Frames of each group (worst, best, random, without guidance) on the page."}
    )
    sheet_frames: int = field(default=4, metadata={"help": "Number of frames of each group on the contact sheet."})

    def __post_init__(self):
        if not (self.truth or self.boxes or self.compare):
            raise GuidanceError("there is nothing to judge by: give --truth, --boxes or --compare")
        if self.truth and self.boxes:
            raise GuidanceError("give --truth or --boxes, not both")
        if self.boxes and not self.manifest:
            raise GuidanceError("--boxes names frames by index: give --manifest too, whose videos tell their times")
        if self.frames_per_group < 1 or self.sheet_frames < 1:
            raise GuidanceError("--frames_per_group and --sheet_frames must be at least 1")


def audit_folder(settings: AuditSettings) -> list[Path]:
    """Audit a table and write the report, and return the files.

    Raises:
        GuidanceError, ManifestError: what is asked for is not there or does not fit.
    """
    bootstrap = Bootstrap(resamples=settings.resamples, seed=settings.seed)
    manifest = None
    if settings.manifest:
        manifest = load_manifest(settings.manifest, settings.video_root, settings.allow_outside_paths)
    splits = _chosen_splits(load_guidance(settings.guidance), settings)
    audits = _run_audits(settings, splits, manifest)
    report = AuditReport(
        name=_name(settings.guidance),
        splits={split: summarize_table(table) for split, table in splits.items()},
        sections=[audit_section(key, name, audit, bootstrap) for (key, name), audit in audits.items()],
        bootstrap=bootstrap,
        tolerance_s=settings.tolerance_s,
    )
    written = write_report(settings.out, report)
    audit = next(iter(audits.values()))  # the truth, where there is one
    chosen = choose_frames(audit, max(settings.frames_per_group, settings.sheet_frames), settings.seed)
    examples = draw_examples(audit, chosen, manifest, frame_sizes(splits.values()))
    if examples:
        sheet = Path(settings.out) / SHEET_FILE
        written.append(write_contact_sheet(sheet, audit, examples, settings.sheet_frames))
    return [*written, write_page(settings.out, report, audit, examples)]


def _chosen_splits(table: datasets.DatasetDict, settings: AuditSettings) -> dict[str, datasets.Dataset]:
    missing = [split for split in settings.splits if split not in table]
    if missing:
        raise GuidanceError(f"{settings.guidance} has no splits {missing}; it has {sorted(table)}")
    chosen = {split: rows for split, rows in table.items() if not settings.splits or split in settings.splits}
    if not sum(map(len, chosen.values())):
        raise GuidanceError(f"{settings.guidance}: there are no rows to audit")
    return chosen


def _run_audits(
    settings: AuditSettings, splits: Mapping[str, datasets.Dataset], manifest: Manifest | None
) -> dict[tuple[str, str], Audit]:
    """(key, name of the reference in words) -> audit; the truth first."""
    # all splits together: intervals need as many videos as there are
    rows = datasets.concatenate_datasets(list(splits.values()))
    classes = _class_names(manifest)
    audits = {}
    found = _read_truth(settings, splits, manifest)
    if found is not None:
        name, truth = found
        classes = {**truth.class_names, **classes}
        audits["truth", f"the boxes of {name}"] = audit_table(rows, truth, classes, settings.tolerance_s)
    if settings.compare:
        name, table = _same_splits(load_guidance(settings.compare), splits, settings.compare)
        other = OtherTable(table, settings.tolerance_s)
        audits["agreement", f"the table {name}"] = audit_table(rows, other, classes, settings.tolerance_s)
    return audits


def _read_truth(
    settings: AuditSettings, splits: Iterable[str], manifest: Manifest | None
) -> tuple[str, TrueBoxes] | None:
    """The name and boxes of the ground truth; None where only another table is to be compared with."""
    if settings.truth:
        name, table = _same_splits(read_folder(settings.truth), splits, settings.truth)
        return name, TrueBoxes(boxes_from_table(table, settings.truth))
    if settings.boxes and manifest is not None:  # the settings want a manifest beside boxes
        return _name(settings.boxes), TrueBoxes(boxes_from_json(settings.boxes, manifest))
    return None


def _same_splits(tables: datasets.DatasetDict, splits: Iterable[str], path: str) -> tuple[str, datasets.Dataset]:
    """The name and rows of what is to be judged by: the splits that the guidance has too, or all where none is."""
    names = [split for split in tables if split in splits] or list(tables)
    return f"{_name(path)} ({', '.join(names)})", datasets.concatenate_datasets([tables[name] for name in names])


def _class_names(manifest: Manifest | None) -> dict[str, str]:
    """Video id -> class."""
    if manifest is None:
        return {}
    splits = manifest.splits.values()
    return {
        video_id: manifest.class_names[label]
        for rows in splits
        for video_id, label in zip(rows["video_id"], rows["label"], strict=True)
    }


def _name(path: str | os.PathLike) -> str:
    """A folder's own name: reports tell nobody where it lies on this machine."""
    return Path(path).resolve().name or "table"
