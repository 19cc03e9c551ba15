"""A user's own table: Parquet with numbers, categories or images, a label, and perhaps a column of clients."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from fedqs_ray.config.tasks import Table
from fedqs_ray.core.exceptions import ConfigError, DataError
from fedqs_ray.tasks.samples import Dataset, hold_out, image_dataset
from fedqs_ray.tasks.sources.columns import (
    Codes,
    client_codes,
    label_codes,
    read_parquet,
    require_column,
    standardise_column,
)
from fedqs_ray.tasks.sources.pictures import decode, is_image, require_alike

FEWEST = 5
"""Rows of which a fifth can be held out."""


def find_table(task: Table) -> tuple[list[Path], Callable[[], Dataset]]:
    """The files of the task, and a function that decodes them. Raises `DataError` if one is missing."""
    found: list[Path] = []
    for setting, name in (("train", task.train), ("test", task.test)):
        if name is None:
            continue
        path = Path(name)
        files = sorted(below for below in path.rglob("*") if below.is_file()) if path.is_dir() else [path]
        if not path.exists() or not files:
            what = "there is no such Parquet file or folder" if not path.exists() else "there is no file in this folder"
            raise DataError(f'task.{setting} = "{path}": {what}')
        found += files
    return found, lambda: own_table(task)


def own_table(task: Table) -> Dataset:
    """Decode `task.train` and `task.test`; without a test file a fifth of the rows is held out."""
    whole = read_parquet("task.train", Path(task.train))
    used = features(task, whole)
    picture = only_picture(used, whole)
    if task.test is None:
        rows, parts = "task.train, the fifth held out", hold_out(enough(task, whole))
        kept = [name for name in (task.label, task.client, *used) if name and name != picture]
        train, test = (whole.select(kept).take(pa.array(part)) for part in parts)
    else:
        rows, parts = "task.test", None
        train, test = whole, tested(task, whole, used)
    known, labels, test_labels = label_codes("task.label", task.label, train, test, rows)
    groups: dict[str, Codes] = {}
    names = {"label": known}
    if task.client:
        groups["client"], names["client"] = client_codes("task.client", task.client, train)
    if picture:
        images = decode(what := f'task.features: column "{picture}"', whole[picture])
        sides = [images[part] for part in parts] if parts else [images, decode(what, test[picture])]
        require_alike(rows, *sides)
        return image_dataset(sides[0], labels, sides[1], test_labels, len(known), groups, names)
    columns = zip(*(standardise_column(name, train[name], test[name]) for name in used), strict=True)
    numbers, test_numbers = (np.concatenate(side, 1).astype(np.float32) for side in columns)
    return Dataset(numbers, labels, test_numbers, test_labels, len(known), groups, names)


def tested(task: Table, train: pa.Table, used: Sequence[str]) -> pa.Table:
    """The table of `task.test`. Raises `ConfigError` for a missing column, `DataError` for missing values or rows."""
    assert task.test is not None
    test = read_parquet("task.test", Path(task.test))
    for name in (task.label, *used):
        require_column("task.test", name, test)
    for setting, path, table in (("train", task.train, train), ("test", task.test, test)):
        if not len(table):
            raise DataError(f'task.{setting} = "{path}": has no rows')
    return test


def features(task: Table, train: pa.Table) -> Sequence[str]:
    """The columns to learn from. Raises `ConfigError` for a missing column, `DataError` for missing values."""
    used = task.features or [c for c in train.column_names if c not in (task.label, task.client)]
    named = {"task.client": [task.client] if task.client else [], "task.label": [task.label], "task.features": used}
    for setting, columns in named.items():
        for name in columns:
            require_column(setting, name, train)
    for name, what in ((task.label, "the label"), (task.client, "the client")):
        if name in used:
            raise ConfigError(f'task.features: column "{name}" is {what}; must be others')
    if not used:
        raise DataError("task.features: the table has no column besides the label and the client")
    return used


def enough(task: Table, train: pa.Table) -> int:
    """Number of rows. Raises `DataError` if there are too few to hold some out."""
    if len(train) < FEWEST:
        raise DataError(
            f'task.train = "{task.train}": has {len(train)} rows; must have at least {FEWEST} without a task.test'
        )
    return len(train)


def only_picture(used: Sequence[str], train: pa.Table) -> str | None:
    """The feature that holds images, if one does. Raises `ConfigError` if there are others beside it."""
    found = [name for name in used if is_image(train.schema.field(name).type)]
    if found and len(used) > 1:
        raise ConfigError(
            f'task.features: column "{found[0]}" holds images; must be the only one (features = ["{found[0]}"]) or none'
        )
    return found[0] if found else None
