"""A `transformers.Trainer` for Video-LLMs: answers and rationales, each a token mean over the whole step."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalLoopOutput

from ...errors import ConfigError
from ...training.checkpoints import loading, saving
from ...training.parts import PartsTrainer
from .collator import NOT_FOR_THE_MODEL
from .config import VideoQAConfig
from .data import Dropped, OpenQuestions
from .encoding import PARTS, SEGMENTS
from .evaluation import ANSWERED, OUTCOMES, answer_metrics, judge_answer, loss_metrics
from .losses import IGNORED_TOKEN, part_sums, token_losses, token_mean
from .model import load_weights, save_merged
from .shared_video import check_attention, shared_inputs

MERGED = "merged"
"""Folder beside LoRA's weights that the whole model is saved in."""


class VideoQATrainer(PartsTrainer):
    """Trains a Video-LLM on conversations about videos.

    The model is any image-text-to-text model of `transformers` that takes video, or one that peft has wrapped. Batches
    are those of `ConversationCollator`. The loss is the mean over the answers' tokens plus `rationale_weight` times
    that over the rationales' tokens (STEP, section 3.2), each an exact mean over its tokens in an optimizer step (see
    `PartsTrainer`). A step without rationales has no term for them.

    Evaluation gives the metrics of `vidreason.videoqa.training.evaluation`.

    Attributes:
        dropped: What had to be left out in training: during it as far as this process saw, after it by all processes.
        trained_parts: Names of the parts that the loss has.
        merged_dtype: Type of the weights of the whole model that is saved in `merged` beside LoRA's; None saves none.
    """

    args: VideoQAConfig
    merged_dtype: str | None = None
    not_for_the_model = NOT_FOR_THE_MODEL

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, VideoQAConfig):
            raise ConfigError(f"VideoQATrainer takes a VideoQAConfig, got a {type(self.args).__name__}")
        # asked of the arguments: the Trainer sets a collator of its own where none is given
        if kwargs.get("data_collator") is None:
            raise ConfigError("VideoQATrainer wants a ConversationCollator as its data_collator")
        # of questions without any rationale there is no second part, and no 0 in the log that looks measured
        has_parts = getattr(self.train_dataset, "parts", PARTS)
        self.trained_parts = has_parts if self.args.rationale_weight else PARTS[:1]
        self.dropped: set[Dropped] = set()
        self._dropped_since_log: Counter[str] = Counter()
        model: Any = self.accelerator.unwrap_model(self.model)
        whole = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._whole = whole
        if getattr(self.train_dataset, "shares_video", False):
            check_attention(whole)
        self._keeps_logits = "logits_to_keep" in inspect.signature(whole.forward).parameters

    def count(self, batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Labelled tokens of each part."""
        if not batch:
            return {part: torch.zeros((), dtype=torch.int64) for part in PARTS}
        of_row = (batch["labels"] != IGNORED_TOKEN).sum(dim=1)
        return dict(zip(PARTS, part_sums(of_row, batch["part_of_row"], len(PARTS)), strict=True))

    def part_weights(self, progress: float | None) -> dict[str, float]:
        """Answers count as they are, rationales by their weight."""
        return {"answer": 1.0, "rationale": self.args.rationale_weight}

    def model_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the model is given: no cache, and only those logits asked for that have labels."""
        given = super().model_inputs(inputs)
        if SEGMENTS in given:
            given = shared_inputs(self._whole, given)
        kept = {"logits_to_keep": inputs["label_positions"]} if self._keeps_logits else {}
        return {**given, **kept, "use_cache": False}

    def loss_parts(
        self, outputs: Any, inputs: Mapping[str, Any], counts: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The mean loss of each part that has a weight."""
        sums = part_sums(self._row_losses(outputs, inputs), inputs["part_of_row"], len(PARTS))
        counts = counts or self.count(inputs)
        parts = {part: token_mean(total, counts[part]) for part, total in zip(PARTS, sums, strict=True)}
        return {part: parts[part] for part in self.trained_parts}

    def _row_losses(self, outputs: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Summed loss of each row's labelled tokens: (rows,)."""
        logits, positions = outputs["logits"], inputs["label_positions"]
        if not self._keeps_logits:
            logits = logits[:, positions]
        # what a position says is of the token that comes next
        targets = inputs["labels"][:, positions + 1]
        return token_losses(logits, targets, self.args.label_smoothing_factor).sum(dim=1)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor]:
        """Fetch the micro-batches of one optimizer step, and remember what was dropped from them."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            found = [Dropped(*fields) for fields in batch["dropped"]]
            self.dropped.update(found)
            self._dropped_since_log.update(one.status for one in found)
        return batches, count

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; afterwards `dropped` is what all processes had to leave out."""
        result = super().train(*args, **kwargs)
        # in place: the run's data hold the same set
        self.dropped.update(*gather_object([self.dropped]))
        return result

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add how many conversations were dropped since the last log, by status and over all processes."""
        if "loss" in logs:
            everywhere: Counter[str] = Counter()
            for counted in gather_object([dict(self._dropped_since_log)]):
                everywhere.update(counted)
            logs |= {f"dropped_{status}": number for status, number in sorted(everywhere.items())}
            self._dropped_since_log.clear()
        super().log(logs, *args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        whole: Any = self.model if model is None else model
        if self._reads_whole_weights(whole):
            with loading(resume_from_checkpoint):
                load_weights(whole, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        whole: Any = self.model
        if self._reads_whole_weights(whole) and self.state.best_model_checkpoint:
            with loading(self.state.best_model_checkpoint):
                load_weights(whole, self.state.best_model_checkpoint)
        else:
            super()._load_best_model()

    def _reads_whole_weights(self, model: Any) -> bool:
        """Whether a checkpoint holds a whole model as `save_pretrained` writes it, unlike LoRA, FSDP and DeepSpeed."""
        return isinstance(model, PreTrainedModel) and not (self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        # not with checkpoints, which training goes on from
        if self.merged_dtype is not None and self._unfinished is None:
            adapter = Path(output_dir or str(self.args.output_dir))
            model: Any = self.accelerator.unwrap_model(self.model)
            with saving(adapter / MERGED):
                save_merged(adapter, adapter / MERGED, model.get_base_model().config, self.merged_dtype)
                processor: Any = self.processing_class
                processor.save_pretrained(adapter / MERGED)

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        """Evaluate on a split: the loss of each part, and what the model answers where that is asked for."""
        kwargs["metric_key_prefix"] = metric_key_prefix
        output = super().evaluation_loop(dataloader, description, *args, **kwargs)
        found = loss_metrics(np.asarray(output.predictions), self.args.rationale_weight)
        if self.args.evaluate_answers:
            clips: Any = dataloader.dataset
            # a loader of its own: with persistent workers the Trainer keeps that of evaluation, and its data set
            loader = self.get_test_dataloader(OpenQuestions(clips))
            answered = super().evaluation_loop(loader, f"{description}, answers", *args, **kwargs)
            found |= answer_metrics(np.asarray(answered.predictions))
        assert output.metrics is not None  # the loop makes a mapping in any case
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in found.items()})
        return output

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, None]:
        """What a batch adds to the metrics: a row for each example, which may have several conversations.

        No loss is returned batch by batch: a mean of means would weigh a short last batch too much.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if "questions" in inputs:
                return None, self._outcomes(inputs), None
            return None, self._example_losses(model, inputs), None

    def _example_losses(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Of each example the summed losses and the tokens by part, and what was dropped by status.

        Returns:
            (examples, 2 * parts + statuses), float64.
        """
        losses = self._row_losses(model(**self.model_inputs(inputs)), inputs)
        tokens = (inputs["labels"] != IGNORED_TOKEN).sum(dim=1)
        dropped = inputs["dropped_counts"]
        cell = inputs["example_of_row"] * len(PARTS) + inputs["part_of_row"]
        by_part = [part_sums(of_row.double(), cell, len(dropped) * len(PARTS)) for of_row in (losses, tokens)]
        return torch.cat([*(one.view(len(dropped), len(PARTS)) for one in by_part), dropped.double()], dim=1)

    def _outcomes(self, inputs: dict[str, Any]) -> torch.Tensor:
        """(examples, 1), int64: what came of each question, as a place in `OUTCOMES`."""
        dropped = inputs["dropped_counts"]
        # of an example without a conversation there is nothing to answer: its outcome is why it was dropped
        outcomes = len(ANSWERED) + dropped.argmax(dim=1)
        if not dropped.any(dim=1).all():
            model: Any = self.accelerator.unwrap_model(self.model)
            tokenizer: Any = getattr(self.processing_class, "tokenizer", self.processing_class)
            said = model.generate(
                **super().model_inputs(inputs),
                max_new_tokens=self.args.answer_max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
            )[:, inputs["input_ids"].shape[1] :]
            texts = tokenizer.batch_decode(said, skip_special_tokens=True)
            for example, text in zip(inputs["example_of_row"].tolist(), texts, strict=True):
                outcomes[example] = OUTCOMES.index(judge_answer(inputs["questions"][example], text))
        return outcomes.unsqueeze(1)
