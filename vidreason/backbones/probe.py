"""Reads where a query looks, beside a transformer's own attention and from the same queries and keys.

The main path keeps its fast kernel, which gives no probabilities. Forward hooks take the output of the projections
that the model computes anyway, and one row of the attention map is computed from them: supervision costs one query.

`output_attentions` of transformers is no way to it: under SDPA it gives nothing, and eager attention computes every
row and records it after dropout, which zeroes entries at random and scales up the rest.

Everything that is saved for the backward pass is computed inside the hooks and whenever they run: gradient
checkpointing runs a layer again, and finds the same operations. Only what a hook gives is kept selectively.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from modeling_tsvit.modeling_tsvit import attention_probabilities

from ..errors import TrainingError


@dataclass(frozen=True)
class AttentionLayer:
    """One attention layer that can be probed, by its modules.

    Args:
        attention: The module whose forward runs the projections below; what it is given and gives does not matter.
        query: The projection whose output, (batch, queries, heads * head_dim), holds the queries.
        key: The projection of the keys. It is the same module as `query` where one projection gives queries, keys and
            values.
        num_heads: Number of heads of the layer.
        scaling: Factor of the dot products.
        value: The projection of the values, where the temporal views are read in this layer.
        queries: Which query is read: the "first" (a CLS token, or the only one), or the "mean" of all.
        num_prefix_tokens: Number of keys before the first patch, such as a CLS token.
        rotate: Function applied to queries and keys, (batch, heads, tokens, head_dim), where positions come by
            rotation.
        block: The layer that gradient checkpointing runs again, None if none does.
    """

    attention: nn.Module
    query: nn.Module
    key: nn.Module
    num_heads: int
    scaling: float
    value: nn.Module | None = None
    queries: Literal["first", "mean"] = "first"
    num_prefix_tokens: int = 0
    rotate: Callable[[torch.Tensor], torch.Tensor] | None = None
    block: nn.Module | None = None


@dataclass
class Projections:
    """What an attention layer computed: (batch, heads, tokens, head_dim) each; no value where none is watched."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor | None


@dataclass
class Recorder:
    """Takes what the hooks of one model give.

    Args:
        kept: Results of the forward pass that is going on, by name; None while none is.
        scratch: Values that one hook leaves for a later one of the same layer, which takes them out.
        expects_gradient: Whether the pass that is going on will be differentiated.
    """

    kept: dict[str, torch.Tensor] | None = None
    scratch: dict[str, torch.Tensor] = field(default_factory=dict)
    expects_gradient: bool = False

    def open(self) -> None:
        """A forward pass begins."""
        self.kept, self.scratch, self.expects_gradient = {}, {}, torch.is_grad_enabled()

    def close(self) -> dict[str, torch.Tensor]:
        """It has ended: what was kept."""
        kept, self.kept, self.scratch = self.kept, None, {}
        return kept or {}

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keep a result of any shape, if a forward pass is going on (and it is no repetition by checkpointing).

        Raises:
            TrainingError: The result would silently carry no gradient.
        """
        if self.kept is None:
            return
        # a reentrant checkpoint runs its layer under no_grad; what is taken inside it can never get a gradient
        if self.expects_gradient and not torch.is_grad_enabled():
            raise TrainingError(
                f"{name} is computed without a gradient: the layer is run by reentrant checkpointing that this model "
                "was not told of. Use the model's own gradient_checkpointing_enable, or use_reentrant=False"
            )
        self.kept[name] = value


# Arguments and outputs of a module that is watched are as many and as they come: its family's description knows them.
TapReader = Callable[[Recorder, tuple[Any, ...], Any], None]
"""Called as read(recorder, arguments, output) after a module's forward."""

ProjectionReader = Callable[[Recorder, Projections, Any], None]
"""Called as read(recorder, projections, output) after an attention layer's forward."""


