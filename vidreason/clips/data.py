"""From a manifest and a guidance table to the batches that a supervised model trains on."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import ConfigError, GuidanceError, VideoError, one_of_many, unforeseen
from ..guidance import MISSING, FrameGuidance, GuidanceIndex
from ..guidance.geometry import Rectangle
from ..manifests.manifest import Manifest
from ..video import DecodedFrames, decode_frames, jittered_indices, uniform_indices
from ..video.cache import SharedVideos, decode_whole_video
from .object_maps import ObjectMaps
from .packed_store import PackedGuidance
from .transforms import ClipTransform

logger = logging.getLogger(__name__)

IGNORED_LABEL = -100
"""The label of a clip that could not be read: it counts in no loss and no metric, and is reported as skipped."""

SAMPLING_POLICIES = ("uniform", "jittered")

Guidance = GuidanceIndex | PackedGuidance | None
"""Guidance of a table, joined by time; what packed clips carry themselves; or none."""

Extras = Callable[[], Mapping[str, float]]
"""Draws named numbers of a clip from torch's generator, which the clip has seeded; the collator stacks them."""

Row = TypeVar("Row")
"""What a reader needs to find the frames of a clip."""


@dataclass(frozen=True)
class ClipSettings:
    """How frames are taken from a video.

    Args:
        num_frames: Number of frames that are sampled from each clip.
        sampling: "uniform" (centres of equal segments), or "jittered" (a random frame of each segment).
        decode_max_side_px: Longer side in pixels that frames are scaled down to while decoding; None keeps them.
        cache: Whether every decoded video is kept in memory. Worth it where the data set is small and epochs are many.
        max_pixels: Largest width x height in pixels that is decoded; a video with larger frames is unreadable.

    Raises:
        ConfigError: There are no frames to sample, or the sampling is unknown.
    """

    num_frames: int
    sampling: str = "uniform"
    decode_max_side_px: int | None = None
    cache: bool = False
    max_pixels: int | None = None

    def __post_init__(self):
        if self.num_frames < 1:
            raise ConfigError(f"num_frames is {self.num_frames}, expected at least 1")
        if self.sampling not in SAMPLING_POLICIES:
            raise ConfigError(f"sampling is {self.sampling!r}, expected one of {SAMPLING_POLICIES}")


@dataclass(frozen=True)
class ClipEntry(Generic[Row]):
    """What is known of a clip before its frames are read.

    Args:
        number: Number of the clip, from which its randomness comes.
        video: Number of its video among those that a cache keeps.
        video_id: Id of its video, by which guidance is looked up and the log names it.
        label: Id of its class, or one for each frame.
        row: What its reader needs to find its frames.
        picked: Positions of the frames that it consists of; None samples them.
        guidance_times_s: Times in seconds to look guidance up at, one for each picked frame; None takes the frames'
            own.
        place: Named numbers that are given along with the clip.
    """

    number: int
    video: int
    video_id: str
    label: int | list[int]
    row: Row
    picked: Sequence[int] | None = None
    guidance_times_s: Sequence[float] | None = None
    place: Mapping[str, int] = field(default_factory=dict)


class ClipReader(ABC, Generic[Row]):
    """Where the frames of clips come from."""

    class_names: list[str]
    """Names of the classes in the order of the label ids."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of clips."""

    @abstractmethod
    def entry(self, index: int, epoch: int) -> ClipEntry[Row]:
        """What is known of a clip, which may lie elsewhere in its video in another epoch."""

    @abstractmethod
    def num_frames(self, entry: ClipEntry[Row], wanted: int) -> int:
        """How many frames there are to sample from.

        Args:
            entry: Clip that is sampled.
            wanted: Number of frames to sample.

        Raises:
            VideoError: There are none.
            ConfigError: There are too few, because the others were left out on purpose.
        """

    @abstractmethod
    def read(self, entry: ClipEntry[Row], picked: Sequence[int]) -> DecodedFrames:
        """Some of the frames, by position; repeats allowed.

        Raises:
            VideoError: They cannot be read.
        """

    @abstractmethod
    def read_whole(self, entry: ClipEntry[Row]) -> DecodedFrames:
        """All frames of the entry's video, in the order of their positions.

        Raises:
            VideoError: They cannot be read.
        """

    @property
    def num_videos(self) -> int:
        """Number of videos, which is that of the clips unless several come from one video."""
        return len(self)

    def entry_of_video(self, video: int) -> ClipEntry[Row]:
        """A clip of a video, by the video's number."""
        return self.entry(video, 0)

    def own_guidance(self, entry: ClipEntry[Row], picked: Sequence[int]) -> FrameGuidance:
        """The guidance that is stored with the frames, if any is."""
        return no_guidance(len(picked))


