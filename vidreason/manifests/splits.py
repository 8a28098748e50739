"""Assigning videos to splits: from files, by fractions, or by groups that stay whole."""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import ManifestError
from .manifest import video_id_of

logger = logging.getLogger(__name__)

MAX_GROUPS_BYTES = 64 * 2**20
"""A line of 60 bytes for each of a million videos."""

_EXAMPLES = 5
_SUFFIX = re.compile(r"\.(?=\w*[A-Za-z])\w{2,4}$")  # with a letter: `v1.5` is a name


@dataclass(frozen=True)
class SplitAssignment:
    """Which video goes into which split.

    Attributes:
        split_of: Maps a video path to its split, for the videos that are in one.
        unlisted: Paths of videos that no split names.
        unknown: Maps a split to the names in its file that no video of the tree has.
    """

    split_of: dict[str, str]
    unlisted: list[str] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)


def groups_from_pattern(paths: Iterable[str], pattern: str) -> dict[str, str]:
    r"""The group of each video path: what the pattern's first group matches.

    Args:
        paths: POSIX paths relative to the video root.
        pattern: Regular expression that is searched in the path, such as `_g(\d+)_` for UCF101.

    Raises:
        ManifestError: no valid pattern with a group, or paths that do not match, with examples.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ManifestError(f"group pattern {pattern!r} is not a regular expression: {error}") from error
    if expression.groups < 1:
        raise ManifestError(f"group pattern {pattern!r} has no group; put the name's part in parentheses")
    matches = {path: expression.search(path) for path in paths}
    groups = {path: match.group(1) for path, match in matches.items() if match and match.group(1)}
    if len(groups) < len(matches):
        others = [path for path in matches if path not in groups]
        raise ManifestError(f"{len(others)} videos do not match {pattern!r}, such as {name_examples(others)}")
    return groups


def groups_from_file(paths: Iterable[str], file: str | os.PathLike) -> dict[str, str]:
    """The group of each video path by a table of names, for groups that no name holds, such as source videos.

    Args:
        paths: POSIX paths relative to the video root.
        file: JSON object: video path, with or without its suffix, or file name without folder and suffix -> group, a
            text or a whole number, or null where it is not known. At most `MAX_GROUPS_BYTES`.

    Returns:
        The group of each path that has one. A video whose group is not known could be of any, and so on both sides of
        a split: it is not among them.

    Raises:
        ManifestError: The file cannot be read, is no such object, or names the group of no video.
    """
    try:
        if Path(file).stat().st_size > MAX_GROUPS_BYTES:
            raise ManifestError(f"{file}: larger than {MAX_GROUPS_BYTES} bytes, which no table of groups is")
        table = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{file}: the groups cannot be read ({error})") from error
    if not isinstance(table, dict):
        raise ManifestError(f"{file}: holds {type(table).__name__}, expected an object of video name -> group")
    bad = [name for name, group in table.items() if isinstance(group, bool) or not isinstance(group, str | int | None)]
    if bad:
        raise ManifestError(f"{file}: the groups of {name_examples(bad)} are no texts, whole numbers or null")
    groups = {}
    for path in paths:
        names = (path, video_id_of(path), PurePosixPath(path).stem)
        group = next((table[name] for name in names if name in table), None)
        if group is not None and group != "":
            groups[path] = str(group)
    if not groups:
        raise ManifestError(f"{file}: has the group of no video; its names are {name_examples(list(table))}")
    return groups


def split_by_files(paths: Sequence[str], files: Mapping[str, str | os.PathLike]) -> SplitAssignment:
    """Splits as published: one text file per split that lists its videos.

    A line is `<class>/<video>` with or without the suffix, and whatever follows after white space, such as the label
    ids of UCF101's lists. Any line ends will do.

    Args:
        paths: POSIX paths relative to the video root.
        files: Maps each split to its file.

    Raises:
        ManifestError: a file that is not there or names no video of the tree, or a video in two splits.
    """
    # by name without a suffix too, which a conversion changes
    path_of = {video_id_of(path): path for path in paths} | {path: path for path in paths}
    split_of: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    for split, file in files.items():
        found = 0
        for line in read_list(file, f"the list of split {split!r}"):
            path = _match_line(line, path_of)
            if path is None:
                unknown.setdefault(split, []).append(line)
                continue
            if split_of.setdefault(path, split) != split:
                raise ManifestError(f"{file}: {path} is in split {split_of[path]!r} and in {split!r}")
            found += 1
        if not found:
            raise ManifestError(f"{file}: names no video of the tree, such as {name_examples(unknown.get(split, []))}")
    for split, names in unknown.items():
        logger.warning("%s: %d names are not in the tree, such as %s", files[split], len(names), name_examples(names))
    return SplitAssignment(split_of, [path for path in paths if path not in split_of], unknown)


def split_by_fractions(
    class_of: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> SplitAssignment:
    """Random splits of given sizes, the same for the same seed.

    Without groups each class is divided on its own, so that a class with at least as many videos as there are splits
    is in all of them, and another class that comes or goes changes nothing. With groups, whole groups are dealt out,
    large ones first, to the split that lacks most videos; classes are then divided only as evenly as the groups allow.

    Args:
        class_of: Maps each video path to its class.
        fractions: Maps each split to its share; they sum to 1.
        seed: Seed of the shuffle.
        groups: Maps each video path to its group, for groups that stay whole; None divides class by class.

    Raises:
        ManifestError: fractions that are not above zero or do not sum to 1, or fewer groups than splits.
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ManifestError(f"fractions must be above zero and sum to 1, got {dict(fractions)}")
    if groups is not None:
        return SplitAssignment(_deal_groups(sorted(class_of), fractions, seed, groups))
    split_of: dict[str, str] = {}
    members_of: dict[str, list[str]] = {}
    for path in sorted(class_of):
        members_of.setdefault(class_of[path], []).append(path)
    for name, members in members_of.items():
        # a seed for each class, so that one more class does not shuffle the others; `hash` differs by process
        order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(members))
        start = 0
        for split, count in _share_out(len(members), fractions).items():
            split_of.update((members[position], split) for position in order[start : start + count])
            start += count
    return SplitAssignment(split_of)


