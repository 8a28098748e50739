"""What the dataset cards say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from ...reporting.tables import text_table
from .config import ASSEMBLY_ACTIONS, ASSEMBLY_VERSION, SIGN_STRENGTHS, AssemblyConfig
from .signs import SIGNS
from .timeline import AssemblySegment

Sequences = Mapping[str, Sequence[Sequence[AssemblySegment]]]
"""Split -> videos -> their segments."""


def manifest_description(config: AssemblyConfig, seed: int, sequences: Sequences) -> str:
    """The paragraphs that open the card of the videos.

    Args:
        config: Settings of the world.
        seed: Seed of the world.
        sequences: Segments of the videos that were made.
    """
    return (
        f"Procedurally rendered recordings of a desk on which circuit boards are put together: {config.width} x "
        f"{config.height} pixels at {config.fps:g} frames per second. No person was filmed. Seed {seed}, world "
        f"version {ASSEMBLY_VERSION}; the same seed gives the same frames.\n\n"
        "Every video is of the one activity; which of its actions happens when is in the folder `segments`, and the "
        "ground truth of every frame is a data set of its own in the folder `truth`. The order of the actions is "
        "drawn from a stochastic grammar (`vidreason.synthetic.assembly.GRAMMAR`), with pauses (`background`) in "
        "which the hand rests, is away, or wanders without taking anything. An action begins when the hand sets out "
        "for what it needs and ends when that is put down again.\n\n"
        f"{_length_table(sequences, config)}\n\n{_action_table(sequences, config)}\n\n"
        "`screw` and `unscrew`, and `plug_cable` and `unplug_cable`, are told apart by the direction in time of what "
        "the hand does, not by single frames of their work.\n\n"
        f"{_sign_text()}\n\n{_LIMITS}"
    )


def truth_card() -> str:
    """The card of the ground truth."""
    return (
        "# Ground truth of the synthetic assembly\n\n"
        "One row per video and frame. `objects` lists what is in the frame, with a `role`: actor (hand and visible "
        "arm), hand, handled (the tool or part that the action uses), visible (tools and parts that it does not use), "
        "distractor (tools that no action uses), cooccurring (the sign). `relevant` is true for the hand and what is "
        "handled while an action goes on; during `background` nothing is relevant. The board is handled when it is "
        "taken, turned over or put away, and otherwise merely visible; so are the wires of plug and probe. A `box` is "
        "(x0, y0, x1, y1) in [0, 1] of the frame, around the extent of the whole item within the frame, also where "
        "something covers it; what is out of the frame, or on the lower side of the board, is absent. `relations` "
        "holds triples such as (hand, holding, screwdriver), (screwdriver, touching, screw 1) or (chip 1, on, board), "
        "by the names of the objects. `label`, and `segment` by name, is the action of the frame. `timestamp_s` is "
        "`frame_index` divided by the frame rate. `background` is the desk's texture, which is tied to nothing "
        "(`background_tied` is always false).\n\n"
        f"{_sign_text()}\n\n{_LIMITS}"
    )


_LIMITS = (
    "Limits: this is a drawn world, for tests, demonstrations and controlled experiments. Results on it say nothing "
    "about how well a model does on recordings of people. The borders of segments are exact, which those that people "
    "annotate are not; the sign comes and goes near them in every split."
)


def _length_table(sequences: Sequences, config: AssemblyConfig) -> str:
    rows = []
    for split, videos in sequences.items():
        lengths = [segments[-1].end_frame / config.fps for segments in videos]
        counts = [len(segments) for segments in videos]
        actions = [s.num_frames / config.fps for segments in videos for s in segments if not s.pause]
        rows.append((split, len(videos), _spread(lengths), _spread(counts), _spread(actions, digits=1)))
    header = ("split", "videos", "seconds per video", "segments per video", "seconds per action")
    return text_table(header, rows)


def _spread(values: Sequence[float], digits: int = 0) -> str:
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _action_table(sequences: Sequences, config: AssemblyConfig) -> str:
    segments = [segment for videos in sequences.values() for video in videos for segment in video]
    counts = Counter(segment.label for segment in segments)
    frames: Counter[str] = Counter()
    for segment in segments:
        frames[segment.label] += segment.num_frames
    rows = []
    for label in ASSEMBLY_ACTIONS:
        seconds = f"{frames[label] / counts[label] / config.fps:.1f}" if counts[label] else ""
        rows.append((label, counts[label], f"{frames[label] / frames.total():.1%}", seconds))
    return text_table(("label", "segments", "share of frames", "mean seconds"), rows)


def _sign_text() -> str:
    strengths = text_table(("split", "sign"), SIGN_STRENGTHS.items())
    ties = text_table(("action", "sign"), zip(ASSEMBLY_ACTIONS[1:], SIGNS, strict=True))
    return (
        "A sign, a small card that takes no part in anything, lies beside the work in every segment, from some time "
        "after its start until some time before its end. It is tied to the action with the probability below; "
        f"otherwise it is drawn uniformly from all {len(SIGNS)}, whatever the action. That of a pause is never tied."
        f"\n\n{strengths}\n\nThe ties:\n\n{ties}"
    )
