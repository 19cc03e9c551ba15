"""The client table: what a client carries from round to round. The truth lives here, not in actors."""

import math

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.messages import Thresholds, Update
from fedqs_ray.simulation.executor import Handle


class ClientTable:
    """Columns over the N clients. Only the loop writes to it."""

    def __init__(self, count: int, base_lr: float) -> None:
        self.attempts = np.zeros(count, np.int64)
        """Jobs dispatched."""
        self.aggregated = np.zeros(count, np.int64)
        """a_i: updates aggregated."""
        self.total = 0
        """sum_j a_j."""
        self.lr = np.full(count, base_lr)
        """eta_i, as of the last arrival."""
        self.angle = np.full(count, np.nan)
        """theta_i, as of the last arrival that carried one."""
        self.last_update: dict[int, Handle] = {}
        """d_i, for algorithms that need it."""
        self.busy = np.zeros(count, np.bool_)
        self.ready = np.zeros(count)
        """When an idle client can be dispatched again, in virtual seconds."""
        self.gone = np.zeros(count, np.bool_)
        """Left for good."""

    def idle(self, now: float) -> NDArray[np.int64]:
        """Who can be dispatched, in client order."""
        return np.flatnonzero(~self.busy & ~self.gone & (self.ready <= now))

    def next_ready(self, now: float) -> float | None:
        """When the next idle client that has to wait is ready; None if there is none."""
        waiting = self.ready[~self.busy & ~self.gone & (self.ready > now) & np.isfinite(self.ready)]
        return float(waiting.min()) if waiting.size else None

    def arrive(self, client: int, update: Update, keep: bool) -> None:
        """What the server learns with an arrival: learning rate and angle; `keep` its update as well."""
        self.lr[client] = update.plan.lr
        if update.plan.angle is not None:
            self.angle[client] = update.plan.angle
        if keep:
            self.last_update[client] = update.handle

    def aggregate(self, clients: list[int]) -> None:
        """Count one aggregated update for each entry; a client may be there twice."""
        np.add.at(self.aggregated, clients, 1)
        self.total += len(clients)

    def mean_angle(self) -> float | None:
        """Mean theta over the clients that reported one."""
        known = self.angle[~np.isnan(self.angle)]
        return math.fsum(known) / known.size if known.size else None

    def thresholds(self) -> Thresholds:
        """Mean speed over the clients with an aggregated update, and mean angle.

        sum f = N whoever arrived, so the mean over the active clients is N / (number of active ones).
        """
        active = int(np.count_nonzero(self.aggregated))
        return Thresholds(self.aggregated.size / active if active else None, self.mean_angle())

    def speed(self, client: int) -> float | None:
        """f_i = a_i / (sum a / N); None while a_i = 0."""
        count = int(self.aggregated[client])
        return count * self.aggregated.size / self.total if count else None
