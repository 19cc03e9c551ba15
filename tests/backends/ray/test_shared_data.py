"""One copy of the data lies in the object store, by Ray's own accounting, and the server has none."""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private.internal_api import node_stats

from fedqs_ray.backends.ray.shared_data import is_equal, share_data
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.experiments.compare import compare
from fedqs_ray.experiments.run import run
from fedqs_ray.tasks.federated import FederatedData
from fedqs_ray.tasks.loading import load_data

pytestmark = pytest.mark.usefixtures("ray_session")
Make = Callable[..., Experiment]
LARGE = ["task.name=synthetic", "clients.count=150", "clients.num_cpus=0.5", "clients.actors=2", "run.rounds=4"]


def stored_bytes() -> int:
    """Bytes in use in the node's object store."""
    node = ray.nodes()[0]  # type: ignore[no-untyped-call]
    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"])  # type: ignore[no-untyped-call]
    return int(stats.store_stats.object_store_bytes_used)


def wait_for_room(size: int) -> int:
    """Bytes in use, once what earlier tests left is freed, which takes Ray a moment; what stays is counted."""
    deadline = time.monotonic() + 30
    while (used := stored_bytes()) > size / 4 and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.1)
    return used


def size_of(data: FederatedData) -> int:
    dataset = data.dataset
    return sum(part.nbytes for part in (dataset.features, dataset.labels, dataset.test_features, dataset.test_labels))


def test_a_run_has_one_copy_of_its_data(experiment: Make, tmp_path: Path) -> None:
    setting = experiment(*LARGE, f'run.out="{tmp_path / "r"}"')
    size = size_of(load_data(setting))
    before = wait_for_room(size)
    seen: list[int] = []
    run(setting, on_progress=lambda _: seen.append(stored_bytes() - before))
    assert size > 2**23, "more than models and updates take"
    assert size <= max(seen) < 1.5 * size


def test_runs_at_the_same_time_share_the_data_of_a_seed(experiment: Make, tmp_path: Path) -> None:
    setting = experiment(*LARGE, "clients.actors=1")
    size = size_of(load_data(setting))
    before = wait_for_room(size)
    seen: dict[str, int] = {}

    def watch(name: str, progress: object) -> None:
        seen[name] = max(seen.get(name, 0), stored_bytes() - before)

    compare(setting, ["fedavg", "fedsgd", "fedqs-avg"], [0], out=tmp_path / "grid", on_progress=watch)
    assert len(seen) == 3
    assert size <= max(seen.values()) < 1.5 * size


def test_equal_data_lie_there_once_as_long_as_somebody_uses_them(experiment: Make) -> None:
    one, same, other = (load_data(experiment(f"seed={seed}")) for seed in (0, 0, 1))
    with share_data(one) as first:
        with share_data(same) as second, share_data(other) as third:
            assert second is first
            assert third is not first
        with share_data(same) as again:
            assert again is first
    with share_data(same) as later:
        assert later is not first


def test_any_number_tells_data_apart(experiment: Make) -> None:
    data = load_data(experiment())
    features = data.dataset.features.copy()
    assert is_equal(data, replace(data, dataset=replace(data.dataset, features=features)))
    features[-1, -1] += 1
    assert not is_equal(data, replace(data, dataset=replace(data.dataset, features=features)))
    assert not is_equal(data, replace(data, train_counts=data.train_counts[:-1]))
    assert not is_equal(data, replace(data, names=("a",)))


def test_statistics_travel_without_the_data(experiment: Make) -> None:
    data = load_data(experiment(*LARGE))
    with share_data(data) as shared:
        assert len(ray.cloudpickle.dumps(shared)) < size_of(data) / 100  # type: ignore[no-untyped-call]

        @ray.remote(num_cpus=0)
        def look(shared):  # type: ignore[no-untyped-def]
            return shared.statistics.fingerprint(), shared.statistics.train

        fingerprint, train = ray.get(look.remote(shared))
        assert fingerprint == data.fingerprint
        assert np.array_equal(train, data.train_counts)
