"""FedQS (Li et al., NeurIPS 2025, arXiv 2510.07664), for model and for gradient aggregation.

    FedQS-Avg   w^(t+1) = sum_i p_i w_i
    FedQS-SGD   w^(t+1) = w^t + sum_i p_i d_i

Mod 1, on the client: the pseudo-global gradient L_g = w^t - w^(t-1) and the client's last update d_i
    make an angle theta_i; a large one means a strongly biased client.
Mod 2, on the client: speed and angle against the population's means give one of four types, and the
    type determines learning rate, momentum and feedback.
Mod 3, on the server: clients with feedback weigh more, the rarer they arrive and the more they are biased.
"""

import math
from collections.abc import Sequence

import numpy as np

from fedqs_ray.algorithms.vectors import angle, dot, gradient_step, model_average, normalised, sketch
from fedqs_ray.config.algorithms import FedQSConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Vector

MAX_SPEED_RATIO = 9.0
MAX_EXTRA_MOMENTUM = 0.4
MAX_BIAS = 2.0
FEW_SAMPLES = 10
TIE = 1e-9


class FedQS(Algorithm):
    """FedQS-Avg or FedQS-SGD, by `config.name`."""

    needs = frozenset({"previous", "client_state"})

    def __init__(self, config: FedQSConfig, base_lr: float) -> None:
        self.config = config
        self.base_lr = base_lr

    # Mod 1: global aggregation estimation

    def dissimilarity(self, view: ClientView) -> float | None:
        """theta_i between L_g and d_i; None until both exist, or where an angle is undefined."""
        if view.extra is None or view.client_state is None:
            return None
        own = view.parameters  # running statistics of batch norm have no direction
        direction = view.model[:own] - view.extra[:own]
        short = self.sketched(direction)
        direction, last = (direction, view.client_state[:own]) if short is None else (short, view.client_state)
        match self.config.similarity:
            case "cosine":
                return angle(direction, last)
            case "euclidean":
                gap = direction - last
                return math.sqrt(dot(gap, gap))
            case "manhattan":
                return float(np.abs(direction - last).sum(dtype=np.float64))

    def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector | None:  # noqa: ARG002
        return self.sketched(delta[: view.parameters])

    def sketched(self, vector: Vector) -> Vector | None:
        """Projection of a (P,) vector; None unless `sketch_dim` is set and below P."""
        dim = self.config.sketch_dim
        return sketch(vector, dim) if dim is not None and dim < vector.size else None

    # Mod 2: local training adaptation

    def plan(self, view: ClientView) -> Plan:
        theta, means = self.dissimilarity(view), view.thresholds
        if theta is None or view.speed is None or means.speed is None or means.angle is None:
            return Plan(lr=view.lr, angle=theta)
        slowness = min(means.speed / view.speed, MAX_SPEED_RATIO)
        momentum = self.momentum(theta, means.angle)
        match above(view.speed, means.speed), above(theta, means.angle):
            case True, False:
                return Plan(self.rate(view.lr, -slowness), momentum, False, "FWBC", theta)
            case True, True:
                return Plan(view.lr, 0.0, self.config.feedback, "FSBC", theta)
            case False, False:
                return Plan(self.rate(view.lr, slowness), momentum, False, "SWBC", theta)
            case _:
                skewed = label_gap(view.label_accuracy()) >= self.config.label_gap
                lr = self.rate(view.lr, slowness)
                return Plan(lr, 0.0 if skewed else momentum, skewed and self.config.feedback, "SSBC", theta)

    def rate(self, lr: float, change: float) -> float:
        """eta_i + a * change, within bounds; a and the bounds are relative to the base learning rate."""
        c = self.config
        if not c.adapt_lr:
            return lr
        moved = lr + c.lr_step * self.base_lr * change
        return min(max(moved, c.lr_min * self.base_lr), c.lr_max * self.base_lr)

    def momentum(self, theta: float, mean_theta: float) -> float:
        """m(G) = m0 + clip(2 (G - 1), 0, 0.4) with G = mean(theta) / theta_i."""
        if not self.config.momentum:
            return 0.0
        ratio = mean_theta / theta if theta > 0.0 else math.inf if mean_theta > 0.0 else 1.0
        return self.config.base_momentum + min(max(2.0 * (ratio - 1.0), 0.0), MAX_EXTRA_MOMENTUM)

    # Mod 3: global model aggregation

    def aggregate(self, round: Round) -> Aggregation:
        weights = normalised([self.weight(a, round) for a in round.arrivals])
        if self.config.name == "fedqs-avg":
            return Aggregation(model_average(weights, round), weights)
        return Aggregation(gradient_step(weights, round), weights)

    def weight(self, arrival: Arrival, round: Round) -> float:
        """p_i before normalisation."""
        c, k = self.config, len(round.arrivals)
        samples = sum(a.samples for a in round.arrivals)
        base = arrival.samples / samples if c.base_weight == "samples" else 1.0 / k
        if not arrival.feedback or arrival.angle is None or not round.mean_angle:
            return base
        rarity = c.phi - arrival.count / round.total_count
        bias = min(arrival.angle / round.mean_angle, MAX_BIAS)
        if c.weight_form == "published":
            return math.pow(math.e / 2.0, rarity) * (1.0 + bias) * (1.0 + bias) / k
        return base * math.pow(math.e / 2.0, rarity) * (1.0 + bias * bias)


def above(value: float, mean: float) -> bool:
    """Whether `value` exceeds `mean` by more than rounding errors: of equal clients none is above average."""
    return value > mean + TIE * abs(mean)


def label_gap(accuracies: Sequence[tuple[float, int]]) -> float:
    """Best minus worst label accuracy in percentage points; a label with fewer than 10 samples counts half.

    A small gap means that staleness, not skewed data, explains the bias. 0 without samples.
    """
    scores = [100.0 * a * (0.5 if n < FEW_SAMPLES else 1.0) for a, n in accuracies]
    return max(scores) - min(scores) if scores else 0.0
