"""Making a store of packed clips: videos and guidance in, Parquet files with a card out.

A split is cut into parts of consecutive clips, and a part becomes one Parquet file. Parts are made by any number of
processes, each holding one part's rows a few at a time, and are put in place whole: a run that is killed goes on with
the parts that are missing. The folder appears under its name when all is there.
"""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from ..errors import ConfigError, VideoError, one_of_many
from ..files import FileLimits, split_path, write_card, write_split, write_whole
from ..guidance.join import MISSING
from ..manifests.manifest import Manifest
from ..reporting.tables import text_table
from ..video.decode import decode_frames
from ..video.jpeg import encode_jpeg
from .packed_store import PER_FRAME_PROVENANCE, packed_features
from .packing_request import PackInputs, PackReport, PackRequest, PackSettings, open_inputs, pack_facts

logger = logging.getLogger(__name__)

FACTS_FILE, SKIPPED_FILE, PART_FILE = "packing.json", "skipped.jsonl", "part.json"

_CLIPS_AT_A_TIME = 16  # rows that are written, and read when streaming, together: a megabyte or two
_FRAMES_AT_A_TIME = 128  # that lie in memory decoded, when all frames of a long video are packed
_TASKS_A_PROCESS = 4


def pack_clips(
    request: PackRequest,
    out: str | os.PathLike,
    num_proc: int = 1,
    overwrite: bool = False,
    progress: bool = False,
    **card_metadata: Any,
) -> PackReport:
    """Make a store of packed clips, or go on with one that was broken off.

    A video that cannot be read is left out, counted, and named in `skipped.jsonl`.

    Args:
        request: What is packed, and how.
        out: Folder of the store. While it is made its name ends in `.partial`.
        num_proc: Number of processes that decode.
        overwrite: Whether a store that is there is made anew.
        progress: Whether a bar is shown.
        **card_metadata: Further keys of the card's YAML, such as `license`.

    Raises:
        VidreasonError: Manifest or guidance are not usable, no video of a split can be read, or there is a store
            already, finished or not, that was asked for in another way.
    """
    if num_proc < 1:
        raise ConfigError(f"num_proc is {num_proc}, expected at least 1")
    out = Path(out)
    inputs = open_inputs(request)
    facts = pack_facts(request, inputs)
    finished = _finished(out, facts, overwrite)
    if finished is not None:
        return finished
    # said, since their pixels go into a store that is made to be published, and a manifest may name any folder
    logger.info("videos are read from %s", inputs.manifest.video_root.resolve())
    work = _working_folder(out, facts, overwrite)
    parts = _parts(request, inputs.manifest, work)
    with tqdm(desc="pack", unit=" clips", total=sum(part.size for part in parts), disable=not progress) as bar:
        for num_clips in _pack_parts(request, inputs, parts, num_proc):
            bar.update(num_clips)
    report = _gather(work, parts, request.splits)
    body = packing_card(facts, report)
    metadata = {"pretty_name": f"Packed clips of {inputs.manifest.source}", "tags": ["video", "vidreason"]}
    write_card(work, request.splits, body, task_categories=["video-classification"], **metadata | card_metadata)
    _write_json(work / FACTS_FILE, {**facts, "report": asdict(report)})
    shutil.rmtree(work / "parts")
    if out.exists():
        shutil.rmtree(out)
    os.replace(work, out)
    return report


def _finished(out: Path, facts: Mapping[str, Any], overwrite: bool) -> PackReport | None:
    """The report of a finished store that is the same; None where one is to be made."""
    if overwrite or not out.exists():
        return None
    known = _read_facts(out / FACTS_FILE)
    if known is not None and {name: known.get(name) for name in facts} == facts:
        return PackReport(**known["report"])
    what = "packed clips with other settings" if known else "something else"
    raise ConfigError(f"{out} exists and holds {what}; name another folder, or pass --overwrite")


