"""Which packets a video stream holds, without decoding them."""

from __future__ import annotations

import dataclasses
import mmap
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np

from .stream import OpenVideo

# Containers with an index of keyframes. Others (MPEG-PS and TS) are sought by bytes, and may land inside a group of
# pictures, whose frames then decode to other pixels.
_SEEKABLE_FORMATS = ("mov", "matroska", "avi")

# In an AVI, each chunk of these is one packet. Other streams are cut up anew by a parser.
_CODECS_OF_WHOLE_CHUNKS = ("mpeg4", "mjpeg")

# RIFF: the number of the stream in two digits and two letters for what the chunk holds, then its size
_CHUNK_HEADER = np.dtype([("stream", "S2"), ("holds", "S2"), ("size", "<u4")])


@dataclass(frozen=True)
class Packets:
    """What the packets of shown frames state, in the file's order; times in the stream's own unit."""

    pts: list[int | None]
    durations: list[int]  # 0 where nothing is stated
    are_keyframes: list[bool]
    complete: bool = True  # the file could be read to its end, and no packet is marked as damaged
    first_dts: int | None = 0  # of the first packet in the file, shown or not
    were_read: bool = True  # and the file's position is behind them

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
        pts, durations, are_keyframes = (
            [column[position] for position in kept] for column in (self.pts, self.durations, self.are_keyframes)
        )
        return dataclasses.replace(self, pts=pts, durations=durations, are_keyframes=are_keyframes)


@dataclass(frozen=True)
class Listing:
    """The packets that hold shown frames, and what the file states about its stream."""

    packets: Packets
    time_base: float  # seconds
    stated_frames: int  # 0 where nothing is stated
    stated_fps: float | None
    reorders: bool  # the codec may decode frames in another order than it shows them
    can_seek: bool


def list_packets(video: OpenVideo) -> Listing:
    """All packets of a file that has just been opened: from an AVI's index where that says it all, or by reading them.

    Who wants frames afterwards has to go back to the start of the file where they were read.
    """
    stream = video.stream
    packets = _indexed_packets(video) or _read_packets(video)
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return Listing(
        packets=packets.from_first_keyframe(),
        time_base=float(stream.time_base),
        stated_frames=stream.frames,
        stated_fps=float(rate) if rate else None,
        reorders=bool(stream.codec_context.has_b_frames),
        can_seek=_is_format(video, _SEEKABLE_FORMATS),
    )


def _is_format(video: OpenVideo, names: tuple[str, ...]) -> bool:
    return video.container.format.name.split(",")[0] in names


def _read_packets(video: OpenVideo) -> Packets:
    pts, durations, are_keyframes = [], [], []
    complete, first_dts = True, None
    try:
        for packet in video.container.demux(video.stream):
            if first_dts is None:
                first_dts = packet.dts
            complete = complete and not packet.is_corrupt
            if packet.size and not packet.is_discard:
                pts.append(packet.pts)
                durations.append(packet.duration or 0)
                are_keyframes.append(packet.is_keyframe)
    except av.error.FFmpegError:
        complete = False
    return Packets(pts, durations, are_keyframes, complete, first_dts)


def _indexed_packets(video: OpenVideo) -> Packets | None:
    """The packets as the index of an AVI lists them, None where only reading the file can tell.

    FFmpeg has the index in memory once a file is open; reading a clip of UCF101 packet by packet takes longer than
    opening it. An index may be wrong, though, or the file damaged behind it. So it counts only where its chunks, sound
    included, fill the file from the start of its data to the index without a gap, each under a header of its own
    stream and size: then reading would find these packets and no others.
    """
    stream = video.stream
    if not _is_format(video, ("avi",)) or stream.codec_context.name not in _CODECS_OF_WHOLE_CHUNKS:
        return None
    if stream.codec_context.has_b_frames:
        return None  # packets then get times from FFmpeg's own guess at the order of presentation
    if stream.average_rate is None or stream.average_rate * stream.time_base != 1:
        return None  # a packet's duration is then not one unit
    entries = [(entry.pos, entry.size, entry.timestamp, entry.is_keyframe) for entry in stream.index_entries]
    if not entries:
        return None
    starts, sizes, times, are_keyframes = (list(column) for column in zip(*entries, strict=True))
    pts = list(range(len(entries)))
    if times != pts:
        return None  # frames that the file leaves out
    chunks = [_Chunks(stream.index, starts, sizes)]
    for other in video.container.streams:
        if other.index != stream.index:
            others = list(other.index_entries)
            chunks.append(_Chunks(other.index, [entry.pos for entry in others], [entry.size for entry in others]))
    try:
        borne_out = _chunks_fill_file(video.path, chunks)
    except OSError:  # not every file system lets files be mapped
        return None
    if not borne_out:
        return None
    return Packets(pts, [1] * len(pts), are_keyframes, were_read=False)


class _Chunks(NamedTuple):
    """Where a stream's packets lie in an AVI."""

    stream_index: int
    starts: list[int]  # bytes
    sizes: list[int]  # bytes, of what the chunks hold


def _chunks_fill_file(path: str, streams: list[_Chunks]) -> bool:
    """Whether the chunks of an AVI lie one after the other, each under the header that it should have."""
    starts, ends = [], []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for chunks in streams:
            headers = b"".join([data[start : start + _CHUNK_HEADER.itemsize] for start in chunks.starts])
            if len(headers) < len(chunks.starts) * _CHUNK_HEADER.itemsize:
                return False  # the file ends early
            stated = np.frombuffer(headers, dtype=_CHUNK_HEADER)
            if stated["size"].tolist() != chunks.sizes or np.any(stated["stream"] != b"%02d" % chunks.stream_index):
                return False
            starts += chunks.starts
            sizes = np.array(chunks.sizes, dtype=np.int64)
            sizes += _CHUNK_HEADER.itemsize + sizes % 2  # chunks begin at even bytes
            ends += (sizes + chunks.starts).tolist()
        starts.sort()
        ends.sort()
        before, after = data[starts[0] - 4 : starts[0]], data[ends[-1] : ends[-1] + 4]
    return starts[1:] == ends[:-1] and (before, after) == (b"movi", b"idx1")
