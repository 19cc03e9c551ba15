"""The server's buffer: holds updates, decides when they are aggregated, and chooses the clients to dispatch next.

Asynchronous: the first K updates make a round, and every idle client is dispatched again. Synchronous: K clients are
dispatched together and aggregated when all of them have arrived or are lost. With several tiers, clients of similar
speed form a tier, and each tier is synchronous by itself.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Arrival, Scenario
from fedqs_ray.core.types import Job, Start
from fedqs_ray.simulation.client_table import ClientTable

PROFILED = 10
"""Attempts of a client that are examined, if they are lost, to learn its duration."""
Draw = Callable[[], np.random.Generator]
"""Creates the random stream of a choice."""


class Buffer:
    """First in, first out; K updates make a round."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrivals: list[Arrival] = []

    def start(self, job: Job) -> None:
        """A job is under way."""

    def end(self, job: Job) -> None:
        """A job has ended."""

    def tier(self, arrivals: Sequence[Arrival]) -> int:
        """The tier that these arrivals belong to."""
        assert arrivals
        return 0

    def ready(self) -> list[Arrival]:
        """The arrivals of a round, if there are enough for one; not yet removed."""
        return self.arrivals if len(self.arrivals) == self.size else []

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Remove a round's arrivals."""
        self.arrivals = [arrival for arrival in self.arrivals if self.tier([arrival]) != self.tier(arrivals)]

    def choose(self, idle: set[int], clients: ClientTable, at_once: int, draw: Draw) -> set[int]:
        """Clients to dispatch now: all that are idle, or a uniform sample that fills `at_once`."""
        free = at_once - clients.under_way
        return idle if len(idle) <= free else clients.sample(free, draw()) if free > 0 else set()


class SynchronousBuffer(Buffer):
    """Rounds of K clients dispatched together, tier by tier."""

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
        """K clients, or as many as are idle, of each tier without a job under way."""
        free = [tier for tier in range(self.number) if not self.under_way[tier]]
        if not free:
            return set()
        if self.number == 1:  # avoids a pass over all idle clients
            return clients.sample(self.size, draw()) if len(idle) > self.size else idle
        chosen: set[int] = set()
        stream = draw()
        for tier in free:
            own = sorted(client for client in idle if self.tiers[client] == tier)
            chosen.update(stream.choice(own, self.size, replace=False).tolist() if len(own) > self.size else own)
        return chosen


def profile_client(scenario: Scenario, client: int) -> float:
    """Duration of a client's first attempt that is not lost, in virtual seconds; infinite if there is none."""
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
    """(count,) tier of each client, 0 the fastest, in `number` tiers of equal size.

    Clients are profiled by their first attempts; the time that a model travels is left out.
    """
    if number == 1:
        return np.zeros(count, np.int64)
    durations = [profile_client(scenario, client) for client in range(count)]
    tiers = np.empty(count, np.int64)
    tiers[np.argsort(durations, kind="stable")] = np.arange(count) * number // count
    return tiers


def make_buffer(tiers: int, experiment: Experiment, scenario: Scenario) -> Buffer:
    """The buffer of an algorithm with `tiers` tiers; 0 is asynchronous."""
    size = experiment.server.buffer_size
    return SynchronousBuffer(size, assign_tiers(scenario, experiment.clients.count, tiers)) if tiers else Buffer(size)
