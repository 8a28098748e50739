"""Make guidance for videos: by asking a vision-language model, from movement, or from ground truth.

    python datasets_scripts/annotate.py --manifest data/manifest --annotator motion --out data/guidance_motion
    python datasets_scripts/annotate.py --manifest data/ucf101 --annotator llm --prompt ucf --policy ucf \
        --dataset_name UCF101 --out data/guidance_llm --max_cost_usd 5 --dry_run
    python datasets_scripts/annotate.py --manifest data/world --annotator truth --truth data/world/truth \
        --misplaced_cells 0.1 --out data/guidance_noisy

The key of `llm` is read from the environment variable OPENAI_API_KEY. A run may be stopped at any moment; the same
command goes on with it. With `--tasks` it runs in parts, on this machine, Slurm or Ray.
"""

import sys
from collections.abc import Mapping

from vidreason.annotation.grid.plan import make_plan, plan_table
from vidreason.annotation.grid.run import LLMArguments, LLMRun
from vidreason.annotation.job import AnnotationArguments, AnnotationJob, Producer, read_run
from vidreason.annotation.outcome import read_outcome
from vidreason.annotation.producers import PRODUCERS, ProducerChoice, find_producer
from vidreason.annotation.scale import ScaleArguments, annotate_in_parts
from vidreason.command_line import run_command
from vidreason.errors import ConfigError, GuidanceError


def annotate(choice: ProducerChoice, args: AnnotationArguments, scale: ScaleArguments, *settings: Producer) -> None:
    """Annotate, or only say what it would cost.

    Args:
        choice: Which producer annotates.
        args: What to annotate, and where to.
        scale: In how many parts.
        settings: Settings of every producer, those of the chosen one among them.

    Raises:
        VidreasonError: the manifest, the truth or a setting is not usable, the run cannot go on, or no row of it can
            be used.
    """
    chosen = find_producer(choice.annotator)
    (producer,) = (one for one in settings if type(one) is chosen)
    dry_run = any(one.dry_run for one in settings if isinstance(one, LLMArguments))
    job = AnnotationJob(args, producer)
    if dry_run and not isinstance(producer, LLMArguments):
        raise ConfigError("--dry_run is for --annotator llm; the others cost nothing")
    if isinstance(producer, LLMArguments) and (dry_run or scale.tasks > 1):
        with producer.open(job.task()) as run:
            print_plan(run)
    if dry_run:
        print("dry run: nothing was sent")
        return
    opened: list[LLMRun] = []
    if scale.tasks == 1:
        job.run(announce=lambda run: (print_plan(run), opened.append(run)))
    else:
        annotate_in_parts(job, scale)
        if scale.executor == "slurm":
            print(f"submitted; the last job of it writes the guidance to {args.out}")
            return
    facts = read_run(args.out)
    if isinstance(producer, LLMArguments) and facts is not None:
        print_totals(facts.totals)
    outcome = read_outcome(args.out, args.splits, opened[0].annotator.newest_problem if opened else "")
    if not outcome.is_usable:
        # not an LLMError: to go on with the same command would ask nothing again
        again = " --retry with these statuses asks again." if isinstance(producer, LLMArguments) else ""
        raise GuidanceError(
            f"no row in {args.out} can be used ({outcome.counts or 'there are none'}).{again} "
            f"The newest reason: {outcome.reason or 'no video was chosen'}"
        )
    print(f"guidance for {', '.join(args.splits)} is in {args.out}")
    print(outcome.describe())


def print_plan(run: LLMRun) -> None:
    """What the run asks for, what it may cost, and what an earlier run has paid for."""
    print(plan_table(make_plan(run.annotator, run.price, run.args.batch)))
    earlier = run.store.totals()
    if earlier.attempts:
        print(f"earlier runs into this folder: {earlier.requests:,} requests, {earlier.spent_usd:.4f} USD")


def print_totals(totals: Mapping[str, float]) -> None:
    """What a run over a model was billed, beside what was estimated."""
    print(
        f"{totals['requests']:,} requests in {totals['attempts']:,} attempts; {totals['prompt_tokens']:,} prompt "
        f"tokens (estimated {totals['estimated_prompt_tokens']:,}), {totals['completion_tokens']:,} answer tokens; "
        f"{totals['cost_usd']:.4f} USD"
    )
    if totals["unsettled_usd"]:
        print(f"up to {totals['unsettled_usd']:.4f} USD more for requests whose answer never arrived")
    for name, count in totals.items():
        if name.startswith("note: "):
            print(f"overlooked in answers: {name.removeprefix('note: ')} ({count:,} times)")


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    flags = (ProducerChoice, AnnotationArguments, ScaleArguments, *PRODUCERS.values())
    return run_command(annotate, *flags, resumable=True)


if __name__ == "__main__":
    sys.exit(main())
