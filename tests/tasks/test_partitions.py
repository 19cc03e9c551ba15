"""Divisions of samples over clients, and the same said sample by sample as their slow twins."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fedqs_ray.config.tasks import IID, Dirichlet, Groups, LabelQuantity, Natural, Quantity, Shards
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.tasks.partition import PartitionConfig, by_group, divide_samples, fill_empty_clients

Indices = NDArray[np.int64]

LABELS = np.repeat(np.arange(5), 40)
GROUPS = {"sex": np.array([0] * 50 + [1] * 150), "race": np.arange(200) % 4, "client": np.arange(200) * 7 % 23}


def divide(config: PartitionConfig, clients: int = 10, seed: int = 0) -> list[Indices]:
    return divide_samples(config, LABELS, GROUPS, clients, np.random.default_rng(seed))


ALL: list[PartitionConfig] = [
    IID(),
    Dirichlet(alpha=0.1),
    Dirichlet(alpha=10),
    Shards(per_client=2),
    Groups(name="sex"),
    Groups(name="race"),
]
ALL += [LabelQuantity(labels=2), Quantity(sigma=1.0), Natural()]


@pytest.mark.parametrize("config", ALL, ids=str)
def test_every_sample_goes_to_exactly_one_client(config: PartitionConfig) -> None:
    parts = divide(config)
    assert len(parts) == 10
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    assert all(np.array_equal(a, b) for a, b in zip(parts, divide(config), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(parts, divide(config, seed=1), strict=True))


def test_iid_parts_are_equal() -> None:
    assert {part.size for part in divide(IID(), clients=8)} == {25}


def test_smaller_alpha_is_more_skewed() -> None:
    def labels_per_client(alpha: float) -> float:
        return float(np.mean([np.unique(LABELS[part]).size for part in divide(Dirichlet(alpha=alpha)) if part.size]))

    assert labels_per_client(0.05) < 2.5 < 4.5 < labels_per_client(50.0)


def test_shards_bound_the_labels_of_a_client() -> None:
    assert max(np.unique(LABELS[part]).size for part in divide(Shards(per_client=2))) <= 2
    with pytest.raises(ConfigError, match=r"task\.partition\.per_client = 21: must be at most 20"):
        divide(Shards(per_client=21))


def test_groups_stay_apart_and_get_clients_in_proportion() -> None:
    parts = divide(Groups(name="sex", sigma=1.0), clients=10)
    kinds = [set(GROUPS["sex"][part].tolist()) for part in parts if part.size]
    assert all(len(kind) == 1 for kind in kinds)
    women = sum(kind == {0} for kind in kinds)
    assert 2 <= women <= 3  # a quarter of the samples, one client guaranteed
    with pytest.raises(ConfigError, match=r"clients\.count = 3: must be at least 4"):
        divide(Groups(name="race"), clients=3)


def test_sigma_spreads_the_sizes() -> None:
    def spread(sigma: float) -> float:
        return float(np.std([part.size for part in divide(Groups(name="race", sigma=sigma), clients=20)]))

    assert spread(0.0) < 1.0 < spread(1.5)


def test_label_quantity_gives_every_client_as_many_labels() -> None:
    for known in (1, 2, 5):
        parts = divide(LabelQuantity(labels=known), clients=10)
        assert {np.unique(LABELS[part]).size for part in parts} == {known}
    few = divide(LabelQuantity(labels=1), clients=2)
    assert sorted(np.concatenate(few).tolist()) == list(range(200)), "labels that nobody was to know go to everybody"
    with pytest.raises(ConfigError, match=r"task\.partition\.labels = 6: must be at most 5"):
        divide(LabelQuantity(labels=6))


def test_lognormal_sizes_of_the_same_mixture() -> None:
    parts = divide(Quantity(sigma=1.0))
    sizes = [part.size for part in parts]
    assert max(sizes) > 2.5 * np.median(sizes)
    assert np.unique(LABELS[max(parts, key=len)]).size == 5
    assert {part.size for part in divide(Quantity(sigma=0.0))} == {20}


def test_natural_clients_are_never_split_and_are_joined_in_equal_numbers() -> None:
    parts = divide(Natural(), clients=10)
    owners = [set(GROUPS["client"][part].tolist()) for part in parts]
    assert sorted(len(own) for own in owners) == [2] * 7 + [3] * 3
    assert sum(len(own) for own in owners) == 23
    assert len(divide(Natural(), clients=23)) == 23
    with pytest.raises(ConfigError, match=r"clients\.count = 24: must be at most 23, the source's own clients"):
        divide(Natural(), clients=24)
    with pytest.raises(ConfigError, match=r'task\.partition\.name = "natural": this source names no clients'):
        divide_samples(Natural(), LABELS, {}, 10, np.random.default_rng(0))


def test_empty_clients_are_filled_within_their_group() -> None:
    group = np.repeat([0, 1], [30, 300])
    for seed in range(20):
        parts = by_group(group, 40, 3.0, np.random.default_rng(seed))
        assert all(part.size for part in parts)
        assert {len(np.unique(group[part])) for part in parts} == {1}
        assert sorted(np.concatenate(parts)) == list(range(330))


def slow_parts(config: PartitionConfig, labels: Indices, owner: Indices, clients: int, seed: int) -> list[list[int]]:
    """The slow twin of four partitions: a list for each client."""
    draw, parts = np.random.default_rng(seed), [list[int]() for _ in range(clients)]
    match config:
        case Dirichlet():
            for label in np.unique(labels):
                own = draw.permutation(np.flatnonzero(labels == label))
                shares = draw.dirichlet(np.full(clients, config.alpha))
                cuts = np.round(np.cumsum(shares)[:-1] * own.size).astype(np.int64)
                for part, piece in zip(parts, np.split(own, cuts), strict=True):
                    part += piece.tolist()
        case Shards():
            pieces = np.array_split(np.argsort(labels, kind="stable"), clients * config.per_client)
            dealt = draw.permutation(len(pieces)).reshape(clients, config.per_client)
            return [[sample for i in row for sample in pieces[i].tolist()] for row in dealt]
        case LabelQuantity():
            values = np.unique(labels)
            owners: list[list[int]] = [[] for _ in values]
            for client in range(clients):
                first = client % values.size
                others = draw.permutation(np.delete(np.arange(values.size), first))[: config.labels - 1]
                for label in (first, *others.tolist()):
                    owners[label].append(client)
            for value, knowing in zip(values, owners, strict=True):
                sharing = knowing or list(range(clients))
                pieces = np.array_split(draw.permutation(np.flatnonzero(labels == value)), len(sharing))
                for client, piece in zip(sharing, pieces, strict=True):
                    parts[client] += piece.tolist()
        case Natural():
            sources = [np.flatnonzero(owner == value) for value in np.unique(owner)]
            joined = np.array_split(draw.permutation(len(sources)), clients)
            return [[sample for i in members for sample in sources[i].tolist()] for members in joined]
    return parts


@pytest.mark.parametrize("clients", [1, 3, 17])
@pytest.mark.parametrize(
    "config",
    [Dirichlet(alpha=0.1), Dirichlet(alpha=3), Shards(per_client=3), *(LabelQuantity(labels=k) for k in (1, 2, 4)),
     Natural()],
    ids=str,
)  # fmt: skip
def test_partitions_against_their_slow_twins(config: PartitionConfig, clients: int) -> None:
    for seed in range(5):
        draw = np.random.default_rng(100 + seed)
        labels, owner = draw.integers(0, 6, 150) * 3, draw.integers(0, 40, 150)
        fast = divide_samples(config, labels, {"client": owner}, clients, np.random.default_rng(seed))
        assert [part.tolist() for part in fast] == slow_parts(config, labels, owner, clients, seed)


def fill_slowly(parts: list[list[int]]) -> None:
    """The slow twin of `fill_empty_clients`: `max` takes the first of equal ones."""
    for client in [client for client, part in enumerate(parts) if not part]:
        largest = max(range(len(parts)), key=lambda i: len(parts[i]))
        parts[client] = [parts[largest].pop()]


def test_empty_clients_are_filled_from_the_first_of_the_largest() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        sizes = draw.integers(0, 6, int(draw.integers(1, 12))) * draw.integers(0, 2)
        sizes[draw.integers(sizes.size)] += draw.integers(1, 12)  # at times fewer samples than clients
        parts = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
        slow = [part.tolist() for part in parts]
        assert fill_empty_clients(parts) == int((sizes == 0).sum())
        fill_slowly(slow)
        assert [part.tolist() for part in parts] == slow


@pytest.mark.timeout(30)
def test_forty_thousand_clients_are_filled_in_no_time() -> None:
    """A look at all clients for each empty one takes minutes."""
    parts = divide_samples(Dirichlet(alpha=0.05), np.arange(100_000) % 10, {}, 40_000, np.random.default_rng(0))
    assert fill_empty_clients(parts) > 10_000
    assert min(part.size for part in parts) == 1
    assert sum(part.size for part in parts) == 100_000
