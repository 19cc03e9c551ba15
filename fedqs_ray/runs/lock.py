"""The lock on a run's folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.runs.layout import LOCK


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Nobody else runs in `folder` meanwhile; a process that is killed lets go. Raises `ConfigError`."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: a run is going on there") from None
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
