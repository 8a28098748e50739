"""Which frames a file holds and when each is shown: the one place that decides what `frame_index` means.

A frame is a picture that the decoder gives, in its order, which is that of presentation. Files lie about their
frames. Headers state wrong counts; AVI stores no presentation times, so that FFmpeg makes them up from the order of
decoding, which is wrong where frames are reordered; raw streams have no times at all; a packet may be half of a
picture (a field) or none ("nothing changed"). So:

- The packets are listed without decoding them (a millisecond for a clip). Where each has a presentation time of its
  own, and nothing speaks against these, they are the clock: frame `i` has the i-th smallest time. A packet that is
  damaged keeps its place, so that the frames behind it are not shifted.
- In any doubt the whole file is decoded once. If the decoder's frames come out with rising times, these are the clock.
- Otherwise time is counted: frame `i` is at `i / average rate`, and the table says so (`clock == "counted"`).

`modeling_tsvit.video_processing_tsvit` stands alone and so has these rules once more; tests hold the two together.

This file decides; `vidreason.video.decode` is what asks FFmpeg, and `read_frame_table` there gives the table of a
file.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)

_ASSUMED_FPS = 25.0  # for files that state no rate at all; FFmpeg assumes it for raw streams too

# Codecs by FFmpeg's names of which every packet is a picture, and whose keyframes need nothing that came before.
# Others have packets that show nothing (hidden references of VP8, unchanged screens) or keyframe flags that say
# nothing (Cinepak's code books outlive its keyframes); their files are decoded from the start.
CODECS_OF_WHOLE_PICTURES = frozenset(
    (
        *("h264", "hevc", "vvc", "av1", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1"),
        *("msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2"),
        # of these every picture is a keyframe, but for FFV1
        *("mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo"),
    )
)

# In these a packet may hold one field of an interlaced picture.
_CODECS_WITH_FIELDS = ("h264", "mpeg2video")

# MPEG-4 says "as before" in a packet of some 7 bytes, of which decoders make no picture.
_SMALLEST_MPEG4_PICTURE_BYTES = 16

# Packets that come faster than the stated rate are not pictures: fields come at twice the rate.
_MAX_SHARE_OF_STATED_FPS = 1.5


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The frames of a video in order of presentation.

    Attributes:
        times_s: Presentation times in seconds, float64 (frames,); the first frame is at 0.0.
        pts: Presentation times in the stream's own unit, int64 (frames,), or None where the clock is counted.
        keyframes: Indices that can be sought to, so that decoding from there gives the same pixels as from the start,
            int64 (keyframes,); empty where that does not hold.
        fps: Frames per second on average.
        duration_s: Seconds from the first frame's start to the last frame's end.
        clock: "stream" where the file's own times are used, "counted" where they are missing or wrong.
        decoded: Whether every frame was decoded to make the table; otherwise packets were counted.
        damaged: Whether the file ends early or holds packets that its container calls damaged. The table has what
            decodes.
        in_order_only: Whether frames are decoded from the start and none is left out, because a short cut was seen to
            fail: a packet does not decode, or a keyframe is none.
    """

    times_s: np.ndarray
    pts: np.ndarray | None
    keyframes: np.ndarray
    fps: float
    duration_s: float
    clock: str
    decoded: bool
    damaged: bool = False
    in_order_only: bool = False

    def __len__(self) -> int:
        return len(self.times_s)


@dataclass(frozen=True)
class Packets:
    """What the packets of shown frames state, in the file's order; times in the stream's own unit.

    Attributes:
        pts: Presentation times; None where a packet states none.
        durations: How long each frame is shown; 0 where nothing is stated.
        are_keyframes: Whether decoding can begin at each packet.
        complete: Whether the file could be read to its end, and no packet is marked as damaged.
        first_dts: Decoding time of the first packet in the file, whether its frame is shown or not.
        were_read: Whether the packets were read, so that the file's position is behind them.
        sizes: Size of each packet in bytes.
    """

    pts: Sequence[int | None]
    durations: Sequence[int]
    are_keyframes: Sequence[bool]
    complete: bool = True
    first_dts: int | None = 0
    were_read: bool = True
    sizes: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.pts)

    def from_first_keyframe(self) -> Packets:
        """Without what decoders drop: packets before the first keyframe, and frames that are shown before it."""
        first = self.are_keyframes.index(True) if True in self.are_keyframes else 0
        start = self.pts[first] if self.pts else None
        kept = [
            position
            for position, pts in enumerate(self.pts)
            if position >= first and (start is None or pts is None or pts >= start)
        ]
        if len(kept) == len(self):
            return self
        return dataclasses.replace(
            self,
            pts=[self.pts[position] for position in kept],
            durations=[self.durations[position] for position in kept],
            are_keyframes=[self.are_keyframes[position] for position in kept],
            sizes=[self.sizes[position] for position in kept],
        )


@dataclass(frozen=True)
class Listing:
    """The packets that hold shown frames, and what the file states about its stream.

    Attributes:
        packets: The packets.
        time_base: The stream's unit of time in seconds.
        stated_frames: Number of frames that the header states; 0 where it states none.
        stated_fps: Frames per second that the header states.
        reorders: Whether the codec may decode frames in another order than it shows them.
        can_seek: Whether the container has an index of keyframes to go by, and the codec starts anew at them.
        codec: FFmpeg's name of the codec, such as "h264".
        has_times: Whether the container stores times of presentation.
        is_progressive: Whether the file says that its pictures are not interlaced.
    """

    packets: Packets
    time_base: float
    stated_frames: int
    stated_fps: float | None
    reorders: bool
    can_seek: bool
    codec: str
    has_times: bool
    is_progressive: bool