class VideoFileReader(ClipReader[Mapping[str, Any]]):
    """Reads clips from the video files of a manifest.

    Args:
        manifest: Table of the videos.
        split: Split whose videos are read.
        settings: Size and limits of the frames.
        video_cache: Decoded videos that several data sets share; those that are decoded whole join it.

    Raises:
        ManifestError: The split is not in the manifest.
    """

    def __init__(self, manifest: Manifest, split: str, settings: ClipSettings, video_cache: SharedVideos | None):
        self.class_names = manifest.class_names
        self.rows: list[dict[str, Any]] = manifest.split(split).to_list()
        self.video_root = manifest.video_root
        self.settings = settings
        self.video_cache = video_cache

    def __len__(self) -> int:
        return len(self.rows)

    def entry(self, index: int, epoch: int) -> ClipEntry[Mapping[str, Any]]:
        """The clip of a row of the manifest."""
        row = self.rows[index]
        return ClipEntry(index, index, row["video_id"], row["label"], row)

    def num_frames(self, entry: ClipEntry[Mapping[str, Any]], wanted: int) -> int:
        """The frames that the manifest counts."""
        return entry.row["num_frames"]

    def read(self, entry: ClipEntry[Mapping[str, Any]], picked: Sequence[int]) -> DecodedFrames:
        """Frames by their native index, decoded from the file."""
        settings = self.settings
        return decode_frames(
            self._path(entry),
            picked,
            max_side_px=settings.decode_max_side_px,
            max_pixels=settings.max_pixels,
            stand_ins=True,  # as the video processor reads it: a model is used on what it was trained on
        )

    def read_whole(self, entry: ClipEntry[Mapping[str, Any]]) -> DecodedFrames:
        """All frames of the file; others stand in for those that do not decode."""
        settings = self.settings
        return decode_whole_video(
            self._path(entry), settings.decode_max_side_px, settings.max_pixels, self.video_cache
        )

    def _path(self, entry: ClipEntry[Mapping[str, Any]]) -> Path:
        return self.video_root / entry.row["path"]


class CachedReader(ClipReader[Row]):
    """Keeps in memory what another reader has read, whole videos at a time.

    Args:
        reader: Reads a video the first time.
    """

    def __init__(self, reader: ClipReader[Row]):
        self.reader = reader
        self.class_names = reader.class_names
        self._videos: dict[int, DecodedFrames] = {}

    def __len__(self) -> int:
        return len(self.reader)

    def entry(self, index: int, epoch: int) -> ClipEntry[Row]:
        """As the other reader's."""
        return self.reader.entry(index, epoch)

    def num_frames(self, entry: ClipEntry[Row], wanted: int) -> int:
        """The frames that are in memory."""
        self.reader.num_frames(entry, wanted)  # names a clip that has too few, which memory does not tell
        return len(self.read_whole(entry))

    def read(self, entry: ClipEntry[Row], picked: Sequence[int]) -> DecodedFrames:
        """Frames by position, from memory."""
        whole = self.read_whole(entry)
        return DecodedFrames(
            whole.frames[list(picked)],
            [whole.frame_indices[i] for i in picked],
            [whole.timestamps_s[i] for i in picked],
            whole.clock,
        )

    def read_whole(self, entry: ClipEntry[Row]) -> DecodedFrames:
        """All frames of a video, from memory but for the first time."""
        if entry.video not in self._videos:
            self._videos[entry.video] = self.reader.read_whole(entry)
        return self._videos[entry.video]

    @property
    def num_videos(self) -> int:
        """Number of videos."""
        return self.reader.num_videos

    def entry_of_video(self, video: int) -> ClipEntry[Row]:
        """As the other reader's."""
        return self.reader.entry_of_video(video)

    def own_guidance(self, entry: ClipEntry[Row], picked: Sequence[int]) -> FrameGuidance:
        """As the other reader's."""
        return self.reader.own_guidance(entry, picked)


