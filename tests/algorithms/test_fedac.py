"""FedAC with vectors of three numbers, by hand."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.fedac import FedAC
from fedqs_ray.config.algorithms import FedACConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


ZERO, ONE = vector(0, 0, 0), vector(1, 0, 0)


def fedac(**settings: Any) -> FedAC:
    return FedAC(FedACConfig(**({"server_lr": 0.1, "beta1": 0.5, "beta2": 0.75} | settings)))


def arrival(delta: Vector, start: Vector = ZERO, client_state: Vector = ZERO, before: Vector | None = None) -> Arrival:
    return make_arrival(0, delta, start, 10, 0, False, None, 1, client_state, before)


def aggregate(round: Round, **settings: Any) -> Aggregation:
    state, model = deepcopy(dict(round.state)), round.model.copy()
    result = fedac(**settings).aggregate(round)
    assert all(np.array_equal(state[name], round.state[name]) for name in state), "state is not changed in place"
    assert np.array_equal(model, round.model)
    assert len(result.weights) == len(round.arrivals)
    return result


# The server's step


FRESH = Round(ZERO, (arrival(vector(4, 0, -2)), arrival(vector(0, 0, -2))), 2, None)


def test_first_round() -> None:
    # fresh: p = 1/2, D = (2, 0, -2), m = D/2 = (1, 0, -1), v = D^2/4 = (1, 0, 1),
    # ahead = m/2 + D/2 = (1.5, 0, -1.5); w += 0.1 ahead / 1
    result = aggregate(FRESH)
    assert result.weights == (0.5, 0.5)
    assert result.model.tolist() == pytest.approx([0.15, 0.0, -0.15], rel=1e-6)
    assert result.state["first"].tolist() == [1.0, 0.0, -1.0]
    assert result.state["second"].tolist() == [1.0, 0.0, 1.0]


def test_second_round() -> None:
    # D = (0, 2, 0): m = (1/2, 1, -1/2), v = (3/4, 1, 3/4), ahead = m/2 + D/2 = (1/4, 3/2, -1/4)
    first = aggregate(FRESH)
    there = Round(ONE, (arrival(vector(0, 2, 0), start=ONE),), 3, None, version=1, state=first.state)
    result = aggregate(there)
    side = 0.1 * 0.25 / math.sqrt(0.75)
    assert result.model.tolist() == pytest.approx([1 + side, 0.15, -side], rel=1e-6)
    assert result.state["first"].tolist() == [0.5, 1.0, -0.5]
    assert result.state["second"].tolist() == [0.75, 1.0, 0.75]


def test_epsilon_is_outside_of_the_root() -> None:
    assert aggregate(FRESH, epsilon=1).model.tolist() == pytest.approx([0.075, 0.0, -0.075], rel=1e-6)


def test_updates_of_zeros_change_nothing() -> None:
    result = aggregate(replace(FRESH, arrivals=(arrival(ZERO), arrival(ZERO))))
    assert (result.model.tolist(), result.weights) == ([0.0, 0.0, 0.0], (0.5, 0.5))


# Weights


def weights(*arrivals: Arrival, parameters: int | None = None) -> tuple[float, ...]:
    """The server has gone from (0, 0, 0) to (1, 0, 0) since those who are stale started."""
    return aggregate(Round(ONE, arrivals, 9, None, version=1, parameters=parameters)).weights


def test_stale_updates_weigh_as_they_agree_with_the_server() -> None:
    # cosines with (1, 0, 0): 0.6, 0.8, and -1 that counts 0; 1 for the fresh one. Sum 2.4.
    stale = arrival(vector(3, 4, 0)), arrival(vector(4, 3, 0)), arrival(vector(-1, 0, 0))
    found = weights(*stale, arrival(vector(-9, 0, 0), start=ONE))
    assert found == pytest.approx((0.25, 1 / 3, 0.0, 5 / 12), rel=1e-6)
    assert found[2] == 0.0


def test_all_equal_where_nobody_agrees() -> None:
    assert weights(arrival(vector(-1, 0, 0)), arrival(vector(-1, 5, 0))) == (0.5, 0.5)
    assert weights(arrival(vector(-1, 2, 0))) == (1.0,)


def test_an_update_at_a_right_angle_does_not_agree() -> None:
    # cosines 0 and -1: both count 0, so both weigh 1/2
    assert weights(arrival(vector(0, 1, 0)), arrival(vector(-1, 0, 0))) == (0.5, 0.5)


def test_agreement_is_of_parameters_alone() -> None:
    # third numbers do not count: cosines 0.6 and 0.6, and the fresh one (its third number apart) 1
    stale = arrival(vector(3, 4, 90)), arrival(vector(3, 4, -90))
    fresh = arrival(vector(1, 1, 1), start=vector(1, 0, 5))
    assert weights(*stale, fresh, parameters=2) == pytest.approx((0.6 / 2.2, 0.6 / 2.2, 1 / 2.2), rel=1e-6)


# Control variates


def view(extra: Vector | None, client_state: Vector | None, parameters: int | None = None) -> ClientView:
    return ClientView(ZERO, extra, client_state, 0.3, None, Thresholds(), list, parameters)


def test_correction() -> None:
    # c - c_i, where what is missing is zero
    c, own = vector(1, 1, 1), vector(0, 2, 0)
    found = fedac().correction(view(c, own))
    assert found is not None
    assert found.tolist() == [1.0, -1.0, 1.0]
    for extra, client_state, expected in ((c, None, [1, 1, 1]), (None, own, [0, -2, 0])):
        alone = fedac().correction(view(extra, client_state))
        assert alone is not None
        assert alone.tolist() == expected
    assert fedac().correction(view(None, None)) is None
    assert (c.tolist(), own.tolist()) == ([1.0, 1.0, 1.0], [0.0, 2.0, 0.0])


def test_keep() -> None:
    # S eta = 4 * 0.5: -d/2 = (-1, 0, 2); less c - c_i = (1, -1, 1): (-2, 1, 1)
    plan, delta = Plan(lr=0.5), vector(2, 0, -4)
    assert fedac().client_state(view(None, None), plan, delta, 4).tolist() == [-1.0, 0.0, 2.0]
    assert fedac().client_state(view(vector(1, 1, 1), vector(0, 2, 0)), plan, delta, 4).tolist() == [-2.0, 1.0, 1.0]
    assert delta.tolist() == [2.0, 0.0, -4.0]


def test_nothing_is_kept_of_statistics() -> None:
    found = fedac().client_state(view(vector(1, 1), vector(0, 2), parameters=2), Plan(lr=0.5), vector(2, 0, -4), 4)
    assert found.tolist() == [-2.0, 1.0]


def test_the_server_follows_what_clients_keep() -> None:
    # p = 1/2: changes (2, 0, 0) - 0 and (4, 4, 0) - (2, 0, 2) = (2, 4, -2): c = (2, 2, -1)
    new, known = vector(2, 0, 0), (vector(4, 4, 0), vector(2, 0, 2))
    there = replace(FRESH, arrivals=(arrival(ONE, client_state=new), arrival(ONE, ZERO, *known)))
    first = aggregate(there)
    assert first.extra is not None
    assert first.extra.tolist() == first.state["control"].tolist() == [2.0, 2.0, -1.0]
    # then one more by (0, 0, 3)
    later = arrival(ONE, client_state=vector(4, 4, 3), before=vector(4, 4, 0))
    second = aggregate(replace(FRESH, arrivals=(later,), version=1, state=first.state))
    assert second.extra is not None
    assert second.extra.tolist() == [2.0, 2.0, 2.0]


def test_a_client_that_is_there_twice_changes_twice() -> None:
    # 1/2 (2 - 0) + 1/2 (6 - 2)
    both = (
        arrival(ONE, client_state=vector(2, 0, 0)),
        arrival(ONE, client_state=vector(6, 0, 0), before=vector(2, 0, 0)),
    )
    result = aggregate(replace(FRESH, arrivals=both))
    assert result.state["control"].tolist() == [3.0, 0.0, 0.0]
    assert result.weights == (0.5, 0.5)


def test_statistics_are_averaged_plainly() -> None:
    # third number: + (-2 - 2) / 2; what is kept has two numbers
    arrivals = tuple(replace(a, update=replace(a.update, client_state=vector(1, 3))) for a in FRESH.arrivals)
    result = aggregate(replace(FRESH, arrivals=arrivals, parameters=2))
    assert result.model.tolist() == pytest.approx([0.15, 0.0, -2.0], rel=1e-6)
    assert result.state["control"].tolist() == [1.0, 3.0]
    assert result.state["first"].tolist() == [1.0, 0.0]


def test_plan_and_needs() -> None:
    assert fedac().plan(view(None, None)) == Plan(lr=0.3)
    assert fedac().needs == {"client_state", "client_states"}
