"""Model aggregation (McMahan et al., AISTATS 2017, arXiv 1602.05629), with a buffer of K arrivals or synchronous.

fedavg        w^(t+1) = (1/K) sum_i w_i                     of the first K to arrive
fedavg-sync   w^(t+1) = sum_i n_i w_i / sum_i n_i           of K sampled clients, when all have arrived
"""

from fedqs_ray.algorithms.vectors import model_average
from fedqs_ray.algorithms.weighting import by_samples, equal
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round


class FedAvg(Algorithm):
    """Mean of the arrived models, stale ones included."""

    def aggregate(self, round: Round) -> Aggregation:
        weights = equal(round.arrivals)
        return Aggregation(model_average(weights, round), weights)


class FedAvgSync(Algorithm):
    """Mean of a wave's models, weighted by samples: the reference without staleness."""

    tiers = 1

    def aggregate(self, round: Round) -> Aggregation:
        weights = by_samples(round.arrivals)
        return Aggregation(model_average(weights, round), weights)
