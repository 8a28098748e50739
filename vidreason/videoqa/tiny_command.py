"""`python -m vidreason.videoqa make_tiny`: an untrained Video-LLM of a few million parameters, for some questions."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..command_line import add_settings, read_settings
from .conversation import load_answer_prompt
from .tables import load_questions
from .tiny_model import TinyVideoLLMSettings, save_tiny_video_llm

TINY_PROMPTS = ("bare_question", "bare_rationale")
"""Prompts that say little but the question: a model that knows no language has nothing of more words."""

_READ = ("question", "answer", "options", "rationale")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command `make_tiny`; what it parses has `run`, a function that does the work.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` gave.
    """
    parser = subparsers.add_parser("make_tiny", help="make an untrained tiny Video-LLM", description=__doc__)
    parser.add_argument("--questions", required=True, nargs="+", help="tables of questions whose words it is to know")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model and its processor")
    add_settings(parser, TinyVideoLLMSettings)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> None:
    """Make the model and say how large it is.

    Raises:
        QuestionError: A table of questions cannot be read.
        ConfigError: The sizes do not fit together.
    """
    settings = read_settings(args, TinyVideoLLMSettings)
    texts = [text for name in args.questions for text in question_texts(load_questions(name))]
    model = save_tiny_video_llm(args.out, texts, settings)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters in {args.out}, untrained")


def question_texts(tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[str]:
    """All that a model reads and writes of some questions: theirs, and the words of the short prompts.

    Args:
        tables: Split -> rows of a table of questions.
    """
    for rows in tables.values():
        for row in rows:
            yield from (str(text) for name in _READ for text in ([row[name]] if name != "options" else row[name]))
    row = {"question": "?", "options": ["?"] * 6, "answer_format": "choice"}
    for name in TINY_PROMPTS:
        yield from load_answer_prompt(name).texts(row, None)
