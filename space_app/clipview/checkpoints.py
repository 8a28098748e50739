"""Loading the operator's checkpoints: once, from safetensors only, with code of theirs only where it is allowed."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoModelForVideoClassification,
    AutoVideoProcessor,
    PreTrainedModel,
)

import modeling_tsvit  # noqa: F401  registers TSViT, so that its checkpoints need no code of their own
from modeling_a2o import A2OForVideoClassification  # which registers A2O likewise
from vidreason.backbones import supervised_view
from vidreason.errors import ConfigError
from vidreason.whole_models import load_whole

logger = logging.getLogger(__name__)

CLASSIFICATION, SEGMENTATION = "classification", "segmentation"

_TASKS = {"ForVideoClassification": CLASSIFICATION, "TSViTForActionSegmentation": SEGMENTATION}
"""End of an architecture's name -> the task. Other tasks bring their own parts to `page` when they come."""

_AUTO_CLASSES = {
    CLASSIFICATION: AutoModelForVideoClassification,
    SEGMENTATION: AutoModelForTokenClassification,  # transformers has none for it; see `modeling_tsvit`
}

MAX_FRAMES_PER_SECOND = 30.0
"""A checkpoint that labels more is refused: its frames of the longest clip would not fit into memory."""

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


@dataclass(eq=False)
class Checkpoint:
    """A loaded model.

    Args:
        name: Name for the visitor: the last part of a folder's path, or the Hub id.
        task: CLASSIFICATION or SEGMENTATION.
        model: Model in evaluation mode, which gives `frame_attention` and, for clips, `segment_logits`.
        processor: Video processor of the model.
        card: Markdown of its card without the front matter, empty where it has none.
        per_frame: Whether its attention in a frame depends on that frame alone, so that any frame can be asked about.
        object_model: The model itself where it can be shown object maps, None where it cannot.
        lock: Held while a clip is read by a model whose attention comes through hooks: one clip at a time.
    """

    name: str
    task: str
    model: PreTrainedModel
    processor: object
    card: str
    per_frame: bool
    object_model: A2OForVideoClassification | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def labels(self) -> list[str]:
        """The names of the labels, in order."""
        return [str(self.model.config.id2label[index]) for index in range(self.model.config.num_labels)]

    @property
    def num_frames(self) -> int:
        """Frames of a clip that the model is given; for a segmentation model, of a window."""
        return int(self.model.config.num_frames)

    @property
    def frames_per_second(self) -> float | None:
        """The rate of the frames that a segmentation model is given, else None: those are spread over the clip."""
        return float(self.model.config.frames_per_second) if self.task == SEGMENTATION else None


def load_checkpoints(model_ids: Sequence[str], remote_code_ids: Sequence[str] = ()) -> dict[str, Checkpoint]:
    """Load all checkpoints: name -> checkpoint, in the order given.

    Raises:
        ConfigError: A checkpoint cannot be loaded, or two have one name.
    """
    loaded: dict[str, Checkpoint] = {}
    for model_id in model_ids:
        checkpoint = load_checkpoint(model_id, model_id in remote_code_ids)
        if checkpoint.name in loaded:
            raise ConfigError(f"two checkpoints are called {checkpoint.name!r}: rename a folder")
        loaded[checkpoint.name] = checkpoint
    return loaded


def load_checkpoint(model_id: str, remote_code: bool = False) -> Checkpoint:
    """Load one checkpoint.

    Args:
        model_id: Folder or Hub id.
        remote_code: Whether code from its repository may run.

    Raises:
        ConfigError: It cannot be loaded, its weights are not in safetensors, its task is not known here, it gives
            no attention, does not say how many frames it takes, or labels frames at a rate that it does not say or
            that is too high.
    """
    try:
        config = AutoConfig.from_pretrained(model_id, trust_remote_code=remote_code)
        task = task_of(model_id, config.architectures)
        if task == SEGMENTATION:
            _check_rate(model_id, getattr(config, "frames_per_second", None))
        model = load_whole(
            _AUTO_CLASSES[task],
            model_id,
            f"checkpoint {model_id}",
            use_safetensors=True,
            trust_remote_code=remote_code,
            dtype=torch.float32,
        )
        processor = AutoVideoProcessor.from_pretrained(model_id, trust_remote_code=remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"checkpoint {model_id} cannot be loaded: {error}") from error
    if not config.num_frames:
        raise ConfigError(f"checkpoint {model_id} does not say how many frames it takes")
    object_model = model if isinstance(model, A2OForVideoClassification) else None
    inside = config.backbone_config if object_model is not None else config
    per_frame = inside.model_type == "tsvit"
    if not hasattr(model, "token_grid"):
        model = supervised_view(model)
    model.eval().requires_grad_(False)
    return Checkpoint(display_name(model_id), task, model, processor, read_card(model_id), per_frame, object_model)


def task_of(model_id: str, architectures: Sequence[str] | None) -> str:
    """What a checkpoint does, by the name of its architecture.

    Raises:
        ConfigError: There is no view of such checkpoints here.
    """
    for ending, task in _TASKS.items():
        if any(architecture.endswith(ending) for architecture in architectures or ()):
            return task
    raise ConfigError(f"checkpoint {model_id}: there is no view of {architectures}, only of {sorted(_TASKS)}")


def _check_rate(model_id: str, rate: float | None) -> None:
    if not rate or not 0 < rate <= MAX_FRAMES_PER_SECOND:
        raise ConfigError(
            f"checkpoint {model_id}: frames_per_second is {rate}, expected the rate at which it labels frames, up to "
            f"{MAX_FRAMES_PER_SECOND:g}"
        )


def display_name(model_id: str) -> str:
    """What visitors see: no folder of this machine."""
    return Path(model_id).resolve().name if Path(model_id).is_dir() else model_id


def read_card(model_id: str) -> str:
    """The Markdown of a checkpoint's card without its front matter, empty where there is none."""
    path = Path(model_id) / "README.md"
    try:
        content = path.read_text(encoding="utf-8") if Path(model_id).is_dir() else ModelCard.load(model_id).content
    except (OSError, HfHubHTTPError, ValueError) as error:
        logger.warning("checkpoint %s has no readable card (%s)", model_id, type(error).__name__)
        return ""
    return _FRONT_MATTER.sub("", content.replace("\r\n", "\n")).strip()
