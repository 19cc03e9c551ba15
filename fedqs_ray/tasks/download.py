"""Download of datasets, where there is internet."""

from pathlib import Path
from typing import Any

from fedqs_ray.core.exceptions import ConfigError, DataError
from fedqs_ray.tasks.sources.tabular import ADULT_COLUMNS

ADULT_TRAINING_ROWS = 32_561


def download_images(name: str, folder: Path) -> list[Path]:
    """Download CIFAR-10, CIFAR-100, MNIST or EMNIST with torchvision. Raises `DataError`."""
    from fedqs_ray.tasks.sources.images import open_torchvision

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for train in (True, False):
            open_torchvision(name, folder, train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"data {name}: cannot be downloaded ({reason}); put train and test Parquet files in the hub's layout, or "
            f"torchvision's files, into {folder} by hand"
        ) from None
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def download_adult(folder: Path) -> list[Path]:
    """Download UCI Adult from OpenML and write adult.data and adult.test.

    Raises `DataError`; without pandas, `ConfigError`.
    """
    paths = [folder / "adult.data", folder / "adult.test"]
    if all(path.exists() for path in paths):
        return paths
    try:
        import pandas  # noqa: F401, ICN001
    except ImportError:
        raise ConfigError("data adult: needs pandas; pip install 'fedqs_ray[data]'") from None
    from sklearn.datasets import fetch_openml

    try:
        frame = fetch_openml("adult", version=2, as_frame=True, parser="pandas", n_retries=1).frame
    except OSError as error:
        raise DataError(
            f"data adult: OpenML cannot be reached ({error}); put the UCI files adult.data and adult.test "
            f"into {folder} by hand"
        ) from None
    write_adult(frame, paths)
    return paths


def write_adult(frame: Any, paths: list[Path]) -> None:
    """A data frame of all 48,842 rows as the two UCI files; missing values become "?"."""
    frame = frame.rename(columns={"class": "income"})[list(ADULT_COLUMNS)]
    frame = frame.astype(object).where(frame.notna(), "?")
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, rows in zip(paths, (frame[:ADULT_TRAINING_ROWS], frame[ADULT_TRAINING_ROWS:]), strict=True):
        lines = [", ".join(str(value) for value in row) for row in rows.itertuples(index=False)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
