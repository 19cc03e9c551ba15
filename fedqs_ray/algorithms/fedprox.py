"""FedProx (Li et al., MLSys 2020, arXiv 1812.06127): synchronous FedAvg with a proximal term on the clients.

client   minimises F_i(w) + (mu / 2) ||w - w^t||^2
server   w^(t+1) = sum_i n_i w_i / sum_i n_i, of K sampled clients
"""

from fedqs_ray.algorithms.fedavg import FedAvgSync
from fedqs_ray.config.algorithms import FedProxConfig
from fedqs_ray.core.interfaces import ClientView
from fedqs_ray.core.types import Plan


class FedProx(FedAvgSync):
    """Synchronous FedAvg with a proximal term, which holds local models near their start."""

    def __init__(self, config: FedProxConfig) -> None:
        self.config = config

    def plan(self, view: ClientView) -> Plan:
        return Plan(lr=view.lr, proximal=self.config.mu)
