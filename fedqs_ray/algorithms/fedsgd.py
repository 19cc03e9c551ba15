"""Gradient aggregation, semi-asynchronous: a "gradient" is a client's whole local update d_i.

w^(t+1) = w^t + (1/K) sum_i d_i
"""

from fedqs_ray.algorithms.vectors import gradient_step
from fedqs_ray.algorithms.weighting import equal
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round


class FedSGD(Algorithm):
    """Mean of the arrived updates, added to the newest model."""

    def aggregate(self, round: Round) -> Aggregation:
        weights = equal(round.arrivals)
        return Aggregation(gradient_step(weights, round), weights)
