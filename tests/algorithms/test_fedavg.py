"""Synchronous FedAvg with vectors of three numbers, by hand."""

from dataclasses import replace

import numpy as np

from fedqs_ray.algorithms.fedavg import FedAvg, FedAvgSync
from fedqs_ray.core.interfaces import Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(client: int, samples: int, start: Vector, delta: Vector, staleness: int = 0) -> Arrival:
    return make_arrival(client, delta, start, samples, staleness, False, None, 1)


# w_1 = (2, 2, 2) of 30 samples, w_2 = (4, 2, 0) of 10
WAVE = (arrival(0, 30, vector(1, 1, 1), vector(1, 1, 1)), arrival(1, 10, vector(1, 1, 1), vector(3, 1, -1)))
ROUND = Round(vector(1, 1, 1), WAVE, total_count=2, mean_angle=None)


def test_the_mean_by_samples() -> None:
    # 3/4 (2, 2, 2) + 1/4 (4, 2, 0)
    result = FedAvgSync().aggregate(ROUND)
    assert result.model.tolist() == [2.5, 2.0, 1.5]
    assert result.weights == (0.75, 0.25)
    assert not result.state


def test_statistics_are_averaged_like_parameters() -> None:
    assert FedAvgSync().aggregate(replace(ROUND, parameters=1)).model.tolist() == [2.5, 2.0, 1.5]


def test_one_client_is_copied() -> None:
    # whoever is back when all others got lost
    result = FedAvgSync().aggregate(replace(ROUND, arrivals=WAVE[1:]))
    assert result.model.tolist() == [4.0, 2.0, 0.0]
    assert result.weights == (1.0,)


def test_a_client_that_is_there_twice_counts_twice() -> None:
    # of FedAvg with a buffer: (w_1 + w_1 + w_2) / 3
    result = FedAvg().aggregate(replace(ROUND, arrivals=(WAVE[0], WAVE[0], WAVE[1])))
    assert np.allclose(result.model, [8 / 3, 2.0, 4 / 3], rtol=1e-6)
    assert result.weights == (1 / 3, 1 / 3, 1 / 3)


def test_stale_models_count_in_full() -> None:
    # w_1 = (0, 0, 0) + (2, 2, 2), though the model has moved on to (9, 9, 9)
    late = (arrival(0, 30, vector(0, 0, 0), vector(2, 2, 2), staleness=7), WAVE[1])
    moved = replace(ROUND, model=vector(9, 9, 9), arrivals=late)
    assert FedAvg().aggregate(moved).model.tolist() == [3.0, 2.0, 1.0]


def test_it_is_synchronous_and_trains_plainly() -> None:
    assert (FedAvgSync().tiers, FedAvg().tiers) == (1, 0)
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert FedAvgSync().plan(view) == Plan(lr=0.3)
    assert FedAvgSync().correction(view) is None
    assert FedAvgSync().client_state(view, Plan(lr=0.3), vector(1), 1) is None
