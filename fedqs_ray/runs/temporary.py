"""Temporary folders: removed with the process that made them, or by the next one of the same user if it was killed.

A folder in use holds a file that its process locks. A folder whose lock is free was left by a process that died.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX, MARK = "fedqs-", "in-use.lock"
"""Of a folder's name, and of the file in it. (Version 0.1 locked the folder itself, and called its mark `lock`.)"""


@contextmanager
def temporary_folder(room: str | None = None) -> Iterator[Path]:
    """Make a folder in `room` (default: the system's place for temporary files) and remove it at the end.

    A folder given to `keep_folder` stays.
    """
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=room))
    with lock_folder(made):
        sweep_folders(made.parent)
        try:
            yield made
        finally:
            if (made / MARK).exists():
                shutil.rmtree(made, ignore_errors=True)


def keep_folder(made: Path) -> None:
    """Leave a temporary folder where it is, for good."""
    (made / MARK).unlink()


@contextmanager
def lock_folder(made: Path) -> Iterator[None]:
    """Mark a temporary folder as in use by this process, as long as the process lives."""
    # Under another name first: between making the file and locking it, another process's sweep would take it for left.
    lock = FileLock(made / f"{MARK}.new", thread_local=False)
    with lock:
        (made / f"{MARK}.new").replace(made / MARK)
        yield


def sweep_folders(room: Path) -> None:
    """Remove the temporary folders in `room` that killed processes of this user left."""
    for mark in room.glob(f"{PREFIX}*/{MARK}"):
        with suppress(OSError, Timeout):
            if not is_own(mark.parent, stat.S_ISDIR) or not is_own(mark, stat.S_ISREG):
                continue
            with FileLock(mark, timeout=0, thread_local=False):
                shutil.rmtree(mark.parent, ignore_errors=True)


def is_own(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether `path` is of the kind, is no link, and belongs to this user."""
    found = path.lstat()
    return found.st_uid == os.geteuid() and kind(found.st_mode)
