"""MultiSports (Li et al. 2021): who does what where in 3,200 clips of four sports, 66 actions.

    trainval/<sport>/<video>.mp4        <sport>: aerobic_gymnastics, basketball, football, volleyball
    trainval/multisports_GT.pkl         a dictionary:
        labels                          names of the classes, in the order of their ids
        train_videos, test_videos       a list with one list of names, `<sport>/<video>`
        nframes, resolution             name -> number of frames; name -> (height, width) in pixels
        gttubes                         name -> {label id -> [tube, ...]}, a tube being an array (frames, 5):
                                        number of the frame, and the actor's box x0, y0, x1, y1 in pixels

**Frame number N of a tube is decode index N - 1**: the release numbers the frames that FFmpeg wrote from 1.

The file is read as plain data, and nothing in it is run (`vidreason.plain_pickle`).

A row of a manifest is a video, so each action instance becomes a clip of its own: the frames from the first to the
last of its tube, the whole picture, written anew as H.264. A2O classifies such instances (section 4.5); how it cuts
them is not said. The boxes of all actors in those frames are kept as ground truth in the folder `truth`, in the form
that a synthetic world's has: the acting one is relevant. The published test part has no annotation, and papers report
on what the file calls test; a validation part can be taken from the training videos, whole videos at a time.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from datasets import Features, List, Value

from ...errors import ConfigError, ManifestError, VideoError
from ...files import file_hash, write_card, write_split, write_whole
from ...plain_pickle import StoredArray, read_plain_pickle
from ...provenance import FRAME_KEY_FEATURES
from ...video import decode_frames
from ...video.probe import VIDEO_SUFFIXES, Probed, VideoInfo, probe_video
from ...video.writer import write_video
from ..manifest import video_id_of
from ..splits import SplitAssignment, name_examples
from ..video_folder import FolderReport, TreeVideo, VideoTree, as_suffixes, suffix_of, walk_tree
from .known import KnownLayout, LayoutArguments, LayoutProblems, build_layout, find_root

NUM_CLASSES = 66
ANNOTATION_FILE = "multisports_GT.pkl"
CLIP_FOLDER, TRUTH_FOLDER, SETTINGS_FILE = "clips", "truth", "clips.json"
ACTOR = "person"

MAX_FRAMES = 2000
"""Longest instance that is cut: the whole of it is in memory. The longest of MultiSports have a few hundred frames."""

MAX_INSTANCES = 1_000_000
"""More than any copy has (37,701): a pickle can name one list of instances many times."""

_PARTS = ("labels", "train_videos", "test_videos", "nframes", "resolution", "gttubes")
_SPLIT_OF = {"train_videos": "train", "test_videos": "test"}
_DESCRIPTION = (
    "MultiSports (Li et al., 2021): a clip for each action instance, the whole picture from the first to the last "
    "frame of the actor's tube. `test` is what the release calls so, which is its validation part. A group holds the "
    "clips of one video. The boxes of the actors are in the folder `truth`."
)
_TRUTH_CARD = (
    "# Actors in the clips of MultiSports\n\nOne row per clip and frame. `objects` holds the box of each annotated "
    "actor as (x0, y0, x1, y1) in [0, 1] of the frame; `relevant` is true for the one whose action the clip is of. "
    "Actors who do none of the 66 actions in a frame have no box there: a detector's further persons are no mistakes."
)


@dataclass(frozen=True, eq=False)
class Tube:
    """One action instance.

    Attributes:
        video: Name of its video, `<sport>/<video>`.
        label: Name of its class.
        number: Which one of its class in its video, from 0.
        frame_indices: Decode indices of its frames, int64 (frames,), rising.
        boxes: The actor's box in each, float32 (frames, 4): x0, y0, x1, y1 in [0, 1] of the frame.
    """

    video: str
    label: str
    number: int
    frame_indices: np.ndarray
    boxes: np.ndarray

    @property
    def start_frame(self) -> int:
        """First frame of the clip."""
        return int(self.frame_indices[0])

    @property
    def end_frame(self) -> int:
        """Frame after the last of the clip."""
        return int(self.frame_indices[-1]) + 1

    @property
    def path(self) -> str:
        """Path of its clip, under the folder of clips."""
        name = "".join(letter if letter.isalnum() or letter in "-" else "_" for letter in self.label)
        return f"{self.video}/{name}_{self.number:03d}.mp4"


@dataclass(frozen=True)
class MultiSports:
    """A checked copy of MultiSports.

    Attributes:
        root: Folder of the videos.
        annotations: The annotation file.
        class_names: Names of the classes, in the order of their ids.
        video_of: Maps each name of a video to its file, relative to the root, where it is there.
        split_of: Maps each name of a video to its split.
        tubes: All instances that can be used, of videos that are there, in the order of the file.
        left_out: The other instances: path, reason and detail of each.
        num_instances: Instances in the annotation file.
        allow_incomplete: Whether videos and classes may be missing.
    """

    root: Path
    annotations: Path
    class_names: list[str]
    video_of: dict[str, str]
    split_of: dict[str, str]
    tubes: list[Tube] = field(repr=False)
    left_out: list[dict[str, str]] = field(repr=False)
    num_instances: int = 0
    allow_incomplete: bool = False


@dataclass
class MultiSportsArguments(LayoutArguments):
    """Where the videos (<sport>/<video>.mp4) and the annotation file are, and how instances are cut."""

    annotations: str | None = field(
        default=None, metadata={"help": f"The file {ANNOTATION_FILE}. Default: in the root or above the sports."}
    )
    validation_fraction: float = field(
        default=0.0, metadata={"help": "Share of each sport's training videos that become a split validation."}
    )
    max_train_instances: int | None = field(
        default=None, metadata={"help": "Cut so many instances of train, drawn at random. A2O's analyses use 5000."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of these two draws."})
    shorter_side_px: int = field(
        default=256, metadata={"help": "Shorter side of the clips in pixels; smaller videos keep their size."}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(f"validation_fraction is {self.validation_fraction}, expected a share in [0, 1)")
        if self.max_train_instances is not None and self.max_train_instances < 1:
            raise ConfigError(f"max_train_instances is {self.max_train_instances}, expected at least 1")
        if self.shorter_side_px < 16 or self.seed < 0:
            raise ConfigError(f"shorter_side_px is {self.shorter_side_px} and seed {self.seed}: at least 16 and 0")


def read_multisports(
    root: str | os.PathLike,
    annotations: str | os.PathLike | None = None,
    allow_incomplete: bool = False,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
) -> MultiSports:
    """Check a copy of MultiSports against its annotation file. No video is opened, and nothing in the file is run.

    An instance that cannot be used is left out and counted: `bad_tube` (no array of frames and boxes, or frames that
    do not rise), `outside_video` (frames before the first or behind the last), `bad_box` (no area within the frame),
    `too_long`, and `no_video` where its video is absent.

    Args:
        root: Folder of the sports' folders, or the one that holds them as `trainval`.
        annotations: The annotation file; by default `multisports_GT.pkl` in the root or in `trainval`.
        allow_incomplete: Whether to build from the videos that are there where others are missing.
        suffixes: Suffixes of video files.

    Raises:
        ManifestError: Naming what is missing or contradictory.
    """
    given, root = Path(root), find_root(root, "trainval")
    file = Path(annotations) if annotations is not None else _find_annotations(given, root)
    problems = LayoutProblems(root, allow_incomplete)
    facts = _read_facts(file)
    class_names = _class_names(file, facts["labels"])
    if len(class_names) != NUM_CLASSES:
        problems.add_missing(f"{file.name} has {len(class_names)} classes, MultiSports has {NUM_CLASSES}")
    split_of = _splits(file, facts, problems)
    video_of = _find_videos(root, suffixes)
    for split in dict.fromkeys(split_of.values()):
        listed = [name for name, of in split_of.items() if of == split]
        absent = [name for name in listed if name not in video_of]
        problems.add_missing(f"{len(absent)} of {len(listed)} videos of {split} are not there", absent)
    unlisted = [str(name)[:80] for name in facts["gttubes"] if name not in split_of]
    problems.add(f"{len(unlisted)} videos have instances and are in no list", unlisted)
    problems.check()
    reader = _TubeReader(file, facts, class_names)
    tubes, left_out = [], []
    for tube in reader.read():
        if isinstance(tube, Tube) and tube.video in video_of:
            tubes.append(tube)
        elif isinstance(tube, Tube):
            left_out.append({"path": tube.path, "reason": "no_video", "detail": f"{tube.video} is not there"})
        else:
            left_out.append(tube)
    return MultiSports(
        root, file, class_names, video_of, split_of, tubes, left_out, len(tubes) + len(left_out), allow_incomplete
    )


def build_multisports(data: MultiSports, args: MultiSportsArguments) -> dict[str, FolderReport]:
    """Cut the instances, write the manifest of the clips, and beside it the boxes of the actors.

    A clip that an earlier run with the same settings has written is not cut again, so a run may be broken off.

    Raises:
        ManifestError: The reasons of `build_layout`, or clips of other settings are in the folder.
    """
    out = Path(args.out)
    split_of = _draw_validation(data, args)
    chosen, left_out = _draw_instances(data, split_of, args)
    _check_settings(out, data, args)
    tree = VideoTree(out / CLIP_FOLDER, [TreeVideo(t.path, t.label) for t in chosen], [*data.left_out, *left_out])
    layout = KnownLayout(
        "multisports",
        tree,
        data.class_names,
        {"": SplitAssignment({tube.path: split_of[tube.video] for tube in chosen})},
        {tube.path: tube.video for tube in chosen},
        _DESCRIPTION,
        data.allow_incomplete,
    )
    # one of few words for each clip goes to the workers, and not the boxes
    spans = {tube.path: (data.video_of[tube.video], tube.start_frame, tube.end_frame) for tube in chosen}
    tree.root.mkdir(parents=True, exist_ok=True)
    reports = build_layout(
        layout, args, ClipCutter(data.root, tree.root, spans, args.shorter_side_px, args.max_pixels)
    )
    for folder, report in reports.items():
        _write_truth(Path(folder), report, data, {tube.path: tube for tube in chosen})
    return reports


def describe_instances(data: MultiSports, reports: Mapping[str, FolderReport]) -> str:
    """What became of all instances, for a terminal."""
    lines = []
    for folder, report in reports.items():
        kept = sum(len(rows) for rows in report.manifest.splits.values())
        reasons = Counter(entry["reason"] for entry in report.skipped)
        lines += [f"{split:<16}{len(rows):>9} clips" for split, rows in report.manifest.splits.items()]
        lines.append(f"instances: {data.num_instances}, kept {kept}, left out {sum(reasons.values())}")
        lines += [f"  {reason:<14}{count:>18}" for reason, count in sorted(reasons.items())]
        lines.append(f"written to {folder}")
    return "\n".join(lines)


@dataclass(frozen=True)
class ClipCutter:
    """Cuts one clip out of its video and reads the facts about it. A call for each clip, in any process.

    Args:
        root: Folder of the videos.
        clips: Folder of the clips.
        spans: Maps each clip's path to its video, first frame and frame after the last.
        shorter_side_px: Shorter side of the clips in pixels, for videos that are larger.
        max_pixels: Largest width x height of a video to accept.
    """

    root: Path
    clips: Path
    spans: Mapping[str, tuple[str, int, int]]
    shorter_side_px: int
    max_pixels: int | None = None

    def __call__(self, path: str) -> Probed:
        """The facts about a clip, or why there is none."""
        video, start, end = self.spans[path]
        try:
            written = self._written(path, end - start)
            return written or self._cut(self.root / video, path, start, end)
        except VideoError as error:
            return {
                "path": path,
                "reason": error.reason,
                "detail": f"{video}, frames {start} to {end}: {error.detail}",
            }

    def _written(self, path: str, num_frames: int) -> VideoInfo | None:
        """The clip of an earlier run, if it is there and whole."""
        if not (self.clips / path).is_file():
            return None
        info = probe_video(self.clips / path)
        return info if info.num_frames == num_frames and not info.damaged else None

    def _cut(self, source: Path, path: str, start: int, end: int) -> Probed:
        info = probe_video(source, max_pixels=self.max_pixels)
        if end > info.num_frames:
            detail = f"frames {start} to {end} of a video of {info.num_frames}"
            return {"path": path, "reason": "outside_video", "detail": detail}
        scale = min(1.0, self.shorter_side_px / min(info.height, info.width))
        # even sides, which H.264 wants
        size = tuple(max(2, 2 * round(side * scale / 2)) for side in (info.height, info.width))
        frames = decode_frames(source, range(start, end), size=(size[0], size[1]), max_pixels=self.max_pixels).frames
        return probe_video(write_video(self.clips / path, frames, info.fps))


class _TubeReader:
    """The instances of an annotation file, in its order, each as a `Tube` or as what is wrong with it."""

    def __init__(self, file: Path, facts: Mapping[str, Any], class_names: Sequence[str]):
        self.file, self.facts, self.class_names = file, facts, class_names

    def read(self) -> Iterator[Tube | dict[str, str]]:
        count = 0
        for video, by_label in self.facts["gttubes"].items():
            if not isinstance(by_label, dict):
                raise ManifestError(f"{self.file}: the instances of {video!r} are no dictionary")
            for label, tubes in by_label.items():
                known = isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(self.class_names)
                if not known or not isinstance(tubes, list):
                    raise ManifestError(
                        f"{self.file}: {video!r} has instances of an unknown class {str(label)[:40]!r}"
                    )
                count += len(tubes)
                if count > MAX_INSTANCES:
                    raise ManifestError(f"{self.file}: has more than {MAX_INSTANCES} instances")
                for number, stored in enumerate(tubes):
                    yield self._tube(video, self.class_names[label], number, stored)

    def _tube(self, video: str, label: str, number: int, stored: Any) -> Tube | dict[str, str]:
        nothing = np.zeros(1, np.int64), np.zeros((1, 4), np.float32)
        path = Tube(video, label, number, *nothing).path
        values = _numbers(stored)
        if values is None:
            return {"path": path, "reason": "bad_tube", "detail": "no array of frame numbers and boxes"}
        numbers, boxes = values[:, 0].astype(np.int64), values[:, 1:]
        if (numbers != values[:, 0]).any() or (np.diff(numbers) <= 0).any():
            return {"path": path, "reason": "bad_tube", "detail": "frame numbers that are not whole or do not rise"}
        indices = numbers - 1
        if indices[0] < 0 or indices[-1] >= self.facts["nframes"][video]:
            detail = f"frames {numbers[0]} to {numbers[-1]} of {self.facts['nframes'][video]}, counted from 1"
            return {"path": path, "reason": "outside_video", "detail": detail}
        if indices[-1] - indices[0] >= MAX_FRAMES:
            return {"path": path, "reason": "too_long", "detail": f"more than {MAX_FRAMES} frames"}
        height, width = self.facts["resolution"][video]
        shares = (boxes / np.array([width, height, width, height])).clip(0, 1).astype(np.float32)
        if not ((shares[:, 2] > shares[:, 0]) & (shares[:, 3] > shares[:, 1])).all():
            return {"path": path, "reason": "bad_box", "detail": f"a box without area within {width} x {height}"}
        return Tube(video, label, number, indices, shares)


def _numbers(stored: Any) -> np.ndarray | None:
    """A tube as finite float64 (frames, 5); None where it is none."""
    try:
        values = np.asarray(stored.array if isinstance(stored, StoredArray) else stored, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    # 2**31 frames would be a year: larger numbers would not be whole in float64
    is_tube = values.ndim == 2 and values.shape[1] == 5 and len(values) and bool((np.abs(values) < 2**31).all())
    return values if is_tube else None


def _find_annotations(given: Path, root: Path) -> Path:
    places = [root / ANNOTATION_FILE, given / ANNOTATION_FILE, given.parent / ANNOTATION_FILE]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ManifestError(f"{root}: no {ANNOTATION_FILE} in it or beside it; name the annotation file")
    return found


def _read_facts(file: Path) -> dict[str, Any]:
    facts = read_plain_pickle(file)
    lacking = [name for name in _PARTS if not isinstance(facts, dict) or name not in facts]
    if lacking:
        raise ManifestError(f"{file}: no dictionary with {', '.join(lacking)}; is this MultiSports' annotation file?")
    for name in ("nframes", "resolution", "gttubes"):
        if not isinstance(facts[name], dict):
            raise ManifestError(f"{file}: {name} is no dictionary")
    for name in facts["gttubes"]:
        # these names become paths
        parts = PurePosixPath(name).parts if isinstance(name, str) else ()
        if not parts or len(parts) > 2 or ".." in parts or parts[0] == "/" or not name.isprintable() or "\\" in name:
            raise ManifestError(f"{file}: {str(name)[:80]!r} is no <sport>/<video>")
        if not _is_count(facts["nframes"].get(name)):
            raise ManifestError(f"{file}: nframes has no number of frames of {name!r}")
        size = facts["resolution"].get(name)
        size = size.array.tolist() if isinstance(size, StoredArray) else size
        if not isinstance(size, tuple | list) or len(size) != 2 or not all(map(_is_count, size)):
            raise ManifestError(f"{file}: resolution has no height and width of {name!r}")
    return facts


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _class_names(file: Path, names: Any) -> list[str]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ManifestError(f"{file}: labels is no list of names")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ManifestError(f"{file}: labels names {name_examples(repeated)} twice")
    return names


def _splits(file: Path, facts: Mapping[str, Any], problems: LayoutProblems) -> dict[str, str]:
    """Name of each video -> its split."""
    split_of: dict[str, str] = {}
    both: list[str] = []
    for name, split in _SPLIT_OF.items():
        lists = facts[name]
        # a list of folds, of which there is one; some copies have the list of names itself
        videos = lists[0] if isinstance(lists, list) and len(lists) == 1 and isinstance(lists[0], list) else lists
        if not isinstance(videos, list) or not all(isinstance(video, str) for video in videos):
            raise ManifestError(f"{file}: {name} is no list of names of videos")
        both += [video for video in videos if split_of.setdefault(video, split) != split]
    problems.add(f"{len(both)} videos are in train_videos and in test_videos", both)
    if not split_of:
        problems.add(f"{file.name} lists no video")
    return split_of


def _find_videos(root: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """`<sport>/<video>`, and `<video>` for names without a sport -> path of the file under the root."""
    known = set(as_suffixes(suffixes))
    found: dict[str, str] = {}
    for path in walk_tree(root, 1)[0]:
        if suffix_of(path) in known and path.isprintable():
            parts = PurePosixPath(video_id_of(path)).parts
            found.setdefault("/".join(parts[-2:]), path)
            found.setdefault(parts[-1], path)
    return found


def _draw_validation(data: MultiSports, args: MultiSportsArguments) -> dict[str, str]:
    """Name of each video -> its split, with a share of each sport's training videos in `validation`."""
    split_of = dict(data.split_of)
    by_sport: dict[str, list[str]] = defaultdict(list)
    for video, split in sorted(split_of.items()):
        if split == "train":
            by_sport[video.split("/")[0]].append(video)
    for sport, videos in by_sport.items():
        rng = np.random.default_rng([args.seed, zlib.crc32(sport.encode())])
        count = round(len(videos) * args.validation_fraction)
        split_of |= {videos[place]: "validation" for place in rng.permutation(len(videos))[:count]}
    return split_of


