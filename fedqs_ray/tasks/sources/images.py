"""CIFAR-10, CIFAR-100, MNIST and EMNIST: from the hub's Parquet files, or from torchvision's download."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedqs_ray.config.tasks import Images
from fedqs_ray.core.exceptions import DataError
from fedqs_ray.tasks.samples import Dataset, image_dataset
from fedqs_ray.tasks.sources.columns import client_codes, join_parquet, label_codes, require_column
from fedqs_ray.tasks.sources.pictures import decode, is_image, require_alike

LABELS = ("label", "fine_label", "character")
"""Names of the label in the hub's tables."""
WRITERS = ("writer_id", "writer")
"""Names of the column that a natural partition of EMNIST follows."""
FILES = {
    "cifar10": ("cifar-10-batches-py", "data_batch_1"),
    "cifar100": ("cifar-100-python", "train"),
    "mnist": ("MNIST/raw", "train-images-idx3-ubyte"),
    "emnist": ("EMNIST/raw", "emnist-byclass-train-images-idx3-ubyte"),
}
"""Folder of torchvision's download, and a file that is surely in it."""


def find_pictures(task: Images) -> tuple[list[Path], Callable[[], Dataset]]:
    """The files of the task, and a function that decodes them. Raises `DataError` if there are none."""
    folder = Path(task.data_dir)
    train, test = (sorted(folder.rglob(f"*{split}*.parquet")) for split in ("train", "test"))
    if train and test:
        return [*train, *test], lambda: from_parquet(train, test)
    below, file = FILES[task.name]
    if (folder / below / file).exists():
        return sorted(p for p in (folder / below).iterdir() if p.is_file()), lambda: from_torchvision(task.name, folder)
    raise DataError(
        f'task.data_dir = "{folder}": holds neither train and test Parquet files nor torchvision\'s {below}; '
        f"`fedqs data {task.name} --dir DIR` downloads where there is internet"
    )


def from_parquet(train: list[Path], test: list[Path]) -> Dataset:
    """The hub's usual layout: an image column (struct of bytes and path), a label, perhaps a writer."""
    setting, folder = "task.data_dir", train[0].parent
    tables = join_parquet(setting, train), join_parquet(setting, test)
    names = tables[0].column_names
    image = next((n for n in names if is_image(tables[0].schema.field(n).type)), None)
    label = next((name for name in LABELS if name in names), None)
    if image is None or label is None or not {image, label} <= set(tables[1].column_names):
        raise DataError(
            f'{setting} = "{folder}": must have a column of images and one of {", ".join(LABELS)}; '
            f"there are {', '.join(names)}"
        )
    for split, rows in zip(("train", "test"), tables, strict=True):
        if not len(rows):
            raise DataError(f'{setting} = "{folder}": the {split} files have no rows')
        for name in (image, label):
            require_column(setting, name, rows)
    known, labels, test_labels = label_codes(setting, label, *tables, f"{setting}, test files")
    groups, named = {}, {"label": known}
    if writer := next((name for name in WRITERS if name in names), None):
        require_column(setting, writer, tables[0])
        groups["client"], named["client"] = client_codes(setting, writer, tables[0])
    pixels, test_pixels = (decode(f'{setting}: column "{image}"', rows[image]) for rows in tables)
    require_alike(f"{setting}, test files", pixels, test_pixels)
    return image_dataset(pixels, labels, test_pixels, test_labels, len(known), groups, named)


def from_torchvision(name: str, folder: Path) -> Dataset:
    """Dataset from the files of `torchvision.datasets`, which checks the hashes of those that are pickles."""
    try:
        train, test = (open_torchvision(name, folder, train=t, download=False) for t in (True, False))
    except RuntimeError as error:
        raise DataError(f'task.data_dir = "{folder}": {str(error).splitlines()[0]}') from None
    pixels = [np.asarray(part.data, np.uint8) for part in (train, test)]
    pixels = [p[:, None] if p.ndim == 3 else p.transpose(0, 3, 1, 2) for p in pixels]
    if name == "emnist":  # the files hold every picture transposed
        pixels = [p.transpose(0, 1, 3, 2) for p in pixels]
    pixels = [np.ascontiguousarray(p) for p in pixels]
    labels = [np.asarray(part.targets, np.int64) for part in (train, test)]
    return image_dataset(pixels[0], labels[0], pixels[1], labels[1], len(train.classes))


def open_torchvision(name: str, folder: Path, *, train: bool, download: bool):  # type: ignore[no-untyped-def]
    """The dataset object of torchvision."""
    from torchvision import datasets  # type: ignore[import-untyped]

    match name:
        case "cifar10":
            return datasets.CIFAR10(folder, train=train, download=download)
        case "cifar100":
            return datasets.CIFAR100(folder, train=train, download=download)
        case "mnist":
            return datasets.MNIST(folder, train=train, download=download)
        case "emnist":
            return datasets.EMNIST(folder, split="byclass", train=train, download=download)
        case _:
            raise AssertionError(name)
