"""M-step KAFL with vectors of three numbers, by hand."""

import math
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.mstep import MStep, distance, reversed_shares
from fedqs_ray.config.algorithms import MStepConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(local: Vector, samples: int = 10, count: int = 1, staleness: int = 0) -> Arrival:
    """A client that started from (1, 1, 1) and ended at `local`."""
    start = vector(1, 1, 1)
    return make_arrival(0, local - start, start, samples, staleness, False, None, count)


def there(*arrivals: Arrival, model: Vector | None = None, parameters: int | None = None) -> Round:
    return Round(vector(1, 0, 0) if model is None else model, arrivals, 99, None, parameters=parameters)


def aggregate(*arrivals: Arrival, **settings: Any) -> Aggregation:
    result = MStep(MStepConfig(**settings)).aggregate(there(*arrivals))
    assert not result.state
    return result


def test_shares_with_ranks_reversed() -> None:
    assert reversed_shares([5, 1, 3]) == [1 / 9, 5 / 9, 3 / 9]
    assert reversed_shares([3, 1]) == [1 / 4, 3 / 4]
    assert reversed_shares([7]) == [1.0]
    # ties: all at the first of their ranks, so that the shares need not sum to 1
    assert reversed_shares([1, 1, 3]) == [3 / 5, 3 / 5, 1 / 5]
    assert reversed_shares([2, 2, 1]) == [2 / 5, 2 / 5, 2 / 5]


@pytest.mark.parametrize(
    ("local", "found"),
    [
        ((1, 0, 0), 0.0),  # the global model itself
        ((2, 0, 0), 0.5),  # |2/4 - 1|
        ((0.5, 0, 0), 1.0),  # |0.5/0.25 - 1|
        ((-1, 0, 0), 2.0),  # |-1/1 - 1|
        ((0, 3, 0), 1.0),  # |0/9 - 1|
        ((0, 0, 0), 0.0),
    ],
)
def test_distance(local: tuple[float, ...], found: float) -> None:
    assert distance(arrival(vector(*local)), there()) == pytest.approx(found)


def test_near_and_frequent_against_far_and_rare() -> None:
    # lambda = 0 and |2/20 - 1| = 0.9; q = 1/4 and 3/4: p ~ 10 and 30 exp(-2 (0.9) / (3/4)) = 30 exp(-2.4)
    result = aggregate(arrival(vector(1, 0, 0), 10, count=3), arrival(vector(2, 0, 4), 30, count=1))
    far = 30 * math.exp(-2.4) / (10 + 30 * math.exp(-2.4))
    assert result.weights == pytest.approx((1 - far, far), rel=1e-6)
    assert result.model.tolist() == pytest.approx([1 + far, 0.0, 4 * far], rel=1e-6, abs=1e-7)


def test_who_comes_often_is_judged_more_sharply() -> None:
    # lambda = 1/2 for the second: q = 1/4, p ~ exp(-4); as the rare one q = 3/4, p ~ exp(-4/3)
    for counts, share in (((1, 3), math.exp(-4)), ((3, 1), math.exp(-4 / 3)), ((2, 2), math.exp(-2))):
        found = aggregate(arrival(vector(1, 0, 0), count=counts[0]), arrival(vector(2, 0, 0), count=counts[1]))
        assert found.weights == pytest.approx((1 / (1 + share), share / (1 + share)), rel=1e-6)


def test_coefficient() -> None:
    models = arrival(vector(1, 0, 0), 30), arrival(vector(2, 0, 0), 10)
    assert aggregate(*models, coefficient=0).weights == pytest.approx((0.75, 0.25))
    # q = 1/2 each: exp(-0.5 (1/2) / (1/2))
    share = math.exp(-0.5) / 3
    assert aggregate(*models, coefficient=0.5).weights == pytest.approx((1 / (1 + share), share / (1 + share)))


def test_models_so_far_away_that_every_exponential_is_zero() -> None:
    # lambda = 1/x - 1: 1999 and 999, with q = 1/2: exp(-7996) and exp(-3996)
    result = aggregate(arrival(vector(0.0005, 0, 0)), arrival(vector(0.001, 0, 0)))
    assert result.weights == pytest.approx((0.0, 1.0))
    assert result.model.tolist() == pytest.approx([0.001, 0.0, 0.0], abs=1e-7)


def test_one_arrival_is_the_new_model_and_staleness_plays_no_part() -> None:
    result = aggregate(arrival(vector(-5, 3, 2), staleness=40))
    assert (result.model.tolist(), result.weights) == ([-5.0, 3.0, 2.0], (1.0,))
    old, new = (aggregate(arrival(vector(1, 0, 0)), arrival(vector(2, 0, 0), staleness=s)) for s in (9, 0))
    assert old.weights == new.weights


def test_statistics_are_averaged_but_not_judged() -> None:
    # on the first number alone both are the global model, so p = 1/2
    both = arrival(vector(1, 500, 0)), arrival(vector(1, 100, -8))
    result = MStep(MStepConfig()).aggregate(there(*both, model=vector(1, 7, 7), parameters=1))
    assert result.weights == (0.5, 0.5)
    assert result.model.tolist() == [1.0, 300.0, -4.0]


def test_clients_train_plainly() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert MStep(MStepConfig()).plan(view) == Plan(lr=0.3)