def _draw_instances(
    data: MultiSports, split_of: Mapping[str, str], args: MultiSportsArguments
) -> tuple[list[Tube], list[dict[str, str]]]:
    """The instances that are cut, and the entries of those of train that were not drawn."""
    if args.max_train_instances is None:
        return data.tubes, []
    train = [place for place, tube in enumerate(data.tubes) if split_of[tube.video] == "train"]
    order = np.random.default_rng(args.seed).permutation(len(train))
    left = {train[place] for place in order[args.max_train_instances :]}
    detail = f"{args.max_train_instances} of {len(train)} instances were drawn"
    entries = [{"path": data.tubes[place].path, "reason": "not_drawn", "detail": detail} for place in sorted(left)]
    return [tube for place, tube in enumerate(data.tubes) if place not in left], entries


def _check_settings(out: Path, data: MultiSports, args: MultiSportsArguments) -> None:
    """Clips that were cut with other settings must not be taken for these."""
    settings = {"annotations_sha256": file_hash(data.annotations), "shorter_side_px": args.shorter_side_px}
    file = out / SETTINGS_FILE
    if file.is_file():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ManifestError(f"{file}: is not readable ({error}); choose another folder") from error
        if found != settings:
            raise ManifestError(f"{out}: holds clips of {found} and not of {settings}; choose another folder")
    elif (out / CLIP_FOLDER).exists():
        raise ManifestError(f"{out}: there is a folder {CLIP_FOLDER} already, without {SETTINGS_FILE}")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(settings, indent=2) + "\n")


