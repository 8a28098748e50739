"""Video processor of TSViT: samples, resizes and normalises the frames of clips, and reads files with PyAV alone."""

import importlib
import io
import os
import struct
import urllib.request
from collections.abc import Callable, Collection, Iterator

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
    # A container's frame count is a hint: the first pass counts what it decodes, and where the hint was wrong a second
    # pass samples anew. Decoding to the end costs little more than decoding to the last sampled frame.
    metadata = VideoMetadata(total_num_frames=0, video_backend="pyav")
    indices, frames, num_decoded = _decode(video, metadata, sample_indices_fn)
    if num_decoded == 0:
        raise ValueError(f"{video}: cannot be decoded (no frame in its video stream)")
    if num_decoded != metadata.total_num_frames:
        metadata.total_num_frames = num_decoded
        indices, frames, num_decoded = _decode(video, metadata, sample_indices_fn)
    missing = [index for index in indices if index not in frames]
    if missing or not indices:
        raise ValueError(f"{video}: frames {missing} were asked for, but it has {num_decoded} frames, counted from 0")
    metadata.frames_indices = indices
    clip = torch.stack([frames[index] for index in indices])
    metadata.height, metadata.width = clip.shape[-2:]
    return clip, metadata


def _decode(
    video: str, metadata: VideoMetadata, sample_indices_fn: Callable | None
) -> tuple[list[int], dict[int, torch.Tensor], int]:
    """Decodes a whole video and keeps the sampled frames. Fills in what `metadata` does not know yet.

    Args:
        video: Path or http(s) address.
        metadata: Changed in place; a frame count above 0 is taken as known.
        sample_indices_fn: Takes `metadata`, gives the indices of the frames to keep. None keeps all.

    Returns:
        Sampled indices; the frames, uint8 (3, height, width), that exist among them, by index; how many were decoded.
    """
    # Not at the top: clips that are given as arrays need no PyAV. By name: transformers demands every package that a
    # file of remote code imports, even inside a function, before it loads the file.
    av = importlib.import_module("av")
    num_decoded, indices = 0, []
    frames: dict[int, torch.Tensor] = {}
    try:
        with av.open(_source(video), metadata_errors="ignore") as container:
            stream = _video_stream(container, video)
            _fill_metadata(metadata, container, stream)
            if metadata.total_num_frames > 0:
                indices = _sampled_indices(metadata, sample_indices_fn)
            wanted = set(indices)
            for frame in _decoded_frames(container, stream, video, av.FFmpegError):
                if num_decoded in wanted:
                    frames[num_decoded] = _upright(frame, frames.values())
                num_decoded += 1
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{video}: cannot be decoded ({getattr(error, 'strerror', None) or error})") from error
    return indices, frames, num_decoded


def _source(video: str) -> str | io.BytesIO:
    """What PyAV opens: the path of a file, or the bytes behind an http(s) address."""
    if video.startswith(("http://", "https://")):
        request = urllib.request.Request(video, headers={"User-Agent": "transformers"})
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_S) as response:
            return io.BytesIO(response.read())
    if not os.path.isfile(video):
        raise ValueError(f"{video}: there is no such file")
    if os.path.getsize(video) == 0:  # FFmpeg's own words for it are "Invalid data found"
        raise ValueError(f"{video}: the file is empty")
    return video


def _video_stream(container, video: str):
    """The first stream of moving pictures; FFmpeg takes a still image, a text or a song's cover for video too."""
    name = container.format.name
    if name in ("image2", "tty") or name.endswith("_pipe"):
        raise ValueError(f"{video}: cannot be decoded (it is no video, but a still image or a text: {name})")
    for stream in container.streams.video:
        if not stream.disposition & type(stream.disposition).attached_pic:
            stream.thread_type = "AUTO"  # frames in parallel too, where FFmpeg's default is slices alone
            return stream
    raise ValueError(f"{video}: cannot be decoded (it has no video stream)")


def _decoded_frames(container, stream, video: str, decoding_error: type[Exception]) -> Iterator:
    """Frames in order of presentation. Damaged packets are passed over, as players do, and an early end is the end."""
    num_damaged = 0
    try:  # an error of the container itself, not of a packet, ends the video early
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except decoding_error:
                num_damaged += 1
                continue
            yield from frames
    except decoding_error:
        num_damaged += 1
    if num_damaged:
        logger.warning_once(f"{video}: {num_damaged} damaged packets were passed over")


def _fill_metadata(metadata: VideoMetadata, container, stream) -> None:
    """Sets what the container states and `metadata` does not hold yet."""
    metadata.total_num_frames = metadata.total_num_frames or stream.frames
    metadata.fps = float(stream.average_rate) if stream.average_rate else None
    if stream.duration is not None:
        metadata.duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        metadata.duration = container.duration / 1_000_000  # FFmpeg counts microseconds here


def _sampled_indices(metadata: VideoMetadata, sample_indices_fn: Callable | None) -> list[int]:
    if sample_indices_fn is None:
        return list(range(metadata.total_num_frames))
    return [int(index) for index in sample_indices_fn(metadata=metadata)]


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
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack("=9i", bytes(matrix))[:5]  # row-major 3 x 3, the third column for perspective
    return a, b, c, d


TSViTVideoProcessor.register_for_auto_class("AutoVideoProcessor")

__all__ = ["TSViTVideoProcessor"]
