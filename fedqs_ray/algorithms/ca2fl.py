"""CA2FL (Wang, Cao, Wu, Chen, Chen, ICLR 2024): calibration by a cache of all clients' last updates.

    v       = h + (1/K) sum_i (d_i - h_i)                   h = (1/N) sum over all N of h_i
    w^(t+1) = w^t + eta_g v
    h_i    <- d_i                                           of the arrivals; h_i = 0 before the first

h is updated incrementally, so a round costs O(K) models. A client's second arrival in a round replaces its
first.
"""

import numpy as np

from fedqs_ray.algorithms.vectors import difference, weighted_sum
from fedqs_ray.algorithms.weighting import equal
from fedqs_ray.config.algorithms import CA2FLConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round


class CA2FL(Algorithm):
    """The mean of the cache stands for the clients that are missing from the buffer."""

    needs = frozenset({"client_states"})

    def __init__(self, config: CA2FLConfig) -> None:
        self.config = config

    def aggregate(self, round: Round) -> Aggregation:
        weights = equal(round.arrivals)
        mean = round.state.get("mean", np.zeros(round.model.size))
        changes = [difference(a.delta, a.previous_client_state) for a in round.arrivals]
        change = weighted_sum(weights, [one for one in changes if one is not None])
        model = round.model + (self.config.server_lr * (mean + change)).astype(np.float32)
        newest = {arrival.client: place for place, arrival in enumerate(round.arrivals)}
        shown = tuple(
            self.config.server_lr * weight if newest[arrival.client] == place else 0.0  # replaced: no weight
            for place, (arrival, weight) in enumerate(zip(round.arrivals, weights, strict=True))
        )
        return Aggregation(model, shown, {"mean": mean + change * (len(changes) / round.clients)})
