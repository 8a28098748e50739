"""Questions about videos on the command line.

    python -m vidreason.videoqa answer --questions data/questions --manifest data/manifest --model ID --out DIR

Each sub-command is a module of its own with `add_parser`.
"""

from __future__ import annotations

import logging
import sys

from ..command_line import OneLineParser, end_with_status
from . import answer_command

COMMANDS = (answer_command,)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = OneLineParser(prog="python -m vidreason.videoqa", description="Questions about videos.")
    subparsers = parser.add_subparsers(required=True, metavar="command", parser_class=OneLineParser)
    kept = ""
    for command in COMMANDS:
        command.add_parser(subparsers)

    def work() -> None:
        args = parser.parse_args(arguments)
        args.run(args)

    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["answer"]:
        kept = answer_command.KEPT
    return end_with_status(work, kept)


if __name__ == "__main__":
    sys.exit(main())
