"""The data sets of an object-centric run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import BaseVideoProcessor, PreTrainedModel

from ..clips.transforms import evaluation_transform, input_size, training_transform
from ..publishing.cards import ObjectFacts
from ..training.clip_data import ClipMaker, Clips, Videos, fill_caches
from ..training.task import RunData
from .config import DataArguments, ObjectCentricConfig


@dataclass(frozen=True)
class ObjectData(RunData):
    """The data sets of a run, and what its card says of them.

    Args:
        train: Clips to train on.
        validation: What is evaluated on while training; None for nothing.
        tests: Split -> what is evaluated on after training.
        class_names: Names of the classes in the order of the label ids.
        source: Name and revision of the data set.
        split_sizes: Split -> number of clips.
        objects: Which maps the model is shown; None for pixels alone.
    """

    train: Clips
    validation: Clips | None
    tests: Mapping[str, Clips]
    class_names: list[str]
    source: str
    split_sizes: Mapping[str, int]
    objects: ObjectFacts | None

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Split -> video id -> reason, of the videos of training and tests that this process could not read."""
        return {clips.split: clips.unreadable for clips in (self.train, *self.tests.values()) if clips.unreadable}


def build_object_data(
    data_args: DataArguments,
    args: ObjectCentricConfig,
    videos: Videos,
    maker: ClipMaker,
    model: PreTrainedModel,
    processor: BaseVideoProcessor,
    objects: ObjectFacts | None,
) -> ObjectData:
    """Make the data set of every split that the run uses.

    Args:
        data_args: Settings of the data.
        args: Settings of the training.
        videos: The manifest or the store that clips come from.
        maker: Makes clips of these videos, with the maps of the run.
        model: The model.
        processor: Its video processor, whose input size and statistics clips get.
        objects: Which maps the clips carry; None for none.

    Raises:
        VidreasonError: Something that is asked for is not there, or does not fit.
    """
    data_args.check_evaluation(args)
    grid_of: Any = model.token_grid  # which `torch.nn.Module` types as a submodule
    token_grid: tuple[int, int] = grid_of(*input_size(processor))
    train = maker.training(training_transform(processor, token_grid, data_args.augmentation), None)
    view = evaluation_transform(processor, token_grid)
    name = data_args.validation_split
    validation = maker.evaluation(name, view, None) if name else None
    tests = {split: maker.evaluation(split, view, None) for split in data_args.test_splits}
    sets = [train, *([] if validation is None else [validation]), *tests.values()]
    if data_args.cache_videos:
        fill_caches(sets, progress=not args.disable_tqdm)
    sizes = {one.split: len(one) for one in sets}
    return ObjectData(train, validation, tests, videos.class_names, videos.source, sizes, objects)
