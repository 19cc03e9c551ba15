"""Run folders in object stores, or wherever else `pyarrow.fs` reaches.

Such stores can neither append nor rename, and the files of a run do both. So a run works in a private
local folder, of which a `Mirror` keeps a copy in the store; readers use `FetchedFiles`.
"""

import contextlib
import logging
import re
import shutil
import weakref
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from pyarrow import ArrowException, fs, memory_map

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.core.text import hide_secrets
from fedqs_ray.runs.checkpoints import list_checkpoints
from fedqs_ray.runs.layout import CHECKPOINTS, LOCK, MODEL, UNFINISHED
from fedqs_ray.runs.temporary import temporary_folder

PATIENCE = 30
"""Seconds that Google's client goes on trying. It would be 15 minutes, as S3's would be minutes."""
CHUNK = 2**20

log = logging.getLogger(__name__)


class Store:
    """The files of one folder in a store, by their names below it. Every failure is an OSError with one short line."""

    def __init__(self, uri: str) -> None:
        self.name = hide_secrets(uri)
        with shorten_errors():
            self._files, base = connect_store(uri)
        self._base = base.rstrip("/")
        if not self._base:
            raise OSError("names no bucket")

    def names(self) -> set[str]:
        """Names of all files."""
        below = fs.FileSelector(self._base, recursive=True, allow_not_found=True)
        with shorten_errors():
            if self._files.get_file_info(self._base).type == fs.FileType.File:
                raise OSError("is a file")
            found = self._files.get_file_info(below)
        return {info.path[len(self._base) + 1 :] for info in found if info.type == fs.FileType.File}

    def probe(self) -> None:
        """Find out whether files can be written and removed."""
        with shorten_errors(), self._files.open_output_stream(self._path(LOCK)) as file:
            file.write(b"\n")
        self.remove([LOCK])

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Copy files into `folder`."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (
                shorten_errors(),
                self._files.open_input_stream(self._path(name), compression=None) as source,
                (folder / name).open("wb") as target,
            ):
                shutil.copyfileobj(source, target, CHUNK)

    def send(self, folder: Path, name: str) -> None:
        """Copy one file from `folder`. Raises FileNotFoundError if it is not there any more.

        In one piece, so that no half of it can be closed and count as whole. (`fs.copy_files` forgets what goes wrong
        when it closes a file.)
        """
        with shorten_errors(), memory_map(str(folder / name)) as file:
            content = file.read_buffer()
            with self._files.open_output_stream(self._path(name), compression=None) as target:
                target.write(content)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, those that are not there as well."""
        for name in names:
            with shorten_errors(), contextlib.suppress(FileNotFoundError):
                self._files.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"


def connect_store(uri: str) -> tuple[fs.FileSystem, str]:
    """Connect to the file system of a URI, with short time limits; returns it and the path in it."""
    if uri.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={PATIENCE}"
    files, path = fs.FileSystem.from_uri(uri)
    return (limit_waiting(files) if files.type_name == "s3" else files), path


def limit_waiting(files: fs.FileSystem) -> fs.FileSystem:
    """The same S3 file system with short time limits; `files` itself where pyarrow does not tell its options.

    A URI cannot set time limits, and pyarrow tells a file system's options to pickle only.
    """
    limits = {"connect_timeout": 5, "request_timeout": 10, "allow_delayed_open": True}
    try:
        _, (options,) = files.__reduce__()
        return fs.S3FileSystem(**options | limits, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3))
    except (TypeError, ValueError, AttributeError) as error:
        log.info("time limits of S3 stay as they are: %s", error)
        return files


@contextlib.contextmanager
def shorten_errors() -> Iterator[None]:
    """Turn a store's errors into an OSError of one short line without secrets."""
    try:
        yield
    except (ArrowException, OSError, ValueError) as error:
        text = next(iter(str(error).splitlines()), type(error).__name__)
        text = re.sub(r"^.*AWS Error | \(Request ID.*|^Cannot parse URI: .* due to ", "", text)
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        raise kind(hide_secrets(text)[:300]) from None


