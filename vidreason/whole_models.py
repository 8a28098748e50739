"""Models of transformers with all their weights: what a checkpoint lacks is drawn at random there, with a warning."""

from __future__ import annotations

from typing import Any

from .errors import ConfigError, VidreasonError


def load_whole(
    model_class: Any,
    name: Any,
    where: str,
    error: type[VidreasonError] = ConfigError,
    **settings: Any,
) -> Any:
    """A model, each of whose weights is its checkpoint's. Tied weights are stored once, and are not missing.

    Args:
        model_class: Class of transformers whose `from_pretrained` loads it, an Auto class among them.
        name: Folder or Hub id of the model.
        where: What the model is called at the beginning of an error's message, such as "detector 'owlv2': ID".
        error: The kind of error that is raised.
        settings: Passed to `from_pretrained`.

    Raises:
        VidreasonError: It cannot be loaded, or lacks weights; it is of the kind `error`.
    """
    try:
        model, report = model_class.from_pretrained(name, output_loading_info=True, **settings)
    except Exception as caught:  # files from elsewhere: the libraries raise whatever there is
        raise error(f"{where} cannot be loaded: {one_line(caught)}") from caught
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise error(f"{where} lacks {len(lacking)} weights, such as {lacking[0]}")
    return model


def one_line(error: BaseException) -> str:
    """What an error of a library says, in one line that is not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
