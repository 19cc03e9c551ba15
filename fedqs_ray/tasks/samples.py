"""Datasets as arrays, which lie in Ray's object store once a node and are read without a copy."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """A centralised dataset. Features are numbers (n, d) float32, images (n, c, h, w) uint8, or text
    (n, t) uint8, codes of characters.
    """

    features: Features
    """Training samples, to be divided over the clients."""
    labels: NDArray[np.int64]
    """(n,), 0..classes-1."""
    test_features: Features
    """(m, ...), for the server's evaluation."""
    test_labels: NDArray[np.int64]
    classes: int
    groups: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Named columns (n,) of small integers that a natural partition may follow, such as sex or writer."""
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names in the source of the values of a column of `groups`, and of "label"; where it has names."""
    vocabulary: int = 0
    """Text: number of different characters. 0 for everything else."""
    mean: NDArray[np.float32] | None = None
    """Images: mean of each channel over the training samples, 0..255; with `deviation`, the input of a model is
    (x - mean) / deviation."""
    deviation: NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.features.shape[1:])


def image_dataset(
    features: NDArray[np.uint8],
    labels: NDArray[np.int64],
    test_features: NDArray[np.uint8],
    test_labels: NDArray[np.int64],
    classes: int,
    groups: dict[str, NDArray[np.int64]] | None = None,
    names: dict[str, tuple[str, ...]] | None = None,
) -> Dataset:
    """A dataset of images (n, c, h, w), with the statistics that normalise them."""
    channels = np.moveaxis(features, 1, 0).reshape(features.shape[1], -1)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
    values, total = np.arange(256), channels.shape[1]
    mean = (counts @ values) / total
    deviation = np.sqrt(np.maximum((counts @ values**2) / total - mean**2, 1.0))
    return Dataset(
        features, labels, test_features, test_labels, classes, groups or {}, names or {},
        mean=mean.astype(np.float32), deviation=deviation.astype(np.float32),
    )  # fmt: skip


def hold_out(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and test indices for a source without a test set: a fifth is held out, the same under every seed."""
    from fedqs_ray.core.random import stream

    order = stream(0, "split").permutation(count)
    return order[count // 5 :], order[: count // 5]
