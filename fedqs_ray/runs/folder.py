"""Run folders: checked, claimed for one run, and cleared of an earlier run's files only."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path

import tomli_w

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import read_toml
from fedqs_ray.core.exceptions import ConfigError, RunFolderError
from fedqs_ray.core.text import hide_secrets
from fedqs_ray.runs.checkpoints import HALF, list_checkpoints
from fedqs_ray.runs.layout import CHECKPOINTS, CONFIG, FILES, PICTURE_NAMES, PICTURES, TENSORBOARD, UNFINISHED
from fedqs_ray.runs.location import find_local_folder
from fedqs_ray.runs.lock import hold_lock
from fedqs_ray.runs.tables import replace_file
from fedqs_ray.runs.tensorboard import list_event_files

PACKAGES = ("fedqs_ray", "ray", "torch", "numpy", "pyarrow")


def require_local_folder(out: str | Path) -> Path:
    """The local folder of a grid or a sweep. Raises `ConfigError` where it is elsewhere."""
    if (folder := find_local_folder(out)) is None:
        raise ConfigError(f'--out = "{hide_secrets(str(out))}": must be a folder on this machine')
    return folder


def check_folder(experiment: Experiment, overwrite: bool) -> None:
    """Raise `RunFolderError` if `run.out` cannot be the folder of a new run."""
    if experiment.run.out is None:
        return
    folder = Path(experiment.run.out)
    try:
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f'run.out = "{folder}": is a file')
        if folder.is_dir() and any(folder.iterdir()):
            if not overwrite:
                raise RunFolderError(
                    f'run.out = "{folder}": already exists; choose another folder, or pass --overwrite'
                )
            if Path.cwd().is_relative_to(folder.resolve()):
                raise RunFolderError(f'run.out = "{folder}": holds the current folder, so --overwrite leaves it alone')
            if not is_run(folder):
                raise RunFolderError(f'run.out = "{folder}": holds no run, so --overwrite leaves it alone')
            with hold_lock(folder):
                pass
    except OSError as error:
        raise RunFolderError(f'run.out = "{folder}": cannot be read: {error.strerror}') from None


def is_run(folder: Path) -> bool:
    """Whether `folder` holds a run of ours, finished or not."""
    if not any((folder / f"rounds{suffix}").is_file() for suffix in (".parquet", ".arrows")):
        return False
    try:
        return "fedqs_ray" in read_toml(folder / CONFIG).get("versions", ())
    except ConfigError:
        return False


def claim_folder(experiment: Experiment, overwrite: bool) -> Path:
    """Claim a run's folder: make it, with the resolved configuration in it.

    Without `run.out` it is the first runs/TASK-ALGORITHM-SEED that is free. Of several runs that start
    at once with one folder, one gets it and the others an error. Raises `RunFolderError`.
    """
    place = experiment.run.out or "runs"
    try:
        folder = Path(place) if experiment.run.out else make_numbered(experiment)
        if overwrite and folder.is_dir():
            with hold_lock(folder):
                clear_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        begin_run(folder, experiment)
    except FileExistsError:
        raise RunFolderError(f'run.out = "{place}": already exists; choose another folder') from None
    except OSError as error:
        raise RunFolderError(f'run.out = "{place}": cannot be written: {error.strerror}') from None
    return folder


def begin_run(folder: Path, experiment: Experiment) -> None:
    """Write the resolved configuration into a folder without one. Raises FileExistsError and other OSErrors."""
    with (folder / CONFIG).open("x", encoding="utf-8") as file:
        try:
            file.write(format_settings(experiment))
            file.flush()
            (folder / "rounds.arrows").touch()  # so that `is_run` recognises the folder at once
        except OSError:
            clear_folder(folder)
            with contextlib.suppress(OSError):  # somebody else's files are in it
                folder.rmdir()
            raise


def format_settings(experiment: Experiment) -> str:
    """The resolved configuration as TOML, with the versions of the packages."""
    found = experiment.model_copy(update={"versions": list_versions()})
    return tomli_w.dumps(found.model_dump(mode="json", exclude_none=True))


def list_versions() -> dict[str, str]:
    """Versions of the packages that a run depends on."""
    return {name: version(name) for name in PACKAGES}


def write_settings(folder: Path, experiment: Experiment) -> None:
    """Replace the configuration of a resumed run in `folder`."""
    with replace_file(folder / CONFIG) as path:
        path.write_text(format_settings(experiment), encoding="utf-8")


def make_numbered(experiment: Experiment) -> Path:
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


def clear_folder(folder: Path) -> None:
    """Remove the files that runs write; all others stay."""
    for path in list_own_files(folder):
        path.unlink(missing_ok=True)
    for inner in (folder / PICTURES, folder / CHECKPOINTS, folder / TENSORBOARD):
        if inner.is_dir() and not inner.is_symlink() and not any(inner.iterdir()):
            inner.rmdir()


def list_own_files(folder: Path) -> Iterator[Path]:
    """Every file that a run may leave in its folder."""
    for name in FILES:
        yield from (folder / name, folder / f"{name}{UNFINISHED}")
    if not (folder / CHECKPOINTS).is_symlink():
        yield from (*list_checkpoints(folder), folder / CHECKPOINTS / HALF)
    yield from list_event_files(folder)
    if (pictures := folder / PICTURES).is_dir() and not pictures.is_symlink():
        yield from (pictures / f"{name}.svg" for name in PICTURE_NAMES)


def select_own_files(names: Iterable[str]) -> set[str]:
    """Of the names below a folder elsewhere, those of files that a run left."""
    known = {*FILES, *(f"{PICTURES}/{name}.svg" for name in PICTURE_NAMES)}
    others = re.compile(rf"{CHECKPOINTS}/[0-9a-f-]+\.arrows|{TENSORBOARD}/events\.out\.tfevents\.[^/]+")
    return {name for name in names if name in known or others.fullmatch(name)}
