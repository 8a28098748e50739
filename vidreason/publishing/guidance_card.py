"""The card of a published table, as of guidance or detections, and the example picture on it.

The card is made from the table's rows, the facts of its run, and the texts of its prompts.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from huggingface_hub import DatasetCard
from PIL import Image

from ..annotation.job import AnnotationRun
from ..audit.drawing import blank_frame, captioned, in_column, in_row, read_pixels
from ..errors import GuidanceError
from ..files import folder_card_data
from ..manifests.manifest import Manifest
from ..reporting.tables import RowSummary, merge_summaries, status_table
from .cards import read_template, stated
from .checks import find_leak
from .table_kinds import GUIDANCE, TableKind

CARD_FILE, EXAMPLE_FILE = "README.md", "example.png"

LOCAL_NAME = "path/to/this/folder"
"""What the code loads where no repository is named."""

_SIZES = (
    *((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")),
    *((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B")),
)
"""(rows, the Hub's name of tables with fewer)."""

_PER_ROW, _SIDE_PX = 4, 240  # frames beside one another in the example picture, and the longer side of each


@dataclass(frozen=True)
class CardFacts:
    """What a card says beyond the table and its run.

    Args:
        title: Heading of the card.
        description: Paragraph about the producer, the videos, or what is special.
        license: Identifier of the guidance's licence as the Hub writes it; None is stated as not recorded.
        repo_id: Name on the Hub where the table will be; None shows a local folder in the code.
        example_alt: Text of what the example picture shows, for those who do not see it; empty where there is none.
        example_note: Sentence below the picture.
        raw_responses_dropped: Whether `raw_response` was emptied.
        notes: Further limits, one sentence or paragraph each.
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
    summaries: Mapping[str, RowSummary],
    run: AnnotationRun | None = None,
    prompt_texts: Mapping[str, str] | None = None,
    kind: TableKind = GUIDANCE,
) -> Path:
    """Write `README.md` and return its path.

    Args:
        folder: Folder of the published table, whose Parquet files are written.
        facts: What the card says beyond the table and its run.
        summaries: Maps each split to what it holds.
        run: Facts of the annotation run; None where they are not known.
        prompt_texts: Texts of the prompts that the rows name, by their SHA-256.
        kind: What the table is of.

    Raises:
        GuidanceError: the card would give away a key or a path of this machine.
    """
    whole = merge_summaries(summaries.values(), kind.make_summary())
    run = run or AnnotationRun()
    card = DatasetCard.from_template(
        folder_card_data(folder, summaries, kind.configurations, **_metadata(facts, whole, kind)),
        template_str=read_template(kind.template),
        facts=facts,
        run=run,
        whole=whole,
        sources=[kind.describe_source(source) for source in sorted(whole.sources)],
        producers=[f"{name} ({count} rows)" for name, count in sorted(whole.producers.items())],
        statuses=status_table(summaries, kind.statuses),
        use_code=kind.use_code.format(name=facts.repo_id or LOCAL_NAME, split=_first_split(summaries)).replace(
            "'", '"'
        ),
        label_sentence=_label_sentence(run.label_in_prompt, bool(whole.prompts)),
        prompts=_prompts(whole, prompt_texts or {}),
        schema_version=kind.schema_version,
        stated=stated,
        settings_text=settings_text,
    )
    # after rendering: settings and prompts reach the card through many doors
    _check_card(card.content)
    path = Path(folder) / CARD_FILE
    card.save(path)
    return path


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a card states them. A setting of None is one that was left unset, and not an unknown one."""
    return stated({name: "none" if value is None else value for name, value in settings.items()})


def _first_split(summaries: Mapping[str, RowSummary]) -> str:
    """The split that an example opens."""
    return "train" if "train" in summaries else next(iter(summaries))


def _metadata(facts: CardFacts, whole: RowSummary, kind: TableKind) -> dict[str, Any]:
    size = next((name for limit, name in _SIZES if whole.rows < limit), "n>1B")
    return {
        "pretty_name": facts.title,
        "license": facts.license,
        "tags": list(kind.tags),
        "task_categories": list(kind.task_categories),
        "size_categories": [size],
        "annotations_creators": list(kind.annotations_creators) or None,
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


def _prompts(whole: RowSummary, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The prompts of the rows, with their texts where these are known."""
    prompts = []
    for (prompt_id, sha256), rows in sorted(count_prompts(whole).items()):
        text = texts.get(sha256)
        longest = max((len(run) for run in re.findall("`+", text or "")), default=0)
        fence = "`" * max(3, longest + 1)  # a fence that the text itself cannot close
        text = None if text is None else text.rstrip("\n")
        prompts.append({"prompt_id": prompt_id, "sha256": sha256, "rows": rows, "text": text, "fence": fence})
    return prompts


def count_prompts(whole: RowSummary) -> Counter[tuple[str, str]]:
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


@dataclass(frozen=True)
class ExamplePicture:
    """What was drawn.

    Args:
        num_frames: Number of frames in the picture.
        num_with_pixels: Number of these frames that show the video.
        alt: Text of what the picture shows.
    """

    num_frames: int
    num_with_pixels: int
    alt: str


def write_example(
    folder: str | os.PathLike,
    splits: Mapping[str, datasets.Dataset],
    num_frames: int,
    manifest: Manifest | None = None,
    seed: int = 0,
    kind: TableKind = GUIDANCE,
) -> ExamplePicture | None:
    """Draw frames with what is marked in them, chosen at random and from as many videos as there are, into one PNG.

    Args:
        folder: Folder to write.
        splits: Splits of the table by name.
        num_frames: Largest number of frames in the picture.
        manifest: Manifest of the videos, for their pixels; without it, blank frames of the same shape are drawn.
        seed: Seed of the choice of frames.
        kind: What the table is of.

    Returns:
        None where no row marks anything, rows are not about frames, or no frame is wanted.
    """
    rows = [] if kind.draw is None else _choose_rows(splits, num_frames, seed)
    if kind.draw is None or not rows:
        return None
    pixels = {}
    if manifest is not None:
        times_s: dict[str, list[float]] = {}
        for row in rows:
            times_s.setdefault(row["video_id"], []).append(row["timestamp_s"])
        pixels = read_pixels(manifest, times_s, _SIDE_PX)
    tiles = [_draw_row(row, pixels.get((row["video_id"], row["timestamp_s"])), kind.draw, kind) for row in rows]
    lines = [in_row(tiles[start : start + _PER_ROW]) for start in range(0, len(tiles), _PER_ROW)]
    Image.fromarray(in_column(lines)).save(Path(folder) / EXAMPLE_FILE, optimize=True)
    surface = "frames of the videos" if pixels else "blank frames"
    alt = kind.picture_alt.format(count=len(rows), surface=surface)
    return ExamplePicture(len(rows), len(pixels), alt)


def _choose_rows(splits: Mapping[str, datasets.Dataset], count: int, seed: int) -> list[dict[str, Any]]:
    """Rows that are ok, from different videos as far as there are."""
    # the same picture for the same table, so that a card written anew does not differ
    rng = np.random.default_rng(seed)
    found = []
    for name, table in splits.items():
        columns = table.with_format("arrow").select_columns(["video_id", "status"])[:]
        videos, statuses = columns["video_id"].to_pylist(), columns["status"].to_pylist()
        found += [(name, index, videos[index]) for index, status in enumerate(statuses) if status == "ok"]
    order = [found[index] for index in rng.permutation(len(found))]
    first_of_video = {video: (name, index) for name, index, video in reversed(order)}
    chosen = [(name, index) for name, index, video in order if first_of_video[video] == (name, index)]
    others = [(name, index) for name, index, video in order if first_of_video[video] != (name, index)]
    return [splits[name][index] for name, index in [*chosen, *others][:count]]


def _draw_row(
    row: Mapping[str, Any],
    picture: np.ndarray | None,
    draw: Callable[[Mapping[str, Any], np.ndarray], np.ndarray],
    kind: TableKind,
) -> np.ndarray:
    if picture is None:
        picture = blank_frame(row["frame_height"], row["frame_width"])
    names = ", ".join(dict.fromkeys(kind.names(row)))
    lines = [row["video_id"].rsplit("/", 1)[-1], f"{row['timestamp_s']:.2f} s" + (f": {names}" if names else "")]
    return captioned(draw(row, picture), lines)
