"""TSViT with a label for every frame: temporal action segmentation of videos with many actions (table 2).

The stages are those of the clip classifier. The head reads the output of stage 2 frame by frame instead of its mean,
so that a frame's label follows from the frame and from what surrounds it in its window. `predict_logits` labels
windows of frames that were encoded before: in a long video windows overlap, and each frame goes through stage 1 once.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_tsvit import TSViTConfig
from .layers_tsvit import TSViTClassificationHead, is_traced
from .modeling_tsvit import TSViTModel, TSViTPreTrainedModel

IGNORED_LABEL = -100  # of a frame that has no part in the loss, as in `torch.nn.CrossEntropyLoss`


@dataclass
class TSViTActionSegmenterOutput(ModelOutput):
    """Output of `TSViTForActionSegmentation`. The fields it shares with `TSViTModelOutput` are those.

    Args:
        loss: () cross-entropy over the labelled frames, where labels were given.
        logits: (batch, frames, labels) scores of every frame. Rows of padded frames mean nothing.
        segment_logits: (batch, 3, labels) scores of the immediate, contextual and narrative views of the window by the
            same head. A window may hold several actions, which its views then tell apart.
        frame_attention: (batch, frames, tokens).
        layer_attention: (batch, layers, frames, tokens).
        hidden_states: Of both stages, on request.
        attentions: Of both stages, on request.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    segment_logits: torch.FloatTensor | None = None
    frame_attention: torch.FloatTensor | None = None
    layer_attention: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class TSViTForActionSegmentation(TSViTPreTrainedModel):
    """TSViT with an MLP head over the representation of each frame.

    Example:
        >>> from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation
        >>> model = TSViTForActionSegmentation(TSViTConfig(image_size=64, num_frames=32, num_labels=5))
        >>> model(torch.zeros(1, 32, 3, 64, 64)).logits.shape
        torch.Size([1, 32, 5])
    """

    accepts_loss_kwargs = False  # as in TSViTForVideoClassification: the loss is a plain mean

    def __init__(self, config: TSViTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.tsvit = TSViTModel(config)
        self.classifier = TSViTClassificationHead(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        token_mask: torch.Tensor | None = None,
    ) -> TSViTActionSegmenterOutput:
        """Labels the frames of windows.

        Args:
            pixel_values: (batch, frames, channels, height, width).
            frame_mask: (batch, frames), valid frames, a prefix of each window.
            labels: (batch, frames) int64, class indices; frames with -100 have no part in the loss.
            output_attentions: Return the attentions of both stages.
            output_hidden_states: Return the hidden states of both stages.
            token_mask: (batch, frames, tokens) bool, the tokens that are read; the others are dropped.

        Raises:
            ValueError: The inputs do not fit the configuration or each other.
        """
        outputs = self.tsvit(
            pixel_values, frame_mask, output_attentions, output_hidden_states, token_mask, return_dict=True
        )
        logits = self.classifier(outputs.last_hidden_state)
        return TSViTActionSegmenterOutput(
            loss=None if labels is None else self._frame_loss(logits, labels),
            logits=logits,
            segment_logits=self.classifier(outputs.segment_states),
            frame_attention=outputs.frame_attention,
            layer_attention=outputs.layer_attention,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def predict_logits(self, frame_states: torch.Tensor) -> torch.Tensor:
        """Scores of windows of frames that stage 1 has encoded before (`tsvit.encode_frames`).

        Args:
            frame_states: (batch, frames, hidden), all valid.

        Returns:
            (batch, frames, labels), as `forward` gives them for the same frames.
        """
        return self.classifier(self.tsvit.encode_clips(frame_states))

    def _frame_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """logits: (batch, frames, labels), labels: (batch, frames) -> (), mean over labelled frames, 0 without any."""
        if labels.shape != logits.shape[:2]:
            expected, found = tuple(logits.shape[:2]), tuple(labels.shape)
            raise ValueError(f"labels must have the shape (batch, frames), here {expected}, got {found}")
        labels = labels.to(logits.device)
        labelled = labels != IGNORED_LABEL
        if not is_traced():
            wrong = labels[labelled & ((labels < 0) | (labels >= self.num_labels))]
            if wrong.numel():
                raise ValueError(f"labels holds {wrong[0].item()}, but the model has {self.num_labels} labels, from 0")
        total = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
        )
        return total / labelled.sum().clamp(min=1)


# transformers has no Auto class for it: a frame of a video is to it what a token of a text is to this one
TSViTForActionSegmentation.register_for_auto_class("AutoModelForTokenClassification")

__all__ = ["TSViTForActionSegmentation"]
