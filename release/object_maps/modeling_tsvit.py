"""TSViT: a two-stage vision transformer for video whose attention can be supervised (section 2.1, figure 3).

Stage 1 looks at every frame on its own: a grid of patch tokens and a CLS token go through a spatial transformer.
Stage 2 takes the CLS representations of a clip's frames as its tokens. An MLP head reads the mean over the frames.

Besides logits the model returns what reasoning supervision needs: the attention of the CLS token over the grid
(`frame_attention`), and the logits of three temporal views of the clip (`segment_logits`).

From top to bottom: attention and transformer blocks, embeddings of both stages, temporal views, outputs, models.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput, can_return_tuple
from transformers.utils.generic import maybe_autocast

from .configuration_tsvit import TSViTConfig

IGNORED_LABEL = -100  # label of clips and frames without one: the default `ignore_index` of torch's cross-entropy
CLS_INITIALIZER_RANGE = 0.02  # as in ViT; its position is added to it anyway
# Kernels that compute the plain softmax. One of another name, which a user registered, may compute something else: it
# runs even where the probabilities are at hand, and those are then beside its way.
SOFTMAX_ATTENTION = ("eager", "sdpa")
NARRATIVE = 2  # place of the whole clip among the views (immediate, contextual, narrative)


def attention_probabilities(
    query: torch.Tensor, key: torch.Tensor, scaling: float, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """softmax(Q K^T * scaling) in float32, also under autocast, and before any dropout.

    Args:
        query: (batch, heads, queries, head_dim), in any floating point type.
        key: (batch, heads, keys, head_dim), in the same type.
        scaling: Factor of the dot products.
        attention_mask: Boolean (True may be attended to) or additive, broadcastable to (batch, heads, queries, keys).

    Returns:
        (batch, heads, queries, keys) float32.
    """
    # Autocast would put the product back to half precision. In bf16 a score of 10 is off by up to 0.03, and the KL
    # divergence, which takes the logarithm of this softmax, would see all of it.
    with maybe_autocast(device_type=query.device.type, enabled=False):
        if query.shape[2] == 1:
            # A product and a sum: `matmul` would copy the keys, which lie strided, and keep the copy for the gradient.
            scores = (key.float() * (query.float() * scaling)).sum(dim=-1).unsqueeze(2)
        else:
            scores = torch.matmul(query.float() * scaling, key.float().transpose(-1, -2))
        if attention_mask is not None:
            if attention_mask.dtype == torch.bool:
                hidden = ~attention_mask
            else:
                scores = scores + attention_mask.float()
                # What an additive mask hides has the lowest number of its type. That of fp16 is only -65504, which a
                # score in float32 can outweigh.
                hidden = attention_mask <= torch.finfo(attention_mask.dtype).min
            # The lowest finite number, not -inf: a row in which all is masked would become NaN, gradient included.
            scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)


def attended_values(
    probabilities: torch.Tensor, value: torch.Tensor, dropout: float, training: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of the values by the attention probabilities.

    Args:
        probabilities: (batch, heads, queries, keys) float32.
        value: (batch, heads, keys, head_dim), in any floating point type.
        dropout: Share of the probabilities that training sets to zero.
        training: Whether the layer is training.

    Returns:
        (batch, queries, heads, head_dim) in the type of the values, and the probabilities after dropout, in it too.
    """
    weights = nn.functional.dropout(probabilities.to(value.dtype), p=dropout, training=training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention, as the attention interface of transformers calls it.

    The scores are taken in float32: in fp16 those of large queries overflow before `scaling` makes them small again,
    where the kernels of SDPA, which add up in float32, give finite values.

    Args:
        module: The layer, which says whether it is training.
        query: (batch, heads, tokens, head_dim).
        key: (batch, heads, tokens, head_dim).
        value: (batch, heads, tokens, head_dim).
        attention_mask: Boolean or additive, broadcastable to (batch, heads, tokens, tokens), or None.
        scaling: Factor of the dot products.
        dropout: Share of the probabilities that training sets to zero.
        **kwargs: Ignored; the interface passes what other implementations take.

    Returns:
        (batch, tokens, heads, head_dim) and the probabilities after dropout, (batch, heads, tokens, tokens).
    """
    probabilities = attention_probabilities(query, key, scaling, attention_mask)
    return attended_values(probabilities, value, dropout, module.training)


class TSViTAttention(nn.Module):
    """Multi-head self-attention that can also return where the CLS token looks."""

    def __init__(self, config: TSViTConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False  # the SDPA interface reads it; without a mask it would take the order for causal
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_cls_row: bool = False,
        return_attentions: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Attends, and returns probabilities on request, whichever kernel runs.

        Args:
            hidden_states: (..., tokens, hidden), the CLS token first where `return_cls_row`.
            attention_mask: Boolean or additive, broadcastable to (batch, heads, tokens, tokens), or None; the batch
                is all leading dimensions in one.
            return_cls_row: Return the attention of the CLS token.
            return_attentions: Return all probabilities.

        Returns:
            (..., tokens, hidden); the CLS row (..., tokens - 1), mean over heads without the CLS column, or None; all
            probabilities (..., heads, tokens, tokens), or None.
        """
        leading_shape, (num_tokens, hidden_size) = hidden_states.shape[:-2], hidden_states.shape[-2:]
        tokens = hidden_states.flatten(0, -3)  # kernels take one dimension of batch: the frames of all clips
        head_shape = (tokens.shape[0], num_tokens, -1, self.head_dim)
        query = self.q_proj(tokens).view(head_shape).transpose(1, 2)
        key = self.k_proj(tokens).view(head_shape).transpose(1, 2)
        value = self.v_proj(tokens).view(head_shape).transpose(1, 2)

        attentions = None
        if return_attentions:
            attentions = attention_probabilities(query, key, self.scaling, attention_mask)
            # Shaped for the caller before the values are multiplied: what is returned is then on the way to the output
            # itself, and not a view beside it, whose gradient would be None to Grad-CAM and rollout.
            attentions = attentions.unflatten(0, leading_shape)
        context = self._context(query, key, value, attention_mask, attentions)
        output = self.o_proj(context.reshape(-1, num_tokens, hidden_size)).unflatten(0, leading_shape)

        cls_row = None
        if return_cls_row and attentions is not None:
            cls_row = attentions[..., 0, 1:].mean(dim=-2)  # column 0 is the CLS token itself, which is no place
        elif return_cls_row:
            # From the same query and key, so this is the row that the kernel uses; it costs one query a head.
            probabilities = attention_probabilities(query[:, :, :1], key, self.scaling, attention_mask)
            cls_row = probabilities[:, :, 0, 1:].mean(dim=1).unflatten(0, leading_shape)
        return output, cls_row, attentions

    def _context(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        attentions: torch.Tensor | None,
    ) -> torch.Tensor:
        """Multiplies the values with the probabilities that are at hand, else runs the kernel that was chosen.

        Args:
            query: (batch, heads, tokens, head_dim).
            key: (batch, heads, tokens, head_dim).
            value: (batch, heads, tokens, head_dim).
            attention_mask: Boolean or additive, broadcastable to (batch, heads, tokens, tokens), or None.
            attentions: (..., heads, tokens, tokens) float32, the leading dimensions being those of the batch, or None.

        Returns:
            (batch, tokens, heads, head_dim).
        """
        implementation = self.config._attn_implementation
        dropout = self.attention_dropout if self.training else 0.0
        if attentions is not None and implementation in SOFTMAX_ATTENTION:
            return attended_values(attentions.flatten(0, -4), value, dropout, self.training)[0]
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        # What `attend` returns beside the context is left alone: None under SDPA, whose kernels never hold the
        # probabilities, and under eager attention after dropout, where a cell may be zero by chance.
        context, _ = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return context


class TSViTDropPath(nn.Module):
    """Stochastic depth: in training, drops a residual branch for a random share of the frames (stage 1) or clips."""

    def __init__(self, drop_probability: float):
        super().__init__()
        self.drop_probability = drop_probability

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """branch: (..., tokens, hidden) -> the same shape; what stays is scaled up so that the mean is kept."""
        if not self.training or self.drop_probability == 0.0:
            return branch
        keep_probability = 1.0 - self.drop_probability
        # one draw for all tokens of a frame or clip
        keep = branch.new_empty(*branch.shape[:-2], 1, 1).bernoulli_(keep_probability)
        return branch * keep / keep_probability

    def extra_repr(self) -> str:
        """What `print(model)` shows of the layer."""
        return f"drop_probability={self.drop_probability:.3f}"


class TSViTMLP(nn.Module):
    """Feed-forward part of a block."""

    def __init__(self, config: TSViTConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """hidden_states: (..., tokens, hidden) -> (..., tokens, hidden)."""
        return self.fc2(self.activation(self.fc1(hidden_states)))


class TSViTLayer(GradientCheckpointingLayer):
    """A pre-norm transformer block, of either stage."""

    def __init__(self, config: TSViTConfig, drop_path_rate: float):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = TSViTAttention(config)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = TSViTMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = TSViTDropPath(drop_path_rate)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_cls_row: bool = False,
        return_attentions: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Runs the block.

        Args:
            hidden_states: (..., tokens, hidden), the CLS token first where `return_cls_row`. What leads is (batch,
                frames) in stage 1, whose hidden states so have the shape that callers see, and (batch,) in stage 2.
            attention_mask: Boolean or additive, broadcastable to (batch, heads, tokens, tokens), or None; the batch
                is all leading dimensions in one.
            return_cls_row: Return the attention of the CLS token.
            return_attentions: Return all probabilities.

        Returns:
            (..., tokens, hidden); the CLS row (..., tokens - 1) or None; all probabilities
            (..., heads, tokens, tokens) or None.
        """
        # The maps are return values, and no hook records them: reentrant gradient checkpointing runs this method
        # without a graph first, and a map that was recorded there would silently carry no gradient.
        attention_output, cls_row, attentions = self.attention(
            self.layernorm_before(hidden_states), attention_mask, return_cls_row, return_attentions
        )
        hidden_states = hidden_states + self.drop_path(self.dropout(attention_output))
        mlp_output = self.mlp(self.layernorm_after(hidden_states))
        hidden_states = hidden_states + self.drop_path(self.dropout(mlp_output))
        return hidden_states, cls_row, attentions


class TSViTPatchEmbedding(nn.Module):
    """Cuts a frame into its grid cells, one token each.

    "linear" projects each cell on its own. "conv_stem" goes through stride-2 convolutions first, whose 3x3 windows
    reach over the borders of a cell.
    """

    def __init__(self, config: TSViTConfig):
        super().__init__()
        self.num_channels = config.num_channels
        self.stem = nn.Sequential()
        channels, patch_size = config.num_channels, config.patch_size
        if config.patch_embedding == "conv_stem":
            for block in range(config.num_stem_blocks):
                out_channels = config.hidden_size // 2 ** (config.num_stem_blocks - block)
                self.stem.append(nn.Conv2d(channels, out_channels, kernel_size=3, stride=2, padding=1))
                # Per frame, not per batch: padded frames, and a batch that gradient accumulation splits, must not
                # change the result.
                self.stem.append(nn.GroupNorm(1, out_channels, eps=config.layer_norm_eps))
                self.stem.append(nn.GELU())
                channels = out_channels
            stride = 2**config.num_stem_blocks
            patch_size = (patch_size[0] // stride, patch_size[1] // stride)
        self.projection = nn.Conv2d(channels, config.hidden_size, kernel_size=patch_size, stride=patch_size)

    def forward(
        self, frames: torch.Tensor, places: torch.Tensor | None = None, is_kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embeds all patches of each frame, or those that are asked for.

        Args:
            frames: (frames, channels, height, width).
            places: (frames, kept) int64, which tokens of each frame, counted row-major. The others are never
                projected; a convolutional stem, whose windows overlap, still goes over the whole frame.
            is_kept: (frames, kept) bool, with `places`: False where a place only fills a row up and must not be read.

        Returns:
            (frames, tokens or kept, hidden), all tokens in row-major order.
        """
        features = frames.to(self.projection.weight.dtype)  # a model in bf16 takes pixels in float32 too
        if len(self.stem):
            # Convolutions are made for this order in memory: a training step on a CPU takes about 0.85 of the time.
            features = self.stem(features.contiguous(memory_format=torch.channels_last))
        if places is None:
            return self.projection(features).flatten(2).transpose(1, 2)
        # The projection, a convolution with equal kernel and stride, written as cut, gather and matrix product.
        height, width = self.projection.kernel_size
        patches = features.unflatten(3, (-1, width)).unflatten(2, (-1, height))
        # (frames, channels, rows, height, columns, width) -> (frames, tokens, channels, height, width)
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        kept = patches[torch.arange(len(places), device=places.device)[:, None], places]
        if is_kept is not None:
            # Attention gives a filler no weight, but zero times NaN is NaN, here and in the gradient of the weights.
            kept = kept.masked_fill(~is_kept[:, :, None, None, None], 0.0)
        return nn.functional.linear(kept.flatten(2), self.projection.weight.flatten(1), self.projection.bias)


class TSViTSpatialEmbeddings(nn.Module):
    """Patch tokens of each frame with a CLS token before them and learned positions added."""

    def __init__(self, config: TSViTConfig):
        super().__init__()
        self.grid_shape = config.grid_shape
        self.patch_size = config.patch_size
        self.patch_embedding: nn.Module = TSViTPatchEmbedding(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.num_patches, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def interpolated_positions(self, grid_shape: tuple[int, int]) -> torch.Tensor:
        """Positions of a grid of another shape, by bicubic interpolation.

        Args:
            grid_shape: Rows and columns of the grid.

        Returns:
            (1, 1 + rows * columns, hidden), that of the CLS token first; the learned ones where the shape is theirs.
        """
        if grid_shape == self.grid_shape:
            return self.position_embeddings
        cls_position, patch_positions = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        patch_positions = patch_positions.transpose(1, 2).unflatten(2, self.grid_shape)
        # in float32: not every device has bicubic interpolation in half precision
        resized = nn.functional.interpolate(patch_positions.float(), size=grid_shape, mode="bicubic")
        resized = resized.to(cls_position.dtype).flatten(2).transpose(1, 2)
        return torch.cat((cls_position, resized), dim=1)

    def forward(
        self, frames: torch.Tensor, places: torch.Tensor | None = None, is_kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embeds frames.

        Args:
            frames: (frames, channels, height, width).
            places: (frames, kept) int64, the tokens of each frame to embed, counted row-major. None: all.
            is_kept: (frames, kept) bool, with `places`: False where a place only fills a row up. None: all are kept.

        Returns:
            (frames, 1 + tokens or 1 + kept, hidden), the CLS token first.
        """
        grid_shape = (frames.shape[-2] // self.patch_size[0], frames.shape[-1] // self.patch_size[1])
        patches = self.patch_embedding(frames, places, is_kept)
        tokens = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1).to(patches.dtype), patches), dim=1)
        positions = self.interpolated_positions(grid_shape)
        if places is not None:
            cls_position = positions[:, :1].expand(len(places), -1, -1)
            positions = torch.cat((cls_position, positions[0, 1:][places]), dim=1)
        return self.dropout(tokens + positions)


class TSViTTemporalEmbeddings(nn.Module):
    """Adds learned positions over time to the frames of each clip."""

    def __init__(self, config: TSViTConfig):
        super().__init__()
        self.position_embeddings = nn.Parameter(torch.zeros(config.num_frames, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def interpolated_positions(self, lengths: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Positions stretched linearly over each clip's own valid frames, so that padding a clip changes nothing.

        Args:
            lengths: (batch,) int64, valid frames of each clip.
            num_frames: Frames of the batch, padding included.

        Returns:
            (batch, num_frames, hidden).
        """
        num_positions = self.position_embeddings.shape[0]
        frames = torch.arange(num_frames, device=lengths.device, dtype=torch.float32)
        stretch = num_positions / lengths.clamp(min=1).to(torch.float32)  # clamped: a clip may have no valid frame
        # Centres of equal segments, as in `interpolate(..., mode="linear", align_corners=False)`.
        places = ((frames + 0.5) * stretch[:, None] - 0.5).clamp(0, num_positions - 1)
        positions = torch.arange(num_positions, device=lengths.device, dtype=torch.float32)
        # Linear interpolation as a product with hat functions: every clip has a stretch of its own, which
        # `interpolate`, with one size for the whole batch, cannot do.
        hats = (1.0 - (places[:, :, None] - positions).abs()).clamp(min=0)  # (batch, frames, positions)
        return torch.matmul(hats.to(self.position_embeddings.dtype), self.position_embeddings)

    def forward(self, frame_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """frame_states: (batch, frames, hidden), lengths: (batch,) int64 -> (batch, frames, hidden)."""
        return self.dropout(frame_states + self.interpolated_positions(lengths, frame_states.shape[1]))


class TSViTClassificationHead(nn.Module):
    """The MLP head of figure 3."""

    def __init__(self, config: TSViTConfig):
        super().__init__()
        width = config.classifier_hidden_size or config.hidden_size
        self.dense = nn.Linear(config.hidden_size, width)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        # its type has None too, of a configuration without `id2label`; there are always labels
        self.out_proj = nn.Linear(width, config.num_labels)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """features: (..., hidden) -> (..., labels)."""
        return self.out_proj(self.dropout(self.activation(self.dense(features))))


def labelled_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the clips or frames that have a label.

    Args:
        logits: (batch, labels) of clips, or (batch, frames, labels) of frames.
        labels: (batch,) or (batch, frames) int64, class indices; -100 has no part in the loss.

    Returns:
        () float32; 0, still connected to the graph, where nothing has a label.

    Raises:
        ValueError: The labels have another shape, or are none of the model's.
    """
    expected, num_labels = tuple(logits.shape[:-1]), logits.shape[-1]
    if labels.shape != expected:
        dimensions = "(batch,)" if len(expected) == 1 else "(batch, frames)"
        raise ValueError(f"labels must have the shape {dimensions}, here {expected}, got {tuple(labels.shape)}")
    labels = labels.to(logits.device)
    labelled = labels != IGNORED_LABEL
    # Checked here: on a GPU a wrong label is a device-side assertion that names nothing and ends the process.
    if not is_traced():
        wrong = labels[labelled & ((labels < 0) | (labels >= num_labels))]
        if wrong.numel():
            raise ValueError(f"labels holds {wrong[0].item()}, but the model has {num_labels} labels, from 0")
    # A sum and a division of our own: the mean of torch is 0 / 0 where nothing has a label.
    total = nn.functional.cross_entropy(
        logits.float().flatten(0, -2), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
    )
    return total / labelled.sum().clamp(min=1)


def is_traced() -> bool:
    """Whether a graph is being recorded, which must not depend on the values of tensors."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def segment_bounds(lengths: torch.Tensor) -> torch.Tensor:
    """First and past-the-last frame of the three temporal views of clips (section 2.3.2).

    For T frames, i = max(1, round(0.2 T)) and j = max(i + 1, round(0.8 T)): immediate is [0, i), contextual [i, j),
    narrative [0, T). A clip of one frame has nothing after its first: its contextual view falls back to that frame.

    Args:
        lengths: (batch,) int64, valid frames of each clip.

    Returns:
        (batch, 3, 2) int64, [start, end) of the immediate, contextual and narrative views.
    """
    zero = torch.zeros_like(lengths)
    # round(0.2 T) = floor((2 T + 5) / 10), on integers: 0.2 T and 0.8 T never lie halfway between two, so that no rule
    # of rounding matters, and no float32 product lands on the wrong side.
    first = ((2 * lengths + 5) // 10).clamp(min=1)
    second = torch.maximum(first + 1, (8 * lengths + 5) // 10)
    context_start = torch.minimum(first, (lengths - 1).clamp(min=0))
    starts = torch.stack((zero, context_start, zero), dim=1)
    ends = torch.stack((first, second, lengths), dim=1)
    return torch.stack((starts, torch.minimum(ends, lengths[:, None])), dim=2)


def segment_means(frame_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Means of frame representations over the three temporal views; zero for a clip without a valid frame.

    Args:
        frame_states: (batch, frames, hidden), output of stage 2.
        lengths: (batch,) int64, valid frames of each clip.

    Returns:
        (batch, 3, hidden).
    """
    # The paper does not say whether the views are cut from the clip before or after stage 2. They are cut after it:
    # every view then sees the clip's context, and one pass through the model serves all three.
    bounds = segment_bounds(lengths)
    frames = torch.arange(frame_states.shape[1], device=frame_states.device)
    inside = (frames >= bounds[:, :, :1]) & (frames < bounds[:, :, 1:])  # (batch, 3, frames)
    counts = inside.sum(dim=-1, keepdim=True).clamp(min=1)  # a clip without a valid frame has views of 0 / 1
    # A choice, not a product with 0 and 1: an undefined value in a padded frame must not reach the sum, which is taken
    # in float32 at least, since that of a long clip may leave the range of fp16 where its mean does not.
    chosen = torch.where(inside.unsqueeze(-1), frame_states.unsqueeze(1), 0.0)
    total = chosen.sum(dim=2, dtype=torch.promote_types(frame_states.dtype, torch.float32))
    return (total / counts).to(frame_states.dtype)


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
            They are taken before the final normalisation of their stage, and carry gradient: `retain_grad()` works.
        attentions: On request. Stage 1 first: `num_spatial_layers` of (batch, frames, heads, 1 + tokens, 1 + tokens);
            then stage 2: `num_temporal_layers` of (batch, heads, frames, frames). Float32 probabilities before
            dropout, whichever attention implementation runs. Under "eager" and "sdpa" the values are multiplied with
            these very tensors, which so carry gradient for Grad-CAM and gradient-weighted rollout.
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

    def __init__(self, config: TSViTConfig):
        super().__init__(config)
        self.patch_size = config.patch_size  # (height, width) in pixels; the weights fix it, so it is read once

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
        patch_height, patch_width = self.patch_size
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
        self._resolved_layers = (config.supervised_layers, config.supervised_layer_indices)
        self.post_init()

    def _supervised_layers(self) -> tuple[int, ...]:
        """Indices of the supervised layers; resolved again only where the configuration was set anew since."""
        chosen, indices = self._resolved_layers
        if self.config.supervised_layers != chosen:
            indices = self.config.supervised_layer_indices
            self._resolved_layers = (self.config.supervised_layers, indices)
        return indices

    def get_input_embeddings(self) -> nn.Module:
        """The patch embedding, whose output `enable_input_require_grads` marks where weights are frozen."""
        return self.spatial_embeddings.patch_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Puts another patch embedding in, which takes and gives what `TSViTPatchEmbedding` does."""
        self.spatial_embeddings.patch_embedding = value

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
                valid. Whatever padded frames hold, NaN included, is never read. A clip without any valid frame gives
                finite values that mean nothing.
            output_attentions: Return the attentions of both stages, under SDPA too, whose kernels then make way for
                plain attention; this costs memory for every map.
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
        valid_frames, may_be_padded = _valid_frames(pixel_values, frame_mask)
        lengths = valid_frames.sum(dim=1)
        if may_be_padded:
            # Attention gives a padded frame no weight, but zero times NaN is NaN: in stage 2, in the maps, and in the
            # gradient of whatever weights have read it. So it is not read at all.
            pixel_values = pixel_values.masked_fill(~valid_frames[:, :, None, None, None], 0.0)
        if token_mask is None:
            frame_states, layer_attention = self._spatial_stage(pixel_values, collect)
        else:
            self._check_token_mask(pixel_values, token_mask, collect)
            frame_states, layer_attention = self._spatial_stage_in_part(pixel_values, token_mask)
        # Stage 1 knows no padding, every frame is on its own there; only its maps have to be zero where none count.
        layer_attention = layer_attention.masked_fill(~valid_frames[:, None, :, None], 0.0)
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
        # Frames of all clips are one batch to the convolutions. Blocks keep clips and frames apart, as callers see it:
        # a hidden state that was reshaped for callers alone would be beside the way to the output, without a gradient.
        hidden_states = self.spatial_embeddings(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])
        collect.add_hidden_state(hidden_states)
        supervised = self._supervised_layers()
        cls_rows = []
        for index, layer in enumerate(self.spatial_layers):
            hidden_states, cls_row, attentions = layer(
                hidden_states, None, index in supervised, collect.wants_attentions
            )
            if cls_row is not None:
                cls_rows.append(cls_row)
            collect.add_hidden_state(hidden_states)
            collect.add_attention(attentions)
        return self.spatial_layernorm(hidden_states[:, :, 0]), torch.stack(cls_rows, dim=1)

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
        hidden_states = self.spatial_embeddings(frames, places, is_kept)
        keys = nn.functional.pad(is_kept, (1, 0), value=True)  # the CLS token is always attended to
        attention_mask = create_bidirectional_mask(self.config, hidden_states, keys)
        supervised, cls_rows = self._supervised_layers(), []
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


def _valid_frames(pixel_values: torch.Tensor, frame_mask: torch.Tensor | None) -> tuple[torch.Tensor, bool]:
    """The frame mask as booleans, all True where there is none.

    Args:
        pixel_values: (batch, frames, channels, height, width).
        frame_mask: (batch, frames), nonzero for valid frames, or None where all are valid.

    Returns:
        (batch, frames) bool, True for valid frames; and whether there may be others, False only where that is known.

    Raises:
        ValueError: The mask has another shape, or a valid frame follows a padded one.
    """
    shape = pixel_values.shape[:2]
    if frame_mask is None:
        return torch.ones(shape, dtype=torch.bool, device=pixel_values.device), False
    if frame_mask.shape != shape:
        raise ValueError(
            f"frame_mask must have the shape (batch, frames), here {tuple(shape)}, got {tuple(frame_mask.shape)}"
        )
    valid = frame_mask.to(device=pixel_values.device, dtype=torch.bool)
    if is_traced():  # a graph that is being recorded cannot branch on values
        return valid, True
    resumes = (valid[:, 1:] & ~valid[:, :-1]).any()
    has_gap, is_padded = torch.stack((resumes, ~valid.all())).tolist()  # together: each look waits for the GPU once
    if has_gap:
        raise ValueError("frame_mask must mark the first frames of each clip as valid and the padding after them")
    return valid, is_padded


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
