"""What the dataset cards say."""

from __future__ import annotations

from ..backgrounds import BACKGROUNDS
from ..stickers import COOCCURRING_OBJECTS
from .config import ACTIONS, BACKGROUND_STRENGTHS, COOCCURRING_STRENGTHS, REVERSED_PAIRS, WORLD_VERSION, WorldConfig


def manifest_description(config: WorldConfig, seed: int) -> str:
    """The paragraphs that open the card of the videos."""
    pairs = ", ".join(f"`{first}` and `{second}`" for second, first in REVERSED_PAIRS.items())
    return (
        f"Procedurally rendered clips of {len(ACTIONS)} hand actions: {config.num_frames} frames of {config.width} x "
        f"{config.height} pixels at {config.fps:g} frames per second. No person was filmed. Seed {seed}, world "
        f"version {WORLD_VERSION}; the same seed gives the same frames.\n\n"
        f"The pairs {pairs} are the same script with time reversed: single frames carry no information about which "
        "of the two it is.\n\n"
        "The ground truth of every frame is a data set of its own in the folder `truth`.\n\n"
        f"{_nuisance_text()}"
    )


def truth_card() -> str:
    """The card of the ground truth."""
    return (
        "# Ground truth of synthetic actions\n\n"
        "One row per video and frame. `objects` lists what is in the frame, with a `role`: actor (hand and visible "
        "arm), hand, handled, container (a box or bowl that takes part), distractor, cooccurring. `relevant` is true "
        "for hand, handled and container. A `box` is (x0, y0, x1, y1) in [0, 1] of the frame, around the extent of "
        "the whole item within the frame, also where something covers it; what is out of the frame is absent. "
        "`relations` holds triples such as (hand, holding, mug), (mug, inside, box) or (lid, on, box), by the names "
        "of the objects. `segment` is the action while it goes on, and `idle` before and after. `timestamp_s` is "
        "`frame_index` divided by the frame rate.\n\n"
        f"{_nuisance_text()}"
    )


def _nuisance_text() -> str:
    strengths = [(split, BACKGROUND_STRENGTHS[split], COOCCURRING_STRENGTHS[split]) for split in BACKGROUND_STRENGTHS]
    ties = list(zip(ACTIONS, BACKGROUNDS, COOCCURRING_OBJECTS, strict=True))
    return (
        "Two nuisances are tied to the label, each with the probability below; otherwise they are drawn uniformly "
        f"from all twelve, whatever the label.\n\n{_table('split', strengths)}\n\n"
        f"The ties:\n\n{_table('label', ties)}"
    )


def _table(first_column: str, rows: list[tuple]) -> str:
    lines = [f"| {first_column} | background | co-occurring object |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
