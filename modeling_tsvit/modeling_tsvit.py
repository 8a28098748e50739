"""TSViT: a two-stage vision transformer for video whose attention can be supervised (section 2.1, figure 3).

Stage 1 looks at every frame on its own: a grid of patch tokens and a CLS token go through a spatial transformer.
Stage 2 takes the CLS representations of a clip's frames as its tokens. An MLP head reads the mean over the frames.

Besides logits the model hands out what reasoning supervision needs: the attention of the CLS token over the grid
(`frame_attention`), and the logits of three temporal views of the clip (`segment_logits`).
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_tsvit import TSViTConfig
from .layers_tsvit import (
    TSViTClassificationHead,
    TSViTLayer,
    TSViTSpatialEmbeddings,
    TSViTTemporalEmbeddings,
    is_traced,
    labelled_cross_entropy,
)
from .temporal_views_tsvit import NARRATIVE, segment_means

CLS_INITIALIZER_RANGE = 0.02  # as in ViT; its position is added to it anyway


@dataclass
class TSViTModelOutput(ModelOutput):
    """Output of `TSViTModel`. `tokens` are the cells of the grid, row-major from the top left of the frame.

    Args:
        last_hidden_state: (batch, frames, hidden) normalised output of stage 2. Rows of padded frames mean nothing.
        pooler_output: (batch, hidden) mean over the valid frames of each clip.
        segment_states: (batch, 3, hidden) means over the immediate, contextual and narrative frames.
        frame_attention: (batch, frames, tokens) float32. What the CLS token of a frame pays to each patch in the last
            supervised layer, as the mean over heads; it sums to 1 less what the CLS token pays to itself. Zero where
            the frame is padding.
        layer_attention: (batch, layers, frames, tokens) the same of every supervised layer in ascending order, where
            there is more than one.
        hidden_states: On request. Stage 1 first: `num_spatial_layers + 1` of (batch, frames, 1 + tokens, hidden), its
            input and the output of every block; then stage 2: `num_temporal_layers + 1` of (batch, frames, hidden).
            They are taken before the final normalisation of their stage.
        attentions: On request. Stage 1 first: `num_spatial_layers` of (batch, frames, heads, 1 + tokens, 1 + tokens);
            then stage 2: `num_temporal_layers` of (batch, heads, frames, frames). Float32 probabilities before
            dropout, whichever attention implementation runs.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    segment_states: torch.FloatTensor | None = None
    frame_attention: torch.FloatTensor | None = None
    layer_attention: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class TSViTClassifierOutput(ModelOutput):
    """Output of the models with a head. The fields it shares with `TSViTModelOutput` are those.

    Args:
        loss: () cross-entropy over the labelled clips or frames, where labels were given.
        logits: (batch, labels) scores of whole clips, the narrative view; or (batch, frames, labels) scores of every
            frame, where rows of padded frames mean nothing.
        segment_logits: (batch, 3, labels) scores of the immediate, contextual and narrative views by the same head.
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


class TSViTPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what all models share."""

    config: TSViTConfig
    config_class = TSViTConfig
    base_model_prefix = "tsvit"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["TSViTSpatialEmbeddings", "TSViTLayer"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight[0].numel()
            init.trunc_normal_(module.weight, std=self.config.initializer_range or fan_in**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, TSViTSpatialEmbeddings | TSViTTemporalEmbeddings):
            init.trunc_normal_(module.position_embeddings, std=self.config.position_initializer_range)
            if isinstance(module, TSViTSpatialEmbeddings):
                init.trunc_normal_(module.cls_token, std=CLS_INITIALIZER_RANGE)
        else:
            super()._init_weights(module)

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the tokens of a frame of `height` by `width` pixels.

        Raises:
            ValueError: A side is not a multiple of the patch's.
        """
        patch_height, patch_width = self.config.patch_size
        if height % patch_height or width % patch_width:
            raise ValueError(
                f"a frame of {height}x{width} pixels does not divide into patches of {patch_height}x{patch_width} "
                "(height x width); resize it to a multiple of the patch size"
            )
        return height // patch_height, width // patch_width


class TSViTModel(TSViTPreTrainedModel):
    """Both stages, without a head."""

    def __init__(self, config: TSViTConfig):
        super().__init__(config)
        last_block = max(config.num_hidden_layers - 1, 1)
        rates = [config.drop_path_rate * block / last_block for block in range(config.num_hidden_layers)]
        spatial_rates, temporal_rates = rates[: config.num_spatial_layers], rates[config.num_spatial_layers :]
        self.spatial_embeddings = TSViTSpatialEmbeddings(config)
        self.spatial_layers = nn.ModuleList(TSViTLayer(config, rate) for rate in spatial_rates)
        self.spatial_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.temporal_embeddings = TSViTTemporalEmbeddings(config)
        self.temporal_layers = nn.ModuleList(TSViTLayer(config, rate) for rate in temporal_rates)
        self.temporal_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.spatial_embeddings.patch_embedding

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        frame_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        token_mask: torch.Tensor | None = None,
    ) -> TSViTModelOutput:
        """Runs both stages.

        Args:
            pixel_values: (batch, frames, channels, height, width). Height and width may be any multiples of the patch
                size, and the number of frames any; positions are interpolated.
            frame_mask: (batch, frames), nonzero for valid frames, which must be a prefix of each clip. None: all
                valid. A clip without any valid frame gives finite values that mean nothing.
            output_attentions: Return the attentions of both stages. They are computed beside the main path, under SDPA
                too, which costs memory for every map.
            output_hidden_states: Return the hidden states of both stages.
            token_mask: (batch, frames, tokens) bool, the tokens that are read. The others are dropped before the first
                block, which saves their time, and have no attention. None: all.

        Raises:
            ValueError: The inputs do not fit the configuration or each other.
        """
        collect = _Collector(
            self.config.output_attentions if output_attentions is None else output_attentions,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
        )
        self._check_pixel_values(pixel_values)
        valid_frames = _valid_frames(pixel_values, frame_mask)
        lengths = valid_frames.sum(dim=1)
        if token_mask is None:
            frame_states, layer_attention = self._spatial_stage(pixel_values, collect)
        else:
            self._check_token_mask(pixel_values, token_mask, collect)
            frame_states, layer_attention = self._spatial_stage_in_part(pixel_values, token_mask)
        layer_attention = layer_attention * valid_frames[:, None, :, None]
        last_hidden_state = self._temporal_stage(
            frame_states, lengths, None if frame_mask is None else valid_frames, collect
        )
        segment_states = segment_means(last_hidden_state, lengths)
        return TSViTModelOutput(
            last_hidden_state=last_hidden_state,
            pooler_output=segment_states[:, NARRATIVE],
            segment_states=segment_states,
            frame_attention=layer_attention[:, -1],
            layer_attention=layer_attention if layer_attention.shape[1] > 1 else None,
            hidden_states=collect.hidden_states,
            attentions=collect.attentions,
        )

    def encode_frames(self, pixel_values: torch.FloatTensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stage 1 alone, which looks at every frame on its own. For long videos, whose frames are encoded once.

        Args:
            pixel_values: (batch, frames, channels, height, width).

        Returns:
            CLS representations (batch, frames, hidden) and CLS attention (batch, supervised layers, frames, tokens).

        Raises:
            ValueError: The pixels do not fit the configuration.
        """
        self._check_pixel_values(pixel_values)
        return self._spatial_stage(pixel_values, _Collector(False, False))

    def encode_clips(self, frame_states: torch.Tensor) -> torch.Tensor:
        """Stage 2 alone: CLS representations of stage 1, all valid, (batch, frames, hidden) -> the same shape."""
        lengths = torch.full(frame_states.shape[:1], frame_states.shape[1], device=frame_states.device)
        return self._temporal_stage(frame_states, lengths, None, _Collector(False, False))

    def _check_pixel_values(self, pixel_values: torch.Tensor):
        """pixel_values: (batch, frames, channels, height, width); ValueError for another shape, and for bytes."""
        channels = self.config.num_channels
        if pixel_values.ndim != 5 or pixel_values.shape[2] != channels:
            raise ValueError(
                f"pixel_values must have the shape (batch, frames, channels, height, width) with {channels} channels, "
                f"got {tuple(pixel_values.shape)}"
            )
        if not pixel_values.is_floating_point():
            raise ValueError(f"pixel_values must be normalised floating point values, got {pixel_values.dtype}")
        if pixel_values.shape[1] == 0:
            raise ValueError("pixel_values holds clips without a frame")
        self.token_grid(*pixel_values.shape[-2:])

    def _spatial_stage(self, pixel_values: torch.Tensor, collect: "_Collector") -> tuple[torch.Tensor, torch.Tensor]:
        """pixel_values: (batch, frames, channels, height, width).

        Returns:
            CLS representations (batch, frames, hidden) and CLS attention (batch, supervised layers, frames, tokens).
        """
        clip_shape = pixel_values.shape[:2]
        hidden_states = self.spatial_embeddings(pixel_values.flatten(0, 1))
        collect.add_hidden_state(hidden_states.unflatten(0, clip_shape))
        supervised = self.config.supervised_layer_indices
        cls_rows = []
        for index, layer in enumerate(self.spatial_layers):
            hidden_states, cls_row, attentions = layer(
                hidden_states, None, index in supervised, collect.wants_attentions
            )
            if cls_row is not None:
                cls_rows.append(cls_row.unflatten(0, clip_shape))
            collect.add_hidden_state(hidden_states.unflatten(0, clip_shape))
            collect.add_attention(None if attentions is None else attentions.unflatten(0, clip_shape))
        frame_states = self.spatial_layernorm(hidden_states[:, 0]).unflatten(0, clip_shape)
        return frame_states, torch.stack(cls_rows, dim=1)

    def _check_token_mask(self, pixel_values: torch.Tensor, token_mask: torch.Tensor, collect: "_Collector"):
        rows, columns = self.token_grid(*pixel_values.shape[-2:])
        expected = (*pixel_values.shape[:2], rows * columns)
        if token_mask.shape != expected or token_mask.dtype != torch.bool:
            raise ValueError(
                f"token_mask must be boolean of the shape (batch, frames, tokens), here {expected}, got "
                f"{token_mask.dtype} {tuple(token_mask.shape)}"
            )
        if collect.wants_attentions or collect.hidden_states is not None:
            raise ValueError(
                "with a token_mask, frames have different tokens: no attentions or hidden states are kept"
            )

    def _spatial_stage_in_part(
        self, pixel_values: torch.Tensor, token_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `_spatial_stage`, with whole frames and frames that lack tokens each in a pass of their own.

        pixel_values: (batch, frames, channels, height, width), token_mask: (batch, frames, tokens) bool.
        """
        clip_shape, frames, mask = pixel_values.shape[:2], pixel_values.flatten(0, 1), token_mask.flatten(0, 1)
        lacking = ~mask.all(dim=1)
        if not lacking.any():
            return self._spatial_stage(pixel_values, _Collector(False, False))
        states, cls_rows = self._encode_kept(frames[lacking], mask[lacking])
        if not lacking.all():
            whole_states, whole_rows = self._spatial_stage(frames[~lacking].unsqueeze(0), _Collector(False, False))
            # back in the order of the frames: those that lack tokens come first in `order`
            order = torch.cat((lacking.nonzero(), (~lacking).nonzero())).squeeze(1).argsort()
            states = torch.cat((states, whole_states[0]))[order]
            cls_rows = torch.cat((cls_rows, whole_rows[0].transpose(0, 1)))[order]
        return states.unflatten(0, clip_shape), cls_rows.unflatten(0, clip_shape).transpose(1, 2)

    def _encode_kept(self, frames: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """frames: (frames, channels, height, width), mask: (frames, tokens) bool, tokens that are read.

        Returns:
            CLS representations (frames, hidden) and CLS attention (frames, supervised layers, tokens), zero for
            dropped tokens.
        """
        places = mask.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(mask.sum(dim=1).max()))]
        is_kept = mask.gather(1, places)
        hidden_states = self.spatial_embeddings(frames, places)
        keys = nn.functional.pad(is_kept, (1, 0), value=True)  # CLS
        attention_mask = create_bidirectional_mask(self.config, hidden_states, keys)
        supervised, cls_rows = self.config.supervised_layer_indices, []
        for index, layer in enumerate(self.spatial_layers):
            hidden_states, cls_row, _ = layer(hidden_states, attention_mask, index in supervised, False)
            if cls_row is not None:
                cls_rows.append(cls_row.new_zeros(mask.shape).scatter(1, places, cls_row))
        return self.spatial_layernorm(hidden_states[:, 0]), torch.stack(cls_rows, dim=1)

    def _temporal_stage(
        self,
        frame_states: torch.Tensor,
        lengths: torch.Tensor,
        valid_frames: torch.Tensor | None,
        collect: "_Collector",
    ) -> torch.Tensor:
        """frame_states: (batch, frames, hidden), lengths: (batch,), valid_frames: (batch, frames) bool or None.

        Returns:
            (batch, frames, hidden).
        """
        hidden_states = self.temporal_embeddings(frame_states, lengths)
        attention_mask = None
        if valid_frames is not None:
            # A clip without a valid frame attends to its padding: a softmax over nothing is NaN in some kernels.
            keys = valid_frames | (lengths == 0)[:, None]
            attention_mask = create_bidirectional_mask(self.config, hidden_states, keys)
        collect.add_hidden_state(hidden_states)
        for layer in self.temporal_layers:
            hidden_states, _, attentions = layer(hidden_states, attention_mask, False, collect.wants_attentions)
            collect.add_hidden_state(hidden_states)
            collect.add_attention(attentions)
        return self.temporal_layernorm(hidden_states)


class _Collector:
    """Keeps the hidden states and attentions that a caller asked for."""

    def __init__(self, wants_attentions: bool | None, wants_hidden_states: bool | None):
        self.wants_attentions = bool(wants_attentions)
        self.attentions = () if wants_attentions else None
        self.hidden_states = () if wants_hidden_states else None

    def add_hidden_state(self, hidden_state: torch.Tensor):
        """hidden_state: of any shape."""
        if self.hidden_states is not None:
            self.hidden_states += (hidden_state,)

    def add_attention(self, attention: torch.Tensor | None):
        """attention: of any shape, or None where it was not computed."""
        if self.attentions is not None:
            self.attentions += (attention,)


def _valid_frames(pixel_values: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
    """The frame mask as booleans, all True where there is none.

    Args:
        pixel_values: (batch, frames, channels, height, width).
        frame_mask: (batch, frames) or None.

    Returns:
        (batch, frames) bool.

    Raises:
        ValueError: The mask has another shape, or a valid frame follows a padded one.
    """
    shape = pixel_values.shape[:2]
    if frame_mask is None:
        return torch.ones(shape, dtype=torch.bool, device=pixel_values.device)
    if frame_mask.shape != shape:
        raise ValueError(
            f"frame_mask must have the shape (batch, frames), here {tuple(shape)}, got {tuple(frame_mask.shape)}"
        )
    valid = frame_mask.to(device=pixel_values.device, dtype=torch.bool)
    if not is_traced() and bool((valid[:, 1:] & ~valid[:, :-1]).any()):
        raise ValueError("frame_mask must mark the first frames of each clip as valid and the padding after them")
    return valid


class TSViTClassifier(TSViTPreTrainedModel):
    """Both stages and an MLP head; what models share that label clips or frames. Use one of these."""

    # The loss is a plain mean over what is labelled. `Trainer` then scales it for gradient accumulation itself,
    # instead of passing `num_items_in_batch`, which would rescale the cross-entropy but no auxiliary loss beside it.
    accepts_loss_kwargs = False

    def __init__(self, config: TSViTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.tsvit = TSViTModel(config)
        self.classifier = TSViTClassificationHead(config)
        self.post_init()

    def _with_loss(
        self,
        outputs: TSViTModelOutput,
        logits: torch.Tensor,
        segment_logits: torch.Tensor,
        labels: torch.Tensor | None,
    ) -> TSViTClassifierOutput:
        """logits: (..., labels), segment_logits: (batch, 3, labels), labels: (...) of the same, or None."""
        return TSViTClassifierOutput(
            loss=None if labels is None else labelled_cross_entropy(logits, labels),
            logits=logits,
            segment_logits=segment_logits,
            frame_attention=outputs.frame_attention,
            layer_attention=outputs.layer_attention,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class TSViTForVideoClassification(TSViTClassifier):
    """TSViT with an MLP head over the mean of the frames' representations."""

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        token_mask: torch.Tensor | None = None,
    ) -> TSViTClassifierOutput:
        """Classifies clips.

        Args:
            pixel_values: (batch, frames, channels, height, width).
            frame_mask: (batch, frames), valid frames, a prefix of each clip.
            labels: (batch,) int64, class indices; clips with -100 have no part in the loss.
            output_attentions: Return the attentions of both stages.
            output_hidden_states: Return the hidden states of both stages.
            token_mask: (batch, frames, tokens) bool, the tokens that are read; the others are dropped.

        Raises:
            ValueError: The inputs do not fit the configuration or each other.
        """
        outputs = self.tsvit(
            pixel_values, frame_mask, output_attentions, output_hidden_states, token_mask, return_dict=True
        )
        segment_logits = self.classifier(outputs.segment_states)
        return self._with_loss(outputs, segment_logits[:, NARRATIVE], segment_logits, labels)


TSViTModel.register_for_auto_class("AutoModel")
TSViTForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")

__all__ = ["TSViTForVideoClassification", "TSViTModel", "TSViTPreTrainedModel"]
