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
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import VidreasonError

NOT_RECORDED = "not recorded"

# key of a result: (metric on the Hub, arguments it was computed with, heading, is it a fraction shown in percent)
_METRICS: dict[str, tuple[str, dict[str, Any] | None, str, bool]] = {
    "top1": ("accuracy", None, "Top-1 accuracy (%)", True),
    "top5": ("topk_accuracy", {"k": 5}, "Top-5 accuracy (%)", True),
    "loss": ("loss", None, "Clip loss (nats)", False),
    "mof": ("mof", None, "Mean over frames (%)", True),
    "edit": ("edit_score", None, "Edit score (%)", True),
    "f1_10": ("segment_f1", {"threshold": 10}, "F1@10 (%)", True),
    "f1_25": ("segment_f1", {"threshold": 25}, "F1@25 (%)", True),
    "f1_50": ("segment_f1", {"threshold": 50}, "F1@50 (%)", True),
    "oversegmentation": ("oversegmentation", None, "Predicted segments per true one", False),
    "loss_temporal": ("temporal_consistency", None, "Temporal consistency (nats)", False),
    "loss_smoothing": ("smoothing", None, "Smoothing (truncated squared steps)", False),
    "attention_in_region": ("attention_in_region", None, "Attention in the guided region (%)", True),
    "pointing_accuracy": ("pointing", None, "Pointing accuracy (%)", True),
}

# what predicted segments decide, before scores are averaged over neighbouring frames
_METRICS |= {
    f"{name}_unaveraged": (metric, {**(of or {}), "averaged_scores": False}, f"{heading}, scores not averaged", share)
    for name, (metric, of, heading, share) in _METRICS.items()
    if name in ("mof", "edit", "f1_10", "f1_25", "f1_50", "oversegmentation")
}

# what the first reading of each clip says where clips are read twice
_METRICS |= {
    f"{name}_one_look": (metric, {**(of or {}), "looks": 1}, f"{heading}, one look", share)
    for name, (metric, of, heading, share) in _METRICS.items()
    if name in ("top1", "top5", "loss")
}

# task of a run -> (its name on the Hub, its name in words)
_TASKS = {
    "classification": ("video-classification", "Video classification"),
    "segmentation": ("temporal-action-segmentation", "Temporal action segmentation"),
}


@dataclass(frozen=True)
class GuidanceFacts:
    """Where the guidance of a run came from.

    Args:
        producer: as in the guidance table, such as "motion".
        source: the guidance data set and its revision.
        coverage: counts that tell how far it reaches, such as frames by status or videos with guidance.
        noise: parameters of the noise that was put on it, by name.
    """

    producer: str
    source: str | None = None
    coverage: Mapping[str, int] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SupervisionFacts:
    """The reasoning losses of a run, under the names of `vidreason.rs.RSConfig`."""

    spatial_weight: float  # lambda_s
    temporal_weight: float  # lambda_t
    temperature: float | None = None  # tau
    supervised_layers: str | tuple[int, ...] | None = None
    weight_warmup_ratio: float | None = None
    evidence_swap: float = 0.0
    evidence_blank: float = 0.0
    evidence_drop: float = 0.0
    evidence_zoom: float = 0.0


@dataclass(frozen=True)
class RecipeFacts:
    """How a run was trained. `library_versions` maps a package to its version."""

    num_epochs: float | None = None
    batch_size: int | None = None  # clips per optimiser step, over all devices and accumulated steps
    learning_rate: float | None = None
    seed: int | None = None
    device: str | None = None
    train_seconds: float | None = None
    library_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingFacts:
    """What a model card says about one trained model.

    Args:
        model_name: as users will load it, such as "organisation/model".
        architecture: what the model is, in a phrase, such as "TSViT (4 spatial and 2 temporal layers)".
        class_names: the labels, in order.
        dataset_sources: names and revisions of the data sets that it was trained on.
        split_sizes: clips per split.
        guidance: None where no guidance was used.
        supervision: None for plain training.
        recipe: how it was trained.
        metrics: {split: {top1, top5, loss, attention_in_region, pointing_accuracy}}; accuracies and shares as
            fractions. A value of None was not measured.
        base_model: the checkpoint on the Hub that training started from; None where it started from random weights.
        license: identifier of the licence of the weights, as the Hub writes it.
        notes: further limits of this model, one sentence or paragraph each.
        supervised_query: whose attention over a frame was read, in words.
        gives_attention: the saved model gives its attention by itself (TSViT), and brings its own code.
        task: "classification" of clips, or "segmentation" of long videos into actions.
        frames_per_second: that were sampled of long videos.
        score_averaging_s: seconds over which their scores are averaged; None for none.
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


def write_model_card(folder: str | os.PathLike, facts: TrainingFacts) -> Path:
    """Write `README.md` into a model's folder and return its path.

    Raises:
        VidreasonError: the model has no name, or a result is not a finite number; the message says which.
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
        value: None or an empty text or collection is absent.
        unit: written after a value that is there.
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


def _check_metrics(facts: TrainingFacts) -> None:
    for split, values in facts.metrics.items():
        for name, value in values.items():
            if value is not None and not math.isfinite(value):
                raise VidreasonError(f"model card of {facts.model_name}: {name} on {split} is {value}")


def _card_data(facts: TrainingFacts) -> ModelCardData:
    is_segmentation = facts.task == "segmentation"
    tags = ["temporal-action-segmentation"] if is_segmentation else ["video-classification", "action-recognition"]
    tags += ["reasoning-supervision"] if _losses(facts.supervision) else []
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
            metric_type=_hub_metric(name)[0],
            metric_name=name,
            metric_args=_hub_metric(name)[1],
            metric_value=float(value),
        )
        for split, values in facts.metrics.items()
        for name, value in values.items()
        if value is not None
    ]


def _hub_metric(name: str) -> tuple[str, dict[str, Any] | None, str, bool]:
    return _METRICS.get(name, (name, None, name, False))


def _metric_names(facts: TrainingFacts) -> list[str]:
    """The known metrics in their own order, then others in the order in which they come."""
    found = dict.fromkeys(name for values in facts.metrics.values() for name in values)
    return [name for name in _METRICS if name in found] + [name for name in found if name not in _METRICS]


def _results_rows(facts: TrainingFacts) -> list[list[str]]:
    """The results as a table of text, the headings first; empty where there are no results."""
    names = _metric_names(facts)
    rows = [["Split", *(_hub_metric(name)[2] for name in names)]]
    for split, values in facts.metrics.items():
        rows.append([split, *(_format_result(name, values.get(name)) for name in names)])
    return rows if names else []


def _format_result(name: str, value: float | None) -> str:
    if value is None:
        return NOT_RECORDED
    return f"{100 * value:.2f}" if _hub_metric(name)[3] else f"{value:.4f}"
