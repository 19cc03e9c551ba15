"""A user's own table: Parquet with numbers, categories or images, a label, and perhaps a column of clients."""

import difflib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fedqs_ray.config import SettingError
from fedqs_ray.problems import Table
from fedqs_ray.tasks.datasets import Dataset, hold_out, image_dataset

Codes = NDArray[np.int64]
MOST = 20
"""Columns that a message lists."""


def find(task: Table) -> tuple[list[Path], Callable[[], Dataset]]:
    """The files of the task, and how to decode them. Raises `SettingError` where one is missing."""
    named = {"train": task.train, "test": task.test}
    paths = {setting: Path(name) for setting, name in named.items() if name is not None}
    for setting, path in paths.items():
        if not path.exists():
            raise SettingError(f'task.{setting} = "{path}": there is no such Parquet file or folder')
    files = [f for p in paths.values() for f in (sorted(p.rglob("*.parquet")) if p.is_dir() else [p])]
    return files, lambda: own_table(task)


def own_table(task: Table) -> Dataset:
    """Decode `task.train` and `task.test`; without a test file a fifth of the rows is held out."""
    train = read("task.train", Path(task.train))
    test = None if task.test is None else read("task.test", Path(task.test))
    used = task.features or [c for c in train.column_names if c not in (task.label, task.client)]
    named = {"task.client": [task.client] if task.client else [], "task.label": [task.label], "task.features": used}
    for setting, columns in named.items():
        for name in columns:
            require(setting, name, train)
    for name, what in ((task.label, "the label"), (task.client, "the client")):
        if name in used:
            raise SettingError(f'task.features: column "{name}" is {what}; must be others')
    if not used:
        raise SettingError("task.features: the table has no column besides the label and the client")
    if test is None:
        training, held = hold_out(len(train))
        train, test = train.take(pa.array(training)), train.take(pa.array(held))
    else:
        for name in (task.label, *used):
            require("task.test", name, test)
    known, labels, test_labels = label_codes(task.label, train, test)
    groups: dict[str, Codes] = {}
    names = {"label": known}
    if task.client:
        groups["client"], names["client"] = client_codes(task.client, train)
    if is_image(train.schema.field(used[0]).type):
        if len(used) > 1:
            raise SettingError(f"task.features = {used}: must be one column where it holds images")
        images, test_images = decode_images(train[used[0]]), decode_images(test[used[0]])
        if images.shape[1:] != test_images.shape[1:]:
            raise SettingError(f"task.test: images are {test_images.shape[1:]}, and {images.shape[1:]} in task.train")
        return image_dataset(images, labels, test_images, test_labels, len(known), groups, names)
    sides = zip(*(standardised(name, train[name], test[name]) for name in used), strict=True)
    features, test_features = (np.concatenate(side, 1).astype(np.float32) for side in sides)
    return Dataset(features, labels, test_features, test_labels, len(known), groups, names)


def read(setting: str, path: Path) -> pa.Table:
    """A Parquet file, or a folder of them."""
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        why = str(error).splitlines()[0]
        if path.suffix.lower() == ".csv":
            why = f'make it so: pyarrow.parquet.write_table(pyarrow.csv.read_csv("{path}"), "{path.stem}.parquet")'
        raise SettingError(f'{setting} = "{path}": not Parquet: {why}') from None


def require(setting: str, name: str, table: pa.Table) -> None:
    """Raise `SettingError` where a column is not there, or lacks values."""
    if name not in (there := table.column_names):
        near = difflib.get_close_matches(name, there, n=1)
        more = f" and {len(there) - MOST} more" if len(there) > MOST else ""
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(there[:MOST])}{more}"
        raise SettingError(f'{setting}: there is no column "{name}"; {hint}')
    column = table[name]
    if empty := column.null_count:
        raise SettingError(
            f'{setting}: column "{name}" lacks a value in {empty} of {len(table)} rows; fill or drop them'
        )
    if pa.types.is_floating(column.type) and (strange := pc.sum(pc.invert(pc.is_finite(column))).as_py()):
        raise SettingError(
            f'{setting}: column "{name}" holds NaN or infinity in {strange} of {len(table)} rows; fill or drop them'
        )


