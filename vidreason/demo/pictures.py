"""The demo's pictures: training curves, attention of every model beside the guidance, and second looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoModelForVideoClassification, AutoVideoProcessor

from ..attention.visualize import attention_maps, comparison_frame, second_look_frame, stack_rows
from ..clips.transforms import input_size
from ..guidance import GuidanceIndex, load_guidance
from ..manifests.manifest import Manifest
from ..reporting.plots import Panel, plot_training_curves
from ..rs.second_look import look_twice
from ..video import decode_frames, uniform_indices, write_animation, write_video
from .world import WorldData

TITLES = {"plain": "plain", "rs": "the paper's", "rs_evidence": "ours", "mended": "plain, mended here"}
"""Model -> title of its panel, in the order of the panels; others are not drawn."""

_NUM_CLASSES = 4

CURVES = (
    Panel("Total training loss", "loss (nats)", ("loss",)),
    Panel("Accuracy (validation)", "top-1 accuracy (fraction)", ("eval_top1",)),
    Panel("Spatial alignment loss (validation)", "KL divergence (nats)", ("eval_loss_spatial",)),
    Panel("Temporal consistency loss (validation)", "JS divergence (nats)", ("eval_loss_temporal",)),
)
"""The panels of the paper's figure 5; on the validation split, where plain training is measured by the same rule."""


def draw_curves(folder: Path, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """`curves.png` of what was trained here.

    Args:
        folder: Folder to write to.
        histories: Name of a run -> the entries of its log.
    """
    plot_training_curves(histories, folder / "curves.png", CURVES)


def draw_overlays(folder: Path, data: WorldData, models: Mapping[str, Path]) -> None:
    """`overlay.png`, `overlay.mp4` and `overlay.webp`: attention after each way of training, and guidance.

    The clips are the first of every third class of `test_shifted`, whatever the models make of them.

    Args:
        folder: Folder to write to.
        data: The world.
        models: Name -> folder of each model; those of `TITLES` are drawn.
    """
    loaded = {TITLES[name]: load_classifier(models[name]) for name in TITLES if name in models}
    manifest = data.manifest
    index = GuidanceIndex(load_guidance(data.true_guidance)["test_shifted"])
    rows = manifest.split("test_shifted")
    chosen = first_of_every_third_class(manifest, "test_shifted")
    clips = [_compare_clip(manifest, rows[i], index, loaded) for i in chosen]
    still = [clip[len(clip) // 2] for clip in clips]
    Image.fromarray(stack_rows(still)).save(folder / "overlay.png")
    pairs = [stack_rows(list(frames)) for frames in zip(*clips[:2], strict=True)]
    fps = float(rows[chosen[0]]["fps"]) / 2  # half speed: an action lasts a second or two
    write_video(folder / "overlay.mp4", pairs, fps)
    write_animation(folder / "overlay.webp", pairs, fps)


def draw_second_looks(folder: Path, data: WorldData, model_folder: Path) -> None:
    """`second_look.png`: what a model is given when it looks again, two frames of each clip of `overlay.png`.

    Args:
        folder: Folder to write to.
        data: The world.
        model_folder: Folder of a model that was trained with evidence zoom.
    """
    model, processor = load_classifier(model_folder)
    rows = data.manifest.split("test_shifted")
    token_grid = model.token_grid(*input_size(processor))
    pictures = []
    for number in first_of_every_third_class(data.manifest, "test_shifted"):
        frames = decode_frames(data.manifest.video_path(rows[number])).frames
        frames = frames[uniform_indices(len(frames), model.config.num_frames)]
        looks = look_twice(model.eval(), processor, frames)
        shown = [
            second_look_frame(frames[i], looks, i, token_grid, data.manifest.class_names)
            for i in (len(frames) // 4, 3 * len(frames) // 4)
        ]
        gap = np.full((len(shown[0]), 24, 3), 255, np.uint8)  # wider than between the two looks of a frame
        pictures.append(np.concatenate([shown[0], gap, shown[1]], axis=1))
    Image.fromarray(stack_rows(pictures)).save(folder / "second_look.png")


def load_classifier(folder: Path) -> tuple[Any, Any]:
    """A model and its video processor, from its folder."""
    return AutoModelForVideoClassification.from_pretrained(folder), AutoVideoProcessor.from_pretrained(folder)


def first_of_every_third_class(manifest: Manifest, split: str) -> list[int]:
    """Row numbers of the first clip of every third class of a split: a choice that no model has a say in."""
    labels = np.asarray(manifest.split(split)["label"])
    step = max(1, len(manifest.class_names) // _NUM_CLASSES)
    return [int(np.flatnonzero(labels == label)[0]) for label in range(0, len(manifest.class_names), step)][
        :_NUM_CLASSES
    ]


def _compare_clip(
    manifest: Manifest, row: dict[str, Any], index: GuidanceIndex, models: Mapping[str, tuple[Any, Any]]
) -> list[np.ndarray]:
    """Every frame of a clip with attention and guidance side by side: (height, width, 3), uint8."""
    decoded = decode_frames(manifest.video_path(row))
    guidance = index.lookup(row["video_id"], decoded.timestamps_s)
    attention = {
        title: attention_maps(model, processor, decoded.frames) for title, (model, processor) in models.items()
    }
    return [
        comparison_frame(frame, {title: maps[i] for title, maps in attention.items()}, guidance.maps[i])
        for i, frame in enumerate(decoded.frames)
    ]
