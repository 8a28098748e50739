"""The environment of a search on real videos: detection, object-centric training, and its evaluation.

Everything of it lies in one folder: what was found (`detections.sqlite`), the tables of each set of classes, and a
folder for each training with the recipe that it went by, from which `train.py` would train the same again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments, set_seed

from ..annotation.detections import STORE_FILE, DetectArguments, DetectorSettings
from ..annotation.frames import find_policy
from ..annotation.job import AnnotationJob, VideoArguments, read_run
from ..backbones.a2o import WITH_MAPS, split_fields
from ..detection.class_text import check_class_texts
from ..errors import ComputeExceeded, ConfigError
from ..files import content_hash, held_lock, split_files, write_whole
from ..manifests.manifest import load_manifest
from ..training.checkpoints import list_checkpoints, read_json_mapping
from ..training.recipes import read_mapping, read_recipe
from ..training.run import run_training
from ..video.cache import SharedVideos
from .config import DataArguments, ObjectCentricConfig
from .environment import Environment, FinalOutcome, Outcome
from .evaluation import CLASS_PREFIX
from .run import parse_arguments
from .tasks import ObjectCentricTask

logger = logging.getLogger(__name__)

OUTCOME_FILE = "outcome.json"
"""What a training brought, in its folder: it is there when the training ended, and not before."""

ENVIRONMENT_FILE = "environment.json"
"""What decides on all outcomes in the folder."""

_RECIPE_FILE = "recipe.yaml"
_OF_THE_SEARCH = ("detections", "object_classes", "output_dir", "seed", "test_splits", "num_train_epochs", "max_steps")
"""Settings that a proxy training is given by the search, whatever the recipe says."""
_OF_MAPS = ("map_size_px", "detection_tolerance_s", "adapter_learning_rate", "freeze_classifier")
"""Settings that mean nothing to a model that is shown no maps."""
_ADAPTER, _INSIDE = "adapter.", "backbone."
"""How the names of an A2O model's weights begin."""


@dataclass(frozen=True)
class EnvironmentSettings:
    """What a search trains and detects with.

    Args:
        training: Settings of an object-centric run, as in a recipe of `train.py`: the manifest, the splits, the model
            and the training in full. Classes, detections and folders are the search's.
        detector: Which detector, and how it is made.
        frames_per_second: Frames of each video that are searched; None takes every frame.
        proxy_epochs: Epochs of a proxy training; the paper has one.
        description: A sentence or two for the agent about the videos and the actions.

    Raises:
        ConfigError: There is nothing to measure a reward on, or a split is asked to be two.
    """

    training: Mapping[str, Any]
    detector: DetectorSettings
    frames_per_second: float | None = None
    proxy_epochs: float = 1.0
    description: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.proxy_epochs) and self.proxy_epochs > 0):
            raise ConfigError(f"proxy_epochs is {self.proxy_epochs}, expected a number above 0")
        find_policy("all_frames").changed(frames_per_second=self.frames_per_second)  # which refuses a rate of 0
        if self.training.get("packed_clips"):
            raise ConfigError("a search detects in videos: name a manifest in place of packed_clips")
        name = self.training.get("validation_split")
        if not name:
            raise ConfigError("validation_split is not set: the accuracy on it is what a search goes by")
        # the rule that keeps a search honest: what it goes by is neither trained on nor reported at the end
        for setting in ("train_split", "test_splits"):
            others = self.training.get(setting) or ("train" if setting == "train_split" else [])
            if name in ([others] if isinstance(others, str) else others):
                raise ConfigError(f"validation_split is {name!r}, which is in {setting}: a search takes a third one")

    @classmethod
    def from_recipe(cls, recipe: str, detector: DetectorSettings, **settings: Any) -> EnvironmentSettings:
        """The settings of a recipe of `train.py`, whose classes and detections are left to the search.

        Args:
            recipe: Path of the YAML file.
            detector: Which detector, and how it is made.
            settings: The others of this class.
        """
        return cls(read_recipe(recipe), detector, **settings)


