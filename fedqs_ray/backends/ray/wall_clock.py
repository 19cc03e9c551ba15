"""The wall clock: the same loop, with durations really waited for and futures taken as they finish.

A client's attempt trains and then sleeps until its duration is over; who sleeps holds no CPU, because actors
are asynchronous and train one job at a time in a thread of their own. Where training takes longer than the
duration, the arrival is late: this clock tells what a deployment on this hardware would see.
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray

from fedqs_ray.backends.ray.actor_group import GONE, ActorGroup, Member, log_retry
from fedqs_ray.backends.ray.client_actor import crash_if_asked
from fedqs_ray.backends.ray.resources import get_node_id
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Algorithm, Handle, UpdatesAtHand
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
from fedqs_ray.tasks.federated import FederatedData

Found = TypeVar("Found")


@ray.remote
class WaitingClientActor:
    """Plays many clients, of which one trains at a time and any number waits."""

    def __init__(self, experiment: Experiment, data: FederatedData, algorithm: Algorithm) -> None:
        from fedqs_ray.training.trainer import Trainer  # torch: only this process pays for it

        self.worker = ThreadPoolExecutor(1)  # torch's threads are a setting of the thread that trains
        self.task = self.worker.submit(Trainer, experiment, data, algorithm).result()

    async def node(self) -> str:
        """Where this actor runs."""
        return get_node_id()

    async def train(self, job: Job, seconds: float, *vectors: Vector | None) -> tuple[Update, Vector]:
        """Train a job and return when `seconds` are over: its update without the vector, and the vector.

        `vectors` are those of a `TrainingRequest`; Ray resolves references only among a call's own arguments.
        """
        crash_if_asked(job)
        began = time.monotonic()
        model, extra, client_state = vectors
        assert model is not None
        request = TrainingRequest(job, model, extra, client_state)
        update = await self.aside(lambda: self.task.train_one(request))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        return replace(update, vector=None), update.delta

    async def initial_model(self) -> tuple[Vector, Layout]:
        """w^0 and its division into tensors."""
        return await self.aside(self.task.initial_model)

    async def evaluate(self, model: Vector) -> Evaluation:
        """A model on the test samples."""
        return await self.aside(lambda: self.task.evaluate(model))

    async def validate(self, model: Vector) -> NDArray[np.int64]:
        """A model on the clients' validation samples."""
        return await self.aside(lambda: self.task.validate(model))

    async def aside(self, work: Callable[[], Found]) -> Found:
        """Do something in the training thread."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, work)


@dataclass(frozen=True, slots=True)
class Call:
    """A job on its way through an actor."""

    request: TrainingRequest[Handle]
    member: Member
    delta: Any
    """Reference of the update's vector."""

    @property
    def job(self) -> Job:
        """The job."""
        return self.request.job


