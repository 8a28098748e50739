"""The errors a user of this library can meet. Each message says what is wrong and where."""

from __future__ import annotations

import os


class VidreasonError(Exception):
    """Base of every error that this library raises on purpose."""


class VideoError(VidreasonError):
    """A video file cannot be used.

    Args:
        path: The file.
        reason: One of `REASONS`.
        detail: What FFmpeg or the file system said, for people.
    """

    REASONS = (
        "missing",
        "empty_file",
        "not_a_video",
        "playlist",
        "no_video_stream",
        "no_frames",
        "decode_failed",
        "too_large",
    )

    def __init__(self, path: str | os.PathLike, reason: str, detail: str = ""):
        if reason not in self.REASONS:
            raise ValueError(f"reason must be one of {self.REASONS}, got {reason!r}")
        self.path = str(path)
        self.reason = reason
        self.detail = detail
        super().__init__(path, reason, detail)  # all arguments, so that the error pickles across worker processes

    def __str__(self) -> str:
        return f"{self.path}: {self.reason.replace('_', ' ')}" + (f" ({self.detail})" if self.detail else "")


class ManifestError(VidreasonError):
    """A manifest, or the tree of videos that it is built from, is not usable."""


class GuidanceError(VidreasonError):
    """A guidance table, or a row of one, breaks the contract of `vidreason.guidance.schema`."""


class ConfigError(VidreasonError):
    """A recipe, flag or model configuration asks for something that cannot be done."""


class TrainingError(VidreasonError):
    """Training cannot go on, for instance because the loss is no longer finite."""


class LLMError(VidreasonError):
    """A run over a language model cannot go on: no key, an unknown model, no credit, or a server that is gone.

    What happens to a single request is a status of its answer instead.
    """


class BudgetExceeded(LLMError):
    """Another request could cost more than the money that is left."""


class InvalidAnswer(VidreasonError):
    """The text of an answer cannot be used. The message says why, and is kept with the answer."""
