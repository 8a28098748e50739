"""An audit of detections from folders to a report: tables by class, pictures of the worst frames, and a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..detection.class_text import check_class_text
from ..detection.detector import STATUSES
from ..detection.index import DEFAULT_TOLERANCE_S
from ..detection.table import DetectionSummary, load_detections, merge_summaries, summarize_table
from ..errors import ConfigError, GuidanceError
from ..files import read_folder, write_whole
from ..manifests.manifest import Manifest, load_manifest
from ..reporting.bootstrap import FEW_VIDEOS, Bootstrap, Estimate
from ..reporting.tables import Column, markdown_table, status_table, write_csv
from ..video import side_by_side
from .detections import (
    BoxReference,
    ClassScores,
    DetectedFrame,
    judge_class,
    read_tracks,
    reference_of_boxes,
    reference_of_table,
    reference_of_truth,
    score_class,
)
from .drawing import GUIDANCE_COLOR, TRUTH_COLOR, blank_frame, captioned, draw_boxes, frame_sizes, read_pixels
from .page import data_url, html_table, render_page, status_rows
from .pictures import MAX_SIDE_PX, MIN_GAP_S, PANEL_HEIGHT_PX, spread, write_sheet
from .references import boxes_from_json
from .report import CSV_FILE, JSON_FILE, MARKDOWN_FILE

SHEET_FILE = "contact_sheet.png"

MEASURES = {
    "average_precision": "AP (%)",
    "recall": "recall (%)",
    "precision": "precision (%)",
    "containment": "containment (%)",
    "held": "boxes held (%)",
    "true_share": "box of frame (%)",
}
"""Field of `ClassScores` -> head of its column."""

ALL_CLASSES = "all classes"

READING = """A detection is right where its intersection over union with a true box that no better-scored one has taken
is at least {iou:g}. *AP* is COCO's average precision at that IoU (precision at 101 recalls; at most 100 detections a
frame); of all classes it is the mean over classes with a true box. *Recall* is the share of the true boxes that are
found, *precision* the share of the detections that are right, both at the table's own least score. *Containment* is
the share of the best-scored detection's area that lies within one true box, and *boxes held* the share of the true
boxes that hold a detection by half of its area: for boxes that are drawn loosely, which an exact detection overlaps
little. *Box of frame* is the share of the frame that the (largest) true box takes up, which is the containment of a
small detection placed at random. Frames whose row is missing or says nothing are counted and not judged. Brackets:
{confidence:g} % interval from {resamples} bootstrap resamples of whole videos (seed {seed})."""

CHOICE = (
    "Worst are the frames with the most boxes missed and detections that are wrong, best those with the most boxes "
    "and no such mistake; random frames are drawn from all with a box on either side, and frames without an answer "
    f"from those with a true box. Frames of one video are at least {MIN_GAP_S:g} s apart."
)
"""The rule by which frames to look at are chosen, for readers."""


@dataclass(frozen=True)
class DetectionAuditSettings:
    """What an audit of detections reads and writes.

    Raises:
        ConfigError: There is nothing to judge by, too much, or what it needs is missing.
    """

    detections: str = field(metadata={"help": "Folder or Hub id of the table of detections."})
    out: str = field(metadata={"help": "Folder of the report; it is made where it does not exist."})
    truth: str | None = field(default=None, metadata={"help": "Folder of a world's ground truth."})
    boxes: str | None = field(
        default=None, metadata={"help": "JSON file of boxes by frame index; needs --manifest for the frames' times."}
    )
    box_class: str = field(default="person", metadata={"help": "Class of the boxes in --boxes."})
    compare: str | None = field(default=None, metadata={"help": "Another table, whose boxes count as true."})
    classes: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Classes to judge, each as CLASS or CLASS=ITS NAME IN THE REFERENCE; all shared by default."
        },
    )
    iou: float = field(default=0.5, metadata={"help": "Least intersection over union of a right detection."})
    manifest: str | None = field(
        default=None, metadata={"help": "Folder of the manifest, for the pixels of pictures."}
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
    with_pixels: bool = field(
        default=True, metadata={"help": "Show the videos in the pictures, where --manifest tells where they are."}
    )
    frames_per_group: int = field(default=12, metadata={"help": "Frames of each group on the page."})
    sheet_frames: int = field(default=4, metadata={"help": "Frames of each group on the contact sheet."})

    def __post_init__(self):
        if not (self.truth or self.boxes or self.compare):
            raise ConfigError("there is nothing to judge by: give --truth, --boxes or --compare")
        if self.truth and self.boxes:
            raise ConfigError("give --truth or --boxes, not both")
        if self.boxes and not self.manifest:
            raise ConfigError("--boxes names frames by index: give --manifest too, whose videos tell their times")
        if not 0 < self.iou <= 1:
            raise ConfigError(f"--iou is {self.iou}, expected a number above 0 and up to 1")
        if not self.tolerance_s >= 0:
            raise ConfigError(f"--tolerance_s is {self.tolerance_s}, expected a number of seconds >= 0")
        if self.frames_per_group < 1 or self.sheet_frames < 1:
            raise ConfigError("--frames_per_group and --sheet_frames must be at least 1")


@dataclass(frozen=True, eq=False)
class DetectionSection:
    """The table against one reference.

    Args:
        key: Either "truth" or "agreement".
        reference: What it was judged by, in words.
        classes: Scores of each class.
        whole: Scores of all classes together, the AP being their mean.
        frames: The frames behind them.
    """

    key: str
    reference: str
    classes: list[ClassScores]
    whole: ClassScores
    frames: list[DetectedFrame]


def audit_detections(settings: DetectionAuditSettings) -> list[Path]:
    """Audit a table and write the report, and return the files.

    Raises:
        VidreasonError: What is asked for is not there or does not fit.
    """
    bootstrap = Bootstrap(resamples=settings.resamples, seed=settings.seed)
    manifest = None
    if settings.manifest:
        manifest = load_manifest(settings.manifest, settings.video_root, settings.allow_outside_paths)
    splits = _chosen_splits(load_detections(settings.detections), settings)
    summaries = {split: summarize_table(rows) for split, rows in splits.items()}
    rows = datasets.concatenate_datasets(list(splits.values()))
    pairs = _class_pairs(settings.classes)
    tracks = read_tracks(rows, pairs or None)
    sections = []
    for key, reference in _references(settings, list(splits), manifest):
        sections.append(_judge(key, reference, tracks, pairs, settings, bootstrap))
    name = Path(settings.detections).resolve().name
    written = _write_tables(Path(settings.out), name, summaries, sections, settings, bootstrap)
    figures, tiles = _draw(sections[0], settings, manifest, frame_sizes(splits.values()))
    if any(tiles.values()):
        written.append(write_sheet(Path(settings.out) / SHEET_FILE, tiles))
    whole = merge_summaries(summaries.values())
    page = render_page(
        settings.out,
        figures,
        heading=f"Audit of the table of detections {name}",
        summary=f"Produced by {whole.producer_text}. Least score: {whole.threshold_text}.",
        statuses={"headers": ["split", "rows", "videos", *STATUSES], "rows": status_rows(summaries, STATUSES)},
        sections=[
            {
                "title": _title(section),
                "counts": _counts_sentence(section, settings),
                "tables": [
                    html_table("Scores by class", _score_table(section)),
                    html_table("Frames of the reference by status of the detections", _status_counts(section)),
                ],
                "reading": _reading(settings, bootstrap).replace("*", ""),
            }
            for section in sections
        ],
        judged="detections",
        reference=sections[0].reference,
        is_judged=True,
        choice=CHOICE,
        has_pixels=manifest is not None and settings.with_pixels,
    )
    return [*written, page]


def _chosen_splits(table: datasets.DatasetDict, settings: DetectionAuditSettings) -> dict[str, datasets.Dataset]:
    missing = [split for split in settings.splits if split not in table]
    if missing:
        raise GuidanceError(f"{settings.detections} has no splits {missing}; it has {sorted(table)}")
    chosen = {split: rows for split, rows in table.items() if not settings.splits or split in settings.splits}
    if not sum(map(len, chosen.values())):
        raise GuidanceError(f"{settings.detections}: there are no rows to audit")
    return chosen


def _class_pairs(classes: Sequence[str]) -> dict[str, str]:
    """Class of the table -> its name in the reference."""
    pairs = {}
    for text in classes:
        own, _, other = text.partition("=")
        pairs[check_class_text(own)] = check_class_text(other or own)
    return pairs


def _references(
    settings: DetectionAuditSettings, splits: Sequence[str], manifest: Manifest | None
) -> list[tuple[str, BoxReference]]:
    """(key, reference); the truth first."""
    references = []
    if settings.truth:
        rows = _same_splits(read_folder(settings.truth), splits)
        name = f"the boxes of {Path(settings.truth).resolve().name}"
        references.append(("truth", reference_of_truth(name, rows)))
    if settings.boxes and manifest is not None:  # the settings want a manifest beside boxes
        videos = boxes_from_json(settings.boxes, manifest)
        name = f"the boxes of {Path(settings.boxes).name}"
        references.append(("truth", reference_of_boxes(name, videos, check_class_text(settings.box_class))))
    if settings.compare:
        rows = _same_splits(load_detections(settings.compare), splits)
        name = f"the table {Path(settings.compare).resolve().name}"
        references.append(("agreement", reference_of_table(name, rows)))
    return references


def _same_splits(tables: datasets.DatasetDict, splits: Sequence[str]) -> datasets.Dataset:
    """The splits that the detections have too, or all where they share none."""
    names = [split for split in tables if split in splits] or list(tables)
    return datasets.concatenate_datasets([tables[name] for name in names])


def _judge(
    key: str,
    reference: BoxReference,
    tracks: Mapping[str, Mapping],
    pairs: Mapping[str, str],
    settings: DetectionAuditSettings,
    bootstrap: Bootstrap,
) -> DetectionSection:
    chosen = pairs or {text: text for text in tracks if text in reference.by_class}
    for text, other in chosen.items():
        if text not in tracks:
            raise GuidanceError(f"{settings.detections} has no rows of {text!r}; it has {', '.join(sorted(tracks))}")
        if other not in reference.by_class:
            raise GuidanceError(
                f"{reference.name}: there is no class {other!r}; there are {', '.join(sorted(reference.by_class))}"
            )
    if not chosen:
        raise GuidanceError(
            f"detections and {reference.name} have no class in common: {', '.join(sorted(tracks)[:5])} against "
            f"{', '.join(sorted(reference.by_class)[:5])}; name them with --classes CLASS=NAME"
        )
    frames, classes = [], []
    for text in sorted(chosen):
        found = judge_class(text, tracks[text], reference.by_class[chosen[text]], settings.iou, settings.tolerance_s)
        if not set(tracks[text]) & set(reference.by_class[chosen[text]]):
            raise GuidanceError(f"detections and {reference.name} have no video in common")
        classes.append(score_class(text, found, bootstrap))
        frames += found
    return DetectionSection(key, reference.name, classes, _all_classes(frames, classes, bootstrap), frames)


def _all_classes(frames: Sequence[DetectedFrame], classes: Sequence[ClassScores], bootstrap: Bootstrap) -> ClassScores:
    """All frames of all classes together; AP is no property of a mixture, so it is the mean over classes."""
    whole = score_class(ALL_CLASSES, frames, bootstrap)
    values = [one.average_precision.value for one in classes if one.average_precision.value is not None]
    mean = Estimate(float(np.mean(values))) if values else Estimate()
    return ClassScores(
        **{**{entry.name: getattr(whole, entry.name) for entry in fields(whole)}, "average_precision": mean}
    )


# Tables


def _write_tables(
    out: Path,
    name: str,
    summaries: Mapping[str, DetectionSummary],
    sections: Sequence[DetectionSection],
    settings: DetectionAuditSettings,
    bootstrap: Bootstrap,
) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "detections": name,
        "iou": settings.iou,
        "tolerance_s": settings.tolerance_s,
        "bootstrap": asdict(bootstrap),
        "splits": {
            split: {"rows": one.rows, "videos": len(one.videos), "statuses": dict(sorted(one.statuses.items()))}
            for split, one in summaries.items()
        },
        "sections": [
            {
                "key": section.key,
                "reference": section.reference,
                "classes": [asdict(one) for one in section.classes],
                "all": asdict(section.whole),
            }
            for section in sections
        ],
    }
    write_whole(out / JSON_FILE, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    rows = [
        {
            **{"section": section.key, "class": one.class_text, "measure": measure},
            **{bound: "n/a" if value is None else value for bound, value in asdict(getattr(one, measure)).items()},
            **{"judged_frames": one.judged, "true_boxes": one.true_boxes, "detections": one.detections},
        }
        for section in sections
        for one in (*section.classes, section.whole)
        for measure in MEASURES
    ]
    columns: list[Column | str] = ["section", "class", "measure"]
    columns += [Column(bound, decimals=6) for bound in ("value", "low", "high")]
    write_csv(out / CSV_FILE, rows, [*columns, "judged_frames", "true_boxes", "detections"])
    whole = merge_summaries(summaries.values())
    parts = [
        f"# Audit of the table of detections {name}",
        f"Produced by: {whole.producer_text}. Least score: {whole.threshold_text}.",
        status_table(summaries, STATUSES),
    ]
    for section in sections:
        parts += [
            f"## {_title(section)}",
            _counts_sentence(section, settings),
            markdown_table(*_score_table(section)),
            markdown_table(*_status_counts(section)),
        ]
    parts.append(_reading(settings, bootstrap))
    write_whole(out / MARKDOWN_FILE, "\n\n".join(part.strip() for part in parts) + "\n")
    return [out / file for file in (JSON_FILE, CSV_FILE, MARKDOWN_FILE)]


def _title(section: DetectionSection) -> str:
    return f"{'Agreement with' if section.key == 'agreement' else 'Against'} {section.reference}"


def _counts_sentence(section: DetectionSection, settings: DetectionAuditSettings) -> str:
    whole = section.whole
    videos = len({frame.video_id for frame in section.frames})
    few = f" Fewer than {FEW_VIDEOS} videos: the intervals are too narrow." if whole.videos < FEW_VIDEOS else ""
    return (
        f"The reference has {whole.frames} frames, counted for each class, of {videos} videos; {whole.judged} of them "
        f"are judged, with {whole.true_boxes} true boxes and {whole.detections} detections, and "
        f"{whole.frames - whole.judged} have no row within {settings.tolerance_s:g} s that says anything.{few}"
    )


def _reading(settings: DetectionAuditSettings, bootstrap: Bootstrap) -> str:
    text = READING.format(
        iou=settings.iou,
        confidence=100 * bootstrap.confidence,
        resamples=bootstrap.resamples,
        seed=bootstrap.seed,
    )
    return " ".join(text.split())


def _score_table(section: DetectionSection) -> tuple[list[dict[str, Any]], list[Column | str]]:
    shown = [*section.classes, *([section.whole] if len(section.classes) > 1 else [])]
    rows = [
        {
            "class": one.class_text,
            **{"frames": one.judged, "boxes": one.true_boxes, "detections": one.detections},
            **{measure: _percent(getattr(one, measure)) for measure in MEASURES},
        }
        for one in shown
    ]
    columns = [Column(measure, head, right=True) for measure, head in MEASURES.items()]
    return rows, ["class", Column("frames", "frames judged"), Column("boxes", "true boxes"), "detections", *columns]


def _status_counts(section: DetectionSection) -> tuple[list[dict[str, Any]], list[Column | str]]:
    statuses = sorted({status for one in section.classes for status in one.statuses}, key=lambda s: (s != "ok", s))
    rows = [
        {"class": one.class_text, **{status: one.statuses.get(status, 0) for status in statuses}}
        for one in section.classes
    ]
    return rows, ["class", *statuses]


def _percent(estimate: Estimate) -> str:
    if estimate.value is None:
        return "n/a"
    text = f"{100 * estimate.value:.1f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


# Pictures


def _draw(
    section: DetectionSection,
    settings: DetectionAuditSettings,
    manifest: Manifest | None,
    sizes: Mapping[str, tuple[int, int]],
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, list[np.ndarray]]]:
    """Figures for the page and tiles for the contact sheet, by group."""
    chosen = _choose(section.frames, max(settings.frames_per_group, settings.sheet_frames), settings.seed)
    times_s: dict[str, list[float]] = {}
    for frames in chosen.values():
        for frame in frames:
            if frame.timestamp_s not in times_s.setdefault(frame.video_id, []):
                times_s[frame.video_id].append(frame.timestamp_s)
    pixels = {} if manifest is None or not settings.with_pixels else read_pixels(manifest, times_s, MAX_SIDE_PX)
    figures: dict[str, list[dict[str, Any]]] = {}
    tiles: dict[str, list[np.ndarray]] = {}
    for group, frames in chosen.items():
        for number, frame in enumerate(frames):
            photo = pixels.get((frame.video_id, frame.timestamp_s))
            surface = blank_frame(*sizes.get(frame.video_id, (240, 320))) if photo is None else photo
            found = ", ".join(f"{score:.2f}" for score in frame.scores[:4]) or frame.status
            panels = [
                (f"{frame.class_text}: {found}", draw_boxes(surface, frame.boxes, GUIDANCE_COLOR)),
                (section.reference, draw_boxes(surface, frame.true_boxes, TRUTH_COLOR)),
            ]
            picture = side_by_side(panels, PANEL_HEIGHT_PX)
            lines = [_describe(frame), f"{frame.timestamp_s:.2f} s of {frame.video_id.rsplit('/', 1)[-1]}"]
            figures.setdefault(group, []).append(
                {
                    "status": frame.status,
                    "class_name": frame.class_text,
                    "image": data_url(picture, photo is not None),
                    "width": picture.shape[1],
                    "height": picture.shape[0],
                    "alt": f"{frame.class_text} at {frame.timestamp_s:.2f} s of {frame.video_id}: {lines[0]}",
                    "lines": lines,
                }
            )
            if number < settings.sheet_frames:
                tiles.setdefault(group, []).append(captioned(picture, lines))
    return figures, tiles


def _choose(frames: Sequence[DetectedFrame], per_group: int, seed: int) -> dict[str, list[DetectedFrame]]:
    """Frames of each group, by the rule of `CHOICE`."""
    rng = np.random.default_rng(seed)
    shuffled = [frames[number] for number in rng.permutation(len(frames))]
    shown = [one for one in shuffled if one.match is not None and len(one.true_boxes) + len(one.boxes)]
    groups = {
        "worst": sorted((one for one in shown if one.mistakes), key=lambda one: -one.mistakes),
        "best": sorted((one for one in shown if not one.mistakes), key=lambda one: -len(one.true_boxes)),
        "random": shown,
        "without an answer": [one for one in shuffled if one.match is None and len(one.true_boxes)],
    }
    chosen = {group: spread(members, per_group) for group, members in groups.items()}
    return {group: members for group, members in chosen.items() if members}


def _describe(frame: DetectedFrame) -> str:
    if frame.match is None:
        return f"status {frame.status}"
    counts = Counter(
        found=int(frame.match.is_found.sum()),
        missed=int((~frame.match.is_found).sum()),
        wrong=int((~frame.match.is_right).sum()),
    )
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    return text if np.isnan(frame.match.contained) else f"{text}; best {100 * frame.match.contained:.0f} % contained"
