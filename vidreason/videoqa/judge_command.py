r"""`python -m vidreason.videoqa judge`: predictions are judged, by a language model or without any key.

    python -m vidreason.videoqa judge --questions DIR --predictions DIR --out DIR --judge keyless
    python -m vidreason.videoqa judge --benchmark activitynet_qa --data DIR --predictions FILE --out DIR \
        --judge llm --scale video_chatgpt --model gpt-4.1-mini --max_cost_usd 5 --dry_run

A language model is asked through a store in --out: the same command goes on where an earlier one was broken off, and
pays for no answer twice. Another model, scale or prompt is another judge, and wants another --out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..errors import ConfigError, QuestionError
from ..llm.chat import ANSWER_STATUSES, DEFAULT_MODEL, ChatAnswer
from ..llm.client import OpenAIChatClient
from ..llm.cost import Budget, ModelPrice, price_of
from ..llm.store import RequestStore
from ..sentence_embedding import minilm
from .inputs import Inputs, open_inputs
from .judging.keyless import THRESHOLD, judge_keyless, judge_name
from .judging.language_model import JudgeSettings, LanguageModelJudge
from .judging.scales import ASKED_SCALES, KEYLESS
from .score_command import add_input_flags
from .tables import write_judgements

REQUESTS_NAME = "requests.sqlite"


def add_parser(subparsers: Any) -> None:
    """Add the sub-command to those of `python -m vidreason.videoqa`."""
    parser = subparsers.add_parser("judge", help="judge predictions", description="Judge predictions.")
    add_input_flags(parser)
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder of the table of judgements; an earlier run there goes on")
    add("--judge", default="keyless", choices=["keyless", "llm"], help="who judges")
    add("--no_embedding", action="store_true", help="keyless: phrases are right where they are equal, and only there")
    add("--threshold", type=float, default=THRESHOLD, help="keyless: least cosine of phrases that mean the same")
    add("--scale", default="open_eqa", choices=list(ASKED_SCALES), help="llm: 1 to 5, or yes and no with 0 to 5")
    add("--model", default=DEFAULT_MODEL, help="llm: its name at the server")
    add("--base_url", default=None, help="llm: the server; OPENAI_BASE_URL or OpenAI's else")
    add("--prompt", default="", metavar="FILE", help="llm: a prompt file of your own")
    add("--temperature", type=float, default=0.0, help="llm: sampling temperature")
    add("--seed", type=int, default=None, help="llm: seed that is sent along")
    add("--max_completion_tokens", type=int, default=128, help="llm: tokens at which a reply is cut")
    add("--max_cost_usd", type=float, default=None, help="llm: hard stop for all runs into --out together")
    add("--price_usd", type=float, nargs=2, default=None, help="llm: dollars per million tokens, if not the list's")
    add("--max_in_flight", type=int, default=32, help="llm: requests at the same time")
    add("--timeout_s", type=float, default=120.0, help="llm: seconds after which a request counts as lost")
    add("--retry", nargs="*", default=[], help="llm: ask again where an earlier run ended so, such as failed invalid")
    add("--dry_run", action="store_true", help="llm: print requests, tokens and dollars; send nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Judge, and write the table; or say what it would cost."""
    inputs = open_inputs(args.predictions, args.benchmark, args.data, args.questions, args.split, args.condition)
    _refuse_nothing_to_judge(inputs, args.condition, args.predictions)
    if args.judge == "llm":
        _judge_by_model(args, inputs)
        return
    if args.dry_run:
        raise ConfigError("--dry_run is for --judge llm; the other costs nothing")
    if not 0 <= args.threshold <= 1:
        raise ConfigError(f"--threshold is {args.threshold}, expected a cosine from 0 to 1")
    embed = None if args.no_embedding else minilm()
    rows = judge_keyless(inputs.pairs(args.condition), embed, args.threshold)
    _write(args, inputs, rows, judge_name(embed is not None, args.threshold), KEYLESS.name)


def _refuse_nothing_to_judge(inputs: Inputs, condition: str, where: str) -> None:
    """Before a model is loaded or asked: a table of judgements cannot be empty.

    Raises:
        QuestionError: No prediction is `ok` and about one of the questions.
    """
    if next(inputs.pairs(condition), None) is not None:
        return
    statuses = Counter(row["status"] for row in inputs.predictions(condition))
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common()) or "none"
    unknown = f", and the {statuses['ok']} that are ok are about other questions" if statuses["ok"] else ""
    raise QuestionError(
        f"{where}: there is nothing to judge: of the predictions of condition {condition!r} ({counts}) "
        f"only those that are ok are judged{unknown}"
    )


def _judge_by_model(args: argparse.Namespace, inputs: Inputs) -> None:
    settings = JudgeSettings(
        args.model, args.scale, args.prompt, args.temperature, args.seed, args.max_completion_tokens
    )
    judge, price = LanguageModelJudge(settings), _price(args)
    unknown = set(args.retry) - set(ANSWER_STATUSES)
    if unknown:
        raise ConfigError(f"--retry takes any of {ANSWER_STATUSES}, got {sorted(unknown)}")
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    with RequestStore(folder / REQUESTS_NAME) as store:
        if args.retry and not args.dry_run:
            store.forget(args.retry)
        plan = judge.plan(inputs.pairs(args.condition), store, price)
        if args.dry_run:
            print(json.dumps({"judge": judge.name, "scale": settings.judged_on.name, **vars(plan)}, indent=2))
            return
        budget = Budget(args.max_cost_usd, store.totals().spent_usd)
        client = OpenAIChatClient(args.base_url, timeout_s=args.timeout_s)
        with tqdm(total=plan.requests - plan.answered, unit=" answers") as bar:

            def on_answered(answer: ChatAnswer) -> None:
                bar.set_postfix_str(f"${budget.spent_usd:.4f}", refresh=False)
                bar.update()

            pairs = inputs.pairs(args.condition)
            judge.ask(pairs, store, client, price, budget, args.max_in_flight, on_answered)
        rows = judge.rows(inputs.pairs(args.condition), store)
        _write(args, inputs, rows, judge.name, settings.judged_on.name)


def _price(args: argparse.Namespace) -> ModelPrice:
    if args.max_cost_usd is not None and not 0 <= args.max_cost_usd < math.inf:
        raise ConfigError(f"--max_cost_usd is {args.max_cost_usd}, expected a number of dollars from 0 on")
    if args.price_usd is None:
        return price_of(args.model, args.base_url or os.environ.get("OPENAI_BASE_URL"), args.max_cost_usd is not None)
    prompt_usd, completion_usd = args.price_usd
    if not (0 <= prompt_usd < math.inf and 0 <= completion_usd < math.inf):
        raise ConfigError(f"--price_usd takes dollars per million tokens, got {args.price_usd}")
    # cached tokens at the full price: no discount is known, and a cap must not count on one
    return ModelPrice(prompt_usd, prompt_usd, completion_usd)


def _write(
    args: argparse.Namespace, inputs: Inputs, rows: Iterable[Mapping[str, Any]], judge: str, scale: str
) -> None:
    statuses: Counter[str] = Counter()

    def counted() -> Iterable[Mapping[str, Any]]:
        for row in rows:
            statuses[row["status"]] += 1
            yield row

    today = datetime.date.today().isoformat()
    write_judgements(
        args.out,
        {inputs.split: counted()},
        description=f"Judged on {today} by {judge}, on the scale {scale}.",
        judged_on=today,
    )
    print(json.dumps({"judge": judge, "scale": scale, "judged_on": today, "statuses": dict(statuses)}, indent=2))
