"""`python -m vidreason.videoqa answer`: questions are answered by a model at a server or in this process."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..llm.cost import Budget, given_or_listed_price
from ..llm.store import RequestStore
from ..manifests.manifest import load_manifest
from .answering.asking import CONDITIONS, VIDEO, Asking, AskingSettings, VideoAnswerer
from .answering.journal import PredictionJournal
from .answering.run import STATE_FOLDER, AnsweringRun, answer_questions
from .answering.server import ServerAnswerer, ServerSettings, plan_answers
from .conversation import PROMPT_NAMES, load_answer_prompt
from .frames import SAMPLINGS, FrameSampling
from .tables import load_questions

RETRIED = ("failed", "invalid", "refused", "truncated")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command `answer`; what it parses has `run`, a function that does the work.

    Args:
        subparsers: What `ArgumentParser.add_subparsers` gave.
    """
    parser = subparsers.add_parser("answer", help="answer questions by a Video-LLM", description=__doc__)
    add = parser.add_argument
    add("--questions", required=True, help="table of questions: a folder, or the id of a data set on the Hub")
    add("--manifest", type=Path, help="manifest of the videos; not needed with --condition blind")
    add("--video_root", type=Path, help="folder of the videos, if it is not where the manifest says")
    add("--out", type=Path, required=True, help="folder of the predictions; a run that was broken off there goes on")
    add("--model", required=True, help="folder or Hub id of a local model; with --base_url, its name at the server")
    add("--base_url", help="OpenAI-compatible server, such as http://localhost:8000/v1")
    add("--splits", nargs="+", default=[], help="splits of the questions; all by default")
    add("--max_questions", type=int, help="so many questions of each split, the first ones")
    add("--condition", default=VIDEO, choices=CONDITIONS, help="blind shows no video")
    add("--sampling", default="step", choices=list(SAMPLINGS), help="frames as a paper evaluates")
    add("--num_frames", type=int, help="frames of each question, if not the sampling's")
    add("--max_side_px", type=int, help="longer side of the frames, if not the sampling's; 0 keeps their size")
    add("--prompt", default=PROMPT_NAMES[0], help=f"{', '.join(PROMPT_NAMES)}, or a file of your own")
    add("--name_times", action="store_true", help="name the times of the frames in the prompt")
    add("--max_completion_tokens", type=int, default=64, help="tokens at which an answer is cut")
    add("--temperature", type=float, default=0.0, help="temperature of the sampling; 0 is greedy")
    add("--seed", type=int, help="seed of the sampling")
    add("--retry", nargs="+", default=[], choices=RETRIED, help="ask again where an earlier run ended so")
    add("--max_useless", type=int, default=50, help="stop when so many questions have no answer; 0 never stops")
    add("--dry_run", action="store_true", help="print questions, tokens and dollars; ask nothing")
    _add_local(parser.add_argument_group("a local model"))
    _add_server(parser.add_argument_group("a server"))
    parser.set_defaults(run=run)
    return parser


def _add_local(group: Any) -> None:
    add = group.add_argument
    add("--revision", help="branch, tag or commit of a model on the Hub")
    add("--batch_size", type=int, default=4, help="questions that are answered together")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add("--device", help="such as cuda or cpu; a GPU where there is one")


def _add_server(group: Any) -> None:
    add = group.add_argument
    add("--max_in_flight", type=int, default=16, help="requests at the same time")
    add("--timeout_s", type=float, default=120.0, help="seconds after which a request counts as lost")
    add("--max_attempts", type=int, default=4, help="attempts at a request that does not get through")
    add("--max_cost_usd", type=float, help="hard stop for all runs into --out together, with what is in flight")
    add("--price_usd", type=float, nargs=2, default=[], help="dollars per million prompt and completion tokens")
    add("--write_partial", action="store_true", help="write the table also when the money ends")
    add("--jpeg_quality", type=int, default=90, help="quality of the pictures, 1 to 95")
    add("--image_detail", default="auto", help="detail of the OpenAI API: auto, low or high")
    add("--extra_body", default="{}", help="JSON object of further fields that the server knows")