class TrainingEnvironment(Environment):
    """Detects what is missing, trains with the maps, and evaluates; see `Environment`.

    A training that was killed is redone, one that ended is read from its folder; detections that were made are kept
    in any case.

    Args:
        folder: Folder of all that the environment makes.
        settings: What it trains and detects with.

    Raises:
        VidreasonError: The manifest, the detector or a setting cannot be used.
    """

    def __init__(self, folder: str | Path, settings: EnvironmentSettings):
        self.folder, self.settings = Path(folder), settings
        training = settings.training
        self._manifest = load_manifest(
            training.get("manifest", ""), training.get("video_root"), bool(training.get("allow_outside_paths", False))
        )
        self._splits = [training.get("train_split") or "train", training["validation_split"]]
        for split in [*self._splits, *self._test_splits]:
            self._manifest.split(split)  # named now, and not after hours of search
        self.class_names = list(self._manifest.class_names)
        self._detector = settings.detector.make_detector()
        self.detector = f"{self._detector.name} {self._detector.model}".strip()
        self.vocabulary = self._detector.vocabulary
        self.description = settings.description
        # decoded once for all trials, where the recipe keeps videos in memory
        self._videos: SharedVideos | None = {} if training.get("cache_videos") else None
        self._check_recipe()
        self._claim_folder()

    def _claim_folder(self) -> None:
        """Outcomes in the folder are those of this environment, or it is refused."""
        path = self.folder / ENVIRONMENT_FILE
        own = json.loads(json.dumps(self.key))  # as it is when it is read again
        try:
            known = read_json_mapping(path) if path.is_file() else None
            self.folder.mkdir(parents=True, exist_ok=True)
            if known is None:
                write_whole(path, json.dumps(own, indent=1, sort_keys=True) + "\n")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be used: {error}") from error
        if known is not None and known != own:
            others = sorted(name for name in {*known, *own} if known.get(name) != own.get(name))
            raise ConfigError(f"{self.folder} has trainings with another {', '.join(others)}: name another folder")

    @property
    def _test_splits(self) -> list[str]:
        splits = self.settings.training.get("test_splits") or []
        return [splits] if isinstance(splits, str) else list(splits)

    @functools.cached_property
    def key(self) -> dict[str, Any]:
        """Everything that decides on outcomes besides classes and seed."""
        settings = self.settings
        manifest = Path(str(settings.training["manifest"]))
        files = [file for split in sorted(self._manifest.splits) for file in split_files(manifest, split)]
        of_recipe = {name: value for name, value in settings.training.items() if name not in _NOT_DECIDING}
        return {
            "manifest": content_hash(files),
            "detector": self._detector.key,
            "frames_per_second": settings.frames_per_second,
            "proxy_epochs": settings.proxy_epochs,
            "training": json.loads(json.dumps(of_recipe, default=str, sort_keys=True)),
        }

    def check_text(self, class_text: str) -> None:
        """Refuse a class text that the detector cannot take.

        Raises:
            DetectionError: It cannot.
        """
        self._detector.check_text(class_text)

    def proxy(self, class_texts: tuple[str, ...], seed: int, trial: int, max_seconds: float | None = None) -> Outcome:
        """Train for an epoch, and evaluate on the validation split; see `Environment.proxy`."""
        started = time.monotonic()
        folder = self.folder / "trials" / f"{trial:03d}-seed{seed}-{_short_hash(class_texts)}"
        with self._alone(folder):
            return self._proxy(class_texts, seed, folder, started, max_seconds)

    def _proxy(
        self, class_texts: tuple[str, ...], seed: int, folder: Path, started: float, max_seconds: float | None
    ) -> Outcome:
        known = _read_outcome(folder, class_texts)
        if known is not None:
            return Outcome(**known)
        shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed: it is redone from its start
        table, made, reused = self._detect(class_texts, self._splits)
        deadline = None if max_seconds is None else started + max_seconds
        recipe = self._write_recipe(
            folder,
            class_texts,
            table,
            seed,
            # nothing of a proxy is kept but its outcome, and no test split is even opened
            num_train_epochs=self.settings.proxy_epochs,
            max_steps=-1,
            test_splits=[],
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            push_to_hub=False,
        )
        model_args, data_args, args = parse_arguments([str(recipe)])
        task = ObjectCentricTask(model_args, data_args, args, self._videos)
        set_seed(seed)  # before the model is built: its random weights belong to the seed
        prepared = task.prepare()
        weights = initial_weights_hash(prepared.model)
        trainer = task.make_trainer(prepared, [_Deadline(deadline)])
        # the clock of an accelerator starts with the training; what came before was the processor's
        on_device = time.monotonic()
        trainer.train()
        metrics = trainer.evaluate(prepared.data.validation, metric_key_prefix="validation")
        now = time.monotonic()
        outcome = Outcome(
            accuracy=metrics.get("validation_top1", math.nan),
            class_accuracy=_class_accuracy(metrics, "validation"),
            seconds=now - started,
            gpu_seconds=0.0 if args.device.type == "cpu" else now - on_device,
            detections_made=made,
            detections_reused=reused,
            initial_weights_sha256=weights,
        )
        _write_outcome(folder, class_texts, asdict(outcome))
        return outcome

    def final(self, class_texts: tuple[str, ...], seed: int) -> FinalOutcome:
        """Train in full, and evaluate on the validation split and the test splits; see `Environment.final`."""
        started = time.monotonic()
        folder = self.folder / "final" / f"seed{seed}-{_short_hash(class_texts)}"
        with self._alone(folder):
            return self._final(class_texts, seed, folder, started)

    def _final(self, class_texts: tuple[str, ...], seed: int, folder: Path, started: float) -> FinalOutcome:
        known = _read_outcome(folder, class_texts)
        if known is not None:
            return FinalOutcome(**{**known, "validation": Outcome(**known["validation"])})
        splits = [*self._splits, *self._test_splits]
        table, made, reused = self._detect(class_texts, splits)
        resumes = bool(list_checkpoints(folder / "model"))
        recipe = self._write_recipe(
            folder, class_texts, table, seed, test_splits=splits[1:], resume_from_checkpoint=resumes or None
        )
        task = _MeasuredTask(*parse_arguments([str(recipe)]), self._videos)
        run_training(task)
        on_validation, *on_tests = (task.measured[split] for split in splits[1:])
        validation = Outcome(
            accuracy=on_validation.get(f"{splits[1]}_top1", math.nan),
            class_accuracy=_class_accuracy(on_validation, splits[1]),
            seconds=time.monotonic() - started,
            gpu_seconds=0.0 if task.args.device.type == "cpu" else time.monotonic() - started,
            detections_made=made,
            detections_reused=reused,
            initial_weights_sha256=task.initial_weights_sha256,
        )
        pairs = list(zip(self._test_splits, on_tests, strict=True))
        outcome = FinalOutcome(
            validation,
            {split: found.get(f"{split}_top1", math.nan) for split, found in pairs},
            {split: _class_accuracy(found, split) for split, found in pairs},
            str(folder / "model"),
        )
        _write_outcome(folder, class_texts, asdict(outcome))
        return outcome

    def _detect(self, class_texts: tuple[str, ...], splits: Sequence[str]) -> tuple[Path | None, int, int]:
        """The table of some classes, and how many detections were made and reused for it; none without classes."""
        if not class_texts:
            return None, 0, 0
        texts = list(check_class_texts(class_texts))
        table = self.folder / "tables" / _short_hash([*texts, "|", *splits])
        training = self.settings.training
        videos = VideoArguments(
            manifest=str(training["manifest"]),
            out=str(table),
            splits=list(splits),
            video_root=training.get("video_root"),
            allow_outside_paths=bool(training.get("allow_outside_paths", False)),
            frames_per_second=self.settings.frames_per_second,
        )
        made_as = {field.name: getattr(self.settings.detector, field.name) for field in fields(DetectorSettings)}
        detecting = DetectArguments(**made_as, classes=texts, store=str(self.folder / STORE_FILE))
        with self._alone(table):
            # whether all is there is the store's to say: a table that is there is written anew from it
            AnnotationJob(videos, detecting).run(progress=False)
            facts = read_run(table)
        totals: Mapping[str, float] = {} if facts is None else facts.totals
        return table, int(totals.get("detections_made", 0)), int(totals.get("detections_reused", 0))

    def _alone(self, folder: Path) -> AbstractContextManager[None]:
        """Keeps searches of other processes, which may share the environment, out of a training's or table's folder.

        They wait: what they would make there is what is being made.
        """
        lock = self.folder / "locks" / f"{folder.parent.name}-{folder.name}.lock"
        return held_lock(lock, f"{folder}: waiting for another process", waits=True)

    def _check_recipe(self) -> None:
        """Name settings that do not exist now, and not after an agent was paid and hours of detection."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            parse_arguments([str(self._write_recipe(path, ("object",), path / "table", 0, test_splits=[]))])

    def _write_recipe(
        self, folder: Path, class_texts: tuple[str, ...], table: Path | None, seed: int, **changes: Any
    ) -> Path:
        """The recipe of one training, in its folder."""
        recipe = dict(self.settings.training)
        if table is None:
            recipe = without_maps(recipe)
        else:
            recipe |= {"detections": str(table), "object_classes": list(class_texts)}
        recipe |= {"output_dir": str(folder / "model"), "seed": seed, "disable_tqdm": True, **changes}
        recipe.setdefault("report_to", "none")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _RECIPE_FILE
        write_whole(path, yaml.safe_dump({name: value for name, value in recipe.items() if value is not None}))
        return path


_NOT_DECIDING = (
    *_OF_THE_SEARCH[:4],
    *("manifest", "video_root", "allow_outside_paths", "cache_videos", "disable_tqdm", "report_to", "run_name"),
    *("logging_steps", "logging_strategy", "save_strategy", "save_steps", "save_total_limit", "license"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
)
"""Settings of a recipe that do not change what a training brings, or that the key has by content."""


class _MeasuredTask(ObjectCentricTask):
    """A run that keeps all metrics of its test splits, and a hash of what it started from."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.measured: dict[str, dict[str, float]] = {}
        self.initial_weights_sha256 = ""

    def prepare(self):
        """As of every run; the weights are hashed before anything changes them."""
        prepared = super().prepare()
        self.initial_weights_sha256 = initial_weights_hash(prepared.model)
        return prepared

    def report(self, metrics: Mapping[str, float], split: str) -> dict[str, float | None]:
        """As of every run; all metrics are kept beside."""
        self.measured[split] = dict(metrics)
        return super().report(metrics, split)


