"""One run of a study: data, training, and the record of it."""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..files import write_whole
from ..video.cache import SharedVideos
from .design import RunPlan, Study
from .places import make_places
from .plugins import DataPlaces
from .records import new_record


class DecodedVideos:
    """What the runs of one process have decoded. Only videos of the latest run's data are kept, for want of memory."""

    def __init__(self) -> None:
        self._data: Any = None
        self._videos: SharedVideos = {}

    def of(self, run: RunPlan) -> SharedVideos:
        """The decoded videos of a run's data, which the run adds to."""
        data = (run.data, run.seed if run.data_kind.is_drawn else None)
        if self._data != data:
            self._data, self._videos = data, {}
        return self._videos


def check_settings(study: Study) -> None:
    """Check the names of all settings before the first of many runs is made.

    Raises:
        ConfigError: A setting does not exist; the message names it and the run.
    """
    known = set(study.system.known_settings())
    for run in study.runs():
        unknown = sorted(set(run.recipe) - known)
        if unknown:
            raise ConfigError(f"{study.path}: run {run.name}: unknown settings {unknown}")


def make_run(run: RunPlan, work: Path, num_proc: int, keep_model: bool, videos: DecodedVideos) -> dict[str, Any]:
    """Make the data that a run lacks, train, evaluate, and return the record.

    Under `accelerate launch` every process calls this, and each is given the record.

    Args:
        run: The run.
        work: Folder for data, models and logs.
        num_proc: Number of processes that render a world.
        keep_model: Whether the trained model stays in the work folder.
        videos: What earlier runs of this process have decoded.

    Raises:
        VidreasonError: Settings, data or training have something wrong.
    """
    recipe = write_recipe(run_folder(run, work), run, make_places(run, work, num_proc))
    facts = run.system.train(recipe, {}, keep_model, videos.of(run))
    return new_record(run, facts.pop("metrics"), **facts)


def run_folder(run: RunPlan, work: Path) -> Path:
    """Where a run keeps its recipe, its log, and its model if that is wanted."""
    return work / run.study / run.name


def write_recipe(folder: Path, run: RunPlan, places: DataPlaces) -> Path:
    """Write the recipe of a single run, with which `train.py` makes it again by hand."""
    settings = {**run.recipe, **places.settings, "output_dir": str(folder / "model"), "seed": run.seed}
    if places.guidance is None:
        settings.pop("guidance", None)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    # several processes of one run write the same at once
    write_whole(path, yaml.safe_dump({**settings, "disable_tqdm": True}, sort_keys=False))
    return path


@contextlib.contextmanager
def logged(run: RunPlan, work: Path) -> Iterator[Path]:
    """Send what a run prints and logs to a file of its own, an error that ends it included."""
    rank = os.environ.get("RANK", "0")
    path = run_folder(run, work) / ("log.txt" if rank == "0" else f"log_{rank}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        others, root.handlers = root.handlers, [handler]
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield path
        except BaseException:
            traceback.print_exc(file=file)
            raise
        finally:
            root.handlers = others
