"""The errors a user of this library can meet. Each message says what is wrong and where."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE}
"""Codes of errors that the next file would meet as well, such as a full disk."""


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
        "unexpected_error",  # nobody foresaw it; `unforeseen` makes these, and the detail names the error's kind
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


def unforeseen(path: str | os.PathLike, error: Exception) -> VideoError:
    """What a loop over many files makes of an error of one of them that nobody foresaw.

    Files in the wild make libraries raise whatever there is, and one of 100,000 must not end the run: the loop lists
    the file like any other that cannot be read. The log has the traceback at the level DEBUG.

    Args:
        path: The file, or the id of its video.
        error: What was raised while it was worked on. Errors of this library and of the machine, such as a full disk,
            are raised again: the next file would meet them too.

    Returns:
        An error with the reason unexpected_error, whose detail names the kind of what was raised.
    """
    if isinstance(error, VidreasonError) or (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE):
        raise error
    logger.debug("%s: an error that nobody foresaw", path, exc_info=error)
    words = " ".join(str(error).split())
    return VideoError(path, "unexpected_error", f"{type(error).__name__}: {words}" if words else type(error).__name__)


@contextmanager
def one_of_many(path: str | os.PathLike) -> Iterator[None]:
    """Around what is done to one file of many: raises what `unforeseen` makes of an error, from that error.

    Where a single file is asked for, such an error is better seen, and this is not used.

    Args:
        path: The file that is worked on, or the id of its video.
    """
    try:
        yield
    except VidreasonError:
        raise
    except Exception as error:
        raise unforeseen(path, error) from error


class ManifestError(VidreasonError):
    """A manifest, or the tree of videos that it is built from, is not usable."""


class GuidanceError(VidreasonError):
    """A guidance table, or a row of one, breaks the contract of `vidreason.guidance.schema`."""


class DetectionError(VidreasonError):
    """A table of detections, a class text, or a detector breaks the contract of `vidreason.detection`."""


class GraphError(VidreasonError):
    """A scene graph, or an annotation that one is read from, breaks the contract of `vidreason.scenegraph`."""


class UnanswerableProgram(GraphError):
    """A program cannot be answered on a graph: a step finds nothing, or several things where one is meant.

    Args:
        message: What happened, at which step.
        reason: One of "nothing" and "several", by which those that make questions count what they leave out.
    """

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


class QuestionError(VidreasonError):
    """A question, prediction or judgement, or a file of a benchmark, breaks the contract of `vidreason.videoqa`."""


class ConfigError(VidreasonError):
    """A recipe, flag or model configuration asks for something that cannot be done."""


class UsageError(ConfigError):
    """A command line has a flag that does not exist, lacks one, or gives one a value that it does not take."""


class TrainingError(VidreasonError):
    """Training cannot go on, for instance because the loss is no longer finite."""


class ComputeExceeded(TrainingError):
    """Another training could take more time than is left of what may be spent on them."""


class LLMError(VidreasonError):
    """A run over a language model cannot go on: no key, an unknown model, no credit, or a server that is gone.

    What happens to a single request is a status of its answer instead.
    """


class BudgetExceeded(LLMError):
    """Another request could cost more than the money that is left."""


class InvalidAnswer(VidreasonError):
    """The text of an answer cannot be used. The message says why, and is kept with the answer."""
