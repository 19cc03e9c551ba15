"""The pool: client actors as an Executor.

Free actors get the pending job with the earliest virtual arrival, several at a time where jobs are short,
and one call ahead so that they never wait. `ray.wait` is the back-pressure. Which actor trains what, when it
finishes, and how often its actor died on the way, never reaches a result: the loop asks for each update by its job.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from fedqs_ray.backends.ray.actor_group import GONE, ActorGroup, Member, log_retry
from fedqs_ray.backends.ray.remote_updates import Location, RemoteUpdates, Share
from fedqs_ray.backends.ray.resources import get_node_id, measure_object_store
from fedqs_ray.core.fixed_point import FixedPointSum
from fedqs_ray.core.interfaces import Handle
from fedqs_ray.core.types import (
    ClientStatistics,
    Evaluation,
    Job,
    JobKey,
    Layout,
    TrainingRequest,
    Update,
    Vector,
    job_key,
)

CALLS_AHEAD = 2
"""Calls in flight for each actor: one that runs and one that waits."""
CALL_SECONDS = 0.05
"""Aim for the length of a call: long against Ray's overhead, short against a person's patience."""
WORTH_A_CALL = 0.001
"""Seconds of training below which sharing it out takes longer than doing it."""
MAX_BATCHES = 32
"""Cohorts in a call, at most."""
SMALL = 2**16
"""Bytes below which a vector travels with the call: a place in the object store costs a millisecond."""
SHARE_AHEAD = 0.25
"""Share of the object store that updates may take which nobody asked for yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A vector: an object in the store, one row of a block that a call returned, or a small vector itself."""

    ref: Any
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do: train a batch, or evaluate a version."""

    batch: Sequence[TrainingRequest[Handle]] = ()
    version: int = -1
    model: Row | None = None

    def bombs(self, crashed: set[JobKey]) -> set[JobKey]:
        """The jobs that are going to kill their actor."""
        keys = {job_key(job) for order in self.batch if (job := order.job).fault == "crash"}
        return keys - crashed


