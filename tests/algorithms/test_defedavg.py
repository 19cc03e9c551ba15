"""DeFedAvg: the draw by its laws, the step by hand."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fedqs_ray.algorithms.defedavg import DeFedAvg
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


CACHE = {1: vector(2, 0, 0), 3: vector(8, 0, 0), 5: vector(32, 0, 0), 7: vector(0, 4, 128)}
"""The newest update of each client, this round's included. Every pair has another mean."""


def arrival(client: int, delta: Vector, staleness: int = 0, before: Vector | None = None) -> Arrival:
    return make_arrival(client, delta, vector(9, 9, 9), 10, staleness, False, None, 1, delta, before)


def aggregate(
    *arrivals: Arrival, cache: dict[int, Vector], heard: list[int] | None = None, version: int = 0, seed: int = 0
) -> Aggregation:
    state = {} if heard is None else {"heard": np.array(heard)}
    copy = deepcopy(state)
    there = Round(vector(1, 1, 1), arrivals, 9, None, version, state, clients=9, client_state=cache.get)
    result = DeFedAvg().aggregate(replace(there, seed=seed))
    assert all(np.array_equal(copy[name], state[name]) for name in state), "state is not changed in place"
    assert there.model.tolist() == [1.0, 1.0, 1.0]
    assert len(result.weights) == len(arrivals)
    return result


def test_first_round_takes_all() -> None:
    # K = 2 of the 2 heard from: (1, 1, 1) + 1/2 (2, 0, 0) + 1/2 (8, 0, 0), however stale
    first = arrival(3, CACHE[3], staleness=6), arrival(1, CACHE[1])
    result = aggregate(*first, cache={1: CACHE[1], 3: CACHE[3]})
    assert result.model.tolist() == [6.0, 1.0, 1.0]
    assert result.weights == (0.5, 0.5)
    assert result.state["heard"].tolist() == [1, 3]


@pytest.mark.parametrize("version", range(1, 9))
def test_later_rounds_draw_from_all_that_were_heard_from(version: int) -> None:
    now = arrival(7, CACHE[7]), arrival(5, CACHE[5])
    result = aggregate(*now, cache=CACHE, heard=[1, 3], version=version)
    means = {pair: 1 + (CACHE[pair[0]] + CACHE[pair[1]]) / 2 for pair in combinations(CACHE, 2)}
    (drawn,) = [pair for pair, model in means.items() if np.array_equal(model, result.model)]
    assert result.weights == (0.5 * (7 in drawn), 0.5 * (5 in drawn))
    assert result.state["heard"].tolist() == [1, 3, 5, 7]


def test_every_pair_is_drawn_alike() -> None:
    now = arrival(7, CACHE[7]), arrival(5, CACHE[5])
    seen = Counter(tuple(aggregate(*now, cache=CACHE, heard=[1, 3], version=v).model.tolist()) for v in range(1, 1801))
    # 6 pairs, 300 each, with a standard deviation of sqrt(1800 * 1/6 * 5/6) = 16
    assert len(seen) == 6
    assert max(abs(number - 300) for number in seen.values()) < 80


def test_the_draw_is_of_seed_and_round_alone() -> None:
    def models(seed: int, *order: int) -> list[list[float]]:
        now = [arrival(client, CACHE[client]) for client in order]
        return [aggregate(*now, cache=CACHE, heard=[1, 3], version=v, seed=seed).model.tolist() for v in range(1, 20)]

    assert models(0, 5, 7) == models(0, 5, 7) == models(0, 7, 5)
    assert models(0, 5, 7) != models(1, 5, 7)


def test_a_client_that_is_there_twice_is_drawn_once_with_its_newest() -> None:
    # only client 1 was heard from, so S = {1}: (1, 1, 1) + (2, 0, 0)
    both = arrival(1, vector(50, 50, 50)), arrival(1, CACHE[1], before=vector(50, 50, 50))
    result = aggregate(*both, cache={1: CACHE[1]})
    assert result.model.tolist() == [3.0, 1.0, 1.0]
    assert result.weights == (0.0, 1.0)
    assert result.state["heard"].tolist() == [1]


def test_an_incomplete_buffer_draws_as_many_as_it_holds() -> None:
    for version in range(1, 9):
        result = aggregate(arrival(5, CACHE[5]), cache=CACHE, heard=[1, 3, 5, 7], version=version)
        assert result.model.tolist() in [(1 + update).tolist() for update in CACHE.values()]
        assert result.weights in {(1.0,), (0.0,)}


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert DeFedAvg().plan(view) == Plan(lr=0.3)
    assert DeFedAvg().needs == {"client_states"}
