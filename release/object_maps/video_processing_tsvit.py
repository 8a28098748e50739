"""Video processor of TSViT: samples, resizes and normalises the frames of clips, and reads files with PyAV alone."""

import importlib
import io
import itertools
import os
import struct
import urllib.request
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from transformers import BaseVideoProcessor, BatchFeature
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling
from transformers.utils import logging, requires_backends
from transformers.video_utils import VideoInput, VideoMetadata

logger = logging.get_logger(__name__)

DOWNLOAD_TIMEOUT_S = 60  # of silence, not of the whole download


class TSViTVideoProcessor(BaseVideoProcessor):
    """Turns clips into `pixel_values` (batch, frames, channels, height, width).

    The whole frame is resized to `size`; there is no centre crop by default. Guidance is a grid over the full frame,
    and TSViT's tokens are a grid over what it gets: only while both are the same rectangle does cell (row, column)
    mean the same place. A centre crop (`do_center_crop` with `crop_size`) cuts the sides off and shifts the cells.

    Frames are sampled at the centres of `num_frames` equal segments of the clip. Pixels go to [-1, 1] (mean and
    standard deviation 0.5): the model is trained from scratch, so there are no published statistics to match.

    Example:
        >>> from modeling_tsvit import TSViTVideoProcessor
        >>> processor = TSViTVideoProcessor(size={"height": 64, "width": 64}, num_frames=8)
        >>> processor(torch.zeros(20, 3, 240, 320, dtype=torch.uint8), return_tensors="pt")["pixel_values"].shape
        torch.Size([1, 8, 3, 64, 64])
    """

    resample = PILImageResampling.BILINEAR
    size = {"height": 224, "width": 224}  # noqa: RUF012  transformers copies it; to its types it is the instance's
    default_to_square = True
    do_resize = True
    do_center_crop = False
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD
    do_convert_rgb = True
    do_sample_frames = True
    num_frames = 16
    model_input_names = ["pixel_values"]  # noqa: RUF012  likewise
    # A processor of transformers that does the same, for loading without `trust_remote_code`.
    fallback_type: str | None = None

    def preprocess(self, videos: VideoInput, **kwargs) -> BatchFeature:
        """Processes one clip or several.

        Args:
            videos: Paths, http(s) addresses, or clips as arrays or tensors of (frames, channels, height, width) or
                (frames, height, width, channels).
            **kwargs: Arguments of `BaseVideoProcessor.preprocess` for this call only, such as `num_frames` or `fps`.

        Returns:
            `pixel_values` (batch, frames, channels, height, width).

        Raises:
            ValueError: A video cannot be read; the message names it and says why.
        """
        if kwargs.get("fps") is not None:
            kwargs.setdefault("num_frames", None)  # the processor's own number of frames gives way
        batch = super().preprocess(videos, **kwargs)
        # The base class says `pixel_values_videos`, as models of text and video take it; video classifiers, TSViT and
        # the pipeline's own among them, take `pixel_values`.
        batch[self.model_input_names[0]] = batch.pop("pixel_values_videos")
        return batch

    def to_dict(self) -> dict:
        """What is saved. A folder that names a `fallback_type` loads as that where `trust_remote_code` is not set."""
        values = super().to_dict()
        return values if self.fallback_type is None else {**values, "video_processor_type": self.fallback_type}

    # The base class says an array of numpy, which this file does without; its callers take any sequence.
    def sample_frames(  # type: ignore[override]
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: int | float | None = None,
        **kwargs,
    ) -> list[int]:
        """Centres of equal segments of the clip: frame floor((i + 0.5) * total / num_frames) for every i.

        A clip that is shorter than `num_frames` repeats frames, in order.

        Args:
            metadata: What is known of the clip: `total_num_frames`, and `fps` where frames are asked for by rate.
            num_frames: Frames to take; the processor's own where neither this nor `fps` is given.
            fps: Frames to take per second of the clip, at least one.
            **kwargs: Ignored; the base class passes what other processors take.

        Returns:
            Indices of the frames, ascending.

        Raises:
            ValueError: `num_frames` and `fps` are both given, or the clip's own rate is not known.
        """
        total = metadata.total_num_frames
        if fps is not None:
            if num_frames is not None:
                raise ValueError("num_frames and fps cannot both be given")
            if not metadata.fps:
                raise ValueError(f"cannot sample {fps} frames per second of a clip whose own frame rate is not known")
            num_frames = max(1, int(total / metadata.fps * fps))
        num_frames = num_frames or self.num_frames or total
        # floor((i + 0.5) * total / num_frames), on integers: a float product may land just below a whole number
        return [(2 * index + 1) * total // (2 * num_frames) for index in range(num_frames)]

    def fetch_videos(self, video_url_or_urls: str | list, sample_indices_fn: Callable | None = None):
        """Reads videos by PyAV, whose wheel carries FFmpeg; the base class wants torchcodec and a system's FFmpeg.

        Args:
            video_url_or_urls: A path or http(s) address, or a list of them.
            sample_indices_fn: Takes `metadata`, gives the indices of the frames to keep. None keeps all.

        Returns:
            Frames, uint8 (frames, 3, height, width), and `VideoMetadata`; for a list, a tuple of all of each.

        Raises:
            ValueError: A video cannot be read; the message names it and says why.
        """
        if isinstance(video_url_or_urls, list):
            return list(
                zip(*[self.fetch_videos(video, sample_indices_fn) for video in video_url_or_urls], strict=True)
            )
        requires_backends(self, ["av"])
        return _read_video(video_url_or_urls, sample_indices_fn)


# Why not `transformers.video_utils.load_video(..., backend="pyav")`: its reader believes the container's frame count
# (many files state none or a wrong one), ignores rotation flags, drops repeated indices, so that a clip shorter than
# `num_frames` comes back too short, and stops at metadata that is not UTF-8, at a missing frame rate and at the first
# damaged packet.
#
# What a frame is, and when it is shown, is decided as `vidreason.video.frame_table` does for training, labelling and
# the Space, so that a model is used on the frames that it was trained on. The reasons are given there.

# FFmpeg's names of the containers that are opened: none that makes it read further files or addresses.
FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,apng,asf,au,av1,avi,caf,dirac,dv,eac3,flac,flv,gif,gxf,h261,h263,h264,hevc,ivf,m4a,m4v,"
    "matroska,mj2,mjpeg,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,nsv,nut,nuv,obu,ogg,rm,swf,vc1,vvc,w64,wav,webm,wtv,"
    "yuv4mpegpipe"
)

