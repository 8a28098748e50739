"""Configuration of A2O: a video classifier that is shown, beside the pixels, where a detector finds objects."""

import os
from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.dynamic_module_utils import custom_object_save, get_class_from_dynamic_module

DEFAULT_BACKBONE = "vjepa2"  # the paper's: V-JEPA 2 with its attentive probe
REMOTE_CODE = "transformers_modules."  # the package that transformers loads a repository's own code into
FUSIONS = ("add", "channels")
NUM_COLOURS = 3  # red, green, blue: what the adapter's last layer gives, and what is added to a frame


class A2OConfig(PreTrainedConfig):
    r"""The video classifier inside, the object classes it is shown, and the adapter between them.

    Every value is checked when the configuration is made; a `ValueError` names the field that cannot be used.
    `id2label`, `label2id` and `num_labels` are those of the classifier inside: what is set here is set there.

    Args:
        backbone_config: Configuration of the video classifier inside, of any model type that
            `AutoModelForVideoClassification` knows; a dictionary with a `model_type`, or a configuration. None is a
            V-JEPA 2. A type that is not part of transformers, such as TSViT, is known once its package is imported.
        class_texts: Texts that the detector was asked for, in the order of the channels of `object_maps`: lower case
            with single spaces, such as "tennis racket". A model needs at least one.
        detector: Name of the kind of detector that made the maps in training, "" where it is not said.
        detector_model: Hub id or name of the detector's weights, "" where it is not said.
        detector_revision: Revision of the detector's weights, "" where it is not said.
        detector_threshold: Scores under it were left out of the maps.
        map_size_px: Longer side in pixels of the `object_maps` that it was trained with, of the shape of a frame. None
            is the size of the frames, or not known. The model scales maps of any size to the frames, but maps that
            are drawn at another size have other edges.
        fusion: "add" (the adapter's three channels are added to a frame's), or "channels" (no adapter: the maps are
            further channels of the frame, and the classifier inside has as many more inputs; the paper's
            "no-compression variant" in section 4.5.3, of which it does not say how the maps go in).
        adapter_depth: Blocks of 1x1 convolution and ReLU before the last 1x1 convolution. The paper has 0, 3 or 4
            (table 10).
        adapter_hidden_size: Channels of those blocks, which the paper does not say.
        adapter_bias: Whether the convolutions have a bias. Without one a frame in which nothing is found stays as it
            is, whatever the adapter has learned; the paper does not say which it has.

    Example:
        >>> from modeling_a2o import A2OConfig
        >>> config = A2OConfig(class_texts=["person", "ball"], num_labels=4)
        >>> config.backbone_config.model_type, config.backbone_config.num_labels, config.num_frames
        ('vjepa2', 4, 64)
    """

    model_type = "a2o"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    class_texts: list[str] | tuple[str, ...] = ()
    detector: str = ""
    detector_model: str = ""
    detector_revision: str = ""
    detector_threshold: float | int = 0.0
    map_size_px: int | None = None
    fusion: str = "add"
    adapter_depth: int = 0
    adapter_hidden_size: int = 32
    adapter_bias: bool = False

    def __post_init__(self, **kwargs):
        self.class_texts = _checked_texts(self.class_texts)
        self._check_numbers()
        self.backbone_config = self._read_backbone(kwargs.get("name_or_path"))
        self._fit_channels(self.backbone_config)
        if self.id2label is None and kwargs.get("num_labels") is None:
            # before the base class, which would give it, and through `__setattr__` the backbone, two labels
            self.id2label, self.label2id = self.backbone_config.id2label, self.backbone_config.label2id
        chosen = self.backbone_config._attn_implementation
        super().__post_init__(**kwargs)
        if self._attn_implementation is None:
            self.backbone_config._attn_implementation = chosen  # the base class hands its own None down
        # once more, as the base class has them: with whole numbers for the keys that JSON has as strings
        self.backbone_config.id2label, self.backbone_config.label2id = self.id2label, self.label2id

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        backbone = vars(self).get("backbone_config")
        if name in ("id2label", "label2id") and isinstance(backbone, PreTrainedConfig):
            setattr(backbone, name, value)

    def _check_numbers(self) -> None:
        for name in ("detector", "detector_model", "detector_revision"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text, got {getattr(self, name)!r}")
        threshold = self.detector_threshold
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < 1:
            raise ValueError(f"detector_threshold must be a number in [0, 1), got {threshold!r}")
        for name, least in (("adapter_depth", 0), ("adapter_hidden_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        size = self.map_size_px
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"map_size_px must be an integer of at least 1 or None, got {size!r}")
        if not isinstance(self.adapter_bias, bool):
            raise ValueError(f"adapter_bias must be true or false, got {self.adapter_bias!r}")
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, got {self.fusion!r}")
        if self.fusion == "channels" and self.adapter_depth:
            raise ValueError(f'adapter_depth is {self.adapter_depth}, but fusion "channels" has no adapter')

    def _read_backbone(self, source: str | None) -> PreTrainedConfig:
        """The configuration of the classifier inside.

        Args:
            source: The folder or Hub id that this configuration is read from, None where it is not.
        """
        given = self.backbone_config
        if given is None:
            given = {"model_type": DEFAULT_BACKBONE}
        if isinstance(given, dict):
            fields = dict(given)
            config_class = _backbone_class(fields.pop("model_type", None), fields.get("auto_map"), source, type(self))
            given = config_class(**fields)
            if given.model_type not in CONFIG_MAPPING:
                given.name_or_path = source  # where the code of its model is
        if not isinstance(given, PreTrainedConfig):
            raise ValueError(f"backbone_config must be a configuration or a dictionary of one, got {given!r}")
        if given.model_type == self.model_type:
            raise ValueError("backbone_config is of an A2O model itself; give the classifier inside it")
        return given

    def _fit_channels(self, inside: PreTrainedConfig) -> None:
        """Gives the classifier inside as many input channels as the frames that it will be shown have."""
        name = channels_field(inside)
        wanted = NUM_COLOURS + (len(self.class_texts) if self.fusion == "channels" else 0)
        found = getattr(inside, name)
        if found == NUM_COLOURS:
            setattr(inside, name, wanted)
        elif found != wanted:
            raise ValueError(
                f"backbone_config takes {found} channels ({name}), but with {len(self.class_texts)} class_texts and "
                f'fusion "{self.fusion}" it is shown {wanted}'
            )

    @property
    def num_frames(self) -> int | None:
        """Frames of a clip of the classifier inside, None where it does not say. The video pipeline looks here."""
        for name in ("num_frames", "frames_per_clip"):  # V-JEPA 2 has a name of its own
            if hasattr(self.backbone_config, name):
                return getattr(self.backbone_config, name)
        return None

    @property
    def keys_to_ignore_at_inference(self) -> list[str]:
        """What an evaluation loop must not gather over a whole data set, as the classifier inside says."""
        return getattr(self.backbone_config, "keys_to_ignore_at_inference", [])

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """As of every configuration; the code of a configuration inside that transformers lacks is put beside."""
        inside: Any = self.backbone_config
        if inside._auto_class is not None:
            os.makedirs(save_directory, exist_ok=True)
            custom_object_save(inside, save_directory, config=inside)
        super().save_pretrained(save_directory, push_to_hub, **kwargs)


def channels_field(config: PreTrainedConfig) -> str:
    """The name that a video classifier's configuration has for its number of input channels."""
    return "in_chans" if hasattr(config, "in_chans") else "num_channels"  # the first is V-JEPA 2's


def _checked_texts(texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"class_texts must be a list of texts, got {texts!r}")
    for text in texts:
        if not text or text != " ".join(text.lower().split()):
            raise ValueError(f"class_texts holds {text!r}; write it in lower case, with single spaces")
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise ValueError(f"class_texts names {', '.join(map(repr, twice))} more than once")
    return tuple(texts)


def _backbone_class(
    model_type: Any, auto_map: Any, source: str | None, config_class: type[PreTrainedConfig]
) -> type[PreTrainedConfig]:
    """The class of the configuration inside: one that is known, else that whose code lies beside ours.

    Args:
        model_type: What the configuration says of itself.
        auto_map: Names of classes of its own code, where it has any.
        source: The folder or Hub id that is read.
        config_class: The class of the configuration around it.

    Raises:
        ValueError: There is no such class, or its code is not to be trusted.
    """
    if isinstance(model_type, str) and model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type]
    reference = auto_map.get("AutoConfig") if isinstance(auto_map, dict) else None
    # Whoever let this class run from the repository's own code has trusted all code of that repository, and no other:
    # "other/repository--module.Class" is how a configuration names code from elsewhere.
    if source and isinstance(reference, str) and "--" not in reference and is_remote_code(config_class):
        return get_class_from_dynamic_module(reference, source, code_revision=code_revision(config_class, source))
    raise ValueError(
        f"backbone_config has the model_type {model_type!r}, which transformers does not know; import the package "
        "that defines it first, such as modeling_tsvit for 'tsvit'"
    )


def is_remote_code(cls: type) -> bool:
    """Whether a class runs from the code of a repository or saved folder, which its user said to trust."""
    return cls.__module__.startswith(REMOTE_CODE)


def code_revision(cls: type, source: str) -> str | None:
    """The commit of the Hub that the code of a class is from, None for a folder."""
    # transformers puts a Hub's code into `transformers_modules.<owner>.<name>.<commit>`
    return None if os.path.isdir(source) else cls.__module__.split(".")[-2]


A2OConfig.register_for_auto_class()

__all__ = ["A2OConfig"]
