"""Which layers are supervised, as a recipe or a command line names them."""

from __future__ import annotations

from ..errors import ConfigError


def read_layers(text: str | int | None) -> tuple[int, ...] | str | None:
    """Layers as `supervised_view` and a model configuration take them; None leaves them as they are.

    Args:
        text: "all", or indices with commas between; a recipe may give a single index as a number.

    Raises:
        ConfigError: it is neither.
    """
    if text is None or str(text) == "all":
        return text
    try:
        return tuple(int(index) for index in str(text).split(","))
    except ValueError:
        raise ConfigError(f"supervised_layers is {text!r}, expected 'all' or indices such as '-1' or '0,2'") from None