FORMATS_WITHOUT_TIMES = ("avi", "h264", "hevc", "vvc", "m4v", "mpegvideo", "h261", "h263", "vc1", "mjpeg", "dirac")

PLAYLIST_STARTS = ("ffconcat", "#extm3u", "[playlist]", "[reference]", "v=0", "rtsptext", "<asx")
PLAYLIST_TAGS = ("<mpd", "<smoothstreamingmedia", "<assetmap", "<compositionplaylist", "<asx", "<smil", "<playlist")

# Codecs of which every packet is a picture.
CODECS_OF_WHOLE_PICTURES = frozenset(
    (
        *("h264", "hevc", "vvc", "av1", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1"),
        *("msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2"),
        *("mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo"),
    )
)
CODECS_WITH_FIELDS = ("h264", "mpeg2video")  # a packet may be one field of an interlaced picture
SMALLEST_MPEG4_PICTURE_BYTES = 16  # a smaller packet says "as before"
MAX_SHARE_OF_STATED_FPS = 1.5  # packets that come faster than this are no pictures
PROGRESSIVE = 1  # of AVFieldOrder

# What a single file can make PyAV raise besides FFmpeg's own errors.
UNFORESEEN = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError)


class _Unreadable(Exception):
    """Why a video cannot be read, without its name."""


@dataclass
class _Packet:
    pts: int | None
    duration: int
    is_keyframe: bool
    size: int


@dataclass
class _Clock:
    """When frames are shown.

    Args:
        pts: Time of each frame in order, in the stream's own unit; None where frames are counted as they are decoded.
        num_frames: Number of frames; what the header states as long as nothing better is known.
        fps: Frames per second on average; None where nothing says it.
        duration_s: Seconds from the first frame's start to the last one's end.
    """

    pts: list[int] | None
    num_frames: int
    fps: float | None
    duration_s: float | None


@dataclass
class _Decoded:
    """What a pass over a video gave.

    Args:
        frames: Sampled frames by index, uint8 (3, height, width).
        stand_ins: Index of each sampled frame that does not decode -> index of the frame that is shown for it.
        pts: Times of all decoded frames in the order in which they came.
        num_failed: Number of packets that do not decode.
    """

    frames: dict[int, torch.Tensor]
    stand_ins: dict[int, int]
    pts: list[int | None]
    num_failed: int


