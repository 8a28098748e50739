"""A2O: a video classifier that is shown, beside the pixels, where a detector finds objects (section 3 of the paper).

For each of some object classes a detector gives a likelihood map of every frame. An adapter of 1x1 convolutions makes
three channels of these maps, which are added to the frame. The video classifier inside, of any family, sees the sum.
"""

import inspect
import os
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForVideoClassification, PreTrainedModel
from transformers import initialization as init
from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import ModelOutput

from .configuration_a2o import NUM_COLOURS, A2OConfig, channels_field, code_revision, is_remote_code

# What every model of transformers takes, whether its `forward` names it or not.
COMMON_INPUTS = ("output_attentions", "output_hidden_states", "return_dict")


class A2OPointwise(nn.Conv2d):
    """A 1x1 convolution as the linear layer that it is, over the channels of all places at once.

    On a CPU the gradient of a convolution with few channels takes more than twice as long. Channels come last in what
    it gives, in memory though not in shape, so that a stack of these copies nothing but the first one's input.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """maps: (batch, channels, height, width) -> (batch, features, height, width)."""
        return nn.functional.linear(maps.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


class A2OProjection(A2OPointwise):
    """The adapter's last layer. Its class tells it from the others, for it starts from zero."""


class A2OAdapter(nn.Module):
    """Makes three channels of object maps, at every place on its own: a stack of 1x1 convolutions (table 10).

    The last layer starts from zero, so that a new model gives the logits of the classifier inside, and is led away
    from them by what helps. The paper does not say what its adapter starts from.
    """

    def __init__(self, config: A2OConfig):
        super().__init__()
        channels = len(config.class_texts)
        self.blocks = nn.Sequential()
        for _ in range(config.adapter_depth):
            self.blocks.append(A2OPointwise(channels, config.adapter_hidden_size, 1, bias=config.adapter_bias))
            self.blocks.append(nn.ReLU())
            channels = config.adapter_hidden_size
        self.projection = A2OProjection(channels, NUM_COLOURS, 1, bias=config.adapter_bias)

    def forward(self, object_maps: torch.Tensor) -> torch.Tensor:
        """object_maps: (batch, frames, classes, height, width) -> (batch, frames, 3, height, width)."""
        maps = object_maps.flatten(0, 1).to(self.projection.weight.dtype)  # a model in bf16 takes maps in float32 too
        added: torch.Tensor = self.projection(self.blocks(maps))
        return added.unflatten(0, object_maps.shape[:2])


class _PatchGradient(torch.autograd.Function):
    """The gradient of a convolution over patches that do not overlap, with respect to its input, as a matrix product.

    A video model never asks its first layer for that gradient, but the adapter learns from it. On a CPU the
    convolution's own takes four times as long, which would double the training step of a small model.
    """

    @staticmethod
    def forward(ctx: Any, frames: torch.Tensor, weight: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """frames: (batch, 3, *sides), weight: (features, 3, *patch), embedded: (batch, features, *patches)."""
        ctx.save_for_backward(weight)
        ctx.size = frames.shape
        return embedded.view_as(embedded)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor]:
        """gradient: (batch, features, *patches)."""
        (weight,) = ctx.saved_tensors
        patches = torch.matmul(weight.flatten(1).T, gradient.flatten(2))
        batch, channels = ctx.size[:2]
        num_sides = len(ctx.size) - 2
        patches = patches.view(batch, channels, *weight.shape[2:], *gradient.shape[2:])
        # from (patch height, patch width, rows, columns) to (rows, patch height, columns, patch width)
        order = [place for side in range(num_sides) for place in (2 + num_sides + side, 2 + side)]
        return patches.permute(0, 1, *order).reshape(ctx.size), None, gradient


class _PatchHooks:
    """Hooks that give a convolution over patches its input's gradient by `_PatchGradient`, where that is faster.

    What the convolution computes is its own, to the last bit: it is given the frames cut off from their graph, and its
    output is tied to them again.
    """

    def __init__(self) -> None:
        self._frames: list[torch.Tensor] = []

    def before(
        self, module: nn.Conv2d | nn.Conv3d, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...] | None:
        """Cuts the frames off from their graph."""
        self._frames.clear()
        frames = inputs[0]
        # other devices compute it fast, and a compiler takes no hooks that remember
        if torch.compiler.is_compiling() or frames.device.type != "cpu" or not frames.requires_grad:
            return None
        if not torch.is_grad_enabled() or any(
            side % patch for side, patch in zip(frames.shape[2:], module.kernel_size, strict=True)
        ):
            return None  # pixels beyond the last whole patch have no gradient
        self._frames.append(frames)
        return (frames.detach(), *inputs[1:])

    def after(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...], embedded: torch.Tensor
    ) -> torch.Tensor | None:
        """Ties the output to the frames again."""
        return _PatchGradient.apply(self._frames.pop(), module.weight, embedded) if self._frames else None


