"""Building blocks of TSViT: attention that returns where it looks, transformer blocks, embeddings of both stages."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import maybe_autocast

from .configuration_tsvit import TSViTConfig

IGNORED_LABEL = -100  # label of clips and frames without one: the default `ignore_index` of torch's cross-entropy


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
            scores = torch.matmul(query.float(), key.float().transpose(-1, -2)) * scaling
        if attention_mask is not None and attention_mask.dtype == torch.bool:
            # The lowest finite number, not -inf: a row in which all is masked would become NaN, gradient included.
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        elif attention_mask is not None:
            scores = scores + attention_mask.float()
        return scores.softmax(dim=-1)


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

    Args:
        module: The layer, which says whether it is training.
        query: (batch, heads, tokens, head_dim).
        key: (batch, heads, tokens, head_dim).
        value: (batch, heads, tokens, head_dim).
        attention_mask: Additive, broadcastable to (batch, heads, tokens, tokens), or None.
        scaling: Factor of the dot products.
        dropout: Share of the probabilities that training sets to zero.
        **kwargs: Ignored; the interface passes what other implementations take.

    Returns:
        (batch, tokens, heads, head_dim) and the probabilities after dropout, (batch, heads, tokens, tokens).
    """
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


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
            hidden_states: (batch, tokens, hidden), the CLS token first where `return_cls_row`.
            attention_mask: Boolean or additive, broadcastable to (batch, heads, tokens, tokens), or None.
            return_cls_row: Return the attention of the CLS token.
            return_attentions: Return all probabilities.

        Returns:
            (batch, tokens, hidden); the CLS row (batch, tokens - 1), mean over heads without the CLS column, or None;
            all probabilities (batch, heads, tokens, tokens), or None.
        """
        batch_size, num_tokens, hidden_size = hidden_states.shape
        head_shape = (batch_size, num_tokens, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(head_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(head_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(head_shape).transpose(1, 2)

        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        dropout = self.attention_dropout if self.training else 0.0
        # What `attend` returns beside the context is left alone: None under SDPA and flash attention, whose kernels
        # never hold the probabilities, and under eager attention after dropout, where a cell may be zero by chance.
        context, _ = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        output = self.o_proj(context.reshape(batch_size, num_tokens, hidden_size))

        cls_row = attentions = None
        if return_cls_row:
            # From the same query and key, so this is the row that the kernel uses; it costs one query a head.
            probabilities = attention_probabilities(query[:, :, :1], key, self.scaling, attention_mask)
            cls_row = probabilities[:, :, 0, 1:].mean(dim=1)  # column 0 is the CLS token itself, which is no place
        if return_attentions:
            attentions = attention_probabilities(query, key, self.scaling, attention_mask)
        return output, cls_row, attentions


class TSViTDropPath(nn.Module):
    """Stochastic depth: in training, drops a residual branch for a random share of the rows of a batch.

    A row is a frame in stage 1, where the frames of all clips make the batch, and a clip in stage 2.
    """

    def __init__(self, drop_probability: float):
        super().__init__()
        self.drop_probability = drop_probability

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """branch: (batch, tokens, hidden) -> the same shape; what stays is scaled up so that the mean is kept."""
        if not self.training or self.drop_probability == 0.0:
            return branch
        keep_probability = 1.0 - self.drop_probability
        keep = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep_probability)  # one draw for a whole row
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
        """hidden_states: (batch, tokens, hidden) -> (batch, tokens, hidden)."""
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
            hidden_states: (batch, tokens, hidden), the CLS token first where `return_cls_row`.
            attention_mask: Boolean or additive, broadcastable to (batch, heads, tokens, tokens), or None.
            return_cls_row: Return the attention of the CLS token.
            return_attentions: Return all probabilities.

        Returns:
            (batch, tokens, hidden); the CLS row (batch, tokens - 1) or None; all probabilities
            (batch, heads, tokens, tokens) or None.
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

    def forward(self, frames: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Embeds all patches of each frame, or those that are asked for.

        Args:
            frames: (frames, channels, height, width).
            places: (frames, kept) int64, which tokens of each frame, counted row-major. The others are never
                projected; a convolutional stem, whose windows overlap, still goes over the whole frame.

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
        return nn.functional.linear(kept.flatten(2), self.projection.weight.flatten(1), self.projection.bias)


class TSViTSpatialEmbeddings(nn.Module):
    """Patch tokens of each frame with a CLS token before them and learned positions added."""

    def __init__(self, config: TSViTConfig):
        super().__init__()
        self.grid_shape = config.grid_shape
        self.patch_size = config.patch_size
        self.patch_embedding = TSViTPatchEmbedding(config)
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

    def forward(self, frames: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Embeds frames.

        Args:
            frames: (frames, channels, height, width).
            places: (frames, kept) int64, the tokens of each frame to embed, counted row-major. None: all.

        Returns:
            (frames, 1 + tokens or 1 + kept, hidden), the CLS token first.
        """
        grid_shape = (frames.shape[-2] // self.patch_size[0], frames.shape[-1] // self.patch_size[1])
        patches = self.patch_embedding(frames, places)
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