def _read_video(video: str, sample_indices_fn: Callable | None) -> tuple[torch.Tensor, VideoMetadata]:
    """Reads one video.

    Args:
        video: Path or http(s) address.
        sample_indices_fn: Takes `metadata`, gives the indices of the frames to keep. None keeps all.

    Returns:
        RGB frames as displayed, uint8 (frames, 3, height, width), and the metadata.

    Raises:
        ValueError: The video cannot be read, or lacks a frame that was asked for.
    """
    # Not at the top: clips that are given as arrays need no PyAV. By name: transformers demands every package that a
    # file of remote code imports, even inside a function, before it loads the file.
    av = importlib.import_module("av")
    try:
        indices, decoded, clock = _sample(av, _source(video), sample_indices_fn)
    except OSError as error:
        raise ValueError(f"{video}: cannot be decoded ({getattr(error, 'strerror', None) or error})") from error
    except _Unreadable as error:
        raise ValueError(f"{video}: cannot be decoded ({error})") from error
    missing = [index for index in indices if index not in decoded.frames]
    if missing or not indices:
        raise ValueError(
            f"{video}: frames {missing} were asked for, but it has {clock.num_frames} frames, counted from 0"
        )
    if decoded.stand_ins:
        pairs = ", ".join(f"{shown} for {index}" for index, shown in sorted(decoded.stand_ins.items())[:5])
        logger.warning(f"{video}: {len(decoded.stand_ins)} sampled frames do not decode; others stand in ({pairs})")
    clip = torch.stack([decoded.frames[index] for index in indices])
    height, width = clip.shape[-2:]
    metadata = _metadata(clock)
    metadata.frames_indices, metadata.height, metadata.width = indices, height, width
    return clip, metadata


def _sample(av, source: str | bytes, sample_indices_fn: Callable | None) -> tuple[list[int], _Decoded, _Clock]:
    """The indices that a video's own length asks for, its frames there, and its length."""
    with _open(av, source) as container:
        stream = _video_stream(container)
        listed, is_complete = _list_packets(av, container, stream)
        if not listed:
            raise _Unreadable("no frame in its video stream")
        clock = _listed_clock(container, stream, listed, is_complete)
    decoded = None
    if clock.pts is None:
        # A container's frame count is a hint: the first pass counts what it decodes, and where the hint was wrong a
        # second pass samples anew. Decoding to the end costs little more than decoding to the last sampled frame.
        hinted = _sampled_indices(clock, sample_indices_fn) if clock.num_frames else []
        decoded = _decode(av, source, hinted, None)
        if not decoded.pts:
            raise _Unreadable("none of its frames decodes")
        with _open(av, source) as container:
            clock = _counted_clock(_video_stream(container), decoded.pts, listed)
    indices = _sampled_indices(clock, sample_indices_fn)
    if decoded is not None and all(index in decoded.frames for index in indices):
        return indices, decoded, clock
    known = [index for index in indices if 0 <= index < clock.num_frames]
    decoded = _decode(av, source, known, clock.pts)
    if known and not decoded.frames:
        raise _Unreadable("none of its frames decodes")
    return indices, decoded, clock


def _sampled_indices(clock: _Clock, sample_indices_fn: Callable | None) -> list[int]:
    if sample_indices_fn is None:
        return list(range(clock.num_frames))
    return [int(index) for index in sample_indices_fn(metadata=_metadata(clock))]


def _metadata(clock: _Clock) -> VideoMetadata:
    return VideoMetadata(
        total_num_frames=clock.num_frames, fps=clock.fps, duration=clock.duration_s, video_backend="pyav"
    )


def _source(video: str) -> str | bytes:
    """The absolute path of a file, or the bytes behind an http(s) address."""
    if video.startswith(("http://", "https://")):
        request = urllib.request.Request(video, headers={"User-Agent": "transformers"})
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_S) as response:
            return response.read()
    if not os.path.isfile(video):
        raise _Unreadable("there is no such file")
    if os.path.getsize(video) == 0:  # FFmpeg's own words for it are "Invalid data found"
        raise _Unreadable("the file is empty")
    # it begins with a slash, so that FFmpeg takes no colon in it for a protocol's
    return os.path.join(os.getcwd(), video)


