"""DeFedAvg (Wang, Li, Jin, Zhang 2024, arXiv 2402.11198): updates of K clients drawn uniformly, so that fast clients
weigh no more than slow ones.

w^(t+1) = w^t + (1/K) sum over S of d_i,   S: K clients drawn uniformly, without replacement

In the paper the server draws the clients that train, and every client works through a queue of models. Here all
clients train all the time, as in the other algorithms, and the server draws among the newest updates of all clients.
"""

import numpy as np

from fedqs_ray.algorithms.vectors import weighted_sum
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round
from fedqs_ray.core.random import stream


class DeFedAvg(Algorithm):
    """Mean of K clients' newest updates; the draw is a function of the experiment's seed and the round alone."""

    needs = frozenset({"client_states"})

    def aggregate(self, round: Round) -> Aggregation:
        heard = np.union1d(round.state.get("heard", np.zeros(0, np.int64)), [a.client for a in round.arrivals])
        count = min(len(round.arrivals), heard.size)
        drawn = stream(round.seed, "draw", attempt=round.version).choice(heard, count, replace=False).tolist()
        updates = [update for client in sorted(drawn) if (update := round.client_state(client)) is not None]
        model = round.model + weighted_sum([1.0 / count] * len(updates), updates)
        newest = {arrival.client: place for place, arrival in enumerate(round.arrivals)}
        weights = tuple(
            1.0 / count if arrival.client in drawn and newest[arrival.client] == place else 0.0
            for place, arrival in enumerate(round.arrivals)
        )
        return Aggregation(model, weights, {"heard": heard})