class _Deadline(TrainerCallback):
    """Ends a training that takes too long.

    Args:
        deadline_s: Time of `time.monotonic` after which it ends; None lets it run.
    """

    def __init__(self, deadline_s: float | None):
        self.deadline_s = deadline_s

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Detection may have taken all of the time already."""
        self._check(state)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        self._check(state)

    def _check(self, state: Any) -> None:
        if self.deadline_s is not None and time.monotonic() > self.deadline_s:
            raise ComputeExceeded(f"the time for this training was over after {state.global_step} steps")


def without_maps(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the same training of the classifier alone, which is shown no maps.

    Args:
        recipe: Settings of a run whose model is of type a2o.

    Raises:
        ConfigError: It starts from a checkpoint with an adapter, or does not say which classifier is inside.
    """
    kept = {name: value for name, value in recipe.items() if name not in (*_OF_MAPS, "detections", "object_classes")}
    model_type = kept.pop("model_type", None)
    own, inside = split_fields(read_mapping(kept.get("model_config"), "model_config"))
    if kept.get("method") == "object_adapter":
        kept["method"] = "object_centric"  # an adapter alone is nothing to train without one
    if model_type == WITH_MAPS and not kept.get("model_name_or_path"):
        model_type = inside.pop("model_type", None)
        if model_type is None:
            raise ConfigError("model_type is 'a2o': without maps, say which classifier is inside, such as a2o_vjepa2")
        kept["model_type"] = model_type
    elif model_type is not None and model_type.startswith(f"{WITH_MAPS}_"):
        kept["model_type"] = model_type.removeprefix(f"{WITH_MAPS}_")
    elif model_type not in (None, WITH_MAPS):
        kept["model_type"] = model_type
    if inside or own:
        kept["model_config"] = inside
    return kept


