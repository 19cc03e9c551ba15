"""What waits for its aggregation, when it is time for one, and whom to send off next.

Asynchronous: K updates of whoever comes, and everybody who is idle goes off again. Synchronous: a wave of K clients
goes off together, and is aggregated when all of them are back (those who got lost excepted). With several tiers,
clients of like speed make a tier, and each tier is synchronous by itself.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Scenario
from fedqs_ray.core.types import Arrival, Job, Start
from fedqs_ray.simulation.client_table import ClientTable

PROFILED = 10
"""Attempts of a client to look at, where they get lost."""
Draw = Callable[[], np.random.Generator]
"""Makes the random stream of a choice."""


class Buffer:
    """FIFO; K updates are a round."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrivals: list[Arrival] = []

    def start(self, job: Job) -> None:
        """A job is under way."""

    def end(self, job: Job) -> None:
        """It no longer is."""

    def tier(self, arrivals: Sequence[Arrival]) -> int:
        """Whose arrivals these are."""
        assert arrivals
        return 0

    def ready(self) -> list[Arrival]:
        """The arrivals of a round, if there are enough for one; not yet removed."""
        return self.arrivals if len(self.arrivals) == self.size else []

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Remove a round's arrivals."""
        self.arrivals = [arrival for arrival in self.arrivals if self.tier([arrival]) != self.tier(arrivals)]

    def choose(self, idle: set[int], clients: ClientTable, at_once: int, draw: Draw) -> set[int]:
        """Whom to send off now: all who are idle, or a uniform sample that fills `at_once`."""
        free = at_once - clients.under_way
        return idle if len(idle) <= free else clients.sample(free, draw()) if free > 0 else set()


class SynchronousBuffer(Buffer):
    """Synchronous, tier by tier."""

    def __init__(self, size: int, tiers: NDArray[np.int64]) -> None:
        super().__init__(size)
        self.tiers = tiers
        """(N,) the tier of each client."""
        self.number = int(tiers.max()) + 1
        self.under_way: Counter[int] = Counter()
        """Jobs of each tier."""

    def start(self, job: Job) -> None:
        self.under_way[int(self.tiers[job.client])] += 1

    def end(self, job: Job) -> None:
        self.under_way[int(self.tiers[job.client])] -= 1

    def tier(self, arrivals: Sequence[Arrival]) -> int:
        return int(self.tiers[arrivals[0].job.client])

    def ready(self) -> list[Arrival]:
        for arrival in self.arrivals:
            tier = self.tier([arrival])
            if not self.under_way[tier]:
                return [one for one in self.arrivals if self.tier([one]) == tier]
        return []

    def choose(self, idle: set[int], clients: ClientTable, at_once: int, draw: Draw) -> set[int]:  # noqa: ARG002
        """A wave of K, or of as many as are idle, for each tier that has nobody under way."""
        free = [tier for tier in range(self.number) if not self.under_way[tier]]
        if not free:
            return set()
        if self.number == 1:  # nobody looks at all who are idle
            return clients.sample(self.size, draw()) if len(idle) > self.size else idle
        chosen: set[int] = set()
        stream = draw()
        for tier in free:
            own = sorted(client for client in idle if self.tiers[client] == tier)
            chosen.update(stream.choice(own, self.size, replace=False).tolist() if len(own) > self.size else own)
        return chosen


def profile_client(scenario: Scenario, client: int) -> float:
    """How long an attempt of a client takes: the first that comes back of those it would make when it is there."""
    time = scenario.ready(client, 0.0)
    for attempt in range(PROFILED if math.isfinite(time) else 0):
        found = scenario.attempt(Start(client, attempt, 0, time))
        if not found.lost:
            return found.duration
        time = scenario.ready(client, time + found.duration)
        if not math.isfinite(time):
            break
    return math.inf


def assign_tiers(scenario: Scenario, count: int, number: int) -> NDArray[np.int64]:
    """(count,) the tier of each client, 0 the fastest, in `number` tiers of equal size.

    As a server would profile its clients, by their first attempts; the time that a model travels is left out.
    """
    if number == 1:
        return np.zeros(count, np.int64)
    durations = [profile_client(scenario, client) for client in range(count)]
    tiers = np.empty(count, np.int64)
    tiers[np.argsort(durations, kind="stable")] = np.arange(count) * number // count
    return tiers


def make_buffer(tiers: int, experiment: Experiment, scenario: Scenario) -> Buffer:
    """The buffer of an algorithm with so many tiers."""
    size = experiment.server.buffer_size
    return SynchronousBuffer(size, assign_tiers(scenario, experiment.clients.count, tiers)) if tiers else Buffer(size)
