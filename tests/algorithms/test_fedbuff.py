"""FedBuff with vectors of three numbers, by hand."""

from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.fedbuff import FedBuff
from fedqs_ray.config.algorithms import FedBuffConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(delta: Vector, staleness: int, samples: int = 5) -> Arrival:
    return make_arrival(0, delta, vector(7, 7, 7), samples, staleness, False, None, 1)


def aggregate(*arrivals: Arrival, parameters: int | None = None, **settings: Any) -> Aggregation:
    model = vector(10, 10, 10)
    there = Round(model, arrivals, total_count=2, mean_angle=None, parameters=parameters)
    result = FedBuff(FedBuffConfig(**settings)).aggregate(there)
    assert model.tolist() == [10.0, 10.0, 10.0]
    assert not result.state
    return result


FRESH = arrival(vector(1, 0, -1), staleness=0, samples=900)
STALE = arrival(vector(4, 2, 0), staleness=3)


def test_a_stale_update_counts_less() -> None:
    # 1/2 ((1, 0, -1) + (4, 2, 0) / sqrt(1 + 3)) = 1/2 (3, 1, -1)
    result = aggregate(FRESH, STALE)
    assert result.model.tolist() == [11.5, 10.5, 9.5]
    assert result.weights == (0.5, 0.25)


def test_a_stale_buffer_makes_a_smaller_step() -> None:
    # both halved: the weights are not scaled up to a sum of 1
    result = aggregate(STALE, STALE)
    assert result.model.tolist() == [12.0, 11.0, 10.0]
    assert result.weights == (0.25, 0.25)


def test_server_rate() -> None:
    result = aggregate(FRESH, STALE, server_lr=0.5)
    assert result.model.tolist() == [10.75, 10.25, 9.75]
    assert result.weights == (0.25, 0.125)


def test_an_incomplete_buffer_divides_by_its_own_number() -> None:
    assert aggregate(FRESH).model.tolist() == [11.0, 10.0, 9.0]
    assert aggregate(arrival(vector(9, 0, 3), staleness=8)).model.tolist() == pytest.approx([13.0, 10.0, 11.0])


def test_updates_of_zeros_change_nothing() -> None:
    assert aggregate(arrival(vector(0, 0, 0), 0)).model.tolist() == [10.0, 10.0, 10.0]


def test_statistics_move_like_parameters() -> None:
    assert aggregate(FRESH, STALE, parameters=1).model.tolist() == [11.5, 10.5, 9.5]


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert FedBuff(FedBuffConfig()).plan(view) == Plan(lr=0.3)
    assert not FedBuff(FedBuffConfig()).needs
