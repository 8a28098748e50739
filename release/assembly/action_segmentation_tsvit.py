"""TSViT with a label for every frame: temporal action segmentation of videos with many actions (table 2).

The stages are those of the clip classifier. The head reads the output of stage 2 frame by frame instead of its mean,
so that a frame's label follows from the frame and from what surrounds it in its window. `predict_logits` labels
windows of frames that were encoded before: in a long video windows overlap, and each frame goes through stage 1 once.
"""

import torch
from transformers.utils import can_return_tuple

from .modeling_tsvit import TSViTClassifier, TSViTClassifierOutput


class TSViTForActionSegmentation(TSViTClassifier):
    """TSViT with an MLP head over the representation of each frame.

    Example:
        >>> from modeling_tsvit import TSViTConfig, TSViTForActionSegmentation
        >>> model = TSViTForActionSegmentation(TSViTConfig(image_size=64, num_frames=32, num_labels=5))
        >>> model(torch.zeros(1, 32, 3, 64, 64)).logits.shape
        torch.Size([1, 32, 5])
    """

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        token_mask: torch.Tensor | None = None,
    ) -> TSViTClassifierOutput:
        """Labels the frames of windows. A window may hold several actions, which its `segment_logits` tell apart.

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
        # The views are classified by the same head as the frames: consistency is about what the frames would say.
        return self._with_loss(outputs, logits, self.classifier(outputs.segment_states), labels)

    def predict_logits(self, frame_states: torch.Tensor) -> torch.Tensor:
        """Scores of windows of frames that stage 1 has encoded before (`tsvit.encode_frames`).

        Args:
            frame_states: (batch, frames, hidden), all valid.

        Returns:
            (batch, frames, labels), as `forward` gives them for the same frames.
        """
        return self.classifier(self.tsvit.encode_clips(frame_states))


# transformers has no Auto class for frame labels. The closest is that for token labels: a frame is to a video what a
# token is to a text.
TSViTForActionSegmentation.register_for_auto_class("AutoModelForTokenClassification")

__all__ = ["TSViTForActionSegmentation"]