class Tap:
    """A forward hook that hands a module's input and output on.

    Args:
        module: The module to watch.
        read: Function that is called after each forward of the module.
        recorder: The recorder that `read` writes to.
    """

    def __init__(self, module: nn.Module, read: TapReader, recorder: Recorder):
        self.read, self.recorder = read, recorder
        self.handle = module.register_forward_hook(self._after)

    def _after(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        self.read(self.recorder, arguments, output)

    def remove(self) -> None:
        """Watch no longer."""
        self.handle.remove()


class LayerProbe:
    """Watches an attention layer and reads from its projections.

    Args:
        layer: The layer to watch.
        readers: Functions that are called, in this order, after the layer's attention.
        recorder: The recorder that they write to.
    """

    def __init__(self, layer: AttentionLayer, readers: list[ProjectionReader], recorder: Recorder):
        self.layer, self.readers, self.recorder = layer, readers, recorder
        self._query: torch.Tensor | None = None
        self._key: torch.Tensor | None = None
        self._value: torch.Tensor | None = None
        # Hooks on the projections and not on the attention's input: what they give is what autocast, adapters and
        # sharding made of it, and it is not computed twice.
        self.handles = [layer.query.register_forward_hook(self._take_query)]
        if layer.key is not layer.query:
            self.handles.append(layer.key.register_forward_hook(self._take_key))
            if layer.value is not None:
                self.handles.append(layer.value.register_forward_hook(self._take_value))
        self.handles.append(layer.attention.register_forward_hook(self._after_attention))

    def _take_query(self, module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        if self.layer.key is self.layer.query:
            self._query, self._key, self._value = output.chunk(3, dim=-1)
        else:
            self._query = output

    def _take_key(self, module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        self._key = output

    def _take_value(self, module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        self._value = output

    def _after_attention(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        query, key, value = self._query, self._key, self._value
        self._query = self._key = self._value = None  # or a whole layer's projections would outlive the pass
        if query is None or key is None:
            raise TrainingError(f"{type(module).__name__} has run without its projections of queries and keys")
        projections = Projections(self._heads(query), self._heads(key), None if value is None else self._heads(value))
        for reader in self.readers:
            reader(self.recorder, projections, output)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, heads * head_dim) -> (batch, heads, tokens, head_dim)."""
        return projected.unflatten(-1, (self.layer.num_heads, -1)).transpose(1, 2)

    def remove(self) -> None:
        """Watch no longer."""
        for handle in self.handles:
            handle.remove()


class RowReader:
    """Keeps one row of a layer's attention map.

    Args:
        name: Name that the row is kept under.
        layer: The layer whose map it is.
    """

    def __init__(self, name: str, layer: AttentionLayer):
        self.name, self.layer = name, layer

    def __call__(self, recorder: Recorder, projections: Projections, output: Any) -> None:
        """Keeps (batch, patches) float32: mean over heads, keys that are no patches cut off."""
        recorder.keep(self.name, attention_row(self.layer, projections))


def attention_row(layer: AttentionLayer, projections: Projections) -> torch.Tensor:
    """softmax(q K^T * scaling) of the layer's query, mean over heads: float32, before dropout, also under autocast.

    Args:
        layer: The layer, which tells which query is read and what is cut off.
        projections: The layer's queries and keys, (batch, heads, tokens, head_dim) each.

    Returns:
        (batch, patches) float32. It sums to 1 less what goes to keys that are no patches.
    """
    query, key = projections.query, projections.key
    if layer.rotate is not None:
        # rotation does not commute with the mean over queries, so it comes first; a single query has no position
        query, key = (query if query.shape[2] == 1 else layer.rotate(query)), layer.rotate(key)
    # the mean is taken in float32 without a copy of all queries in float32
    query = query[:, :, :1] if layer.queries == "first" else query.mean(dim=2, keepdim=True, dtype=torch.float32)
    if key.dtype == torch.float32 or not torch.is_grad_enabled():
        probabilities = attention_probabilities(query, key, layer.scaling)
    else:  # the float32 copy of the keys is made again in the backward pass and not kept until then
        probabilities = checkpoint(
            attention_probabilities, query, key, layer.scaling, use_reentrant=False, preserve_rng_state=False
        )
    return probabilities[:, :, 0, layer.num_prefix_tokens :].mean(dim=1)
