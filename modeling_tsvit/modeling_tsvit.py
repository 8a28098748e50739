"""TSViT: a two-stage vision transformer for video whose attention can be supervised (section 2.1, figure 3).

Stage 1 looks at every frame on its own: a grid of patch tokens and a CLS token go through a spatial transformer.
Stage 2 takes the CLS representations of a clip's frames as its tokens. An MLP head reads the mean over the frames.

Besides logits the model returns what reasoning supervision needs: the attention of the CLS token over the grid
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

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    segment_states: torch.Tensor | None = None
    frame_attention: torch.Tensor | None = None
    layer_attention: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class TSViTClassifierOutput(ModelOutput):
    """Output of the models with a head. The fields it shares with `TSViTModelOutput` are those.

    Args:
        loss: () cross-entropy over the labelled clips or frames, where labels were given.
        logits: (batch, labels) scores of whole clips, the narrative view; or (batch, frames, labels) scores of every
            frame, where rows of padded frames mean nothing.
        segment_logits: (batch, 3, labels) scores of the immediate, contextual and narrative views by the same head.
        frame_attention: (batch, frames, tokens) float32, the attention of the CLS token in the last supervised layer.
        layer_attention: (batch, layers, frames, tokens) float32, the same of every supervised layer.
        hidden_states: Hidden states of both stages, on request.
        attentions: Attention probabilities of both stages, on request.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    segment_logits: torch.Tensor | None = None
    frame_attention: torch.Tensor | None = None
    layer_attention: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class TSViTPreTrainedModel(PreTrainedModel):
    """Weight initialisation and what all models share."""

    config: TSViTConfig
    config_class = TSViTConfig
    base_model_prefix = "tsvit"
    main_input_name = "pixel_values"
    # A tuple, as models of transformers have it, where its annotation says a string or a list.
    input_modalities = ("video",)  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    # What FSDP and `device_map` keep whole: the embeddings add a CLS token and positions to what they are given.
    _no_split_modules = ["TSViTSpatialEmbeddings", "TSViTLayer"]  # noqa: RUF012  transformers wants a plain attribute
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # By `init`, not `nn.init`: those leave alone what `from_pretrained` has filled already.
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
        # Stochastic depth grows over the blocks of both stages, as in its paper: later blocks build on earlier ones.
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
        """The patch embedding, whose output `enable_input_require_grads` marks where weights are frozen."""
        return self.spatial_embeddings.patch_embedding

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
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
        # Stage 1 knows no padding, every frame is on its own there; only its maps have to be zero where none count.
        layer_attention = layer_attention * valid_frames[:, None, :, None]
        # Without a mask none is made: SDPA then takes its fastest kernel.
        last_hidden_state = self._temporal_stage(
            frame_states, lengths, None if frame_mask is None else valid_frames, collect
        )
        segment_states = segment_means(last_hidden_state, lengths)
        return TSViTModelOutput(
            last_hidden_state=last_hidden_state,
            pooler_output=segment_states[:, NARRATIVE],
            segment_states=segment_states,
            frame_attention=layer_attention[:, -1],  # the layers are in ascending order
            layer_attention=layer_attention if layer_attention.shape[1] > 1 else None,
            hidden_states=collect.hidden_states,
            attentions=collect.attentions,
        )

    def encode_frames(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
        """Stage 2 alone.

        Args:
            frame_states: (batch, frames, hidden), CLS representations of stage 1, all valid.

        Returns:
            (batch, frames, hidden), normalised.
        """
        lengths = torch.full(frame_states.shape[:1], frame_states.shape[1], device=frame_states.device)
        return self._temporal_stage(frame_states, lengths, None, _Collector(False, False))

    def _check_pixel_values(self, pixel_values: torch.Tensor) -> None:
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
        """Encodes every frame on its own.

        Args:
            pixel_values: (batch, frames, channels, height, width).
            collect: Takes the hidden states and attentions that the caller asked for.

        Returns:
            CLS representations (batch, frames, hidden) and CLS attention (batch, supervised layers, frames, tokens).
        """
        clip_shape = pixel_values.shape[:2]  # frames of all clips are one batch; maps go back to clips and frames
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

    def _check_token_mask(self, pixel_values: torch.Tensor, token_mask: torch.Tensor, collect: "_Collector") -> None:
        """pixel_values: (batch, frames, channels, height, width), token_mask: (batch, frames, tokens) bool."""
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

        In one pass all frames would be as long as the longest, and dropping tokens would save nothing.

        Args:
            pixel_values: (batch, frames, channels, height, width).
            token_mask: (batch, frames, tokens) bool, the tokens that are read.

        Returns:
            CLS representations (batch, frames, hidden) and CLS attention (batch, supervised layers, frames, tokens).
        """
        clip_shape, frames, mask = pixel_values.shape[:2], pixel_values.flatten(0, 1), token_mask.flatten(0, 1)
        lacking = ~mask.all(dim=1)
        if not lacking.any():
            return self._spatial_stage(pixel_values, _Collector(False, False))
        states, cls_rows = self._encode_kept(frames[lacking], mask[lacking])
        if not lacking.all():
            whole_states, whole_rows = self._spatial_stage(frames[~lacking].unsqueeze(0), _Collector(False, False))
            # Back in the order of the frames: those that lack tokens come first in `order`.
            order = torch.cat((lacking.nonzero(), (~lacking).nonzero())).squeeze(1).argsort()
            states = torch.cat((states, whole_states[0]))[order]
            cls_rows = torch.cat((cls_rows, whole_rows[0].transpose(0, 1)))[order]
        return states.unflatten(0, clip_shape), cls_rows.unflatten(0, clip_shape).transpose(1, 2)

    def _encode_kept(self, frames: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes frames that lack tokens.

        Args:
            frames: (frames, channels, height, width).
            mask: (frames, tokens) bool, the tokens that are read.

        Returns:
            CLS representations (frames, hidden) and CLS attention (frames, supervised layers, tokens), zero for
            dropped tokens.
        """
        # Kept tokens first, in their order, cut to the longest row: rows that keep fewer are filled with dropped
        # tokens, which `attention_mask` hides. At least one, or there would be nothing to attend to but CLS.
        places = mask.byte().argsort(dim=1, descending=True, stable=True)[:, : max(1, int(mask.sum(dim=1).max()))]
        is_kept = mask.gather(1, places)
        hidden_states = self.spatial_embeddings(frames, places)
        keys = nn.functional.pad(is_kept, (1, 0), value=True)  # the CLS token is always attended to
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
        """Lets the frames of each clip look at one another.

        Args:
            frame_states: (batch, frames, hidden), CLS representations of stage 1.
            lengths: (batch,) int64, valid frames of each clip.
            valid_frames: (batch, frames) bool, or None where all are valid.
            collect: Takes the hidden states and attentions that the caller asked for.

        Returns:
            (batch, frames, hidden), normalised.
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
        self.attentions: tuple[torch.Tensor, ...] | None = () if wants_attentions else None
        self.hidden_states: tuple[torch.Tensor, ...] | None = () if wants_hidden_states else None

    def add_hidden_state(self, hidden_state: torch.Tensor) -> None:
        """hidden_state: (batch, frames, 1 + tokens, hidden) of stage 1, (batch, frames, hidden) of stage 2."""
        if self.hidden_states is not None:
            self.hidden_states += (hidden_state,)

    def add_attention(self, attention: torch.Tensor | None) -> None:
        """attention: (batch, frames, heads, 1 + tokens, 1 + tokens) of stage 1, (batch, heads, frames, frames) of 2.

        None where it was not asked for.
        """
        if self.attentions is not None and attention is not None:
            self.attentions += (attention,)


def _valid_frames(pixel_values: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
    """The frame mask as booleans, all True where there is none.

    Args:
        pixel_values: (batch, frames, channels, height, width).
        frame_mask: (batch, frames), nonzero for valid frames, or None where all are valid.

    Returns:
        (batch, frames) bool, True for valid frames.

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
    # A graph that is being recorded cannot branch on values, and every check waits for the GPU once.
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
        """logits: (batch[, frames], labels), segment_logits: (batch, 3, labels), labels: (batch[, frames]) or None."""
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
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
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
