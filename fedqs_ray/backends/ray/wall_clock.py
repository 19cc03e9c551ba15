"""The wall clock: the same loop, with durations really waited for and futures taken as they finish.

A client's attempt trains and then sleeps until its duration is over. A sleeping attempt holds no CPU, because actors
are asynchronous and train one job at a time in a thread of their own. Where training takes longer than the
duration, the arrival is late: this clock shows what a deployment on this hardware would see.
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

from fedqs_ray.backends.ray.actor_group import ACTOR_ERRORS, ActorGroup, Member, log_retry
from fedqs_ray.backends.ray.client_actor import crash_if_asked
from fedqs_ray.backends.ray.resources import get_node_id
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import FedqsError
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
    make_job_key,
)
from fedqs_ray.tasks.federated import FederatedData

Found = TypeVar("Found")


@ray.remote
class WaitingClientActor:
    """One Ray actor that trains one client at a time, while any number of others wait."""

    def __init__(self, experiment: Experiment, data: FederatedData, algorithm: Algorithm) -> None:
        from fedqs_ray.training.trainer import Trainer  # torch: only this process pays for it

        self.worker = ThreadPoolExecutor(1)  # torch's threads are a setting of the thread that trains
        self.mistake: FedqsError | None = None
        try:
            self.task = self.worker.submit(Trainer, experiment, data, algorithm).result()
        except FedqsError as error:  # of an actor that fails here Ray passes on nothing but text
            self.mistake = error

    async def node(self) -> tuple[str, str]:
        """The node that this actor runs on, and the device that it trains on. Raises what kept it from starting."""
        if self.mistake:
            raise self.mistake
        return get_node_id(), str(self.task.device)

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
class CallInFlight:
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
    """Client actors as an Executor that starts every job at once, and as the Clock on which they finish."""

    def __init__(
        self, actors: ActorGroup, statistics: ClientStatistics, seconds_per_tick: float, clients_per_actor: int | None
    ) -> None:
        """With `clients_per_actor`, client c is trained on actor c // clients_per_actor only; else on any."""
        self.actors, self._statistics, self._tick = actors, statistics, seconds_per_tick
        self._hosted = clients_per_actor
        actors.on_start, actors.on_death = self._start, self._lose
        self._calls: dict[Any, CallInFlight] = {}
        """Jobs under way by the reference that says they are done."""
        self._waiting: list[TrainingRequest[Handle]] = []
        """Jobs whose actor has not started, which is so after a death."""
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
        self.actors.wait_for_start()
        found: tuple[Vector, Layout] = self.actors.ask("initial_model")
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
        self._updates[make_job_key(job)] = update

    def result(self, job: Job) -> Update:
        return self._updates.pop(make_job_key(job))

    def discard(self, job: Job) -> None:
        self._updates.pop(make_job_key(job), None)

    def evaluate(self, version: int, model: Handle) -> None:
        while not (started := [member for member in self.actors.members if member.node]):
            self.actors.wait([], None)
        member = started[version % len(started)]
        self._evaluations[version] = member.actor.evaluate.remote(model), member, model

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        ref, member, model = self._evaluations[version]
        if not wait and not ray.wait([ref], timeout=0)[0]:
            return None
        try:
            found: Evaluation = ray.get(ref)
        except ACTOR_ERRORS as error:
            self.actors.report_death(member, error)
            self.evaluate(version, model)
            return self.evaluation(version, wait)
        del self._evaluations[version]
        return found

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        found: NDArray[np.int64] = self.actors.ask("validate", model)
        return found

    def _choose_member(self, client: int) -> Member | None:
        """The member that trains a client: its own, or one of those that have started; None if that has not."""
        if self._hosted is not None:
            own = self.actors.members[client // self._hosted]
            return own if own.node else None
        started = [member for member in self.actors.members if member.node]
        return started[client % len(started)] if started else None

    def _call(self, request: TrainingRequest[Handle]) -> None:
        """Start a job, whose duration may have begun before, or let it wait for its actor."""
        job = request.job
        if (member := self._choose_member(job.client)) is None:
            self._waiting.append(request)
            return
        seconds = max(0.0, job.end - max(job.start, self.elapsed())) * self._tick
        train = member.actor.train.options(num_returns=2)
        done, delta = train.remote(job, seconds, request.model, request.extra, request.client_state)
        self._calls[done] = CallInFlight(request, member, delta)

    def _start(self, actor: int) -> None:  # noqa: ARG002
        """An actor has started: call it with the jobs that waited for it."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._call(request)

    def _lose(self, member: Member, error: Exception) -> None:
        """Replace an actor that died under all its calls. Where one of them was to kill it, the death is intended."""
        under_way = [call.job for call in self._calls.values() if call.member is member]
        self.actors.replace(member, error, intended=any(job.fault == "crash" for job in under_way))

    # Clock

    def __len__(self) -> int:
        return len(self._calls) + len(self._waiting) + len(self._lost) + len(self._ended)

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
            if self._calls or self._waiting:
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
        if not self._calls and not self._waiting:
            return
        ready = self.actors.wait(list(self._calls), timeout)
        more = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)[0] if ready else []
        for ref in more:
            call = self._calls[ref]
            try:
                update, delta = ray.get([ref, call.delta])
            except ACTOR_ERRORS as error:
                self.actors.report_death(call.member, error)
                del self._calls[ref]
                job = replace(call.job, fault=None) if call.job.fault == "crash" else call.job
                self.retries += 1
                log_retry(call.job)
                self._call(replace(call.request, job=job))
                continue
            del self._calls[ref]
            handle = call.delta if update.client_state is None else ray.put(update.client_state)
            self._updates[make_job_key(call.job)] = replace(update, vector=delta, handle=handle)
            self._ended.append(call.job)

    def pop(self) -> Job | None:
        if self._lost and self._lost[0][0] <= self.now:
            return heapq.heappop(self._lost)[2]
        return replace(self._ended.popleft(), end=self.now) if self._ended else None

    def jobs(self) -> list[Job]:
        under_way = [*self._ended, *(call.job for call in self._calls.values()), *(job for *_, job in self._lost)]
        under_way += [request.job for request in self._waiting]
        return sorted(under_way, key=lambda job: (job.end, job.client))
