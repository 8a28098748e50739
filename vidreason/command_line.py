"""What every command line of the project has in common: flags, and a mistake that ends with one line and a status.

A command's `main` is `run_command(work, *dataclasses)` where its flags are dataclasses, and `end_with_status(work)`
where it reads them itself, with a `OneLineParser`. What a user can cause (a wrong flag, data that cannot be used, a
full disk, Ctrl-C) is told in one line; a mistake in the program stays a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

from .errors import LLMError, UsageError, VidreasonError

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings")
"""A dataclass of settings."""

FAILED, WRONG_USAGE = 1, 2
"""What a process exits with that could not do its work, and one whose flags are wrong, as argparse has it."""
INTERRUPTED = 130
"""What shells report of a command that was ended by Ctrl-C."""

_KEPT = "what was answered is kept, and the same command goes on"

_OF_USERS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # no room
    *(errno.EROFS, errno.EACCES, errno.EPERM),  # not allowed
    *(
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOENT,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    ),  # no such place
}
"""Codes of errors of the file system that the place which a user named can cause."""

_RUST_CODE = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers say it in their texts alone
_TORCH_WRITER = "PytorchStreamWriter failed writing"  # torch gives no code, and wants a whole file


def end_with_status(work: Callable[[], int | None], kept: str = "") -> int:
    """Do the work of a command, and say in one line what was wrong where a user can cause it.

    Args:
        work: Function that does it, from the reading of flags on; it may return a status of its own.
        kept: What is said where the command is broken off, by Ctrl-C or for want of money: what of it is not lost.

    Returns:
        What the process should exit with.
    """
    # a file's name on Linux may be any bytes, and printing it is not to end the command
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return work() or 0
    except KeyboardInterrupt:
        _say("stopped", kept)
        return INTERRUPTED
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        logger.debug("%s", line, exc_info=True)
        _say(f"error: {line}", kept if isinstance(error, LLMError) else "")
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED


def explain(error: BaseException) -> str | None:
    """One line about an error that a user can cause, None for any other."""
    if isinstance(error, VidreasonError):
        return _one_line(str(error))
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _OF_USERS:
            # what was not found was either named, by a user, or is a mistake of the program
            if cause.errno == errno.ENOENT and cause.filename is None:
                continue
            names = [os.fsdecode(name) for name in (cause.filename, cause.filename2) if isinstance(name, str | bytes)]
            return _one_line(": ".join([cause.strerror or str(cause), *dict.fromkeys(names)]))
        code = _RUST_CODE.search(str(cause))
        if code and int(code[1]) in _OF_USERS:
            return _one_line(f"{type(cause).__name__}: {cause}")
        if isinstance(cause, RuntimeError) and _TORCH_WRITER in str(cause):
            return f"a file could not be written to its end; is the disk full? ({_one_line(str(cause))})"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from: libraries wrap what the file system says."""
    while error is not None:
        yield error
        error = error.__cause__


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _say(*lines: str) -> None:
    print("\n".join(filter(None, lines)), file=sys.stderr)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are raised, in place of being printed below a page of usage."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; the words are remembered for complaints."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the flags.

        Raises:
            UsageError: always.
        """
        if message.startswith("unrecognized arguments: "):
            message = describe_unknown(message.removeprefix("unrecognized arguments: ").split(), self)
        elif message.startswith("the following arguments are required"):
            # argparse tells what lacks before what it does not know, which is often the same one, misspelt
            flags = {word.split("=")[0] for word in self._words if word.startswith("--")}
            known = list(_flags_of(self))
            unknown = sorted(word for word in flags if not any(flag.startswith(word) for flag in known))
            message = "; ".join([message, *([describe_unknown(unknown, self)] if unknown else [])])
        raise UsageError(message)


def describe_unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What to say of words on a command line that no flag takes, with the flags that they may have meant."""
    flags = [word for word in words if re.match(r"-+[a-zA-Z]", word)]
    if not flags:
        return f"no flag takes {' '.join(map(repr, words))}"
    known = list(_flags_of(parser))
    named = []
    for flag in flags:
        near = difflib.get_close_matches(flag.split("=")[0], known, 1)
        named.append(f"{flag} (did you mean {near[0]}?)" if near else flag)
    return f"unknown flag{'s' * (len(named) > 1)} {', '.join(named)}; --help lists all"


def _flags_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The flags of a parser and of its sub-commands."""
    for action in parser._actions:  # argparse has no public list of them
        yield from (flag for flag in action.option_strings if flag.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _flags_of(command)


def add_settings(parser: argparse.ArgumentParser, settings_class: type[Any]) -> None:
    """Add a flag for each field of a dataclass of settings, to a parser that has others, too.

    Args:
        parser: The parser.
        settings_class: The dataclass; each field is a number or text with a default, and has its help in its metadata.
    """
    for field in fields(settings_class):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=field.default, help=field.metadata["help"]
        )


def read_settings(args: argparse.Namespace, settings_class: type[Settings]) -> Settings:
    """The settings of flags that `add_settings` added.

    Args:
        args: What was parsed.
        settings_class: The dataclass.
    """
    of_class: Any = settings_class
    return settings_class(**{field.name: getattr(args, field.name) for field in fields(of_class)})


def flag_parser(*argument_types: type[Any]) -> Any:
    """An `HfArgumentParser` of dataclasses that raises `UsageError`; `parse_flags` reads a command line with it.

    Args:
        argument_types: Dataclasses whose fields are the flags, with their help in `metadata`.
    """
    from transformers import HfArgumentParser  # late: workers import a script's file too, and take no flags

    class FlagParser(OneLineParser, HfArgumentParser):
        pass

    # the parser's own type is a NewType of Any, which no class satisfies
    return FlagParser(argument_types)  # type: ignore[arg-type]


def parse_flags(parser: Any, arguments: Sequence[str] | None = None) -> tuple[Any, ...]:
    """An object of each dataclass of a `flag_parser`, and a namespace where it has other flags.

    Args:
        parser: What `flag_parser` gave.
        arguments: Words of the command line; those of the process by default.

    Raises:
        UsageError: A flag does not exist, is missing, or does not take its value.
    """
    # first: what a dataclass lacks may be what a misspelt flag was to give it
    unknown = parser.parse_known_args(arguments)[1]
    if unknown:
        raise UsageError(describe_unknown(unknown, parser))
    try:
        return parser.parse_args_into_dataclasses(arguments)
    except (ValueError, TypeError) as error:  # what transformers' own arguments refuse of their values
        raise UsageError(str(error)) from error


def run_command(
    run: Callable[..., int | None],
    *argument_types: type[Any],
    log_level: int = logging.WARNING,
    resumable: bool = False,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the command line, run, and say in one line what was wrong where something was.

    Args:
        run: Function that does the work; it is given one object of each type, and may return a status.
        argument_types: Dataclasses whose fields are the flags, with their help in `metadata`.
        log_level: Lowest level of the log's messages that are shown.
        resumable: Whether a run that was broken off keeps what was answered; it is said so then.
        arguments: Words of the command line; those of the process by default.

    Returns:
        What the process should exit with.
    """
    logging.basicConfig(level=log_level, format="%(levelname)s %(name)s: %(message)s")
    return end_with_status(
        lambda: run(*parse_flags(flag_parser(*argument_types), arguments)), _KEPT if resumable else ""
    )
