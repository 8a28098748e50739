"""Clips for visitors who bring none: rendered by the synthetic worlds, with the truth as their published guidance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidreason.annotation import truth_guidance
from vidreason.files import read_folder
from vidreason.guidance import load_guidance, write_guidance
from vidreason.manifests.manifest import Manifest
from vidreason.manifests.segments import SegmentIndex, load_segments
from vidreason.segmentation.labelling import ActionSegment, true_segments
from vidreason.synthetic import ACTIONS, TRUTH_FOLDER, WorldConfig, build_synthetic_actions
from vidreason.synthetic.assembly import AssemblyConfig, build_synthetic_assembly
from vidreason.synthetic.graphs import world_graphs
from vidreason.synthetic.questions import QuestionSettings, world_questions
from vidreason.synthetic.tabletop import build_synthetic_tabletop

from .detectors import WorldTruth
from .settings import GRID, digest_of

SPLIT, SEED = "test", 20
TABLE = "synthetic actions (ground truth)"

# of another split, since a clip is known by its file's name, which begins with it
ASSEMBLY_SPLIT, ASSEMBLY_SEED = "validation", 25
ASSEMBLY_TABLE = "synthetic assembly (ground truth)"
ASSEMBLY = AssemblyConfig(
    min_duration_s=16.0, max_duration_s=28.0, max_action_s=6.0, max_pause_s=2.0, pause_probability=0.3
)
"""A board is put together in some twenty seconds: the Space's videos are shorter than those that models learn from."""

TABLETOP_SPLIT, TABLETOP_SEED, _NUM_TABLETOPS = "test", 30, 4
_QUESTIONS = QuestionSettings(questions_per_video=4, choice_share=0.5)

_NUM_CLIPS = len(ACTIONS)  # one of each, since classes take turns


@dataclass(frozen=True, eq=False)
class Examples:
    """What there is to begin with.

    Args:
        clips: Paths of the clips, in the order in which they are offered.
        tables: Guidance of the clips: name for the visitor -> split -> rows.
        truth: File -> true segments, for the clip of several actions.
        worlds: Where the clips' objects are, for checkpoints that are shown object maps.
        questions: Clip -> rows of `vidreason.videoqa.schema.QUESTION_FEATURES` about it, with answers and evidence.
    """

    clips: list[Path]
    tables: dict[str, Mapping[str, Any]]
    truth: dict[Path, list[ActionSegment]] = field(default_factory=dict)
    worlds: list[WorldTruth] = field(default_factory=list)
    questions: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)


def build_examples(folder: Path, assembly: bool = False, questions: bool = False) -> Examples:
    """Render the examples where they are not there yet: a clip of each action.

    Args:
        folder: Folder that the examples are rendered to.
        assembly: Render a clip of several actions too, as the first one, for models that segment.
        questions: Render clips with questions about them too, for Video-LLMs; they are offered with these alone.

    Raises:
        ConfigError: The folder holds something else.
    """
    clips, tables, truth = [], {}, {}
    if assembly:
        manifest = build_synthetic_assembly(folder / "assembly", ASSEMBLY, {ASSEMBLY_SPLIT: 1}, seed=ASSEMBLY_SEED)
        clips += _clips_of(manifest, ASSEMBLY_SPLIT)
        tables[ASSEMBLY_TABLE] = _guidance(folder / "assembly", folder / "assembly_guidance", ASSEMBLY_SPLIT)
        known = SegmentIndex(load_segments(folder / "assembly"))
        for row in manifest.split(ASSEMBLY_SPLIT):
            truth[Path(manifest.video_path(row))] = true_segments(known, row["video_id"])
    manifest = build_synthetic_actions(folder / "world", WorldConfig(), {SPLIT: _NUM_CLIPS}, seed=SEED)
    clips += _clips_of(manifest, SPLIT)
    tables[TABLE] = _guidance(folder / "world", folder / "guidance", SPLIT)
    ids = {digest_of(Path(manifest.video_path(row))): row["video_id"] for row in manifest.split(SPLIT)}
    asked = _asked(folder / "tabletop") if questions else {}
    return Examples(clips, tables, truth, [WorldTruth(folder / "world" / TRUTH_FOLDER, ids)], asked)


def _asked(folder: Path) -> dict[Path, list[dict[str, Any]]]:
    """Clips of the world that is made to be asked about, with questions; a clip that has none is left out."""
    manifest = build_synthetic_tabletop(folder, split_sizes={TABLETOP_SPLIT: _NUM_TABLETOPS}, seed=TABLETOP_SEED)
    paths = {row["video_id"]: Path(manifest.video_path(row)) for row in manifest.split(TABLETOP_SPLIT)}
    asked: dict[Path, list[dict[str, Any]]] = {}
    for row in world_questions(world_graphs(folder)[TABLETOP_SPLIT], _QUESTIONS).rows:
        asked.setdefault(paths[row["video_id"]], []).append(row)
    return asked


def _clips_of(manifest: Manifest, split: str) -> list[Path]:
    return [Path(manifest.video_path(row)) for row in manifest.split(split)]


def _guidance(world: Path, table: Path, split: str) -> Mapping[str, Any]:
    """The truth of a rendered world as guidance, by split."""
    if not table.is_dir():
        truth = read_folder(world / TRUTH_FOLDER)
        write_guidance(table, {split: truth_guidance(truth[split], GRID)}, title="Guidance of the examples")
    return load_guidance(table)