@contextmanager
def _open(av, source: str | bytes) -> Iterator:
    """The container of a path or of bytes. FFmpeg may read that file alone, whatever others it names."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        with av.open(file, metadata_errors="ignore", container_options=options) as container:
            yield container
    except av.FFmpegError as error:
        raise _Unreadable(_playlist_or(source, error)) from error
    except UNFORESEEN as error:
        raise _Unreadable(str(error) or type(error).__name__) from error


def _playlist_or(source: str | bytes, error: Exception) -> str:
    """What is wrong with a source that FFmpeg does not take."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        head = file.read(2048).decode("utf-8-sig", errors="replace").lstrip().lower()
    if head.startswith(PLAYLIST_STARTS) or (head.startswith("<") and any(tag in head for tag in PLAYLIST_TAGS)):
        return "it is a playlist: it names other files to play, and these are not opened"
    if isinstance(error, ValueError):  # what FFmpeg says of a format that is not among those allowed
        return "it is no video, but a text, a still image or another format"
    return getattr(error, "strerror", None) or str(error)


def _video_stream(container):
    """The first stream of moving pictures; FFmpeg takes a song's cover for video too."""
    for stream in container.streams.video:
        if not stream.disposition & type(stream.disposition).attached_pic:
            if stream.codec_context is None:
                raise _Unreadable("there is no decoder for its codec")
            return stream
    raise _Unreadable("it has no video stream")


def _list_packets(av, container, stream) -> tuple[list[_Packet], bool]:
    """The packets of shown frames from the first keyframe on, and whether the file is whole. Nothing is decoded."""
    packets, is_complete = [], True
    try:
        for packet in container.demux(stream):
            is_complete = is_complete and not packet.is_corrupt
            # an empty packet flushes the decoder; a discarded one lies before the start that an edit list sets
            if packet.size and not packet.is_discard:
                packets.append(_Packet(packet.pts, packet.duration or 0, packet.is_keyframe, packet.size))
    except av.FFmpegError:
        is_complete = False
    first = next((position for position, packet in enumerate(packets) if packet.is_keyframe), 0)
    start = packets[first].pts if packets else None
    shown = [packet for packet in packets[first:] if start is None or packet.pts is None or packet.pts >= start]
    return shown, is_complete


def _listed_clock(container, stream, packets: list[_Packet], is_complete: bool) -> _Clock:
    """The clock of a file's packets where nothing speaks against it, otherwise what the header states."""
    codec, context = stream.codec_context.codec.canonical_name, stream.codec_context
    fps, unit_s = _stated_fps(stream), float(stream.time_base)
    stated = _Clock(None, stream.frames, fps, None)
    times = [packet.pts for packet in packets if packet.pts is not None]
    if not is_complete or len(set(times)) < len(packets) or not packets[0].is_keyframe:
        return stated
    is_reordered = bool(context.has_b_frames)
    if is_reordered == (times == sorted(times)):
        return stated
    if is_reordered and (codec == "mpeg4" or container.format.name.split(",")[0] in FORMATS_WITHOUT_TIMES):
        return stated
    if codec not in CODECS_OF_WHOLE_PICTURES:
        return stated
    if codec in CODECS_WITH_FIELDS and getattr(context, "field_order", 0) != PROGRESSIVE:
        return stated
    if codec == "mpeg4" and min(packet.size for packet in packets) < SMALLEST_MPEG4_PICTURE_BYTES:
        return stated
    if fps and len(times) - 1 > MAX_SHARE_OF_STATED_FPS * fps * (max(times) - min(times)) * unit_s:
        return stated
    if stream.frames and stream.frames != len(packets):
        return stated
    return _clock_of(stream, sorted(times), packets)


def _counted_clock(stream, pts: list[int | None], packets: list[_Packet]) -> _Clock:
    """The clock of a file that was decoded: the decoder's times where they rise, otherwise an even one."""
    times = [value for value in pts if value is not None]
    if len(times) == len(pts) and all(earlier < later for earlier, later in itertools.pairwise(times)):
        clock = _clock_of(stream, times, packets)
        return replace(clock, pts=None)
    fps = _stated_fps(stream)
    return _Clock(None, len(pts), fps, len(pts) / fps if fps else None)


def _clock_of(stream, times: list[int], packets: list[_Packet]) -> _Clock:
    unit_s, span = float(stream.time_base), times[-1] - times[0]
    fps = (len(times) - 1) / (span * unit_s) if len(times) > 1 else _stated_fps(stream)
    durations = {packet.pts: packet.duration for packet in packets}
    last_s = durations.get(times[-1], 0) * unit_s or (1 / fps if fps else 0)
    return _Clock(times, len(times), fps, span * unit_s + last_s)


