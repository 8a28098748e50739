"""Settings of a run that trains a Video-LLM: of its training, of its model, and of its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from ...errors import ConfigError
from ...training.arguments import DataArguments
from ...training.recipes import read_mapping
from ..frames import FrameSampling
from .methods import TASK

DTYPES = ("float32", "bfloat16", "float16", "auto")
"""Types that a model's weights may be held in; `auto` is that of the checkpoint."""


@dataclass
class VideoQAConfig(TrainingArguments):
    """`transformers.TrainingArguments`, and what training on answers and rationales adds to them.

    loss = mean over the answers' tokens + rationale_weight * mean over the rationales' tokens (STEP, section 3.2),
    each mean over all tokens of its part in an optimizer step. A batch counts questions, or clips with
    `questions_per_clip` of them: each is one row for its answer and one for its rationale.

    Defaults that differ from `TrainingArguments`: `remove_unused_columns` is False, because an example is no row of
    columns; `logging_nan_inf_filter` is False, because a loss that is not finite ends the run with a named error.
    """

    rationale_weight: float = field(
        default=1.0,
        metadata={"help": "Weight (lambda) of the rationales' mean loss. 0 trains on answers alone."},
    )
    evaluate_answers: bool = field(
        default=False,
        metadata={"help": "Evaluation: also let the model answer, greedily, and compare with the right answers."},
    )
    answer_max_new_tokens: int = field(
        default=16, metadata={"help": "Most tokens of an answer that the model gives in evaluation."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Leave this False: an example of conversations is no row of columns."}
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave this False: a loss that is not finite ends the run with an error."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.rationale_weight) and self.rationale_weight >= 0):
            raise ConfigError(f"rationale_weight is {self.rationale_weight}, expected a finite number >= 0")
        if self.answer_max_new_tokens < 1:
            raise ConfigError(f"answer_max_new_tokens is {self.answer_max_new_tokens}, expected at least 1")
        if self.remove_unused_columns:
            raise ConfigError("remove_unused_columns must be False, or conversations are removed before their use")


@dataclass
class VideoLanguageModelArguments:
    """Which Video-LLM is trained, and which of its weights."""

    model_name_or_path: str = field(
        default="", metadata={"help": "Image-text-to-text model that takes video: a folder or a Hub id."}
    )
    # a recipe gives a mapping, a flag gives JSON as text: `read_mapping` takes both
    model_config: dict | str | None = field(
        default=None,
        metadata={"help": "Fields of the model's configuration to set, as a mapping (JSON on the command line)."},
    )
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Type of the weights in memory. Training all of them wants float32, with bf16 for the arithmetic; "
            "what is frozen under LoRA may be bfloat16.",
            "choices": list(DTYPES),
        },
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "Attention of the model: sdpa, eager, flash_attention_2. Default: its own."}
    )
    freeze: list[str] = field(
        default_factory=list,
        metadata={"help": "Modules that are not trained, by the name that they have in the model: vision_tower."},
    )
    lora_rank: int = field(default=0, metadata={"help": "Rank of LoRA; 0 trains the weights themselves."})
    lora_alpha: int | None = field(default=None, metadata={"help": "Scale of LoRA. Default: twice the rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before LoRA's matrices, in [0, 1)."})
    lora_modules: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Linear layers that LoRA changes, by the ends of their names (q_proj v_proj). Default: all of the "
            "language model."
        },
    )
    lora_trained: list[str] = field(
        default_factory=list,
        metadata={"help": "Modules that are trained in full beside LoRA, such as multi_modal_projector."},
    )
    merge_lora: bool = field(
        default=False,
        metadata={"help": "Also save the whole model with LoRA added to its weights, in the folder `merged`."},
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of the trained weights, for the model card, such as apache-2.0."}
    )

    def __post_init__(self) -> None:
        if not self.model_name_or_path:
            raise ConfigError("model_name_or_path is not set: name the folder or Hub id of a model that takes video")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is {self.dtype!r}, expected one of {DTYPES}")
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank is {self.lora_rank}, expected a number >= 0")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout is {self.lora_dropout}, expected a number in [0, 1)")
        others = ("lora_alpha", "lora_dropout", "lora_modules", "lora_trained", "merge_lora")
        if not self.lora_rank and (given := [name for name in others if getattr(self, name)]):
            raise ConfigError(f"{', '.join(given)} without lora_rank: set the rank of LoRA")
        if self.lora_rank and self.freeze:
            raise ConfigError(
                f"freeze is {self.freeze} with lora_rank {self.lora_rank}: LoRA freezes all weights but its own and "
                "those of lora_trained"
            )

    @property
    def config_overrides(self) -> dict[str, Any]:
        """`model_config` as a mapping.

        Raises:
            ConfigError: It is no mapping, and no JSON of one.
        """
        return read_mapping(self.model_config, "model_config")


@dataclass
class QuestionDataArguments(DataArguments):
    """Which questions a model is trained on and evaluated on, and what it is shown and told with each.

    Splits are those of the tables of questions; a question's video may be in any split of the manifest.
    """

    task: str = field(default=TASK, metadata={"help": "Names this system in a recipe.", "choices": [TASK]})
    questions: list[str] = field(
        default_factory=list, metadata={"help": "Tables of questions, folders or Hub ids, taken together."}
    )
    answer_prompt: str = field(
        default="short_answer", metadata={"help": "Instruction for answers: a name, or the path of a prompt file."}
    )
    rationale_prompt: str = field(
        default="rationale", metadata={"help": "Instruction for rationales: a name, or the path of a prompt file."}
    )
    num_frames: int = field(default=8, metadata={"help": "Frames of a video that are shown; STEP shows 8."})
    max_side_px: int | None = field(
        default=224, metadata={"help": "Longer side in pixels that frames are scaled down to; STEP shows 224."}
    )
    name_times: bool = field(
        default=False, metadata={"help": "Write the frames' times into the prompt, for models that do not."}
    )
    show_video: bool = field(
        default=True, metadata={"help": "False trains and evaluates without any video: the blind baseline."}
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": "Most tokens of a conversation, its video's among them; a longer one is left out and counted as "
            "truncated. Default: as many as the model has positions for."
        },
    )
    questions_per_clip: int = field(
        default=1,
        metadata={"help": "Most questions of one example, which share a decoded video; each counts for itself."},
    )
    share_video: bool = field(
        default=False,
        metadata={
            "help": "Encode a clip once for all questions of an example. Each sees the video and itself alone: the "
            "loss stays as it is."
        },
    )
    cache_clips: bool = field(
        default=False, metadata={"help": "Keep encoded conversations and their pixels in memory (small data sets)."}
    )

    def __post_init__(self) -> None:
        if not self.questions:
            raise ConfigError("questions is not set: name the folder or Hub id of a table of questions")
        if not self.manifest:
            raise ConfigError("manifest is not set: name the folder of a manifest of videos")
        if self.max_length is not None and self.max_length < 1:
            raise ConfigError(f"max_length is {self.max_length}, expected a number of tokens")
        if self.questions_per_clip < 1:
            raise ConfigError(f"questions_per_clip is {self.questions_per_clip}, expected at least 1")
        if self.share_video and self.questions_per_clip == 1:
            raise ConfigError("share_video with questions_per_clip 1: say how many questions are to share one")
        _ = self.sampling  # a number that is too small is named at once

    @property
    def sampling(self) -> FrameSampling:
        """How many frames are shown, and how large."""
        return FrameSampling(self.num_frames, self.max_side_px)