class Clips(Dataset, Generic[Row]):
    """Clips with guidance over the model's tokens, wherever their frames come from.

    Randomness of a clip comes from (seed, epoch, its number) alone, so that it is the same in any worker, in any order
    and after resuming. A video that cannot be read becomes a clip with the label `IGNORED_LABEL` and is named once in
    the log: it is counted, and ends nothing.

    Args:
        reader: Where the frames come from; kept in memory where `settings.cache` says so.
        split: Name of the split, for the log.
        transform: Turns frames and guidance into what the model takes.
        settings: How frames are taken.
        guidance: Where the evidence is; None trains and evaluates without.
        mirrored_labels: Label name -> label name under a horizontal flip, for actions that have a direction.
        seed: Seed of frame jitter and augmentation.
        extras: Draws further numbers of a clip, in its own random stream, such as which view of it is shown.
        objects: Where the maps of objects come from that are given beside the pixels; None gives none.

    Raises:
        ConfigError: A mirrored label is unknown.
    """

    def __init__(
        self,
        reader: ClipReader[Row],
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        guidance: Guidance = None,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        extras: Extras | None = None,
        objects: ObjectMaps | None = None,
    ):
        self.reader = CachedReader(reader) if settings.cache else reader
        self.split = split
        self.transform = transform
        self.settings = settings
        self.guidance = guidance
        self.seed = seed
        self.extras = extras
        self.objects = objects
        self.mirrored_labels = _mirrored_label_ids(reader.class_names, mirrored_labels or {})
        self.unreadable: dict[str, str] = {}  # video_id -> reason, as far as this process has seen
        # shared memory, so that workers that outlive an epoch see the next one
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A clip; see `make_clip`."""
        return self.read_clip(index)

    def read_clip(self, index: int, rectangle: Rectangle | None = None) -> dict[str, Any]:
        """A clip, cropped to a rectangle (x0, y0, x1, y1) in [0, 1] of its frames where one is given."""
        return self.make_clip(self.reader.entry(index, int(self._epoch)), rectangle)

    def read_view(
        self, index: int, number: int, count: int, rectangle_of: Callable[[int, int], Rectangle | None]
    ) -> dict[str, Any]:
        """A clip as one of several readings; see `vidreason.clips.views`.

        Args:
            index: Index of the clip.
            number: Which of the readings in time it is, from 0.
            count: How many there are; together they are so many times as many frames, sampled uniformly.
            rectangle_of: From the height and width of the frames to the part that is shown; None for all.
        """
        entry = self.reader.entry(index, int(self._epoch))
        try:
            num_frames = self.reader.num_frames(entry, self.settings.num_frames)
        except VideoError as error:
            return self._unreadable_clip(entry, error)
        picked = uniform_indices(num_frames, count * self.settings.num_frames)[number::count]
        return self.make_clip(replace(entry, picked=picked), rectangle_of)

    def frames(self, index: int, rng: np.random.Generator | None = None) -> DecodedFrames:
        """The sampled frames of a clip, before any transform: (frames, height, width, 3), uint8.

        Args:
            index: Index of the clip.
            rng: Generator of the jitter; without one, frames are sampled uniformly.

        Raises:
            VideoError: The video cannot be read.
        """
        entry = self.reader.entry(index, int(self._epoch))
        return self.reader.read(entry, self._pick(entry, rng))

    def set_epoch(self, epoch: int) -> None:
        """Move on all random choices. Called by the data loader before each epoch."""
        self._epoch.fill_(epoch)

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) of the tokens that guidance is given for."""
        return self.transform.token_grid

    @property
    def whole_frame(self) -> bool:
        """Whether clips show all of a frame."""
        return self.transform.whole_frame

    @property
    def num_tokens(self) -> int:
        """Number of tokens of one frame."""
        return self.token_grid[0] * self.token_grid[1]

    def make_clip(
        self,
        entry: ClipEntry[Row],
        rectangle: Rectangle | Callable[[int, int], Rectangle | None] | None = None,
    ) -> dict[str, Any]:
        """Read one clip, join its guidance and the objects in it, and transform all of it alike.

        Args:
            entry: Clip to read.
            rectangle: Part (x0, y0, x1, y1) in [0, 1] that the frames are cropped to, or what gives it for their
                height and width; None keeps them whole.

        Returns:
            What the collator takes: pixel_values (frames, channels, height, width), labels, guidance (frames, tokens),
            guidance_status, the entry's `place`, and what `extras` draws. With objects also object_maps (frames,
            classes, height, width), and maps_missing, the share of these maps that no detections speak for.

        Raises:
            DetectionError: A row of the detections of its frames breaks the contract.
        """
        # one stream of random numbers per clip and epoch, for numpy's and torch's choices alike
        clip_seed = np.random.SeedSequence([self.seed, int(self._epoch), entry.number])
        try:
            picked = self._pick(entry, np.random.default_rng(clip_seed))
            decoded = self.reader.read(entry, picked)
        except VideoError as error:
            return self._unreadable_clip(entry, error)
        except Exception as error:  # not `one_of_many`, which every clip would pass through
            return self._unreadable_clip(entry, unforeseen(entry.video_id, error))
        if callable(rectangle):
            rectangle = rectangle(*decoded.frames.shape[1:3])
        found = self._look_up(entry, picked, decoded)
        objects = self.objects.look_up(entry.video_id, decoded.timestamps_s) if self.objects else None
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would queue a call for every accelerator at every clip
            torch.default_generator.manual_seed(int(clip_seed.generate_state(1, np.uint64)[0] >> 1))
            clip = self.transform(decoded.frames, found.maps, rectangle, objects)
            extras = self.extras() if self.extras else {}
        shown = {} if objects is None else {"object_maps": clip.object_maps, "maps_missing": objects.missing}
        return {
            "pixel_values": clip.pixel_values,
            "labels": self._mirrored(entry.label) if clip.mirrored else entry.label,
            "guidance": clip.guidance,
            "guidance_status": found.statuses,
            **entry.place,
            **extras,
            **shown,
        }

    def _pick(self, entry: ClipEntry[Row], rng: np.random.Generator | None) -> Sequence[int]:
        """Positions of the frames that are taken; uniform where there is no generator for the jitter."""
        if entry.picked is not None:
            return entry.picked
        num_frames = self.reader.num_frames(entry, self.settings.num_frames)
        if self.settings.sampling == "jittered" and rng is not None:
            return jittered_indices(num_frames, self.settings.num_frames, rng)
        return uniform_indices(num_frames, self.settings.num_frames)

    def _look_up(self, entry: ClipEntry[Row], picked: Sequence[int], decoded: DecodedFrames) -> FrameGuidance:
        if self.guidance is None:
            return no_guidance(len(picked))
        if isinstance(self.guidance, GuidanceIndex):
            times_s = decoded.timestamps_s if entry.guidance_times_s is None else entry.guidance_times_s
            return self.guidance.lookup(entry.video_id, times_s)
        return self.reader.own_guidance(entry, picked)

    def _mirrored(self, label: int | list[int]) -> int | list[int]:
        """What a label, or each of several, becomes under a horizontal flip."""
        if isinstance(label, list):
            return [self.mirrored_labels.get(one, one) for one in label]
        return self.mirrored_labels.get(label, label)

    def _unreadable_clip(self, entry: ClipEntry[Row], error: VideoError) -> dict[str, Any]:
        self._report_unreadable(entry.video_id, error)
        height, width = self.transform.output_size
        with torch.random.fork_rng(devices=[]):  # the names alone: nothing is drawn for a clip that is not there
            extras = dict.fromkeys(self.extras() if self.extras else {}, 0.0)
        label = entry.label
        # all of its frames, not one: some models cannot leave out padded frames
        num_frames = len(label) if isinstance(label, list) else self.settings.num_frames
        shown = {"object_maps": self.objects.nothing(num_frames), "maps_missing": 1.0} if self.objects else {}
        return {
            "pixel_values": torch.zeros(num_frames, 3, height, width),
            "labels": [IGNORED_LABEL] * num_frames if isinstance(label, list) else IGNORED_LABEL,
            "guidance": torch.zeros(num_frames, self.num_tokens),
            "guidance_status": [MISSING] * num_frames,
            **entry.place,
            **extras,
            **shown,
        }

    def _report_unreadable(self, video_id: str, error: VideoError) -> None:
        """Name a video in the log, the first time that it cannot be read."""
        if video_id not in self.unreadable:
            self.unreadable[video_id] = str(error)
            logger.warning("skipped, split %s: %s", self.split, error)

    def fill_cache(self, progress: Callable[..., Any] | None = None) -> None:
        """Decode all videos now, so that the first epoch is no slower than the others.

        Args:
            progress: Wraps the iterable, as `tqdm.tqdm` does.
        """
        reader = self.reader

        def decode(video: int) -> tuple[str, VideoError] | None:
            entry = reader.entry_of_video(video)
            try:
                with one_of_many(entry.video_id):
                    reader.read_whole(entry)
            except VideoError as error:
                return entry.video_id, error
            return None

        # threads, since decoding spends its time outside Python's lock
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            failures = pool.map(decode, range(reader.num_videos))
            if progress is not None:
                failures = progress(failures, desc=f"decode {self.split}", total=reader.num_videos)
            for failure in failures:
                if failure is not None:
                    self._report_unreadable(*failure)


