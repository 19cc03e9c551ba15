"""Decoded datasets as Arrow files in a cache folder, memory-mapped when they are read.

A changed source, reading rule or format has another name there, so nothing is ever out of date. Delete the
folder whenever you like.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
import pyarrow as pa
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.tasks.samples import Dataset, Features

FORMAT = 3
"""Counts up when decoding or the files change."""


def find_cache_folder() -> Path:
    """$FEDQS_CACHE, or fedqs_ray in the system's folder for caches (on Linux $XDG_CACHE_HOME or ~/.cache)."""
    own = os.environ.get("FEDQS_CACHE")
    return Path(own) if own else platformdirs.user_cache_path("fedqs_ray", appauthor=False)


def load_cached(name: str, sources: Sequence[Path], key: str, make: Callable[[], Dataset]) -> Dataset:
    """The dataset that `make` decodes from the files `sources`, or its copy in the cache; `key` names the rules."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    digest = hashlib.sha256(repr((FORMAT, name, key, stats)).encode()).hexdigest()[:16]
    folder = find_cache_folder() / f"{name}-{digest}"
    if not folder.is_dir():
        dataset = make()
        try:
            write_cache(dataset, folder)
        except OSError as error:
            raise ConfigError(f'FEDQS_CACHE = "{find_cache_folder()}": cannot be written: {error.strerror}') from None
    return read_cache(folder)


def write_cache(dataset: Dataset, folder: Path) -> None:
    """Write both splits; the folder appears under its name when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
    try:
        facts = {
            "shape": dataset.shape,
            "classes": dataset.classes,
            "names": dataset.names,
            "vocabulary": dataset.vocabulary,
            "mean": None if dataset.mean is None else dataset.mean.tolist(),
            "deviation": None if dataset.deviation is None else dataset.deviation.tolist(),
        }
        splits = {
            "train": (dataset.features, {"label": dataset.labels, **dataset.groups}),
            "test": (dataset.test_features, {"label": dataset.test_labels}),
        }
        for split, (features, columns) in splits.items():
            width = int(np.prod(dataset.shape))
            flat = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), width)
            table = pa.table({"features": flat, **columns}).replace_schema_metadata({"facts": json.dumps(facts)})
            with pa.ipc.new_file(draft / f"{split}.arrow", table.schema) as sink:
                sink.write_table(table)
        try:
            draft.rename(folder)
        except OSError:  # another process was faster, with the same files
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_cache(folder: Path) -> Dataset:
    """The dataset in a cache folder; its arrays are views of the mapped files."""
    train, test = (pa.ipc.open_file(pa.memory_map(str(folder / f"{split}.arrow"))) for split in ("train", "test"))
    facts = json.loads(train.schema.metadata[b"facts"])
    columns, test_columns = train.read_all(), test.read_all()

    def features(table: pa.Table) -> Features:
        found: Features = table["features"].chunk(0).flatten().to_numpy(zero_copy_only=True)
        return found.reshape(-1, *facts["shape"])

    def column(table: pa.Table, name: str) -> NDArray[np.int64]:
        found: NDArray[np.int64] = table[name].chunk(0).to_numpy(zero_copy_only=True)
        return found

    def statistic(name: str) -> NDArray[np.float32] | None:
        return None if facts[name] is None else np.array(facts[name], np.float32)

    return Dataset(
        features(columns),
        column(columns, "label"),
        features(test_columns),
        column(test_columns, "label"),
        facts["classes"],
        {name: column(columns, name) for name in columns.column_names if name not in ("features", "label")},
        {column: tuple(known) for column, known in facts["names"].items()},
        facts["vocabulary"],
        statistic("mean"),
        statistic("deviation"),
    )
