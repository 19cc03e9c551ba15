"""ACE (Chang et al. 2025, arXiv 2511.19066): every step is the mean of all clients' newest updates.

    at each arrival of client j:  U_j <- d_j,   w <- w + eta_g (1 / |A|) sum over A of U_i

A: all clients with an update; with `max_delay` (ACED), only those whose update is at most that many versions old.
The paper's K is 1, and it begins with one synchronous round of all clients, where here A grows with the first
arrivals. With a larger `server.buffer_size` the rule is applied K times before clients see the result. The sum is
updated incrementally.
"""

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.algorithms import ACEConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round

NONE = -1
"""Version of a client that is not in A."""


class ACE(Algorithm):
    """Steps along the mean of all newest updates, without staleness weights."""

    needs = frozenset({"client_states"})

    def __init__(self, config: ACEConfig) -> None:
        self.config = config

    def aggregate(self, round: Round) -> Aggregation:
        total = np.array(round.state.get("total", np.zeros(round.model.size)))
        version = np.array(round.state.get("version", np.full(round.clients, NONE)))
        self.expire(round, total, version)
        model, weights = round.model.astype(np.float64), list[float]()
        for arrival in round.arrivals:
            if version[arrival.client] != NONE and arrival.previous_client_state is not None:
                total -= arrival.previous_client_state
                version[arrival.client] = NONE
            if self.config.max_delay is None or arrival.staleness <= self.config.max_delay:
                total += arrival.delta
                version[arrival.client] = round.version - arrival.staleness
            heard = int((version != NONE).sum())
            model += total * (self.config.server_lr / max(heard, 1))
            weights.append(self.config.server_lr / heard if version[arrival.client] != NONE else 0.0)
        state = {"total": total, "version": version}
        return Aggregation(model.astype(np.float32), tuple(weights), state)

    def expire(self, round: Round, total: NDArray[np.float64], version: NDArray[np.int64]) -> None:
        """Remove clients with updates that are too old from A."""
        if self.config.max_delay is None:
            return
        before = {arrival.client: arrival.previous_client_state for arrival in reversed(round.arrivals)}
        for client in np.flatnonzero((version != NONE) & (round.version - version > self.config.max_delay)).tolist():
            update = before[client] if client in before else round.client_state(client)
            if update is not None:
                total -= update
                version[client] = NONE