def find_doubt(listing: Listing) -> str | None:
    """Why the packets' times cannot be taken at their word, or None."""
    packets, pts = listing.packets, listing.packets.pts
    if not packets.complete:
        return "the file ends early or holds damaged packets"
    known = _known_times(pts)
    if len(set(known)) < len(pts):
        return "missing or repeated times"
    if not packets.are_keyframes[0]:
        return "no keyframe"
    if listing.reorders == (known == sorted(known)):
        # nothing says how the frames are reordered: AVI, and files remuxed from it; or they cannot be reordered so
        return "times in the order of decoding" if listing.reorders else "times that fall, of frames in order"
    # two frames packed into one packet shift the times that FFmpeg makes up, which files remuxed from AVI then state
    if listing.reorders and (listing.codec == "mpeg4" or not listing.has_times):
        return "times that may be made up"
    not_pictures = _why_packets_are_not_pictures(listing, known)
    if not_pictures:
        return not_pictures
    if listing.stated_frames and listing.stated_frames != len(pts):
        return f"the header states {listing.stated_frames} frames, there are {len(pts)} packets"
    return None


def _why_packets_are_not_pictures(listing: Listing, known: list[int]) -> str | None:
    if listing.codec not in CODECS_OF_WHOLE_PICTURES:
        return f"packets of {listing.codec} need not be pictures"
    if listing.codec in _CODECS_WITH_FIELDS and not listing.is_progressive:
        return "packets may be fields of interlaced pictures"
    if listing.codec == "mpeg4" and min(listing.packets.sizes) < _SMALLEST_MPEG4_PICTURE_BYTES:
        return "packets that are too small to be pictures"
    span_s = (max(known) - min(known)) * listing.time_base
    if listing.stated_fps and len(known) - 1 > _MAX_SHARE_OF_STATED_FPS * listing.stated_fps * span_s:
        return f"packets come faster than the {listing.stated_fps:g} frames a second that the header states"
    return None


def table_of_packets(path: str, listing: Listing) -> FrameTable:
    """The table of a file whose packets' times are beyond doubt (see `find_doubt`)."""
    return _table(path, sorted(_known_times(listing.packets.pts)), listing, decoded=False)


def table_of_frames(path: str, pts: Sequence[int | None], listing: Listing, doubt: str) -> FrameTable:
    """The table of a file of which every frame was decoded, because its packets cannot be taken at their word.

    Args:
        path: File, for the log.
        pts: Times of the decoded frames in the order in which they came, in the stream's own unit; at least one.
        listing: What the packets state.
        doubt: Why they were not believed, for the log.
    """
    known = _known_times(pts)
    rising = len(known) == len(pts) and all(earlier < later for earlier, later in itertools.pairwise(known))
    table = _table(path, known, listing, decoded=True) if rising else _counted_table(path, len(pts), listing)
    if listing.packets.complete:
        return table
    stated = listing.stated_frames or "none"
    logger.warning("%s: %s; %d frames are readable, its header states %s", path, doubt, len(pts), stated)
    return dataclasses.replace(table, damaged=True)


def _known_times(pts: Sequence[int | None]) -> list[int]:
    return [value for value in pts if value is not None]


def _table(path: str, pts: list[int], listing: Listing, decoded: bool) -> FrameTable:
    """A table with the clock "stream" from rising pts."""
    packets = listing.packets
    durations = dict(zip(packets.pts, packets.durations, strict=True))
    are_keyframes = dict(zip(packets.pts, packets.are_keyframes, strict=True))
    can_start = [listing.can_seek and are_keyframes.get(value, False) for value in pts]
    times_s = (np.array(pts, dtype=np.int64) - pts[0]) * listing.time_base
    # a header's rate may be wrong, the times are what there is; a single frame has no rate but the header's
    fps = (len(pts) - 1) / float(times_s[-1]) if len(pts) > 1 else _stated_or_assumed_fps(path, listing)
    return FrameTable(
        times_s=times_s,
        pts=np.array(pts, dtype=np.int64),
        keyframes=np.flatnonzero(can_start),
        fps=fps,
        duration_s=float(times_s[-1]) + (durations.get(pts[-1], 0) * listing.time_base or 1 / fps),
        clock="stream",
        decoded=decoded,
    )


def _counted_table(path: str, num_frames: int, listing: Listing) -> FrameTable:
    """A table with the clock "counted"."""
    fps = _stated_or_assumed_fps(path, listing)
    logger.info("%s: missing or wrong timestamps; time is counted at %g fps", path, fps)
    return FrameTable(
        times_s=np.arange(num_frames) / fps,
        pts=None,
        keyframes=np.zeros(0, dtype=np.int64),  # without times there is nothing to seek to
        fps=fps,
        duration_s=num_frames / fps,
        clock="counted",
        decoded=True,
    )


def _stated_or_assumed_fps(path: str, listing: Listing) -> float:
    if listing.stated_fps is None:
        logger.warning("%s: states no frame rate; %g fps is assumed", path, _ASSUMED_FPS)
    return listing.stated_fps or _ASSUMED_FPS
