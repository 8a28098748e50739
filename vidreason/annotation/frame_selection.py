"""Which videos are annotated, and which of their frames: the paper's choices (section 3.1) by name, and others."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..manifests.manifest import Manifest
from ..video.decode import fps_timestamps, read_frame_table, uniform_indices


@dataclass(frozen=True)
class FramePolicy:
    """A share of the videos, and in each of them a number of uniform frames, or a rate, or every frame.

    Args:
        video_share: in (0, 1], of each class.
        frames_per_video: the middle frames of so many equal parts of the video, counted by index. A shorter video
            gives each of its frames once.
        frames_per_second: the frames nearest to 0, 1 / rate, 2 / rate, ... seconds, so that it holds for a variable
            frame rate too. No frame comes twice, so a video with a lower rate gives each of its frames once. With
            neither this nor `frames_per_video`, every frame is taken.

    Raises:
        ConfigError: a value out of range, or both a number and a rate.
    """

    video_share: float = 1.0
    frames_per_video: int | None = None
    frames_per_second: float | None = None

    def __post_init__(self):
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

        Raises:
            ConfigError: as for a new policy.
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
            rows: of a manifest's split, with `video_id` and `label`.
            seed: another one makes another choice.

        Returns:
            The chosen rows, in the order in which they came.
        """
        rows = [dict(row) for row in rows]
        class_sizes = Counter(row["label"] for row in rows)
        share = Fraction(str(self.video_share))  # 0.1 as it is written, so that halves are halves
        left = {label: max(1, math.floor(share * size + Fraction(1, 2))) for label, size in class_sizes.items()}
        chosen = set()
        for position in sorted(range(len(rows)), key=lambda position: _rank(seed, rows[position]["video_id"])):
            label = rows[position]["label"]
            if left[label]:
                left[label] -= 1
                chosen.add(position)
        return [rows[position] for position in sorted(chosen)]

    def frame_indices(self, times_s: Sequence[float] | np.ndarray) -> list[int]:
        """The frames of a video to annotate.

        Args:
            times_s: presentation time of each frame, ascending, as `vidreason.video.frame_table` gives them.

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
        duration_s = times_s[-1] - times_s[0] + (float(np.median(steps_s)) if len(steps_s) else 0.0)
        due_s = times_s[0] + np.asarray(fps_timestamps(float(duration_s), self.frames_per_second))
        return np.unique(_nearest(times_s, due_s)).tolist()

    def count(self, row: Mapping[str, Any]) -> int:
        """How many frames of a video there are to annotate, as far as the manifest can tell.

        Args:
            row: of a manifest, with `num_frames` and `duration_s`.
        """
        num_frames = max(1, row["num_frames"])
        if self.frames_per_video is not None:
            return min(num_frames, self.frames_per_video)
        if self.frames_per_second is None:
            return num_frames
        return min(num_frames, len(fps_timestamps(max(0.0, row["duration_s"]), self.frames_per_second)))


POLICIES = {
    "ucf": FramePolicy(video_share=0.6, frames_per_video=10),
    "ssv2": FramePolicy(video_share=0.1, frames_per_video=10),
    "desktop_assembly": FramePolicy(frames_per_second=10),
    "all_frames": FramePolicy(),
}
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
        manifest: of the video.
        split: that the row is from.
        row: of the manifest.
        policy: which frames.

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
    return hashlib.sha256(f"{seed}\n{video_id}".encode()).digest()


def _nearest(times_s: np.ndarray, due_s: np.ndarray) -> np.ndarray:
    """The index of the frame nearest to each time; of two as near, the earlier one.

    Args:
        times_s: (frames,), ascending.
        due_s: (times,).

    Returns:
        Shape (times,).
    """
    after = np.searchsorted(times_s, due_s).clip(max=len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    # the slack keeps the rounding of floats from deciding between two that are as near
    return np.where(due_s - times_s[before] <= times_s[after] - due_s + 1e-6, before, after)
