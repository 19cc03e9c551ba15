"""FADAS (Wang, Wang, Lu, Chen, ICML 2024, arXiv 2407.18365): AMSGrad on the mean update, with smaller steps at
large staleness.

    D     = (1/K) sum_i d_i
    m    <- b1 m + (1 - b1) D,   v <- b2 v + (1 - b2) D^2,   vmax <- max(vmax, v)
    w^(t+1) = w^t + eta_t m / (sqrt(vmax) + eps)
    eta_t = eta if tau_max <= tau_c, else min(eta, 1 / tau_max)     published
                                     else eta / tau_max              the authors' code

tau_max is the largest staleness in the buffer. b1, b2, eps and tau_c are from the authors' code; eta is tuned
there.
"""

import numpy as np

from fedqs_ray.algorithms.vectors import combined
from fedqs_ray.algorithms.weighting import equal
from fedqs_ray.config.algorithms import FADASConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Round


class FADAS(Algorithm):
    """AMSGrad on the parameters; running statistics of batch norm are averaged."""

    def __init__(self, config: FADASConfig) -> None:
        self.config = config

    def aggregate(self, round: Round) -> Aggregation:
        c, own = self.config, slice(round.parameters)
        weights = equal(round.arrivals)
        step = combined(weights, round)
        mean, zeros = step[own], np.zeros_like(step[own])
        first = np.float32(c.beta1) * round.state.get("first", zeros) + np.float32(1 - c.beta1) * mean
        second = np.float32(c.beta2) * round.state.get("second", zeros) + np.float32(1 - c.beta2) * mean * mean
        largest = np.maximum(round.state.get("largest", zeros), second)
        rate = np.float32(self.rate(max(a.staleness for a in round.arrivals)))
        model = round.model + step
        model[own] = round.model[own] + rate * first / (np.sqrt(largest) + np.float32(c.epsilon))
        return Aggregation(model, weights, {"first": first, "second": second, "largest": largest})

    def rate(self, delay: int) -> float:
        """eta_t."""
        c = self.config
        if delay <= c.delay_threshold:
            return c.server_lr
        return min(c.server_lr, 1.0 / delay) if c.delay_form == "published" else c.server_lr / delay
