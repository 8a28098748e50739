"""What the scripts have in common: flags to dataclasses, and a mistake that ends with one line in place of a trace."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from .errors import LLMError, VidreasonError

INTERRUPTED = 130
"""What shells report of a command that was ended by Ctrl-C."""

_KEPT = "what was answered is kept, and the same command goes on"


def run_command(
    run: Callable[..., None],
    *argument_types: type[Any],
    log_level: int = logging.WARNING,
    resumable: bool = False,
) -> int:
    """Parse the command line, run, and say in one line what was wrong where something was.

    Args:
        run: Function that does the work; it is given one object of each type.
        argument_types: Dataclasses whose fields are the flags, with their help in `metadata`.
        log_level: Lowest level of the log's messages that are shown.
        resumable: Whether a run that was broken off keeps what was answered; it is said so then.

    Returns:
        What the process should exit with.
    """
    from transformers import HfArgumentParser  # late: workers import a script's file too, and take no flags

    logging.basicConfig(level=log_level, format="%(levelname)s %(name)s: %(message)s")
    try:
        # the parser's own type is a NewType of Any, which no class satisfies
        parser = HfArgumentParser(argument_types)  # type: ignore[arg-type]
        run(*parser.parse_args_into_dataclasses())
    except KeyboardInterrupt:
        print("\n".join(["stopped", _KEPT] if resumable else ["stopped"]), file=sys.stderr)
        return INTERRUPTED
    except VidreasonError as error:
        print(f"error: {error}", file=sys.stderr)
        if resumable and isinstance(error, LLMError):
            print(_KEPT, file=sys.stderr)
        return 1
    return 0
