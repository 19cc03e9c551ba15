"""A run's folder: which one, claimed for this run alone, and emptied of an earlier run but of nothing else."""

import contextlib
import fcntl
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path

import tomli_w

from fedqs_ray import logbook
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import read_toml
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.text import hide_secrets
from fedqs_ray.places import find_local_folder
from fedqs_ray.results import board, checkpoints, tables

TABLES = tuple(f"{table}{suffix}" for table in tables.SCHEMAS for suffix in (".arrows", ".parquet"))
FILES = (tables.LOCK, logbook.NAME, "config.toml", "error.txt", "report.html", tables.MODEL, *TABLES)
"""What a run leaves at the top of its folder."""
PACKAGES = ("fedqs_ray", "ray", "torch", "numpy", "pyarrow")


def here(out: str | Path) -> Path:
    """The folder that a grid or a sweep is written into. Raises `ConfigError` where it is elsewhere."""
    if (folder := find_local_folder(out)) is None:
        raise ConfigError(f'--out = "{hide_secrets(str(out))}": must be a folder on this machine')
    return folder


def check(experiment: Experiment, overwrite: bool) -> None:
    """Raise `ConfigError` if `run.out` cannot be the folder of a new run."""
    if experiment.run.out is None:
        return
    folder = Path(experiment.run.out)
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f'run.out = "{folder}": is a file')
        if folder.is_dir() and any(folder.iterdir()):
            if not overwrite:
                raise ConfigError(f'run.out = "{folder}": already exists; choose another folder, or pass --overwrite')
            if Path.cwd().is_relative_to(folder.resolve()):
                raise ConfigError(f'run.out = "{folder}": holds the current folder, so --overwrite leaves it alone')
            if not is_run(folder):
                raise ConfigError(f'run.out = "{folder}": holds no run, so --overwrite leaves it alone')
            with alone(folder):
                pass
    except OSError as error:
        raise ConfigError(f'run.out = "{folder}": cannot be read: {error.strerror}') from None


def is_run(folder: Path) -> bool:
    """Whether `folder` holds a run of ours, finished or not."""
    if not any((folder / f"rounds{suffix}").is_file() for suffix in (".parquet", ".arrows")):
        return False
    try:
        return "fedqs_ray" in read_toml(folder / "config.toml").get("versions", ())
    except ConfigError:
        return False


def claim(experiment: Experiment, overwrite: bool) -> Path:
    """Make the folder with the resolved configuration in it; from now on it is this run's.

    Without `run.out` it is the first runs/TASK-ALGORITHM-SEED that is free. Of several runs that are started
    at once on one folder only one gets it. Raises `ConfigError`.
    """
    place = experiment.run.out or "runs"
    try:
        folder = Path(place) if experiment.run.out else numbered(experiment)
        if overwrite and folder.is_dir():
            with alone(folder):
                clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        begin(folder, experiment)
    except FileExistsError:
        raise ConfigError(f'run.out = "{place}": already exists; choose another folder') from None
    except OSError as error:
        raise ConfigError(f'run.out = "{place}": cannot be written: {error.strerror}') from None
    return folder


def begin(folder: Path, experiment: Experiment) -> None:
    """Write the resolved configuration into a folder without one. Raises FileExistsError and other OSErrors."""
    with (folder / "config.toml").open("x", encoding="utf-8") as file:
        try:
            file.write(settings_text(experiment))
            file.flush()
            (folder / "rounds.arrows").touch()  # from its first moment on it can be told for a run
        except OSError:
            clear(folder)
            with contextlib.suppress(OSError):  # somebody else's files are in it
                folder.rmdir()
            raise


def settings_text(experiment: Experiment) -> str:
    """The resolved configuration as TOML, with the versions of what runs it."""
    found = experiment.model_copy(update={"versions": versions()})
    return tomli_w.dumps(found.model_dump(mode="json", exclude_none=True))


def versions() -> dict[str, str]:
    """Of what runs an experiment."""
    return {name: version(name) for name in PACKAGES}


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else runs in `folder` meanwhile; a process that is killed lets go. Raises `ConfigError`."""
    with (folder / tables.LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{folder}: a run is going on there") from None
        try:
            yield
        finally:
            (folder / tables.LOCK).unlink(missing_ok=True)


def write_settings(folder: Path, experiment: Experiment) -> None:
    """Replace the configuration of the run in `folder`, which goes on."""
    with tables.whole(folder / "config.toml") as path:
        path.write_text(settings_text(experiment), encoding="utf-8")


def numbered(experiment: Experiment) -> Path:
    """The first free runs/TASK-ALGORITHM-SEED, made."""
    stem = f"{experiment.task.name}-{experiment.title}-{experiment.seed}"
    Path("runs").mkdir(exist_ok=True)
    for number in count(1):
        folder = Path("runs", stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("numbers do not end")


def clear(folder: Path) -> None:
    """Remove what runs write. What somebody else put there stays."""
    for path in ours(folder):
        path.unlink(missing_ok=True)
    for inner in (folder / "pictures", folder / "checkpoints", folder / board.FOLDER):
        if inner.is_dir() and not inner.is_symlink() and not any(inner.iterdir()):
            inner.rmdir()


def ours(folder: Path) -> Iterator[Path]:
    """Every file that a run may leave in its folder."""
    for name in FILES:
        yield from (folder / name, folder / f"{name}{tables.UNFINISHED}")
    if not (folder / "checkpoints").is_symlink():
        yield from (*checkpoints.found(folder), folder / "checkpoints" / checkpoints.HALF)
    yield from board.events(folder)
    if (pictures := folder / "pictures").is_dir() and not pictures.is_symlink():
        from fedqs_ray.results.report import PICTURES

        yield from (pictures / f"{name}.svg" for name in PICTURES)


def ours_among(names: Iterable[str]) -> set[str]:
    """Of the names below a folder elsewhere, those of files that a run left."""
    from fedqs_ray.results.report import PICTURES

    known = {*FILES, *(f"pictures/{name}.svg" for name in PICTURES)}
    others = re.compile(rf"checkpoints/[0-9a-f-]+\.arrows|{board.FOLDER}/events\.out\.tfevents\.[^/]+")
    return {name for name in names if name in known or others.fullmatch(name)}
