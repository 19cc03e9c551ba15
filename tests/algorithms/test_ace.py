"""ACE with vectors of three numbers, by hand, and against a plain version that keeps every cache."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedqs_ray.algorithms.ace import ACE
from fedqs_ray.config.algorithms import ACEConfig
from fedqs_ray.core.interfaces import Aggregation, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


class Server:
    """Does what the server does for three clients or more: keeps updates, state and versions."""

    def __init__(self, clients: int = 3, **settings: Any) -> None:
        self.ace, self.clients = ACE(ACEConfig(**settings)), clients
        self.client_state: dict[int, Vector] = {}
        self.state: Mapping[str, NDArray[Any]] = {}
        self.model = vector(0, 0, 0)

    def round(self, version: int, *arrived: tuple[int, int, Vector]) -> Aggregation:
        """Aggregate arrivals of (client, staleness, update)."""
        arrivals = []
        for client, staleness, delta in arrived:
            before = self.client_state.get(client)
            arrivals.append(make_arrival(client, delta, self.model, 10, staleness, False, None, 1, delta, before))
            self.client_state[client] = delta
        state, model = deepcopy(dict(self.state)), self.model.copy()
        there = Round(
            self.model,
            tuple(arrivals),
            9,
            None,
            version,
            self.state,
            clients=self.clients,
            client_state=self.client_state.get,
        )
        result = self.ace.aggregate(there)
        assert all(np.array_equal(state[name], self.state[name]) for name in state), "state is not changed in place"
        assert np.array_equal(model, self.model)
        assert len(result.weights) == len(arrived)
        self.state, self.model = result.state, result.model
        return result


A, B, C = vector(3, 0, 0), vector(0, 2, 0), vector(1, 0, 0)


def test_three_rounds() -> None:
    server = Server()
    # the first alone: + (3, 0, 0)
    first = server.round(0, (0, 0, A))
    assert (first.model.tolist(), first.weights) == ([3.0, 0.0, 0.0], (1.0,))
    # both: + 1/2 ((3, 0, 0) + (0, 2, 0)), staleness or not
    second = server.round(1, (1, 1, B))
    assert (second.model.tolist(), second.weights) == ([4.5, 1.0, 0.0], (0.5,))
    # a new update of client 0 replaces the old one: + 1/2 ((1, 0, 0) + (0, 2, 0))
    third = server.round(2, (0, 2, C))
    assert (third.model.tolist(), third.weights) == ([5.0, 2.0, 0.0], (0.5,))


def test_a_larger_buffer_applies_the_rule_one_by_one() -> None:
    # (3, 0, 0), then + (1.5, 1, 0), then + (0.5, 1, 0)
    result = Server().round(0, (0, 0, A), (1, 0, B), (0, 0, C))
    assert result.model.tolist() == [5.0, 2.0, 0.0]
    assert result.weights == (1.0, 0.5, 0.5)


def test_server_rate() -> None:
    result = Server(server_lr=0.5).round(0, (0, 0, A), (1, 0, B))
    assert result.model.tolist() == [2.25, 0.5, 0.0]
    assert result.weights == (0.5, 0.25)


def test_an_old_update_no_longer_counts() -> None:
    # started from version 0: one version old at 1, and two at 2
    server = Server(max_delay=1)
    server.round(0, (0, 0, A))
    assert server.round(1, (1, 0, B)).model.tolist() == [4.5, 1.0, 0.0]
    # at version 2 client 0 is out: + 1/2 ((0, 2, 0) + (1, 0, 0))
    assert server.round(2, (2, 0, C)).model.tolist() == [5.0, 2.0, 0.0]
    # at version 3 client 1 is out as well: + 1/2 ((1, 0, 0) + (3, 0, 0))
    assert server.round(3, (0, 1, A)).model.tolist() == [7.0, 2.0, 0.0]


def test_an_update_that_arrives_too_late_takes_its_client_out() -> None:
    server = Server(max_delay=1)
    server.round(1, (0, 0, A))
    late = server.round(2, (0, 2, C))  # A is empty: no step
    assert (late.model.tolist(), late.weights) == ([3.0, 0.0, 0.0], (0.0,))
    back = server.round(3, (1, 0, B), (0, 1, C))  # + (0, 2, 0), + 1/2 (1, 2, 0)
    assert (back.model.tolist(), back.weights) == ([3.5, 3.0, 0.0], (1.0, 0.5))


def test_nobody_there_yet_and_too_late() -> None:
    result = Server(max_delay=0).round(5, (0, 1, A))
    assert (result.model.tolist(), result.weights) == ([0.0, 0.0, 0.0], (0.0,))


def test_an_old_update_does_not_count_until_its_client_arrives_again() -> None:
    # at version 2 that of client 0 is two versions old: + (0, 2, 0), then + 1/2 ((0, 2, 0) + (1, 0, 0))
    server = Server(max_delay=1)
    server.round(0, (0, 0, A))
    result = server.round(2, (1, 0, B), (0, 0, C))
    assert result.weights == (1.0, 0.5)
    assert result.model.tolist() == [3.5, 3.0, 0.0]


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert ACE(ACEConfig()).plan(view) == Plan(lr=0.3)
    assert ACE(ACEConfig()).needs == {"client_states"}


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("max_delay", [None, 0, 3])
def test_slow_twin(max_delay: int | None, size: int) -> None:
    """Thirty random rounds of six clients; each step looks at all caches."""
    draw = np.random.default_rng(size)
    server = Server(6, server_lr=0.3, max_delay=max_delay)
    caches: dict[int, tuple[int, Vector]] = {}
    for version in range(30):
        arrived = []
        expected, weights = server.model.astype(np.float64), []
        for client in draw.integers(0, 6, size).tolist():
            staleness, delta = int(draw.integers(0, min(version, 6) + 1)), draw.normal(size=3).astype(np.float32)
            arrived.append((client, staleness, delta))
            caches[client] = version - staleness, delta
            valid = {c: d for c, (v, d) in caches.items() if max_delay is None or version - v <= max_delay}
            if valid:
                expected += 0.3 * np.mean(list(valid.values()), axis=0)
            weights.append(0.3 / len(valid) if client in valid else 0.0)
        result = server.round(version, *arrived)
        assert result.weights == pytest.approx(weights), f"round {version}"
        assert np.allclose(result.model, expected, atol=1e-5), f"round {version}"
