"""FedAsync with vectors of three numbers, by hand."""

from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.fedasync import FedAsync
from fedqs_ray.config.algorithms import FedAsyncConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(start: Vector, delta: Vector, staleness: int, samples: int = 5) -> Arrival:
    return make_arrival(0, delta, start, samples, staleness, False, None, 1)


def aggregate(*arrivals: Arrival, **settings: Any) -> Aggregation:
    model = vector(1, 1, 1)
    result = FedAsync(FedAsyncConfig(**settings)).aggregate(Round(model, arrivals, 2, None))
    assert model.tolist() == [1.0, 1.0, 1.0]
    assert not result.state
    return result


STALE = arrival(vector(0, 0, 0), vector(5, 1, -3), staleness=3)
FRESH = arrival(vector(1, 1, 1), vector(-1, -1, 9), staleness=0, samples=500)


def test_a_stale_model_is_mixed_in_less() -> None:
    # alpha s = 0.6 (1 + 3)^-1/2 = 0.3: 0.7 (1, 1, 1) + 0.3 (5, 1, -3)
    result = aggregate(STALE)
    assert result.model.tolist() == pytest.approx([2.2, 1.0, -0.2], rel=1e-6)
    assert result.weights == pytest.approx((0.3,))


def test_a_fresh_one_gets_alpha_whatever_its_samples() -> None:
    # 0.4 (1, 1, 1) + 0.6 (0, 0, 10)
    result = aggregate(FRESH)
    assert result.model.tolist() == pytest.approx([0.4, 0.4, 6.4], rel=1e-6)
    assert result.weights == pytest.approx((0.6,))


def test_a_larger_buffer_applies_the_rule_one_by_one() -> None:
    # 0.4 (2.2, 1, -0.2) + 0.6 (0, 0, 10); of the first arrival's 0.3 a share of 0.4 is left
    result = aggregate(STALE, FRESH)
    assert result.model.tolist() == pytest.approx([0.88, 0.4, 5.92], rel=1e-6)
    assert result.weights == pytest.approx((0.12, 0.6))


def test_the_same_client_twice_is_two_steps() -> None:
    # 0.7 (2.2, 1, -0.2) + 0.3 (5, 1, -3) = (3.04, 1, -1.04); weights 0.3 * 0.7 and 0.3
    result = aggregate(STALE, STALE)
    assert result.model.tolist() == pytest.approx([3.04, 1.0, -1.04], rel=1e-6)
    assert result.weights == pytest.approx((0.21, 0.3))


@pytest.mark.parametrize(
    ("staleness", "tau", "share"),
    [
        ("constant", 9, 0.6),
        ("polynomial", 8, 0.2),  # 0.6 / 3
        ("hinge", 4, 0.6),
        ("hinge", 5, 0.6 / 11),
        ("hinge", 7, 0.6 / 31),
    ],
)
def test_forms_of_staleness(staleness: str, tau: int, share: float) -> None:
    # (1 - share) (1, 1, 1) + share (2, 1, 0)
    result = aggregate(arrival(vector(0, 0, 0), vector(2, 1, 0), tau), staleness=staleness)
    assert result.weights == pytest.approx((share,))
    assert result.model.tolist() == pytest.approx([1 + share, 1.0, 1 - share], rel=1e-6)


def test_alpha_of_one_replaces_the_model() -> None:
    assert aggregate(STALE, FRESH, alpha=1).model.tolist() == [0.0, 0.0, 10.0]
    assert aggregate(STALE, FRESH, alpha=1).weights == (0.0, 1.0)


def test_plan() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert FedAsync(FedAsyncConfig()).plan(view) == Plan(lr=0.3, proximal=0.005)
    assert FedAsync(FedAsyncConfig(rho=0)).plan(view) == Plan(lr=0.3)
