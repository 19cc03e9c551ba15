"""SAFA with vectors of three numbers, by hand, and against a plain version that keeps every cache."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedqs_ray.algorithms.safa import SAFA
from fedqs_ray.config.algorithms import SAFAConfig
from fedqs_ray.core.interfaces import Aggregation, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


START = vector(1, 1, 1)


def view(model: Vector) -> ClientView:
    return ClientView(model, None, None, 0.3, None, Thresholds(), list)


class Server:
    """Does what the server does: keeps what `client_state` made of each update, and the state."""

    def __init__(self, *shares: float, tolerance: int = 10, model: Vector) -> None:
        self.safa, self.shares = SAFA(SAFAConfig(lag_tolerance=tolerance)), np.array(shares)
        self.client_state: dict[int, Vector] = {}
        self.state: Mapping[str, NDArray[Any]] = {}
        self.model = model

    def round(self, version: int, *arrived: tuple[int, int, Vector], parameters: int | None = None) -> Aggregation:
        """Aggregate arrivals of (client, staleness, local model), which all started from `START`."""
        arrivals = []
        for client, staleness, local in arrived:
            delta, before = local - START, self.client_state.get(client)
            self.client_state[client] = self.safa.client_state(view(START), Plan(lr=0.3), delta, 7)
            arrivals.append(
                make_arrival(client, delta, START, 10, staleness, False, None, 1, self.client_state[client], before),
            )
        state, model = deepcopy(dict(self.state)), self.model.copy()
        there = Round(
            self.model, tuple(arrivals), 9, None, version, self.state, parameters, self.shares.size,
            lambda: self.shares, self.client_state.get,
        )  # fmt: skip
        result = self.safa.aggregate(there)
        assert all(np.array_equal(state[name], self.state[name]) for name in state), "state is not changed in place"
        assert np.array_equal(model, self.model)
        assert len(result.weights) == len(arrived)
        self.state, self.model = result.state, result.model
        return result


def four(tolerance: int = 10) -> Server:
    """Clients with 1/2, 1/4, 1/8 and 1/8 of all samples; w^0 = (8, 8, 8)."""
    return Server(0.5, 0.25, 0.125, 0.125, tolerance=tolerance, model=vector(8, 8, 8))


def test_what_is_kept_is_the_local_model() -> None:
    client_state = SAFA(SAFAConfig()).client_state(view(START), Plan(lr=0.3), vector(1, 0, -1), 7)
    assert client_state.tolist() == [2.0, 1.0, 0.0]


def test_two_rounds() -> None:
    server = four()
    # 1/2 (2, 4, 0) + 1/4 (0, 0, 8) + 1/4 w^0
    first = server.round(0, (0, 0, vector(2, 4, 0)), (1, 0, vector(0, 0, 8)))
    assert first.model.tolist() == [3.0, 4.0, 4.0]
    assert first.weights == (0.5, 0.25)
    # 1/2 (2, 4, 0) + 1/4 (4, 0, 0) + 1/8 (8, 16, 0) + 1/8 (3, 4, 4); a tolerable staleness does not matter
    second = server.round(1, (2, 1, vector(8, 16, 0)), (1, 0, vector(4, 0, 0)))
    assert second.model.tolist() == [3.375, 4.5, 0.5]
    assert second.weights == (0.125, 0.25)


def test_a_second_arrival_of_a_client_is_late() -> None:
    server = four()
    # picked: (2, 4, 0), for 1/2; the rest is w^0
    first = server.round(0, (0, 0, vector(2, 4, 0)), (0, 0, vector(0, 0, 8)))
    assert first.model.tolist() == [5.0, 6.0, 4.0]
    assert first.weights == (0.5, 0.0)
    # its second model is in the cache now: 1/2 (0, 0, 8) + 1/4 (0, 0, 0) + 1/4 (5, 6, 4)
    second = server.round(1, (1, 0, vector(0, 0, 0)))
    assert second.model.tolist() == [1.25, 1.5, 5.0]
    # and its next picked one replaces that: 1/2 (2, 2, 2) + 1/4 (0, 0, 0) + 1/4 (1.25, 1.5, 5)
    third = server.round(2, (0, 0, vector(2, 2, 2)))
    assert third.model.tolist() == [1.3125, 1.375, 2.25]


def test_work_that_is_too_old_is_lost() -> None:
    server = four(tolerance=2)
    # alone and too old: everything is held by w^0
    lost = server.round(3, (0, 3, vector(2, 4, 0)))
    assert (lost.model.tolist(), lost.weights) == ([8.0, 8.0, 8.0], (0.0,))
    # at the tolerance it counts: 1/2 (2, 4, 0) + 1/2 (8, 8, 8)
    tolerable = server.round(4, (0, 2, vector(2, 4, 0)))
    assert (tolerable.model.tolist(), tolerable.weights) == ([5.0, 6.0, 4.0], (0.5,))
    # too old again: its cached model goes as well, so w stays
    deprecated = server.round(5, (0, 3, vector(0, 0, 0)))
    assert (deprecated.model.tolist(), deprecated.weights) == ([5.0, 6.0, 4.0], (0.0,))


def test_a_cached_model_is_dropped_when_its_client_falls_behind() -> None:
    server = four(tolerance=1)
    assert server.round(0, (0, 0, vector(0, 0, 8))).model.tolist() == [4.0, 4.0, 8.0]
    # 1/2 (0, 0, 8) + 1/4 (4, 4, 4) + 1/4 (4, 4, 8)
    assert server.round(1, (1, 0, vector(4, 4, 4))).model.tolist() == [2.0, 2.0, 7.0]
    # two versions behind: its half is held by (2, 2, 7). 1/4 (4, 4, 4) + 1/8 (8, 8, 8) + 5/8 (2, 2, 7)
    assert server.round(2, (2, 0, vector(8, 8, 8))).model.tolist() == [3.25, 3.25, 6.375]


def test_a_late_model_that_is_too_old_empties_the_cache() -> None:
    server = four(tolerance=1)
    both = server.round(4, (0, 0, vector(0, 0, 8)), (0, 3, vector(2, 2, 2)))
    assert (both.model.tolist(), both.weights) == ([4.0, 4.0, 8.0], (0.5, 0.0))
    # only client 1 is valid: 1/4 (0, 0, 0) + 3/4 (4, 4, 8)
    assert server.round(5, (1, 0, vector(0, 0, 0))).model.tolist() == [3.0, 3.0, 6.0]


def test_statistics_are_cached_like_parameters() -> None:
    result = four().round(0, (0, 0, vector(2, 4, 0)), (1, 0, vector(0, 0, 8)), parameters=1)
    assert result.model.tolist() == [3.0, 4.0, 4.0]


def test_clients_train_plainly() -> None:
    assert SAFA(SAFAConfig()).plan(view(START)) == Plan(lr=0.3)
    assert SAFA(SAFAConfig()).needs == {"client_states"}


@pytest.mark.parametrize("tolerance", [0, 2, 100])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_slow_twin(tolerance: int, size: int) -> None:
    """Thirty random rounds of six clients; each sums all caches."""
    draw = np.random.default_rng(100 * size + tolerance)
    samples = draw.integers(1, 50, 6)
    server = Server(*(samples / samples.sum()).tolist(), tolerance=tolerance, model=vector(1, 2, 3))
    caches: dict[int, tuple[int, Vector]] = {}
    for t in range(30):
        arrived = [
            (client, int(draw.integers(0, min(t, 4) + 1)), draw.normal(size=3).astype(np.float32))
            for client in draw.integers(0, 6, size).tolist()
        ]
        caches = {client: cached for client, cached in caches.items() if t - cached[0] <= tolerance}
        late, expected, weights = list[tuple[int, int, Vector]](), np.zeros(3), list[float]()
        for number, (client, staleness, local) in enumerate(arrived):
            picked = client not in [other for other, _, _ in arrived[:number]]
            weights.append(server.shares[client] if picked and staleness <= tolerance else 0.0)
            if not picked:
                late.append((client, staleness, local))
            elif staleness <= tolerance:
                caches[client] = t, local
            else:
                caches.pop(client, None)
        for client, share in enumerate(server.shares):
            expected += share * (caches[client][1] if client in caches else server.model)
        for client, staleness, local in late:
            caches.pop(client, None)
            if staleness <= tolerance:
                caches[client] = t, local
        result = server.round(t, *arrived)
        assert result.weights == pytest.approx(weights), f"round {t}"
        assert np.allclose(result.model, expected, atol=1e-5), f"round {t}"
