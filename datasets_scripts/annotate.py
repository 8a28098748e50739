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

from vidreason.annotation.annotation_run import read_run
from vidreason.annotation.grid.plan import make_plan, plan_table
from vidreason.annotation.grid.run import LLMArguments, LLMRun
from vidreason.annotation.job import AnnotationArguments, AnnotationJob, TruthArguments
from vidreason.annotation.scale_arguments import ScaleArguments
from vidreason.command_line import run_command
from vidreason.errors import ConfigError


def annotate(args: AnnotationArguments, llm: LLMArguments, truth: TruthArguments, scale: ScaleArguments) -> None:
    """Annotate, or only say what it would cost.

    Raises:
        VidreasonError: the manifest, the truth or a setting is not usable, or the run cannot go on.
    """
    job = AnnotationJob(args, llm, truth)
    if llm.dry_run and args.annotator != "llm":
        raise ConfigError("--dry_run is for --annotator llm; the others cost nothing")
    if args.annotator == "llm" and (llm.dry_run or scale.tasks > 1):
        with job.open_llm(args.out) as run:
            print_plan(run)
    if llm.dry_run:
        print("dry run: nothing was sent")
        return
    if scale.tasks == 1:
        job.run(announce=print_plan)
    else:
        run_in_parts(job, scale)
        if scale.executor == "slurm":
            print(f"submitted; the last job of it writes the guidance to {args.out}")
            return
    run = read_run(args.out)
    if args.annotator == "llm" and run is not None:
        print_totals(run.totals)
    print(f"guidance for {', '.join(args.splits)} is in {args.out}")


def print_plan(run: LLMRun) -> None:
    """What the run asks for, what it may cost, and what an earlier run has paid for."""
    print(plan_table(make_plan(run.annotator, run.price, run.args.batch)))
    earlier = run.store.totals()
    if earlier.attempts:
        print(f"earlier runs into this folder: {earlier.requests:,} requests, {earlier.spent_usd:.4f} USD")


def run_in_parts(job: AnnotationJob, scale: ScaleArguments) -> None:
    """Run on datatrove's executors."""
    try:
        from vidreason.annotation.scale import annotate_in_parts
    except ImportError as error:
        raise ConfigError(f'--tasks wants datatrove: pip install "vidreason[scale]" ({error})') from error
    annotate_in_parts(job, scale)


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
    return run_command(annotate, AnnotationArguments, LLMArguments, TruthArguments, ScaleArguments, resumable=True)


if __name__ == "__main__":
    sys.exit(main())
