"""The task of training a Video-LLM: questions about videos, an answer and perhaps a rationale to each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from ...errors import ConfigError
from ...files import write_whole
from ...manifests.manifest import load_manifest
from ...publishing.video_language_card import VideoLanguageFacts, write_video_language_card
from ...reporting.recipe_facts import RecipeFacts
from ...training.task import Metrics, Prepared, RunData, Task
from ..answering.asking import Videos
from ..conversation import AnswerPrompt, check_processor, load_answer_prompt
from ..frames import ShownFrames
from ..tables import load_questions
from .collator import ConversationCollator
from .config import QuestionDataArguments, VideoLanguageModelArguments, VideoQAConfig
from .data import Dropped, QuestionClips, usable_questions
from .encoding import PARTS, ConversationEncoder, DroppedConversation, EncodedConversation
from .losses import IGNORED_TOKEN
from .model import load_model, load_processor
from .trainer import VideoQATrainer

DROPPED_FILE = "dropped.jsonl"
"""Conversations of the training split that were not trained on, one in each line, with status and reason."""

_TRIED = 16  # examples that are looked at before training: if none of them can be used, something is wrong with all


@dataclass(frozen=True)
class QuestionData(RunData):
    """The data sets of a run, and what its card says of them.

    Args:
        train: What is trained on.
        validation: What is evaluated on while training; None for nothing.
        tests: Split -> what is evaluated on after training.
        collator: Makes batches of them.
        prompts: Part of the loss -> its instruction.
        left_out: Split -> reason -> number of questions that are in no data set.
        dropped: What was left out of training while it went on; the trainer adds to it.
    """

    train: QuestionClips
    validation: QuestionClips | None
    tests: Mapping[str, QuestionClips]
    collator: ConversationCollator
    prompts: Mapping[str, AnswerPrompt]
    left_out: Mapping[str, Counter[str]]
    dropped: set[Dropped] = field(default_factory=set)

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Split -> video id -> reason, of the videos of training that could not be read."""
        found: dict[str, dict[str, str]] = {}
        for one in self.dropped:
            if one.status == "failed":
                found.setdefault(one.split, {})[one.video_id] = one.reason
        return found