class RayExecutor:
    """Client actors that share the clients, or that host `clients_per_actor` each."""

    def __init__(self, crew: ActorGroup, statistics: ClientStatistics, hosted: int | None, keeps: bool) -> None:
        """`keeps`: the loop keeps updates for longer than until their aggregation."""
        self._crew, self._statistics, self._keeps = crew, statistics, keeps
        self._home: Callable[[int], int] = (lambda _: 0) if hosted is None else (lambda client: client // hosted)
        self._queues: list[list[tuple[float, int, int, Work]]] = [[] for _ in range(len(crew) if hosted else 1)]
        self._calls: dict[Any, tuple[Member, list[Work], Any]] = {}
        """Calls in flight by the reference that says they are done: who, what, the block of vectors."""
        self._wanted: set[JobKey] = set()
        """Jobs submitted whose updates were not handed over."""
        self._crashed: set[JobKey] = set()
        """Jobs that were to kill their actor, and did."""
        self._updates: dict[JobKey, Update] = {}
        self._evaluations: dict[int, Evaluation] = {}
        self._size = 0
        """Bytes of a vector."""
        self._seconds = math.inf
        """Running mean of what a batch takes; unknown at first, so first calls hold one."""
        self._ahead = SHARE_AHEAD * measure_object_store()
        """Bytes of updates that may wait for the loop."""
        self._far = RemoteUpdates(get_node_id(), self._retrain)
        self.retries = 0
        """Jobs done again."""

    def initial_model(self) -> tuple[Vector, Layout]:
        found: tuple[Vector, Layout] = self._crew.ask("initial_model")
        self._size = found[0].nbytes
        return found

    def client_statistics(self) -> ClientStatistics:
        return self._statistics

    def put(self, vector: Vector) -> Row:
        vector.flags.writeable = False  # whoever changes what others read fails at once
        return Row(vector if vector.nbytes < SMALL else ray.put(vector))

    def get(self, handle: Handle) -> Vector:
        assert isinstance(handle, Row)
        found: Vector = handle.ref if isinstance(handle.ref, np.ndarray) else ray.get(handle.ref)
        return found if handle.row is None else found[handle.row]

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        self._wanted.update(job_key(order.job) for order in batch)
        self._queue(Work(batch))

    def restore(self, job: Job, update: Update) -> None:
        self._wanted.add(job_key(job))
        self._updates[job_key(job)] = update

    def discard(self, job: Job) -> None:
        self._wanted.discard(job_key(job))
        self._updates.pop(job_key(job), None)
        self._far.places.pop(job_key(job), None)

    def fetch(self, job: Job) -> Vector:
        return self._far.fetch(job)

    def add_up(self, shares: Sequence[Share], size: int, unit: int) -> FixedPointSum:
        return self._far.add_up(shares, size, unit)

    def evaluate(self, version: int, model: Handle) -> None:
        assert isinstance(model, Row)
        self._queue(Work(version=version, model=model))

    def result(self, job: Job) -> Update:
        wanted = job_key(job)
        self._feed()
        while wanted not in self._updates:
            self._collect(wait=True)
        self._wanted.remove(wanted)
        return self._updates.pop(wanted)

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        self._feed()
        self._collect(wait=False)
        while wait and version not in self._evaluations:
            self._collect(wait=True)
        return self._evaluations.pop(version, None)

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        assert isinstance(model, Row)
        found: NDArray[np.int64] = self._crew.ask("validate", model.ref)
        return found

    def _queue(self, work: Work) -> None:
        """Put work where the actors that may do it look for it."""
        if not work.batch:
            heapq.heappush(self._queues[work.version % len(self._queues)], (-1.0, work.version, 0, work))
        else:
            job = work.batch[0].job
            heapq.heappush(self._queues[self._home(job.client)], (job.end, job.client, job.attempt, work))

    def _feed(self) -> None:
        """Give every actor that has room the most urgent work; least loaded actors first."""
        if self._calls and self._updates and len(self._updates) * self._size > self._ahead:
            return
        for load in range(CALLS_AHEAD):
            for member in self._crew.members:
                queue = self._queues[member.index if len(self._queues) > 1 else 0]
                while queue and not self._needed(queue[0][-1]):
                    heapq.heappop(queue)
                if member.node and member.load == load and queue:
                    self._call(member, queue)

    def _call(self, member: Member, queue: list[tuple[float, int, int, Work]]) -> None:
        """One actor call: an evaluation, or as many jobs as the aimed length allows."""
        member.load += 1
        first = heapq.heappop(queue)[-1]
        if first.model is not None:
            self._calls[member.actor.evaluate.remote(first.model.ref)] = member, [first], None
            return
        fair = max(math.ceil(len(queue) / (CALLS_AHEAD * len(self._crew))), int(WORTH_A_CALL / self._seconds))
        size = 1 if first.bombs(self._crashed) else min(MAX_BATCHES, fair, int(CALL_SECONDS / self._seconds))
        batch = [first]
        while len(batch) < size and queue and (work := queue[0][-1]).batch and not work.bombs(self._crashed):
            batch.append(heapq.heappop(queue)[-1])
        places: dict[Handle, int] = {}

        def place(vector: Handle) -> int:
            return places.setdefault(vector, len(places))

        batches = [[self._defused(order).map(place) for order in work.batch] for work in batch]
        vectors: list[Any] = list(places)
        if all(isinstance(vector.ref, np.ndarray) for vector in vectors):
            kinds = {(vector.ref.shape, vector.ref.dtype) for vector in vectors}
            alike = len(kinds) == 1  # sketches are shorter
            blocks = [np.stack([vector.ref for vector in vectors])] if alike else [vector.ref for vector in vectors]
            places_in = [(0, row) if alike else (row, None) for row in range(len(vectors))]
            done, block = member.actor.train.remote(batches, places_in, *blocks), None
        else:
            rows = [(number, vector.row) for number, vector in enumerate(vectors)]
            train = member.actor.train.options(num_returns=2)
            done, block = train.remote(batches, rows, *[vector.ref for vector in vectors])
        self._calls[done] = member, batch, block

    def _needed(self, work: Work) -> bool:
        """Whether anybody still waits for a result of `work`."""
        return not work.batch or any(job_key(order.job) in self._wanted for order in work.batch)

    def _defused(self, request: TrainingRequest[Handle]) -> TrainingRequest[Handle]:
        """The request; the second time, it kills nobody."""
        job = request.job
        return replace(request, job=replace(job, fault=None)) if job_key(job) in self._crashed else request

    def _collect(self, wait: bool) -> None:
        """Take in the calls that have finished; with `wait`, at least one. Feed who became free."""
        for ref in self._crew.wait(list(self._calls), None if wait else 0):
            member, batch, block = self._calls.pop(ref)
            member.load -= 1
            try:
                found: Any = ray.get(ref)
                if not batch[0].batch:
                    self._evaluations[batch[0].version] = found
                    continue
                (updates, seconds), vectors = found if block is None else (found, block)
                far = block is not None and member.node != self._far.here
                stays = far and not any(self._stored(update) for update in updates)
                if block is not None and not stays:
                    vectors = ray.get(block)
            except GONE as error:
                self._again(member, batch, error)
                continue
            each = seconds / len(batch)
            self._seconds = each if self._seconds == math.inf else 0.8 * self._seconds + 0.2 * each
            if far and not stays:
                block = ray.put(vectors)  # it would go down with its node
            jobs = [(order.job, work) for work in batch for order in work.batch]
            for row, ((job, work), update) in enumerate(zip(jobs, updates, strict=True)):
                if (done := job_key(job)) not in self._wanted:
                    continue
                handle = Row(block, row) if block else Row(vectors[row])
                handle = handle if update.client_state is None else self.put(update.client_state)
                if stays:
                    self._far.places[done] = Location(str(member.node), block, row, len(updates), work)
                self._updates[done] = replace(update, vector=None if stays else vectors[row], handle=handle)
        self._feed()

    def _stored(self, update: Update) -> bool:
        """Whether the loop will keep the update itself for long."""
        return self._keeps and update.client_state is None and math.isfinite(update.largest)

    def _retrain(self, jobs: Iterable[Job]) -> None:
        """Train jobs again whose vectors went down with their node, and give them new places."""
        gone = {job_key(job): job for job in jobs}
        lost = set(gone)
        waiting = {one for one in lost if self._updates.pop(one, None)}
        self._wanted |= lost
        self.retries += len(lost)
        for job in gone.values():
            log_retry(job)
        for work in {id(place.work): place.work for place in map(self._far.places.__getitem__, lost)}.values():
            assert isinstance(work, Work)
            self._queue(work)
        self._feed()
        while not lost <= self._updates.keys():
            self._collect(wait=True)
        for one in lost:
            update = self._updates[one] if one in waiting else self._updates.pop(one)
            if update.vector is not None:
                work = self._far.places[one].work
                self._far.places[one] = Location(self._far.here, ray.put(update.vector[None]), 0, 1, work)
        self._wanted -= lost - waiting

    def _again(self, member: Member, batch: list[Work], error: Exception) -> None:
        """A call failed with its actor or node: queue its work once more, and replace the actor."""
        calls = [batch, *(other for one, other, _ in self._calls.values() if one is member)]
        bombs = {bomb for call in calls for work in call for bomb in work.bombs(self._crashed)}
        self._crew.replace(member, error, intended=bool(bombs))
        for work in batch:
            self._queue(work)
            self.retries += len(work.batch)
            for order in work.batch:
                log_retry(order.job)
            self._crashed |= work.bombs(set())
