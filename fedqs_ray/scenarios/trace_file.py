"""Reader of traces in Parquet or CSV files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.scenarios import TraceConfig
from fedqs_ray.core.exceptions import DataError
from fedqs_ray.scenarios.availability import Record, Trace


def read_trace(experiment: Experiment) -> Trace | None:
    """Read the trace of the scenario; None if it names none. Raises `DataError`."""
    config = experiment.scenario
    if not isinstance(config, TraceConfig):
        return None
    path, setting = Path(config.path), f'scenario.path = "{config.path}"'
    if not path.exists():
        raise DataError(f"{setting}: there is no such file")
    try:
        table = csv.read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
        repeated = [name for name in table.column_names if table.column_names.count(name) > 1]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{setting}: cannot be read as Parquet or CSV: {shorten_reason(error)}") from None
    if repeated:
        raise DataError(f'{setting}: there are several columns "{repeated[0]}"')
    if missing := [name for name in ("client", "time", "duration") if name not in table.column_names]:
        raise DataError(f'{setting}: there is no column "{missing[0]}"; there are {", ".join(table.column_names)}')
    if not len(table):
        raise DataError(f"{setting}: holds no rows")
    if "available" not in table.column_names:
        table = table.append_column("available", pa.array(np.ones(len(table), np.bool_)))
    if empty := table["client"].null_count:
        raise DataError(f'{setting}: column "client" lacks a value in {empty} of {len(table)} rows')
    try:
        if not pa.types.is_integer(table["client"].type):
            table = table.set_column(table.column_names.index("client"), "client", table["client"].cast(pa.string()))
        table.validate(full=True)
        times, durations = (read_numbers(table, name, setting) for name in ("time", "duration"))
        available = table["available"].cast(pa.bool_()).to_numpy()
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{setting}: {shorten_reason(error)}") from None
    if available.dtype != np.bool_:
        raise DataError(f'{setting}: column "available" must be true or false in every row')
    if not (np.isfinite(times).all() and (times >= 0).all()):
        raise DataError(f'{setting}: column "time" must be numbers of at least 0')
    wrong = available & ~((durations > 0) & np.isfinite(durations))
    if wrong.any():
        raise DataError(f'{setting}: column "duration" must be above 0 where the client is available')
    names, owners = np.unique(table["client"].to_numpy(), return_inverse=True)
    order = np.lexsort((times, owners))
    records = []
    for name, own in zip(names, np.split(order, np.cumsum(np.bincount(owners))[:-1]), strict=True):
        if (np.diff(times[own]) == 0).any():
            raise DataError(f'{setting}: client "{name}" has two rows with the same time')
        records.append(Record(times[own], durations[own], available[own]))
    return Trace(records)


def read_numbers(table: pa.Table, name: str, setting: str) -> NDArray[np.float64]:
    """Read a column's numbers, (n,); NaN where a value is missing. Raises `DataError` for the first other value."""
    column = table[name]
    if not pa.types.is_string(column.type):
        found: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
        return found
    values = []
    for row, text in enumerate(column.to_pylist(), 1):
        try:
            values.append(float(text or "nan"))
        except ValueError:
            raise DataError(f'{setting}: column "{name}" must be numbers; row {row} has "{text}"') from None
    return np.array(values)


def shorten_reason(error: Exception) -> str:
    """The first line of an error."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
