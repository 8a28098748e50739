"""The frames of a run: which are chosen, which action is in them, and which requests they became.

`FramePolicy` holds the paper's choices of videos and frames (section 3.1) by name, and others. A `LabelSource` names
the action in a frame: the video's class, its own sentence, or the action at that time. A `FrameJournal` keeps on disk
which request each frame became, so that a run that goes on need not decode and encode what it had asked; the answers
lie with their requests (`vidreason.llm`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from ..errors import ConfigError, ManifestError
from ..manifests.captions import CAPTIONS_FILE, read_captions
from ..manifests.manifest import Manifest
from ..manifests.segments import SEGMENTS_FOLDER, SegmentIndex, load_segments
from ..video import fps_timestamps, uniform_indices
from ..video.decode import nearest_places, read_frame_table

logger = logging.getLogger(__name__)

_ROUNDING_S = 1e-6
"""Of times that are computed in different ways."""

NO_ACTION = ("background", "sil", "none")
"""What segmentation data sets call frames in which nothing is done, in lower case."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS videos (
    split TEXT NOT NULL, video_id TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (split, video_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frames (
    split TEXT NOT NULL, video_id TEXT NOT NULL, position INTEGER NOT NULL,
    frame_index INTEGER NOT NULL, timestamp_s REAL NOT NULL,
    frame_height INTEGER NOT NULL, frame_width INTEGER NOT NULL,
    sent_height INTEGER NOT NULL, sent_width INTEGER NOT NULL, request_hashes TEXT NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (split, video_id, position)
) WITHOUT ROWID;
"""


# Choice


@dataclass(frozen=True)
class FramePolicy:
    """A share of the videos, and in each of them a number of uniform frames, or a rate, or every frame.

    Args:
        video_share: Share of the videos of each class, in (0, 1].
        frames_per_video: Number of equal parts of the video, counted by index, whose middle frames are taken. A
            shorter video gives each of its frames once.
        frames_per_second: Rate of the frames, in hertz: those nearest to 0, 1 / rate, 2 / rate, ... seconds, so that
            it holds for a variable frame rate too. No frame comes twice, so a video with a lower rate gives each of
            its frames once. With neither this nor `frames_per_video`, every frame is taken.

    Raises:
        ConfigError: a value out of range, or both a number and a rate.
    """

    video_share: float = 1.0
    frames_per_video: int | None = None
    frames_per_second: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.video_share <= 1:
            raise ConfigError(f"video_share is {self.video_share}, expected a share above 0 and up to 1")
        if self.frames_per_video is not None and self.frames_per_second is not None:
            raise ConfigError("give frames_per_video or frames_per_second, not both")
        if self.frames_per_video is not None and self.frames_per_video < 1:
            raise ConfigError(f"frames_per_video is {self.frames_per_video}, expected at least 1")
        if self.frames_per_second is not None and not 0 < self.frames_per_second < math.inf:
            raise ConfigError(f"frames_per_second is {self.frames_per_second}, expected a number above 0")

    @property
    def description(self) -> str:
        """For cards and provenance, such as `10 uniform frames of 60 % of the videos`."""
        if self.frames_per_video is not None:
            frames = f"{self.frames_per_video} uniform frames"
        elif self.frames_per_second is not None:
            frames = f"{self.frames_per_second:g} frames per second"
        else:
            frames = "every frame"
        videos = (
            "every video" if self.video_share == 1 else f"{100 * self.video_share:g} % of the videos of each class"
        )
        return f"{frames} of {videos}"

    def changed(
        self,
        video_share: float | None = None,
        frames_per_video: int | None = None,
        frames_per_second: float | None = None,
    ) -> FramePolicy:
        """This policy with some values in place of its own; None keeps them, and a number replaces a rate.

        Args:
            video_share: Share of the videos of each class.
            frames_per_video: Number of uniform frames.
            frames_per_second: Rate of the frames in hertz.

        Raises:
            ConfigError: A setting is out of range, as for a new policy.
        """
        policy = self if video_share is None else replace(self, video_share=video_share)
        if frames_per_video is None and frames_per_second is None:
            return policy
        return replace(policy, frames_per_video=frames_per_video, frames_per_second=frames_per_second)

    def choose_videos(self, rows: Iterable[Mapping[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
        """The policy's share of the videos of each class.

        The videos of a class are ranked by the SHA-256 of the seed and their id, and the first of them are taken. So
        the choice is the same on every machine and in whatever order the rows come, a smaller share is a part of a
        larger one, and a video that is added to a class pushes at most one other out.

        Of n videos, `share * n` are taken, a half rounded up, and at least one: a class without any guidance would be
        a surprise. For small classes and small shares this is more than the share.

        Args:
            rows: Rows of a manifest's split, with `video_id` and `label`.
            seed: Seed of the ranks; another one makes another choice.

        Returns:
            The chosen rows, in the order in which they came.
        """
        videos: list[dict[str, Any]] = [dict(row) for row in rows]
        class_sizes = Counter(row["label"] for row in videos)
        share = Fraction(str(self.video_share))  # 0.1 as it is written, so that halves are halves
        left = {label: max(1, math.floor(share * size + Fraction(1, 2))) for label, size in class_sizes.items()}
        chosen = set()
        for position in sorted(range(len(videos)), key=lambda position: _rank(seed, videos[position]["video_id"])):
            label = videos[position]["label"]
            if left[label]:
                left[label] -= 1
                chosen.add(position)
        return [videos[position] for position in sorted(chosen)]

    def frame_indices(self, times_s: Sequence[float] | np.ndarray) -> list[int]:
        """The frames of a video to annotate.

        Args:
            times_s: Presentation time of each frame in seconds, (frames,), ascending.

        Returns:
            Native indices, ascending, none twice.

        Raises:
            ValueError: there are no frames.
        """
        times_s = np.asarray(times_s, dtype=np.float64)
        if len(times_s) == 0:
            raise ValueError("a video without frames has none to choose")
        if self.frames_per_video is not None:
            return sorted(set(uniform_indices(len(times_s), self.frames_per_video)))
        if self.frames_per_second is None:
            return list(range(len(times_s)))
        steps_s = np.diff(times_s)
        # the last frame is shown for about as long as the others, so that time counts as well
        duration_s = times_s[-1] - times_s[0] + (float(np.median(steps_s)) if len(steps_s) else 0.0)
        due_s = times_s[0] + np.asarray(fps_timestamps(float(duration_s), self.frames_per_second))
        return np.unique(nearest_places(times_s, due_s, _ROUNDING_S)).tolist()

    def count(self, row: Mapping[str, Any]) -> int:
        """How many frames of a video there are to annotate, as far as the manifest can tell.

        Args:
            row: Row of a manifest, with `num_frames` and `duration_s`.
        """
        num_frames = max(1, row["num_frames"])
        if self.frames_per_video is not None:
            return min(num_frames, self.frames_per_video)
        if self.frames_per_second is None:
            return num_frames
        return min(num_frames, len(fps_timestamps(max(0.0, row["duration_s"]), self.frames_per_second)))


POLICIES: Mapping[str, FramePolicy] = MappingProxyType(
    {
        "ucf": FramePolicy(video_share=0.6, frames_per_video=10),
        "ssv2": FramePolicy(video_share=0.1, frames_per_video=10),
        "desktop_assembly": FramePolicy(frames_per_second=10),
        "all_frames": FramePolicy(),
    }
)
"""The paper's, by its data sets (UCF stands for UCF50 and UCF101), and every frame of every video. The 10 frames of
Something-Something v2 stand where the paper counts tokens (appendix B). How it draws the videos it does not say: by
class is our choice."""


def find_policy(name: str) -> FramePolicy:
    """One of `POLICIES`.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in POLICIES:
        raise ConfigError(f"there is no frame policy {name!r}; there are {', '.join(POLICIES)}")
    return POLICIES[name]


def frame_keys(manifest: Manifest, split: str, row: Mapping[str, Any], policy: FramePolicy) -> list[dict[str, Any]]:
    """The frames of a video that a policy chooses, as a guidance table names them.

    Args:
        manifest: Manifest of the video.
        split: Split that the row is from.
        row: Row of the manifest.
        policy: Which frames to choose.

    Raises:
        VideoError: the video cannot be read.
    """
    times_s = read_frame_table(manifest.video_path(row)).times_s
    return [
        {
            "video_id": row["video_id"],
            "source": manifest.source,
            "split": split,
            "frame_index": index,
            "timestamp_s": float(times_s[index]),
            "frame_height": row["height"],
            "frame_width": row["width"],
        }
        for index in policy.frame_indices(times_s)
    ]


def _rank(seed: int, video_id: str) -> bytes:
    # a hash and not a generator's draw, which would depend on the order of the rows
    return hashlib.sha256(f"{seed}\n{video_id}".encode()).digest()


# Labels


class LabelSource(Protocol):
    """Names the action in a frame for the prompt."""

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str | None:
        """The action's name at a time of a video of the manifest; None where nothing is known of it."""
        ...

    def describe(self, row: Mapping[str, Any]) -> str:
        """All that `label_at` can say of a video: where this changes, the video is asked about anew."""
        ...


class ClassLabels:
    """The video's class is the action throughout.

    Args:
        class_names: Class names of the manifest, by label.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str:
        """The class, at any time."""
        return self.describe(row)

    def describe(self, row: Mapping[str, Any]) -> str:
        """The class."""
        return self.class_names[row["label"]]


class CaptionLabels(ClassLabels):
    """Videos have a sentence each, such as the filled-in templates of Something-Something; others have their class.

    Args:
        class_names: Class names of the manifest, by label.
        captions: Sentences by video id.
    """

    def __init__(self, class_names: Sequence[str], captions: Mapping[str, str]):
        super().__init__(class_names)
        self.captions = captions

    def describe(self, row: Mapping[str, Any]) -> str:
        """The sentence, or the class where there is none."""
        return self.captions.get(row["video_id"]) or self.class_names[row["label"]]


class SegmentLabels:
    """Long videos of many actions: the action of the segment that holds the frame's time.

    Names are written as words (`pick_up_chip` becomes "pick up chip"). Frames in which nothing is done (`NO_ACTION`)
    are asked about without a label.

    Args:
        segments: Segments of all videos.
    """

    def __init__(self, segments: SegmentIndex):
        self.segments = segments

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str | None:
        """The action at a time in words, or None where nothing is done or known."""
        label = self.segments.label_at(row["video_id"], timestamp_s)
        return None if label is None or label.lower() in NO_ACTION else label.replace("_", " ")

    def describe(self, row: Mapping[str, Any]) -> str:
        """All segments of the video, as JSON."""
        return json.dumps(self.segments.segments_of(row["video_id"]), ensure_ascii=False)


def find_labels(
    manifest: Manifest, folder: str | os.PathLike, splits: Sequence[str], kind: str = "auto"
) -> LabelSource:
    """Where the action's name in a prompt comes from.

    Args:
        manifest: Manifest of the videos.
        folder: Folder of the manifest, beside which captions and segments lie.
        splits: Splits whose videos need labels.
        kind: "class", "captions", "segments", or "auto" for the most exact ones that the folder has.

    Raises:
        ManifestError: there are no such labels of these videos.
    """
    folder = Path(folder)
    if kind in ("auto", "segments") and (folder / SEGMENTS_FOLDER).is_dir():
        segments = SegmentIndex(load_segments(folder))
        if _covers(manifest, splits, segments.video_ids, folder / SEGMENTS_FOLDER):
            return SegmentLabels(segments)
    if kind in ("auto", "captions") and (folder / CAPTIONS_FILE).is_file():
        captions = read_captions(folder)
        if _covers(manifest, splits, captions, folder / CAPTIONS_FILE):
            return CaptionLabels(manifest.class_names, captions)
    if kind in ("segments", "captions"):
        raise ManifestError(f"{folder}: there are no {kind} of its videos beside the manifest")
    return ClassLabels(manifest.class_names)


def _covers(manifest: Manifest, splits: Sequence[str], video_ids: Collection[str], path: Path) -> bool:
    """Whether labels are of this manifest's videos at all, and not left behind by another one."""
    if any(video_id in video_ids for split in splits for video_id in manifest.split(split)["video_id"]):
        return True
    logger.warning("%s: %s is about none of the videos; it is not used", path.parent, path.name)
    return False


# Journal


@dataclass(frozen=True)
class JournalFrame:
    """A frame that was chosen, and what became of it.

    Args:
        frame_index: Native index, in order of presentation from 0.
        timestamp_s: Presentation time in seconds.
        frame_height: Height of the frame in pixels, as displayed.
        frame_width: Width of the frame in pixels, as displayed.
        sent_height: Height of the picture in the request in pixels; 0 where there is none.
        sent_width: Width of the picture in the request in pixels; 0 where there is none.
        request_hashes: Hashes of its requests, one for each sample that is asked for; none where the frame cannot be
            read.
        error: Why the frame cannot be read, or empty.
    """

    frame_index: int
    timestamp_s: float
    frame_height: int
    frame_width: int
    sent_height: int = 0
    sent_width: int = 0
    request_hashes: tuple[str, ...] = ()
    error: str = ""


class FrameJournal:
    """The frames of a run, video by video, in one SQLite file beside the answers.

    A video's frames appear in it all at once or not at all, so that it survives being killed at any moment.

    Args:
        path: Path of the SQLite file; made where it is not there.
    """

    def __init__(self, path: str | os.PathLike):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        # questions are made in a thread of their own, the table is written from the main one
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._lock = threading.Lock()
        with self._lock, self._connection:
            self._connection.execute("PRAGMA journal_mode=WAL")  # a run is asked and written by two threads at once
            self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> FrameJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def frames(self, split: str, video_id: str, fingerprint: str) -> list[JournalFrame] | None:
        """The frames of a video in the order in which they were chosen, or None where it was not done in this way.

        Args:
            split: Split of the video.
            video_id: Id of the video.
            fingerprint: Hash of everything that its requests depend on. With another one the video is done anew.
        """
        with self._lock:
            known = self._connection.execute(
                "SELECT fingerprint FROM videos WHERE split = ? AND video_id = ?", (split, video_id)
            ).fetchone()
            if known != (fingerprint,):
                return None
            rows = self._connection.execute(
                "SELECT frame_index, timestamp_s, frame_height, frame_width, sent_height, sent_width, request_hashes, "
                "error FROM frames WHERE split = ? AND video_id = ? ORDER BY position",
                (split, video_id),
            ).fetchall()
        return [
            JournalFrame(index, time_s, height, width, sent_height, sent_width, tuple(hashes.split()), error)
            for index, time_s, height, width, sent_height, sent_width, hashes, error in rows
        ]

    def put(self, split: str, video_id: str, fingerprint: str, frames: Sequence[JournalFrame]) -> None:
        """Write a video's frames in place of any that were there.

        Args:
            split: Split of the video.
            video_id: Id of the video.
            fingerprint: Hash of everything that its requests depend on.
            frames: Frames in the order in which they were chosen.
        """
        rows = [
            (split, video_id, position, *astuple(frame)[:6], " ".join(frame.request_hashes), frame.error)
            for position, frame in enumerate(frames)
        ]
        marks = ", ".join("?" * 11)
        with self._lock, self._connection:  # one transaction: part of a video's frames would pass for all of them
            self._connection.execute("DELETE FROM frames WHERE split = ? AND video_id = ?", (split, video_id))
            self._connection.executemany(f"INSERT INTO frames VALUES ({marks})", rows)
            self._connection.execute("INSERT OR REPLACE INTO videos VALUES (?, ?, ?)", (split, video_id, fingerprint))


class FirstUses:
    """Tells the first use of each request from later ones, without holding them in memory.

    Frames that look alike share one request. It was paid for once, so one row of a table may state its cost.
    """

    def __init__(self) -> None:
        self._connection = sqlite3.connect("")  # a temporary file of SQLite's own, gone when it is closed
        self._connection.execute("CREATE TABLE seen (request_hash TEXT PRIMARY KEY) WITHOUT ROWID")

    def first(self, request_hash: str) -> bool:
        """Whether this hash is given for the first time."""
        cursor = self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (request_hash,))
        return cursor.rowcount == 1

    def close(self) -> None:
        """Forget all."""
        self._connection.close()
