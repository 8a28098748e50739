"""Video question answering on the command line.

    python -m vidreason.videoqa answer --questions DIR --manifest DIR --model ID --out DIR
    python -m vidreason.videoqa score --benchmark nextqa --data DIR --predictions FILE
    python -m vidreason.videoqa judge --benchmark activitynet_qa --data DIR --predictions DIR --out DIR
    python -m vidreason.videoqa make_tiny --questions DIR --out DIR
    python -m vidreason.videoqa teach_vision --model DIR --graphs DIR --manifest DIR --out DIR

A sub-command is a module of `COMMANDS`; each says in its own `--help` what it takes.
"""

from __future__ import annotations

import logging
import sys

from ..command_line import OneLineParser, end_with_status
from . import answer_command, judge_command, score_command, teach_command, tiny_command

COMMANDS = (answer_command, score_command, judge_command, tiny_command, teach_command)
"""Modules with `add_parser(subparsers)`, which sets the default `run` to a function of the parsed flags."""

_KEPT = "what was answered is kept, and the same command goes on"


def make_parser() -> OneLineParser:
    """The parser of all sub-commands."""
    parser = OneLineParser(prog="python -m vidreason.videoqa", description="Video question answering.")
    subparsers = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

    def work() -> int | None:
        args = make_parser().parse_args(arguments)
        return args.run(args)

    return end_with_status(work, _KEPT)


if __name__ == "__main__":
    sys.exit(main())
