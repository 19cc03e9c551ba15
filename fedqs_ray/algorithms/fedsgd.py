"""Gradient aggregation, semi-asynchronous: a "gradient" is a client's whole local update d_i.

w^(t+1) = w^t + (1/K) sum_i d_i
"""

from fedqs_ray.algorithms.vectors import gradient_step
from fedqs_ray.config import FedSGDConfig
from fedqs_ray.messages import Aggregation, ClientView, Plan, Round, Vector


class FedSGD:
    """The mean of the arrived updates, added to the newest model."""

    needs_history = False

    def __init__(self, config: FedSGDConfig) -> None:
        self.config = config

    def plan(self, view: ClientView) -> Plan:
        return Plan(lr=view.lr)

    def keep(self, delta: Vector) -> None:
        pass

    def aggregate(self, round: Round) -> Aggregation:
        weights = (1.0 / len(round.arrivals),) * len(round.arrivals)
        return Aggregation(gradient_step(round.model, weights, round.arrivals), weights)
