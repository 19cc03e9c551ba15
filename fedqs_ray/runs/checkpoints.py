"""Checkpoints: the state of a run in one file, without pickle.

An Arrow stream with one row an array, and everything else as JSON in the schema's metadata. The file's name holds
the version, the number of jobs that had ended, and the digest of its bytes; it gets that name once it is
complete. The newest two are kept: if one is damaged, the run resumes from the other.
"""

import hashlib
import json
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.core.rows import Snapshot
from fedqs_ray.runs.layout import CHECKPOINTS
from fedqs_ray.runs.tables import read_table

KEPT = 2
HALF = "half.tmp"
"""Name of a checkpoint while it is written."""
DIGEST = 32
"""Hexadecimal digits of the SHA-256 in a name."""
ARRAY = pa.schema(
    [("name", pa.string()), ("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("data", pa.large_binary())]
)

log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, state: Snapshot) -> Path:
    """Write a checkpoint of the run in `folder` and remove all but the newest two."""
    place = folder / CHECKPOINTS
    place.mkdir(exist_ok=True)
    half = place / HALF
    facts = json.dumps(state.facts)
    try:
        with half.open("wb") as file:
            schema = ARRAY.with_metadata({"facts": facts})
            with pa.ipc.new_stream(file, schema) as stream:
                for name, array in state.arrays:
                    stream.write_batch(row(name, array))
            file.flush()
            os.fsync(file.fileno())
        version, ended = state.facts["version"], state.facts["rows"]["arrivals"]
        path = place / f"{version:08d}-{ended:010d}-{compute_digest(half)}.arrows"
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    for old in list_checkpoints(folder)[KEPT:]:
        old.unlink()
    return path


def row(name: str, array: NDArray[Any]) -> pa.RecordBatch:
    """One array as a batch of one row, without a copy."""
    whole = np.ascontiguousarray(array)
    ends = pa.py_buffer(np.array([0, whole.nbytes], np.int64))
    data = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(whole.reshape(-1).view(np.uint8))])
    columns = [
        pa.array([name]),
        pa.array([whole.dtype.str]),
        pa.array([list(np.shape(array))], pa.list_(pa.int64())),
        data,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ARRAY)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted((folder / CHECKPOINTS).glob("*-*-*.arrows"), reverse=True)


def describe_resume(folder: Path, name: str) -> str:
    """The end of a line that names the command to resume the run `name`; empty where it left no checkpoint."""
    kept = [int(path.name.partition("-")[0]) for path in list_checkpoints(folder)]
    return f"; `fedqs resume {shlex.quote(name)}` goes on from round {kept[0]}" if kept else ""


def find_newest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Find the newest undamaged checkpoint and its facts. Raises `RunFolderError` if there is none.

    A damaged one is skipped with a warning, and so is one whose rows the tables do not hold.
    """
    for path in list_checkpoints(folder):
        try:
            return path, check_checkpoint(folder, path)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            log.warning("%s is damaged (%s); trying the one before it", path, str(error).partition("\n")[0])
    raise RunFolderError(f"{folder}: holds no checkpoint that could be read; the run has to start over")


def check_checkpoint(folder: Path, path: Path) -> dict[str, Any]:
    """Facts of a checkpoint, verified against its digest and the tables. Raises ValueError and others if damaged."""
    if compute_digest(path) != path.stem.rpartition("-")[2]:
        raise ValueError("its bytes do not match its name")
    with pa.memory_map(str(path)) as source:
        facts: dict[str, Any] = json.loads(pa.ipc.open_stream(source).schema.metadata[b"facts"])
    for name, count in facts["rows"].items():
        if len(read_table(folder, name)) < count:
            raise ValueError(f"{name} has fewer rows than it had then")
    return facts


def read_checkpoint(path: Path) -> Snapshot:
    """Read a checkpoint that `find_newest` verified. Its arrays are views of the file."""
    with pa.memory_map(str(path)) as source:
        stream = pa.ipc.open_stream(source)
        facts = json.loads(stream.schema.metadata[b"facts"])
        return Snapshot(facts, list(views(stream)))


def views(stream: pa.ipc.RecordBatchStreamReader) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays in a checkpoint."""
    for batch in stream:
        name, dtype, shape = (batch.column(place)[0].as_py() for place in range(3))
        yield name, np.frombuffer(batch.column(3)[0].as_buffer(), np.dtype(dtype)).reshape(shape)


def compute_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, its first digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST]
