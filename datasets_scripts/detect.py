"""Detect objects of some classes in the videos of a manifest: a table of boxes with scores.

    python datasets_scripts/detect.py --manifest data/manifest --classes person "sports ball" --detector coco \
        --out data/detections --frames_per_second 5
    python datasets_scripts/detect.py --manifest data/world --classes person box --detector truth \
        --truth data/world/truth --misses 0.1 --jitter 0.05 --out data/detections
    python datasets_scripts/detect.py --manifest data/manifest --classes person cup --store data/found.sqlite \
        --out data/trial_2

A run may be stopped at any moment; the same command goes on with it. What is found is kept in `--store`, so that
another table with two other classes looks for these two alone. With `--tasks` it runs in parts, on this machine, Slurm
or Ray.
"""

import sys

from vidreason.annotation.detections import DetectArguments
from vidreason.annotation.job import AnnotationJob, VideoArguments, read_run
from vidreason.annotation.outcome import read_outcome
from vidreason.annotation.scale import ScaleArguments, annotate_in_parts
from vidreason.command_line import run_command
from vidreason.errors import DetectionError


def detect(detections: DetectArguments, args: VideoArguments, scale: ScaleArguments) -> None:
    """Detect, and print what was made, reused and not found.

    Raises:
        VidreasonError: The manifest, the detector or a class is not usable, or no row of the table can be used.
    """
    job = AnnotationJob(args, detections)
    if scale.tasks == 1:
        job.run()
    else:
        annotate_in_parts(job, scale)
        if scale.executor == "slurm":
            print(f"submitted; the last job of it writes the detections to {args.out}")
            return
    outcome = read_outcome(args.out, args.splits)
    if not outcome.is_usable:
        raise DetectionError(
            f"no row in {args.out} can be used ({outcome.counts or 'there are none'}). The newest reason: "
            f"{outcome.reason or 'no video was chosen'}"
        )
    facts = read_run(args.out)
    totals = facts.totals if facts is not None else {}
    print(f"detections for {', '.join(args.splits)} are in {args.out}")
    print(outcome.describe())
    print(
        f"{totals.get('detections_made', 0):,.0f} detections made, {totals.get('detections_reused', 0):,.0f} reused, "
        f"{totals.get('detections_failed', 0):,.0f} failed, in {totals.get('frames', 0):,.0f} frames of "
        f"{totals.get('videos', 0):,.0f} videos and {totals.get('seconds', 0):.1f} s"
    )


def main() -> int:
    """Run the command line; a mistake ends with one line that names it."""
    return run_command(detect, DetectArguments, VideoArguments, ScaleArguments, resumable=True)


if __name__ == "__main__":
    sys.exit(main())
