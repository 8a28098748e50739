"""Tiny TSViT models: a 4x4 grid of 8x8-pixel cells, seconds for a whole test file."""

import av
import numpy as np
import pytest
import torch

from modeling_tsvit import TSViTConfig, TSViTForVideoClassification

TINY = {
    "image_size": 32,
    "num_frames": 6,
    "hidden_size": 16,
    "num_spatial_layers": 3,
    "num_temporal_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "num_labels": 5,
}


@pytest.fixture
def make_model():
    """A function that builds a seeded model in evaluation mode; keywords change its configuration."""

    def make(attn_implementation="sdpa", **values) -> TSViTForVideoClassification:
        torch.manual_seed(0)
        config = TSViTConfig(**{**TINY, **values}, attn_implementation=attn_implementation)
        return TSViTForVideoClassification(config).eval()

    return make


@pytest.fixture
def clips() -> torch.Tensor:
    """Two clips of six frames: (2, 6, 3, 32, 32)."""
    return torch.randn(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def write_clip(tmp_path):
    """A function that writes a video whose frames tell their index: brightness 20 + 10 * index in a wide picture.

    The left quarter of the top half is darker, so that a turned or mirrored picture shows.
    """

    def write(name, num_frames=12, size=(48, 64), codec=None, times=None):
        path = tmp_path / name
        codec = codec or {".avi": "mpeg4", ".mp4": "libx264", ".mkv": "libx264"}[path.suffix]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = size
            stream.pix_fmt = "yuv420p"
            stream.bit_rate = 4_000_000
            for index in range(num_frames):
                picture = np.full((*size, 3), 20 + 10 * index, dtype=np.uint8)
                picture[: size[0] // 2, : size[1] // 4] = 0
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index if times is None else times[index]
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
