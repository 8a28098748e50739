"""Model cards from a template and the facts of a run. A fact that is not known is stated as not recorded.

The templates lie in the folder `templates` beside it. This module imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib.resources
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import VidreasonError
from ..reporting.recipe_facts import RecipeFacts

NOT_RECORDED = "not recorded"


class _Metric(NamedTuple):
    """How a card shows a result.

    Args:
        hub_name: Name of the metric on the Hub.
        arguments: What it was computed with; None for nothing.
        heading: Heading of its column.
        is_share: Whether it is a fraction, shown in percent.
    """

    hub_name: str
    arguments: dict[str, Any] | None
    heading: str
    is_share: bool = False


_METRICS: dict[str, _Metric] = {
    "top1": _Metric("accuracy", None, "Top-1 accuracy (%)", True),
    "top5": _Metric("topk_accuracy", {"k": 5}, "Top-5 accuracy (%)", True),
    "loss": _Metric("loss", None, "Clip loss (nats)"),
    "mof": _Metric("mof", None, "Mean over frames (%)", True),
    "edit": _Metric("edit_score", None, "Edit score (%)", True),
    "f1_10": _Metric("segment_f1", {"threshold": 10}, "F1@10 (%)", True),
    "f1_25": _Metric("segment_f1", {"threshold": 25}, "F1@25 (%)", True),
    "f1_50": _Metric("segment_f1", {"threshold": 50}, "F1@50 (%)", True),
    "oversegmentation": _Metric("oversegmentation", None, "Predicted segments per true one"),
    "loss_temporal": _Metric("temporal_consistency", None, "Temporal consistency (nats)"),
    "loss_smoothing": _Metric("smoothing", None, "Smoothing (truncated squared steps)"),
    "attention_in_region": _Metric("attention_in_region", None, "Attention in the guided region (%)", True),
    "pointing_accuracy": _Metric("pointing", None, "Pointing accuracy (%)", True),
}

# what predicted segments decide, before scores are averaged over neighbouring frames
_METRICS |= {
    f"{name}_unaveraged": _Metric(
        hub_name, {**(arguments or {}), "averaged_scores": False}, f"{heading}, scores not averaged", is_share
    )
    for name, (hub_name, arguments, heading, is_share) in _METRICS.items()
    if name in ("mof", "edit", "f1_10", "f1_25", "f1_50", "oversegmentation")
}

# what the first reading of each clip says where clips are read twice
_METRICS |= {
    f"{name}_one_look": _Metric(hub_name, {**(arguments or {}), "looks": 1}, f"{heading}, one look", is_share)
    for name, (hub_name, arguments, heading, is_share) in _METRICS.items()
    if name in ("top1", "top5", "loss")
}

_RS_PAPER = """@misc{reasoning_supervision,
  title={Reasoning Supervision for Vision Transformers in Human Activity Recognition},
  note={Under double-blind review}
}"""
_A2O_PAPER = """@misc{a2o,
  title={A2O: Agentic Action-to-Object Feature Learning for Video Action Recognition},
  author={Taiki Sekii and Fumiaki Sato}
}"""

# task of a run -> (its name on the Hub, its name in words)
_TASKS = {
    "classification": ("video-classification", "Video classification"),
    "segmentation": ("temporal-action-segmentation", "Temporal action segmentation"),
}


@dataclass(frozen=True)
class GuidanceFacts:
    """Where the guidance of a run came from.

    Args:
        producer: Name of the producer as in the guidance table, such as "motion".
        source: The guidance data set and its revision; None if not recorded.
        coverage: Counts that tell how far it reaches, such as frames by status or videos with guidance.
        noise: Parameters of the noise that was put on it, by name; empty for none.
    """

    producer: str
    source: str | None = None
    coverage: Mapping[str, int] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectFacts:
    """The maps of objects that a model is shown beside the pixels.

    Args:
        class_texts: The classes, in the order of the maps' channels.
        detector: Kind and weights of the detector, such as "coco ssd_mobilenet_v2".
        revision: Revision of its weights; empty if not recorded.
        threshold: Least score that a detection had to have.
        source: The table of detections; None if not recorded.
        coverage: Counts that tell how far it reaches, such as rows by status or videos with detections.
    """

    class_texts: tuple[str, ...]
    detector: str
    revision: str = ""
    threshold: float | None = None
    source: str | None = None
    coverage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SupervisionFacts:
    """The reasoning losses of a run, under the names of `vidreason.rs.config`.

    Args:
        spatial_weight: Weight of spatial alignment, the paper's lambda_s.
        temporal_weight: Weight of temporal consistency, the paper's lambda_t.
        temperature: Temperature of the three temporal views' distributions, the paper's tau.
        supervised_layers: Indices of the layers whose attention is supervised.
        weight_warmup_ratio: Share of the steps over which the weights grow from 0.
        evidence_swap: Share of the training clips with other surroundings.
        evidence_blank: Share of the training clips with blank surroundings.
        evidence_drop: Share of the training clips without their surroundings.
        evidence_zoom: Share of the training clips that are cropped to their guidance.
    """

    spatial_weight: float
    temporal_weight: float
    temperature: float | None = None
    supervised_layers: str | tuple[int, ...] | None = None
    weight_warmup_ratio: float | None = None
    evidence_swap: float = 0.0
    evidence_blank: float = 0.0
    evidence_drop: float = 0.0
    evidence_zoom: float = 0.0


@dataclass(frozen=True)
class TrainingFacts:
    """What a model card says about one trained model.

    Args:
        model_name: Name that users will load it by, such as "organisation/model".
        architecture: The model in a phrase, such as "TSViT (4 spatial and 2 temporal layers)".
        class_names: The labels, in order.
        dataset_sources: Names and revisions of the data sets that it was trained on.
        split_sizes: Split -> number of clips, or of long videos.
        guidance: Where the guidance came from; None where none was used.
        supervision: The reasoning losses; None for plain training.
        recipe: How it was trained.
        metrics: Split -> name -> value; accuracies and shares as fractions. A value of None was not measured.
        base_model: The checkpoint on the Hub that training started from; None where it started from random weights.
        license: Identifier of the licence of the weights, as the Hub writes it.
        notes: Further limits of this model, one sentence or paragraph each.
        supervised_query: Whose attention over a frame was read, in words.
        gives_attention: Whether the saved model gives its attention by itself (TSViT), and brings its own code.
        task: "classification" of clips, or "segmentation" of long videos into actions.
        frames_per_second: Frames sampled per second of a long video; None for clips.
        score_averaging_s: Seconds over which the scores of a long video are averaged; None for none.
        num_frames: Frames of a clip, or of a window of a long video.
        objects: The maps of objects that it is shown; None for pixels alone.
    """

    model_name: str
    architecture: str
    class_names: tuple[str, ...] = ()
    dataset_sources: tuple[str, ...] = ()
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    guidance: GuidanceFacts | None = None
    supervision: SupervisionFacts | None = None
    recipe: RecipeFacts = field(default_factory=RecipeFacts)
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    base_model: str | None = None
    license: str | None = None
    notes: tuple[str, ...] = ()
    supervised_query: str = "the [CLS] token"
    gives_attention: bool = True
    task: str = "classification"
    frames_per_second: float | None = None
    score_averaging_s: float | None = None
    num_frames: int | None = None
    objects: ObjectFacts | None = None


def write_model_card(folder: str | os.PathLike, facts: TrainingFacts) -> Path:
    """Write `README.md` into a model's folder and return its path.

    Args:
        folder: Folder of the model.
        facts: What is known of it.

    Raises:
        VidreasonError: The model has no name, or a result is not a finite number; the message says which.
    """
    if not facts.model_name.strip():
        raise VidreasonError("a model card needs a model_name")
    _check_metrics(facts)
    card = ModelCard.from_template(
        _card_data(facts),
        template_str=read_template("tsvit_template.md"),
        facts=facts,
        losses=_losses(facts.supervision),
        results=_results_rows(facts),
        looked_twice=any("top1_one_look" in found for found in facts.metrics.values()),
        measures_attention=any("attention_in_region" in found for found in facts.metrics.values()),
        cited=_cited(facts),
        stated=stated,
    )
    path = Path(folder) / "README.md"
    card.save(path)
    return path


def read_template(name: str) -> str:
    """The text of a template of the folder `templates`."""
    return importlib.resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def stated(value: Any, unit: str = "") -> str:
    """A fact as a card states it, one that is absent included.

    Args:
        value: The fact; None, an empty text or an empty collection is absent.
        unit: Unit that is written after a value that is there.
    """
    if value is None or (isinstance(value, str | Mapping | list | tuple) and len(value) == 0):
        return NOT_RECORDED
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {stated(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(stated(entry) for entry in value)
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}" if unit else text


def _losses(supervision: SupervisionFacts | None) -> list[str]:
    """What each reasoning loss that is switched on does, in a phrase."""
    phrases = []
    if supervision and supervision.spatial_weight > 0:
        phrases.append("what it attends to in a frame is supervised by guidance about where the evidence lies")
    if supervision and supervision.temporal_weight > 0:
        phrases.append("its answers from the beginning, the middle and the whole of a clip are trained to agree")
    return phrases + _evidence_views(supervision)


def _evidence_views(supervision: SupervisionFacts | None) -> list[str]:
    """What evidence views do to training clips, in a phrase each."""
    phrases = {
        "evidence_swap": "show another clip's pixels wherever guidance does not say that evidence lies",
        "evidence_blank": "are blank wherever guidance does not say that evidence lies",
        "evidence_drop": "lack the tokens where guidance does not say that evidence lies",
        "evidence_zoom": "are cropped to their guidance",
    }
    shares = {name: getattr(supervision, name) for name in phrases} if supervision else {}
    return [
        f"{100 * share:.3g} % of the training clips {phrases[name]}" for name, share in shares.items() if share > 0
    ]


def _cited(facts: TrainingFacts) -> list[str]:
    """The papers of what the model is: its maps, and its network or its supervision."""
    of_maps = [_A2O_PAPER] if facts.objects else []
    # TSViT, which alone gives its attention by itself, is of the paper of reasoning supervision as well
    return of_maps + ([_RS_PAPER] if "TSViT" in facts.architecture or _losses(facts.supervision) else [])


def _check_metrics(facts: TrainingFacts) -> None:
    for split, values in facts.metrics.items():
        for name, value in values.items():
            if value is not None and not math.isfinite(value):
                raise VidreasonError(f"model card of {facts.model_name}: {name} on {split} is {value}")


def _card_data(facts: TrainingFacts) -> ModelCardData:
    is_segmentation = facts.task == "segmentation"
    tags = ["temporal-action-segmentation"] if is_segmentation else ["video-classification", "action-recognition"]
    tags += ["reasoning-supervision"] if _losses(facts.supervision) else []
    tags += ["object-centric"] if facts.objects else []
    results = _eval_results(facts)
    return ModelCardData(
        model_name=facts.model_name,
        base_model=facts.base_model,
        license=facts.license,
        library_name="transformers",
        pipeline_tag=None if is_segmentation else "video-classification",  # the Hub has no name for the other
        tags=tags,
        metrics=sorted({result.metric_type for result in results}) or None,
        eval_results=results or None,
    )


def _eval_results(facts: TrainingFacts) -> list[EvalResult]:
    dataset = ", ".join(facts.dataset_sources) or NOT_RECORDED
    task = _TASKS[facts.task]
    return [
        EvalResult(
            task_type=task[0],
            task_name=task[1],
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            metric_type=_metric(name).hub_name,
            metric_name=name,
            metric_args=_metric(name).arguments,
            metric_value=float(value),
        )
        for split, values in facts.metrics.items()
        for name, value in values.items()
        if value is not None
    ]


def _metric(name: str) -> _Metric:
    return _METRICS.get(name, _Metric(name, None, name))


def _metric_names(facts: TrainingFacts) -> list[str]:
    """The known metrics in their own order, then others in the order in which they come."""
    found = dict.fromkeys(name for values in facts.metrics.values() for name in values)
    return [name for name in _METRICS if name in found] + [name for name in found if name not in _METRICS]


def _results_rows(facts: TrainingFacts) -> list[list[str]]:
    """The results as a table of text, the headings first; empty where there are no results."""
    names = _metric_names(facts)
    rows = [["Split", *(_metric(name).heading for name in names)]]
    for split, values in facts.metrics.items():
        rows.append([split, *(_format_result(name, values.get(name)) for name in names)])
    return rows if names else []


def _format_result(name: str, value: float | None) -> str:
    if value is None:
        return NOT_RECORDED
    return f"{100 * value:.2f}" if _metric(name).is_share else f"{value:.4f}"
