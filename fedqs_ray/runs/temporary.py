"""Temporary folders: removed with the process that made them, or by the next one if it was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, MARK = "fedqs-", "lock"


@contextmanager
def temporary_folder(room: str | None = None) -> Iterator[Path]:
    """A new folder in `room`, or where temporary files belong; removed at the end, unless it was told to `keep`."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=room))
    with locked(made):
        sweep(made.parent)
        try:
            yield made
        finally:
            if (made / MARK).exists():
                shutil.rmtree(made, ignore_errors=True)


def keep_folder(made: Path) -> None:
    """Leave a folder where it is, for good."""
    (made / MARK).unlink()


@contextmanager
def locked(made: Path) -> Iterator[None]:
    """Mark a temporary folder as in use by this process, as long as it lives."""
    held = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        (made / MARK).touch()  # only now may others ask whether we live
        yield
    finally:
        os.close(held)


def sweep(room: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for mark in room.glob(f"{PREFIX}*/{MARK}"):
        with suppress(OSError):
            held = os.open(mark.parent, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(mark.parent, ignore_errors=True)
            finally:
                os.close(held)
