"""Train a video classifier with reasoning supervision.

    accelerate launch train.py recipes/demo_rs.yaml
    accelerate launch train.py recipes/demo_rs.yaml --seed 1 --output_dir outputs/rs_seed1
    python train.py --manifest data/manifest --guidance data/guidance --output_dir outputs/run --num_train_epochs 20

`python train.py --help` lists every setting: those of `transformers.TrainingArguments`, of reasoning supervision, of
the data and of the model. Installed without a clone, this is `vidreason-train`, or `accelerate launch -m
vidreason.commands` on several processes.
"""

import sys

from vidreason.commands import train

if __name__ == "__main__":
    sys.exit(train())
