"""What every supervised model gives, and the view that makes a video model of `transformers` give it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from ..errors import ConfigError, TrainingError
from .backbone import Backbone, backbone_of
from .layers import Layers, resolve_layers
from .probe import LayerProbe, Recorder, RowReader, Tap

Model = TypeVar("Model", bound=PreTrainedModel)


class SupervisedOutputs(Protocol):
    """What a supervised model gives for a batch.

    Attributes:
        logits: (batch, labels) scores of the clips; of a model that labels frames, (batch, frames, labels).
        segment_logits: (batch, 3, labels) scores of the immediate, contextual and narrative views.
        frame_attention: (batch, frames, tokens) float32 attention over each frame's grid, row-major from the top left.
        layer_attention: (batch, layers, frames, tokens) float32, where more than one layer is supervised, else None.
        loss: () cross-entropy, where labels were given, else None.
    """

    @property
    def logits(self) -> torch.Tensor: ...  # noqa: D102  said above, as of the four that follow
    @property
    def segment_logits(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def frame_attention(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def layer_attention(self) -> torch.Tensor | None: ...  # noqa: D102
    @property
    def loss(self) -> torch.Tensor | None: ...  # noqa: D102


@runtime_checkable
class SupervisedModel(Protocol):
    """A model that gives its attention and its temporal views: TSViT, or a view of another.

    Every model of `supervised_view` and `build_model` is one. Both say `PreTrainedModel`, which it is as well: Python
    has no type for "both"; `isinstance(model, SupervisedModel)` narrows to it (mypy wants None ruled out before).
    """

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration, whose `num_frames` is the length of a clip."""

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the tokens of a frame of `height` by `width` pixels."""

    def __call__(self, *args: Any, **kwargs: Any) -> SupervisedOutputs:
        """One pass over clips `pixel_values`, (batch, frames, channels, height, width)."""


@dataclass
class SupervisedOutput(ModelOutput):
    """Output of a supervised view; `SupervisedOutputs` has the promise that TSViT's output keeps as well.

    Args:
        loss: () cross-entropy, where labels were given.
        logits: (batch, labels), exactly those of the plain model.
        segment_logits: (batch, 3, labels) of the immediate, contextual and narrative views; the last are `logits`.
        frame_attention: (batch, frames, tokens) float32, of the last supervised layer.
        layer_attention: (batch, layers, frames, tokens) float32, of every supervised layer in ascending order, where
            there is more than one.
    """

    # every field has the default None because `ModelOutput` leaves out of its keys what is None
    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    segment_logits: torch.Tensor | None = None
    frame_attention: torch.Tensor | None = None
    layer_attention: torch.Tensor | None = None


class SupervisedView(PreTrainedModel):
    """What `supervised_view` adds to the class of a model. It is never made alone, only with such a class after it."""

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
        object_maps: torch.Tensor | None = None,
        **inputs: torch.Tensor,
    ) -> SupervisedOutput:
        """One pass of the plain model, from which everything is read.

        Args:
            pixel_values: (batch, frames, channels, height, width) pixels as the processor gives them.
            frame_mask: (batch, frames); every frame must be valid, for these models cannot leave one out.
            labels: (batch,) int64, for `loss`; -100 marks clips without one.
            object_maps: (batch, frames, classes, rows, columns), where the model takes maps.
            **inputs: `pixel_values` under the plain model's own name for them, and nothing else.

        Raises:
            ConfigError: Clips are of a length or size that the model is not made for, or have padded frames.
            TrainingError: The hooks of this view have been taken away.
        """
        if pixel_values is None:
            pixel_values = inputs.pop(self._backbone.input_name, None)
        if pixel_values is None or inputs:
            raise TypeError(
                f"forward() takes pixel_values (needed), frame_mask, labels and object_maps, and not {sorted(inputs)}"
            )
        if object_maps is not None and not self._backbone.takes_object_maps:
            raise ConfigError(f"{self._backbone.model_type} takes no object_maps; a model of type a2o does")
        self._check_clips(pixel_values, frame_mask)
        self._let_gradients_through_checkpoints()
        self._recorder.open()
        try:
            maps_given = {} if object_maps is None else {"object_maps": object_maps}
            logits = self._backbone.run(super().forward, pixel_values, self._recorder, **maps_given)
        finally:
            kept = self._recorder.close()
        maps = self._attention_maps(kept, len(pixel_values))
        partial_logits = self._backbone.partial_logits(self, kept)
        return SupervisedOutput(
            # labels are not passed on: the plain model's loss knows nothing of clips without a label
            loss=None if labels is None else nn.functional.cross_entropy(logits.float(), labels),
            logits=logits,
            segment_logits=torch.cat((partial_logits.to(logits.dtype), logits.unsqueeze(1)), dim=1),
            frame_attention=maps[-1],
            layer_attention=torch.stack(maps, dim=1) if len(maps) > 1 else None,
        )

    def token_grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the tokens of a frame of `height` by `width` pixels.

        Raises:
            ConfigError: The model does not take such frames.
        """
        self._backbone.check_clip(self.config, self._backbone.num_frames(self.config), height, width)
        return self._backbone.token_grid(self.config, height, width)

    @property
    def supervised_layer_indices(self) -> tuple[int, ...]:
        """The layers whose attention is given, ascending."""
        return self._layer_indices

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As `nn.Module.load_state_dict`, and takes the names under which `save_pretrained` writes weights.

        transformers writes some models (ViViT, VideoMAE) under the names of their first release. Its own `Trainer`
        reads them back without translating them, and goes on from weights that it did not load.
        """
        own = self.state_dict().keys()
        if not own <= state_dict.keys() and state_dict.keys() - own:
            translated = plain_class(self).from_pretrained(None, config=self.config, state_dict=dict(state_dict))
            state_dict = translated.state_dict()
        return super().load_state_dict(state_dict, strict, assign)

    def _attention_maps(self, kept: dict[str, torch.Tensor], batch_size: int) -> list[torch.Tensor]:
        """(batch, frames, tokens) of each supervised layer, from what the probes kept."""
        names = [_row_name(index) for index in self._layer_indices]
        if not kept.keys() >= set(names):
            raise TrainingError(
                f"this view of {type(self).__name__} has lost its hooks: plain_view or a later supervised_view of the "
                "same model has taken them away; use what that gave"
            )
        return [self._backbone.frame_rows(self.config, kept[name], batch_size) for name in names]

    def _check_clips(self, pixel_values: torch.Tensor, frame_mask: torch.Tensor | None) -> None:
        """pixel_values: (batch, frames, channels, height, width), frame_mask: (batch, frames) or None."""
        if pixel_values.dim() != 5:
            raise ConfigError(
                "pixel_values must have the shape (batch, frames, channels, height, width), got "
                f"{tuple(pixel_values.shape)}"
            )
        _, num_frames, _, height, width = pixel_values.shape
        self._backbone.check_clip(self.config, num_frames, height, width)
        # reading the mask's values would break a compiled graph, so there it is trusted
        if frame_mask is not None and not torch.compiler.is_compiling() and not bool(frame_mask.all()):
            shortest = int(frame_mask.sum(dim=1).min())
            raise ConfigError(
                f"a clip has {shortest} valid frames of {num_frames}, and {self._backbone.model_type} cannot leave "
                "out padded frames: give it clips of equal length"
            )

    def _let_gradients_through_checkpoints(self) -> None:
        """Layers that are read are not checkpointed reentrantly, which would cut off what is read from its gradient.

        A reentrant checkpoint runs the layer without a graph and gives one to its outputs alone; a row that a hook
        takes inside is no output. Computing queries and keys again outside of the checkpoint is no way out: their
        weights would get gradients twice in a backward pass, which DistributedDataParallel refuses.
        """
        for watcher in self._watchers:
            block = watcher.layer.block if isinstance(watcher, LayerProbe) else None
            if block is None:
                continue
            # set by gradient_checkpointing_enable at any time, hence looked at in every pass
            function = getattr(block, "_gradient_checkpointing_func", None)
            if isinstance(function, functools.partial) and function.keywords.get("use_reentrant", True):
                settings = {**function.keywords, "use_reentrant": False}
                vars(block)["_gradient_checkpointing_func"] = functools.partial(
                    function.func, *function.args, **settings
                )


def supervised_view(model: PreTrainedModel, supervised_layers: Layers = None) -> PreTrainedModel:
    """Make a video classifier give what reasoning supervision needs.

    TSViT does by itself, and is given back. Of any other model this gives a view: an object of a subclass of the
    model's own class, with another `forward`, that holds the same modules, weights and configuration; hooks on them
    read the attention. Nothing is wrapped around anything, so that names of weights, saving, loading, gradient
    checkpointing and sharding are those of the plain model. A model has one view at a time: a later one takes the
    hooks of an earlier one. `plain_view` gives the model without hooks.

    Args:
        model: A model of a known family (see `register_backbone`), or a supervised view of one.
        supervised_layers: "all", an index or several; negative ones count from the last. None takes the last, or what
            the configuration of a TSViT says.

    Raises:
        ConfigError: The model is not known, has no attention, cannot be supervised as configured, or has no such
            layer.
    """
    model = plain_view(model) if isinstance(model, SupervisedView) else model
    backbone = backbone_of(model)
    if backbone.gives_attention:
        backbone.choose_layers(model, supervised_layers)
        return model
    backbone.check(model.config)
    for module in backbone.unused(model):
        module.requires_grad_(False)
    layers = list(backbone.layers(model))
    indices = resolve_layers(supervised_layers, len(layers), backbone.model_type)
    if getattr(model.config, "num_frames", None) != backbone.num_frames(model.config):
        model.config.num_frames = backbone.num_frames(model.config)  # where the pipeline looks for it
    _remove_watchers(model)
    view = _as(model, _view_class(type(model)))
    view._backbone, view._layer_indices, view._recorder = backbone, indices, Recorder()
    extra = backbone.readers(model)
    view._watchers = []
    for index in sorted({*indices, *extra}):
        readers = [extra[index]] if index in extra else []
        if index in indices:
            readers.append(RowReader(_row_name(index), layers[index]))
        view._watchers.append(LayerProbe(layers[index], readers, view._recorder))
    view._watchers += [Tap(module, read, view._recorder) for module, read in backbone.taps(model)]
    return view


def plain_view(model: PreTrainedModel) -> PreTrainedModel:
    """The model of a view, of its own class and without hooks. The view is of no use after that."""
    if not isinstance(model, SupervisedView):
        return model
    _remove_watchers(model)
    plain = _as(model, plain_class(model))
    for name in ("_backbone", "_layer_indices", "_recorder", "_watchers"):
        delattr(plain, name)
    return plain


def plain_class(model: PreTrainedModel) -> type[PreTrainedModel]:
    """The class that a model has without supervision."""
    order = type(model).__mro__
    return order[order.index(SupervisedView) + 1] if SupervisedView in order else type(model)


def _row_name(index: int) -> str:
    return f"attention of layer {index}"


def _view_class(cls: type[PreTrainedModel]) -> type[SupervisedView]:
    names = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "config_class": cls.config_class,  # SupervisedView, as a PreTrainedModel, would bring the general one
    }
    # the name of the plain class, because save_pretrained writes it into config.json
    return type(cls.__name__, (SupervisedView, cls), names)


def _as(model: PreTrainedModel, cls: type[Model]) -> Model:
    """Another object with the same modules, parameters, buffers, hooks and configuration, not copies of them."""
    other = cls.__new__(cls)  # not made by __init__, which would make new weights
    vars(other).update(vars(model))
    return other


def _remove_watchers(model: PreTrainedModel) -> None:
    """Takes the hooks of any view off the modules of a model.

    Two views at once would not do: the tail of a layer is run again for the temporal views within a hook, and the
    hook of the other view would take that for the layer's own run.
    """
    for module in model.modules():
        for hook in list(module._forward_hooks.values()):
            watcher = getattr(hook, "__self__", None)
            if isinstance(watcher, LayerProbe | Tap):
                watcher.remove()
