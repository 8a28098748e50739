"""Starting from a checkpoint: which of its weights fit, and whose labels its head speaks of."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from ..errors import ConfigError
from .backbone import AutoClass, backbone_for

logger = logging.getLogger(__name__)

# The first release of VideoMAE has query and value biases as parameters of the attention, not of its projections (its
# keys have none). Most versions of transformers translate them; one that does not loads zeros in their place.
_FORMER_NAMES = {
    r"attention\.attention\.q_bias": "attention.attention.query.bias",
    r"attention\.attention\.v_bias": "attention.attention.value.bias",
}


def load_checkpoint(
    name: str,
    trained: PreTrainedConfig,
    overrides: dict[str, Any],
    class_names: list[str],
    auto_class: AutoClass,
    replace_head: bool = False,
) -> PreTrainedModel:
    """A model with a checkpoint's weights and a head for these classes.

    Args:
        name: The checkpoint, a folder or a Hub id.
        trained: The checkpoint's configuration.
        overrides: Fields of the configuration that are set to other values.
        class_names: Names of the data's classes in the order of their label ids.
        auto_class: The class of transformers that loads the model.
        replace_head: Start a new head whatever the checkpoint's labels are.

    Raises:
        ConfigError: The checkpoint cannot be loaded, its weights do not fit the configuration, or its labels are
            other ones.
    """
    backbone = backbone_for(trained)
    fields = backbone.config_fields(overrides)
    config, unknown = AutoConfig.from_pretrained(name, **fields, return_unused_kwargs=True)
    if unknown:
        raise ConfigError(f"model_config: {type(config).__name__} has no {sorted(unknown)}")
    backbone.check(config)
    backbone.check_change(trained, config)
    model, report = _load(auto_class, name, config)
    _refuse_unfitting(name, report["mismatched_keys"], trained, config)
    unfilled = sorted(report["missing_keys"])
    if unfilled:
        logger.warning("%s did not fill %d weights, which start anew: %s", name, len(unfilled), ", ".join(unfilled))
    if report["unexpected_keys"]:
        unused = sorted(report["unexpected_keys"])
        logger.info("%s has %d weights that this model has no use for: %s", name, len(unused), ", ".join(unused))
    fit_head(model, name, class_names, replace_head, has_head=_head_name(model) not in unfilled)
    return model


def _load(auto_class: AutoClass, name: str, config: PreTrainedConfig) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model and the report on its loading, with every bias under the name that this transformers knows."""
    settings: dict[str, Any] = {
        "config": config,
        "dtype": torch.float32,  # weights are trained in full precision, whatever they were stored in
        "ignore_mismatched_sizes": True,  # they are refused here, in words
        "output_loading_info": True,
    }
    model, report = auto_class.from_pretrained(name, **settings)
    if any(key.endswith((".q_bias", ".v_bias")) for key in report["unexpected_keys"]):
        model, report = auto_class.from_pretrained(name, **settings, key_mapping=_FORMER_NAMES)
        # saved under its present names: this version of transformers would not read the former ones back
        model._weight_conversions = None
    return model, report


def _refuse_unfitting(name: str, mismatched: set[Any], trained: PreTrainedConfig, config: PreTrainedConfig) -> None:
    """Raises ConfigError where a changed configuration asks for weights of another shape than the checkpoint's."""
    if not mismatched:
        return
    before, after = _fields(trained), _fields(config)
    changed = {field: (value, after[field]) for field, value in before.items() if after.get(field, value) != value}
    settings = ", ".join(f"{field} {value} (now {now})" for field, (value, now) in sorted(changed.items()))
    weights = ", ".join(f"{key} {tuple(old)}, not {tuple(new)}" for key, old, new in sorted(mismatched, key=str))
    raise ConfigError(
        f"{name} was trained with {settings or 'another configuration'}; its weights do not fit: {weights}"
    )


def _fields(config: PreTrainedConfig) -> dict[str, Any]:
    """Fields of a configuration, and of one inside it, with lists in place of tuples."""
    fields = config.to_dict()
    inside: dict[str, Any] = {}
    for name in config.sub_configs:
        inside |= fields.pop(name, None) or {}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in {**inside, **fields}.items()}


def fit_head(
    model: PreTrainedModel, name: str, class_names: list[str], replace_head: bool = False, has_head: bool = True
) -> None:
    """Make the last layer speak of these classes, in their order.

    Args:
        model: The model, whose configuration names the labels that the head was trained for.
        name: Name of the checkpoint, for messages.
        class_names: Names of the data's classes in the order of their label ids.
        replace_head: Start a new head whatever its labels are.
        has_head: Whether the checkpoint filled the head; a head that it did not fill belongs to no labels.

    Raises:
        ConfigError: The head was trained for other labels.
    """
    by_index = {int(index): label for index, label in (model.config.id2label or {}).items()}
    labels = [by_index[index] for index in sorted(by_index)]
    if replace_head or not has_head:
        _set_head(model, _new_head(model, len(class_names)))
        logger.warning("%s: the classification head starts anew, for %s", name, _listed(class_names))
    elif set(labels) != set(class_names) or len(labels) != len(class_names):
        raise ConfigError(
            f"{name} was trained for other labels: {_listed(labels)}; the data have {_listed(class_names)}. "
            "Set replace_head to start a new classification head for them"
        )
    elif labels != class_names:
        head = head_of(model)
        order = torch.tensor([labels.index(label) for label in class_names])
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(parameter[order])
        logger.info("%s: the head's labels are put in the order of the data", name)
    model.config.id2label = dict(enumerate(class_names))
    model.config.label2id = {label: index for index, label in enumerate(class_names)}
    for part in model.modules():  # models copy it from their configuration when they are made, one inside another too
        if isinstance(part, PreTrainedModel) and "num_labels" in vars(part):
            vars(part)["num_labels"] = len(class_names)


def head_of(model: PreTrainedModel) -> nn.Linear:
    """The last layer of a classifier, a row of whose weight belongs to each label."""
    return backbone_for(model.config).head(model)


def _head_name(model: PreTrainedModel) -> str:
    head = head_of(model)
    return next(name for name, parameter in model.named_parameters() if parameter is head.weight)


def _new_head(model: PreTrainedModel, num_labels: int) -> nn.Linear:
    """A head with weights as a new model of this family has them."""
    old = head_of(model)
    head = nn.Linear(old.in_features, num_labels, bias=old.bias is not None)
    head = head.to(device=old.weight.device, dtype=old.weight.dtype)
    model._init_weights(head)
    return head


def _set_head(model: PreTrainedModel, head: nn.Linear) -> None:
    name = _head_name(model).removesuffix(".weight")
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, head)


def _listed(labels: list[str], most: int = 20) -> str:
    shown = ", ".join(map(str, labels[:most]))
    return f"[{shown}]" if len(labels) <= most else f"[{shown}, ... ({len(labels)} labels)]"
