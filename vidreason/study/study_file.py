"""A study file: which runs a study consists of, and what their results are compared by.

    name: losses                      # file names and records carry it
    title: Spatial and temporal loss, alone and together
    question: Which of the two losses does what?
    recipe: tsvit.yaml                # beside the study file; settings of train.py that all runs share
    settings: {num_train_epochs: 20}  # of all runs of this study, in place of the recipe's
    seeds: [0, 1, 2, 3, 4]
    data: {synthetic: {}}             # the world is drawn anew for every seed; or {assembly: {}}, {manifest: folder}
    axes:
      supervision:
        none: {spatial_weight: 0.0, temporal_weight: 0.0}
        both: {spatial_weight: 1.0, temporal_weight: 0.1}
      guidance:
        unused: {}
        noisy: {producer: truth, missed_frames: 0.1, misplaced_cells: 0.1, extra_cells: 0.02}
    defaults: {guidance: noisy}       # the value of an axis that a block does not name
    blocks:                           # runs are the product of the lists of a block; `all` stands for every value
      - {supervision: none, guidance: unused}
      - {supervision: both}
    baseline: {supervision: none, guidance: unused}
    contrasts:                        # settings compared with others than the baseline, on matched seeds
      - title: Both losses against the spatial one alone
        of: {supervision: both, guidance: noisy}
        against: {supervision: spatial, guidance: noisy}
        metrics: [top1, loss]         # those of the study where they are not named
    system: rs                        # what trains (`vidreason.study.systems`); reasoning supervision by default

A value's settings take the place of the study's and the recipe's of the same name, as flags of train.py do. The values
of the axis `guidance` say how the training guidance is made (`GuidanceSource`), with recipe settings under `settings`.
`train_share` among the settings trains on a part of the training split, and settings that a kind of data has for
single runs (`DataKind.run_keys`) go to the data. Every run is compared with the run of the same
seed and of the same values, except on the axes that `baseline` names.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from .design import MANIFEST, Cell, Contrast, Study
from .systems import DATA_KINDS, DEFAULT_SYSTEM, GUIDANCE_KINDS, find_system

STUDY_FILE = "study.yaml"
"""The name of the copy that lies beside the results."""

STUDY_KIND, GROUPS_KIND = "study", "leave_one_group_out"

_REQUIRED = ("name", "title", "recipe", "seeds", "data", "axes", "blocks")
_OPTIONAL = (
    "kind",
    "question",
    "system",
    "settings",
    "defaults",
    "baseline",
    "metrics",
    "plots",
    "paper",
    "contrasts",
)
_CONTRAST_KEYS = {"title", "of", "against", "metrics"}
_VALUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]*")  # no "-", which stands between the values in a run's name


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: It is not there, or is no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds {type(value).__name__}, expected `name: value`")
    return value


def load_study(path: str | os.PathLike) -> Study:
    """Read a study file and its recipe.

    Args:
        path: The study file; its recipe lies beside it.

    Raises:
        ConfigError: Either cannot be read, or asks for what makes no study. The message names file and key.
    """
    path = Path(path)
    content = read_yaml(path)
    missing = [key for key in _REQUIRED if key not in content]
    unknown = sorted(map(str, set(content) - {*_REQUIRED, *_OPTIONAL}))
    if missing or unknown:
        raise ConfigError(f"{path}: missing keys {missing}, unknown keys {unknown}")
    _check(path, _VALUE_NAME.fullmatch(str(content["name"])), f"name is {content['name']!r}, expected letters")
    recipe_name = str(content["recipe"])
    _check(path, Path(recipe_name).name == recipe_name, f"recipe is {recipe_name!r}, expected a file beside the study")
    shared = content.get("settings", {})
    _check(path, isinstance(shared, dict), f"settings is {shared!r}, expected {{name: value}}")
    recipe = {**read_yaml(path.parent / recipe_name), **shared}
    _check(path, recipe.get("test_splits"), f"{recipe_name} names no test_splits, so there is nothing to report")
    axes = _read_axes(path, content["axes"])
    cells = _read_cells(path, content, axes)
    system = find_system(content.get("system", DEFAULT_SYSTEM), str(path))
    task = recipe.get("task", next(iter(system.tasks)))
    _check(path, task in system.tasks, f"task is {task!r}, expected one of {list(system.tasks)}")
    metrics = tuple(content.get("metrics", system.tasks[task].reported))
    data_name, data = _read_data(path, content["data"])
    study = Study(
        path=path,
        name=str(content["name"]),
        title=str(content["title"]),
        question=str(content.get("question", "")).strip(),
        recipe_path=path.parent / recipe_name,
        recipe=recipe,
        data=data,
        data_name=data_name,
        axes=axes,
        cells=cells,
        system=system,
        data_kind=DATA_KINDS[data_name],
        guidance_kinds={**system.guidance_kinds, **GUIDANCE_KINDS},
        baseline=_named_values(path, "baseline", content["baseline"], axes) if content.get("baseline") else None,
        metrics=metrics,
        plots=list(content.get("plots", [])),
        paper=content.get("paper"),
        contrasts=_read_contrasts(path, content.get("contrasts", []), cells, metrics),
    )
    _check_study(study)
    return study


def _check(path: Path, condition: Any, problem: str) -> None:
    if not condition:
        raise ConfigError(f"{path}: {problem}")


def _read_axes(path: Path, axes: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """Axes and values with their names as text."""
    _check(path, isinstance(axes, dict) and axes, "axes is empty, expected {axis: {value: settings}}")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for axis, values in axes.items():
        _check(path, isinstance(values, dict) and values, f"axes, {axis}: expected {{value: settings}}")
        for value, settings in values.items():
            place = f"axes, {axis}, {value}"
            _check(path, _VALUE_NAME.fullmatch(str(value)), f"{place}: a value is named by letters, digits, '_', '.'")
            _check(path, settings is None or isinstance(settings, dict), f"{place}: expected settings as a mapping")
        found[str(axis)] = {str(value): dict(settings or {}) for value, settings in values.items()}
    return found


def _read_data(path: Path, data: Any) -> tuple[str, dict[str, Any]]:
    """The name of the kind of data, and what the file says of them."""
    _check(path, isinstance(data, dict), "data is no mapping, expected {synthetic: {...}} or {manifest: folder, ...}")
    names = [name for name in DATA_KINDS if name in data]
    *first, last = DATA_KINDS
    _check(path, len(names) == 1, f"data has to name one of {', '.join(first)} and {last}, and names {names}")
    name = names[0]
    kind = DATA_KINDS[name]
    keys = sorted(set(kind.keys) - set(kind.run_keys))
    known = keys if name == MANIFEST else [name]
    _check(path, set(data) <= set(known), f"data has {sorted(set(data) - set(known))}, expected only {known}")
    if name == MANIFEST:
        return name, dict(data)
    settings = dict(data[name] or {})
    unknown = sorted(set(settings) - set(keys))
    _check(path, not unknown, f"data, {name} has {unknown}, expected {keys}")
    return name, {name: settings}


def _read_cells(path: Path, content: dict[str, Any], axes: dict[str, dict]) -> tuple[Cell, ...]:
    """The products of the blocks, in the order of the axes and their values.

    A setting that several blocks name is one, with the seeds of all.
    """
    defaults = _named_values(path, "defaults", content.get("defaults") or {}, axes)
    defaults |= {axis: next(iter(values)) for axis, values in axes.items() if len(values) == 1}
    blocks = content["blocks"]
    _check(path, isinstance(blocks, list) and blocks, "blocks is empty, expected a list of {axis: values}")
    seeds_of: dict[tuple[str, ...], dict[int, None]] = {}
    for number, block in enumerate(blocks):
        place = f"blocks, number {number}"
        _check(path, isinstance(block, dict), f"{place}: expected {{axis: values}}")
        block = {str(key): value for key, value in block.items()}
        unknown = sorted(set(block) - set(axes) - {"seeds"})
        _check(path, not unknown, f"{place}: {unknown} are no axes; there are {list(axes)}")
        seeds = _read_seeds(path, block.get("seeds", content["seeds"]))
        lists = [_block_values(path, place, axis, block.get(axis, defaults.get(axis)), axes) for axis in axes]
        for combination in itertools.product(*lists):
            seeds_of.setdefault(combination, {}).update(dict.fromkeys(seeds))
    orders = [list(values) for values in axes.values()]
    cells = sorted(seeds_of, key=lambda cell: [order.index(v) for order, v in zip(orders, cell, strict=True)])
    return tuple(Cell(dict(zip(axes, cell, strict=True)), tuple(seeds_of[cell])) for cell in cells)


def _block_values(path: Path, place: str, axis: str, wanted: Any, axes: dict[str, dict]) -> list[str]:
    _check(path, wanted is not None, f"{place}: no value for axis {axis!r}, and defaults name none")
    if wanted == "all":
        return list(axes[axis])
    names = [str(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
    unknown = [name for name in names if name not in axes[axis]]
    _check(path, names and not unknown, f"{place}: axis {axis!r} has no {unknown}; it has {list(axes[axis])}")
    return names


def _read_seeds(path: Path, seeds: Any) -> list[int]:
    good = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    _check(path, good and len(set(seeds)) == len(seeds), f"seeds are {seeds!r}, expected different numbers >= 0")
    return seeds


def _named_values(path: Path, key: str, chosen: Any, axes: dict[str, dict]) -> dict[str, str]:
    """{axis: value} with both known."""
    _check(path, isinstance(chosen, dict), f"{key} is {chosen!r}, expected {{axis: value}}")
    chosen = {str(axis): str(value) for axis, value in chosen.items()}
    for axis, value in chosen.items():
        _check(path, value in axes.get(axis, {}), f"{key}: axis {axis!r} has no value {value!r}")
    return chosen


def _read_contrasts(
    path: Path, listed: Any, cells: tuple[Cell, ...], metrics: tuple[str, ...]
) -> tuple[Contrast, ...]:
    """Comparisons that a study asks for by name: one setting against another that is not the baseline."""
    _check(path, isinstance(listed, list), f"contrasts is {listed!r}, expected a list")
    return tuple(
        _read_contrast(f"{path}: contrasts, number {number}", one, cells, metrics) for number, one in enumerate(listed)
    )


def _read_contrast(where: str, content: Any, cells: tuple[Cell, ...], metrics: tuple[str, ...]) -> Contrast:
    keys = set(content) if isinstance(content, Mapping) else set()
    if not _CONTRAST_KEYS - {"metrics"} <= keys or keys - _CONTRAST_KEYS:
        raise ConfigError(f"{where}: expected title, of, against, and at most metrics beside, got {content!r}")
    wanted = tuple(content.get("metrics", metrics))
    unknown = [metric for metric in wanted if metric not in metrics]
    if unknown:
        raise ConfigError(f"{where}: metrics {unknown} are not among the study's {list(metrics)}")
    of, against = (_only_cell(f"{where}, {side}", content[side], cells) for side in ("of", "against"))
    return Contrast(str(content["title"]), of, against, wanted)


def _only_cell(where: str, values: Any, cells: tuple[Cell, ...]) -> Cell:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is {values!r}, expected {{axis: value}}")
    named = {str(axis): str(value) for axis, value in values.items()}
    found = [cell for cell in cells if named.items() <= cell.values.items()]
    if len(found) != 1:
        names = [cell.name for cell in found]
        raise ConfigError(f"{where} is {named}, which is to be one setting of the study and is {names or 'none'}")
    return found[0]


def _check_study(study: Study) -> None:
    """What only shows once all is read."""
    path = study.path
    styles = study.system.metric_styles
    unknown = [metric for metric in study.metrics if metric not in styles]
    _check(path, study.metrics and not unknown, f"metrics has {unknown}, expected some of {list(styles)}")
    for cell in study.cells:
        is_baseline = study.baseline and all(cell.values[axis] == value for axis, value in study.baseline.items())
        compared = study.baseline is None or is_baseline or study.baseline_cell(cell)
        _check(
            path, compared, f"no block makes the baseline of {cell.name}, which is {cell.values} with {study.baseline}"
        )
    for run in study.runs():
        share = run.train_share
        good = isinstance(share, int | float) and 0 < share <= 1
        _check(path, good, f"{run.name}: train_share is {share!r}, expected a share in (0, 1]")
        if run.guidance_kind is not None:
            problem = run.guidance_kind.problem(run.data_name, run.data_kind.has_truth(run.data_settings))
            _check(path, problem is None, f"{run.name}: {problem}")