def _is_over_patches(module: nn.Module) -> bool:
    """Whether a module is a convolution of frames over patches that do not overlap."""
    return (
        isinstance(module, nn.Conv2d | nn.Conv3d)
        and module.in_channels == NUM_COLOURS
        and module.stride == module.kernel_size
        and module.groups == 1
        and set(module.dilation) == {1}
        and module.padding in ("valid", (0,) * len(module.kernel_size))
    )


class A2OPreTrainedModel(PreTrainedModel):
    """Weight initialisation, and how the model is saved."""

    config: A2OConfig
    config_class = A2OConfig
    base_model_prefix = "a2o"
    main_input_name = "pixel_values"
    # A tuple, as models of transformers have it, where its annotation says a string or a list.
    input_modalities = ("video",)  # type: ignore[assignment]
    # These say what the adapter allows, which is all; the classifier inside says what it allows itself.
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # By `init`, not `nn.init`: those leave alone what `from_pretrained` has filled already.
        # Layer by layer: transformers passes by what has no weights of its own, as the adapter has none.
        if isinstance(module, nn.Conv2d):
            if isinstance(module, A2OProjection):
                init.zeros_(module.weight)
            else:
                init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):  # a new head, which is the classifier's
            inside: Any = self.get_submodule("backbone")
            inside._init_weights(module)


