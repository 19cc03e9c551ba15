"""FedAC (Zang et al., AAAI 2024): updates weighted by their cosine to the server's direction, an adaptive server
step with look-ahead, and control variates on the clients.

    p_i  ~ max(cos(w^t - w^v, d_i), 0)                      1 for a fresh update, without a server step since
    D     = sum_i p_i d_i
    m    <- b1 m + (1 - b1) D,   v <- b2 v + (1 - b2) D^2
    w^(t+1) = w^t + eta_g (b1 m + (1 - b1) D) / (sqrt(v) + eps)
    client  c - c_i is added to every step's gradient;  c_i' = -d_i / (S eta) - (c - c_i) after S steps
    c    <- c + sum_i p_i (c_i' - c_i)

c is sent with the model, c_i is the client state; all start at zero. b1, b2 and eps are those of two ports (no code
of the authors is public); the paper's eta_g is unknown.
"""

import numpy as np

from fedqs_ray.algorithms.vectors import combined, cosine, difference, normalised, weighted_sum
from fedqs_ray.algorithms.weighting import equal
from fedqs_ray.config.algorithms import FedACConfig
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Vector


class FedAC(Algorithm):
    """Adaptive step on the parameters; D is added to running statistics of batch norm."""

    needs = frozenset({"client_state", "client_states"})

    def __init__(self, config: FedACConfig) -> None:
        self.config = config

    def correction(self, view: ClientView) -> Vector | None:
        return difference(view.extra, view.client_state)

    def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector:
        rate = np.float32(-1.0 / (max(steps, 1) * plan.lr))
        found: Vector = rate * delta[: view.parameters]
        added = self.correction(view)
        return found if added is None else found - added

    def aggregate(self, round: Round) -> Aggregation:
        c, own = self.config, slice(round.parameters)
        agreement = [self.agreement(round.model[own], a, own) for a in round.arrivals]
        weights = normalised(agreement) if any(agreement) else equal(round.arrivals)
        step = combined(weights, round)
        ahead, state = self.look_ahead(round, step[own])
        model = round.model + step
        model[own] = round.model[own] + np.float32(c.server_lr) * ahead
        changes = [difference(a.client_state, a.previous_client_state) for a in round.arrivals]
        control = weighted_sum(weights, [change for change in changes if change is not None])
        control += round.state.get("control", np.float32(0))
        return Aggregation(model, weights, state | {"control": control}, extra=control)

    def agreement(self, model: Vector, arrival: Arrival, own: slice) -> float:
        """r_i: the cosine between the server's change since w^v and the client's update, at least 0."""
        moved = model - arrival.start_model[own]
        return max(cosine(moved, arrival.delta[own]), 0.0) if moved.any() else 1.0

    def look_ahead(self, round: Round, step: Vector) -> tuple[Vector, dict[str, Vector]]:
        """Direction of the adaptive step, and the moments after it."""
        c, zeros = self.config, np.zeros_like(step)
        first: Vector = np.float32(c.beta1) * round.state.get("first", zeros) + np.float32(1 - c.beta1) * step
        second: Vector = np.float32(c.beta2) * round.state.get("second", zeros) + np.float32(1 - c.beta2) * step * step
        ahead: Vector = np.float32(c.beta1) * first + np.float32(1 - c.beta1) * step
        ahead /= np.sqrt(second) + np.float32(c.epsilon)
        return ahead, {"first": first, "second": second}
