"""A folder for all that visitors leave: deleted when it is old, when the app ends, and else when the next one starts.

Uploads, and what is drawn of them, lie in one folder of this process alone, so that nothing of other programs, or of
another Gradio on this machine, is ever touched. Gradio deletes whole uploads itself; one that is cut off on its way
leaves a part of which Gradio knows nothing.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

_PREFIX = "vidreason_space_run_"
_LOCK = "in_use.lock"


class Scratch:
    """The folder of this process, with `uploads` and `drawn` in it.

    Args:
        root: Folder that it is made in; what earlier processes of this user left there is deleted, where they have
            ended. None is the one that GRADIO_TEMP_DIR names, or else the system's for temporary files.
    """

    def __init__(self, root: Path | None = None):
        root = root or Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
        root.mkdir(parents=True, exist_ok=True)
        delete_leftovers(root)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        self._lock = FileLock(self.folder / _LOCK)  # the system lets go of it when this process ends, however it does
        self._lock.acquire(timeout=0)
        self.uploads, self.drawn = self.folder / "uploads", self.folder / "drawn"
        self.uploads.mkdir()
        self.drawn.mkdir()

    def sweep_uploads(self, max_age_s: float, max_idle_s: float, keep: Collection[str] = ()) -> int:
        """Delete uploads that are old, parts of uploads that nothing is added to any more, and empty folders.

        Args:
            max_age_s: Seconds after its last change at which a file goes.
            max_idle_s: The same for parts of uploads, which lie in the folder itself; whole ones have a folder each.
            keep: Paths of files that stay, such as Gradio's copies of the examples.

        Returns:
            Number of files that were deleted.
        """
        now_s, kept, num_deleted = time.time(), {os.path.realpath(path) for path in keep}, 0
        for path in _files(self.uploads):
            most_s = max_idle_s if path.parent == self.uploads else max_age_s
            if os.path.realpath(path) not in kept and _age_s(path, now_s) > most_s:
                path.unlink(missing_ok=True)
                num_deleted += 1
        for folder in [path for path in self.uploads.iterdir() if path.is_dir() and not path.is_symlink()]:
            if _age_s(folder, now_s) > max_age_s:
                _remove_if_empty(folder)
        return num_deleted

    def close(self) -> None:
        """Delete all of it."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def delete_leftovers(root: Path) -> list[Path]:
    """Delete the folders of processes of this user that have ended without doing so, as after a SIGKILL.

    Args:
        root: Folder in which they were made.

    Returns:
        Folders that were deleted.
    """
    deleted = []
    for folder in sorted(root.glob(f"{_PREFIX}*")):
        # a link, or another user's folder, could lead anywhere
        if folder.is_symlink() or not (folder / _LOCK).is_file() or folder.stat().st_uid != os.getuid():
            continue
        try:
            with FileLock(folder / _LOCK, timeout=0):
                pass
        except (Timeout, OSError):
            continue  # its process runs
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("deleted what an earlier run left in %s", folder)
        deleted.append(folder)
    return deleted


def sweep_regularly(sweep: Callable[[], object], every_s: float, wait: Callable[[float], bool]) -> None:
    """Sweep until the end; a sweep that fails is written down, and does not end those that follow.

    Args:
        sweep: Is called each time.
        every_s: Seconds between two calls.
        wait: Waits so many seconds, and says whether the end has come.
    """
    while not wait(every_s):
        try:
            sweep()
        except Exception as error:
            logger.error("a sweep has failed", exc_info=error)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _age_s(path: Path, now_s: float) -> float:
    try:
        return now_s - path.lstat().st_ctime  # as Gradio counts: copies have the time of change of their originals
    except FileNotFoundError:  # Gradio was there first
        return 0.0


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        logger.debug("%s is in use", folder)
