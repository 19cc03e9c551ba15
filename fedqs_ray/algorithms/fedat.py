"""FedAT (Chai et al., SC 2021, arXiv 2010.05958): tiers of clients of similar speed, each synchronous, asynchronous
among each other.

    tier    w_m <- sum_i n_i w_i / sum_i n_i                of K of its clients, when all have arrived
    server  w = sum_m (T_(M+1-m) / sum T) w_m               T_m: how often tier m was aggregated
    client  minimises F_i(w) + (lambda / 2) ||w - w^v||^2

The weight of a tier is the count of the tier that mirrors it in speed, so that slow tiers, aggregated rarely, weigh as
much as the fast ones are frequent. Every tier starts from w^0: the model changes once a tier and its mirror have.
"""

import numpy as np

from fedqs_ray.algorithms.vectors import model_average, weighted_sum
from fedqs_ray.algorithms.weighting import by_samples
from fedqs_ray.config.algorithms import FedATConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, ClientView, Round
from fedqs_ray.core.types import Plan


class FedAT(Algorithm):
    """Weighted mean of tier models; `server.buffer_size` is K, the clients of a wave in each tier."""

    def __init__(self, config: FedATConfig) -> None:
        self.config = config
        self.tiers = config.tiers

    def plan(self, view: ClientView) -> Plan:
        return Plan(lr=view.lr, proximal=self.config.proximal)

    def aggregate(self, round: Round) -> Aggregation:
        models = np.array(round.state.get("models", np.tile(round.model, (self.tiers, 1))))
        counts = np.array(round.state.get("counts", np.zeros(self.tiers, np.int64)))
        weights = by_samples(round.arrivals)
        models[round.tier] = model_average(weights, round)
        counts[round.tier] += 1
        mirrored = counts[::-1] / counts.sum()
        model = weighted_sum(mirrored.tolist(), list(models))
        own = float(mirrored[round.tier])
        return Aggregation(model, tuple(own * weight for weight in weights), {"models": models, "counts": counts})
