"""SAFA (Wu et al., IEEE Transactions on Computers 2020, arXiv 1910.01355): the server caches a model of every client.

    cache_i <- w_i                                          of the clients picked in this round
    w^(t+1) = sum_i (n_i / n) cache_i                       over all N clients
    cache_i <- w_i                                          of those that were late for it ("bypass")

Beyond the lag tolerance a client is deprecated: an update with a larger staleness is lost, a cached model that has not
been renewed for more versions is dropped, and the global model takes its place.
Here the first arrival of a client in a round is picked and a further one is late; and w^t stands for the model of a
client without a valid one (not yet, or no longer), so that a round costs O(K) models and not O(N):

    w^(t+1) = sum over valid i of (n_i / n) cache_i + (1 - sum over valid i of n_i / n) w^t

In the paper a client within the tolerance continues from its own model; here, as in all algorithms, it starts from the
newest one.
"""

import numpy as np

from fedqs_ray.config.algorithms import SAFAConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Vector

NONE = -1
"""Version of a client without a valid model."""


class SAFA(Algorithm):
    """Weighted sum of the cached models, updated incrementally."""

    needs = frozenset({"client_states"})

    def __init__(self, config: SAFAConfig) -> None:
        self.config = config

    def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector:  # noqa: ARG002
        return view.model + delta

    def aggregate(self, round: Round) -> Aggregation:
        shares, t = round.shares(), round.version
        total = np.array(round.state.get("total", np.zeros(round.model.size)))
        valid = np.array(round.state.get("valid", np.full(round.clients, NONE)))

        def drop(client: int, model: Vector | None) -> None:
            if valid[client] != NONE and model is not None:
                total[:] -= shares[client] * model
            valid[client] = NONE

        def enter(arrival: Arrival) -> None:
            drop(arrival.client, arrival.previous_client_state)
            if arrival.staleness <= self.config.lag_tolerance and arrival.client_state is not None:
                total[:] += shares[arrival.client] * arrival.client_state
                valid[arrival.client] = t

        here = {arrival.client for arrival in round.arrivals}
        for client in np.flatnonzero((valid != NONE) & (t - valid > self.config.lag_tolerance)).tolist():
            if client not in here:
                drop(client, round.client_state(client))
        first = {arrival.client: place for place, arrival in reversed(list(enumerate(round.arrivals)))}
        picked = [first[arrival.client] == place for place, arrival in enumerate(round.arrivals)]
        for arrival, early in zip(round.arrivals, picked, strict=True):
            if early:
                enter(arrival)
        held = shares[valid != NONE].sum()
        weights = tuple(
            float(shares[arrival.client]) if early and valid[arrival.client] == t else 0.0
            for arrival, early in zip(round.arrivals, picked, strict=True)
        )
        model = (total + (1.0 - held) * round.model).astype(np.float32)
        for arrival, early in zip(round.arrivals, picked, strict=True):
            if not early:
                enter(arrival)
        return Aggregation(model, weights, {"total": total, "valid": valid})
