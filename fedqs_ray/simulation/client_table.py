"""The client table: the state of each client from round to round. Actors hold only caches of it.

No event costs O(N): sums and sets that are needed often are updated as they change.
"""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.interfaces import Handle
from fedqs_ray.core.types import Thresholds, Update

EXACT = 2**80
"""Angles are added up as whole multiples of 1/EXACT, so that their sum does not depend on the order."""


class ClientTable:
    """Columns over the N clients. Only `ServerState` writes to it."""

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
        self.client_states: dict[int, Handle] = {}
        """Where the state of each client that has arrived is, for algorithms that need it."""
        self.busy = np.zeros(count, np.bool_)
        self.ready = np.zeros(count)
        """When an idle client can be dispatched again, in virtual seconds."""
        self.gone = np.zeros(count, np.bool_)
        """Clients that have left for good."""
        self.count_up()

    def count_up(self) -> None:
        """Derive counts, sums and queues from the columns."""
        self.under_way = int(np.count_nonzero(self.busy & ~self.gone))
        """Clients in training that have not left."""
        self.active = int(np.count_nonzero(self.aggregated))
        """Clients with an aggregated update."""
        known = self.angle[~np.isnan(self.angle)].tolist()
        self._known, self._angles = len(known), sum(map(scaled, known))
        self._idle: set[int] = set()
        rest = np.flatnonzero(~self.busy & ~self.gone).tolist()
        self._waiting = list(zip(self.ready[rest].tolist(), rest, strict=True))
        """Clients that can be dispatched from a certain time on, and perhaps some that have left."""
        heapq.heapify(self._waiting)

    def begin(self, ready: Sequence[float]) -> None:
        """The run begins: when each client can be dispatched for the first time."""
        self.ready[:] = ready
        self.count_up()

    def restore(self, columns: Mapping[str, NDArray[Any]], total: int, client_states: dict[int, Handle]) -> None:
        """Take over the columns of a snapshot. Raises ValueError where one has another length."""
        for name, column in columns.items():
            getattr(self, name)[:] = column
        self.total, self.client_states = total, client_states
        self.count_up()

    def idle(self, now: float) -> set[int]:
        """Clients that can be dispatched."""
        while self._waiting and self._waiting[0][0] <= now:
            client = heapq.heappop(self._waiting)[1]
            if not self.gone[client]:
                self._idle.add(client)
        return self._idle

    def sample(self, count: int, draw: np.random.Generator) -> set[int]:
        """A uniform sample of the idle clients, without replacement."""
        everyone, idle = self.gone.size, self._idle
        if 2 * count * everyone > len(idle) ** 2:
            return set(draw.choice(sorted(idle), count, replace=False).tolist())
        found: set[int] = set()  # most clients are idle: draw until enough of them are hit
        while len(found) < count:
            hits = [client for client in draw.integers(0, everyone, 2 * count).tolist() if client in idle]
            found.update(hits[: count - len(found)])
        return found

    def next_ready(self, now: float) -> float | None:
        """When the next idle client that has to wait is ready; None if there is none."""
        self.idle(now)
        while self._waiting and self.gone[self._waiting[0][1]]:
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting and math.isfinite(self._waiting[0][0]) else None

    def start(self, client: int) -> None:
        """A client is in training."""
        self.attempts[client] += 1
        self.busy[client] = True
        self.under_way += 1
        self._idle.discard(client)

    def end(self, client: int, ready: float) -> None:
        """A client is not in training any more, and can be dispatched again at `ready`."""
        self.busy[client], self.ready[client] = False, ready
        if not self.gone[client]:
            self.under_way -= 1
            heapq.heappush(self._waiting, (ready, client))

    def postpone(self, client: int, ready: float) -> None:
        """An idle client cannot be dispatched now, but perhaps at `ready`."""
        self.ready[client] = ready
        self._idle.discard(client)
        heapq.heappush(self._waiting, (ready, client))

    def leave(self, clients: Iterable[int]) -> None:
        """Clients leave for good."""
        for client in clients:
            if not self.gone[client]:
                self.gone[client] = True
                self.under_way -= int(self.busy[client])
                self._idle.discard(client)

    def arrive(self, client: int, update: Update, keep: bool) -> None:
        """What the server learns with an arrival: learning rate and angle; with `keep`, where the client state is."""
        self.lr[client] = update.plan.lr
        angle, before = update.plan.angle, float(self.angle[client])
        if angle is not None and not math.isnan(angle):
            self.angle[client] = angle
            self._angles += scaled(angle) - (0 if math.isnan(before) else scaled(before))
            self._known += math.isnan(before)
        if keep:
            self.client_states[client] = update.handle

    def aggregate(self, clients: list[int]) -> None:
        """Count one aggregated update for each entry; a client may be there twice."""
        for client in clients:
            self.active += not self.aggregated[client]
            self.aggregated[client] += 1
        self.total += len(clients)

    def mean_angle(self) -> float | None:
        """Mean theta over the clients that reported one."""
        return self._angles / (self._known * EXACT) if self._known else None

    def thresholds(self) -> Thresholds:
        """Mean speed over the clients with an aggregated update, and mean angle.

        sum f = N whoever arrived, so the mean over the active clients is N / (number of active ones).
        """
        return Thresholds(self.aggregated.size / self.active if self.active else None, self.mean_angle())

    def speed(self, client: int) -> float | None:
        """f_i = a_i / (sum a / N); None while a_i = 0."""
        count = int(self.aggregated[client])
        return count * self.aggregated.size / self.total if count else None


def scaled(angle: float) -> int:
    """An angle or distance as a whole multiple of 1/EXACT."""
    return int(min(angle, 1e200) * EXACT)
