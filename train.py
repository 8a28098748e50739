"""Train a video classifier with reasoning supervision.

    accelerate launch train.py recipes/demo_rs.yaml
    accelerate launch train.py recipes/demo_rs.yaml --seed 1 --output_dir outputs/rs_seed1
    python train.py --manifest data/manifest --guidance data/guidance --output_dir outputs/run --num_train_epochs 20

`python train.py --help` lists every setting: those of `transformers.TrainingArguments`, of reasoning supervision, of
the data and of the model.
"""

import logging
import sys

from vidreason.errors import VidreasonError
from vidreason.rs.run import parse_arguments, run_training


def main() -> int:
    """Run; a mistake in recipe or data ends with one line that names it."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        result = run_training(*parse_arguments(sys.argv[1:]))
    except VidreasonError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for split, metrics in result.metrics.items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
        print(f"{split}: {shown}")
    for split, videos in result.skipped.items():
        print(f"{split}: {len(videos)} videos could not be read: {', '.join(videos)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
