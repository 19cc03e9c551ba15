"""FedAvg and FedSGD with vectors of three numbers, worked out by hand."""

import numpy as np

from fedqs_ray.algorithms.fedavg import FedAvg
from fedqs_ray.algorithms.fedsgd import FedSGD
from fedqs_ray.core.interfaces import Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(start: Vector, delta: Vector) -> Arrival:
    return make_arrival(0, delta, start, samples=5, staleness=0, feedback=False, angle=None, count=1)


ROUND = Round(
    model=vector(1, 1, 1),
    arrivals=(arrival(vector(1, 2, 3), vector(1, 0, -1)), arrival(vector(0, 0, 0), vector(4, 2, 0))),
    total_count=2,
    mean_angle=None,
)


def test_fedavg_is_the_mean_of_the_models() -> None:
    # w_1 = (2, 2, 2), w_2 = (4, 2, 0)
    result = FedAvg().aggregate(ROUND)
    assert result.model.tolist() == [3.0, 2.0, 1.0]
    assert result.weights == (0.5, 0.5)


def test_fedsgd_adds_the_mean_of_the_updates() -> None:
    result = FedSGD().aggregate(ROUND)
    assert result.model.tolist() == [3.5, 2.0, 0.5]
    assert result.weights == (0.5, 0.5)


def test_both_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    for algorithm in (FedAvg(), FedSGD()):
        assert algorithm.plan(view) == Plan(lr=0.3, momentum=0.0, feedback=False)
        assert not algorithm.needs
