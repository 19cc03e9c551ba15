"""The lock on a run's folder."""

import contextlib
import fcntl
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path
import tomli_w
from fedqs_ray.runs.layout import LOG
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import read_toml
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.text import hide_secrets
from fedqs_ray.runs.location import find_local_folder
from fedqs_ray.runs.tensorboard import FOLDER, list_event_files
from fedqs_ray.runs.checkpoints import HALF, list_checkpoints
from fedqs_ray.runs.layout import LOCK, MODEL, UNFINISHED
from fedqs_ray.runs.tables import SCHEMAS, replace_file



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
