"""Batches of conversations: tokens padded, pixels one after another as the models of `transformers` take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ...errors import ConfigError
from .data import ClipExample
from .encoding import AFTER_PROMPT, DROPPED, PARTS, SEGMENTS, EncodedConversation
from .losses import IGNORED_TOKEN

NOT_FOR_THE_MODEL = (
    *("labels", "label_positions", "part_of_row", "example_of_row", "dropped", "dropped_counts", "questions"),
)
"""What of a batch is for the loss and for reports."""


@dataclass(frozen=True)
class ConversationCollator:
    """Makes batches of examples.

    A batch has a row for each conversation. A conversation that was dropped has no row; a batch in which nothing is
    left has one row without labels, since a model has to be called in every process all the same.

    Args:
        pad_token_id: Id of the token that shorter conversations are filled up with.
        stand_in: A conversation without labels, for a batch that has none.
    """

    pad_token_id: int
    stand_in: EncodedConversation

    def __call__(self, examples: Sequence[ClipExample]) -> dict[str, Any]:
        """A batch.

        Returns:
            The model's inputs, `input_ids` (rows, tokens) among them, and `labels` (rows, tokens), int64;
            `label_positions` (positions,), int64, ascending: where the token that comes next has a label in some row;
            `part_of_row` and `example_of_row` (rows,), int64; `dropped`, a list of the fields of a `Dropped`, and
            `dropped_counts` (examples, statuses), int64, how many of each status. Examples that are to be answered are
            padded at the left, and come with `questions`, a mapping for each example.
        """
        rows = [(number, one) for number, example in enumerate(examples) for one in example.conversations]
        is_open = examples[0].question is not None
        kept = [one for _, one in rows] or [self.stand_in]
        labels = _padded([one.labels for one in kept], IGNORED_TOKEN, False)
        batch: dict[str, Any] = {
            **{name: self._joined(name, [one.inputs for one in kept], is_open) for name in kept[0].inputs},
            "labels": labels,
            "label_positions": _label_positions(labels),
            "part_of_row": torch.tensor([PARTS.index(one.part) for one in kept]),
            "example_of_row": torch.tensor([number for number, _ in rows] or [0]),
            "dropped": [astuple(one) for example in examples for one in example.dropped],
            "dropped_counts": torch.tensor(
                [[sum(one.status == status for one in example.dropped) for status in DROPPED] for example in examples]
            ),
        }
        if is_open:
            batch["questions"] = [dict(example.question or {}) for example in examples]
        return batch

    def _joined(self, name: str, inputs: Sequence[Any], at_left: bool) -> torch.Tensor:
        values = [one.get(name) for one in inputs]
        if any(value is None for value in values):
            raise ConfigError(f"the processor gives {name} for some conversations of a batch and not for others")
        if name == "input_ids":
            return _padded(values, self.pad_token_id, at_left)
        if name in AFTER_PROMPT or name == SEGMENTS:
            return _padded(values, 0, at_left)
        return _one_after_another(name, values)


def _padded(values: Sequence[torch.Tensor], filler: int, at_left: bool) -> torch.Tensor:
    """Rows filled up to the longest: (rows, tokens) of several (1, tokens)."""
    longest = max(value.shape[1] for value in values)
    missing = [longest - value.shape[1] for value in values]
    sides = [(number, 0) if at_left else (0, number) for number in missing]
    return torch.cat([F.pad(value, side, value=filler) for value, side in zip(values, sides, strict=True)])


def _one_after_another(name: str, values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pixels, or sizes of grids, of all rows: models take them concatenated, whatever their first dimension counts."""
    if len({value.shape[1:] for value in values}) > 1:
        # SmolVLM and its kin have (videos, frames, ...), and take frames that are all 0 for padding
        if len({value.shape[2:] for value in values}) > 1 or values[0].ndim < 4:
            shapes = sorted({tuple(value.shape) for value in values})
            raise ConfigError(
                f"{name} of the conversations of a batch have shapes {shapes}, which do not fit together"
            )
        longest = max(value.shape[1] for value in values)
        filler = [0, 0] * (values[0].ndim - 2)
        values = [F.pad(value, [*filler, 0, longest - value.shape[1]]) for value in values]
    return torch.cat(list(values))


def _label_positions(labels: torch.Tensor) -> torch.Tensor:
    """Positions from which some row's labelled tokens are predicted: (positions,), int64.

    Prompts are long, with hundreds of tokens of a video, and logits of a large vocabulary take the most memory of all.
    """
    if labels.shape[1] < 2:  # prompts, and nothing to predict
        return torch.zeros(0, dtype=torch.int64)
    positions = (labels[:, 1:] != IGNORED_TOKEN).any(dim=0).nonzero().squeeze(1)
    # of a batch without any label one position is kept: losses of no logits at all have no graph
    return positions if len(positions) else torch.zeros(1, dtype=torch.int64)
