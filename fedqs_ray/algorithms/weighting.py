"""Weights of updates used in several papers: by samples, by staleness."""

import math
from collections.abc import Sequence

from fedqs_ray.algorithms.vectors import normalised
from fedqs_ray.core.interfaces import Arrival


def equal(arrivals: Sequence[Arrival]) -> tuple[float, ...]:
    """1/K each."""
    return (1.0 / len(arrivals),) * len(arrivals)


def by_samples(arrivals: Sequence[Arrival]) -> tuple[float, ...]:
    """n_i / sum n over the arrivals."""
    return normalised([a.samples for a in arrivals])


def polynomial(staleness: int, a: float) -> float:
    """(1 + tau)^-a."""
    return math.pow(1.0 + staleness, -a)


def hinge(staleness: int, a: float, b: float) -> float:
    """1 up to a staleness of b, then 1 / (a (tau - b) + 1)."""
    return 1.0 if staleness <= b else 1.0 / (a * (staleness - b) + 1.0)