class WallClockExecutor(UpdatesAtHand):
    """Client actors as an Executor that starts every job at once, and as the clock that hears them finish."""

    def __init__(self, crew: ActorGroup, statistics: ClientStatistics, seconds_per_tick: float) -> None:
        self._crew, self._statistics, self._tick = crew, statistics, seconds_per_tick
        self._calls: dict[Any, Call] = {}
        """Jobs under way by the reference that says they are done."""
        self._lost: list[tuple[float, int, Job]] = []
        """Jobs that will be lost, by their end: nobody trains them, but their time has to pass."""
        self._ended: deque[Job] = deque()
        self._updates: dict[JobKey, Update] = {}
        """A client may have ended its next job before its last one is aggregated."""
        self._evaluations: dict[int, tuple[Any, Member, Handle]] = {}
        self._began: float | None = None
        self.now = 0.0
        """Virtual seconds at the last `advance`."""
        self.retries = 0
        """Jobs done again."""

    # Executor

    def initial_model(self) -> tuple[Vector, Layout]:
        while self._crew.starting:
            self._crew.wait([], None)
        found: tuple[Vector, Layout] = self._crew.ask("initial_model")
        self._began = time.monotonic()  # every actor is there now
        return found

    def client_statistics(self) -> ClientStatistics:
        return self._statistics

    def put(self, vector: Vector) -> Handle:
        return ray.put(vector)

    def get(self, handle: Handle) -> Vector:
        found: Vector = ray.get(handle)  # type: ignore[call-overload]
        return found

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        for request in batch:
            self._call(request)

    def restore(self, job: Job, update: Update) -> None:
        self._updates[job_key(job)] = update

    def result(self, job: Job) -> Update:
        return self._updates.pop(job_key(job))

    def discard(self, job: Job) -> None:
        self._updates.pop(job_key(job), None)

    def evaluate(self, version: int, model: Handle) -> None:
        member = self._member(version)
        self._evaluations[version] = member.actor.evaluate.remote(model), member, model

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        ref, member, model = self._evaluations[version]
        if not wait and not ray.wait([ref], timeout=0)[0]:
            return None
        try:
            found: Evaluation = ray.get(ref)
        except GONE as error:
            self._replace(member, error)
            self.evaluate(version, model)
            return self.evaluation(version, wait)
        del self._evaluations[version]
        return found

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        found: NDArray[np.int64] = self._crew.ask("validate", model)
        return found

    def _member(self, number: int) -> Member:
        """Who does job or evaluation `number`, among the members that answered."""
        while not (there := [member for member in self._crew.members if member.node]):
            self._crew.wait([], None)
        return there[number % len(there)]

    def _replace(self, member: Member, error: Exception, *calls: Call) -> None:
        """Replace an actor that died under `calls` and others; if one of them was to kill it, that is no bad luck."""
        under_way = (call for call in (*calls, *self._calls.values()) if call.member is member)
        self._crew.replace(member, error, intended=any(call.job.fault == "crash" for call in under_way))

    def _call(self, request: TrainingRequest[Handle]) -> None:
        """Start a job, whose duration may have begun before."""
        job, member = request.job, self._member(request.job.client)
        seconds = max(0.0, job.end - max(job.start, self.elapsed())) * self._tick
        train = member.actor.train.options(num_returns=2)
        done, delta = train.remote(job, seconds, request.model, request.extra, request.client_state)
        self._calls[done] = Call(request, member, delta)

    # Clock

    def __len__(self) -> int:
        return len(self._calls) + len(self._lost) + len(self._ended)

    def schedule(self, job: Job) -> None:
        if job.lost:
            heapq.heappush(self._lost, (job.end, job.client, job))

    def advance(self, *until: float | None) -> None:
        """Wait for a future to finish, for a lost job's end, or for the earliest of `until`."""
        times = [time for time in until if time is not None]
        if self._lost:
            times.append(self._lost[0][0])
        while not self._ended:
            left = (min(times) - self.elapsed()) * self._tick if times else None
            if left is not None and left <= 0:
                break
            if self._calls:
                self.collect(left)
            else:
                assert left is not None, "there is nothing to wait for"
                time.sleep(left)
        self.collect(0)
        self.now = max(self.now, self.elapsed())

    def elapsed(self) -> float:
        """Virtual seconds since the actors were ready."""
        assert self._began is not None
        return (time.monotonic() - self._began) / self._tick

    def collect(self, timeout: float | None) -> None:
        """Take in the futures that have finished, in the order in which Ray names them."""
        if not self._calls:
            return
        ready = self._crew.wait(list(self._calls), timeout)
        more = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)[0] if ready else []
        for ref in more:
            call = self._calls.pop(ref)
            try:
                update, delta = ray.get([ref, call.delta])
            except GONE as error:
                self._replace(call.member, error, call)
                job = replace(call.job, fault=None) if call.job.fault == "crash" else call.job
                self._call(replace(call.request, job=job))
                self.retries += 1
                log_retry(call.job)
                continue
            handle = call.delta if update.client_state is None else ray.put(update.client_state)
            self._updates[job_key(call.job)] = replace(update, vector=delta, handle=handle)
            self._ended.append(call.job)

    def pop(self) -> Job | None:
        if self._lost and self._lost[0][0] <= self.now:
            return heapq.heappop(self._lost)[2]
        return replace(self._ended.popleft(), end=self.now) if self._ended else None

    def jobs(self) -> list[Job]:
        under_way = [*self._ended, *(call.job for call in self._calls.values()), *(job for *_, job in self._lost)]
        return sorted(under_way, key=lambda job: (job.end, job.client))
