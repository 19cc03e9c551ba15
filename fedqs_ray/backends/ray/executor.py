"""Executor on Ray: the thin driver of the scheduler, whose instructions it performs and to which it reports events.

Which actor trains what, when it finishes, and how often its actor died on the way, never reaches a result: the loop
asks for each update by its job.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from fedqs_ray.backends.ray.actor_group import ACTOR_ERRORS, ActorGroup, Member, log_retry
from fedqs_ray.backends.ray.remote_updates import Location, RemoteUpdates, Requests, Share
from fedqs_ray.backends.ray.resources import get_node_id, measure_object_store
from fedqs_ray.backends.ray.scheduler import Batch, Call, Drop, Evaluate, Instruction, Replace, Retry, Scheduler, Train
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
    make_job_key,
)

SMALL = 2**16
"""Bytes below which a vector travels with the call: a place in the object store costs a millisecond."""
SHARE_AHEAD = 0.25
"""Share of the object store that updates may take before the loop needs them."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A vector: an object in the store, one row of a block that a call returned, or a small vector itself."""

    ref: Any
    row: int | None = None


@dataclass(frozen=True, slots=True)
class CallInFlight:
    """A call that the scheduler asked for, and the member that runs it."""

    call: Call
    member: Member
    block: Any = None
    """Reference to its vectors, where they do not come with the answer."""


def describe_batch(requests: Requests) -> Batch:
    """What the scheduler knows of a batch."""
    jobs = [request.job for request in requests]
    return Batch(
        tuple(map(make_job_key, jobs)),
        jobs[0].end,
        frozenset(make_job_key(job) for job in jobs if job.fault == "crash"),
    )


