"""FedProx, by hand."""

import numpy as np

from fedqs_ray.algorithms.fedprox import FedProx
from fedqs_ray.config.algorithms import FedProxConfig
from fedqs_ray.core.interfaces import ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def test_clients_are_held_near_the_model_they_received() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert FedProx(FedProxConfig()).plan(view) == Plan(lr=0.3, proximal=0.01)
    assert FedProx(FedProxConfig(mu=0.5)).plan(view) == Plan(lr=0.3, proximal=0.5)
    assert FedProx(FedProxConfig(mu=0)).plan(view) == Plan(lr=0.3)
    assert FedProx(FedProxConfig()).correction(view) is None


def test_the_server_averages_a_wave_by_samples() -> None:
    # w_1 = (2, 2, 2) of 30 samples, w_2 = (4, 2, 0) of 10: 3/4 w_1 + 1/4 w_2
    start = vector(1, 1, 1)
    wave = (
        make_arrival(0, vector(1, 1, 1), start, 30, 0, False, None, 1),
        make_arrival(1, vector(3, 1, -1), start, 10, 0, False, None, 1),
    )
    result = FedProx(FedProxConfig()).aggregate(Round(start, wave, total_count=2, mean_angle=None))
    assert result.model.tolist() == [2.5, 2.0, 1.5]
    assert result.weights == (0.75, 0.25)
    assert FedProx(FedProxConfig()).tiers == 1