class GuidedClips(Clips[Mapping[str, Any]]):
    """Clips of the video files of one split of a manifest.

    Args:
        manifest: Table of the videos.
        split: Split whose videos are read.
        transform: Turns frames and guidance into what the model takes.
        settings: How frames are taken.
        guidance: Where the evidence is; None trains and evaluates without.
        mirrored_labels: Label name -> label name under a horizontal flip, for actions that have a direction.
        seed: Seed of frame jitter and augmentation.
        extras: Draws further numbers of a clip; see `Clips`.
        video_cache: Decoded videos that several data sets share, as `decode_whole_video` keeps them; None for none.
        objects: Where maps of objects come from; see `Clips`.

    Raises:
        ManifestError: The split is not in the manifest.
        ConfigError: A mirrored label is unknown.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        guidance: GuidanceIndex | None = None,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        extras: Extras | None = None,
        video_cache: SharedVideos | None = None,
        objects: ObjectMaps | None = None,
    ):
        reader = VideoFileReader(manifest, split, settings, video_cache)
        super().__init__(reader, split, transform, settings, guidance, mirrored_labels, seed, extras, objects)
        self.rows = reader.rows


def no_guidance(num_frames: int) -> FrameGuidance:
    """What is found for frames that no table has rows for."""
    return FrameGuidance([None] * num_frames, [MISSING] * num_frames)


def _mirrored_label_ids(class_names: list[str], pairs: Mapping[str, str]) -> dict[int, int]:
    unknown = sorted({*pairs, *pairs.values()} - set(class_names))
    if unknown:
        raise ConfigError(f"mirrored_labels name {unknown}, which are not among the classes {class_names}")
    return {class_names.index(label): class_names.index(mirror) for label, mirror in pairs.items()}


class GuidedClipCollator:
    """Makes a batch of clips, of unequal length too; turns the statuses of guidance into the mask of the spatial loss.

    Gives pixel_values (batch, frames, channels, height, width), frame_mask (batch, frames), labels (batch,),
    guidance (batch, frames, tokens), guidance_mask (batch, frames), (batch,) of each number that `extras` drew, and
    of clips with objects object_maps (batch, frames, classes, height, width) and maps_missing (batch,). Shorter clips
    are padded at the end with zeros.
    """

    def __call__(self, clips: list[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch of some clips."""
        tokens = {clip["guidance"].shape[-1] for clip in clips}
        if len(tokens) > 1:
            raise GuidanceError(f"clips of one batch have guidance over {sorted(tokens)} tokens")
        lengths = torch.tensor([len(clip["pixel_values"]) for clip in clips])
        frame_mask = torch.arange(int(lengths.max())) < lengths[:, None]
        guidance = _pad_stack([clip["guidance"] for clip in clips])
        is_ok = _pad_stack([torch.tensor([status == "ok" for status in clip["guidance_status"]]) for clip in clips])
        batch = {
            "pixel_values": _pad_stack([clip["pixel_values"] for clip in clips]),
            "frame_mask": frame_mask,
            "labels": self.collate_labels(clips),
            "guidance": guidance,
            # guidance that a crop moved out of the view is ok in the table and all zero here
            "guidance_mask": is_ok & (guidance.sum(dim=-1) > 0),
        }
        if "object_maps" in clips[0]:
            batch["object_maps"] = _pad_stack([clip["object_maps"] for clip in clips])
        for name in (name for name, value in clips[0].items() if isinstance(value, float)):
            if all(name in clip for clip in clips):
                batch[name] = torch.tensor([clip[name] for clip in clips], dtype=torch.float32)
        return batch

    def collate_labels(self, clips: list[Mapping[str, Any]]) -> torch.Tensor:
        """The labels of clips: int64 (batch,)."""
        return torch.tensor([clip["labels"] for clip in clips])


def _pad_stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Stack along a new first dimension; shorter ones are padded with zeros along their first."""
    if all(tensor.shape == tensors[0].shape for tensor in tensors):
        return torch.stack(tensors)  # the same as below, in a third of the time
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
