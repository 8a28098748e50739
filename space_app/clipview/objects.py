"""What a checkpoint that is shown object maps makes of a clip, with the maps and without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vidreason.a2o.pictures import added_pixels, frame_bytes
from vidreason.clips.object_maps import ClipObjects, map_size
from vidreason.clips.transforms import evaluation_transform, input_size
from vidreason.detection import UNKNOWN_CLASS, Detector, Found, FrameDetections
from vidreason.errors import DetectionError
from vidreason.video import uniform_indices

from .checkpoints import Checkpoint
from .limits import Deadline, Refused
from .reading import Clip

_ANY_GRID = (1, 1)  # a clip's transform asks for the tokens' grid, on which guidance is laid; there is none here
_GREY = 127.5  # where nothing is added


@dataclass(frozen=True, eq=False)
class Channel:
    """A channel of a checkpoint's object maps.

    Args:
        trained: The class that the checkpoint learned it with.
        asked: What the detector was asked for, None for a map of zeros.
        found: What was found of it in each frame; empty where nothing was asked for.
    """

    trained: str
    asked: str | None
    found: list[Found]

    @property
    def frames_with(self) -> int:
        """In how many frames something was found."""
        return sum(len(one) > 0 for one in self.found)

    @property
    def best(self) -> float:
        """The largest score in any frame, 0 where nothing was found."""
        return max((float(one.scores[0]) for one in self.found if len(one)), default=0.0)

    @property
    def is_unknown(self) -> bool:
        """Whether the class is none that the detector could find."""
        return any(one.status == UNKNOWN_CLASS for one in self.found)


@dataclass(frozen=True, eq=False)
class ObjectsAnswer:
    """What a checkpoint makes of a clip with object maps and without.

    Args:
        labels: Names of the labels, in the order of their ids.
        with_maps: (labels,) probabilities with the maps.
        without_maps: (labels,) probabilities with the frames alone.
        channels: The channels in their order.
        positions: Positions in the clip's frames of those that the checkpoint was given.
        added: uint8 (frames, height, width, 3), what the adapter adds to them, around grey; None without an adapter.
        gain: How many times enlarged `added` is drawn.
        seen: uint8 (frames, height, width, 3), what the classifier inside sees, cut to what a picture can hold.
    """

    labels: list[str]
    with_maps: np.ndarray
    without_maps: np.ndarray
    channels: list[Channel]
    positions: list[int]
    added: np.ndarray | None
    gain: float
    seen: np.ndarray

    def top(self, shares: np.ndarray, count: int = 5) -> list[tuple[str, float]]:
        """The labels with the largest of some probabilities, the largest first."""
        order = np.argsort(-shares, kind="stable")[:count]
        return [(self.labels[index], float(shares[index])) for index in order]


def read_classes(text: str, trained: Sequence[str], detector: Detector) -> list[str | None]:
    """What the detector is to look for, for each channel: a line of a visitor's text each.

    An empty line is a channel without anything. Lines are never shifted: a class in the channel of another would be
    taken for that other one.

    Args:
        text: The visitor's text.
        trained: Classes that the checkpoint learned with.
        detector: What will look for them, and can refuse a text.

    Raises:
        Refused: There are more lines or fewer than channels, or a line names no class.
    """
    lines = text.split("\n")
    while len(lines) > len(trained) and not lines[-1].strip():
        lines.pop()
    if len(lines) != len(trained):
        raise Refused(
            "wrong_number",
            f"Classes: {len(lines)} lines, expected {len(trained)}, one for each channel of the checkpoint. For no "
            "map, leave a line empty.",
        )
    classes: list[str | None] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            classes.append(None)
            continue
        try:
            spelled = detector.check_text(line)
        except DetectionError as error:
            raise Refused("bad_class", f"Classes, line {number}: {error}.") from None
        if spelled in classes:
            raise Refused("bad_class", f"Classes, line {number}: {spelled!r} is given twice.")
        classes.append(spelled)
    return classes


def frame_keys(clip: Clip, count: int, video_id: str) -> list[dict]:
    """The keys of the frames that a checkpoint is given, for detectors that look them up.

    Args:
        clip: Clip as it was read.
        count: Number of frames that the checkpoint takes.
        video_id: Id by which a detector knows the clip.
    """
    known = {"video_id": video_id, "source": "", "split": ""}
    size = {"frame_height": clip.facts.height, "frame_width": clip.facts.width}
    indices = uniform_indices(clip.facts.num_frames, count)  # as they were chosen when the clip was read
    times_s = clip.times_s[clip.sampled[count]]
    return [
        known | size | {"frame_index": index, "timestamp_s": float(time_s)}
        for index, time_s in zip(indices, times_s, strict=True)
    ]


def answer_with_objects(
    checkpoint: Checkpoint,
    clip: Clip,
    classes: Sequence[str | None],
    found: Mapping[str, Sequence[Found]],
    deadline: Deadline,
) -> ObjectsAnswer:
    """Ask a checkpoint with the maps of what was found, and without.

    Args:
        checkpoint: Checkpoint that takes object maps.
        clip: Clip that was read with its number of frames.
        classes: Class of each channel, None for a map of zeros.
        found: Class -> what was found of it in each frame.
        deadline: Time at which the request is given up.

    Raises:
        Refused: The time is over.
    """
    model, processor = checkpoint.object_model, checkpoint.processor
    positions = clip.sampled[checkpoint.num_frames]
    trained = model.config.class_texts
    channels = [
        Channel(own, asked, [] if asked is None else list(found[asked]))
        for own, asked in zip(trained, classes, strict=True)
    ]
    rows = [
        [channel.found[place] if channel.found else None for channel in channels] for place in range(len(positions))
    ]
    statuses = [["" if one is None else one.status for one in row] for row in rows]
    # the size of the maps that it was trained with, where it says so
    size = map_size(model.config.map_size_px, input_size(processor))
    objects = ClipObjects(FrameDetections(rows, statuses), size)
    shown = evaluation_transform(processor, _ANY_GRID)(
        clip.frames[positions], [None] * len(positions), objects=objects
    )
    pixels, maps = shown.pixel_values, shown.object_maps
    with checkpoint.lock, torch.inference_mode():
        with_maps = _probabilities(checkpoint, pixels, maps)
        deadline.check()
        without = _probabilities(checkpoint, pixels, None)
        seen, gain, drawn = frame_bytes(processor, pixels), 1.0, None
        added = added_pixels(model, processor, maps, seen.shape[1:3]) if model.config.fusion == "add" else None
    if added is not None:
        change = added.transpose(0, 2, 3, 1)
        strongest = float(np.abs(change).max())
        gain = _GREY / strongest if strongest > 0 else 1.0
        drawn, seen = _bytes(_GREY + gain * change), _bytes(seen + change)
    return ObjectsAnswer(checkpoint.labels, with_maps, without, channels, positions, drawn, gain, seen)


def _probabilities(checkpoint: Checkpoint, pixels: torch.Tensor, maps: torch.Tensor | None) -> np.ndarray:
    """pixels: (frames, 3, height, width), maps: (frames, classes, rows, columns) or None -> (labels,)."""
    batch = None if maps is None else maps.unsqueeze(0)
    outputs = checkpoint.model(pixel_values=pixels.unsqueeze(0), object_maps=batch)
    return outputs.logits[0].float().softmax(dim=-1).numpy()


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
