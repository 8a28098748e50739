"""`python -m vidreason.videoqa score`: predictions are scored, and the report is printed as JSON.

python -m vidreason.videoqa score --benchmark nextqa --data DIR --predictions FILE
python -m vidreason.videoqa score --questions DIR --predictions DIR --judged DIR --out outputs/scores

Questions and predictions are files as they were published, or folders of our own tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import QuestionError
from ..files import write_whole
from ..reporting.bootstrap import Bootstrap
from ..reporting.tables import Column, write_csv
from .inputs import BLIND, Inputs, JudgementInputs, open_inputs, open_judgements
from .scoring.measures import Grounded, Judged, Measure, RightOrWrong, Wups
from .scoring.report import make_report, report_page
from .scoring.rules import RULES
from .scoring.scores import Scores, score_predictions
from .scoring.wordnet import load_wordnet

REPORT_NAME, PAGE_NAME, DIFFERENCES_NAME = "report.json", "report.md", "differences.csv"
_SHOWN_DIFFERENCES = 50


def add_input_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name questions and predictions."""
    add = parser.add_argument
    add("--benchmark", default="", choices=["", *RULES], metavar="NAME", help=f"one of {', '.join(RULES)}")
    add("--data", default="", metavar="DIR", help="the benchmark's own files, as they are published")
    add("--questions", default="", metavar="DIR", help="a table of questions, in place of --benchmark and --data")
    add("--predictions", required=True, metavar="PATH", help="a table of predictions, or a published file")
    add("--split", default="", help="split; by default the one that the benchmark is scored on")
    add("--condition", default="video", help="condition of the predictions")


def add_parser(subparsers: Any) -> None:
    """Add the sub-command to those of `python -m vidreason.videoqa`."""
    parser = subparsers.add_parser("score", help="score predictions", description="Score predictions.")
    add_input_flags(parser)
    add = parser.add_argument
    add("--judged", default="", metavar="PATH", help="a table of judgements of the predictions, or a published file")
    add("--judge", default="", help="the judge, where the table has several")
    add("--scale", default="", help="the scale, where the table has several")
    add("--blind", default="", metavar="DIR", help="a table with predictions of condition blind, if not --predictions")
    add("--stop_words", default="", metavar="FILE", help="for WUPS; by default stopwords.txt in --data")
    add("--resamples", type=int, default=1000, help="draws of the videos for intervals")
    add("--out", default="", metavar="DIR", help="folder for the report as JSON and as a page")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Score, print, and write what was asked for."""
    report, scores = score(args)
    if args.out:
        _write(Path(args.out), report, scores, args.benchmark or args.questions)
    shown = report.get("by_our_rule")
    if shown:
        shown["rows"] = shown["rows"][:_SHOWN_DIFFERENCES]
    print(json.dumps(report, indent=2, ensure_ascii=False))


def score(args: argparse.Namespace) -> tuple[dict[str, Any], Scores]:
    """The report of what the flags name, and the scores that it is made of.

    Raises:
        ConfigError: A flag cannot be used, or a package is missing.
        QuestionError: A file cannot be read, or does not fit the others.
    """
    inputs = open_inputs(args.predictions, args.benchmark, args.data, args.questions, args.split, args.condition)
    judged = open_judgements(inputs, args.judged, args.benchmark, args.judge, args.scale) if args.judged else None
    predictions = inputs.predictions(args.condition)
    scores = score_predictions(
        inputs.questions(),
        predictions,
        inputs.rule,
        _measure(inputs, judged, args.stop_words),
        judged.rows(args.condition) if judged else None,
        _blind(inputs, args),
    )
    facts: dict[str, Any] = {"benchmark": args.benchmark, "split": inputs.split, "condition": args.condition}
    report = make_report(scores, Bootstrap(resamples=args.resamples), **facts)
    if judged is not None and judged.judged_on:
        report["judged_on"] = judged.judged_on
    reading = inputs.reading
    if reading is not None and reading.dropped:
        report["questions_left_out"] = dict(reading.reasons)
    notes = inputs.published.notes if inputs.published else []
    if notes:
        report["notes"] = list(notes)
    return report, scores


def _measure(inputs: Inputs, judged: JudgementInputs | None, stop_words: str) -> Measure:
    rule = inputs.rule
    if judged is not None:
        scale = judged.scale
        by_rule = RightOrWrong(rule.normalisation) if scale.names[0] == "accuracy" else None
        return Judged(scale.worth_of, scale.names, judged.is_published, by_rule)
    if rule.measure == "wups":
        return Wups(load_wordnet(), _read_stop_words(stop_words, inputs.folder))
    if rule.measure == "grounded":
        return Grounded(inputs.published is None or inputs.published.has_answers)
    return RightOrWrong(rule.normalisation)


def _read_stop_words(named: str, folder: Path | None) -> frozenset[str]:
    if not named and folder is None:
        raise QuestionError("WUPS needs a list of stop words: --stop_words, such as stopwords.txt of NExT-OE")
    file = Path(named) if named else Path(folder or ".") / "stopwords.txt"
    try:
        return frozenset(file.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{file}: stop words cannot be read ({error})") from error


def _blind(inputs: Inputs, args: argparse.Namespace) -> Any:
    """Predictions without a video: of the table that was named, else of the one that is scored."""
    if args.condition == BLIND:
        return None
    if args.blind:
        other = open_inputs(args.blind, args.benchmark, args.data, args.questions, args.split, BLIND)
        return other.predictions(BLIND)
    return inputs.predictions(BLIND) if BLIND in inputs.conditions else None


def _write(folder: Path, report: dict[str, Any], scores: Scores, title: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / REPORT_NAME, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    write_whole(folder / PAGE_NAME, report_page(report, f"Scores on {title}"))
    if scores.differences:
        columns = [Column(name) for name in ("question_id", "prediction", "answer", "judged", "ruled", "why")]
        write_csv(folder / DIFFERENCES_NAME, [vars(difference) for difference in scores.differences], columns)
