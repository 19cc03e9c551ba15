"""Model aggregation, semi-asynchronous (McMahan et al. 2017, with a buffer of K arrivals).

w^(t+1) = (1/K) sum_i w_i
"""

from fedqs_ray.algorithms.vectors import model_average
from fedqs_ray.config import FedAvgConfig
from fedqs_ray.messages import Aggregation, ClientView, Plan, Round, Vector


class FedAvg:
    """The mean of the arrived models, stale ones included."""

    needs_history = False

    def __init__(self, config: FedAvgConfig) -> None:
        self.config = config

    def plan(self, view: ClientView) -> Plan:
        return Plan(lr=view.lr)

    def keep(self, delta: Vector) -> None:
        pass

    def aggregate(self, round: Round) -> Aggregation:
        weights = (1.0 / len(round.arrivals),) * len(round.arrivals)
        return Aggregation(model_average(weights, round.arrivals), weights)