class Mirror:
    """The copy of a run's private folder in a store, made by the one process that started the run."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.begun = False
        """Whether the first push is done, so that later files must not be lost."""
        self._sent: dict[str, tuple[int, int]] = {}
        self._checkpoint: Path | None = None

    def fetch(self, names: Iterable[str]) -> None:
        """Get files of an earlier run, to go on with them here."""
        found = list(names)
        self.store.fetch(found, self.folder)
        self._sent |= {name: stamp(self.folder / name) for name in found}

    def begin(self) -> None:
        """Push for the first time. Raises OSError."""
        self.push()
        self.begun = True

    def push(self) -> None:
        """Bring the copy up to date. Raises OSError.

        Cut off anywhere, it leaves a copy that can be resumed from: no model while the run goes on, then tables that
        reach the checkpoints, then checkpoints, the model last; and what is replaced is removed after that.
        """
        files = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        files = [name for name in files if name != LOCK and not name.endswith(UNFINISHED)]
        if MODEL not in files:
            self._remove([MODEL])
        for _, names in groupby(sorted({*files, *self._sent}, key=sending_order), sending_order):
            part = set(names)
            here = part & set(files)
            if not all(self._send(name) for name in sorted(here, reverse=True)):
                return  # the run was quicker; the next push finds more
            self._remove(part - here)

    def refresh(self) -> None:
        """Push if there is a new checkpoint. A failure is warned of, and the next checkpoint pushes again."""
        newest = next(iter(list_checkpoints(self.folder)), None)
        if newest == self._checkpoint:
            return
        self._checkpoint = newest
        try:
            self.push()
        except OSError as error:
            log.warning("%s: cannot be written: %s; trying again at the next checkpoint", self.store.name, error)

    def _send(self, name: str) -> bool:
        """Send a file if it changed; whether the store has it."""
        try:
            now = stamp(self.folder / name)
            if self._sent.get(name) != now:
                self.store.send(self.folder, name)
                self._sent[name] = now
        except FileNotFoundError:
            if (self.folder / name).exists():
                raise
            return False  # the run goes on meanwhile, and replaces its files
        return True

    def _remove(self, names: Iterable[str]) -> None:
        for name in sorted(self._sent.keys() & set(names)):
            self.store.remove([name])
            del self._sent[name]


def sending_order(name: str) -> int:
    """Order of sending: tables and all else, checkpoints, the model."""
    return 2 if name == MODEL else 1 if name.startswith(f"{CHECKPOINTS}/") else 0


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file, to find out whether it was written to."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class FetchedFiles:
    """Files of a run in a store, in a folder here that lives as long as this object."""

    def __init__(self, uri: str) -> None:
        """Raises `RunFolderError` if nothing can be read there."""
        try:
            self.store = Store(uri)
            self.names = self.store.names()
        except OSError as error:
            raise RunFolderError(f"{hide_secrets(uri)}: cannot be read: {error}") from None
        held = contextlib.ExitStack()
        self.folder = held.enter_context(temporary_folder())
        weakref.finalize(self, held.close)

    def get(self, *names: str) -> None:
        """Fetch those of the files that exist into the folder. Raises `RunFolderError`."""
        try:
            self.store.fetch([n for n in names if n in self.names and not (self.folder / n).exists()], self.folder)
        except OSError as error:
            raise RunFolderError(f"{self.store.name}: cannot be read: {error}") from None

    def put(self, *paths: Path) -> None:
        """Send files of the folder. Raises `RunFolderError`."""
        try:
            for path in paths:
                self.store.send(self.folder, path.relative_to(self.folder).as_posix())
        except OSError as error:
            raise RunFolderError(f"{self.store.name}: cannot be written: {error}") from None
