"""Settings of a run with reasoning supervision: of its training, and of its data.

Each is written once: a field is the name of a setting in recipes, a flag of `train.py`, and its `help` at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..backbones.layers import read_layers
from ..errors import ConfigError
from ..segmentation.frame_labels import WEIGHTING_RULES
from ..training.arguments import ClipArguments
from ..training.clip_trainer import ClipTrainingArguments
from .evidence import EvidenceViews

TASKS = ("classification", "segmentation")
"""Names of the tasks, which `vidreason.rs.run` knows by these."""


@dataclass
class RSConfig(ClipTrainingArguments):
    """`ClipTrainingArguments`, those of transformers among them, and what reasoning supervision adds to them.

    total loss = cross-entropy + spatial_weight * spatial alignment + temporal_weight * temporal consistency
    ("Reasoning Supervision for Vision Transformers in Human Activity Recognition", section 2.3; the paper does not
    state its weights, temperature or layer). Evidence views (`vidreason.rs.evidence`) go beyond it: they change what
    training clips show. With both weights 0 and no evidence views this is plain training. What is marked as of
    segmentation has no effect on clips with one label each.
    """

    spatial_weight: float = field(
        default=1.0, metadata={"help": "Weight (lambda_s) of the spatial alignment loss. 0 switches it off."}
    )
    temporal_weight: float = field(
        default=0.1, metadata={"help": "Weight (lambda_t) of the temporal consistency loss. 0 switches it off."}
    )
    supervised_layers: str | None = field(
        default=None,
        metadata={
            "help": "Spatial layers whose attention is supervised: 'all', or indices such as '-1' or '0,2'. "
            "By default what the model's configuration says (the last)."
        },
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Temperature (tau) of the three temporal views' distributions."}
    )
    weight_warmup_ratio: float = field(
        default=0.0, metadata={"help": "Share of the steps over which both weights grow from 0 to their value."}
    )
    evidence_swap: float = field(
        default=0.0,
        metadata={"help": "Share of the training clips whose unguided pixels come from another clip of the batch."},
    )
    evidence_blank: float = field(
        default=0.0, metadata={"help": "Share of the training clips whose unguided pixels are blank."}
    )
    evidence_drop: float = field(
        default=0.0,
        metadata={"help": "Share of the training clips whose unguided tokens are not read (TSViT), which saves time."},
    )
    evidence_reach: int = field(
        default=1,
        metadata={"help": "A frame's evidence includes that of so many sampled frames before and after it."},
    )
    class_weighting: str = field(
        default="none",
        metadata={
            "help": "Segmentation: how much the frames of a label count: all alike (none), by the inverse of the "
            "label's share of the frames (balanced), or by its root (sqrt).",
            "choices": list(WEIGHTING_RULES),
        },
    )
    focal_gamma: float = field(
        default=0.0, metadata={"help": "Segmentation: exponent of the focal loss; 0 is plain cross-entropy."}
    )
    smoothing_weight: float = field(
        default=0.0,
        metadata={"help": "Segmentation: weight of the truncated squared steps of neighbouring log-probabilities."},
    )
    smoothing_threshold: float = field(
        default=4.0, metadata={"help": "Segmentation: where those steps are truncated (tau of MS-TCN)."}
    )
    score_averaging_s: float = field(
        default=0.0,
        metadata={
            "help": "Segmentation: seconds over which a frame's scores are averaged in evaluation and in use; 0 for "
            "its own scores alone. Training does not change."
        },
    )
    second_look: bool = field(
        default=False,
        metadata={
            "help": "Evaluate clips with a second look: each is read again, cropped to where the model looked, and "
            "both readings are averaged. Training does not change."
        },
    )
    attention_epsilon: float = field(
        default=1e-8, metadata={"help": "The constant that keeps the attention's normalisation and logarithm defined."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("spatial_weight", "temporal_weight", "smoothing_weight", "focal_gamma", "score_averaging_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}, expected a finite number >= 0")
        for name in ("temperature", "attention_epsilon", "smoothing_threshold"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value}, expected a finite number > 0")
        if self.class_weighting not in WEIGHTING_RULES:
            raise ConfigError(f"class_weighting is {self.class_weighting!r}, expected one of {WEIGHTING_RULES}")
        # malformed values are named now, not after the data are loaded
        read_layers(self.supervised_layers)
        self.evidence_views  # noqa: B018  # its own checks run when it is built
        if not 0 <= self.weight_warmup_ratio <= 1:
            raise ConfigError(f"weight_warmup_ratio is {self.weight_warmup_ratio}, expected a share in [0, 1]")

    @property
    def supervised_layer_indices(self) -> tuple[int, ...] | str | None:
        """`supervised_layers` as a model configuration takes it."""
        return read_layers(self.supervised_layers)

    @property
    def evidence_views(self) -> EvidenceViews:
        """How training clips are shown."""
        return EvidenceViews(self.evidence_swap, self.evidence_blank, self.evidence_drop, self.evidence_reach)

    @property
    def needs_guidance(self) -> bool:
        """Whether training cannot do without guidance."""
        return self.spatial_weight > 0 or self.evidence_views.any

    @property
    def is_supervised(self) -> bool:
        """Whether training is anything but plain."""
        return self.needs_guidance or self.temporal_weight > 0


@dataclass
class DataArguments(ClipArguments):
    """Which videos and which guidance a model is trained on, and for which task."""

    task: str = field(
        default="classification",
        metadata={
            "help": "classification: a label for each clip. segmentation: one for each frame of long videos, from the "
            "table of segments in the manifest's folder.",
            "choices": list(TASKS),
        },
    )
    evidence_zoom: float = field(
        default=0.0, metadata={"help": "Share of the training clips that are cropped to their guidance first."}
    )
    fps: float = field(default=10.0, metadata={"help": "Segmentation: frames sampled per second of video."})
    window_stride: float = field(
        default=0.5,
        metadata={"help": "Segmentation: from one window to the next, as a share of a window's frames, in (0, 1]."},
    )
    unlabelled_as: str | None = field(
        default=None,
        metadata={"help": "Segmentation: the action of frames in no segment. Without it they count in nothing."},
    )
    background_labels: list[str] = field(
        default_factory=list,
        metadata={"help": "Segmentation: actions that are none, whose segments count in no score of segments."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task not in TASKS:
            raise ConfigError(f"task is {self.task!r}, expected one of {TASKS}")
        if self.task == "segmentation" and self.packed_clips:
            raise ConfigError("packed_clips holds clips with one label each: segmentation takes a manifest of videos")
        if self.task == "segmentation" and self.detections:
            raise ConfigError("detections are shown to models that classify clips: segmentation takes none")
        if not 0 < self.window_stride <= 1:
            raise ConfigError(f"window_stride is {self.window_stride}, expected a share of a window in (0, 1]")
