"""Partitions: the division of samples over clients, one index array for each; some may be empty.

All of them work on whole arrays, so that a million clients take seconds: a loop over clients does little in each pass.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.tasks import IID, Dirichlet, Groups, LabelQuantity, Natural, Quantity, Shards
from fedqs_ray.core.exceptions import ConfigError

Indices = NDArray[np.int64]
PartitionConfig = IID | Dirichlet | Shards | LabelQuantity | Quantity | Groups | Natural


def divide_samples(
    config: PartitionConfig, labels: Indices, groups: dict[str, Indices], clients: int, draw: np.random.Generator
) -> list[Indices]:
    """Divide samples 0..n-1 with the given labels (n,) over `clients`. Every sample goes to one client."""
    match config:
        case IID():
            return np.array_split(draw.permutation(labels.size), clients)
        case Dirichlet():
            return dirichlet(labels, clients, config.alpha, draw)
        case Shards():
            return shards(labels, clients, config.per_client, draw)
        case LabelQuantity():
            return label_quantity(labels, clients, config.labels, draw)
        case Quantity():
            weights = draw.lognormal(0.0, config.sigma, clients)
            return split(draw.permutation(labels.size), weights / weights.sum())
        case Natural():
            return natural(groups.get("client"), clients, draw)
        case Groups():
            return by_group(groups[config.name], clients, config.sigma, draw)


def dirichlet(labels: Indices, clients: int, alpha: float, draw: np.random.Generator) -> list[Indices]:
    """Partition by label: each class is divided by shares drawn from Dirichlet(alpha) (Hsu et al. 2019)."""
    orders, owners = [], []
    for own in positions_by_value(labels):
        orders.append(draw.permutation(own))
        sizes = np.diff(cut_points(own.size, draw.dirichlet(np.full(clients, alpha))))
        owners.append(np.repeat(np.arange(clients), sizes))
    return group_by_owner(np.concatenate(orders), np.concatenate(owners), clients)


def shards(labels: Indices, clients: int, per_client: int, draw: np.random.Generator) -> list[Indices]:
    """Partition by shards: sort by label, cut into clients x per_client shards, deal them (McMahan et al. 2017)."""
    if clients * per_client > labels.size:
        raise ConfigError(
            f"task.partition.per_client = {per_client}: must be at most {labels.size // clients}, "
            f"for {labels.size} samples and clients.count = {clients}"
        )
    pieces = clients * per_client
    dealt = draw.permutation(pieces)
    order = np.argsort(labels, kind="stable")
    return join_pieces(order, equal_sizes(labels.size, pieces), dealt, np.full(clients, per_client))


def label_quantity(labels: Indices, clients: int, known: int, draw: np.random.Generator) -> list[Indices]:
    """Partition by number of labels: client i knows label i mod C and known - 1 others at random; a label's samples
    are shared equally among those who know it (Li et al. 2022, "#C = k").
    """
    by_label = positions_by_value(labels)
    if known > len(by_label):
        raise ConfigError(f"task.partition.labels = {known}: must be at most {len(by_label)}, the labels there are")
    knows = np.empty((clients, known), np.int64)
    knows[:, 0] = np.arange(clients) % len(by_label)
    others = [np.delete(np.arange(len(by_label)), first) for first in range(len(by_label))]
    for client in range(clients):
        knows[client, 1:] = draw.permutation(others[client % len(by_label)])[: known - 1]
    knowing = np.split(
        np.argsort(knows.ravel(), kind="stable") // known,
        np.cumsum(np.bincount(knows.ravel(), minlength=len(by_label))),
    )
    orders, owners = [], []
    for own, clients_of_label in zip(by_label, knowing, strict=False):
        # With fewer clients than labels some labels are known to nobody: all clients share them.
        sharing = clients_of_label if clients_of_label.size else np.arange(clients)
        orders.append(draw.permutation(own))
        owners.append(np.repeat(sharing, equal_sizes(own.size, sharing.size)))
    return group_by_owner(np.concatenate(orders), np.concatenate(owners), clients)


def natural(owner: Indices | None, clients: int, draw: np.random.Generator) -> list[Indices]:
    """Natural partition: the source's own clients, joined at random in equal numbers if more than `clients`."""
    if owner is None:
        raise ConfigError(
            'task.partition.name = "natural": this source names no clients; must be "dirichlet", "shards", '
            '"label-quantity", "lognormal" or "iid" (for task.name = "parquet", set task.client)'
        )
    _, sizes = np.unique(owner, return_counts=True)
    if clients > sizes.size:
        raise ConfigError(f"clients.count = {clients}: must be at most {sizes.size}, the source's own clients")
    order = np.argsort(owner, kind="stable")
    return join_pieces(order, sizes, draw.permutation(sizes.size), equal_sizes(sizes.size, clients))


