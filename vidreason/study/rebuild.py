"""Rebuilds the pages, tables and figures of all results under a folder from the JSON that lies beside them.

A file in the folder says what kind of results it holds: `study.yaml` those of a study or of leaving one group out,
`faithfulness.json` deletion and insertion curves. None of it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..attention.faithfulness_report import FILE_NAME, read_report, write_pages
from ..errors import ConfigError
from .leave_one_group_out import write_tables as write_group_tables
from .records import find_results
from .report import write_tables
from .study_file import GROUPS_KIND, STUDY_FILE, STUDY_KIND, read_yaml
from .systems import DEFAULT_SYSTEM, find_system


def rebuild_all(folder: Path) -> list[Path]:
    """Rebuild what lies in a folder and its subfolders, and return the folders.

    Args:
        folder: A study's results, or a folder of many.

    Raises:
        ConfigError: There is nothing to rebuild, or results are half-written, broken or foreign.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    found = sorted((path.parent, name) for name in REBUILDERS for path in folder.rglob(name))
    known = {place for place, _ in found}
    orphans = [place for place in find_results(folder) if place not in known]
    if orphans:
        raise ConfigError(f"{orphans[0]} holds runs, but no {STUDY_FILE} beside it says of which study")
    if not found:
        raise ConfigError(f"{folder} holds none of {', '.join(REBUILDERS)}, so there is nothing to rebuild")
    for place, name in found:
        REBUILDERS[name](place)
    return sorted(known)


def _rebuild_study(folder: Path) -> None:
    content = read_yaml(folder / STUDY_FILE)
    kind = content.get("kind", STUDY_KIND)
    if kind == STUDY_KIND:
        write_tables(folder)
    elif kind == GROUPS_KIND:
        if "title" not in content:
            raise ConfigError(f"{folder / STUDY_FILE} has no title")
        system = find_system(content.get("system", DEFAULT_SYSTEM), str(folder / STUDY_FILE))
        write_group_tables(folder, str(content["title"]), system)
    else:
        raise ConfigError(f"{folder / STUDY_FILE}: kind is {kind!r}, expected {STUDY_KIND} or {GROUPS_KIND}")


def _rebuild_faithfulness(folder: Path) -> None:
    write_pages(folder, read_report(folder))


REBUILDERS: dict[str, Callable[[Path], None]] = {
    STUDY_FILE: _rebuild_study,
    FILE_NAME: _rebuild_faithfulness,
}
"""Name of the file that tells a kind of results -> what rebuilds its folder."""
