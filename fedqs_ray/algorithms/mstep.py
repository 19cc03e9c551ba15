"""M-step KAFL (Wu and Wang, ICDCS 2022): models distant from the global one, and of clients that arrive often,
weigh less.

    w^(t+1) = sum_i p_i w_i,   p_i ~ n_i exp(-2 lambda_i / q_i)
    lambda_i = | <w^t, w_i> / <w_i, w_i> - 1 |
    q_i = the share of uploads among the K, with ranks reversed: the most frequent client gets the rarest one's share

The factor 2, and ranks over the K arrivals with ties at the first rank, are those of the FedQS authors' comparison;
ports of KAFL elsewhere have 0.5 in its place.
"""

import math
from collections.abc import Sequence

from fedqs_ray.algorithms.vectors import dot, model_average, normalised
from fedqs_ray.config.algorithms import MStepConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, Round


class MStep(Algorithm):
    """Model average with weights by distance and frequency."""

    def __init__(self, config: MStepConfig) -> None:
        self.config = config

    def aggregate(self, round: Round) -> Aggregation:
        shares = reversed_shares([a.count for a in round.arrivals])
        logs = [
            math.log(arrival.samples) - self.config.coefficient * distance(arrival, round) / share
            for arrival, share in zip(round.arrivals, shares, strict=True)
        ]
        weights = normalised([math.exp(log - max(logs)) for log in logs])
        return Aggregation(model_average(weights, round), weights)


def distance(arrival: Arrival, round: Round) -> float:
    """lambda_i, on parameters alone; 0 for a model of zeros."""
    own = slice(round.parameters)
    local = arrival.start_model[own] + arrival.delta[own]
    square = dot(local, local)
    return abs(dot(round.model[own], local) / square - 1.0) if square else 0.0


def reversed_shares(counts: Sequence[int]) -> list[float]:
    """q_i: (5, 1, 3) uploads give (1/9, 5/9, 3/9)."""
    ascending, total = sorted(counts), sum(counts)
    return [ascending[len(counts) - 1 - ascending.index(count)] / total for count in counts]