def _stated_fps(stream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


def _decode(av, source: str | bytes, indices: list[int], pts: list[int] | None) -> _Decoded:
    """Decodes a video from its start and keeps some frames. The next that decodes stands in for one that does not.

    Args:
        av: PyAV.
        source: Path or bytes.
        indices: Frames to keep.
        pts: Time of each frame, by which it is known; None counts frames as they come, all to the end.
    """
    # Frames side by side come sooner, and are the same but where something is wrong: decoders then hide damage with
    # what they have at hand, and give more or fewer of the frames before the first keyframe.
    if pts is not None:
        decoded = _decode_once(av, source, indices, pts, in_parallel=True)
        if not decoded.num_failed and not decoded.stand_ins and len(decoded.frames) == len(set(indices)):
            return decoded
    return _decode_once(av, source, indices, pts, in_parallel=False)


def _decode_once(av, source: str | bytes, indices: list[int], pts: list[int] | None, in_parallel: bool) -> _Decoded:
    decoded = _Decoded({}, {}, [], 0)
    waiting = deque(sorted(set(indices)))
    places = None if pts is None else {value: index for index, value in enumerate(pts)}
    last = None
    with _open(av, source) as container:
        stream = _video_stream(container)
        if in_parallel:
            stream.thread_type = "AUTO"  # frames in parallel too, where FFmpeg's default is slices alone
        else:
            stream.codec_context.thread_count = 1
        for frame in _decoded_frames(av, container, stream, decoded):
            index = len(decoded.pts) if places is None else places.get(frame.pts)
            decoded.pts.append(frame.pts)
            if index is None:
                continue
            while waiting and waiting[0] <= index:
                _keep(decoded, waiting.popleft(), index, frame)
            last = index, frame
            if places is not None and not waiting:
                break
        # where frames are counted, those that are left are not there
        while waiting and last is not None and places is not None:
            _keep(decoded, waiting.popleft(), *last)
    return decoded


def _keep(decoded: _Decoded, index: int, shown: int, frame) -> None:
    decoded.frames[index] = _upright(frame, decoded.frames.values())
    if shown != index:
        decoded.stand_ins[index] = shown


def _decoded_frames(av, container, stream, decoded: _Decoded) -> Iterator:
    """Frames in order of presentation. Damaged packets are passed over, and an early end is the end; both count."""
    try:  # an error of the container itself, not of a packet, ends the video early
        for packet in container.demux(stream):
            if packet.is_corrupt:
                decoded.num_failed += 1
                continue  # a decoder would make a picture of it, with grey or smeared blocks
            try:
                frames = packet.decode()
            except av.FFmpegError:
                decoded.num_failed += 1
                continue
            yield from frames
    except av.FFmpegError:
        decoded.num_failed += 1


def _upright(frame, earlier: Collection[torch.Tensor]) -> torch.Tensor:
    """A decoded frame as it is displayed.

    Args:
        frame: PyAV's frame, as stored.
        earlier: Frames of the video so far, each (3, height, width); where the stream changes its size half-way, a
            frame takes the size of the first.

    Returns:
        RGB uint8 (3, height, width), turned and mirrored as the frame's display matrix says.
    """
    # The matrix maps a stored point (x, y) to (a x + c y, b x + d y); phones record lying down and say "turn" there.
    a, b, c, d = _display_matrix(frame)
    transposed = abs(b) > abs(a)  # an angle that is no quarter turn goes to the nearest one
    height, width = frame.height, frame.width
    if earlier:
        height, width = next(iter(earlier)).shape[-2:]
        height, width = (width, height) if transposed else (height, width)
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24", width=width, height=height)).permute(2, 0, 1)
    flip_columns, flip_rows = (c < 0, b < 0) if transposed else (a < 0, d < 0)
    pixels = pixels.transpose(1, 2) if transposed else pixels
    flipped_dimensions = [dimension for dimension, flip in ((1, flip_rows), (2, flip_columns)) if flip]
    return pixels.flip(flipped_dimensions).contiguous()


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of a frame's display matrix (ISO/IEC 14496-12), the identity where there is none."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV has no name for some side data of the frame, and then gives none; it knows the angle
        quarter_turns = round(-frame.rotation / 90) % 4
        return ((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0))[quarter_turns]
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack("=9i", bytes(matrix))[:5]  # row-major 3 x 3, the third column for perspective
    return a, b, c, d


TSViTVideoProcessor.register_for_auto_class("AutoVideoProcessor")

__all__ = ["TSViTVideoProcessor"]