def run(args: argparse.Namespace) -> None:
    """Answer, and print the record of the run as JSON; with --dry_run, what it would cost.

    Raises:
        VidreasonError: A setting, the questions, the manifest or the model cannot be used, or the run cannot go on.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each request
    settings = _asking_settings(args)
    if args.max_cost_usd is not None and not 0 <= args.max_cost_usd < math.inf:  # not "< 0", which lets NaN pass
        raise ConfigError(f"--max_cost_usd is {args.max_cost_usd}, expected a number of dollars from 0 on")
    if args.max_questions is not None and args.max_questions < 1:
        raise ConfigError(f"--max_questions is {args.max_questions}, expected at least 1")
    questions = load_questions(args.questions)
    manifest = load_manifest(args.manifest, args.video_root) if args.manifest and settings.shows_video else None
    state = args.out / STATE_FOLDER
    with contextlib.ExitStack() as opened_files:
        journal = opened_files.enter_context(PredictionJournal(state / "predictions.sqlite"))
        answerer: VideoAnswerer
        if args.base_url:
            answerer = _server(args, opened_files.enter_context(RequestStore(state / "requests.sqlite")))
        else:
            answerer = _local(args, settings)
        asking = Asking(questions, args.splits, manifest, settings, answerer.facts(), args.max_questions)
        opened = AnsweringRun(args.out, asking, answerer, journal, args.max_useless)
        shown = _plan(opened) if args.dry_run else answer_questions(opened, args.retry, args.write_partial)
    print(json.dumps(shown, indent=2, ensure_ascii=False))


def _asking_settings(args: argparse.Namespace) -> AskingSettings:
    preset = SAMPLINGS[args.sampling]
    side_px = preset.max_side_px if args.max_side_px is None else args.max_side_px or None
    num_frames = preset.num_frames if args.num_frames is None else args.num_frames
    sampling = FrameSampling(num_frames, side_px)
    return AskingSettings(args.condition, sampling, load_answer_prompt(args.prompt), args.name_times)


def _server(args: argparse.Namespace, store: RequestStore) -> ServerAnswerer:
    try:
        extra_body = json.loads(args.extra_body)
        if not isinstance(extra_body, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--extra_body must be a JSON object, got {args.extra_body[:200]!r}: {error}") from error
    names = ("model", "base_url", "max_completion_tokens", "temperature", "seed", "jpeg_quality", "image_detail")
    more = ("max_in_flight", "timeout_s", "max_attempts")
    settings = ServerSettings(**{name: getattr(args, name) for name in (*names, *more)}, extra_body=extra_body)
    price = given_or_listed_price(args.price_usd, args.model, args.base_url, args.max_cost_usd is not None)
    # with what earlier runs spent or left in flight: the cap is on all runs into a folder together
    return ServerAnswerer(settings, store, price, Budget(args.max_cost_usd, store.totals().spent_usd))


def _local(args: argparse.Namespace, settings: AskingSettings) -> VideoAnswerer:
    from .answering.local import LocalAnswerer, LocalSettings  # late: it loads torch and transformers

    names = ("model", "revision", "max_completion_tokens", "temperature", "batch_size", "dtype", "device")
    local = LocalSettings(**{name: getattr(args, name) for name in names}, seed=args.seed or 0)
    return LocalAnswerer(local, settings.sampling.num_frames if settings.shows_video else 0)


def _plan(opened: AnsweringRun) -> dict[str, Any]:
    if isinstance(opened.answerer, ServerAnswerer):
        questions = (question for question, _ in opened.open_questions())
        plan = plan_answers(opened.answerer, opened.asking, questions)
        return {
            "questions": len(opened.asking),
            "to_ask": plan.questions,
            "unknown_videos": plan.unknown_videos,
            "prompt_tokens": plan.prompt_tokens,
            "at_most_usd": plan.max_cost_usd,
        }
    return {"questions": len(opened.asking), "to_ask": sum(1 for _ in opened.open_questions())}
