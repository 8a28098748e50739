"""Studies on the command line.

    python -m vidreason.study run recipes/study/methods.yaml --out docs/results/methods --num_workers 2
    accelerate launch --num_processes 4 -m vidreason.study run recipes/study/methods.yaml --out docs/results/methods
    python -m vidreason.study tables docs/results

`run` makes every run that has no result yet; it may be stopped at any moment, and the same command goes on. `tables`
rebuilds pages, tables and figures from the JSON that lies beside them, and needs no torch.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from ..command_line import OneLineParser, end_with_status
from .attempts import RunnerSettings
from .execution import check_settings
from .rebuild import rebuild_all
from .runner import plan_runs, run_study, summary
from .study_file import load_study
from .study_plots import check_plots


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")

    def work() -> int:
        args = _parser().parse_args(arguments)
        return args.command(args)

    return end_with_status(work, "the same command goes on with the runs that are missing")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m vidreason.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="make the runs of a study that have no result yet")
    run.set_defaults(command=_run)
    run.add_argument("study", type=Path, help="the study file")
    run.add_argument("--out", type=Path, required=True, help="folder of the results, one for each study")
    run.add_argument("--work", type=Path, default=Path("outputs/study"), help="folder for data, models and logs")
    run.add_argument("--only", nargs="+", default=[], metavar="PART", help="only runs whose name has one of these")
    run.add_argument("--num_workers", type=int, default=1, help="processes that each make whole runs")
    run.add_argument("--num_threads", type=int, default=1, help="threads of each worker on a CPU")
    run.add_argument("--keep_models", action="store_true", help="leave the trained models in the work folder")
    run.add_argument(
        "--reuse", nargs="+", type=Path, default=[], metavar="DIR", help="results whose equal runs are taken over"
    )
    run.add_argument("--dry_run", action="store_true", help="only list the runs, and which of them are there")
    tables = commands.add_parser("tables", help="rebuild every table under a folder from its JSON")
    tables.set_defaults(command=_tables)
    tables.add_argument("folder", type=Path, help="a study's results, or a folder of many")
    return parser


def _run(args: argparse.Namespace) -> int:
    study = load_study(args.study)
    settings = RunnerSettings(
        args.out,
        args.work,
        tuple(args.only),
        args.num_workers,
        args.num_threads,
        args.keep_models,
        tuple(args.reuse),
    )
    check_settings(study)
    check_plots(study)
    if args.dry_run:
        todo, there = plan_runs(study, settings)
        print("\n".join([*(f"there  {name}" for name in there), *(f"to do  {run.name}" for run in todo)]))
        print(f"{len(there)} runs are there, {len(todo)} to do")
        return 0
    outcome = run_study(study, settings)
    if os.environ.get("RANK", "0") == "0":
        print(summary(outcome))
    return 1 if outcome.failed else 0


def _tables(args: argparse.Namespace) -> int:
    for folder in rebuild_all(args.folder):
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
