"""An algorithm of your own, in one file: the trimmed mean of the updates, in each number of the model.

    cd examples
    fedqs run --set algorithm.name=my_algorithm:TrimmedMean --set algorithm.trim=2

A robust rule (Yin et al., ICML 2018, arXiv 1803.01498): of the K values that the arrivals have for a number, the `trim`
largest and smallest are left out, so that a few faulty clients do no harm. Clients that arrive less often than the
average train with momentum, as an example of an algorithm that changes the clients' training.

The fields of the class are its settings. docs/own-algorithm.md describes the other members.
"""

from dataclasses import dataclass

import numpy as np

from fedqs_ray import Aggregation, Algorithm, ClientView, Plan, Round


@dataclass(frozen=True)
class TrimmedMean(Algorithm):
    """w <- w + the trimmed mean of the updates."""

    trim: int = 1
    """Values left out at each end."""
    slow_momentum: float = 0.3
    """Momentum of clients that arrive less often than the average."""

    def __post_init__(self) -> None:
        if self.trim < 0:
            raise ValueError("must not be negative")

    def plan(self, view: ClientView) -> Plan:
        """On the client, before it trains."""
        slow = view.speed is not None and view.speed < 1.0
        return Plan(lr=view.lr, momentum=self.slow_momentum if slow else 0.0)

    def aggregate(self, round: Round) -> Aggregation:
        """On the server, after K arrivals."""
        count = len(round.arrivals)
        trim = min(self.trim, (count - 1) // 2)
        ordered = np.sort([arrival.delta for arrival in round.arrivals], axis=0)
        mean = ordered[trim : count - trim].mean(axis=0, dtype=np.float64)
        return Aggregation(round.model + mean.astype(np.float32), (1.0 / count,) * count)
