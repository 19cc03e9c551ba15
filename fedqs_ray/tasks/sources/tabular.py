"""Digits and UCI Adult."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.tasks import Adult
from fedqs_ray.core.exceptions import DataError
from fedqs_ray.tasks.samples import Dataset, hold_out

ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip
ADULT_UNUSED = {"fnlwgt", "education", "native-country", "income"}
ADULT_HINT = "`fedqs data adult --dir DIR` fetches the UCI files adult.data and adult.test where there is internet"


def digits() -> Dataset:
    """1,797 handwritten digits (Alpaydin & Kaynak 1998), 8x8 pixels in 0..1; a fifth of them is the test set."""
    from sklearn.datasets import load_digits  # a second to import

    bunch = load_digits()
    features = (bunch.data / 16.0).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    train, test = hold_out(labels.size)
    return Dataset(features[train], labels[train], features[test], labels[test], 10)


def adult(task: Adult) -> Dataset:
    """UCI Adult (Kohavi 1996): 32,561 training and 16,281 test rows, 11 columns, 2 classes.

    Categories become their rank in alphabetical order; then every column is standardised by the training
    rows. "?" is a category of its own.
    """
    train = read_adult(Path(task.data_dir) / "adult.data")
    test = read_adult(Path(task.data_dir) / "adult.test")
    columns, test_columns, groups = [], [], {}
    names: dict[str, tuple[str, ...]] = {"label": ("<=50K", ">50K")}
    for name in ADULT_COLUMNS:
        if name in ADULT_UNUSED:
            continue
        values, test_values = train[name], test[name]
        if values.dtype.kind not in "if":
            known, codes = np.unique(values, return_inverse=True)
            values, test_values = codes, np.searchsorted(known, test_values)
            if name in ("sex", "race"):
                groups[name], names[name] = codes.astype(np.int64), tuple(map(str, known))
        mean, deviation = values.mean(), values.std() or 1.0
        columns.append((values - mean) / deviation)
        test_columns.append((test_values - mean) / deviation)
    return Dataset(
        np.stack(columns, 1).astype(np.float32),
        np.char.startswith(train["income"].astype(str), ">50K").astype(np.int64),
        np.stack(test_columns, 1).astype(np.float32),
        np.char.startswith(test["income"].astype(str), ">50K").astype(np.int64),
        2,
        groups,
        names,
    )


def read_adult(path: Path) -> dict[str, NDArray[np.generic]]:
    """One UCI file as named columns."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        text = path.read_bytes()
    except OSError as error:
        reason = f"{path} {'is missing' if isinstance(error, FileNotFoundError) else error.strerror}"
        raise DataError(f'task.data_dir = "{path.parent}": {reason}; {ADULT_HINT}') from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(b"|")]
    numbers = {n: pa.float64() for n in ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")}
    try:
        table = csv.read_csv(
            pa.py_buffer(b"\n".join(lines).replace(b", ", b",")),
            read_options=csv.ReadOptions(column_names=list(ADULT_COLUMNS)),
            convert_options=csv.ConvertOptions(column_types=numbers | {"income": pa.string()}),
        )
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise DataError(f'task.data_dir = "{path.parent}": {path.name} is not the UCI file: {reason}') from None
    return {name: table[name].to_numpy() for name in ADULT_COLUMNS}