def truth_features() -> Features:
    """The columns of the actors' boxes: those that ground truth of a synthetic world has, as far as they go."""
    box = {
        "name": Value("string"),
        "center": List(Value("float32")),
        "box": List(Value("float32")),
        "relevant": Value("bool"),
    }
    return Features({**FRAME_KEY_FEATURES, "objects": List(box)})


def _write_truth(folder: Path, report: FolderReport, data: MultiSports, tubes: Mapping[str, Tube]) -> None:
    """The boxes of all actors in the frames of each clip of a manifest."""
    by_video: dict[str, list[Tube]] = defaultdict(list)
    for tube in data.tubes:
        by_video[tube.video].append(tube)
    for split, rows in report.manifest.splits.items():
        entries = (
            entry for row in rows for entry in _truth_of(row, split, tubes[row["path"]], by_video[row["group"]])
        )
        write_split(folder / TRUTH_FOLDER, split, entries, truth_features())
    write_card(folder / TRUTH_FOLDER, report.manifest.splits, _TRUTH_CARD, pretty_name="Actors in MultiSports' clips")


def _truth_of(row: Mapping[str, Any], split: str, acting: Tube, all_of_video: Sequence[Tube]) -> Iterator[dict]:
    objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for tube in (acting, *(tube for tube in all_of_video if tube is not acting)):
        for index, box in zip(tube.frame_indices.tolist(), tube.boxes.tolist(), strict=True):
            if not acting.start_frame <= index < acting.end_frame:
                continue
            others = objects[index]
            # one actor can do two actions at once, and has then two tubes with the same box
            if any(entry["box"] == box for entry in others):
                continue
            name = f"{ACTOR} {len(others) + 1}" if others else ACTOR
            center = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
            others.append({"name": name, "center": center, "box": box, "relevant": tube is acting})
    for index in range(acting.start_frame, acting.end_frame):
        yield {
            "video_id": row["video_id"],
            "source": row["source"],
            "split": split,
            "frame_index": index - acting.start_frame,
            "timestamp_s": (index - acting.start_frame) / row["fps"],
            "frame_height": row["height"],
            "frame_width": row["width"],
            "objects": objects[index],
        }
