"""What a training run is told besides its `TrainingArguments`: model and data. From a YAML recipe, flags, or both.

A system derives its own data settings from these, and a field that it adds is a name in recipes and a flag at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from transformers import TrainingArguments

from ..clips.data import SAMPLING_POLICIES
from ..clips.transforms import RESAMPLING_RULES, AugmentationConfig
from ..command_line import OneLineParser, flag_parser, parse_flags
from ..errors import ConfigError
from .recipes import method_settings, read_mapping, read_recipe


@dataclass
class ModelArguments:
    """Which model is trained."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder or a Hub id. Without it, random weights."}
    )
    model_type: str | None = field(
        default=None,
        metadata={
            "help": "Type of a new model: tsvit (the default), timesformer, vivit, videomae, vjepa2, a preset such as "
            "vivit_compact, or a registered one. A checkpoint brings its own."
        },
    )
    # a recipe gives a mapping, a flag gives JSON as text: `read_mapping` takes both
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

    @property
    def config_overrides(self) -> dict[str, Any]:
        """`model_config` as a mapping.

        Raises:
            ConfigError: It is no mapping, and no JSON of one.
        """
        return read_mapping(self.model_config, "model_config")


@dataclass
class DataArguments:
    """Which videos a model is trained on, and which it is evaluated on."""

    manifest: str = field(default="", metadata={"help": "Folder of the manifest of videos."})
    video_root: str | None = field(
        default=None, metadata={"help": "Where the videos lie, if not where the manifest says."}
    )
    allow_outside_paths: bool = field(
        default=False,
        metadata={"help": "Take a manifest whose paths may leave the videos' folder, to any file of this machine."},
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    validation_split: str | None = field(
        default=None, metadata={"help": "Split to evaluate on while training (see eval_strategy)."}
    )
    test_splits: list[str] = field(default_factory=list, metadata={"help": "Splits to evaluate after training."})

    def check_evaluation(self, args: TrainingArguments) -> None:
        """Make sure that a run which evaluates while it trains has a split for that.

        Raises:
            ConfigError: `eval_strategy` is set and `validation_split` is not.
        """
        # TrainingArguments turns it into an enum, but a value assigned later may be plain text
        strategy = str(getattr(args.eval_strategy, "value", args.eval_strategy))
        if strategy != "no" and not self.validation_split:
            raise ConfigError(f"eval_strategy is {strategy!r} but validation_split is not set")


@dataclass
class ClipArguments(DataArguments):
    """Clips of videos or of a packed store, how they are sampled and augmented, and what is joined to them."""

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
    guidance: str | None = field(default=None, metadata={"help": "Guidance table for training: a folder or Hub id."})
    evaluation_guidance: str | None = field(
        default=None,
        metadata={"help": "Guidance table that attention is compared with in evaluation. Default: that of training."},
    )
    # seconds; frames at 25 fps are 0.04 s apart
    guidance_tolerance_s: float = field(
        default=0.05, metadata={"help": "Seconds that guidance may lie from a sampled frame and still speak for it."}
    )
    guidance_resampling: str = field(
        default="area",
        metadata={"help": "From the guidance's grid to the model's tokens.", "choices": list(RESAMPLING_RULES)},
    )
    detections: str | None = field(
        default=None,
        metadata={
            "help": "Table of detections, a folder or Hub id, whose objects the model is shown as maps beside the "
            "pixels. The model is one of type a2o."
        },
    )
    object_classes: list[str] = field(
        default_factory=list,
        metadata={"help": "Classes of objects that the model is shown, each a channel of the maps, in this order."},
    )
    # as for guidance
    detection_tolerance_s: float = field(
        default=0.05, metadata={"help": "Seconds that detections may lie from a sampled frame and still be of it."}
    )
    map_size_px: int | None = field(
        default=None,
        metadata={
            "help": "Longer side of the maps in pixels, which has to divide that of the model's input: a quarter of "
            "it takes a sixteenth of the memory. Default: the size of the input."
        },
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
    # off by default: a flip changes the label of an action that has a direction, see mirrored_labels
    mirror_probability: float = field(default=0.0, metadata={"help": "Probability that a training clip is mirrored."})
    mirrored_labels: dict | str | None = field(
        default=None,
        metadata={"help": 'Label -> label under a horizontal flip, such as {"slide_left": "slide_right", ...}.'},
    )
    brightness: float = field(default=0.2, metadata={"help": "Strength of the colour jitter of training clips."})

    def __post_init__(self) -> None:
        # combinations that contradict each other are named at parsing, before data or a model are opened
        if not self.manifest and not self.packed_clips:
            raise ConfigError("manifest is not set: name the folder of a manifest of videos, or packed_clips")
        if self.manifest and self.packed_clips:
            raise ConfigError("both manifest and packed_clips are set: which of them has the clips? Leave one empty")
        if self.streaming and not self.packed_clips:
            raise ConfigError("streaming reads packed clips: set packed_clips")
        if self.streaming and self.cache_videos:
            raise ConfigError("streaming keeps no clips in memory: set cache_videos or streaming to false")
        if self.shuffle_buffer < 1:
            raise ConfigError(f"shuffle_buffer is {self.shuffle_buffer}, expected a number of clips")
        if bool(self.object_classes) != bool(self.detections):
            raise ConfigError(
                f"detections are {self.detections!r} and object_classes {self.object_classes}: a table is named "
                "together with its classes that the model is shown, or neither"
            )
        if self.map_size_px is not None and not self.detections:
            raise ConfigError(f"map_size_px is {self.map_size_px}, but no detections are named")
        # malformed JSON is named here, before any data are read; from here on the field holds a mapping
        self.mirrored_labels = read_mapping(self.mirrored_labels, "mirrored_labels")

    @property
    def label_mirrors(self) -> dict[str, str]:
        """`mirrored_labels` as a mapping; empty for none."""
        return read_mapping(self.mirrored_labels, "mirrored_labels")

    @property
    def augmentation(self) -> AugmentationConfig:
        """How training clips are changed."""
        return AugmentationConfig(self.crop_scale_min, self.crop_ratio_max, self.mirror_probability, self.brightness)


ModelT = TypeVar("ModelT")
DataT = TypeVar("DataT")
TrainingT = TypeVar("TrainingT", bound=TrainingArguments)


def parse_arguments(
    arguments: list[str],
    classes: tuple[type[ModelT], type[DataT], type[TrainingT]],
    methods: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[ModelT, DataT, TrainingT]:
    """Read a recipe and flags; flags win over the recipe, and settings over those of the method named beside them.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.
        classes: Settings of the model, of the data, and of the training. Their fields are the names in a recipe and
            the flags.
        methods: Named settings, by the name that `method` takes: in a recipe its own settings win over them, and as a
            flag `--method` wins over the recipe. None adds no such setting.

    Raises:
        ConfigError: The recipe cannot be read, or a setting or method does not exist; a `UsageError` where it is a
            flag.
    """
    methods = methods or {}
    parser = flag_parser(*classes)
    known = {setting.name for cls in classes for setting in fields(cls)}  # type: ignore[arg-type]  # all dataclasses
    by_flag = None
    if methods:
        _add_method(parser, methods)
        known.add("method")
        # no help: `--help` would print this parser's only flag and exit before the full one is reached
        flags = OneLineParser(add_help=False)
        _add_method(flags, methods)
        # read ahead of all others, since it decides on their defaults
        by_flag = flags.parse_known_args(arguments)[0].method
    recipe: dict[str, Any] = {}
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        recipe = read_recipe(arguments[0])
        # set_defaults accepts any name silently: a misspelt setting would have no effect
        unknown = sorted(set(recipe) - known)
        if unknown:
            raise ConfigError(f"{arguments[0]}: unknown settings {unknown}")
        arguments = arguments[1:]
    # each overwrites those before it
    parser.set_defaults(**method_settings(recipe.get("method"), methods))
    # argparse converts defaults that are text: PyYAML reads 1e-4, which has no dot, as text
    parser.set_defaults(**recipe)
    parser.set_defaults(**method_settings(by_flag, methods))
    # a flag that is given wins over every default set above
    parsed = parse_flags(parser, arguments)
    return parsed[0], parsed[1], parsed[2]  # behind them a namespace with `method`


def named_setting(arguments: list[str], name: str) -> str | None:
    """The method or task that a command line names, by a flag or in its recipe; None where it names none.

    It decides which system reads all other settings, and so is read ahead of them.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.
        name: Name of the setting: "method" or "task".

    Raises:
        ConfigError: The recipe cannot be read, or the setting is no text.
    """
    flags = OneLineParser(add_help=False, allow_abbrev=False)
    flags.add_argument(f"--{name}", default=None)
    value = vars(flags.parse_known_args(arguments)[0])[name]
    if value is None and arguments and arguments[0].endswith((".yaml", ".yml")):
        value = read_recipe(arguments[0]).get(name)
    if not (value is None or isinstance(value, str)):
        raise ConfigError(f"{name} is {value!r}, expected the name of one")
    return value


def _add_method(parser: argparse.ArgumentParser, methods: Mapping[str, Any]) -> None:
    parser.add_argument(
        "--method",
        default=None,
        help=f"Named settings: {', '.join(methods)}. In a recipe, its own settings win; as a flag, it wins over the "
        "recipe.",
    )
