"""Updates that stay on the node that trained them, so that a round moves a sum of each node and not K models.

They are fetched one by one for whoever looks at them. Their weighted sum is made in exact arithmetic (sums.py), each
node adding up its own, so it has the same bits wherever they lie. Those of a node that dies are trained again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedqs_ray.backends.ray.actor_group import GONE
from fedqs_ray.core.fixed_point import FixedPointSum, partial_sum
from fedqs_ray.core.types import Job, JobKey, Vector, job_key

LOST = (*GONE, TaskUnschedulableError)
"""What Ray raises where a vector went down with its node, or where nobody is left there to add it up."""
SUM = 2
"""Vectors that take as many bytes as a sum of them: up to so many are fetched instead."""

Share = tuple[Job, float]
"""A job, and the weight that its update gets."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an update's vector is."""

    node: str
    block: Any
    """A reference to (count, P) vectors."""
    row: int
    count: int
    work: object
    """What trains it again."""


@ray.remote(num_cpus=0, max_retries=0)
def sum_on_node(terms: list[tuple[float, int, int]], size: int, unit: int, *blocks: Vector) -> FixedPointSum:
    """On a node: the sum of weight * blocks[block][row] over the terms (weight, block, row)."""
    return partial_sum([(weight, blocks[block][row]) for weight, block, row in terms], size, unit)


class RemoteUpdates:
    """The places of the updates that nobody has fetched. `again` trains jobs once more and gives them new places."""

    def __init__(self, here: str, again: Callable[[Iterable[Job]], None]) -> None:
        self.here, self._again = here, again
        self.places: dict[JobKey, Location] = {}

    def fetch(self, job: Job) -> Vector:
        """The vector of one update."""
        while True:
            try:
                return self._get(job)
            except GONE:
                self._again([job])

    def add_up(self, shares: Sequence[Share], size: int, unit: int) -> FixedPointSum:
        """The sum over the shares, in units of 2^-unit."""
        total = np.zeros(size, np.int64)
        while shares:
            by_node: dict[str, list[Share]] = {}
            for job, weight in shares:
                by_node.setdefault(self._place(job).node, []).append((job, weight))
            under_way = [(self._ask(node, own, size, unit), own) for node, own in by_node.items()]
            shares = []
            for part, own in under_way:
                try:
                    total += (
                        partial_sum([(w, self._get(job)) for job, w in own], size, unit)
                        if part is None
                        else ray.get(part)
                    )
                except LOST:
                    shares = [*shares, *own]
            if shares:
                self._again(job for job, _ in shares)
        return total

    def _ask(self, node: str, shares: list[Share], size: int, unit: int) -> Any:
        """A reference to the sum that a node makes of its own; None where fetching the vectors moves no more bytes."""
        places = [self._place(job) for job, _ in shares]
        blocks = {place.block: place.count for place in places}
        if node == self.here or sum(blocks.values()) <= SUM:
            return None
        order = list(blocks)
        terms = [
            (weight, order.index(place.block), place.row) for place, (_, weight) in zip(places, shares, strict=True)
        ]
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return sum_on_node.options(scheduling_strategy=there).remote(terms, size, unit, *order)

    def _place(self, job: Job) -> Location:
        return self.places[job_key(job)]

    def _get(self, job: Job) -> Vector:
        place = self._place(job)
        found: Vector = ray.get(place.block)[place.row]
        return found