def as_numpy(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """A column's values; text and categories as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    values: NDArray[np.generic] = column.to_numpy()
    return values.astype(str) if values.dtype == object else values


def client_codes(name: str, train: pa.Table) -> tuple[Codes, tuple[str, ...]]:
    """Each row's client, as its rank among them, and the clients that there are."""
    known, codes = np.unique(as_numpy(train[name]), return_inverse=True)
    return codes.astype(np.int64), tuple(map(printable, known))


def label_codes(name: str, train: pa.Table, test: pa.Table) -> tuple[tuple[str, ...], Codes, Codes]:
    """The labels that there are, and each row's rank among them."""
    if pa.types.is_floating(train[name].type):
        raise SettingError(f'task.label = "{name}": holds fractions; must be whole numbers, text or true and false')
    known, codes = np.unique(as_numpy(train[name]), return_inverse=True)
    values = as_numpy(test[name])
    if strange := sorted(set(np.unique(values).tolist()) - set(known.tolist())):
        raise SettingError(f'task.test: label "{strange[0]}" does not occur in the training rows')
    if known.size < 2:
        raise SettingError(f'task.label = "{name}": must have at least 2 different values, has {known.size}')
    return tuple(map(printable, known)), codes.astype(np.int64), np.searchsorted(known, values).astype(np.int64)


def standardised(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray) -> tuple[NDArray[np.float64], ...]:
    """A column (n, 1), or a list column (n, d), with mean 0 and deviation 1 over the training rows.

    Text becomes its rank in alphabetical order.
    """
    kind = train.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        try:
            values, test_values = (np.stack(c.to_numpy(zero_copy_only=False)).astype(float) for c in (train, test))
        except (ValueError, TypeError):
            raise SettingError(f'task.features: column "{name}" must hold number lists of one length') from None
    else:
        raw, test_raw = as_numpy(train), as_numpy(test)
        if raw.dtype.kind == "U":
            known, codes = np.unique(raw, return_inverse=True)
            raw, test_raw = codes, np.searchsorted(known, test_raw)
        try:
            values, test_values = raw.astype(float, casting="same_kind")[:, None], test_raw.astype(float)[:, None]
        except (ValueError, TypeError):
            raise SettingError(f'task.features: column "{name}" is {kind}; must be numbers, text or images') from None
    if not (np.isfinite(values).all() and np.isfinite(test_values).all()):
        raise SettingError(f'task.features: column "{name}" holds NaN or infinity in its lists')
    mean, deviation = values.mean(0), values.std(0)
    deviation[deviation == 0] = 1.0
    return (values - mean) / deviation, (test_values - mean) / deviation


def printable(name: object) -> str:
    """A value as text for people."""
    return "".join(character if character.isprintable() else " " for character in str(name))


def is_image(kind: pa.DataType) -> bool:
    """Whether a column holds encoded images: the hub's struct with `bytes`, or plain binary."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def decode_images(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Encoded images as (n, c, h, w) bytes: one channel if the first image is grey, else three."""
    from PIL import Image, UnidentifiedImageError

    flat = column.combine_chunks()
    encoded: Sequence[bytes] = (flat.field("bytes") if pa.types.is_struct(flat.type) else flat).to_pylist()

    def opened(data: bytes) -> Image.Image:
        try:
            return Image.open(io.BytesIO(data or b""))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise SettingError(f"task: a row does not hold an image: {error}") from None

    mode = "L" if opened(encoded[0]).mode in ("L", "1", "I;16") else "RGB"
    size = opened(encoded[0]).size
    pixels = np.empty((len(encoded), 1 if mode == "L" else 3, size[1], size[0]), np.uint8)

    def decode(row: int) -> None:
        image = opened(encoded[row])
        if image.size != size:
            raise SettingError(f"task: images must have one size; row {row} is {image.size}, the first is {size}")
        try:
            array = np.asarray(image.convert(mode))
        except OSError as error:
            raise SettingError(f"task: row {row} does not hold a whole image: {error}") from None
        pixels[row] = array[None] if mode == "L" else array.transpose(2, 0, 1)

    with ThreadPoolExecutor() as threads:
        list(threads.map(decode, range(len(encoded)), chunksize=256))
    return pixels
