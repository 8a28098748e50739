"""Clips from a store of packed clips, by index or as a stream, as the same batches that video files give.

The frames of a clip are the packed ones, the sampling and its randomness are those of `GuidedClips`: a clip draws from
(seed, epoch, its index in the manifest), so that a store with all frames gives what the videos give, up to JPEG.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import ConfigError, VideoError
from ..guidance import FrameGuidance
from ..video import DecodedFrames
from ..video.jpeg import decode_jpegs
from .data import ClipEntry, ClipReader, Clips, ClipSettings, Extras, Guidance
from .object_maps import ObjectMaps
from .packed_store import PackedClip, PackedStore, open_parquet
from .transforms import ClipTransform


class PackedReader(ClipReader[PackedClip]):
    """Reads the clips of a split of a store.

    Args:
        store: Store of packed clips.
        rows: Rows of the split by index, in Arrow's format; None where rows come from elsewhere, one after another.
    """

    def __init__(self, store: PackedStore, rows: datasets.Dataset | None):
        self.class_names = store.class_names
        self.store = store
        self._rows = rows

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    def entry(self, index: int, epoch: int) -> ClipEntry[PackedClip]:
        """The clip of a row of the store."""
        if self._rows is None:
            raise IndexError("clips of a stream have no index")
        return self.entry_of(PackedClip(self._rows[index]), index)

    def entry_of(self, clip: PackedClip, index: int = 0) -> ClipEntry[PackedClip]:
        """The clip of a row that is already there."""
        return ClipEntry(clip.value("clip_index"), index, clip.value("video_id"), clip.value("label"), clip)

    def num_frames(self, entry: ClipEntry[PackedClip], wanted: int) -> int:
        """The frames that were packed.

        Raises:
            ConfigError: The video has more frames than were packed, and more are wanted than were packed.
            VideoError: The row has no frames.
        """
        clip = entry.row
        packed = len(clip.frame_indices)
        if packed < min(wanted, clip.value("num_frames")):
            if packed == 0:
                raise VideoError(f"{self.store.name}: {entry.video_id}", "no_frames")
            raise ConfigError(
                f"packed clips {self.store.name} hold {packed} of the {clip.value('num_frames')} frames of "
                f"{entry.video_id}, and {wanted} are to be sampled: pack more frames of each clip"
            )
        return packed

    def read(self, entry: ClipEntry[PackedClip], picked: Sequence[int]) -> DecodedFrames:
        """Packed frames by position, each decoded once however often it is picked.

        Raises:
            VideoError: A picture is damaged.
        """
        clip = entry.row
        once, positions = np.unique(picked, return_inverse=True)
        pictures = decode_jpegs(clip.jpegs(once.tolist()), f"{self.store.name}: {entry.video_id}")
        return DecodedFrames(
            pictures[positions] if len(once) < len(picked) else pictures,
            clip.frame_indices[picked].tolist(),
            clip.timestamps_s[picked].tolist(),
        )

    def read_whole(self, entry: ClipEntry[PackedClip]) -> DecodedFrames:
        """All packed frames."""
        return self.read(entry, list(range(len(entry.row.frame_indices))))

    def own_guidance(self, entry: ClipEntry[PackedClip], picked: Sequence[int]) -> FrameGuidance:
        """The guidance that was packed with the frames."""
        return entry.row.guidance(picked)


class PackedClips(Clips[PackedClip]):
    """Clips of one split of a store by index; memory-mapped, in the store's order.

    Args:
        store: Store of packed clips.
        split: Split of the store.
        transform: Turns frames and guidance into what the model takes.
        settings: How frames are taken; `decode_max_side_px` was decided when the store was packed.
        guidance: Guidance of another table, or the store's own; None trains and evaluates without.
        mirrored_labels: Label name -> label name under a horizontal flip, for actions that have a direction.
        seed: Seed of frame jitter and augmentation.
        extras: Draws further numbers of a clip; see `Clips`.
        objects: Where maps of objects come from, joined by the times of the packed frames; see `Clips`.

    Raises:
        ConfigError: The split is not in the store, or a mirrored label is unknown.
    """

    def __init__(
        self,
        store: PackedStore,
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        guidance: Guidance = None,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        extras: Extras | None = None,
        objects: ObjectMaps | None = None,
    ):
        reader = PackedReader(store, store.load(split).with_format("arrow"))
        super().__init__(reader, split, transform, settings, guidance, mirrored_labels, seed, extras, objects)


class PackedStream(Clips[PackedClip], IterableDataset):
    """Clips of one split of a store one after another, read from its Parquet files as they are needed.

    The order of an epoch follows from (seed, epoch) alone: groups of rows in random order, then a shuffle buffer over
    their clips. It is known before anything is read, so that workers divide it among themselves: each takes every
    n-th block of clips, decodes these alone, and every clip comes once. Blocks should be the batches of one step over
    all processes, whose parts accelerate gives to each of them; a clip is decoded only where it goes.

    Args:
        store: Store of packed clips.
        split: Split of the store.
        transform: Turns frames and guidance into what the model takes.
        settings: How frames are taken; nothing is kept in memory.
        guidance: Guidance of another table, or the store's own; None trains and evaluates without.
        mirrored_labels: Label name -> label name under a horizontal flip, for actions that have a direction.
        seed: Seed of the order, of frame jitter and of augmentation.
        shuffle_buffer: Number of clips among which the next one is drawn; 0 keeps the order of the store.
        block_size: Number of clips in a row that go to one worker: batch size times the number of processes.
        extras: Draws further numbers of a clip; see `Clips`.
        objects: Where maps of objects come from, joined by the times of the packed frames; see `Clips`.

    Raises:
        ConfigError: The split is not in the store, a file of it cannot be read, or a setting is out of range.
    """

    def __init__(
        self,
        store: PackedStore,
        split: str,
        transform: ClipTransform,
        settings: ClipSettings,
        guidance: Guidance = None,
        mirrored_labels: Mapping[str, str] | None = None,
        seed: int = 0,
        shuffle_buffer: int = 0,
        block_size: int = 1,
        extras: Extras | None = None,
        objects: ObjectMaps | None = None,
    ):
        if shuffle_buffer < 0 or block_size < 1:
            raise ConfigError(
                f"shuffle_buffer is {shuffle_buffer} and block_size {block_size}, expected >= 0 and >= 1"
            )
        if settings.cache:
            raise ConfigError("clips that are streamed are not kept in memory: switch cache_videos or streaming off")
        self._packed = PackedReader(store, None)
        super().__init__(self._packed, split, transform, settings, guidance, mirrored_labels, seed, extras, objects)
        self.shuffle_buffer = shuffle_buffer
        self.block_size = block_size
        self._groups: list[tuple[str, int, int]] = []  # (file, number of the row group in it, its rows)
        for file in store.files_of(split):
            with open_parquet(file) as parquet:
                sizes = [parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups)]
            self._groups += [(file, number, size) for number, size in enumerate(sizes)]

    def __len__(self) -> int:
        return sum(size for *_, size in self._groups)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Clips as `make_clip` gives them; each is decoded when something of it is asked for."""
        groups, order = self._plan()
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        mine = np.arange(len(order)) // self.block_size % count == number
        is_mine = np.zeros(len(order), dtype=bool)
        is_mine[order[mine]] = True
        rows = self._read(groups, is_mine)
        read: dict[int, PackedClip] = {}
        for row in order[mine].tolist():
            while row not in read:
                position, clip = next(rows)
                read[position] = clip
            yield _LazyClip(functools.partial(self._make, read.pop(row)))

    def _make(self, clip: PackedClip) -> dict[str, Any]:
        return self.make_clip(self._packed.entry_of(clip))

    def _plan(self) -> tuple[np.ndarray, np.ndarray]:
        """The order in which groups are read, and the order of the rows, by their number in the split."""
        starts = np.concatenate([[0], np.cumsum([size for *_, size in self._groups])]).astype(np.int64)
        groups = np.arange(len(self._groups))
        if not self.shuffle_buffer:
            return groups, np.arange(starts[-1])
        rng = np.random.default_rng([self.seed, int(self._epoch)])
        groups = rng.permutation(groups)
        as_read = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in groups])
        return groups, as_read[buffered_order(len(as_read), self.shuffle_buffer, rng)]

    def _read(self, groups: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, PackedClip]]:
        """The wanted rows with their numbers, group by group."""
        starts = np.concatenate([[0], np.cumsum([size for *_, size in self._groups])]).astype(np.int64)
        opened: tuple[str, pa.parquet.ParquetFile] | None = None
        for group in groups.tolist():
            file, number, size = self._groups[group]
            here = np.flatnonzero(wanted[starts[group] : starts[group] + size])
            if not len(here):
                continue
            if opened is None or opened[0] != file:
                opened = (file, open_parquet(file))
            try:
                table = opened[1].read_row_group(number).combine_chunks()
            except (OSError, pa.ArrowException) as error:
                raise ConfigError(f"{file}: row group {number} cannot be read ({error})") from error
            if len(here) < size:
                table = table.take(here)  # a copy, so that the rows of other workers do not stay in memory
            for position, row in enumerate(here.tolist()):
                yield int(starts[group]) + row, PackedClip(table.slice(position, 1))


def buffered_order(count: int, buffer_size: int, rng: np.random.Generator) -> np.ndarray:
    """The order in which a shuffle buffer gives away the numbers 0 to count - 1 that run through it: (count,).

    A number comes out at most `buffer_size` places early, so that little has to be held to follow the order.
    """
    size = min(buffer_size, count)
    held = np.arange(size)
    order = np.empty(count, dtype=np.int64)
    draws = rng.integers(0, size, count - size) if size else np.zeros(0, dtype=np.int64)
    for place, draw in enumerate(draws.tolist()):
        order[place] = held[draw]
        held[draw] = size + place
    order[count - size :] = rng.permutation(held)
    return order


class _LazyClip(Mapping):
    """A clip that is made when something of it is asked for, once: other processes skip those that are not theirs."""

    def __init__(self, make: Callable[[], dict[str, Any]]):
        self._make: Callable[[], dict[str, Any]] | None = make
        self._clip: dict[str, Any] = {}

    def _made(self) -> dict[str, Any]:
        if self._make is not None:
            self._clip, self._make = self._make(), None
        return self._clip

    def __getitem__(self, name: str) -> Any:
        return self._made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())


__all__ = ["PackedClips", "PackedStream", "buffered_order"]
