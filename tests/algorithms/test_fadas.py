"""FADAS with vectors of three numbers, by hand."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.fadas import FADAS
from fedqs_ray.config.algorithms import FADASConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(delta: Vector, staleness: int = 0) -> Arrival:
    return make_arrival(0, delta, vector(5, 5, 5), 10, staleness, False, None, 1)


def aggregate(round: Round, **settings: Any) -> Aggregation:
    state, model = deepcopy(dict(round.state)), round.model.copy()
    plain = {"server_lr": 0.5, "beta1": 0.5, "beta2": 0.75}
    result = FADAS(FADASConfig(**(plain | settings))).aggregate(round)
    assert all(np.array_equal(state[name], round.state[name]) for name in state), "state is not changed in place"
    assert np.array_equal(model, round.model)
    return result


FIRST = Round(vector(1, 1, 1), (arrival(vector(4, 0, -2)), arrival(vector(0, 0, -2))), 2, None)


def test_first_round() -> None:
    # D = (2, 0, -2), m = D/2 = (1, 0, -1), v = D^2/4 = (1, 0, 1): w += 1/2 (1, 0, -1) / 1; 0/eps = 0
    result = aggregate(FIRST)
    assert result.model.tolist() == pytest.approx([1.5, 1.0, 0.5])
    assert result.weights == (0.5, 0.5)
    assert result.state["first"].tolist() == [1.0, 0.0, -1.0]
    assert result.state["second"].tolist() == [1.0, 0.0, 1.0]
    assert result.state["largest"].tolist() == [1.0, 0.0, 1.0]


def test_second_round_divides_by_the_largest_second_moment() -> None:
    # D = (0, 2, 0): m = (1/2, 1, -1/2), v = (3/4, 1, 3/4), vmax = (1, 1, 1): w += 1/2 m
    first = aggregate(FIRST)
    second = aggregate(Round(first.model, (arrival(vector(0, 2, 0)),), 3, None, version=1, state=first.state))
    assert second.model.tolist() == pytest.approx([1.75, 1.5, 0.25])
    assert second.state["first"].tolist() == [0.5, 1.0, -0.5]
    assert second.state["second"].tolist() == [0.75, 1.0, 0.75]
    assert second.state["largest"].tolist() == [1.0, 1.0, 1.0]
    assert second.weights == (1.0,)


def test_epsilon_is_outside_of_the_root() -> None:
    # 1/2 (1, 0, -1) / (1 + 1)
    assert aggregate(FIRST, epsilon=1).model.tolist() == pytest.approx([1.25, 1.0, 0.75])


@pytest.mark.parametrize(
    ("form", "rate", "delay", "slowed"),
    [
        ("published", 0.5, 1, 0.5),  # the threshold itself is no delay
        ("published", 0.5, 2, 0.5),  # min(1/2, 1/2)
        ("published", 0.5, 4, 0.25),  # min(1/2, 1/4)
        ("published", 0.01, 10, 0.01),  # min(0.01, 0.1)
        ("released", 0.5, 1, 0.5),
        ("released", 0.5, 2, 0.25),  # 1/2 / 2
        ("released", 0.5, 4, 0.125),
        ("released", 0.01, 10, 0.001),
    ],
)
def test_long_delays_slow_the_step_down(form: str, rate: float, delay: int, slowed: float) -> None:
    # the largest staleness counts; m / sqrt(vmax) = (1, 0, -1) as in the first round
    late = replace(FIRST, arrivals=(arrival(vector(4, 0, -2), delay), arrival(vector(0, 0, -2))))
    result = aggregate(late, delay_form=form, server_lr=rate)
    assert result.model.tolist() == pytest.approx([1 + slowed, 1.0, 1 - slowed], rel=1e-5)
    assert result.weights == (0.5, 0.5)


def test_the_rate_recovers_when_updates_are_fresh_again() -> None:
    # D = 0 in the second round: m = (1/2, 0, -1/2), vmax = (1, 0, 1): w += 1/2 (1/2, 0, -1/2)
    late = replace(FIRST, arrivals=(arrival(vector(2, 0, -2), 100),))
    first = aggregate(late)
    fresh = Round(vector(1, 1, 1), (arrival(vector(0, 0, 0)),), 2, None, version=1, state=first.state)
    assert aggregate(fresh).model.tolist() == pytest.approx([1.25, 1.0, 0.75])
    assert aggregate(late, delay_threshold=100).model.tolist() == pytest.approx([1.5, 1.0, 0.5])


def test_updates_of_zeros_change_nothing() -> None:
    result = aggregate(replace(FIRST, arrivals=(arrival(vector(0, 0, 0)),)))
    assert result.model.tolist() == [1.0, 1.0, 1.0]


def test_statistics_are_averaged_plainly() -> None:
    # third number: + (-2 - 2) / 2, at full rate, and no moments of it
    first = aggregate(replace(FIRST, parameters=2))
    assert first.model.tolist() == pytest.approx([1.5, 1.0, -1.0])
    assert first.state["first"].tolist() == [1.0, 0.0]
    again = Round(first.model, (arrival(vector(0, 2, 7)),), 3, None, version=1, state=first.state, parameters=2)
    assert aggregate(again).model.tolist() == pytest.approx([1.75, 1.5, 6.0])


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert FADAS(FADASConfig()).plan(view) == Plan(lr=0.3)
