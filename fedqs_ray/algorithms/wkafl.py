"""WKAFL (Zhou et al., IEEE TPDS 2022, arXiv 2203.01214): K-asynchronous, two stages, stale updates weighted by
their direction.

    d_i  <- d_i + alpha G                                   G: the aggregate of the previous round
    g     = sum_i u_i d_i,  u_i ~ (e/2)^(-tau_i)            an estimate from fresh updates
    keep  those with cos(d_i, g) > bound                    if none is left, G = g
    p_i   ~ exp(beta cos(d_i, g))
    stage two: ||d_i|| is clipped to B ||g||
    G     = sum_i p_i d_i,  w^(t+1) = w^t + G / (1 + c min tau)

Cosines and norms look at parameters alone; running statistics of batch norm are included in everything else.
Constants are those of the authors' code. Stage two begins at a fixed round there, after a fifth to a half of the run.
"""

import math

import numpy as np

from fedqs_ray.algorithms.vectors import cosine, norm, normalised, weighted_sum
from fedqs_ray.config.algorithms import WKAFLConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round
from fedqs_ray.core.types import Vector

TIE = 1e-6
"""Rounding error of a product of a fraction and a number of rounds."""


class WKAFL(Algorithm):
    """Weights by cosine; `rounds` is the length of the run, for the start of stage two."""

    def __init__(self, config: WKAFLConfig, rounds: int) -> None:
        self.config, self.rounds = config, rounds

    def aggregate(self, round: Round) -> Aggregation:
        c, own = self.config, round.parameters
        push: Vector | None = None if not round.state else np.float32(c.momentum) * round.state["aggregate"]
        moved: list[Vector] = [a.delta if push is None else a.delta + push for a in round.arrivals]
        freshest = min(a.staleness for a in round.arrivals)
        trust = normalised([math.pow(math.e / 2.0, freshest - a.staleness) for a in round.arrivals])
        estimate = weighted_sum(trust, moved)
        cosines = [cosine(vector[:own], estimate[:own]) for vector in moved]
        if any(value > c.similarity_bound for value in cosines):
            best = max(cosines)
            raw = [math.exp(c.beta * (value - best)) if value > c.similarity_bound else 0.0 for value in cosines]
            weights = normalised(raw)
            if round.version + TIE >= c.stage_two * self.rounds:
                limit = c.clip_ratio * norm(estimate[:own])
                moved = [clipped(vector, own, limit) for vector in moved]
        else:
            weights = trust
        aggregate = weighted_sum(weights, moved)
        step = 1.0 / (1.0 + c.decay * freshest)
        model = round.model + np.float32(step) * aggregate
        return Aggregation(model, tuple(step * weight for weight in weights), {"aggregate": aggregate})


def clipped(vector: Vector, own: int | None, limit: float) -> Vector:
    """Scale a vector down if the norm of its first `own` numbers exceeds `limit`."""
    length = norm(vector[:own])
    return vector * np.float32(limit / length) if length > limit else vector
