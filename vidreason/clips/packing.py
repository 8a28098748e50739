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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from ..errors import ConfigError, VideoError
from ..files import FileLimits, split_path, write_card, write_split, write_whole
from ..guidance.join import MISSING
from ..manifests.manifest import Manifest
from ..video.decode import decode_frames
from ..video.jpeg import encode_jpeg
from .packed_store import PER_FRAME_PROVENANCE, packed_features
from .packing_card import packing_card
from .packing_request import PackInputs, PackRequest, PackSettings, open_inputs, pack_facts

logger = logging.getLogger(__name__)

FACTS_FILE, SKIPPED_FILE, PART_FILE = "packing.json", "skipped.jsonl", "part.json"

_CLIPS_AT_A_TIME = 16  # rows that are written, and read when streaming, together: a megabyte or two
_FRAMES_AT_A_TIME = 128


@dataclass(frozen=True)
class PackReport:
    """What a store holds: the clips, frames and bytes of JPEG of each split, and the videos that were left out."""

    clips: dict[str, int]
    frames: dict[str, int]
    jpeg_bytes: dict[str, int]
    statuses: dict[str, dict[str, int]]
    skipped: list[dict[str, str]]


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
        request: what is packed.
        out: folder of the store. While it is made its name ends in `.partial`.
        num_proc: processes that decode.
        overwrite: make anew what is there.
        progress: show a bar.
        card_metadata: further keys of the card's YAML, such as `license`.

    Raises:
        VidreasonError: manifest or guidance are not usable, no video of a split can be read, or there is a store
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
    work = _working_folder(out, facts, overwrite)
    parts = _parts(request, inputs.manifest, work)
    with _mapped(functools.partial(_pack_part, request), parts, num_proc) as results:
        bar = tqdm(desc="pack", unit=" clips", total=sum(part.size for part in parts), disable=not progress)
        for part, _ in zip(parts, results, strict=True):
            bar.update(part.size)
        bar.close()
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


def _parts(request: PackRequest, manifest: Manifest, work: Path) -> list[_Part]:
    size = request.settings.clips_per_file
    parts = []
    for split in request.splits:
        count = len(manifest.split(split))
        for number, start in enumerate(range(0, count, size)):
            folder = work / "parts" / f"{split}-{number:05d}"
            parts.append(_Part(folder, split, start, min(start + size, count)))
    return parts


@contextmanager
def _mapped(function, parts: list[_Part], num_proc: int) -> Iterator[Iterator]:
    """The results of the parts, in their order."""
    if num_proc == 1 or len(parts) == 1:
        yield map(function, parts)
        return
    # spawned, as a fork does not survive the threads that the caller may hold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_proc, len(parts)), mp_context=context) as pool:
        yield pool.map(function, parts)


# The work of a process


_opened: tuple[PackRequest, PackInputs] | None = None  # of this process: tables are read once for all of its parts


def _pack_part(request: PackRequest, part: _Part) -> None:
    """Write one part, unless an earlier run did."""
    global _opened
    if (part.folder / PART_FILE).is_file():
        return
    if _opened is None or _opened[0] != request:
        _opened = (request, open_inputs(request))
    partial = part.folder.with_name(f"{part.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    packer = _Packer(request.settings, _opened[1], part.split)
    features = packed_features(packer.inputs.manifest.class_names)
    limits = FileLimits(batch_rows=_CLIPS_AT_A_TIME)
    write_split(partial, part.split, packer.rows(part.start, part.stop), features, limits, compress=False)
    _write_json(partial / PART_FILE, packer.counts)
    os.replace(partial, part.folder)


class _Packer:
    """Turns videos of a split into rows, and counts them."""

    def __init__(self, settings: PackSettings, inputs: PackInputs, split: str):
        self.settings, self.inputs, self.split = settings, inputs, split
        self.index = inputs.indices.get(split)
        self.provenance = None
        if self.index is not None:
            rows = inputs.tables[split].with_format("arrow").select_columns(list(PER_FRAME_PROVENANCE))[:]
            self.provenance = rows.combine_chunks()
        self.counts: dict[str, Any] = {"clips": 0, "frames": 0, "jpeg_bytes": 0, "statuses": {}, "skipped": []}

    def rows(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The rows of the clips [start, stop)."""
        videos = self.inputs.manifest.split(self.split)
        for clip_index in range(start, stop):
            video = videos[clip_index]
            try:
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

        Raises:
            VideoError: the video cannot be read.
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
        if self.index is None:
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
        ConfigError: a split has no clip at all.
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
    (work / SKIPPED_FILE).write_text("".join(lines), encoding="utf-8")
    return report


__all__ = ["FACTS_FILE", "PackReport", "PackRequest", "PackSettings", "pack_clips"]
