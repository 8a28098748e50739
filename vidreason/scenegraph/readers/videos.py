"""What is known of the videos that annotations speak of: their id, size and frame rate.

VidOR's files say it themselves, and are checked against the videos; those of STAR and Action Genome do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import GraphError
from ...plain_json import read_plain_json
from ...plain_pickle import read_plain_pickle
from .reading import Unusable, read_whole, short

MAX_RATE = 1000.0
"""Frames per second beyond which a number is none of a video."""

SAME_RATE = 0.01
"""Rates are the same where they differ by at most this share: 29.97 and 30 are, 25 and 30 are not."""

SAME_LENGTH_S = 0.25
"""Videos are the same where their lengths differ by at most this many seconds: demuxers differ by a few frames."""

_SAME_ASPECT = 0.02
_FACTS = ("frames_per_second", "frame_height", "frame_width", "num_frames")


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video. Zero is what is not.

    Args:
        video_id: Its id in the manifest, else the annotation's own.
        split: Its split in the manifest; empty where there is none.
        frames_per_second: Nominal rate.
        frame_height: Pixels, as displayed.
        frame_width: Likewise.
        num_frames: Number of frames.
    """

    video_id: str
    split: str = ""
    frames_per_second: float = 0.0
    frame_height: int = 0
    frame_width: int = 0
    num_frames: int = 0


class KnownVideos:
    """Finds a video by the name that an annotation has for it.

    Args:
        videos: What is known of each.
        is_manifest: Whether these are the videos of a manifest, so that others are not at hand.
    """

    def __init__(self, videos: Iterable[VideoFacts] = (), is_manifest: bool = False):
        self.is_manifest = is_manifest
        self._by_id: dict[str, VideoFacts] = {}
        self._by_name: dict[str, list[VideoFacts]] = {}
        for facts in videos:
            self._by_id[facts.video_id] = facts
            self._by_name.setdefault(PurePosixPath(facts.video_id).name, []).append(facts)

    @classmethod
    def from_rows(cls, rows_by_split: Mapping[str, Iterable[Mapping[str, Any]]]) -> KnownVideos:
        """The videos of a manifest.

        Args:
            rows_by_split: Rows of each split, as `vidreason.manifests.manifest_features` has them.
        """
        videos = [
            VideoFacts(row["video_id"], split, float(row["fps"]), row["height"], row["width"], row["num_frames"])
            for split, rows in rows_by_split.items()
            for row in rows
        ]
        return cls(videos, is_manifest=True)

    def with_facts(self, others: Iterable[VideoFacts]) -> KnownVideos:
        """These videos, and others where they are not among them."""
        added = [facts for facts in others if self.find(facts.video_id) is None]
        return KnownVideos([*self._by_id.values(), *added], self.is_manifest)

    def find(self, name: str) -> VideoFacts | None:
        """The video of a name: with this id, or the only one whose id ends with it after a slash.

        Args:
            name: Name of the video in an annotation, without a suffix.

        Raises:
            Unusable: Several videos could be meant.
        """
        if name in self._by_id:
            return self._by_id[name]
        found = self._by_name.get(PurePosixPath(name).name, [])
        if len(found) > 1:
            raise Unusable("ambiguous_video", f"{name!r} could be {found[0].video_id!r} or {found[1].video_id!r}")
        return found[0] if found else None

    def split_of(self, name: str, default: str) -> str:
        """The split of a video, for putting files in order; the default where its split is not known.

        Args:
            name: Name of the video in an annotation.
            default: Split of a video that is not known, or that could be several.
        """
        try:
            facts = self.find(name)
        except Unusable:
            return default  # it is counted when its annotation is read
        return (facts.split if facts else "") or default


def read_video_facts(path: str | os.PathLike) -> list[VideoFacts]:
    """Frame rates and sizes from a file.

    Args:
        path: JSON or a pickle (read without running it) that maps names of videos, with or without ".mp4", to frames
            per second, as STAR publishes them under the name `video_fps`; or to objects with any of
            `frames_per_second`, `frame_height`, `frame_width` and `num_frames`.

    Raises:
        GraphError: It cannot be read or holds something else, with the name of the video.
    """
    # a pickle begins with its protocol; STAR's file has no suffix that would tell
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_pickle = file.read(1) in (b"\x80", b"(", b"c")
    except OSError as error:
        raise GraphError(f"{path}: cannot be read ({error})") from error
    content = read_plain_pickle(path, GraphError) if is_pickle else read_plain_json(path, GraphError)
    if not isinstance(content, Mapping):
        raise GraphError(f"{path}: expected video: frames per second, got {type(content).__name__}")
    return [_facts(path, name, value) for name, value in content.items()]


def _facts(path: Path, name: Any, value: Any) -> VideoFacts:
    try:
        facts = dict(value) if isinstance(value, Mapping) else {"frames_per_second": value}
        unknown = sorted(set(facts) - set(_FACTS))
        if unknown or not isinstance(name, str) or not name:
            raise Unusable("malformed", f"{unknown or 'its name'} is not known, expected any of {_FACTS}")
        rate = read_rate(facts["frames_per_second"]) if facts.get("frames_per_second") else 0.0
        whole = {key: read_whole(facts[key], key) for key in _FACTS[1:] if key in facts}
    except Unusable as problem:
        raise GraphError(f"{path}: video {str(name)[:80]!r}: {problem.detail}") from problem
    return VideoFacts(name.removesuffix(".mp4"), "", rate, **whole)


def read_rate(value: Any) -> float:
    """Frames per second.

    Raises:
        Unusable: It is no number, or none of a video.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 < value <= MAX_RATE):  # which NaN is not
        raise Unusable("no_frame_rate", f"{short(value)} frames per second")
    return float(value)


def check_same_video(own: VideoFacts, known: VideoFacts) -> None:
    """Raise unless an annotation was made on the video that is at hand, as far as both say.

    Boxes and times of another frame rate, another cut or a frame turned on its side would be wrong without a sign.

    Args:
        own: What the annotation says of its video.
        known: What is known of the video at hand.

    Raises:
        Unusable: Its rate, length or shape is another.
    """
    rates = own.frames_per_second, known.frames_per_second
    if all(rates) and abs(rates[0] - rates[1]) > SAME_RATE * rates[0]:
        raise Unusable("other_frame_rate", f"annotated at {rates[0]:g} frames per second, the video has {rates[1]:g}")
    if all(rates) and own.num_frames and known.num_frames:
        lengths = own.num_frames / rates[0], known.num_frames / rates[1]
        if abs(lengths[0] - lengths[1]) > max(SAME_LENGTH_S, SAME_RATE * lengths[0]):
            raise Unusable(
                "other_length",
                f"annotated on {own.num_frames} frames ({lengths[0]:.2f} s), the video has {known.num_frames} "
                f"({lengths[1]:.2f} s)",
            )
    sizes = own.frame_width, own.frame_height, known.frame_width, known.frame_height
    if all(sizes) and abs(sizes[0] * sizes[3] / (sizes[1] * sizes[2]) - 1) > _SAME_ASPECT:
        raise Unusable("other_shape", f"annotated on {sizes[1]} x {sizes[0]}, the video has {sizes[3]} x {sizes[2]}")
