"""How samples are divided over clients. Each function returns one index array per client; some may be empty."""

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
    """Each class is divided over the clients by shares drawn from Dirichlet(alpha) (Hsu et al. 2019)."""
    parts: list[list[Indices]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        own = draw.permutation(np.flatnonzero(labels == label))
        for part, piece in zip(parts, split(own, draw.dirichlet(np.full(clients, alpha))), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def shards(labels: Indices, clients: int, per_client: int, draw: np.random.Generator) -> list[Indices]:
    """Sort by label, cut into clients x per_client shards, deal them (McMahan et al. 2017)."""
    if clients * per_client > labels.size:
        raise ConfigError(
            f"task.partition.per_client = {per_client}: must be at most {labels.size // clients}, "
            f"for {labels.size} samples and clients.count = {clients}"
        )
    pieces = np.array_split(np.argsort(labels, kind="stable"), clients * per_client)
    dealt = draw.permutation(len(pieces)).reshape(clients, per_client)
    return [np.concatenate([pieces[i] for i in row]) for row in dealt]


def label_quantity(labels: Indices, clients: int, known: int, draw: np.random.Generator) -> list[Indices]:
    """Client i knows label i mod C and known - 1 others at random; a label's samples are shared equally
    among those who know it (Li et al. 2022, "#C = k").
    """
    values = np.unique(labels)
    if known > values.size:
        raise ConfigError(f"task.partition.labels = {known}: must be at most {values.size}, the labels there are")
    owners: list[list[int]] = [[] for _ in values]
    for client in range(clients):
        first = client % values.size
        others = draw.permutation(np.delete(np.arange(values.size), first))[: known - 1]
        for label in (first, *others.tolist()):
            owners[label].append(client)
    if ownerless := [label for label, own in enumerate(owners) if not own]:
        owners[ownerless[0]] = list(range(clients))  # fewer clients than labels: somebody has to hold them
        for label in ownerless[1:]:
            owners[label] = owners[ownerless[0]]
    parts: list[list[Indices]] = [[] for _ in range(clients)]
    for value, own in zip(values, owners, strict=True):
        pieces = np.array_split(draw.permutation(np.flatnonzero(labels == value)), len(own))
        for client, piece in zip(own, pieces, strict=True):
            parts[client].append(piece)
    return [np.concatenate(part) for part in parts]


def natural(owner: Indices | None, clients: int, draw: np.random.Generator) -> list[Indices]:
    """The source's own clients, joined at random in equal numbers where there are more than `clients`."""
    if owner is None:
        raise ConfigError(
            'task.partition.name = "natural": this source names no clients; must be "dirichlet", "shards", '
            '"label-quantity", "lognormal" or "iid" (for task.name = "parquet", set task.client)'
        )
    order = np.argsort(owner, kind="stable")
    own = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    if clients > len(own):
        raise ConfigError(f"clients.count = {clients}: must be at most {len(own)}, the source's own clients")
    joined = np.array_split(draw.permutation(len(own)), clients)
    return [np.concatenate([own[i] for i in members]) for members in joined]


def by_group(group: Indices, clients: int, sigma: float, draw: np.random.Generator) -> list[Indices]:
    """Every client belongs to one group and holds that group's samples only; sizes are lognormal.

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
    for value, count in zip(values, members, strict=True):
        own = draw.permutation(np.flatnonzero(group == value))
        weights = draw.lognormal(0.0, sigma, count)
        pieces = split(own, weights / weights.sum())
        fill_empty_clients(pieces)
        parts += pieces
    return [parts[i] for i in draw.permutation(clients)]


def split(samples: Indices, shares: NDArray[np.float64]) -> list[Indices]:
    """Cut `samples` into consecutive pieces of the given shares, which sum to 1."""
    cuts = np.round(np.cumsum(shares)[:-1] * samples.size).astype(np.int64)
    return np.split(samples, cuts)


def fill_empty_clients(parts: list[Indices]) -> int:
    """Move one sample from the largest client to each empty one, in place; returns how many were empty."""
    empty = [i for i, part in enumerate(parts) if part.size == 0]
    for client in empty:
        largest = max(range(len(parts)), key=lambda i: parts[i].size)
        parts[client], parts[largest] = parts[largest][-1:], parts[largest][:-1]
    return len(empty)
