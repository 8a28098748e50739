"""Tiny Video-LLMs in folders, and the command line of a short run that trains one on questions about colors."""

import pytest
from fixtures.tiny_video_models import make_model, make_processor

from vidreason.commands import find_system


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Makes the folder of a tiny model of a family, once."""
    made = {}

    def make(family="llava_onevision"):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            processor = make_processor(family)
            processor.save_pretrained(made[family])
            make_model(family, processor.tokenizer).save_pretrained(made[family])
        return made[family]

    return make


@pytest.fixture
def flags(color_world, tiny_folder, tmp_path):
    """Command line of a short run, as a list of flags; keywords replace settings and add others."""

    def make(family="llava_onevision", **changes):
        settings = {
            "task": "video_qa",
            "model_name_or_path": tiny_folder(family),
            "manifest": color_world / "manifest",
            "questions": color_world / "questions",
            "num_frames": 2,
            "max_side_px": 32,
            "output_dir": tmp_path / "run",
            "num_train_epochs": 1,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 0,
            **changes,
        }
        given = []
        for name, value in settings.items():
            values = value if isinstance(value, list) else [value]
            given += [f"--{name}", *map(str, values)]
        return given

    return make


@pytest.fixture
def parse(flags):
    """The three settings of a run, as `train.py` reads them."""

    def make(*args, **changes):
        arguments = flags(*args, **changes)
        return find_system(arguments).parse_arguments(arguments)

    return make


@pytest.fixture
def train(flags):
    """Trains as `train.py` does with the settings of `flags`, and gives the run's result."""

    def run(*args, **changes):
        arguments = flags(*args, **changes)
        system = find_system(arguments)
        return system.run_training(*system.parse_arguments(arguments))

    return run
