"""Tables of a run: schemas, and a writer whose file stays readable if its process is killed.

During a run its rows are appended to NAME.arrows, an Arrow stream that can be read up to the last
whole batch. When it ends they become NAME.parquet. The same rows give the same bytes, whenever they were flushed.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.runs.layout import MODEL, UNFINISHED

FLUSH_SECONDS = 1.0

FLUSH_ROWS = 4096


def required(name: str, kind: pa.DataType) -> pa.Field:
    """A column without nulls."""
    return pa.field(name, kind, nullable=False)


ROUNDS = pa.schema(
    [
        required("round", pa.int32()),
        required("time", pa.float64()),
        pa.field("accuracy", pa.float64()),
        pa.field("loss", pa.float64()),
        pa.field("staleness_mean", pa.float64()),
        pa.field("staleness_max", pa.int32()),
        required("feedback", pa.int32()),
        pa.field("train_loss", pa.float64()),
        required("dispatched", pa.int64()),
        required("arrived", pa.int64()),
        required("lost", pa.int64()),
        required("rejected", pa.int64()),
        pa.field("divergence", pa.float64()),
        pa.field("gradient_bound", pa.float64()),
    ]
)

ARRIVALS = pa.schema(
    [
        required("client", pa.int32()),
        required("attempt", pa.int32()),
        required("version", pa.int32()),
        required("start", pa.float64()),
        required("end", pa.float64()),
        required("outcome", pa.string()),
        pa.field("round", pa.int32()),
        pa.field("staleness", pa.int32()),
        pa.field("samples", pa.int32()),
        pa.field("client_type", pa.string()),
        pa.field("lr", pa.float64()),
        pa.field("momentum", pa.float64()),
        pa.field("feedback", pa.bool_()),
        pa.field("angle", pa.float64()),
        pa.field("weight", pa.float64()),
        pa.field("train_loss", pa.float64()),
        pa.field("rejection", pa.string()),
    ]
)

CLIENTS = pa.schema(
    [
        required("client", pa.int32()),
        required("samples", pa.int32()),
        required("validation_samples", pa.int32()),
        required("labels", pa.list_(pa.int32())),
        required("dispatched", pa.int32()),
        required("aggregated", pa.int32()),
        required("lr", pa.float64()),
        pa.field("angle", pa.float64()),
        pa.field("accuracy", pa.float64()),
        pa.field("name", pa.string()),
    ]
)

LABELS = pa.schema(
    [
        required("label", pa.int32()),
        required("samples", pa.int32()),
        pa.field("accuracy", pa.float64()),
        pa.field("name", pa.string()),
    ]
)

TIMING = pa.schema([required("round", pa.int32()), required("seconds", pa.float64())])

SCHEMAS = {"rounds": ROUNDS, "arrivals": ARRIVALS, "clients": CLIENTS, "labels": LABELS, "timing": TIMING}


class TableWriter:
    """Appends rows to one table of a run folder; with `keep`, after the first rows of what is there."""

    def __init__(self, folder: Path, name: str, keep: int = 0) -> None:
        self.path, self.schema = folder / f"{name}.arrows", SCHEMAS[name]
        self._rows: list[object] = []
        self._flushed = time.monotonic()
        kept = read_table(folder, name).slice(0, keep) if keep else None
        fresh = self.path.with_suffix(".tmp")
        self._file = pa.OSFile(str(fresh), "wb")
        self._stream = pa.ipc.new_stream(self._file, self.schema)
        if kept:
            self._stream.write_table(kept)
            self._file.flush()
        os.replace(fresh, self.path)  # noqa: PTH105
        self.path.with_suffix(".parquet").unlink(missing_ok=True)

    def append(self, row: object) -> None:
        """Add one row, which has the columns as attributes; it is on disk within about a second of the next one."""
        self._rows.append(row)
        if len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._rows:
            columns = [pa.array(map(attrgetter(field.name), self._rows), field.type) for field in self.schema]
            self._stream.write_batch(pa.RecordBatch.from_arrays(columns, schema=self.schema))
            self._file.flush()
            self._rows = []
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Finish the stream and turn it into Parquet."""
        self.flush()
        self._stream.close()
        self._file.close()
        with pa.memory_map(str(self.path)) as source, replace_file(self.path.with_suffix(".parquet")) as path:
            table = pa.ipc.open_stream(source).read_all().combine_chunks()
            pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        self.path.unlink()


def has_ended(folder: Path) -> bool:
    """Whether the run in a folder has ended: its model is there."""
    return (folder / MODEL).exists()


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Replace a file atomically: yields a temporary path, which is renamed to `path` at the end."""
    unfinished = path.with_name(path.name + UNFINISHED)
    yield unfinished
    unfinished.replace(path)


def read_table(folder: Path, name: str) -> pa.Table:
    """A table of a run folder, finished or not. Raises `RunFolderError` if it is missing or damaged."""
    finished, growing = folder / f"{name}.parquet", folder / f"{name}.arrows"
    try:
        if finished.exists():
            table = pq.ParquetFile(finished, page_checksum_verification=True).read()
            for column in SCHEMAS[name]:  # what an earlier version did not know
                if column.nullable and column.name not in table.schema.names:
                    table = table.append_column(column, pa.nulls(len(table), column.type))
            if table.schema.names != SCHEMAS[name].names:
                raise ValueError("its columns are not those of this version")
            return table.cast(SCHEMAS[name])
        batches = []
        # The writer may have been killed in the middle of a batch: what came before it is good.
        with pa.OSFile(str(growing)) as source, contextlib.suppress(pa.ArrowException, OSError):
            for batch in pa.ipc.open_stream(source):
                batches.append(batch)  # noqa: PERF402
        table = pa.Table.from_batches(batches, SCHEMAS[name])
        table.validate(full=True)
        return table
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise RunFolderError(f"{finished}: cannot be read: {reason}") from None