class A2OForVideoClassification(A2OPreTrainedModel):
    """A video classifier with an adapter that adds to its frames what object maps show.

    Args:
        config: The configuration; `class_texts` names the channels of the maps.
        backbone: A classifier that is made already. None makes a new one from `config.backbone_config`.

    Raises:
        ValueError: `class_texts` is empty, or the classifier cannot be made.
    """

    # The classifier's own loss is a plain mean over the batch. `Trainer` then scales it for gradient accumulation
    # itself, instead of passing `num_items_in_batch`, which would rescale the cross-entropy but no loss beside it.
    accepts_loss_kwargs = False

    def __init__(self, config: A2OConfig, backbone: PreTrainedModel | None = None):
        super().__init__(config)
        if not config.class_texts:
            raise ValueError("class_texts is empty: an A2O model is shown at least one class of objects")
        self.backbone = self._new_backbone() if backbone is None else backbone
        # One object, not a copy: what is set in the one is read in the other.
        config.backbone_config = self.backbone.config
        self.num_labels = config.num_labels
        # Without an adapter there is still a module of the name, without weights, for those that go over its weights.
        self.adapter: nn.Module = A2OAdapter(config) if config.fusion == "add" else nn.Identity()
        self._can_compile_fullgraph = self.backbone._can_compile_fullgraph
        self._backbone_inputs = {*inspect.signature(self.backbone.forward).parameters, *COMMON_INPUTS} - {"kwargs"}
        for module in filter(_is_over_patches, self.backbone.modules()):
            hooks = _PatchHooks()
            module.register_forward_pre_hook(hooks.before)
            module.register_forward_hook(hooks.after)
        self.post_init()

    def _new_backbone(self) -> PreTrainedModel:
        inside: Any = self.config.backbone_config
        settings: dict[str, Any] = {"dtype": torch.get_default_dtype()}  # as the adapter beside it is made
        if is_remote_code(type(inside)) and is_remote_code(type(self)):
            # its code lies beside ours, which has been trusted
            settings |= {"trust_remote_code": True, "code_revision": code_revision(type(self), inside.name_or_path)}
        backbone = AutoModelForVideoClassification.from_config(inside, **settings)
        if self.config.fusion == "channels":
            with torch.no_grad():
                _first_convolution(backbone).weight[:, NUM_COLOURS:] = 0  # as the adapter's last layer starts
        return backbone

    @classmethod
    def from_backbone(
        cls,
        backbone: PreTrainedModel | str | os.PathLike,
        class_texts: list[str] | tuple[str, ...],
        detector: str = "",
        detector_model: str = "",
        detector_revision: str = "",
        detector_threshold: float = 0.0,
        map_size_px: int | None = None,
        fusion: str = "add",
        adapter_depth: int = 0,
        adapter_hidden_size: int = 32,
        adapter_bias: bool = False,
        **loading: Any,
    ) -> "A2OForVideoClassification":
        """A new adapter around a classifier that is trained already, whose logits it gives until it is trained itself.

        The paper starts from V-JEPA 2 with an attentive probe, such as "facebook/vjepa2-vitl-fpc16-256-ssv2" of the
        Hub, 16 frames of 256 pixels and the 174 labels of Something-Something v2.

        Args:
            backbone: The classifier, or a folder or Hub id of one.
            class_texts: Texts that the detector is asked for, in the order of the channels of `object_maps`.
            detector: Name of the kind of detector.
            detector_model: Hub id or name of the detector's weights.
            detector_revision: Revision of the detector's weights.
            detector_threshold: Scores under it are left out of the maps.
            map_size_px: Longer side of the maps in pixels; None is the size of the frames.
            fusion: "add", or "channels": the classifier is then widened, in place, by inputs of weight zero.
            adapter_depth: Blocks of 1x1 convolution and ReLU before the last 1x1 convolution.
            adapter_hidden_size: Channels of those blocks.
            adapter_bias: Whether the convolutions have a bias.
            **loading: What `AutoModelForVideoClassification.from_pretrained` takes, such as `revision`,
                `attn_implementation` or `trust_remote_code`; only with a folder or Hub id.

        Raises:
            ValueError: A setting cannot be used, or the classifier is an A2O model itself.
        """
        if isinstance(backbone, PreTrainedModel):
            if loading:
                raise TypeError(f"{', '.join(sorted(loading))}: a model that is loaded already takes no settings")
            inside = backbone
        else:
            inside = AutoModelForVideoClassification.from_pretrained(backbone, **loading)
        if isinstance(inside, A2OForVideoClassification):
            raise ValueError("the classifier is an A2O model itself; give the classifier inside it")
        if fusion == "channels":
            _widen(inside, len(class_texts))
        config = cls.config_class(
            backbone_config=inside.config,
            class_texts=class_texts,
            detector=detector,
            detector_model=detector_model,
            detector_revision=detector_revision,
            detector_threshold=detector_threshold,
            map_size_px=map_size_px,
            fusion=fusion,
            adapter_depth=adapter_depth,
            adapter_hidden_size=adapter_hidden_size,
            adapter_bias=adapter_bias,
            dtype=inside.dtype,
        )
        model = cls(config, inside)
        model.adapter.to(device=inside.device, dtype=inside.dtype)
        return model.train(inside.training)

    def get_input_embeddings(self) -> nn.Module:
        """Those of the classifier inside."""
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Puts other ones into the classifier inside."""
        self.backbone.set_input_embeddings(value)

    @property
    def token_grid(self) -> Any:
        """`token_grid(height, width)` of a classifier inside that has it, as TSViT does; else there is none here."""
        return self.backbone.token_grid

    def save_pretrained(
        self, save_directory: str | os.PathLike, is_main_process: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """As of every model; the code of a classifier inside that transformers lacks is put beside ours."""
        if is_main_process and self.backbone._auto_class is not None:
            os.makedirs(save_directory, exist_ok=True)
            inside: Any = self.config.backbone_config
            custom_object_save(self.backbone, save_directory, config=inside)
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        object_maps: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """Classifies clips.

        Args:
            pixel_values: (batch, frames, 3, height, width), as the processor of the classifier inside gives them.
            object_maps: (batch, frames, classes, rows, columns) likelihood in [0, 1] of each class of `class_texts` at
                each place, where rows and columns divide height and width. None says of no object where it is, as
                maps of zeros do.
            labels: (batch,) int64, class indices, for the loss of the classifier inside.
            pixel_values_videos: `pixel_values` under the name that V-JEPA 2's processor has for them.
            **kwargs: What the classifier inside takes, such as `output_hidden_states`, or `frame_mask` of TSViT.

        Returns:
            What the classifier inside gives: `loss`, `logits` (batch, labels), `hidden_states` and `attentions` on
            request, and of TSViT `segment_logits` and `frame_attention` too.

        Raises:
            ValueError: The maps do not fit the configuration or the pixels.
            TypeError: There are no pixels, or the classifier inside does not take what else is given.
        """
        frames = pixel_values_videos if pixel_values is None else pixel_values
        unknown = sorted(kwargs.keys() - self._backbone_inputs)
        if frames is None or unknown:
            lack = f"does not take {', '.join(unknown)}" if unknown else "needs pixel_values"
            raise TypeError(f"{type(self).__name__} around {type(self.backbone).__name__} {lack}")
        if frames.ndim != 5 or frames.shape[2] != NUM_COLOURS:
            raise ValueError(
                "pixel_values must have the shape (batch, frames, channels, height, width) with 3 channels, got "
                f"{tuple(frames.shape)}"
            )
        if object_maps is None:
            # through the adapter as well: distributed training waits for the gradient of every weight
            object_maps = frames.new_zeros(1, 1, len(self.config.class_texts), 1, 1)
        else:
            self._check_maps(object_maps, frames)
        if labels is not None:
            kwargs["labels"] = labels
        return self.backbone(**{self.backbone.main_input_name: self._with_maps(frames, object_maps)}, **kwargs)

    def added_to_frames(self, object_maps: torch.Tensor) -> torch.Tensor:
        """What maps add to the frames, in the units of normalised pixels and at the size of the maps; by fusion "add".

        Args:
            object_maps: (batch, frames, classes, rows, columns) likelihood of each class of `class_texts`.

        Returns:
            (batch, frames, 3, rows, columns).
        """
        self._check_classes(object_maps)
        if self.config.fusion != "add":
            raise ValueError(f'fusion "{self.config.fusion}" adds nothing to the frames')
        return self.adapter(object_maps)

    def _with_maps(self, frames: torch.Tensor, object_maps: torch.Tensor) -> torch.Tensor:
        """Adds to normalised frames what the maps show. The paper adds to "the frame"; here it is what the model sees.

        By fusion "channels" the maps come behind the three channels of the frames.

        Args:
            frames: (batch, frames, 3, height, width).
            object_maps: (batch, frames, classes, rows, columns), or a single frame for all.

        Returns:
            (batch, frames, 3, height, width) in the type of the frames; by fusion "channels", 3 + classes.
        """
        if self.config.fusion == "channels":
            shape = (*frames.shape[:2], *object_maps.shape[2:])
            places = object_maps.to(frames.dtype).expand(shape)[..., :, None, :, None]
            times = [side // cells for side, cells in zip(frames.shape[-2:], shape[-2:], strict=True)]
            repeated = places.expand(*shape[:-1], times[0], shape[-1], times[1]).flatten(-4, -3).flatten(-2)
            return torch.cat((frames, repeated), dim=2)
        # At the size of the maps, and only then at that of the frames: what is done at every place on its own gives
        # the same on a map whose places are repeated, for height * width / (rows * columns) times the work.
        added = self.adapter(object_maps).to(frames.dtype)
        rows, columns = added.shape[-2:]
        blocks = frames.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))  # (..., rows, height, columns, width)
        return (blocks + added[..., :, None, :, None]).flatten(-4, -3).flatten(-2)

    def _check_classes(self, object_maps: torch.Tensor) -> None:
        """object_maps: (batch, frames, classes, rows, columns); ValueError for maps of other classes."""
        texts = self.config.class_texts
        if object_maps.ndim != 5 or object_maps.shape[2] != len(texts):
            raise ValueError(
                f"object_maps must have the shape (batch, frames, classes, rows, columns) with {len(texts)} classes "
                f"({', '.join(texts)}), got {tuple(object_maps.shape)}"
            )
        if not object_maps.is_floating_point():
            raise ValueError(f"object_maps must be floating point likelihoods in [0, 1], got {object_maps.dtype}")

    def _check_maps(self, object_maps: torch.Tensor, frames: torch.Tensor) -> None:
        """object_maps: (batch, frames, classes, rows, columns), frames: (batch, frames, 3, height, width)."""
        self._check_classes(object_maps)
        if object_maps.shape[:2] != frames.shape[:2]:
            raise ValueError(
                f"object_maps are of {object_maps.shape[0]} clips of {object_maps.shape[1]} frames, pixel_values of "
                f"{frames.shape[0]} clips of {frames.shape[1]}"
            )
        (rows, columns), (height, width) = object_maps.shape[-2:], frames.shape[-2:]
        if not rows or not columns or height % rows or width % columns:
            raise ValueError(
                f"object_maps of {rows}x{columns} places do not divide frames of {height}x{width} pixels (height x "
                "width)"
            )


def _first_convolution(classifier: PreTrainedModel) -> nn.Conv2d | nn.Conv3d:
    """The convolution that reads a classifier's frames: of its patches, or the first of its stem.

    Raises:
        ValueError: There is none.
    """
    channels = getattr(classifier.config, channels_field(classifier.config))
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.in_channels == channels:
            return module
    raise ValueError(f"{type(classifier).__name__} has no convolution that reads {channels} channels")


def _widen(classifier: PreTrainedModel, more: int) -> None:
    """Gives a classifier of three channels `more` input channels, in place, whose weights are zero."""
    first = _first_convolution(classifier)
    before = first.weight
    new = before.new_zeros(before.shape[0], more, *before.shape[2:])
    first.weight = nn.Parameter(torch.cat((before.detach(), new), dim=1), requires_grad=before.requires_grad)
    first.in_channels += more
    for module in classifier.modules():  # some keep the number to check what they are given
        if vars(module).get("num_channels") == NUM_COLOURS:
            vars(module)["num_channels"] += more
    setattr(classifier.config, channels_field(classifier.config), NUM_COLOURS + more)


A2OForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")

__all__ = ["A2OAdapter", "A2OForVideoClassification", "A2OPreTrainedModel"]
