"""First lessons of a tiny Video-LLM's vision tower: what lies in each cell of a frame, by the scene graphs of videos.

Large Video-LLMs are made of towers that have learned to see from millions of pictures. A tower that starts from random
weights inside a Video-LLM learns that from single words of answers, which takes far longer than to learn to answer.
So a tiny one is taught first: of every token that the tower gives the decoder, a linear layer says which things lie
there, their attributes, and what is being done with them, each a label of its own. The layer is thrown away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError
from ..scenegraph.graph import Box, SceneGraph
from ..scenegraph.moment import moment_of
from .conversation import video_metadata
from .frames import ShownFrames

if TYPE_CHECKING:
    import torch

LEAST_SHARE = 0.25
"""Share of a box, or of a cell, from which on a thing lies in the cell; the cell with most of a box has it anyway."""


@dataclass(frozen=True)
class VisionLessons:
    """How long and how fast a tower is taught.

    Raises:
        ConfigError: A setting that nothing can be taught with.
    """

    epochs: float = field(default=8.0, metadata={"help": "Times that every clip is gone through."})
    batch_size: int = field(default=16, metadata={"help": "Clips of a step."})
    learning_rate: float = field(default=2e-3, metadata={"help": "Highest learning rate; it rises and falls once."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay."})
    least_count: int = field(default=20, metadata={"help": "Cells that a label must be true of to be taught."})
    seed: int = field(default=0, metadata={"help": "Seed of the order, and of the layer that is thrown away."})

    def __post_init__(self) -> None:
        if not (self.epochs > 0 and self.batch_size > 0 and self.learning_rate > 0 and self.least_count > 0):
            raise ConfigError(f"expected positive numbers of epochs, clips, rate and cells, got {self}")


def cell_labels(graph: SceneGraph, timestamps_s: Sequence[float], rows: int, columns: int) -> list[list[set[str]]]:
    """What lies in each cell at some times.

    Args:
        graph: A graph with tracks.
        timestamps_s: The times, in seconds.
        rows: Cells from top to bottom.
        columns: Cells from left to right.

    Returns:
        For each time, for each cell, row by row, the labels that are true: the name of every object there, each of its
        attributes, both together ("red ball"), and the names of the events that it undergoes then.
    """
    undergone: dict[str, list[str]] = {}
    for edge in graph.edges:
        if edge.kind == "event" and edge.predicate == "undergoes":
            undergone.setdefault(edge.subject, []).append(edge.object)
    found = []
    for time_s in timestamps_s:
        moment = moment_of(graph, time_s)
        going_on = {event.node_id: event.name for event in moment.events}
        cells: list[set[str]] = [set() for _ in range(rows * columns)]
        for node_id, box in moment.boxes.items():
            node = graph.node(node_id)
            values = [value for _, value in node.attributes]
            labels = {node.name, *values, *(f"{value} {node.name}" for value in values)}
            labels |= {going_on[event] for event in undergone.get(node_id, ()) if event in going_on}
            for cell in _cells_of(box, rows, columns):
                cells[cell] |= labels
        found.append(cells)
    return found


def _cells_of(box: Box, rows: int, columns: int) -> list[int]:
    """Places of the cells that a thing lies in."""
    x0, y0, x1, y1 = box
    across = np.clip(
        np.minimum(x1, np.arange(1, columns + 1) / columns) - np.maximum(x0, np.arange(columns) / columns), 0, None
    )
    down = np.clip(np.minimum(y1, np.arange(1, rows + 1) / rows) - np.maximum(y0, np.arange(rows) / rows), 0, None)
    shared = np.outer(down, across).ravel()
    smaller = min((x1 - x0) * (y1 - y0), 1 / (rows * columns))
    return sorted({int(shared.argmax()), *np.flatnonzero(shared >= LEAST_SHARE * smaller).tolist()})


def teach_vision(
    model: Any,
    processor: Any,
    clips: Iterable[tuple[ShownFrames, SceneGraph]],
    lessons: VisionLessons | None = None,
) -> list[dict[str, float]]:
    """Teach a model's vision tower, in place; the rest of the model stays as it is.

    Args:
        model: A model of `vidreason.videoqa.tiny_model`.
        processor: Its processor.
        clips: What is shown of each video, and its graph.
        lessons: How long and how fast.

    Returns:
        Of each epoch `epoch`, `loss` (mean binary cross-entropy in nats) and `f1` over all labels of all cells, both
        of the clips that it is taught with.

    Raises:
        ConfigError: There is no clip with a label that is common enough.
    """
    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits

    lessons = lessons or VisionLessons()
    pixels, grids, truths, names = _examples(processor, clips, lessons.least_count)
    tower = model.model.visual
    generator = torch.Generator().manual_seed(lessons.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lessons.seed)
        layer = nn.Linear(model.config.vision_config.out_hidden_size, len(names))
    # few labels are true of a cell: the first guess is how often each of them is
    rate = torch.cat([truth.float().flatten(0, -2) for truth in truths]).mean(dim=0)
    with torch.no_grad():
        layer.bias.copy_(torch.logit(rate.clamp(1e-4, 1 - 1e-4)))
    trained = [*tower.parameters(), *layer.parameters()]
    optimizer = torch.optim.AdamW(
        trained, lr=lessons.learning_rate, weight_decay=lessons.weight_decay, betas=(0.9, 0.98)
    )
    steps_per_epoch = math.ceil(len(pixels) / lessons.batch_size)
    num_steps = max(1, round(lessons.epochs * steps_per_epoch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lessons.learning_rate, num_steps + 1, pct_start=0.1, anneal_strategy="cos"
    )
    history: list[dict[str, float]] = []
    done = 0
    while done < num_steps:
        order = torch.randperm(len(pixels), generator=generator).split(lessons.batch_size)[: num_steps - done]
        loss_sum, counts = 0.0, torch.zeros(3)
        for chosen in order:
            batch = chosen.tolist()
            given = torch.cat([pixels[place] for place in batch]).float()
            truth = torch.cat([truths[place] for place in batch]).float()
            grid = torch.cat([grids[place] for place in batch])
            logits = layer(tower(given, grid_thw=grid).pooler_output)
            loss = binary_cross_entropy_with_logits(logits, truth)
            # a sum over labels: of a mean over hundreds of them nearly nothing is left for each
            (loss * len(names)).backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            loss_sum += loss.item()
            said = logits.detach() > 0
            counts += torch.stack([(said & truth.bool()).sum(), said.sum(), truth.sum()])
        done += len(order)
        right, said_count, true_count = counts.tolist()
        f1 = 2 * right / max(1.0, said_count + true_count)
        history.append({"epoch": done / steps_per_epoch, "loss": loss_sum / len(order), "f1": f1})
    return history


def _examples(
    processor: Any, clips: Iterable[tuple[ShownFrames, SceneGraph]], least_count: int
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor], list[str]]:
    """Pixels, grids and true labels of each clip, (cells, labels) bool in the order of its tokens, and their names."""
    import torch

    video_processor = processor.video_processor
    merge, merged_frames = video_processor.merge_size, video_processor.temporal_patch_size
    pixels, grids, labels = [], [], []
    counts: Counter[str] = Counter()
    for shown, graph in clips:
        made = video_processor(
            videos=[shown.frames],
            video_metadata=[video_metadata(shown)],
            do_sample_frames=False,
            input_data_format="channels_last",
            return_tensors="pt",
        )
        grid = made["video_grid_thw"]
        _, rows, columns = (grid[0] // torch.tensor([1, merge, merge])).tolist()
        # of the frames that go into one token, the first says what is there
        cells = [
            cell for one in cell_labels(graph, shown.timestamps_s[::merged_frames], rows, columns) for cell in one
        ]
        counts.update(label for cell in cells for label in cell)
        pixels.append(made["pixel_values_videos"].half())
        grids.append(grid)
        labels.append(cells)
    names = sorted(name for name, count in counts.items() if count >= least_count)
    if not names:
        raise ConfigError(f"there are no objects with boxes to teach: no label is true of {least_count} cells or more")
    places = {name: place for place, name in enumerate(names)}
    truths = [_as_truth(cells, places) for cells in labels]
    return pixels, grids, truths, names


def _as_truth(cells: Sequence[set[str]], places: Mapping[str, int]) -> torch.Tensor:
    import torch

    truth = torch.zeros(len(cells), len(places), dtype=torch.bool)
    for cell, labels in enumerate(cells):
        for label in labels:
            if label in places:
                truth[cell, places[label]] = True
    return truth
