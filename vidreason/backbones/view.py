"""The supervised view of a video model of `transformers`: the same model, which also tells where it looks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from modeling_tsvit import TSViTPreTrainedModel

from ..errors import ConfigError
from .description import Backbone
from .probe import LayerProbe, Recorder, RowReader, Tap
from .registry import backbone_of

Layers = str | int | Sequence[int] | None


@dataclass
class SupervisedOutput(ModelOutput):
    """Output of a supervised view.

    Args:
        loss: () cross-entropy, where labels were given.
        logits: (batch, labels), exactly those of the plain model.
        segment_logits: (batch, 3, labels) of the immediate, contextual and narrative views; the last are `logits`.
        frame_attention: (batch, frames, tokens) float32, of the last supervised layer.
        layer_attention: (batch, layers, frames, tokens) float32, of every supervised layer in ascending order, where
            there is more than one.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    segment_logits: torch.FloatTensor | None = None
    frame_attention: torch.FloatTensor | None = None
    layer_attention: torch.FloatTensor | None = None


class SupervisedView:
    """What `supervised_view` adds to the class of a model."""

    main_input_name = "pixel_values"
    _backbone: Backbone
    _layer_indices: tuple[int, ...]
    _recorder: Recorder
    _watchers: list[LayerProbe | Tap]

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> SupervisedOutput:
        """One pass of the plain model, from which everything is read.

        Args:
            pixel_values: (batch, frames, channels, height, width).
            frame_mask: (batch, frames); every frame must be valid, for these models cannot leave one out.
            labels: (batch,) int64, for `loss`; -100 marks clips without one.
            **inputs: `pixel_values` under the plain model's own name for them, and nothing else.

        Raises:
            ConfigError: clips of a length or size that the model is not made for, or with padded frames.
        """
        if pixel_values is None:
            pixel_values = inputs.pop(self._backbone.input_name, None)
        if pixel_values is None or inputs:
            raise TypeError(f"forward() takes pixel_values (needed), frame_mask and labels, and not {sorted(inputs)}")
        self._check_clips(pixel_values, frame_mask)
        self._let_gradients_through_checkpoints()
        self._recorder.open()
        try:
            logits = self._backbone.run(super().forward, pixel_values, self._recorder)
        finally:
            kept = self._recorder.close()
        rows = [kept[f"attention of layer {index}"] for index in self._layer_indices]
        maps = [self._backbone.frame_rows(self.config, row, len(pixel_values)) for row in rows]
        partial_logits = self._backbone.partial_logits(self, kept)
        return SupervisedOutput(
            loss=None if labels is None else nn.functional.cross_entropy(logits.float(), labels),
            logits=logits,
            segment_logits=torch.cat((partial_logits.to(logits.dtype), logits.unsqueeze(1)), dim=1),
            frame_attention=maps[-1],
            layer_attention=torch.stack(maps, dim=1) if len(maps) > 1 else None,
        )

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the tokens of a frame of `height` by `width` pixels.

        Raises:
            ConfigError: the model does not take such frames.
        """
        self._backbone.check_clip(self.config, self._backbone.num_frames(self.config), height, width)
        return self._backbone.token_grid(self.config, height, width)

    @property
    def supervised_layer_indices(self) -> tuple[int, ...]:
        """The layers whose attention is given, ascending."""
        return self._layer_indices

    @property
    def supervised_query(self) -> str:
        """Whose attention is given, in words."""
        return self._backbone.rule

    def describe(self) -> str:
        """The model in a phrase, for its card."""
        return self._backbone.describe(self)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any):
        """As `nn.Module.load_state_dict`, and takes the names under which `save_pretrained` writes weights.

        transformers writes some models (ViViT, VideoMAE) under the names of their first release. Its own `Trainer`
        reads them back without translating them, and goes on from weights that it did not load.
        """
        own = self.state_dict().keys()
        if not own <= state_dict.keys() and state_dict.keys() - own:
            translated = plain_class(self).from_pretrained(None, config=self.config, state_dict=dict(state_dict))
            state_dict = translated.state_dict()
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _check_clips(self, pixel_values: torch.Tensor, frame_mask: torch.Tensor | None) -> None:
        """pixel_values: (batch, frames, channels, height, width), frame_mask: (batch, frames) or None."""
        if pixel_values.dim() != 5:
            raise ConfigError(
                "pixel_values must have the shape (batch, frames, channels, height, width), got "
                f"{tuple(pixel_values.shape)}"
            )
        _, num_frames, _, height, width = pixel_values.shape
        self._backbone.check_clip(self.config, num_frames, height, width)
        if frame_mask is not None and not torch.compiler.is_compiling() and not bool(frame_mask.all()):
            shortest = int(frame_mask.sum(dim=1).min())
            raise ConfigError(
                f"a clip has {shortest} valid frames of {num_frames}, and {self._backbone.model_type} cannot leave "
                "out padded frames: give it clips of equal length"
            )

    def _let_gradients_through_checkpoints(self) -> None:
        """Layers that are read are not checkpointed reentrantly, which would cut off what is read from its gradient.

        Computing queries and keys again outside of the checkpoint is no way out: their weights would get gradients
        twice in a backward pass, which DistributedDataParallel refuses.
        """
        for watcher in self._watchers:
            block = watcher.layer.block if isinstance(watcher, LayerProbe) else None
            function = getattr(block, "_gradient_checkpointing_func", None)
            if isinstance(function, functools.partial) and function.keywords.get("use_reentrant", True):
                settings = {**function.keywords, "use_reentrant": False}
                block._gradient_checkpointing_func = functools.partial(function.func, *function.args, **settings)


def supervised_view(model: PreTrainedModel, supervised_layers: Layers = None) -> PreTrainedModel:
    """Make a video classifier give what reasoning supervision needs.

    The model itself is changed, and given back: its class becomes a subclass of its own with another `forward`, and
    hooks read its attention. Nothing is wrapped around it, so that names of weights, saving, loading, gradient
    checkpointing and sharding are those of the plain model. `plain_view` undoes it.

    Args:
        model: of a known family (see `register_backbone`), a supervised view, or TSViT, which is one by itself.
        supervised_layers: "all", an index or several; negative ones count from the last. None takes the last.

    Raises:
        ConfigError: the model is not known, has no attention, cannot be supervised as configured, or has no such
            layer.
    """
    if isinstance(model, TSViTPreTrainedModel):
        return _with_tsvit_layers(model, supervised_layers)
    if isinstance(model, SupervisedView):
        model = plain_view(model)
    backbone = backbone_of(model)
    backbone.check(model.config)
    for module in backbone.unused(model):
        module.requires_grad_(False)
    layers = list(backbone.layers(model))
    indices = resolve_layers(supervised_layers, len(layers), backbone.model_type)
    if getattr(model.config, "num_frames", None) != backbone.num_frames(model.config):
        model.config.num_frames = backbone.num_frames(model.config)  # where the pipeline looks for it
    cls = type(model)
    view_class = type(
        cls.__name__,  # what save_pretrained writes into config.json
        (SupervisedView, cls),
        {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__},
    )
    recorder = Recorder()
    extra = backbone.readers(model)
    watchers: list[LayerProbe | Tap] = []
    for index in sorted({*indices, *extra}):
        readers = [extra[index]] if index in extra else []
        if index in indices:
            readers.append(RowReader(f"attention of layer {index}", layers[index]))
        watchers.append(LayerProbe(layers[index], readers, recorder))
    watchers += [Tap(module, read, recorder) for module, read in backbone.taps(model)]
    model.__class__ = view_class
    model._backbone, model._layer_indices = backbone, indices
    model._recorder, model._watchers = recorder, watchers
    return model


def plain_view(model: PreTrainedModel) -> PreTrainedModel:
    """Undo `supervised_view`: the model without hooks and of its own class."""
    if not isinstance(model, SupervisedView):
        return model
    for watcher in model._watchers:
        watcher.remove()
    for name in ("_backbone", "_layer_indices", "_recorder", "_watchers"):
        delattr(model, name)
    model.__class__ = plain_class(model)
    return model


def plain_class(model: PreTrainedModel) -> type[PreTrainedModel]:
    """The class that a model has without supervision."""
    order = type(model).__mro__
    return order[order.index(SupervisedView) + 1] if SupervisedView in order else type(model)


def resolve_layers(supervised_layers: Layers, num_layers: int, name: str) -> tuple[int, ...]:
    """Layer indices, non-negative and ascending.

    Raises:
        ConfigError: there is no such layer, a layer is named twice, or it is no index at all.
    """
    if supervised_layers is None:
        return (num_layers - 1,)
    if supervised_layers == "all":
        return tuple(range(num_layers))
    wanted = [supervised_layers] if isinstance(supervised_layers, int) else list(supervised_layers)
    if not wanted or not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in wanted):
        raise ConfigError(f"supervised_layers is {supervised_layers!r}, expected 'all' or indices of layers")
    for layer in wanted:
        if not -num_layers <= layer < num_layers:
            raise ConfigError(
                f"supervised_layers names layer {layer}, but this {name} has {num_layers} attention layers (indices "
                f"{-num_layers} to {num_layers - 1})"
            )
    resolved = sorted(layer % num_layers for layer in wanted)
    if len(set(resolved)) < len(resolved):
        raise ConfigError(f"supervised_layers names a layer twice: {wanted} is {resolved}")
    return tuple(resolved)


def _with_tsvit_layers(model: TSViTPreTrainedModel, layers: Layers) -> TSViTPreTrainedModel:
    if layers is not None:
        previous, model.config.supervised_layers = model.config.supervised_layers, layers
        try:
            model.config.supervised_layer_indices  # noqa: B018  checks the layers
        except ValueError as error:
            model.config.supervised_layers = previous
            raise ConfigError(str(error)) from error
    return model