def split_by_groups(groups: Mapping[str, str], held_out: Mapping[str, Sequence[str]]) -> SplitAssignment:
    """Named groups are held out, such as the test persons; all others are in `train`.

    Args:
        groups: Maps each video path to its group.
        held_out: Maps each split to the groups that it gets.

    Raises:
        ManifestError: a group that no video has, or one that is named for two splits.
    """
    known = set(groups.values())
    split_of_group: dict[str, str] = {}
    for split, names in held_out.items():
        for name in names:
            if name not in known:
                raise ManifestError(f"no video is of group {name!r} ({split}); groups are {sorted(known)}")
            if split_of_group.setdefault(name, split) != split:
                raise ManifestError(f"group {name!r} is named for {split_of_group[name]!r} and for {split!r}")
    return SplitAssignment({path: split_of_group.get(group, "train") for path, group in groups.items()})


def read_list(file: str | os.PathLike, what: str) -> list[str]:
    """The lines of a text file that are not empty, without white space around them. Any line ends will do.

    It is for lists of names. Where a line's number says what it is about, `read_lines` keeps the empty ones.

    Args:
        file: The file, UTF-8 with or without a byte order mark.
        what: What the file is in the data set, for the message.

    Raises:
        ManifestError: the file cannot be read.
    """
    return [line for line in read_lines(file, what) if line]


def read_lines(file: str | os.PathLike, what: str) -> list[str]:
    """All lines of a text file, empty ones too, without white space around them. As `read_list`."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")  # which makes every line end a "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: {what} cannot be read ({error})") from error
    # not `splitlines`, which also breaks at signs such as a form feed, and would move the lines behind one
    lines = [line.strip() for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]  # behind the last line's end there is no further line


def name_examples(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    return ", ".join(map(repr, names[:_EXAMPLES])) + (", ..." if len(names) > _EXAMPLES else "") or "(none)"


def _match_line(line: str, path_of: Mapping[str, str]) -> str | None:
    """The path that a line names. Names may hold spaces, so words are taken from the line's end until one fits."""
    name = line.replace("\\", "/").removeprefix("./")
    while name:
        if name in path_of:
            return path_of[name]
        # lists made before a conversion name files by their old suffix
        if _SUFFIX.search(name) and video_id_of(name) in path_of:
            return path_of[video_id_of(name)]
        name = name.rsplit(None, 1)[0] if len(name.split(None, 1)) > 1 else ""
    return None


def _share_out(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that sum to `count`, by largest remainder; at least one for each split where there are enough."""
    least = 1 if count >= len(fractions) else 0
    shares = {split: max(least, int(count * fraction)) for split, fraction in fractions.items()}
    while sum(shares.values()) != count:
        lacking = {split: count * fraction - shares[split] for split, fraction in fractions.items()}
        if sum(shares.values()) < count:
            shares[max(lacking, key=lambda split: lacking[split])] += 1
        else:
            shares[min((split for split in shares if shares[split] > least), key=lambda split: lacking[split])] -= 1
    return shares


def _deal_groups(
    paths: Sequence[str], fractions: Mapping[str, float], seed: int, groups: Mapping[str, str]
) -> dict[str, str]:
    sizes = Counter(groups[path] for path in paths)
    if len(sizes) < len(fractions):
        raise ManifestError(f"{len(sizes)} groups ({sorted(sizes)}) cannot fill {len(fractions)} splits")
    shuffled = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    held = dict.fromkeys(fractions, 0)
    split_of_group: dict[str, str] = {}
    waiting = sorted(shuffled, key=lambda group: -sizes[group])  # stable, so the shuffle orders groups of one size
    for position, group in enumerate(waiting):
        unfilled = [split for split in fractions if not held[split]]
        open_splits = unfilled if len(unfilled) == len(waiting) - position else list(fractions)
        split = max(open_splits, key=lambda split: fractions[split] * len(paths) - held[split])
        split_of_group[group] = split
        held[split] += sizes[group]
    return {path: split_of_group[groups[path]] for path in paths}
