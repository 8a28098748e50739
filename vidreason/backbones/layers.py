"""Which layers are supervised: as a recipe or a command line names them, and as indices."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigError

Layers = str | int | Sequence[int] | None
"""What `supervised_view` takes: "all", an index, several, or None for the model's own."""


def read_layers(text: str | int | None) -> tuple[int, ...] | str | None:
    """Layers as `supervised_view` and a model configuration take them; None leaves them as they are.

    Args:
        text: "all", or indices with commas between them; a recipe may give a single index as a number.

    Raises:
        ConfigError: The text is neither.
    """
    if text is None or text == "all":
        return None if text is None else "all"
    try:
        return tuple(int(index) for index in str(text).split(","))
    except ValueError:
        raise ConfigError(f"supervised_layers is {text!r}, expected 'all' or indices such as '-1' or '0,2'") from None


def resolve_layers(supervised_layers: Layers, num_layers: int, name: str) -> tuple[int, ...]:
    """Layer indices, non-negative and ascending.

    Args:
        supervised_layers: "all", an index or several; negative ones count from the last. None takes the last.
        num_layers: Number of layers that the model has.
        name: Name of the kind of model, for messages.

    Raises:
        ConfigError: There is no such layer, a layer is named twice, or it is no index at all.
    """
    if supervised_layers is None:
        return (num_layers - 1,)
    if supervised_layers == "all":
        return tuple(range(num_layers))
    wanted = _as_indices(supervised_layers)
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


def _as_indices(layers: str | int | Sequence[int]) -> list[int]:
    wanted = [] if isinstance(layers, str) else [layers] if isinstance(layers, int) else list(layers)
    # bool is an int to Python; a flag that was meant for something else must not choose layer 1
    if not wanted or not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in wanted):
        raise ConfigError(f"supervised_layers is {layers!r}, expected 'all' or indices of layers")
    return wanted