class RayExecutor:
    """Client actors that share the clients, or that host `clients_per_actor` each."""

    def __init__(
        self, actors: ActorGroup, statistics: ClientStatistics, clients_per_actor: int | None, stores_updates: bool
    ) -> None:
        """`stores_updates`: the loop stores updates for longer than until their aggregation."""
        self.actors, self._statistics = actors, statistics
        actors.on_start, actors.on_death = self._start, self._lose
        self._scheduler = Scheduler(len(actors), clients_per_actor, SHARE_AHEAD * measure_object_store())
        self._requests: dict[JobKey, Requests] = {}
        """The batches that the scheduler has, by the key of their first job."""
        self._calls: dict[Any, CallInFlight] = {}
        """Calls in flight by the reference that says they are done."""
        self._updates: dict[JobKey, Update] = {}
        self._evaluations: dict[int, Evaluation] = {}
        self._models: dict[int, Row] = {}
        """The models of evaluations that are queued or in flight."""
        self._remote = RemoteUpdates(get_node_id(), stores_updates, self._train_again)

    @property
    def retries(self) -> int:
        """Jobs done again."""
        return self._scheduler.retries

    def initial_model(self) -> tuple[Vector, Layout]:
        found: tuple[Vector, Layout] = self.actors.ask("initial_model")
        self._scheduler.vector_bytes = found[0].nbytes
        return found

    def client_statistics(self) -> ClientStatistics:
        return self._statistics

    def put(self, vector: Vector) -> Row:
        vector.flags.writeable = False  # a change of what others read fails at once
        return Row(vector if vector.nbytes < SMALL else ray.put(vector))

    def get(self, handle: Handle) -> Vector:
        assert isinstance(handle, Row)
        found: Vector = handle.ref if isinstance(handle.ref, np.ndarray) else ray.get(handle.ref)
        return found if handle.row is None else found[handle.row]

    def submit(self, batch: Requests) -> None:
        self._requests[make_job_key(batch[0].job)] = batch
        self._scheduler.submit(describe_batch(batch))

    def restore(self, job: Job, update: Update) -> None:
        self._updates[make_job_key(job)] = update
        self._scheduler.restore(make_job_key(job))

    def discard(self, job: Job) -> None:
        self._scheduler.discard(make_job_key(job))
        self._updates.pop(make_job_key(job), None)
        self._remote.discard(job)

    def fetch(self, job: Job) -> Vector:
        return self._remote.fetch(job)

    def add_up(self, shares: Sequence[Share], size: int, unit: int) -> FixedPointSum:
        return self._remote.add_up(shares, size, unit)

    def evaluate(self, version: int, model: Handle) -> None:
        assert isinstance(model, Row)
        self._models[version] = model
        self._scheduler.submit_evaluation(version)

    def result(self, job: Job) -> Update:
        self._perform(self._scheduler.want_results())
        return self._wait_for(make_job_key(job))

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        self._perform(self._scheduler.want_results())
        self._collect(wait=False)
        while wait and version not in self._evaluations:
            self._collect(wait=True)
        return self._evaluations.pop(version, None)

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        assert isinstance(model, Row)
        found: NDArray[np.int64] = self.actors.ask("validate", model.ref)
        return found

    def _wait_for(self, job: JobKey) -> Update:
        while job not in self._updates:
            self._collect(wait=True)
        self._scheduler.hand_over(job)
        return self._updates.pop(job)

    def _train_again(self, batches: Iterable[Requests], jobs: list[JobKey]) -> dict[JobKey, Update]:
        """The updates of jobs that were handed over before; see `RemoteUpdates`."""
        self._requests |= {make_job_key(batch[0].job): batch for batch in batches}
        self._perform(self._scheduler.retrain(list(map(describe_batch, batches)), jobs))
        return {job: self._wait_for(job) for job in jobs}

    # Instructions

    def _perform(self, instructions: Iterable[Instruction], error: Exception | None = None) -> None:
        """Do what the scheduler asks for; `error` is that of an actor that died."""
        for instruction in instructions:
            match instruction:
                case Train():
                    self._train(instruction)
                case Evaluate(_, actor, version):
                    member = self.actors.members[actor]
                    done = member.actor.evaluate.remote(self._models[version].ref)
                    self._calls[done] = CallInFlight(instruction, member)
                case Replace(actor, intended):
                    assert error is not None
                    member = self.actors.members[actor]
                    self._calls = {ref: call for ref, call in self._calls.items() if call.member is not member}
                    self.actors.replace(member, error, intended)
                case Retry(batch, jobs):
                    for request in self._requests[batch]:
                        if make_job_key(request.job) in jobs:
                            log_retry(request.job)
                case Drop(batch):
                    del self._requests[batch]

    def _train(self, call: Train) -> None:
        """Call an actor, with each vector once."""
        places: dict[Handle, int] = {}

        def place(vector: Handle) -> int:
            return places.setdefault(vector, len(places))

        def without_crash(request: TrainingRequest[Handle]) -> TrainingRequest[Handle]:
            job = request.job
            return replace(request, job=replace(job, fault=None)) if make_job_key(job) in call.crashed else request

        member = self.actors.members[call.actor]
        batches = [[without_crash(one).map(place) for one in self._requests[batch.key]] for batch in call.batches]
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
        self._calls[done] = CallInFlight(call, member, block)

    # Events

    def _start(self, actor: int) -> None:
        self._perform(self._scheduler.start(actor))

    def _lose(self, member: Member, error: Exception) -> None:
        self._perform(self._scheduler.lose(member.index), error)

    def _collect(self, wait: bool) -> None:
        """Take in a call that has finished; with `wait`, wait for one, or for an actor to start."""
        for ref in self.actors.wait(list(self._calls), None if wait else 0):
            flight = self._calls[ref]
            seconds = None
            try:
                if isinstance(flight.call, Evaluate):
                    self._evaluations[flight.call.version] = ray.get(ref)
                    del self._models[flight.call.version]
                else:
                    seconds = self._take_updates(flight.call, flight.member, ray.get(ref), flight.block)
            except ACTOR_ERRORS as error:
                self.actors.report_death(flight.member, error)
                continue
            del self._calls[ref]
            self._perform(self._scheduler.finish(flight.call.call, seconds))

    def _take_updates(self, call: Train, member: Member, answer: Any, block: Any) -> float:
        """Take in the updates of a call that are still wanted; the seconds that it trained."""
        vectors: Any
        (updates, seconds), vectors = (answer, None) if block is not None else answer
        node = str(member.node)
        remote = block is not None and self._remote.stay(node, updates)
        if block is not None and not remote:
            vectors = ray.get(block)
            if node != self._remote.node:
                block = ray.put(vectors)  # the first copy would be lost with its node
        batches = [self._requests.pop(batch.key) for batch in call.batches]
        jobs = [(request.job, batch) for batch in batches for request in batch]
        for row, ((job, batch), update) in enumerate(zip(jobs, updates, strict=True)):
            if not self._scheduler.wants(key := make_job_key(job)):
                continue
            handle = Row(vectors[row]) if block is None else Row(block, row)
            if update.client_state is not None:
                handle = self.put(update.client_state)
            if remote:
                self._remote.place(job, Location(node, block, row, len(updates), batch))
            self._updates[key] = replace(update, vector=None if remote else vectors[row], handle=handle)
        return float(seconds)
