"""Where the action's name in a prompt comes from: the video's class, its own sentence, or the action at that time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..manifests.segments import SegmentIndex

NO_ACTION = ("background", "sil", "none")
"""What segmentation data sets call frames in which nothing is done, in lower case."""


class LabelSource(Protocol):
    """Names the action in a frame for the prompt."""

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str | None:
        """The action's name at a time of a video of the manifest; None where nothing is known of it."""
        ...

    def describe(self, row: Mapping[str, Any]) -> str:
        """All that `label_at` can say of a video: where this changes, the video is asked about anew."""
        ...


class ClassLabels:
    """The video's class is the action throughout.

    Args:
        class_names: of the manifest.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str:
        return self.class_names[row["label"]]

    def describe(self, row: Mapping[str, Any]) -> str:
        return self.class_names[row["label"]]


class CaptionLabels(ClassLabels):
    """Videos have a sentence each, such as the filled-in templates of Something-Something; others have their class.

    Args:
        class_names: of the manifest.
        captions: video id -> sentence.
    """

    def __init__(self, class_names: Sequence[str], captions: Mapping[str, str]):
        super().__init__(class_names)
        self.captions = captions

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str:
        return self.describe(row)

    def describe(self, row: Mapping[str, Any]) -> str:
        return self.captions.get(row["video_id"]) or self.class_names[row["label"]]


class SegmentLabels:
    """Long videos of many actions: the action of the segment that holds the frame's time.

    Names are written as words (`pick_up_chip` becomes "pick up chip"). Frames in which nothing is done (`NO_ACTION`)
    are asked about without a label.

    Args:
        segments: of all videos.
    """

    def __init__(self, segments: SegmentIndex):
        self.segments = segments

    def label_at(self, row: Mapping[str, Any], timestamp_s: float) -> str | None:
        label = self.segments.label_at(row["video_id"], timestamp_s)
        return None if label is None or label.lower() in NO_ACTION else label.replace("_", " ")

    def describe(self, row: Mapping[str, Any]) -> str:
        return json.dumps(self.segments.segments_of(row["video_id"]), ensure_ascii=False)
