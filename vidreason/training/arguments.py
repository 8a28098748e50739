"""What a training run is told besides `RSConfig`: model and data. Read from a YAML recipe, flags, or both."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from ..clips.data import SAMPLING_POLICIES
from ..clips.transforms import RESAMPLING_RULES
from ..errors import ConfigError
from ..rs.config import RSConfig
from ..rs.methods import MethodArguments, method_settings

TASKS = ("classification", "segmentation")


@dataclass
class ModelArguments:
    """Which model is trained."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder or a Hub id. Without it, random weights."}
    )
    model_type: str | None = field(
        default=None,
        metadata={
            "help": "Of a new model: tsvit (the default), timesformer, vivit, videomae, vjepa2, a preset such as "
            "vivit_compact, or a registered one. A checkpoint brings its own."
        },
    )
    model_config: dict | str | None = field(
        default=None,
        metadata={"help": "Fields of the model's configuration to set, as a mapping (JSON on the command line)."},
    )
    replace_head: bool = field(
        default=False,
        metadata={"help": "Start a new classification head. Without it a checkpoint for other labels is refused."},
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of the trained weights, for the model card, such as apache-2.0."}
    )


@dataclass
class DataArguments:
    """Which videos and which guidance it is trained on."""

    task: str = field(
        default="classification",
        metadata={
            "help": "classification: a label for each clip. segmentation: one for each frame of long videos, from the "
            "table of segments in the manifest's folder.",
            "choices": list(TASKS),
        },
    )
    manifest: str = field(default="", metadata={"help": "Folder of the manifest of videos."})
    video_root: str | None = field(
        default=None, metadata={"help": "Where the videos lie, if not where the manifest says."}
    )
    packed_clips: str | None = field(
        default=None,
        metadata={
            "help": "Store of packed clips (a folder or Hub id) in place of a manifest and its videos. Its own "
            "guidance is used unless another table is named."
        },
    )
    streaming: bool = field(
        default=False, metadata={"help": "Read packed clips one after another, through a shuffle buffer."}
    )
    shuffle_buffer: int = field(
        default=1024, metadata={"help": "Clips among which streaming draws the next one for training."}
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    validation_split: str | None = field(
        default=None, metadata={"help": "Split to evaluate on while training (see eval_strategy)."}
    )
    test_splits: list[str] = field(default_factory=list, metadata={"help": "Splits to evaluate after training."})
    guidance: str | None = field(default=None, metadata={"help": "Guidance table for training: a folder or Hub id."})
    evaluation_guidance: str | None = field(
        default=None,
        metadata={"help": "Guidance table that attention is compared with in evaluation. Default: that of training."},
    )
    guidance_tolerance_s: float = field(
        default=0.05, metadata={"help": "Seconds that guidance may lie from a sampled frame and still speak for it."}
    )
    guidance_resampling: str = field(
        default="area",
        metadata={"help": "From the guidance's grid to the model's tokens.", "choices": list(RESAMPLING_RULES)},
    )
    sampling: str = field(
        default="jittered",
        metadata={"help": "Sampling of training frames; evaluation is uniform.", "choices": list(SAMPLING_POLICIES)},
    )
    decode_max_side_px: int | None = field(
        default=None, metadata={"help": "Longer side that frames are scaled down to while they are decoded."}
    )
    cache_videos: bool = field(default=False, metadata={"help": "Keep decoded videos in memory (small data sets)."})
    crop_scale_min: float = field(default=0.7, metadata={"help": "Smallest share of the frame that a crop keeps."})
    crop_ratio_max: float = field(default=1.15, metadata={"help": "Largest stretch of a crop's aspect ratio."})
    mirror_probability: float = field(default=0.0, metadata={"help": "Of a horizontal flip of a training clip."})
    mirrored_labels: dict | str | None = field(
        default=None,
        metadata={"help": 'Label -> label under a horizontal flip, such as {"slide_left": "slide_right", ...}.'},
    )
    evidence_zoom: float = field(
        default=0.0, metadata={"help": "Share of the training clips that are cropped to their guidance first."}
    )
    brightness: float = field(default=0.2, metadata={"help": "Strength of the colour jitter of training clips."})
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

    def __post_init__(self):
        if not self.manifest and not self.packed_clips:
            raise ConfigError("manifest is not set: name the folder of a manifest of videos, or packed_clips")
        if self.manifest and self.packed_clips:
            raise ConfigError("both manifest and packed_clips are set: which of them has the clips? Leave one empty")
        if self.task not in TASKS:
            raise ConfigError(f"task is {self.task!r}, expected one of {TASKS}")
        if self.task == "segmentation" and self.packed_clips:
            raise ConfigError("packed_clips holds clips with one label each: segmentation takes a manifest of videos")
        if not 0 < self.window_stride <= 1:
            raise ConfigError(f"window_stride is {self.window_stride}, expected a share of a window in (0, 1]")
        if self.streaming and not self.packed_clips:
            raise ConfigError("streaming reads packed clips: set packed_clips")
        if self.streaming and self.cache_videos:
            raise ConfigError("streaming keeps no clips in memory: set cache_videos or streaming to false")
        if self.shuffle_buffer < 1:
            raise ConfigError(f"shuffle_buffer is {self.shuffle_buffer}, expected a number of clips")
        self.mirrored_labels = read_mapping(self.mirrored_labels, "mirrored_labels")


def read_mapping(value: dict | str | None, name: str) -> dict[str, Any]:
    """A mapping that may have come as JSON from the command line.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{name} is not valid JSON ({error}): {value!r}") from None
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}, expected a mapping")
    return dict(value or {})


def parse_arguments(arguments: list[str]) -> tuple[ModelArguments, DataArguments, RSConfig]:
    """Read a recipe and flags; flags win over the recipe, and settings over those of the method named beside them.

    Args:
        arguments: of the command line, the first perhaps the path of a YAML recipe.

    Raises:
        ConfigError: the recipe cannot be read, or names a setting that does not exist.
    """
    classes = (MethodArguments, ModelArguments, DataArguments, RSConfig)
    parser = HfArgumentParser(classes)
    recipe = {}
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        recipe = read_recipe(arguments[0])
        known = {field.name for cls in classes for field in fields(cls)}
        unknown = sorted(set(recipe) - known)
        if unknown:
            raise ConfigError(f"{arguments[0]}: unknown settings {unknown}")
        arguments = arguments[1:]
    flags, _ = HfArgumentParser(MethodArguments, add_help=False).parse_known_args(arguments)
    parser.set_defaults(**method_settings(recipe.get("method")))
    parser.set_defaults(**recipe)
    parser.set_defaults(**method_settings(flags.method))
    try:
        return parser.parse_args_into_dataclasses(arguments)[1:]
    except (ValueError, TypeError) as error:  # what transformers' own arguments refuse, and flags that do not exist
        raise ConfigError(str(error)) from error


def read_recipe(path: str) -> dict[str, Any]:
    """The settings of a YAML recipe.

    Raises:
        ConfigError: it is not there, or is no mapping.
    """
    if not Path(path).is_file():
        raise ConfigError(f"recipe {path} does not exist")
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {path} is not valid YAML: {error}") from None
    if not isinstance(recipe, dict):
        raise ConfigError(f"recipe {path} holds {type(recipe).__name__}, expected settings as `name: value`")
    return recipe
