"""Pictures of what an A2O model is shown: the frame, where objects are, what the adapter makes of it, and the sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import BaseVideoProcessor

from modeling_a2o import A2OForVideoClassification

from ..clips.pixel_scale import pixel_statistics
from ..video import overlay_heatmap, side_by_side

PANEL_HEIGHT_PX = 240
GREY = 127.5  # where nothing is added


@torch.no_grad()
def added_pixels(
    model: A2OForVideoClassification,
    processor: BaseVideoProcessor,
    object_maps: torch.Tensor,
    frame_size: tuple[int, int],
) -> np.ndarray:
    """What the adapter adds to the frames of a clip, in the units of their bytes.

    Args:
        model: The model.
        processor: Its video processor, which says what a byte is to the model.
        object_maps: (frames, classes, rows, columns) in [0, 1].
        frame_size: Height and width of the frames in pixels, multiples of rows and columns.

    Returns:
        float32 (frames, 3, height, width), of any sign: each place of the maps over the pixels that it stands for.

    Raises:
        ValueError: Maps and frames do not fit.
    """
    added = model.added_to_frames(object_maps.unsqueeze(0).to(model.device))[0].float().cpu().numpy()
    repeats = [side // cells for side, cells in zip(frame_size, added.shape[2:], strict=True)]
    if any(cells * times != side for cells, times, side in zip(added.shape[2:], repeats, frame_size, strict=True)):
        raise ValueError(f"maps of {added.shape[2:]} places do not divide frames of {tuple(frame_size)} pixels")
    _, std = pixel_statistics(processor)
    pixels = added * 255 * np.asarray(std, dtype=np.float32)[:, None, None]
    return pixels.repeat(repeats[0], axis=2).repeat(repeats[1], axis=3)


def frame_bytes(processor: BaseVideoProcessor, pixel_values: torch.Tensor) -> np.ndarray:
    """Frames as a model sees them: uint8 (frames, height, width, 3) of pixel values (frames, 3, height, width)."""
    mean, std = (torch.tensor(list(values)).view(3, 1, 1) for values in pixel_statistics(processor))
    shown = (pixel_values.float().cpu() * std + mean) * 255
    return shown.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def draw_added(
    model: A2OForVideoClassification,
    processor: BaseVideoProcessor,
    pixel_values: torch.Tensor,
    object_maps: torch.Tensor,
    classes: Sequence[str] = (),
    height_px: int = PANEL_HEIGHT_PX,
) -> list[np.ndarray]:
    """Each frame of a clip, side by side: as it is, with the maps of classes, what is added to it, and the sum.

    What is added is drawn around grey, at one scale for the whole clip that makes its strongest colour visible; the
    title says by how much it was enlarged. The sum is what the classifier inside sees, cut to what a byte can hold.

    Args:
        model: The model.
        processor: Its video processor.
        pixel_values: (frames, 3, height, width) as the processor gives them.
        object_maps: (frames, classes, rows, columns) in [0, 1], whose sides divide those of the frames.
        classes: Class texts whose maps are drawn, a panel each; none draws the largest of all maps.
        height_px: Height of the panels.

    Returns:
        uint8 (height, width, 3) for each frame.

    Raises:
        ValueError: A class is none of the model's, or maps and pixels do not fit.
    """
    texts = list(model.config.class_texts)
    unknown = [text for text in classes if text not in texts]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))}: the model's classes are {', '.join(texts)}")
    bare = frame_bytes(processor, pixel_values)
    over_frame = added_pixels(model, processor, object_maps, bare.shape[1:3]).transpose(0, 2, 3, 1)
    strongest = float(np.abs(over_frame).max())
    gain = GREY / strongest if strongest > 0 else 1.0
    maps = object_maps.float().cpu().numpy()
    pictures = []
    for frame, change, of_frame in zip(bare, over_frame, maps, strict=True):
        chosen = {text: of_frame[texts.index(text)] for text in classes} or {"objects": of_frame.max(axis=0)}
        panels = [("frame", frame)]
        panels += [(text, overlay_heatmap(frame, one, one.shape, peak=1.0)) for text, one in chosen.items()]
        panels.append((f"added, times {gain:.2g}", _bytes(GREY + gain * change)))
        panels.append(("what the model sees", _bytes(frame + change)))
        pictures.append(side_by_side(panels, height_px))
    return pictures


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


__all__ = ["added_pixels", "draw_added", "frame_bytes"]
