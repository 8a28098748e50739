"""The card of a published guidance table, from its rows, the facts of its run, and the texts of its prompts."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from ..annotation.job import AnnotationRun
from ..errors import GuidanceError
from ..files import folder_card_data
from ..guidance.schema import SCHEMA_VERSION
from ..guidance.summary import TableSummary, merge_summaries, status_table
from .cards import read_template, stated
from .checks import find_leak

TEMPLATE_FILE, CARD_FILE = "guidance_dataset_template.md", "README.md"
TAGS = ("video", "grid-guidance", "reasoning-supervision", "vidreason")
TASK_CATEGORIES = ("video-classification",)

USE_CODE = """from datasets import load_dataset
from vidreason.guidance.videos import guided_frames

for row, frame in guided_frames(load_dataset({name!r}, split={split!r}), "path/to/videos"):
    print(row["video_id"], row["timestamp_s"], row["status"], row["weights"], frame.shape)"""
"""How the card shows the join to a user's own videos; the tests run it as it stands."""

LOCAL_NAME = "path/to/this/folder"
"""What the code loads where no repository is named."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_SIZES += ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond the table and its run.

    Args:
        title: heading.
        description: a paragraph about the producer, the videos, or what is special.
        license: identifier of the guidance's licence as the Hub writes it; None is stated as not recorded.
        repo_id: where it will be found; None shows a local folder in the code.
        example_alt: what the example picture shows, for those who do not see it; empty where there is none.
        example_note: the sentence below the picture.
        raw_responses_dropped: `raw_response` was emptied.
        notes: further limits, one sentence or paragraph each.
    """

    title: str
    description: str = ""
    license: str | None = None
    repo_id: str | None = None
    example_alt: str = ""
    example_note: str = ""
    raw_responses_dropped: bool = False
    notes: tuple[str, ...] = ()


def read_prompt_texts(paths: Iterable[str | os.PathLike]) -> dict[str, str]:
    """The texts of prompt files by the SHA-256 of their bytes, which is what rows name them by.

    Raises:
        GuidanceError: a file cannot be read.
    """
    texts = {}
    for path in paths:
        try:
            content = Path(path).read_bytes()
            texts[hashlib.sha256(content).hexdigest()] = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GuidanceError(f"prompt file {path} cannot be read: {error}") from error
    return texts


def write_guidance_card(
    folder: str | os.PathLike,
    facts: CardFacts,
    summaries: Mapping[str, TableSummary],
    run: AnnotationRun | None = None,
    prompt_texts: Mapping[str, str] | None = None,
) -> Path:
    """Write `README.md` and return its path.

    Args:
        folder: of the published table.
        facts: what the card says beyond the table and its run.
        summaries: split -> what it holds.
        run: of the annotator; None where its facts are not known.
        prompt_texts: SHA-256 -> text, for the prompts that the rows name.

    Raises:
        GuidanceError: the card would give away a key or a path of this machine.
    """
    whole = merge_summaries(summaries.values())
    run = run or AnnotationRun()
    card = DatasetCard.from_template(
        folder_card_data(summaries, **_metadata(facts, whole)),
        template_str=read_template(TEMPLATE_FILE),
        facts=facts,
        run=run,
        whole=whole,
        sources=sorted(whole.sources),
        producers=[f"{name} ({count} rows)" for name, count in sorted(whole.producers.items())],
        statuses=status_table(summaries),
        use_code=USE_CODE.format(name=facts.repo_id or LOCAL_NAME, split=_first_split(summaries)).replace("'", '"'),
        label_sentence=_label_sentence(run.label_in_prompt, bool(whole.prompts)),
        prompts=_prompts(whole, prompt_texts or {}),
        schema_version=SCHEMA_VERSION,
        stated=stated,
        settings_text=settings_text,
    )
    _check_card(card.content)
    path = Path(folder) / CARD_FILE
    card.save(path)
    return path


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a card states them. A setting of None is one that was left unset, and not an unknown one."""
    return stated({name: "none" if value is None else value for name, value in settings.items()})


def _first_split(summaries: Mapping[str, TableSummary]) -> str:
    """The split that an example opens."""
    return "train" if "train" in summaries else next(iter(summaries))


def _metadata(facts: CardFacts, whole: TableSummary) -> dict[str, Any]:
    size = next((name for limit, name in _SIZES if whole.rows < limit), "n>1B")
    return {
        "pretty_name": facts.title,
        "license": facts.license,
        "tags": list(TAGS),
        "task_categories": list(TASK_CATEGORIES),
        "size_categories": [size],
        "annotations_creators": ["machine-generated"],
    }


def _label_sentence(label_in_prompt: bool | None, has_prompts: bool) -> str:
    if not has_prompts and not label_in_prompt:
        return "there was no prompt."
    if label_in_prompt is None:
        return stated(None)
    if label_in_prompt:
        return (
            "yes. The producer was told the action of the video, so the guidance is training-time information and "
            "must not be given to a model that is being tested."
        )
    return "no. The producer was not told the action of the video."


def _prompts(whole: TableSummary, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The prompts of the rows, with their texts where these are known."""
    prompts = []
    for (prompt_id, sha256), rows in sorted(count_prompts(whole).items()):
        text = texts.get(sha256)
        longest = max((len(run) for run in re.findall("`+", text or "")), default=0)
        fence = "`" * max(3, longest + 1)  # a fence that the text itself cannot close
        text = None if text is None else text.rstrip("\n")
        prompts.append({"prompt_id": prompt_id, "sha256": sha256, "rows": rows, "text": text, "fence": fence})
    return prompts


def count_prompts(whole: TableSummary) -> Counter[tuple[str, str]]:
    """(prompt id, SHA-256) -> rows that it had a part in. A merged row names several, joined by " + "."""
    counts: Counter[tuple[str, str]] = Counter()
    for (prompt_ids, hashes), rows in whole.prompts.items():
        ids, parts = prompt_ids.split(" + "), hashes.split(" + ")
        names = ids if len(ids) == len(parts) else [prompt_ids] * len(parts)
        counts.update(dict.fromkeys(zip(names, parts, strict=True), rows))
    return counts


def _check_card(text: str) -> None:
    for number, line in enumerate(text.splitlines(), start=1):
        leak = find_leak(line)
        if leak:
            raise GuidanceError(
                f"{CARD_FILE}, line {number}, would hold {leak}; is it in the run's facts or a prompt?"
            )
