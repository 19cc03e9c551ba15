"""FedAsync (Xie, Koyejo, Gupta 2019, arXiv 1903.03934): every arrival is mixed into the model, with less
weight if stale.

    server   w <- (1 - alpha s(tau)) w + alpha s(tau) w_i
             s(tau) = 1 | (1 + tau)^-a | 1 if tau <= b else 1 / (a (tau - b) + 1)
    client   minimises F_i(w) + (rho / 2) ||w - w^v||^2

The paper's K is 1. With a larger `server.buffer_size` the rule is applied K times before clients see the result.
"""

from fedqs_ray.algorithms.vectors import combined, weighted_sum
from fedqs_ray.algorithms.weighting import hinge, polynomial
from fedqs_ray.config.algorithms import FedAsyncConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, ClientView, Round
from fedqs_ray.core.types import Plan


class FedAsync(Algorithm):
    """Mixing of the arrived models, weighted by staleness."""

    def __init__(self, config: FedAsyncConfig) -> None:
        self.config = config

    def plan(self, view: ClientView) -> Plan:
        return Plan(lr=view.lr, proximal=self.config.rho)

    def aggregate(self, round: Round) -> Aggregation:
        rest, weights = 1.0, list[float]()
        for arrival in round.arrivals:
            share = self.config.alpha * self.freshness(arrival.staleness)
            rest *= 1.0 - share
            weights = [weight * (1.0 - share) for weight in weights] + [share]
        models = weighted_sum([rest, *weights], [round.model, *(a.start_model for a in round.arrivals)])
        return Aggregation(models + combined(weights, round), tuple(weights))

    def freshness(self, staleness: int) -> float:
        """s(tau)."""
        c = self.config
        match c.staleness:
            case "constant":
                return 1.0
            case "polynomial":
                return polynomial(staleness, c.a)
            case "hinge":
                return hinge(staleness, c.hinge_a, c.hinge_b)
