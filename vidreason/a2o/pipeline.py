"""A video file in, its class out, with and without what a detector finds in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, BaseVideoProcessor

import modeling_tsvit  # noqa: F401  registers TSViT, so that a model with one inside loads
from modeling_a2o import A2OConfig, A2OForVideoClassification

from ..clips.object_maps import ClipObjects, map_size
from ..clips.transforms import evaluation_transform, input_size
from ..detection import DetectionCounts, DetectionStore, Detector, Found, detect_video
from ..detection.index import FrameDetections
from ..errors import ConfigError
from ..manifests.manifest import video_id_of
from ..video import decode_frames, probe_video, uniform_indices
from ..whole_models import load_whole

_ANY_GRID = (1, 1)  # a clip's transform asks for the tokens' grid, on which guidance is laid; there is none here


@dataclass(frozen=True, eq=False)
class ClassifiedVideo:
    """What a model says of a video.

    Args:
        answers: Labels with their probabilities, the likeliest first, where the model is shown the objects.
        answers_without_maps: The same where it is shown the frames alone.
        detections: What was found of each class in each frame that was taken, in the full frame's coordinates.
        frames: Those frames, uint8 (frames, height, width, 3).
        frame_indices: Index of each in the file.
        timestamps_s: When each is shown, in seconds.
        pixel_values: What the model saw of them, float32 (1, frames, 3, height, width), normalised.
        object_maps: The maps, float32 (1, frames, classes, rows, columns) in [0, 1].
        counts: What detecting took.
    """

    answers: list[tuple[str, float]]
    answers_without_maps: list[tuple[str, float]]
    detections: dict[str, list[Found]]
    frames: np.ndarray
    frame_indices: list[int]
    timestamps_s: list[float]
    pixel_values: torch.Tensor
    object_maps: torch.Tensor
    counts: DetectionCounts


class ObjectVideoClassifier:
    """Detects and classifies: `ObjectVideoClassifier(model, processor, detector)("clip.mp4")`.

    Args:
        model: An A2O model.
        processor: The model's video processor.
        detector: What finds the objects; it has to be the one that the model's configuration names.
        map_size_px: Longer side of the object maps in pixels; None is what the model was trained with, as its
            configuration says, and where it does not say, the size of the model's frames.
        max_side_px: Longer side in pixels that frames are scaled down to while they are decoded, as in training.
        max_pixels: Pixels above which a video is refused before it is decoded; None refuses none.
        store: Where detections are kept, so that a video is looked through once; None keeps none.

    Raises:
        ConfigError: The model is no A2O model, or was trained on another detector.
        DetectionError: The detector cannot take one of the model's class texts.
    """

    def __init__(
        self,
        model: Any,
        processor: BaseVideoProcessor,
        detector: Detector,
        map_size_px: int | None = None,
        max_side_px: int | None = None,
        max_pixels: int | None = None,
        store: DetectionStore | None = None,
    ):
        if not isinstance(model, A2OForVideoClassification):
            raise ConfigError(f"{type(model).__name__} is no A2O model, and cannot be shown object maps")
        check_detector(model.config, detector)
        for text in model.config.class_texts:
            detector.check_text(text)
        self.model, self.processor, self.detector, self.store = model.eval(), processor, detector, store
        self.size = map_size(map_size_px or model.config.map_size_px, input_size(processor))
        self.max_side_px, self.max_pixels = max_side_px, max_pixels
        self.transform = evaluation_transform(processor, _ANY_GRID)
        if not model.config.num_frames:
            raise ConfigError("the model does not say how many frames it takes")

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, detector: Detector, **settings: Any):
        """With the model and the processor of a saved folder or a Hub repository.

        Args:
            name_or_path: The folder or Hub id.
            detector: What finds the objects.
            **settings: Those of the class.

        Raises:
            ConfigError: There is no such model, or it does not fit the detector.
        """
        try:
            model = load_whole(AutoModelForVideoClassification, name_or_path, f"model {name_or_path}")
            processor = AutoVideoProcessor.from_pretrained(name_or_path)
        except (ValueError, OSError) as error:
            raise ConfigError(f"cannot load {name_or_path}: {' '.join(str(error).split())}") from error
        return cls(model, processor, detector, **settings)

    @torch.no_grad()
    def __call__(
        self, path: str | os.PathLike, top_k: int = 5, video_id: str | None = None, maps: bool = True
    ) -> ClassifiedVideo:
        """Classify a video file.

        Args:
            path: The file.
            top_k: Number of answers, at most all labels.
            video_id: Id of the video, for a detector that looks it up; None takes the file's name without its suffix.
            maps: Whether objects are looked for. Without, both answers are that of the frames alone.

        Raises:
            VideoError: The file cannot be read.
            ConfigError: `top_k` is below 1.
        """
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}, expected at least 1")
        info = probe_video(path, max_pixels=self.max_pixels)
        taken = decode_frames(
            path,
            uniform_indices(info.num_frames, self.model.config.num_frames),  # as training and the processor sample
            max_side_px=self.max_side_px,
            max_pixels=self.max_pixels,
            stand_ins=True,  # as both read a frame that does not decode
        )
        known = {
            "video_id": video_id_of(os.path.basename(path)) if video_id is None else video_id,
            "source": "",
            "split": "",
            "frame_height": info.height,
            "frame_width": info.width,
        }
        times = zip(taken.frame_indices, taken.timestamps_s, strict=True)
        keys = [{**known, "frame_index": index, "timestamp_s": time_s} for index, time_s in times]
        counts = DetectionCounts()
        texts = self.model.config.class_texts if maps else ()
        found = detect_video(path, keys, self.detector, texts, self.store, counts) if maps else {}
        pixel_values, object_maps = self._shown(taken.frames, found)
        with_maps, without = (self._answers(pixel_values, given, top_k) for given in (object_maps, None))
        return ClassifiedVideo(
            with_maps,
            without,
            found,
            taken.frames,
            taken.frame_indices,
            taken.timestamps_s,
            pixel_values,
            object_maps,
            counts,
        )

    def _shown(self, frames: np.ndarray, found: Mapping[str, list[Found]]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the model takes, by the transform of evaluation: pixels and maps move together.

        Args:
            frames: uint8 (frames, height, width, 3).
            found: Class -> one `Found` per frame.

        Returns:
            (1, frames, 3, height, width) and (1, frames, classes, rows, columns), float32.
        """
        texts = self.model.config.class_texts
        by_frame = [[found[text][i] if text in found else None for text in texts] for i in range(len(frames))]
        statuses = [["" if one is None else one.status for one in row] for row in by_frame]
        objects = ClipObjects(FrameDetections(by_frame, statuses), self.size)
        clip = self.transform(frames, [None] * len(frames), objects=objects)
        assert clip.object_maps is not None  # objects were given
        return clip.pixel_values.unsqueeze(0), clip.object_maps.unsqueeze(0)

    def _answers(
        self, pixel_values: torch.Tensor, object_maps: torch.Tensor | None, top_k: int
    ) -> list[tuple[str, float]]:
        """pixel_values: (1, frames, 3, height, width), object_maps: (1, frames, classes, rows, columns) or None."""
        device = self.model.device
        shown = None if object_maps is None else object_maps.to(device)
        logits = self.model(pixel_values=pixel_values.to(device), object_maps=shown).logits[0]
        best = logits.float().softmax(dim=-1).topk(min(top_k, logits.shape[-1]))
        labels = self.model.config.id2label
        return [
            (labels[index], score) for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def check_detector(config: A2OConfig, detector: Detector) -> None:
    """Refuse a detector that a model was not trained with: its maps would mean something else.

    What the configuration leaves open is not compared.

    Args:
        config: The model's configuration.
        detector: What is to make its maps.

    Raises:
        ConfigError: They differ; the message names both.
    """
    if not config.detector:
        return
    pairs = {
        "detector": (config.detector, detector.name),
        "detector_model": (config.detector_model, detector.model),
        "detector_revision": (config.detector_revision, detector.revision),
        "detector_threshold": (config.detector_threshold, detector.threshold),
    }
    differing = [
        f"{name} {wanted} (given: {given})" for name, (wanted, given) in pairs.items() if wanted not in ("", given)
    ]
    if differing:
        raise ConfigError(f"the model was trained on the maps of another detector: {', '.join(differing)}")


__all__ = ["ClassifiedVideo", "ObjectVideoClassifier", "check_detector"]
