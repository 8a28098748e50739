"""The data sets of a run with reasoning supervision, and what its card says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from datasets import Dataset
from transformers import BaseVideoProcessor, PreTrainedModel

from ..annotation.job import read_run
from ..annotation.truth import NoiseModel
from ..clips.transforms import ClipTransform, evaluation_transform, input_size, training_transform
from ..errors import ConfigError
from ..publishing.cards import GuidanceFacts, ObjectFacts
from ..segmentation.windows import VideoWindows
from ..training.clip_data import Clips, Guidance, GuidanceTables, Videos, fill_caches
from ..training.task import RunData
from .config import DataArguments, RSConfig
from .evidence import EvidenceZoom

ClipsT = TypeVar("ClipsT", bound=Clips | VideoWindows)


@dataclass(frozen=True)
class GuidedData(RunData):
    """The data sets of a run, and what its card says of them.

    Args:
        train: Clips or windows to train on.
        validation: What is evaluated on while training; None for nothing.
        tests: Split -> what is evaluated on after training.
        class_names: Names of the classes in the order of the label ids.
        source: Name and revision of the data set.
        split_sizes: Split -> clips in it, or videos where these are cut into windows.
        guidance: Where the training guidance came from; None where none is used.
        class_weights: A factor for the frames of each label; None weighs all alike.
        objects: Which maps of objects the model is shown beside the pixels; None for none.
    """

    train: Clips | VideoWindows
    validation: Clips | VideoWindows | None
    tests: Mapping[str, Clips | VideoWindows]
    class_names: list[str]
    source: str
    split_sizes: Mapping[str, int]
    guidance: GuidanceFacts | None
    class_weights: list[float] | None = None
    objects: ObjectFacts | None = None

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Split -> video id -> reason, of the videos of training and tests that this process could not read."""
        return {clips.split: clips.unreadable for clips in (self.train, *self.tests.values()) if clips.unreadable}


def build_guided_data(
    data_args: DataArguments,
    args: RSConfig,
    videos: Videos,
    class_names: list[str],
    model: PreTrainedModel,
    processor: BaseVideoProcessor,
    make_training: Callable[[ClipTransform, Guidance | None], ClipsT],
    make_evaluation: Callable[[str, ClipTransform, Guidance | None], ClipsT],
    size_of: Callable[[ClipsT], int],
    objects: ObjectFacts | None = None,
) -> GuidedData:
    """Open the guidance and make the data set of every split that the run uses.

    Args:
        data_args: Settings of the data.
        args: Settings of the training.
        videos: The manifest or the store that clips come from.
        class_names: Names of the classes in the order of the label ids.
        model: The model, whose token grid guidance is given for.
        processor: Its video processor, whose input size and statistics clips get.
        make_training: Makes the training set.
        make_evaluation: Makes the set of a split to evaluate on.
        size_of: The size of a set that its card states.
        objects: Which maps of objects the clips carry; None for none.

    Raises:
        VidreasonError: Something that is asked for is not there, or does not fit.
    """
    data_args.check_evaluation(args)
    tables = GuidanceTables(data_args, videos)
    guidance = tables.training()
    zoom = EvidenceZoom(data_args.evidence_zoom) if data_args.evidence_zoom != 0 else None
    is_used = args.needs_guidance or zoom is not None
    if is_used and guidance is None:
        raise ConfigError(
            "spatial_weight or an evidence view is above 0 but no guidance is given: name a table, or set them to 0"
        )
    grid_of: Any = model.token_grid  # which `torch.nn.Module` types as a submodule
    token_grid: tuple[int, int] = grid_of(*input_size(processor))
    resampling = data_args.guidance_resampling
    train = make_training(
        training_transform(processor, token_grid, data_args.augmentation, resampling, zoom), guidance
    )

    def evaluation_set(split: str) -> ClipsT:
        found = tables.evaluation(split)
        return make_evaluation(split, evaluation_transform(processor, token_grid, resampling), found)

    validation = evaluation_set(data_args.validation_split) if data_args.validation_split else None
    tests = {split: evaluation_set(split) for split in data_args.test_splits}
    sets = [train, *([] if validation is None else [validation]), *tests.values()]
    if data_args.cache_videos:
        fill_caches(sets, progress=not args.disable_tqdm)
    rows = tables.training_rows(guidance) if is_used else None
    return GuidedData(
        train,
        validation,
        tests,
        class_names=class_names,
        source=videos.source,
        split_sizes={one.split: size_of(one) for one in sets},
        guidance=None if rows is None or guidance is None else guidance_facts(*rows, guidance, data_args.guidance),
        objects=objects,
    )


def guidance_facts(rows: Dataset, name: str, guidance: Guidance, table: str | None = None) -> GuidanceFacts:
    """Where the guidance of a run came from and how far it reaches.

    Args:
        rows: The rows of its training split.
        name: Name of the table.
        guidance: The same, joined to the videos.
        table: Folder or Hub id of the table; None for what packed clips carry.
    """
    producers = sorted(set(zip(rows["producer"], rows["model"], strict=True)))
    statuses = list(rows["status"])
    coverage = {f"frames with status {status}": statuses.count(status) for status in sorted(set(statuses))}
    coverage["videos with guidance"] = len(guidance.video_ids)
    is_truth = producers[0][0] == "truth"
    return GuidanceFacts(
        producer=", ".join(f"{producer} ({model})" if model else producer for producer, model in producers),
        source=name,
        coverage=coverage,
        noise=asdict(_noise(producers[0][1], table)) if is_truth else {},
    )


def _noise(producer_model: str, table: str | None) -> NoiseModel:
    """The mistakes that were put on a table of the producer `truth`.

    Args:
        producer_model: What the table's column `model` says.
        table: Folder or Hub id of the table; None for what packed clips carry.
    """
    run = read_run(table) if table is not None else None
    names = [field.name for field in fields(NoiseModel)]
    if run is not None and set(names) <= set(run.settings):
        return NoiseModel(**{name: run.settings[name] for name in names})
    # packed clips, tables from the Hub, and tables of 0.1.0 have no record but this text
    return NoiseModel.from_description(producer_model)
