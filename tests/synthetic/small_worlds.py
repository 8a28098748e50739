"""Both worlds with settings that are built in seconds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vidreason.synthetic import TRUTH_FOLDER, WorldConfig, build_synthetic_actions
from vidreason.synthetic.assembly import AssemblyConfig, build_synthetic_assembly
from vidreason.video.manifest import Manifest
from vidreason.video.segments import SEGMENTS_FOLDER


@dataclass(frozen=True, eq=False)
class SmallWorld:
    """A world and what is built of it.

    Args:
        build: the builder of its data set.
        config: of the world, with small and short videos.
        sizes: split -> videos.
        fewer: split -> videos, fewer of each split, which come in another order.
        min_videos: that some split must have.
        tables: folders of the tables that lie beside the manifest.
    """

    build: Callable[..., Manifest]
    config: WorldConfig | AssemblyConfig
    sizes: Mapping[str, int]
    fewer: Mapping[str, int]
    min_videos: int
    tables: tuple[str, ...]


ACTIONS_WORLD = SmallWorld(
    build_synthetic_actions,
    WorldConfig(width=96, height=72, num_frames=8),
    sizes={"train": 24, "test_shifted": 5},
    fewer={"test_shifted": 3, "train": 14},
    min_videos=12,
    tables=(TRUTH_FOLDER,),
)

ASSEMBLY_WORLD = SmallWorld(
    build_synthetic_assembly,
    AssemblyConfig(
        width=96,
        height=72,
        min_duration_s=5.0,
        max_duration_s=9.0,
        min_action_s=0.6,
        max_action_s=1.5,
        min_pause_s=0.3,
        max_pause_s=0.8,
    ),
    sizes={"train": 3, "test_shifted": 1},
    fewer={"test_shifted": 1, "train": 1},
    min_videos=1,
    tables=(TRUTH_FOLDER, SEGMENTS_FOLDER),
)