def initial_weights_hash(model: PreTrainedModel) -> str:
    """A hash of the weights that do not depend on the classes of objects: of all but the adapter.

    Args:
        model: The model before training, an A2O model or a classifier alone.

    Returns:
        SHA-256 in hexadecimal digits, the same for a classifier alone and within an A2O model.
    """
    digest = hashlib.sha256()
    state = {name.removeprefix(_INSIDE): value for name, value in model.state_dict().items()}
    for name in sorted(state):
        if not name.startswith(_ADAPTER):
            value = state[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _class_accuracy(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    prefix = f"{split}_{CLASS_PREFIX}"
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _short_hash(texts: Sequence[str]) -> str:
    """A name for a sequence of texts, in which no character of theirs can do harm."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]


def _write_outcome(folder: Path, class_texts: Sequence[str], outcome: Mapping[str, Any]) -> None:
    # last of all, and whole: a folder with it is of a training that ended
    write_whole(folder / OUTCOME_FILE, json.dumps({"class_texts": list(class_texts), "outcome": outcome}, indent=1))


def _read_outcome(folder: Path, class_texts: Sequence[str]) -> dict[str, Any] | None:
    """What a training that ended in this folder brought; None where none did."""
    path = folder / OUTCOME_FILE
    if not path.is_file():
        return None
    try:
        kept = read_json_mapping(path)
        return dict(kept["outcome"]) if kept["class_texts"] == list(class_texts) else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not what a training leaves: {error}; remove it to train again") from error


__all__ = ["DataArguments", "EnvironmentSettings", "ObjectCentricConfig", "TrainingEnvironment", "without_maps"]
