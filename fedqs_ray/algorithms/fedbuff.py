"""FedBuff (Nguyen et al., AISTATS 2022, arXiv 2106.06639): a buffer of K updates, each discounted by its staleness.

w^(t+1) = w^t + eta_g (1/K) sum_i d_i / sqrt(1 + tau_i)
"""

from fedqs_ray.algorithms.vectors import gradient_step
from fedqs_ray.algorithms.weighting import polynomial
from fedqs_ray.config.algorithms import FedBuffConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round


class FedBuff(Algorithm):
    """Sum of discounted updates divided by K, not by the sum of the discounts: a stale buffer makes a smaller step."""

    def __init__(self, config: FedBuffConfig) -> None:
        self.config = config

    def aggregate(self, round: Round) -> Aggregation:
        step = self.config.server_lr / len(round.arrivals)
        weights = tuple(step * polynomial(a.staleness, 0.5) for a in round.arrivals)
        return Aggregation(gradient_step(weights, round), weights)
