"""The pool: client actors as an Executor.

Free actors get the pending job with the earliest virtual arrival, several at a time where jobs are short,
and one call ahead so that they never wait. `ray.wait` is the back-pressure. Which actor trains what, and
when it finishes, never reaches a result: the loop asks for each update by its job.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray

from fedqs_ray.actors.client import Order
from fedqs_ray.messages import Evaluation, Job, Layout, Update, Vector
from fedqs_ray.simulation.executor import Handle

CALLS_AHEAD = 2
"""Calls in flight for each actor: one that runs and one that waits."""
CALL_SECONDS = 0.05
"""Aim for the length of a call: long against Ray's overhead, short against a person's patience."""
MAX_JOBS = 32
"""Jobs in a call, at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """A vector in the object store: a whole object, or one row of a block that a call returned."""

    ref: Any
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do: train `job`, or evaluate `version`. Ordered by when its result is needed."""

    job: Job | None
    version: int
    model: Row
    previous: Row | None = None
    last_update: Row | None = None


class Pool:
    """Client actors that share the clients, or that host `clients_per_actor` each."""

    def __init__(self, actors: list[Any], data_summary: list[tuple[int, int, tuple[int, ...]]], hosted: int | None):
        self._actors = actors
        self._summary = data_summary
        self._home: Callable[[int], int] = (lambda _: 0) if hosted is None else (lambda client: client // hosted)
        self._queues: list[list[tuple[float, int, int, Work]]] = [[] for _ in (actors if hosted else [0])]
        self._calls: dict[Any, tuple[int, list[Work], Any]] = {}
        """Calls in flight by the reference that says they are done: actor, work, block."""
        self._load = [0] * len(actors)
        self._updates: dict[tuple[int, int], Update] = {}
        self._discarded: set[tuple[int, int]] = set()
        self._evaluations: dict[int, Evaluation] = {}
        self._job_seconds = math.inf
        """Running mean of what a job takes; unknown at first, so first calls hold one job."""

    def initial_model(self) -> tuple[Vector, Layout]:
        found: tuple[Vector, Layout] = ray.get(self._actors[0].initial_model.remote())
        return found

    def samples(self) -> list[tuple[int, int, tuple[int, ...]]]:
        return self._summary

    def publish(self, version: int, model: Vector) -> Row:  # noqa: ARG002
        return Row(ray.put(model))

    def submit(self, job: Job, model: Handle, previous: Handle | None, last_update: Handle | None) -> None:
        assert isinstance(model, Row)
        assert previous is None or isinstance(previous, Row)
        assert last_update is None or isinstance(last_update, Row)
        work = Work(job, job.version, model, previous, last_update)
        queue = self._queues[self._home(job.client)]
        heapq.heappush(queue, (job.end, job.client, job.attempt, work))

    def discard(self, job: Job) -> None:
        self._discarded.add((job.client, job.attempt))
        self._updates.pop((job.client, job.attempt), None)

    def evaluate(self, version: int, model: Handle) -> None:
        assert isinstance(model, Row)
        queue = self._queues[version % len(self._queues)]
        heapq.heappush(queue, (-1.0, version, 0, Work(None, version, model)))

    def result(self, job: Job) -> Update:
        key = job.client, job.attempt
        self._feed()
        while key not in self._updates:
            self._collect(wait=True)
        return self._updates.pop(key)

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        self._feed()
        self._collect(wait=False)
        while wait and version not in self._evaluations:
            self._collect(wait=True)
        return self._evaluations.pop(version, None)

    def _feed(self) -> None:
        """Give every actor that has room the most urgent work; least loaded actors first."""
        for load in range(CALLS_AHEAD):
            for actor, own in enumerate(self._load):
                queue = self._queues[actor if len(self._queues) > 1 else 0]
                if own == load and queue:
                    self._call(actor, queue)

    def _call(self, actor: int, queue: list[tuple[float, int, int, Work]]) -> None:
        """One actor call: an evaluation, or as many jobs as the aimed length allows."""
        self._load[actor] += 1
        first = heapq.heappop(queue)[-1]
        if first.job is None:
            ref = self._actors[actor].evaluate.remote(first.model.ref)
            self._calls[ref] = actor, [first], None
            return
        fair = math.ceil(len(queue) / (CALLS_AHEAD * len(self._actors)))
        size = min(MAX_JOBS, fair, int(CALL_SECONDS / self._job_seconds))
        batch = [first]
        while len(batch) < size and queue and queue[0][-1].job is not None:
            batch.append(heapq.heappop(queue)[-1])
        places: dict[Row, int] = {}

        def place(vector: Row) -> int:
            return places.setdefault(vector, len(places))

        orders: list[Order] = [
            (
                work.job,
                place(work.model),
                None if work.previous is None else place(work.previous),
                None if work.last_update is None else place(work.last_update),
            )
            for work in batch
            if work.job is not None
        ]
        rows = [vector.row for vector in places]
        train = self._actors[actor].train.options(num_returns=2)
        done, block = train.remote(orders, rows, *[vector.ref for vector in places])
        self._calls[done] = actor, batch, block

    def _collect(self, wait: bool) -> None:
        """Take in the calls that have finished; with `wait`, at least one. Feed who became free."""
        if not self._calls:
            assert not wait, "somebody waits for work that was never submitted"
            return
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=None if wait else 0)
        for ref in ready:
            actor, batch, block = self._calls.pop(ref)
            self._load[actor] -= 1
            if block is None:
                self._evaluations[batch[0].version] = ray.get(ref)
                continue
            (updates, seconds), vectors = ray.get([ref, block])
            each = seconds / len(batch)
            self._job_seconds = each if self._job_seconds == math.inf else 0.8 * self._job_seconds + 0.2 * each
            for row, (work, update) in enumerate(zip(batch, updates, strict=True)):
                assert work.job is not None
                key = work.job.client, work.job.attempt
                if key not in self._discarded:
                    self._updates[key] = replace(update, delta=vectors[row], handle=Row(block, row))
        self._feed()