class VideoQATask(Task[QuestionData]):
    """Answers to questions about videos, and rationales of them.

    Args:
        model_args: Settings of the model.
        data_args: Settings of the data.
        args: Settings of the training.
    """

    args: VideoQAConfig

    def __init__(self, model_args: VideoLanguageModelArguments, data_args: QuestionDataArguments, args: VideoQAConfig):
        super().__init__(args)
        self.model_args, self.data_args = model_args, data_args
        if not data_args.show_video and args.ddp_find_unused_parameters is None:
            # no process uses the weights that see, and each would wait for their gradients
            args.ddp_find_unused_parameters = True

    def settings(self) -> dict[str, Any]:
        """The settings of training, model and data."""
        return {**super().settings(), **asdict(self.model_args), **asdict(self.data_args)}

    def prepare(self) -> Prepared[QuestionData]:
        """Open questions and videos, and load the model and its processor."""
        self.data_args.check_evaluation(self.args)
        name = self.model_args.model_name_or_path
        processor = load_processor(name)
        if self.data_args.show_video:
            check_processor(name, processor, self.data_args.num_frames)
        # the questions first: what is wrong with them is known before weights are read
        data = self._build_data(processor)
        model = load_model(self.model_args)
        return Prepared(model, processor, data)

    def _build_data(self, processor: Any) -> QuestionData:
        data_args = self.data_args
        manifest = load_manifest(data_args.manifest, data_args.video_root, data_args.allow_outside_paths)
        videos, tables = Videos(manifest), [(name, load_questions(name)) for name in data_args.questions]
        prompts = {
            "answer": load_answer_prompt(data_args.answer_prompt),
            "rationale": load_answer_prompt(data_args.rationale_prompt),
        }
        encoder = ConversationEncoder(processor, prompts, self._max_length(), data_args.name_times)
        left_out: dict[str, Counter[str]] = {}

        def clips(split: str, questions_per_clip: int, shares_video: bool = False) -> QuestionClips:
            rows, left_out[split] = usable_questions(tables, split, videos)
            parts = PARTS if self.args.rationale_weight and any(rows["rationale"]) else PARTS[:1]
            shown = data_args.sampling if data_args.show_video else None
            kept = data_args.cache_clips
            return QuestionClips(rows, videos, encoder, parts, shown, questions_per_clip, kept, shares_video)

        train = clips(data_args.train_split, data_args.questions_per_clip, data_args.share_video)
        # one question in each example, so that each has its own answer
        validation = clips(data_args.validation_split, 1) if data_args.validation_split else None
        tests = {split: clips(split, 1) for split in data_args.test_splits}
        collator = ConversationCollator(pad_id(processor), self._stand_in(encoder))
        check_first(train)
        return QuestionData(train, validation, tests, collator, prompts, left_out)

    def _max_length(self) -> int | None:
        if self.data_args.max_length is not None:
            return self.data_args.max_length
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(self.model_args.model_name_or_path, **self.model_args.config_overrides)
        return getattr(config.get_text_config(), "max_position_embeddings", None)

    def _stand_in(self, encoder: ConversationEncoder) -> EncodedConversation:
        """A short conversation about black frames, which has no labels.

        Raises:
            ConfigError: Even this one is too long.
        """
        question = {"question": "?", "options": (), "answer_format": "open"}
        number, side = self.data_args.num_frames, self.data_args.max_side_px or 64
        times = tuple(float(second) for second in range(number))
        frames = np.zeros((number, side, side, 3), dtype=np.uint8)
        shown = ShownFrames(frames, times, tuple(range(number)), 0.0, float(number), float(number))
        try:
            prompt = encoder.open(question, shown if self.data_args.show_video else None)
        except DroppedConversation as error:
            raise ConfigError(f"not even a question of one word can be trained on: {error}") from error
        labels = torch.full((1, prompt.length), IGNORED_TOKEN)
        return EncodedConversation("answer", prompt.inputs, labels)

    def make_trainer(self, prepared: Prepared[QuestionData], callbacks: list[TrainerCallback]) -> VideoQATrainer:
        """The trainer of the run."""
        trainer = VideoQATrainer(
            model=prepared.model,
            args=self.args,
            train_dataset=prepared.data.train,
            eval_dataset=prepared.data.validation,
            data_collator=prepared.data.collator,
            # the Trainer saves it with every checkpoint, which then loads on its own
            processing_class=prepared.processor,
            callbacks=callbacks,
        )
        trainer.dropped = prepared.data.dropped
        trainer.merged_dtype = self.model_args.dtype if self.model_args.merge_lora else None
        return trainer

    def report(self, metrics: Mapping[str, float], split: str) -> dict[str, float | None]:
        """The metrics of a test split; a value that was not measured is None."""
        losses = ("loss", "loss_answer", "loss_rationale")
        answers = ("accuracy", "num_questions", "unparsable", "not_asked") if self.args.evaluate_answers else ()
        return {name: metrics.get(f"{split}_{name}") for name in (*answers, *losses)}

    def write_card(
        self, folder: Path, prepared: Prepared[QuestionData], recipe: RecipeFacts, metrics: Metrics
    ) -> None:
        """Write the model's card into a folder, and beside it what was not trained on."""
        write_video_language_card(folder, self.facts(prepared, recipe, metrics))
        lines = sorted(json.dumps(asdict(one), ensure_ascii=False) for one in prepared.data.dropped)
        write_whole(folder / DROPPED_FILE, "".join(f"{line}\n" for line in lines))

    def facts(self, prepared: Prepared[QuestionData], recipe: RecipeFacts, metrics: Metrics) -> VideoLanguageFacts:
        """What the model card says of the run.

        Args:
            prepared: What is trained, on what.
            recipe: How it is trained.
            metrics: Results by split and name.
        """
        data, data_args, model_args = prepared.data, self.data_args, self.model_args
        model: Any = prepared.model
        whole = model.get_base_model() if model_args.lora_rank else model
        rationales = sum(map(bool, data.train.questions["rationale"])) if self.args.rationale_weight else 0
        sets = {data_args.train_split: data.train, **data.tests}
        if data.validation is not None and data_args.validation_split:
            sets[data_args.validation_split] = data.validation
        parameters = list(model.parameters())
        return VideoLanguageFacts(
            model_name=Path(str(self.args.output_dir)).name,
            architecture=type(whole).__name__,
            base_model=model_args.model_name_or_path,
            license=model_args.license,
            question_sources=tuple(sorted(set(data.train.questions["source"]))),
            split_sizes={split: len(one.questions) for split, one in sets.items()},
            num_rationales=rationales,
            left_out={split: dict(sorted(counts.items())) for split, counts in data.left_out.items() if counts},
            dropped=dict(Counter(one.status for one in data.dropped)),
            num_frames=data_args.num_frames if data_args.show_video else 0,
            max_side_px=data_args.max_side_px,
            prompts={part: (prompt.prompt_id, prompt.sha256) for part, prompt in data.prompts.items()},
            rationale_weight=self.args.rationale_weight,
            trained=self._trained(),
            num_trained=sum(one.numel() for one in parameters if one.requires_grad),
            num_parameters=sum(one.numel() for one in parameters),
            is_adapter=bool(model_args.lora_rank),
            recipe=recipe,
            metrics=metrics,
        )

    def _trained(self) -> str:
        model_args = self.model_args
        if model_args.lora_rank:
            also = f", and {', '.join(model_args.lora_trained)} in full" if model_args.lora_trained else ""
            layers = ", ".join(model_args.lora_modules) or "all linear layers of the language model"
            return f"LoRA of rank {model_args.lora_rank} on {layers}{also}"
        return f"all but {', '.join(model_args.freeze)}" if model_args.freeze else "all weights"


def pad_id(processor: Any) -> int:
    """Id of the token that conversations are filled up with.

    Raises:
        ConfigError: The tokenizer has none, and no end of a text that could stand for it.
    """
    tokenizer = processor.tokenizer
    # its positions are masked, so that any token would do
    found = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if found is None:
        raise ConfigError("the model's tokenizer has neither a token for padding nor one that ends a text")
    return found


def check_first(clips: QuestionClips) -> None:
    """Look at the first examples, so that what is wrong with all of them is known before hours of training.

    Raises:
        ConfigError: None of them can be used; the message has the reason of the first.
    """
    reasons: list[str] = []
    for index in range(min(_TRIED, len(clips))):
        example = clips[index]
        if example.conversations:
            return
        reasons += [f"{one.status}, {one.reason}" for one in example.dropped]
    raise ConfigError(f"none of the first {min(_TRIED, len(clips))} examples can be trained on: {reasons[0]}")
