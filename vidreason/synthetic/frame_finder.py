"""Which frame of a world a picture shows, by its pixels alone: small, scaled and JPEG-coded copies are known too.

The search goes from coarse to fine: a tree over thumbnails of 8 x 6 names a few clips, larger thumbnails name the
frame, and where the frames of a clip hardly differ, the doubtful ones are coded in the way the picture was.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin
from scipy.spatial import cKDTree

from ..errors import ManifestError
from ..manifests.manifest import Manifest, load_manifest
from ..video import decode_frames

COARSE_SIZE = (8, 6)
"""(width, height) of the thumbnails that the tree is built over."""

FINE_SIDE_PX = 80
"""Longer side of the thumbnails that frames of a clip are told apart by: half of the world's default."""

MAX_DIFFERENCE = 4.0
"""A picture whose coarse thumbnail is farther than this from those of all frames shows none: root mean square, in
grey values of 0 to 255. Copies at a third of the size stay below 3.3; of 100 frames of other clips none was below 4.6.
"""

_NUM_NEIGHBOURS = 4
_DOUBTFUL_RATIO = 1.5  # frames whose squared error is within this factor of the smallest are looked at closely
_CLIPS_IN_MEMORY = 32  # about as many as a client with 32 requests in flight asks about at a time
_PILLOW_SCALINGS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


class FrameFinder:
    """Thumbnails of all frames of a world, and the search among them.

    Takes about 5 kB of memory a frame, and starts by decoding every video once: about 1,000 frames a second.

    Args:
        world: Folder of `build_synthetic_actions`, or its manifest.
        splits: Splits to look in; all by default. Frames of others are not known.

    Raises:
        ManifestError: there is no such world or split.
    """

    def __init__(self, world: str | os.PathLike | Manifest, splits: Iterable[str] | None = None):
        manifest = world if isinstance(world, Manifest) else load_manifest(world)
        self._paths: list[Path] = []
        keys, coarse, fine = [], [], []
        for split in manifest.splits if splits is None else splits:
            for row in manifest.split(split):
                self._paths.append(manifest.video_path(row))
                decoded = decode_frames(self._paths[-1])
                keys += [(split, row["video_id"], index) for index in decoded.frame_indices]
                greys = [Image.fromarray(frame).convert("L") for frame in decoded.frames]
                coarse += [_thumbnail(grey, COARSE_SIZE) for grey in greys]
                fine.append(np.stack([_thumbnail(grey, _fine_size(grey.size)) for grey in greys]))
        if len({clip.shape[1:] for clip in fine}) != 1:
            raise ManifestError("a world has frames of one size; these videos have none or several")
        self.keys: list[tuple[str, str, int]] = keys
        """(split, video_id, frame_index) of each frame, in the order of `find`'s answers."""
        self._starts = np.cumsum([0, *(len(clip) for clip in fine)])
        self._fine = np.concatenate(fine)
        self._tree = cKDTree(np.stack(coarse).reshape(len(keys), -1).astype(np.float32))
        self._scalings: list[Image.Resampling | None] = [None, *_PILLOW_SCALINGS]  # the last one met comes first
        self._clip = lru_cache(_CLIPS_IN_MEMORY)(self._decode_clip)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, jpeg: bytes) -> int | None:
        """The position in `keys` of the frame that a picture shows, or None where it shows none.

        Of frames that are the same to the pixel, any may be named.

        Args:
            jpeg: The picture's file: JPEG, or another format that PIL reads.
        """
        with Image.open(io.BytesIO(jpeg)) as picture:
            picture.draft("L", picture.size)  # a JPEG gives its luma without decoding its colours
            grey = picture.convert("L")
        coarse = _thumbnail(grey, COARSE_SIZE).reshape(-1).astype(np.float32)
        distances, neighbours = self._tree.query(coarse, k=min(_NUM_NEIGHBOURS, len(self)))
        if np.min(distances) > MAX_DIFFERENCE * len(coarse) ** 0.5:
            return None
        candidates = self._clips_of(np.atleast_1d(neighbours))
        thumbnail = _thumbnail(grey, self._fine.shape[:0:-1]).astype(np.int32)
        errors = ((self._fine[candidates] - thumbnail) ** 2).sum(axis=(1, 2))
        doubtful = candidates[errors <= _DOUBTFUL_RATIO * errors.min()]
        return int(doubtful[0]) if len(doubtful) == 1 else self._closest(jpeg, doubtful)

    def _clips_of(self, frames: np.ndarray) -> np.ndarray:
        """All frames of the clips that some frames are of."""
        clips = np.unique(np.searchsorted(self._starts, frames, side="right") - 1)
        return np.concatenate([np.arange(self._starts[clip], self._starts[clip + 1]) for clip in clips])

    def _closest(self, jpeg: bytes, frames: np.ndarray) -> int:
        """The one of some frames that comes closest to a picture when it is scaled and coded like it."""
        with Image.open(io.BytesIO(jpeg)) as picture:
            size, coding = picture.size, _coding(picture)
            target = np.asarray(picture.convert("RGB"), dtype=np.int32)
        found: tuple[int, int] | None = None  # (error, frame)
        for scaling in list(self._scalings):
            errors = [_error(self._scaled(frame, size, scaling), target, coding) for frame in frames.tolist()]
            closest = min(zip(errors, frames.tolist(), strict=True))
            if found is None or closest < found:
                found = closest
            if closest[0] == 0:  # made in this very way, and so will be the next
                self._scalings.remove(scaling)
                self._scalings.insert(0, scaling)
                break
        assert found is not None  # there are several scalings, and frames to choose from
        return found[1]

    def _scaled(self, frame: int, size: tuple[int, int], scaling: Image.Resampling | None) -> np.ndarray:
        """A frame at a size (width, height), uint8 (height, width, 3); without a scaling by FFmpeg's bilinear one."""
        clip = int(np.searchsorted(self._starts, frame, side="right") - 1)
        index = frame - int(self._starts[clip])
        if scaling is None:
            return self._clip(clip, size[::-1])[index]
        picture = Image.fromarray(self._clip(clip, None)[index])
        return np.asarray(picture.resize(size, scaling))

    def _decode_clip(self, clip: int, size: tuple[int, int] | None) -> np.ndarray:
        return decode_frames(self._paths[clip], size=size).frames


def _fine_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the larger thumbnail of a frame."""
    scale = min(1.0, FINE_SIDE_PX / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _thumbnail(grey: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """uint8 (height, width): means over the areas of its pixels."""
    return np.asarray(grey if grey.size == size else grey.resize(size, Image.Resampling.BOX))


def _coding(picture: Image.Image) -> dict[str, Any] | None:
    """What to pass to PIL to code other pictures as this one was; None where that is without loss."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return None
    return {"qtables": picture.quantization, "subsampling": max(0, JpegImagePlugin.get_sampling(picture))}


def _error(frame: np.ndarray, target: np.ndarray, coding: dict[str, Any] | None) -> int:
    """Sum of squared differences between a picture and a frame that is coded like it.

    Args:
        frame: Frame of shape (height, width, 3), uint8.
        target: Picture of shape (height, width, 3), int32, so that differences do not wrap around.
        coding: Options of PIL's JPEG encoder; None leaves the frame as it is.
    """
    if coding is not None:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", **coding)
        frame = np.asarray(Image.open(file))
    return int(((frame - target) ** 2).sum())
