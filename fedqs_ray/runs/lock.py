"""The lock on a run's folder: exclusive, held by the operating system, released when its process ends or dies.

The file `.lock` stays in the folder, so its presence says nothing: only the lock itself does. (Removing it would let
two processes hold locks on two files of the same name.)
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.runs.layout import LOCK


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on `folder`; the operating system releases it if the process dies.

    Raises `RunFolderError` where another run holds it, OSError where the folder cannot be written.
    """
    lock = make_lock(folder)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"{folder}: a run is going on there") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock on `folder`; a folder without a lock file is not given one."""
    if not (folder / LOCK).exists():
        return False
    lock = make_probe(folder)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # a folder that may only be read
        return False
    lock.release()
    return False


@lru_cache(maxsize=16)
def make_probe(folder: Path) -> FileLock:
    """A lock object for questions, made once: a Ctrl-C while a discarded one is cleared away would be lost."""
    return make_lock(folder)


def make_lock(folder: Path) -> FileLock:
    """A lock object of its own for each holder, also within one thread, that never waits."""
    return FileLock(folder / LOCK, timeout=0, thread_local=False)
