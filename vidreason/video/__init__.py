"""Reading, sampling, writing and drawing on videos, with PyAV and without torch.

Manifests of video folders are in `vidreason.manifests.manifest`, which imports `datasets`; this package does not.
"""

from .decode import (
    DecodedFrames,
    decode_frames,
    decode_readable_frames,
    fps_timestamps,
    jittered_indices,
    uniform_indices,
)
from .overlay import overlay_grid, overlay_heatmap, side_by_side
from .probe import VideoInfo, probe_video
from .writer import write_animation, write_video

__all__ = [
    "DecodedFrames",
    "VideoInfo",
    "decode_frames",
    "decode_readable_frames",
    "fps_timestamps",
    "jittered_indices",
    "overlay_grid",
    "overlay_heatmap",
    "probe_video",
    "side_by_side",
    "uniform_indices",
    "write_animation",
    "write_video",
]
