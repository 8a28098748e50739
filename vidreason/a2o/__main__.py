"""The search for object classes on the command line.

    python -m vidreason.a2o recipes/a2o_search.yaml --agent nearest --out outputs/search
    python -m vidreason.a2o report outputs/search_0 outputs/search_1 --out docs/results/search
    python -m vidreason.a2o tune recipes/a2o_demo.yaml --out outputs/tuning --num_trials 20

The first searches, and goes on where an earlier process stopped; the second compares searches; the third tunes a
recipe of `train.py` by Optuna. A search's recipe holds the same
settings as the flags; `environment_settings` and `agent_settings` are mappings there, and JSON as flags.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..command_line import OneLineParser, end_with_status, flag_parser, parse_flags
from ..errors import ConfigError
from ..llm.store import RequestStore
from ..training.recipes import read_mapping, read_recipe
from .agents import AGENTS, make_agent
from .analysis import write_report
from .environment import make_environment
from .loop import SearchSettings, search, search_page

REQUESTS_NAME, TRAININGS_NAME = "requests.sqlite", "trainings"


@dataclass(frozen=True)
class SearchArguments(SearchSettings):
    """What is searched, by whom, and where it is kept."""

    out: str = field(default="", metadata={"help": "Folder of the search; one that was broken off there goes on."})
    agent: str = field(default="nearest", metadata={"help": "Who proposes.", "choices": list(AGENTS)})
    # with None among its types, transformers' parser takes text
    agent_settings: dict | str | None = field(default=None, metadata={"help": "Settings of the agent, as JSON."})
    environment: str = field(default="training", metadata={"help": "What trains: training, or a registered name."})
    environment_settings: dict | str | None = field(
        default=None, metadata={"help": "Settings of the environment, as JSON."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out:
            raise ConfigError("out is not set: the folder of the search")

    @property
    def settings(self) -> SearchSettings:
        """How the search goes."""
        return SearchSettings(**{entry.name: getattr(self, entry.name) for entry in fields(SearchSettings)})


def parse_arguments(arguments: list[str]) -> SearchArguments:
    """Read a recipe and flags; flags win.

    Args:
        arguments: Those of the command line; the first may be the path of a YAML recipe.

    Raises:
        ConfigError: The recipe cannot be read, or a setting does not exist; a `UsageError` where it is a flag.
    """
    parser = flag_parser(SearchArguments)
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        recipe = read_recipe(arguments[0])
        # set_defaults accepts any name silently: a misspelt setting would have no effect
        unknown = sorted(set(recipe) - {entry.name for entry in fields(SearchArguments)})
        if unknown:
            raise ConfigError(f"{arguments[0]}: unknown settings {unknown}")
        parser.set_defaults(**recipe)
        arguments = arguments[1:]
    return parse_flags(parser, arguments)[0]


def run_search(args: SearchArguments) -> None:
    """Search, and print what was found."""
    settings = read_mapping(args.environment_settings, "environment_settings")
    environment = make_environment(args.environment, settings, Path(args.out) / TRAININGS_NAME)
    with RequestStore(Path(args.out) / REQUESTS_NAME) as store:
        agent = make_agent(args.agent, read_mapping(args.agent_settings, "agent_settings"), store)
        print(search_page(search(environment, agent, args.out, args.settings)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a mistake ends with one line that names it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["report"]:
        return end_with_status(lambda: _report(words[1:]))
    if words[:1] == ["tune"]:
        return end_with_status(lambda: _tune(words[1:]), "trials that ended are kept, and the same command goes on")
    kept = "what was asked and trained is kept, and the same command goes on"
    return end_with_status(lambda: run_search(parse_arguments(words)), kept)


def _report(words: list[str]) -> None:
    parser = OneLineParser(prog="python -m vidreason.a2o report", description="Compare searches.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of searches that have ended")
    parser.add_argument("--out", type=Path, required=True, help="folder of the page and its figure")
    args = parser.parse_args(words)
    print(write_report(args.out, args.folders))


def _tune(words: list[str]) -> None:
    parser = OneLineParser(prog="python -m vidreason.a2o tune", description="Tune an object-centric recipe.")
    parser.add_argument("recipe", help="a recipe of train.py, with a validation split")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study and of the tuned recipe")
    parser.add_argument("--num_trials", type=int, default=20, help="number of trainings")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampler")
    args = parser.parse_args(words)
    from .tuning_run import BEST_FILE, tune_recipe  # late: it loads torch

    tuned = tune_recipe(args.recipe, args.out, args.num_trials, args.seed)
    shown = ", ".join(f"{name} {value:g}" for name, value in asdict(tuned.best).items())
    print(f"{shown}: validation accuracy {tuned.accuracy:.2%} ({args.out / BEST_FILE})")


if __name__ == "__main__":
    sys.exit(main())
