"""A dataset divided over clients."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.tasks import Natural
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.random import stream
from fedqs_ray.core.types import ClientStatistics, Fingerprint
from fedqs_ray.tasks.partition import PartitionConfig, divide_samples, fill_empty_clients
from fedqs_ray.tasks.samples import Dataset

log = logging.getLogger("fedqs_ray")

MOST = 3
"""Names shown for a client that was joined from several."""
TRAIN_SHARE = 0.8
"""Of a client's samples; the rest validates (FedQS paper: 8:2)."""


@dataclass(frozen=True)
class FederatedData:
    """A dataset with its clients: client i owns `order[offsets[i]:offsets[i+1]]`, training samples first."""

    dataset: Dataset
    order: NDArray[np.int64]
    offsets: NDArray[np.int64]
    """(N + 1,)."""
    train_counts: NDArray[np.int64]
    """(N,) n_i."""
    names: tuple[str, ...] = ()
    """(N,) see `ClientStatistics`."""

    def train(self, client: int) -> NDArray[np.int64]:
        """Indices of a client's training samples."""
        start = self.offsets[client]
        return self.order[start : start + self.train_counts[client]]

    def validation(self, client: int) -> NDArray[np.int64]:
        """Indices of a client's validation samples; may be none."""
        return self.order[self.offsets[client] + self.train_counts[client] : self.offsets[client + 1]]

    def owners(self) -> NDArray[np.int64]:
        """Owner of each sample of `order`, (S,)."""
        return np.repeat(np.arange(self.train_counts.size), np.diff(self.offsets))

    def validations(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of all validation samples, (V,), and their owners, (V,)."""
        owners = self.owners()
        held_out = np.arange(owners.size) - self.offsets[owners] >= self.train_counts[owners]
        return self.order[held_out], owners[held_out]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of all samples and their owners; computed once, from all samples."""
        data, found = self.dataset, hashlib.sha256()
        splits = (data.features, data.test_features)
        whole = [features for features in splits if features.dtype.kind != "f"]
        for array in (*whole, data.labels, data.test_labels, self.order, self.offsets, self.train_counts):
            found.update(np.ascontiguousarray(array).data)
        fractions = [project(features) for features in splits if features.dtype.kind == "f"]
        return Fingerprint(found.hexdigest()[:16], tuple(fractions))

    def client_statistics(self) -> ClientStatistics:
        """Statistics of the clients: samples, of which labels."""
        sizes, classes = np.diff(self.offsets), self.dataset.classes
        labels = np.bincount(self.owners() * classes + self.dataset.labels[self.order], minlength=sizes.size * classes)
        rest = self.names, self.dataset.names.get("label", ()), lambda: self.fingerprint
        return ClientStatistics(self.train_counts, sizes - self.train_counts, labels.reshape(-1, classes), *rest)


def project(features: NDArray[Any]) -> float:
    """A random projection of (S, ...) numbers, divided by their norm."""
    rows = features.reshape(len(features), -1)
    draw = stream(0, "fingerprint")
    left, right = (draw.choice(np.array([-1, 1], rows.dtype), size) for size in rows.shape)
    return float(left.astype(float) @ (rows @ right)) / (float(np.linalg.norm(rows)) or 1.0)


def divide_dataset(dataset: Dataset, experiment: Experiment) -> FederatedData:
    """Divide a dataset by `task.partition`; 8:2 into training and validation on each client. Raises `ConfigError`."""
    count = experiment.clients.count
    if dataset.labels.size < count:
        raise ConfigError(f"clients.count = {count}: must be at most {dataset.labels.size}, the task's samples")
    draw = stream(experiment.seed, "partition")
    parts = divide_samples(experiment.task.partition, dataset.labels, dataset.groups, count, draw)
    empty = fill_empty_clients(parts)
    if empty:
        log.warning(
            "partition %s left %d of %d clients empty; each was given one sample of the largest client",
            experiment.task.partition.name, empty, count,
        )  # fmt: skip
    names = name_clients(dataset, experiment.task.partition, parts)
    sizes = np.array([part.size for part in parts])
    order, offsets = np.concatenate(parts), np.concatenate([[0], np.cumsum(sizes)])
    for own in np.split(order, offsets[1:-1]):
        draw.shuffle(own)
    train = np.maximum(1, (sizes * TRAIN_SHARE).astype(np.int64))
    return FederatedData(dataset, order, offsets, train, names)


def name_clients(dataset: Dataset, config: PartitionConfig, parts: Sequence[NDArray[np.int64]]) -> tuple[str, ...]:
    """Names of the clients in the source: the values that their samples have in the column that the partition follows.

    Empty where the source has no names.
    """
    column = "client" if isinstance(config, Natural) else config.name
    if column not in dataset.names:
        return ()
    known = dataset.names[column]
    owners = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    pairs = np.unique(owners * len(known) + dataset.groups[column][np.concatenate(parts)])
    ends = np.cumsum(np.bincount(pairs // len(known), minlength=len(parts))).tolist()
    codes = (pairs % len(known)).tolist()
    return tuple(join_names([known[code] for code in codes[i:j]]) for i, j in pairwise([0, *ends]))


def join_names(names: Sequence[str]) -> str:
    """Names as "a, b, c and 4 more"."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
