"""WKAFL with vectors of three numbers, by hand."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.wkafl import WKAFL
from fedqs_ray.config.algorithms import WKAFLConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(delta: Vector, staleness: int = 0) -> Arrival:
    return make_arrival(0, delta, vector(5, 5, 5), 10, staleness, False, None, 1)


def there(*arrivals: Arrival, version: int = 0) -> Round:
    return Round(vector(1, 1, 1), arrivals, 9, None, version=version)


def aggregate(round: Round, **settings: Any) -> Aggregation:
    state = deepcopy(dict(round.state))
    result = WKAFL(WKAFLConfig(**settings), rounds=10).aggregate(round)
    assert all(np.array_equal(state[name], round.state[name]) for name in state), "state is not changed in place"
    assert round.model.tolist() == [1.0, 1.0, 1.0]
    assert len(result.weights) == len(round.arrivals)
    return result


X, Y = vector(1, 0, 0), vector(0, 1, 0)
RATIO = 2 / math.e
"""(e/2)^-1, the trust in an update that is one version staler."""


def test_fresh_and_orthogonal() -> None:
    # g = (1/2, 1/2, 0), both cosines 1/sqrt 2 > 0.3, p = 1/2
    result = aggregate(there(arrival(X), arrival(Y)))
    assert result.model.tolist() == [1.5, 1.5, 1.0]
    assert result.weights == pytest.approx((0.5, 0.5))
    assert result.state["aggregate"].tolist() == [0.5, 0.5, 0.0]


def test_a_stale_update_is_trusted_and_weighs_less() -> None:
    # u ~ (1, r): g ~ (1, r, 0), cosines 1/sqrt(1 + r^2) and r/sqrt(1 + r^2), about 0.805 and 0.593
    gap = (1 - RATIO) / math.sqrt(1 + RATIO**2)
    share = math.exp(-10 * gap)  # p_2 / p_1
    result = aggregate(there(arrival(X), arrival(Y, staleness=1)))
    assert result.weights == pytest.approx((1 / (1 + share), share / (1 + share)), rel=1e-5)
    assert result.model.tolist() == pytest.approx([1 + 1 / (1 + share), 1 + share / (1 + share), 1.0], rel=1e-6)
    flat = aggregate(there(arrival(X), arrival(Y, staleness=1)), beta=0)
    assert flat.weights == pytest.approx((0.5, 0.5))


def test_the_second_round_pushes_along_the_first() -> None:
    # G = (1/2, 1/2, 0): d = (1.05, 0.05, 0) alone; min tau = 2: w = (1, 1, 1) + d / 1.2
    first = aggregate(there(arrival(X), arrival(Y)))
    second = aggregate(replace(there(arrival(X, staleness=2), version=1), state=first.state))
    assert second.model.tolist() == pytest.approx([1.875, 1 + 0.05 / 1.2, 1.0], rel=1e-6)
    assert second.weights == pytest.approx((1 / 1.2,))
    assert second.state["aggregate"].tolist() == pytest.approx([1.05, 0.05, 0.0], rel=1e-6)


def test_the_step_shrinks_with_the_smallest_staleness() -> None:
    # equally stale: trusted alike; 1 / (1 + 0.5 * 2) = 1/2
    result = aggregate(there(arrival(X, 2), arrival(Y, 2)), decay=0.5)
    assert result.model.tolist() == [1.25, 1.25, 1.0]
    assert result.weights == pytest.approx((0.25, 0.25))
    assert result.state["aggregate"].tolist() == [0.5, 0.5, 0.0]


def test_who_goes_the_other_way_is_left_out() -> None:
    # g = (1/3, 0, 0): cosines 1, 1, -1. A client that is there twice counts twice.
    result = aggregate(there(arrival(X), arrival(-X), arrival(X)))
    assert result.model.tolist() == [2.0, 1.0, 1.0]
    assert result.weights == (0.5, 0.0, 0.5)


def test_a_cosine_at_the_bound_is_not_enough() -> None:
    # g = (1/2, 0, 0); the update of zeros has cosine 0, which does not exceed a bound of 0
    result = aggregate(there(arrival(X), arrival(vector(0, 0, 0))), similarity_bound=0)
    assert result.weights == (1.0, 0.0)
    allowed = aggregate(there(arrival(X), arrival(vector(0, 0, 0))), similarity_bound=-0.5, beta=math.log(3))
    assert allowed.weights == pytest.approx((0.75, 0.25), rel=1e-6)  # exp(beta) = 3 against 1


def test_nothing_kept_falls_back_to_the_estimate() -> None:
    # u = 1/(1 + r), r/(1 + r); cosines about 0.805 and 0.593 do not exceed 0.9
    result = aggregate(there(arrival(X), arrival(Y, staleness=1)), similarity_bound=0.9)
    trust = 1 / (1 + RATIO)
    assert result.weights == pytest.approx((trust, 1 - trust))
    assert result.state["aggregate"].tolist() == pytest.approx([trust, 1 - trust, 0.0], rel=1e-6)


def test_updates_that_cancel_out_or_are_zero_leave_the_model() -> None:
    for updates in ((X, -X), (0 * X, 0 * X)):
        result = aggregate(there(*map(arrival, updates)))
        assert result.model.tolist() == [1.0, 1.0, 1.0]
        assert result.weights == (0.5, 0.5)


def test_very_stale_updates_do_not_underflow() -> None:
    # (e/2)^-5000 is 0 in floating point; only the difference of staleness counts. 1 / (1 + 0.1 * 5000)
    result = aggregate(there(arrival(X, 5000), arrival(Y, 5000)))
    assert result.weights == pytest.approx((0.5 / 501, 0.5 / 501))
    assert result.state["aggregate"].tolist() == [0.5, 0.5, 0.0]


def test_stage_two_clips() -> None:
    # ||g|| = 1/sqrt 2, so at most sqrt 2 / 4 long with B = 1/2: G = sqrt 2 / 8 (1, 1, 0)
    two = arrival(X), arrival(Y)
    for version, length in ((4, 0.5), (5, math.sqrt(2) / 8), (9, math.sqrt(2) / 8)):
        result = aggregate(there(*two, version=version), clip_ratio=0.5)
        assert result.state["aggregate"].tolist() == pytest.approx([length, length, 0.0], rel=1e-6)
        assert result.weights == pytest.approx((0.5, 0.5))
    assert aggregate(there(*two, version=5), clip_ratio=2).model.tolist() == [1.5, 1.5, 1.0], "never lengthens"


def test_statistics_are_not_judged() -> None:
    # on two numbers g = (1/3, 0): cosines 1, 1, -1, whatever the third number is
    updates = there(arrival(X), arrival(vector(1, 0, 100)), arrival(vector(-1, 0, 100)))
    result = aggregate(replace(updates, parameters=2))
    assert result.weights == (0.5, 0.5, 0.0)
    assert result.model.tolist() == [2.0, 1.0, 51.0]


def test_clipping_measures_parameters_and_shrinks_all() -> None:
    # on two numbers ||d|| = ||g|| = 2, so B = 1/2 halves all three
    single = replace(there(arrival(vector(2, 0, 8)), version=5), parameters=2)
    assert aggregate(single, clip_ratio=0.5).state["aggregate"].tolist() == [1.0, 0.0, 4.0]
    # (2, 0, 0) and (0, 2, 100): g = (1, 1, 50), of which only sqrt 2 counts: both are shortened from 2 to sqrt(2)/2
    two = replace(there(arrival(vector(2, 0, 0)), arrival(vector(0, 2, 100)), version=5), parameters=2)
    half = math.sqrt(2) / 4
    found = aggregate(two, clip_ratio=0.5).state["aggregate"].tolist()
    assert found == pytest.approx([half, half, 50 * half], rel=1e-6)


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert WKAFL(WKAFLConfig(), 10).plan(view) == Plan(lr=0.3)
