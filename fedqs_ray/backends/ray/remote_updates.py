"""Updates that stay on the node that trained them, so that a round moves one sum from each node and not K models.

They are fetched one by one only where a single one is needed. Their weighted sum is made in exact arithmetic
(core/fixed_point.py), each node adding up its own, so it has the same bits wherever they are. Those of a node that dies
are trained again.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedqs_ray.backends.ray.actor_group import ACTOR_ERRORS
from fedqs_ray.core.fixed_point import FixedPointSum, compute_partial_sum
from fedqs_ray.core.interfaces import Handle
from fedqs_ray.core.types import Job, JobKey, TrainingRequest, Update, Vector, make_job_key

SUM_ERRORS = (*ACTOR_ERRORS, TaskUnschedulableError)
"""Errors that Ray raises where a vector was lost with its node, or where no process is left there to add it up."""
VECTORS_IN_A_SUM = 2
"""Vectors that take as many bytes as a sum of them (64-bit): up to so many are fetched instead."""

Requests = Sequence[TrainingRequest[Handle]]
Share = tuple[Job, float]
"""A job, and the weight that its update gets."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an update's vector is."""

    node: str
    block: Any
    """Reference to (count, P) vectors."""
    row: int
    count: int
    requests: Requests
    """The batch that trains it again."""


@ray.remote(num_cpus=0, max_retries=0)
def sum_on_node(terms: list[tuple[float, int, int]], size: int, unit: int, *blocks: Vector) -> FixedPointSum:
    """On a node: the sum of weight * blocks[block][row] over the terms (weight, block, row)."""
    return compute_partial_sum([(weight, blocks[block][row]) for weight, block, row in terms], size, unit)


class RemoteUpdates:
    """Locations of the updates that stayed on other nodes, from `place` until `discard`."""

    def __init__(
        self,
        node: str,
        stores_updates: bool,
        train_again: Callable[[list[Requests], list[JobKey]], dict[JobKey, Update]],
    ) -> None:
        """`node`: that of the server. `stores_updates`: the loop stores updates for longer than until aggregation.

        `train_again` trains batches once more and returns the updates of the jobs named; it calls `place` for those
        that stay remote again.
        """
        self.node, self._stores_updates, self._train_again = node, stores_updates, train_again
        self._locations: dict[JobKey, Location] = {}

    def __len__(self) -> int:
        return len(self._locations)

    def stay(self, node: str, updates: Iterable[Update]) -> bool:
        """Whether the updates of one call are to stay on `node`: not where the loop will store one of them itself."""
        return node != self.node and not any(
            self._stores_updates and update.client_state is None and math.isfinite(update.largest) for update in updates
        )

    def place(self, job: Job, location: Location) -> None:
        """Note where a job's vector is."""
        self._locations[make_job_key(job)] = location

    def discard(self, job: Job) -> None:
        """Free a job's vector, if it is remote."""
        self._locations.pop(make_job_key(job), None)

    def fetch(self, job: Job) -> Vector:
        """The vector of one update."""
        while True:
            try:
                return self._get(job)
            except ACTOR_ERRORS:
                self._retrain([job])

    def add_up(self, shares: Sequence[Share], size: int, unit: int) -> FixedPointSum:
        """The sum over the shares, in units of 2^-unit."""
        total = np.zeros(size, np.int64)
        while shares:
            by_node: dict[str, list[Share]] = {}
            for job, weight in shares:
                by_node.setdefault(self._locations[make_job_key(job)].node, []).append((job, weight))
            under_way = [(self._request_sum(node, own, size, unit), own) for node, own in by_node.items()]
            shares = []
            for part, own in under_way:
                try:
                    if part is None:
                        total += compute_partial_sum([(weight, self._get(job)) for job, weight in own], size, unit)
                    else:
                        total += ray.get(part)
                except SUM_ERRORS:
                    shares = [*shares, *own]
            if shares:
                self._retrain(job for job, _ in shares)
        return total

    def _request_sum(self, node: str, shares: list[Share], size: int, unit: int) -> Any:
        """A reference to the sum that a node makes of its own; None where fetching the vectors moves no more bytes."""
        locations = [self._locations[make_job_key(job)] for job, _ in shares]
        blocks = {location.block: location.count for location in locations}
        if node == self.node or sum(blocks.values()) <= VECTORS_IN_A_SUM:
            return None
        order = list(blocks)
        terms = [
            (weight, order.index(location.block), location.row)
            for location, (_, weight) in zip(locations, shares, strict=True)
        ]
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return sum_on_node.options(scheduling_strategy=there).remote(terms, size, unit, *order)

    def _get(self, job: Job) -> Vector:
        location = self._locations[make_job_key(job)]
        found: Vector = ray.get(location.block)[location.row]
        return found

    def _retrain(self, jobs: Iterable[Job]) -> None:
        """Train jobs again whose vectors were lost with their node, and note where the new ones are."""
        lost = {make_job_key(job): self._locations[make_job_key(job)].requests for job in jobs}
        batches = {id(requests): requests for requests in lost.values()}
        for key, update in self._train_again(list(batches.values()), list(lost)).items():
            if update.vector is not None:
                self._locations[key] = Location(self.node, ray.put(update.vector[None]), 0, 1, lost[key])
