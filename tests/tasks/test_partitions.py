import numpy as np
import pytest

from fedqs_ray.config.tasks import IID, Dirichlet, Groups, LabelQuantity, Natural, Quantity, Shards
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.tasks.partition import PartitionConfig, by_group, divide_samples

LABELS = np.repeat(np.arange(5), 40)
GROUPS = {"sex": np.array([0] * 50 + [1] * 150), "race": np.arange(200) % 4, "client": np.arange(200) * 7 % 23}


def divide(
    config: PartitionConfig, clients: int = 10, seed: int = 0
) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
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
