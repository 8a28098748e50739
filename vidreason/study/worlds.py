"""Synthetic worlds as data of a study, drawn anew for every seed, and the guidance that a chat server gives of one.

Reading a study and rebuilding its pages takes neither renderer nor server: these are imported where a world is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import ConfigError
from .making import digest, made_once
from .plugins import DataPlaces, GuidanceSource

PROMPT = "desktop_assembly"


class WorldKind:
    """A world of `vidreason.synthetic`, with its truth and guidance made of it for evaluation.

    Args:
        name: Its key under `data` of a study file.
        folder_name: How its folders under the work folder are called.
        open_world: Gives the class of its configuration and the function that renders it.
    """

    keys = frozenset({"split_sizes", "world", "first_seed"})
    run_keys: frozenset[str] = frozenset()
    is_drawn = True

    def __init__(self, name: str, folder_name: str, open_world: Callable[[], tuple[type[Any], Callable[..., Any]]]):
        self.name, self.folder_name, self._open_world = name, folder_name, open_world

    def has_truth(self, settings: Mapping[str, Any]) -> bool:
        """A world knows what it shows."""
        return True

    def make(self, study: str, settings: Mapping[str, Any], seed: int, folder: Path, num_proc: int) -> DataPlaces:
        """Render the world of a seed: see `vidreason.study.plugins.DataKind`.

        Raises:
            ConfigError: No world can be made of the settings.
        """
        drawn_seed = settings.get("first_seed", 0) + seed
        config_class, build = self._open_world()
        try:
            config = config_class(**settings.get("world", {}))
        except TypeError as error:
            raise ConfigError(f"study {study}: data, {self.name}, world: {error}") from None
        name = f"{self.folder_name}-{digest([asdict(config), settings.get('split_sizes')])}-seed{drawn_seed}"
        base = folder / name
        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / "world.lock"):
            build(base / "world", config, settings.get("split_sizes"), seed=drawn_seed, num_proc=num_proc)
        truth = base / "world" / "truth"
        evaluation = made_once(base / "guidance-true", lambda unfinished: _write_truth(unfinished, truth))
        return DataPlaces(base, base / "world", truth=truth, evaluation_guidance=str(evaluation))


def _actions() -> tuple[type[Any], Callable[..., Any]]:
    from ..synthetic import WorldConfig, build_synthetic_actions

    return WorldConfig, build_synthetic_actions


def _assembly() -> tuple[type[Any], Callable[..., Any]]:
    from ..synthetic.assembly import AssemblyConfig, build_synthetic_assembly

    return AssemblyConfig, build_synthetic_assembly


WORLDS = {
    "synthetic": WorldKind("synthetic", "world", _actions),
    "assembly": WorldKind("assembly", "assembly", _assembly),
}
"""Clips of one action each, and long videos of many."""


def _write_truth(folder: Path, truth: Path) -> None:
    from ..annotation import truth_guidance
    from ..files import read_folder
    from ..guidance import write_guidance

    rows = read_folder(truth)
    write_guidance(
        folder, {split: truth_guidance(rows[split]) for split in rows}, title="Ground-truth guidance, for evaluation"
    )


class ObjectsKind:
    """Guidance of the assembly world as a vision-language model gives it: names and centres of objects.

    A local chat server answers with the world's truth; everything else is the real path: frames are decoded, scaled
    and sent, answers are parsed, and centres become cells (see `vidreason.annotation`).
    """

    options = ()

    def problem(self, data_kind: str, has_truth: bool) -> str | None:
        """Why it cannot be made: the prompt is about the assembly world."""
        return None if data_kind == "assembly" else "guidance from objects is there for the assembly world"

    def is_drawn(self, source: GuidanceSource) -> bool:
        """The server answers alike for every seed."""
        return False

    def write(self, folder: Path, data: DataPlaces, split: str, source: GuidanceSource, seed: int) -> None:
        """Ask about the frames of a split, and write the table: see `vidreason.study.plugins.GuidanceKind`.

        Raises:
            VidreasonError: The world is not there, or the answers cannot be used.
        """
        from ..annotation.grid.run import LLMArguments
        from ..annotation.job import AnnotationArguments, AnnotationJob
        from ..llm.testing.chat_server import ChatServer
        from ..synthetic.world_answers import WorldAnswers

        arguments = AnnotationArguments(
            manifest=str(data.manifest),
            out=str(folder),
            splits=[split],
            grid=list(source.grid),
            frames_per_second=source.frames_per_second,
        )
        with ChatServer(WorldAnswers(data.manifest, splits=[split])) as server:
            llm = LLMArguments(base_url=server.url, prompt=PROMPT, policy=PROMPT)
            AnnotationJob(arguments, llm).run(progress=False)
