"""The local chat-completions server with the truth of a synthetic world for its answers.

It speaks the OpenAI API, knows the world's frames by their pixels, and makes the mistakes that are asked for
(`--help` lists all options):

    python -m vidreason.synthetic.chat_server --world outputs/demo/data/world --port 8123 --latency_s 0.2
"""

from __future__ import annotations

import sys

from ..command_line import OneLineParser, end_with_status
from ..llm.testing.chat_server import add_server_flags, run_server
from .world_answers import WorldAnswers


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    about = "A chat-completions server that answers with the truth of a synthetic world."
    parser = OneLineParser(prog="vidreason.synthetic.chat_server", description=about)
    parser.add_argument("--world", required=True, help="Folder of the synthetic world to answer from.")
    parser.add_argument("--splits", nargs="+", help="Splits of the world whose frames are known; all by default.")
    add_server_flags(parser)

    def work() -> int:
        args = parser.parse_args(arguments)
        return run_server(args, lambda: WorldAnswers(args.world, splits=args.splits))

    return end_with_status(work)


if __name__ == "__main__":
    sys.exit(main())
