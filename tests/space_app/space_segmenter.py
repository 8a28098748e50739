"""A small segmentation model that knows colours, and a clip of colours, so that the right segments are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from space_clips import HEIGHT, WIDTH, write_clip

from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation, TSViTVideoProcessor

SEGMENT_LABELS = ["background", "<i>red</i>", "${6*7} green"]
COLORS = [(120, 120, 120), (200, 50, 50), (50, 200, 50)]
RATE = 4.0
"""Frames per second that the model labels."""

PARTS = [(0, 1.0), (1, 1.5), (2, 1.0), (1, 0.5)]
"""(label, seconds) of the clip: longer than a window of the model."""

CLIP_FPS = 12
_WINDOW = 8
_STEPS = 60


def write_colors(path: Path, parts: Sequence[tuple[int, float]] = PARTS) -> Path:
    """A clip of plain colours, one after the other."""
    labels = np.concatenate([np.full(round(seconds * CLIP_FPS), label) for label, seconds in parts])
    frames = np.asarray(COLORS, np.uint8)[labels][:, None, None, :].repeat(HEIGHT, 1).repeat(WIDTH, 2)
    return write_clip(path, frames, CLIP_FPS)


def save_segmenter(folder: Path, seed: int = 0) -> Path:
    """A model that has learnt the colours, as `train.py` leaves it."""
    torch.manual_seed(seed)
    fields = {"image_size": 32, "num_frames": _WINDOW, "hidden_size": 32, "intermediate_size": 32}
    fields |= {"num_spatial_layers": 1, "num_temporal_layers": 1, "num_attention_heads": 2}
    names = {"id2label": dict(enumerate(SEGMENT_LABELS)), "label2id": {n: i for i, n in enumerate(SEGMENT_LABELS)}}
    model = TSViTForActionSegmentation(TSViTConfig(**fields, **names, frames_per_second=RATE))
    processor = TSViTVideoProcessor(size={"height": 32, "width": 32}, num_frames=_WINDOW)
    plain = torch.tensor(COLORS, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 32, 32)
    pixels = processor(plain, do_sample_frames=False, return_tensors="pt")["pixel_values"][0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(_STEPS):
        labels = torch.randint(len(COLORS), (16, _WINDOW))
        loss = model(pixels[labels] + 0.05 * torch.randn(16, _WINDOW, 3, 32, 32), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# Card of {folder.name}\n", encoding="utf-8")
    return folder
