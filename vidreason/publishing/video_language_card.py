"""Model cards of Video-LLMs that were trained here, from a template and the facts of a run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import VidreasonError
from ..reporting.recipe_facts import RecipeFacts
from .cards import NOT_RECORDED, read_template, stated

_HEADINGS = {
    "accuracy": "Answered right (%)",
    "num_questions": "Questions",
    "unparsable": "No answer to be read",
    "not_asked": "Not asked",
    "loss": "Loss (nats)",
    "loss_answer": "Answers, per token (nats)",
    "loss_rationale": "Rationales, per token (nats)",
}


@dataclass(frozen=True)
class VideoLanguageFacts:
    """What a model card says about one trained Video-LLM.

    Args:
        model_name: Name that users will load it by, such as "organisation/model".
        architecture: Class of the model in `transformers`.
        base_model: The checkpoint that training started from.
        license: Identifier of the licence of the weights, as the Hub writes it.
        question_sources: Names and revisions of the data sets of questions that it was trained on.
        split_sizes: Split -> number of questions.
        num_rationales: How many of the training questions have a rationale that was trained on.
        left_out: Split -> reason -> number of questions that were left out.
        dropped: Status -> number of conversations that training had to drop.
        num_frames: Frames that it was shown of each video; 0 for none.
        max_side_px: Longer side in pixels that frames were scaled down to; None for their own size.
        prompts: Part of the loss -> (id, SHA-256) of its instruction.
        rationale_weight: Weight of the rationales' mean loss.
        trained: Which weights were trained, in words.
        num_trained: Number of weights that were trained.
        num_parameters: Number of all weights.
        is_adapter: Whether what is saved is a LoRA and not a whole model.
        recipe: How it was trained.
        metrics: Split -> name -> value; a value of None was not measured.
    """

    model_name: str
    architecture: str
    base_model: str
    license: str | None = None
    question_sources: tuple[str, ...] = ()
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    num_rationales: int = 0
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    num_frames: int = 0
    max_side_px: int | None = None
    prompts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rationale_weight: float = 0.0
    trained: str = ""
    num_trained: int = 0
    num_parameters: int = 0
    is_adapter: bool = False
    recipe: RecipeFacts = field(default_factory=RecipeFacts)
    metrics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


def write_video_language_card(folder: str | os.PathLike, facts: VideoLanguageFacts) -> Path:
    """Write `README.md` into a model's folder and return its path.

    Args:
        folder: Folder of the model.
        facts: What is known of it.

    Raises:
        VidreasonError: The model has no name, or a result is not a finite number; the message says which.
    """
    if not facts.model_name.strip():
        raise VidreasonError("a model card needs a model_name")
    for split, values in facts.metrics.items():
        for name, value in values.items():
            if value is not None and not math.isfinite(value):
                raise VidreasonError(f"model card of {facts.model_name}: {name} on {split} is {value}")
    template = read_template("video_language_template.md")
    results = _results_rows(facts)
    card = ModelCard.from_template(
        _card_data(facts), template_str=template, facts=facts, results=results, stated=stated
    )
    path = Path(folder) / "README.md"
    card.save(path)
    return path


def _card_data(facts: VideoLanguageFacts) -> ModelCardData:
    dataset = ", ".join(facts.question_sources) or NOT_RECORDED
    results = [
        EvalResult(
            task_type="video-text-to-text",
            task_name="Video question answering",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=split,
            metric_type=name,
            metric_name=name,
            metric_value=float(value),
        )
        for split, values in facts.metrics.items()
        for name, value in values.items()
        if value is not None and (name == "accuracy" or name.startswith("loss"))
    ]
    return ModelCardData(
        model_name=facts.model_name,
        base_model=facts.base_model,
        license=facts.license,
        library_name="peft" if facts.is_adapter else "transformers",
        pipeline_tag="video-text-to-text",
        tags=["video-question-answering", *(["lora"] if facts.is_adapter else [])],
        metrics=sorted({result.metric_type for result in results}) or None,
        eval_results=results or None,
    )


def _results_rows(facts: VideoLanguageFacts) -> list[list[str]]:
    """The results as a table of text, the headings first; empty where there are no results."""
    found = {name for values in facts.metrics.values() for name, value in values.items() if value is not None}
    names = [name for name in _HEADINGS if name in found]
    rows = [["Split", *(_HEADINGS[name] for name in names)]]
    for split, values in facts.metrics.items():
        rows.append([split, *(_result_text(name, values.get(name)) for name in names)])
    return rows if names else []


def _result_text(name: str, value: float | None) -> str:
    if value is None:
        return NOT_RECORDED
    if name == "accuracy":
        return f"{100 * value:.2f}"
    return f"{value:.4f}" if name.startswith("loss") else str(int(value))
