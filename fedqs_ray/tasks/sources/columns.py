"""Columns of Parquet tables as arrays: labels, clients, numbers. A mistake in them raises an error of one line."""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import ConfigError, DataError

Codes = NDArray[np.int64]
Numbers = NDArray[np.float64]
MOST = 20
"""Columns that a message lists."""
VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
NO_VALUES = (bytes, dict, list, tuple, np.ndarray)
"""Python types of binary, struct, list and map values."""


def read_parquet(setting: str, path: Path) -> pa.Table:
    """The table in a Parquet file, or in a folder of them. Raises `DataError` if it is none."""
    try:
        return copy_views(pq.read_table(path))
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        if path.suffix.lower() == ".csv":
            why = f'make it so: pyarrow.parquet.write_table(pyarrow.csv.read_csv("{path}"), "{path.stem}.parquet")'
        what = "not Parquet files with the same columns" if path.is_dir() else "not Parquet"
        raise DataError(f'{setting} = "{path}": {what}: {why}') from None


def copy_views(table: pa.Table) -> pa.Table:
    """Copy views of text and bytes, which Arrow cannot take rows of, into plain columns."""
    for place, field in enumerate(table.schema):
        if (kind := VIEWS.get(field.type)) is not None:
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table


def join_parquet(setting: str, paths: Sequence[Path]) -> pa.Table:
    """Several Parquet files as one table. Raises `DataError` where their columns differ."""
    parts = [read_parquet(setting, path) for path in paths]
    kinds = [dict(zip(part.column_names, part.schema.types, strict=True)) for part in parts]
    for path, own in zip(paths, kinds, strict=True):
        for name in {**kinds[0], **own}:
            here, there = (str(kind.get(name, "missing")) for kind in (own, kinds[0]))
            if here != there:
                raise DataError(
                    f'{setting}: column "{name}" is {here} in {path}, and {there} in {paths[0].name}; must be alike'
                )
    return pa.concat_tables([part.select(list(kinds[0])) for part in parts], promote_options="default")


def require_column(setting: str, name: str, table: pa.Table) -> None:
    """Raise `ConfigError` for a column that is not there, and `DataError` for one that lacks values."""
    if name not in (there := table.column_names):
        near = difflib.get_close_matches(name, there, n=1)
        more = f" and {len(there) - MOST} more" if len(there) > MOST else ""
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(there[:MOST])}{more}"
        raise ConfigError(f'{setting}: there is no column "{name}"; {hint}')
    column = table[name]
    if empty := column.null_count:
        raise DataError(f'{setting}: column "{name}" lacks a value in {empty} of {len(table)} rows; fill or drop them')
    if pa.types.is_floating(column.type) and (strange := pc.sum(pc.invert(pc.is_finite(column))).as_py()):
        raise DataError(
            f'{setting}: column "{name}" holds NaN or infinity in {strange} of {len(table)} rows; fill or drop them'
        )


def decode_dictionary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decode a dictionary column, so that its rows hold the values themselves."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def as_numpy(setting: str, name: str, column: pa.ChunkedArray) -> NDArray[np.generic]:
    """A column's values; text and categories as text. Raises `DataError` for bytes, lists, structs and maps."""
    kind, column = column.type, decode_dictionary(column)
    if pa.types.is_decimal(column.type):
        with suppress(pa.ArrowInvalid):  # fractions, and what int64 cannot hold, are text
            column = column.cast(pa.int64())
    values: NDArray[np.generic] = column.to_numpy()
    if values.dtype != object:
        return values
    if any(isinstance(value, NO_VALUES) for value in values[:1]):
        raise DataError(f'{setting}: column "{name}" is {kind}; must be numbers, text or true and false')
    return values.astype(str)


def client_codes(setting: str, name: str, train: pa.Table) -> tuple[Codes, tuple[str, ...]]:
    """Client of each row, as its rank among the clients, and their names."""
    known, codes = np.unique(as_numpy(setting, name, train[name]), return_inverse=True)
    return codes.astype(np.int64), tuple(map(make_plain, known))


def label_codes(
    setting: str, name: str, train: pa.Table, test: pa.Table, rows: str
) -> tuple[tuple[str, ...], Codes, Codes]:
    """Names of the labels, and each row's rank among them; `rows` is the name of `test` in messages."""
    kind = train[name].type
    known, codes = np.unique(as_numpy(setting, name, train[name]), return_inverse=True)
    if pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and known.dtype.kind == "U"):
        raise DataError(f'{setting}: column "{name}" holds fractions; must be whole numbers, text or true and false')
    values = as_numpy(rows, name, test[name])
    if strange := sorted(set(np.unique(values).tolist()) - set(known.tolist())):
        raise DataError(f'{rows}: label "{strange[0]}" does not occur in the training rows')
    if known.size < 2:
        raise DataError(f'{setting}: column "{name}" must have at least 2 different values, has {known.size}')
    return tuple(map(make_plain, known)), codes.astype(np.int64), np.searchsorted(known, values).astype(np.int64)


def standardise_column(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray) -> tuple[Numbers, Numbers]:
    """A column (n, 1), or a list column (n, d), with mean 0 and deviation 1 over the training rows.

    Text becomes its rank in alphabetical order.
    """
    values, test_values = (lists if is_list(train.type) else scalars)(name, train, test)
    if not (np.isfinite(values).all() and np.isfinite(test_values).all()):
        raise DataError(f'task.features: column "{name}" holds NaN or infinity in its lists')
    mean, deviation = values.mean(0), values.std(0)
    deviation[deviation == 0] = 1.0
    return (values - mean) / deviation, (test_values - mean) / deviation


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def lists(name: str, *columns: pa.ChunkedArray) -> list[Numbers]:
    """Columns of lists of d numbers as (n, d) each."""
    try:
        found = [np.stack(c.to_numpy(zero_copy_only=False)).astype(float) for c in columns]
    except (ValueError, TypeError):
        found = []
    if len({values.shape[1:] for values in found}) != 1 or found[0].ndim != 2 or not found[0].shape[1]:
        raise DataError(f'task.features: column "{name}" must hold number lists of one length')
    return found


def scalars(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray) -> list[Numbers]:
    """Columns of numbers, of truth or of text as (n, 1) each."""
    plain = [decode_dictionary(column) for column in (train, test)]
    plain = [column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column for column in plain]
    raw, test_raw = as_numpy("task.features", name, plain[0]), as_numpy("task.test", name, plain[1])
    if (raw.dtype.kind == "U") != (test_raw.dtype.kind == "U"):
        raise DataError(f'task.test: column "{name}" is {test.type}, and {train.type} in task.train')
    if raw.dtype.kind == "U":
        known, codes = np.unique(raw, return_inverse=True)
        raw, test_raw = codes, np.searchsorted(known, test_raw)
    try:
        return [values.astype(float, casting="same_kind")[:, None] for values in (raw, test_raw)]
    except (ValueError, TypeError):
        raise DataError(f'task.features: column "{name}" is {train.type}; must be numbers, text or images') from None


def make_plain(name: object) -> str:
    """A value as printable text."""
    return "".join(character if character.isprintable() else " " for character in str(name))
