"""Contraction factor fitted to a loss curve: the rate at which the loss falls to its floor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

Curve = NDArray[np.float64]
FEWEST = 8
"""Evaluations that a fit of three numbers needs."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """loss(t) = floor + drop * V^t, fitted by least squares."""

    factor: float
    """V, 0..1."""
    drop: float
    floor: float
    """Where the loss stays: F* + U + W of the bounds, which a curve cannot tell apart."""

    def at(self, rounds: Sequence[int]) -> list[float]:
        """The fitted loss."""
        return [self.floor + self.drop * self.factor**number for number in rounds]


def fit_contraction(rounds: Sequence[int], loss: Sequence[float]) -> Contraction | None:
    """Fit a contraction to test losses in nats; None where there are too few, or where the loss does not fall."""
    t, values = np.asarray(rounds, np.float64), np.asarray(loss, np.float64)
    late = float(np.median(values[-max(1, len(values) // 5) :])) if len(values) else 0.0
    if len(values) < FEWEST or not np.isfinite(values).all() or not late < values[0]:
        return None

    def curve(t: Curve, rate: float, drop: float, floor: float) -> Curve:
        return floor + drop * np.exp(-rate * t)

    guess = (5.0 / t[-1], values[0] - late, late)
    try:
        found, _ = curve_fit(curve, t, values, guess, bounds=([1e-9, 0, 0], [10, np.inf, np.inf]), loss="soft_l1")
    except (RuntimeError, ValueError):  # no fit was found
        return None
    rate, drop, floor = map(float, found)
    return Contraction(float(np.exp(-rate)), drop, floor)
