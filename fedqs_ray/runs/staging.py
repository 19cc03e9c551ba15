"""Staging of runs whose folder is in a store: they work in a private local folder, which is mirrored to the store."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError, FedqsError, RunFolderError, RunInterrupted, SimulationStopped
from fedqs_ray.core.text import hide_secrets
from fedqs_ray.runs.folder import begin_run, clear_folder, is_run, select_own_files
from fedqs_ray.runs.layout import CONFIG, TABLE_FILES
from fedqs_ray.runs.store import Mirror, Store, sending_order
from fedqs_ray.runs.temporary import keep_folder, temporary_folder

log = logging.getLogger(__name__)


@contextlib.contextmanager
def stage_run(uri: str, what: str) -> Iterator[Mirror]:
    """A mirror of a new private folder at `uri`, which nothing is read from or written to yet.

    At the end what is new is pushed and the private folder removed. Where that cannot be, it stays, and what is
    raised says where it is. Mistakes are told of the URI, not of the private folder; `what` is what the user gave.
    Raises `ConfigError` where the URI is at fault.
    """
    with temporary_folder() as room:
        folder = room / "run"
        folder.mkdir()
        try:
            mirror = Mirror(Store(uri), folder)
        except OSError as error:
            raise ConfigError(f"{hide_secrets(what)}: {error}") from None
        try:
            yield mirror
        except BaseException as error:
            if isinstance(error, FedqsError):
                error.args = (str(error).replace(str(folder), mirror.store.name),)
            if isinstance(error, SimulationStopped | RunInterrupted):
                error.folder = uri
            deliver(mirror, error)
            raise
        deliver(mirror)


def deliver(mirror: Mirror, error: BaseException | None = None) -> None:
    """Push for the last time, after a run that ended with `error`; not after a plain KeyboardInterrupt."""
    if not mirror.begun:
        return
    at_once = type(error) is KeyboardInterrupt
    try:
        if not at_once:
            mirror.push()
            return
        why = "interrupted"
    except OSError as failure:
        why = str(failure)
    except KeyboardInterrupt:
        why, at_once = "interrupted", True
    keep_folder(mirror.folder.parent)
    line = f"{mirror.store.name} is not up to date: {why}; the run is in {mirror.folder}"
    if isinstance(error, SimulationStopped | RunInterrupted):
        error.args, error.folder = (f"{error}; {line}",), str(mirror.folder)
    elif error:
        log.warning(line)
    elif at_once:
        raise RunInterrupted(line, str(mirror.folder))
    else:
        stopped = SimulationStopped(line)
        stopped.folder = str(mirror.folder)
        raise stopped


@contextlib.contextmanager
def store_errors(what: str) -> Iterator[None]:
    """A failure of the store as a `RunFolderError`."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{what}: {error}") from None


def check_store(mirror: Mirror, overwrite: bool) -> None:
    """Raise `RunFolderError` if a new run cannot be at the mirror's place."""
    what = f'run.out = "{mirror.store.name}"'
    with store_errors(f"{what}: cannot be read"):
        found = mirror.store.names()
        mirror.store.fetch(found & {CONFIG, *TABLE_FILES} if overwrite else (), mirror.folder)
    if found and not overwrite:
        raise RunFolderError(f"{what}: already exists; choose another folder, or pass --overwrite")
    if found and not is_run(mirror.folder):
        raise RunFolderError(f"{what}: holds no run, so --overwrite leaves it alone")
    clear_folder(mirror.folder)
    with store_errors(f"{what}: cannot be written"):
        mirror.store.probe()


def claim_store(mirror: Mirror, experiment: Experiment, overwrite: bool) -> Path:
    """Begin a run; returns the folder to work in. Two that begin at the same moment are not kept apart."""
    what = f'run.out = "{mirror.store.name}"'
    with store_errors(f"{what}: cannot be written"):
        found = mirror.store.names()
        if found and not overwrite:
            raise RunFolderError(f"{what}: already exists; choose another folder")
        mirror.store.remove(sorted(select_own_files(found), key=sending_order, reverse=True))
        begin_run(mirror.folder, experiment)
        mirror.begin()
    return mirror.folder


def fetch_run(mirror: Mirror) -> None:
    """Get the run at the mirror's place, to go on with it. Raises `RunFolderError`."""
    with store_errors(f"{mirror.store.name}: cannot be read"):
        mirror.fetch(select_own_files(mirror.store.names()))
