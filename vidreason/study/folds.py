"""Folds that leave one group out (a person, a recording): it is tested on, and all others are trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..guidance import load_guidance, write_guidance
from ..manifests.manifest import load_manifest, write_manifest
from ..manifests.segments import SEGMENTS_FOLDER, load_segments, write_segments
from .making import digest, made_once
from .plugins import DataPlaces

ALL_VIDEOS = "all"
"""The split of manifest and guidance that holds all videos, unless another is named."""


@dataclass(frozen=True)
class Fold:
    """Where the data of one fold lie.

    Args:
        group: The group that is left out.
        manifest: Folder of the manifest, with the splits "train" and "test".
        guidance: Folder of the guidance of both.
    """

    group: str
    manifest: Path
    guidance: Path


class GroupedVideos:
    """Videos that each belong to a group, with their guidance, and their segments where there are any.

    Args:
        manifest: Folder of the manifest.
        guidance: Folder or Hub id of the guidance of all its videos.
        split: The split of both that holds all videos.
        test_pattern: Regular expression; only videos whose id has a match are tested on.

    Raises:
        ConfigError: There are fewer than two groups.
    """

    def __init__(self, manifest: str, guidance: str, split: str = ALL_VIDEOS, test_pattern: str = ""):
        self.folder, self.split, self.test_pattern = Path(manifest), split, test_pattern
        self.manifest = load_manifest(manifest)
        self.rows = self.manifest.split(split).to_list()
        self.guidance = load_guidance(guidance)[split].to_list()
        self.groups: list[str] = sorted({row["group"] for row in self.rows})
        if len(self.groups) < 2:
            raise ConfigError(f"{manifest} has the groups {self.groups}; leaving one out takes at least two")

    def write_fold(self, group: str, folder: Path) -> Fold:
        """Write manifest, guidance and segments of the fold of a group.

        Videos of the group that are not tested on are left out: they are like those that are.

        Raises:
            ConfigError: The group has nothing to test on.
        """
        split_of = {}
        for row in self.rows:
            if row["group"] != group:
                split_of[row["video_id"]] = "train"
            elif re.search(self.test_pattern, row["video_id"]):
                split_of[row["video_id"]] = "test"
        if "test" not in split_of.values():
            raise ConfigError(f"group {group!r} has no video that matches test_pattern {self.test_pattern!r}")
        fold = Fold(group, folder / "manifest", folder / "guidance")
        # resolved, since the manifest notes the way from its own folder, which may be moved once it is written
        video_root = self.manifest.video_root.resolve()
        rows = _by_split(self.rows, split_of)
        write_manifest(fold.manifest, rows, self.manifest.class_names, self.manifest.source, video_root)
        guidance = _by_split(self.guidance, split_of)
        named = {split: [{**row, "split": split} for row in rows] for split, rows in guidance.items()}
        write_guidance(fold.guidance, named)
        if (self.folder / SEGMENTS_FOLDER).is_dir():
            segments = load_segments(self.folder)[self.split]
            rows = _by_split(segments.to_list(), split_of)
            write_segments(fold.manifest, rows, segments.features["label"].names, self.manifest.source)
        return fold


def _by_split(rows: list[dict[str, Any]], split_of: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Rows by the split of their video; those of videos without a split are left out."""
    found: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for row in rows:
        if row["video_id"] in split_of:
            found[split_of[row["video_id"]]].append(row)
    return found


class GroupsKind:
    """Leaving one group out, as data of a study: the values of an axis say which, by the setting `test_group`.

    data: {leave_one_group_out: {manifest: folder, guidance: table, test_pattern: regular expression}}
    axes: {person: {ana: {test_group: ana}, ben: {test_group: ben}}, ...}
    """

    keys = frozenset({"manifest", "guidance", "split", "test_pattern", "test_group"})
    run_keys = frozenset({"test_group"})
    is_drawn = False

    def has_truth(self, settings: Mapping[str, Any]) -> bool:
        """Videos of real groups come without truth."""
        return False

    def make(self, study: str, settings: Mapping[str, Any], seed: int, folder: Path, num_proc: int) -> DataPlaces:
        """Write the fold of a run: see `vidreason.study.plugins.DataKind`.

        Raises:
            ConfigError: A setting is missing, or there is no such group.
        """
        missing = sorted({"manifest", "guidance", "test_group"} - set(settings))
        if missing:
            raise ConfigError(f"study {study}: data, leave_one_group_out: {missing} not set")
        group = str(settings["test_group"])
        chosen = {key: settings[key] for key in ("split", "test_pattern") if key in settings}

        def write(unfinished: Path) -> None:
            videos = GroupedVideos(settings["manifest"], settings["guidance"], **chosen)
            if group not in videos.groups:
                raise ConfigError(f"study {study}: test_group is {group!r}, expected one of {videos.groups}")
            videos.write_fold(group, unfinished)

        base = folder / f"{study}-fold-{digest(dict(settings))}"
        made_once(base / "fold", write)
        return DataPlaces(base, base / "fold" / "manifest", guidance=str(base / "fold" / "guidance"))