def by_group(group: Indices, clients: int, sigma: float, draw: np.random.Generator) -> list[Indices]:
    """Partition by group: every client holds samples of one group only; sizes are lognormal.

    Groups get clients in proportion to their samples, at least one each (largest remainder).
    """
    values, sizes = np.unique(group, return_counts=True)
    if clients < values.size:
        raise ConfigError(f"clients.count = {clients}: must be at least {values.size}, one for each group")
    share = sizes / sizes.sum() * (clients - values.size)
    members = 1 + share.astype(np.int64)
    remainder = np.argsort(members - 1 - share, kind="stable")
    members[remainder[: clients - int(members.sum())]] += 1
    parts: list[Indices] = []
    for positions, count in zip(positions_by_value(group), members, strict=True):
        own = draw.permutation(positions)
        weights = draw.lognormal(0.0, sigma, count)
        pieces = split(own, weights / weights.sum())
        fill_empty_clients(pieces)
        parts += pieces
    return [parts[i] for i in draw.permutation(clients)]


def positions_by_value(values: Indices) -> list[Indices]:
    """For each different value, in ascending order, its positions in `values`, ascending."""
    _, counts = np.unique(values, return_counts=True)
    return np.split(np.argsort(values, kind="stable"), np.cumsum(counts)[:-1])


def cut_points(count: int, shares: NDArray[np.float64]) -> Indices:
    """(n + 1,) ascending places, from 0 to `count`, that cut so many samples by `shares`, which sum to 1."""
    inner = np.round(np.cumsum(shares)[:-1] * count).astype(np.int64)
    return np.concatenate([[0], inner, [count]])


def split(samples: Indices, shares: NDArray[np.float64]) -> list[Indices]:
    """Cut `samples` into consecutive pieces of the given shares, which sum to 1."""
    return np.split(samples, cut_points(samples.size, shares)[1:-1])


def equal_sizes(count: int, pieces: int) -> Indices:
    """(pieces,) sizes that differ by at most 1, the larger ones first."""
    sizes = np.full(pieces, count // pieces)
    sizes[: count % pieces] += 1
    return sizes


def group_by_owner(samples: Indices, owners: Indices, clients: int) -> list[Indices]:
    """The samples of each client, in the order in which they stand in `samples`; `owners` are theirs."""
    sizes = np.bincount(owners, minlength=clients)
    return np.split(samples[np.argsort(owners, kind="stable")], np.cumsum(sizes)[:-1])


def join_pieces(samples: Indices, sizes: Indices, order: Indices, counts: Indices) -> list[Indices]:
    """Cut `samples` into pieces of `sizes`, line them up in `order`, and join the next `counts[i]` for client i."""
    begins, lengths = (np.cumsum(sizes) - sizes)[order], sizes[order]
    ends = np.cumsum(lengths)
    places = np.repeat(begins - (ends - lengths), lengths) + np.arange(samples.size)
    return np.split(samples[places], ends[np.cumsum(counts)[:-1] - 1])


def fill_empty_clients(parts: list[Indices]) -> int:
    """Move one sample from the largest client (of equal ones, the first) to each empty one, in place.

    Returns how many were empty.
    """
    empty = [client for client, part in enumerate(parts) if part.size == 0]
    heap = [(-part.size, client) for client, part in enumerate(parts) if part.size]
    heapq.heapify(heap)
    for client in empty:
        _, largest = heap[0]
        parts[client], parts[largest] = parts[largest][-1:], parts[largest][:-1]
        heapq.heapreplace(heap, (-parts[largest].size, largest))
        heapq.heappush(heap, (-1, client))
    return len(empty)
