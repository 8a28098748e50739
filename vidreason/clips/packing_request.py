"""What a store of packed clips is made from, how, and what came of it: request, inputs and report."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..errors import ConfigError
from ..guidance.join import DEFAULT_TOLERANCE_S, GuidanceIndex
from ..guidance.table import load_guidance
from ..manifests.manifest import Manifest, load_manifest
from ..video.decode import uniform_indices

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackSettings:
    """How frames are chosen, scaled and encoded.

    Raises:
        ConfigError: A setting is out of range.
    """

    frames_per_clip: int = field(
        default=24,
        metadata={
            # an odd multiple has the middle frames of the model's segments among its own
            "help": "Frames of each clip, the middle ones of so many equal segments; 0 for all. Take 3 times what the "
            "model takes, or another odd number: its uniformly sampled frames are then kept exactly."
        },
    )
    short_side_px: int | None = field(
        default=None, metadata={"help": "Shorter side in pixels that frames are scaled down to."}
    )
    long_side_px: int | None = field(
        default=None,
        metadata={"help": "Longer side in pixels that they are scaled down to instead; with neither they stay."},
    )
    quality: int = field(default=90, metadata={"help": "Quality of the JPEGs, 1 to 95."})
    subsampling: str = field(
        default="4:2:0", metadata={"help": "Subsampling of the JPEGs' colours.", "choices": ["4:2:0", "4:4:4"]}
    )
    clips_per_file: int = field(default=1000, metadata={"help": "Clips of a Parquet file."})
    max_pixels: int | None = field(
        default=None, metadata={"help": "Largest width x height in pixels; a video with larger frames is left out."}
    )

    def __post_init__(self):
        if self.frames_per_clip < 0:
            raise ConfigError(f"frames_per_clip is {self.frames_per_clip}, expected a number of frames, or 0 for all")
        if self.short_side_px is not None and self.long_side_px is not None:
            raise ConfigError("give short_side_px or long_side_px, not both")
        for name in ("short_side_px", "long_side_px"):
            if getattr(self, name) is not None and getattr(self, name) < 8:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 8 pixels")
        if not 1 <= self.quality <= 95:
            raise ConfigError(f"quality is {self.quality}, expected 1 to 95")
        if self.subsampling not in ("4:2:0", "4:4:4"):
            raise ConfigError(f"subsampling is {self.subsampling!r}, expected 4:2:0 or 4:4:4")
        if self.clips_per_file < 1:
            raise ConfigError(f"clips_per_file is {self.clips_per_file}, expected at least 1")

    def frame_indices(self, num_frames: int) -> list[int]:
        """The frames of a video that are packed, rising and each once."""
        if self.frames_per_clip == 0 or num_frames <= self.frames_per_clip:
            return list(range(num_frames))
        return uniform_indices(num_frames, self.frames_per_clip)

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a packed frame; never larger than the video's."""
        scale = 1.0
        if self.short_side_px is not None:
            scale = min(1.0, self.short_side_px / min(height, width))
        elif self.long_side_px is not None:
            scale = min(1.0, self.long_side_px / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass(frozen=True)
class PackRequest:
    """What is packed.

    Args:
        manifest: Folder of the manifest.
        video_root: Folder that the videos lie in, if not where the manifest says.
        splits: Splits of the manifest that are packed.
        guidance: Split -> guidance table, a folder or a Hub id; a split without one has no guidance.
        tolerance_s: Seconds that a guidance row may lie from a packed frame.
        settings: How frames are chosen, scaled and encoded.
        allow_outside_paths: Whether paths of the manifest may leave the folder of videos; see `load_manifest`.
    """

    manifest: str
    video_root: str | None
    splits: tuple[str, ...]
    guidance: Mapping[str, str] = field(default_factory=dict)
    tolerance_s: float = DEFAULT_TOLERANCE_S
    settings: PackSettings = field(default_factory=PackSettings)
    allow_outside_paths: bool = False


@dataclass(frozen=True)
class PackInputs:
    """The opened manifest and guidance of a request.

    Args:
        manifest: Table of the videos.
        tables: Split -> rows of its guidance table.
        indices: Split -> the same, for frames to be looked up in.
        names: Split -> what the store calls its table.
    """

    manifest: Manifest
    tables: dict[str, Dataset]
    indices: dict[str, GuidanceIndex]
    names: dict[str, str]


@dataclass(frozen=True)
class PackReport:
    """What a store holds.

    Args:
        clips: Split -> number of its clips.
        frames: Split -> number of its frames.
        jpeg_bytes: Split -> bytes of all its pictures.
        statuses: Split -> status of guidance -> number of frames.
        skipped: Videos that were left out: their video_id, path, split, reason and detail.
    """

    clips: dict[str, int]
    frames: dict[str, int]
    jpeg_bytes: dict[str, int]
    statuses: dict[str, dict[str, int]]
    skipped: list[dict[str, str]]


def open_inputs(request: PackRequest) -> PackInputs:
    """Open and check what a request names.

    Raises:
        VidreasonError: A manifest, a table or a split of it is not there, or guidance fits none of the videos.
    """
    manifest = load_manifest(request.manifest, request.video_root, request.allow_outside_paths)
    for split in request.splits:
        manifest.split(split)
    load = functools.cache(load_guidance)
    tables: dict[str, Dataset] = {}
    indices: dict[str, GuidanceIndex] = {}
    names: dict[str, str] = {}
    for split, name in request.guidance.items():
        if split not in request.splits:
            raise ConfigError(f"guidance {name} is given for split {split!r}, which is not packed")
        table = load(name)
        if split not in table:
            raise ConfigError(f"guidance {name} has no split {split!r}; it has {sorted(table)}")
        tables[split] = table[split]
        indices[split] = GuidanceIndex(table[split], request.tolerance_s)
        coverage = indices[split].coverage(manifest.split(split)["video_id"])
        if not coverage.videos_with_guidance:
            raise ConfigError(f"guidance {name}, split {split!r}, fits none of the videos: {coverage.describe()}")
        if coverage.unknown_videos:
            logger.warning("guidance %s, split %r: %s", name, split, coverage.describe())
        # not the path, which would publish where things lie on this machine
        names[split] = Path(name).resolve().name if Path(name).is_dir() else name
    return PackInputs(manifest, tables, indices, names)


def pack_facts(request: PackRequest, inputs: PackInputs) -> dict[str, Any]:
    """What makes two stores the same, as JSON holds it; nothing of it names a folder of this machine."""
    videos = {split: inputs.manifest.split(split) for split in request.splits}
    names = ["video_id", "timestamp_s", "weights", "status"]
    return {
        "source": inputs.manifest.source,
        "class_names": list(inputs.manifest.class_names),
        "settings": asdict(request.settings),
        "guidance": inputs.names,
        "guidance_tolerance_s": request.tolerance_s,
        "videos_sha256": {split: _digest(rows, ["video_id", "path", "label"]) for split, rows in videos.items()},
        "guidance_sha256": {split: _digest(rows, names) for split, rows in inputs.tables.items()},
    }


def _digest(rows: Dataset, names: Sequence[str]) -> str:
    """SHA-256 of some columns."""
    # Arrow's own bytes of the columns: what is hashed are values, whatever files and row groups they lie in
    table = rows.with_format("arrow").select_columns(list(names))[:].combine_chunks()
    sink = hashlib.sha256()
    for batch in table.to_batches():
        sink.update(batch.serialize())
    return sink.hexdigest()