def _working_folder(out: Path, facts: dict[str, Any], overwrite: bool) -> Path:
    """The folder in which the store is made, emptied or gone on with."""
    work = out.with_name(f"{out.name}.partial")
    if overwrite:
        shutil.rmtree(work, ignore_errors=True)
    if work.exists():
        if _read_facts(work / FACTS_FILE) != facts:
            raise ConfigError(f"{work} holds a run with other settings; remove it, or pass --overwrite")
        logger.info("going on with %s", work)
    (work / "parts").mkdir(parents=True, exist_ok=True)
    _write_json(work / FACTS_FILE, facts)
    return work


def _read_facts(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class _Part:
    """The clips [start, stop) of a split, and the folder that they are written to."""

    folder: Path
    split: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def parquet(self) -> Path:
        return split_path(self.folder, self.split)

    @property
    def is_done(self) -> bool:
        return (self.folder / PART_FILE).is_file()


def _parts(request: PackRequest, manifest: Manifest, work: Path) -> list[_Part]:
    size = request.settings.clips_per_file
    parts = []
    for split in request.splits:
        count = len(manifest.split(split))
        for number, start in enumerate(range(0, count, size)):
            folder = work / "parts" / f"{split}-{number:05d}"
            parts.append(_Part(folder, split, start, min(start + size, count)))
    return parts


def _pack_parts(request: PackRequest, inputs: PackInputs, parts: list[_Part], num_proc: int) -> Iterator[int]:
    """Write the parts that an earlier run did not; gives the number of clips each time that some are done."""
    if num_proc == 1 or len(parts) == 1:
        for part in parts:
            _pack_part(request.settings, inputs, part)
            yield part.size
        return
    # A task opens the tables for itself, so it is several parts; but not all of a process's, so that no process waits
    # long for the last one.
    size = max(1, len(parts) // (_TASKS_A_PROCESS * num_proc))
    tasks = [parts[start : start + size] for start in range(0, len(parts), size)]
    # spawned, as a fork does not survive the threads that the caller may hold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_proc, len(tasks)), mp_context=context) as pool:
        for task, _ in zip(tasks, pool.map(functools.partial(_pack_task, request), tasks), strict=True):
            yield sum(part.size for part in task)


# The work of a process


def _pack_task(request: PackRequest, parts: list[_Part]) -> None:
    """Write some parts, from tables that are opened here: open ones are not sent to other processes."""
    if all(part.is_done for part in parts):
        return
    inputs = open_inputs(request)
    for part in parts:
        _pack_part(request.settings, inputs, part)


def _pack_part(settings: PackSettings, inputs: PackInputs, part: _Part) -> None:
    """Write one part, unless an earlier run did."""
    if part.is_done:
        return
    partial = part.folder.with_name(f"{part.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    packer = _Packer(settings, inputs, part.split)
    features = packed_features(inputs.manifest.class_names)
    limits = FileLimits(batch_rows=_CLIPS_AT_A_TIME)
    write_split(partial, part.split, packer.rows(part.start, part.stop), features, limits, compress=False)
    _write_json(partial / PART_FILE, packer.counts)
    os.replace(partial, part.folder)


class _Packer:
    """Turns videos of a split into rows, and counts them.

    Args:
        settings: How frames are chosen, scaled and encoded.
        inputs: Manifest and guidance.
        split: Split of both.
    """

    def __init__(self, settings: PackSettings, inputs: PackInputs, split: str):
        self.settings, self.inputs, self.split = settings, inputs, split
        self.index = inputs.indices.get(split)
        self.provenance: pa.Table | None = None
        if self.index is not None:
            rows = inputs.tables[split].with_format("arrow").select_columns(list(PER_FRAME_PROVENANCE))[:]
            self.provenance = rows.combine_chunks()
        self.counts: dict[str, Any] = {"clips": 0, "frames": 0, "jpeg_bytes": 0, "statuses": {}, "skipped": []}

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The rows of the clips [start, stop) of the split, without those that cannot be read."""
        videos = self.inputs.manifest.split(self.split)
        for clip_index in range(start, stop):
            video = videos[clip_index]
            try:
                with one_of_many(self.inputs.manifest.video_path(video)):
                    row = self.row(video, clip_index)
            except VideoError as error:
                logger.warning("left out, split %s: %s", self.split, error)
                entry = {"video_id": video["video_id"], "path": video["path"], "split": self.split}
                # FFmpeg's words name the file by its place on this machine, which a store is not to tell
                detail = error.detail.replace(error.path, video["path"])
                self.counts["skipped"].append({**entry, "reason": error.reason, "detail": detail})
                continue
            self.counts["clips"] += 1
            self.counts["frames"] += len(row["frames"])
            self.counts["jpeg_bytes"] += sum(len(frame["bytes"]) for frame in row["frames"])
            for status in row["guidance"]["status"] if self.index is not None else ():
                self.counts["statuses"][status] = self.counts["statuses"].get(status, 0) + 1
            yield row

    def row(self, video: Mapping[str, Any], clip_index: int) -> dict[str, Any]:
        """One clip.

        Args:
            video: Row of the manifest.
            clip_index: Index of the video in its split.

        Raises:
            VideoError: The video cannot be read.
        """
        settings, height, width = self.settings, video["height"], video["width"]
        wanted = settings.frame_indices(video["num_frames"])
        frames, times_s = [], []
        for start in range(0, len(wanted), _FRAMES_AT_A_TIME):
            decoded = decode_frames(
                self.inputs.manifest.video_path(video),
                wanted[start : start + _FRAMES_AT_A_TIME],
                size=settings.frame_size(height, width),
                max_pixels=settings.max_pixels,
                stand_ins=True,  # as clips are read from the files themselves
            )
            jpegs = [encode_jpeg(frame, settings.quality, settings.subsampling) for frame in decoded.frames]
            frames += [{"bytes": jpeg, "path": None} for jpeg in jpegs]
            times_s += decoded.timestamps_s
        return {
            "video_id": video["video_id"],
            "source": video["source"],
            "split": self.split,
            "clip_index": clip_index,
            "label": video["label"],
            "group": video["group"],
            "num_frames": video["num_frames"],
            "frame_height": height,
            "frame_width": width,
            "frame_indices": wanted,
            "timestamps_s": times_s,
            "frames": frames,
            "guidance": self._guidance(video["video_id"], times_s),
        }

    def _guidance(self, video_id: str, times_s: Sequence[float]) -> dict[str, Any]:
        """The guidance of a clip's frames in the columns of `GUIDANCE_FEATURES`."""
        if self.index is None or self.provenance is None:
            empty = {name: [""] * len(times_s) for name in PER_FRAME_PROVENANCE}
            return {"table": "", **_columns([None] * len(times_s), [MISSING] * len(times_s)), **empty}
        found = self.index.lookup(video_id, times_s)
        taken = self.provenance.take(pa.array(self.index.find_rows(video_id, times_s), pa.int64())).to_pydict()
        provenance = {name: [value or "" for value in values] for name, values in taken.items()}
        return {"table": self.inputs.names[self.split], **_columns(found.maps, found.statuses), **provenance}


def _columns(maps: Sequence, statuses: Sequence[str]) -> dict[str, list]:
    return {
        "status": list(statuses),
        "grid_rows": [0 if grid_map is None else grid_map.grid[0] for grid_map in maps],
        "grid_cols": [0 if grid_map is None else grid_map.grid[1] for grid_map in maps],
        "weights": [[] if grid_map is None else grid_map.weights.tolist() for grid_map in maps],
        "rectangle": [[] if grid_map is None else list(grid_map.rectangle) for grid_map in maps],
    }


def _gather(work: Path, parts: list[_Part], splits: Sequence[str]) -> PackReport:
    """Move the parts' files to their names in the store, and add up what they hold.

    Raises:
        ConfigError: A split has no clip at all.
    """
    counts = {part: json.loads((part.folder / PART_FILE).read_text(encoding="utf-8")) for part in parts}
    report = PackReport({}, {}, {}, {}, [entry for count in counts.values() for entry in count["skipped"]])
    for split in splits:
        filled = [part for part in parts if part.split == split and counts[part]["clips"]]
        if not filled:
            reasons = sorted({entry["reason"] for entry in report.skipped if entry["split"] == split})
            raise ConfigError(f"no video of split {split!r} can be read: {', '.join(reasons)}")
        for name in ("clips", "frames", "jpeg_bytes"):
            getattr(report, name)[split] = sum(counts[part][name] for part in filled)
        report.statuses[split] = {}
        for part in filled:
            for status, count in counts[part]["statuses"].items():
                report.statuses[split][status] = report.statuses[split].get(status, 0) + count
        for number, part in enumerate(filled):
            target = split_path(work, split, number, len(filled))
            target.parent.mkdir(exist_ok=True)
            if part.parquet.is_file():  # else a run that was killed here has moved it
                os.replace(part.parquet, target)
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in report.skipped]
    write_whole(work / SKIPPED_FILE, "".join(lines))
    return report


# The dataset card


def packing_card(facts: Mapping[str, Any], report: PackReport) -> str:
    """Markdown for a person: what was packed and how, what it holds, what was left out.

    Args:
        facts: Facts of the store, as in its `packing.json`.
        report: What it holds.
    """
    parts = [
        f"# Packed clips of {facts['source']}",
        "A row is a clip: sampled frames of one video as JPEG, their times, the label, and the guidance of these "
        "frames, which says where in them the evidence for the action is. The pictures are those of the videos, "
        "whose licence holds for them.",
        _card_usage(next(iter(report.clips))),
        "## How it was packed",
        _card_settings(facts["settings"]),
        "## Splits",
        _card_splits(facts, report),
        "A frame whose guidance has a status other than `ok` is not supervised; `missing` means that the guidance "
        "table has no row within "
        f"{facts['guidance_tolerance_s']:g} s of the frame.",
        "## Left out",
        _card_skipped(report),
    ]
    return "\n\n".join(parts)


def _card_usage(split: str) -> str:
    return (
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'clips = load_dataset("this folder", split="{split}")  # or streaming=True\n'
        'print(clips[0]["video_id"], clips[0]["frames"][0], clips[0]["guidance"]["status"])\n'
        "```\n\n"
        "To train on it: `python train.py recipe.yaml --packed_clips <this folder>`."
    )


def _card_settings(settings: Mapping[str, Any]) -> str:
    count = settings["frames_per_clip"]
    frames = f"the middle frames of {count} equal segments of each video" if count else "every frame"
    size = "in the video's size"
    for side in ("short", "long"):
        if settings[f"{side}_side_px"] is not None:
            size = f"scaled down to a {side}er side of {settings[f'{side}_side_px']} pixels"
    return f"Packed are {frames}, {size}, as JPEG of quality {settings['quality']} ({settings['subsampling']})."


def _card_splits(facts: Mapping[str, Any], report: PackReport) -> str:
    rows = []
    for split, clips in report.clips.items():
        statuses = ", ".join(f"{name} {count}" for name, count in sorted(report.statuses[split].items()))
        megabytes = f"{report.jpeg_bytes[split] / 1e6:.1f}"
        guidance = facts["guidance"].get(split, "none")
        rows.append((split, clips, report.frames[split], megabytes, guidance, statuses or "-"))
    return text_table(("split", "clips", "frames", "MB", "guidance", "frames by status"), rows)


def _card_skipped(report: PackReport) -> str:
    if not report.skipped:
        return "No video was left out."
    reasons = Counter(entry["reason"] for entry in report.skipped)
    table = text_table(("reason", "videos"), reasons.most_common())
    return f"{len(report.skipped)} videos were left out; `skipped.jsonl` names each.\n\n{table}"


__all__ = ["FACTS_FILE", "PackReport", "PackRequest", "PackSettings", "pack_clips"]
