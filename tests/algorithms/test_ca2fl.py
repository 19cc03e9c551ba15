"""CA2FL with vectors of three numbers, by hand, and against a plain version that keeps every h_i."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.ca2fl import CA2FL
from fedqs_ray.config.algorithms import CA2FLConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(client: int, delta: Vector, before: Vector | None = None, staleness: int = 0) -> Arrival:
    return make_arrival(client, delta, vector(9, 9, 9), 10, staleness, False, None, 1, delta, before)


def aggregate(round: Round, **settings: Any) -> Aggregation:
    state, model = deepcopy(dict(round.state)), round.model.copy()
    result = CA2FL(CA2FLConfig(**settings)).aggregate(round)
    assert all(np.array_equal(state[name], round.state[name]) for name in state), "state is not changed in place"
    assert np.array_equal(model, round.model)
    assert len(result.weights) == len(round.arrivals)
    return result


A, B = vector(4, 0, 0), vector(0, 4, 0)
FIRST = Round(vector(1, 1, 1), (arrival(0, A), arrival(1, B)), 2, None, clients=4)


def test_first_round_is_the_mean_update() -> None:
    # h = 0: v = 1/2 (4, 4, 0); then h = 1/4 (4, 4, 0)
    result = aggregate(FIRST)
    assert result.model.tolist() == [3.0, 3.0, 1.0]
    assert result.weights == (0.5, 0.5)
    assert result.state["mean"].tolist() == [1.0, 1.0, 0.0]


def test_second_round_is_calibrated() -> None:
    # h_0 = (4, 0, 0), h_2 = 0: v = (1, 1, 0) + 1/2 ((-4, 0, 4) + (2, 2, 2)) = (0, 2, 3), staleness or not;
    # then h = 1/4 ((0, 0, 4) + (0, 4, 0) + (2, 2, 2)) = (1/2, 3/2, 3/2)
    now = arrival(0, vector(0, 0, 4), before=A, staleness=1), arrival(2, vector(2, 2, 2))
    result = aggregate(Round(vector(3, 3, 1), now, 4, None, 1, aggregate(FIRST).state, clients=4))
    assert result.model.tolist() == [3.0, 5.0, 4.0]
    assert result.state["mean"].tolist() == [0.5, 1.5, 1.5]


def test_server_rate() -> None:
    # the rate scales the step, not the cache
    result = aggregate(FIRST, server_lr=0.5)
    assert result.model.tolist() == [2.0, 2.0, 1.0]
    assert result.weights == (0.25, 0.25)
    assert result.state["mean"].tolist() == [1.0, 1.0, 0.0]


def test_a_second_arrival_replaces_the_first() -> None:
    # (2, 0, 0) then (6, 0, 0): v = 1/2 (2 + (6 - 2)) = 3; h = 6/4
    both = arrival(0, vector(2, 0, 0)), arrival(0, vector(6, 0, 0), before=vector(2, 0, 0))
    result = aggregate(Round(vector(1, 1, 1), both, 2, None, clients=4))
    assert result.model.tolist() == [4.0, 1.0, 1.0]
    assert result.state["mean"].tolist() == [1.5, 0.0, 0.0]


def test_the_same_update_again_moves_along_the_mean_alone() -> None:
    state = aggregate(FIRST).state
    result = aggregate(Round(vector(3, 3, 1), (arrival(0, A, before=A),), 3, None, 1, state, clients=4))
    assert result.model.tolist() == [4.0, 4.0, 1.0]
    assert result.state["mean"].tolist() == [1.0, 1.0, 0.0]


def test_statistics_move_like_parameters() -> None:
    there = Round(vector(1, 1, 1), (arrival(0, vector(0, 0, 8)),), 1, None, clients=4, parameters=2)
    assert aggregate(there).model.tolist() == [1.0, 1.0, 9.0]


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert CA2FL(CA2FLConfig()).plan(view) == Plan(lr=0.3)
    assert CA2FL(CA2FLConfig()).needs == {"client_states"}


@pytest.mark.parametrize("seed", range(3))
def test_slow_twin(seed: int) -> None:
    """Thirty random rounds of six clients, some of which arrive twice."""
    draw, clients = np.random.default_rng(seed), 6
    client_state: dict[int, Vector] = {}
    caches, model = np.zeros((clients, 3)), vector(1, 2, 3)
    result = Aggregation(model, ())
    for version in range(30):
        arrivals = []
        for client in draw.integers(0, clients, size=draw.integers(1, 5)).tolist():
            update = draw.normal(size=3).astype(np.float32)
            arrivals.append(arrival(client, update, client_state.get(client), int(draw.integers(0, version + 1))))
            client_state[client] = update
        there = Round(
            model, tuple(arrivals), 9, None, version, result.state, clients=clients, client_state=client_state.get
        )
        result = aggregate(there, server_lr=0.7)

        newest = {a.client: a.delta for a in arrivals}
        change = sum((update - caches[client] for client, update in newest.items()), np.zeros(3)) / len(arrivals)
        expected = model + 0.7 * (caches.mean(axis=0) + change)
        caches[list(newest)] = list(newest.values())
        assert np.allclose(result.model, expected, atol=1e-5)
        assert np.allclose(result.state["mean"], caches.mean(axis=0), atol=1e-5)
        model = result.model
