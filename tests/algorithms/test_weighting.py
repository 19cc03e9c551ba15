"""Weights by number, samples and staleness, by hand."""

import numpy as np
import pytest

from fedqs_ray.algorithms.weighting import by_samples, equal, hinge, polynomial
from fedqs_ray.core.interfaces import Arrival
from fedqs_ray.testing import make_arrival


def arrivals(*samples: int) -> list[Arrival]:
    nothing = np.zeros(3, np.float32)
    return [make_arrival(0, nothing, nothing, n, 0, False, None, 1) for n in samples]


def test_equal() -> None:
    assert equal(arrivals(1, 2, 30, 400)) == (0.25, 0.25, 0.25, 0.25)
    assert equal(arrivals(7)) == (1.0,)


def test_by_samples() -> None:
    assert by_samples(arrivals(30, 10)) == (0.75, 0.25)
    assert by_samples(arrivals(7)) == (1.0,)


@pytest.mark.parametrize(
    ("staleness", "a", "weight"),
    [
        (0, 0.5, 1.0),  # 1^-1/2
        (3, 0.5, 0.5),  # 4^-1/2
        (8, 0.5, 1 / 3),  # 9^-1/2
        (1, 2.0, 0.25),  # 2^-2
        (5, 0.0, 1.0),
    ],
)
def test_polynomial(staleness: int, a: float, weight: float) -> None:
    assert polynomial(staleness, a) == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize(
    ("staleness", "a", "b", "weight"),
    [
        (0, 10.0, 4.0, 1.0),
        (3, 10.0, 4.0, 1.0),
        (4, 10.0, 4.0, 1.0),  # b itself is still fresh
        (5, 10.0, 4.0, 1 / 11),  # 10 (5 - 4) + 1
        (6, 10.0, 4.0, 1 / 21),  # 10 (6 - 4) + 1
        (1, 2.0, 0.5, 0.5),  # 2 (1 - 1/2) + 1 = 2
        (5, 0.5, 4.0, 2 / 3),  # 1/2 + 1: without the "+ 1" it would be 2
        (9, 0.0, 4.0, 1.0),  # no slope
        (0, 10.0, 0.0, 1.0),
    ],
)
def test_hinge(staleness: int, a: float, b: float, weight: float) -> None:
    assert hinge(staleness, a, b) == pytest.approx(weight, rel=1e-12)
