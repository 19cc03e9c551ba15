"""Estimates, from a round's updates, of the quantities in the convergence bounds of semi-asynchronous learning.

FedQS (arXiv 2510.07664) bounds F(w^t) - F* by L V^t ||w^0 - w*||^2 + U + W, with U of the order of delta^2, how far the
clients' gradients lie apart, and W of the order of G_c^2, how long they are. docs/theory.md says what these estimates
are and what they are not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.training import Training
from fedqs_ray.core.interfaces import Arrival
from fedqs_ray.core.types import Vector


@dataclass(frozen=True, slots=True)
class Estimates:
    """Of one round."""

    divergence: float | None
    """delta^2: mean squared distance of the clients' gradients from their mean, K - 1 degrees of freedom."""
    gradient_bound: float
    """G_c^2: the largest squared norm of a client's gradient."""


def estimate_gradients(
    arrivals: Sequence[Arrival], vectors: Iterable[Vector], training: Training, parameters: int
) -> Estimates | None:
    """From updates to gradients: g_i = -(1 - m_i) d_i / (eta_i S_i), the mean over the S_i steps that client i took.

    `vectors` are the arrivals' d_i. None where nobody trained. Running statistics of batch norm are no part of it.
    """
    total, squares = np.zeros(parameters), list[float]()
    for arrival, delta in zip(arrivals, vectors, strict=True):
        steps, plan = training.steps(arrival.samples), arrival.update.plan
        if not steps or not plan.lr:
            return None
        gradient = delta[:parameters] * ((plan.momentum - 1) / (plan.lr * steps))
        total += gradient
        squares.append(square(gradient))
    count = len(squares)
    spread = (sum(squares) - square(total) / count) / (count - 1) if count > 1 else None
    return Estimates(spread, max(squares))


def square(vector: NDArray[np.floating[Any]]) -> float:
    """Squared norm; not by BLAS, whose last bits depend on its threads."""
    return float(np.square(vector, dtype=np.float64).sum())
