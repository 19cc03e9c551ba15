"""The wall clock: the same loop, with durations really waited for and futures taken as they finish.

A client's attempt trains and then sleeps until its duration is over; who sleeps holds no CPU, because actors
are asynchronous and train one job at a time in a thread of their own. Where training takes longer than the
duration, the arrival is late: this clock tells what a deployment on this hardware would see.
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import ray

from fedqs_ray.actors.client import EMPTY
from fedqs_ray.config import Experiment
from fedqs_ray.messages import Algorithm, Evaluation, Job, Layout, Update, Vector
from fedqs_ray.simulation.executor import Handle
from fedqs_ray.tasks.federate import FederatedData

Found = TypeVar("Found")


@ray.remote
class WaitingClientActor:
    """Plays many clients, of which one trains at a time and any number waits."""

    def __init__(self, experiment: Experiment, data: FederatedData, algorithm: Algorithm) -> None:
        from fedqs_ray.tasks.local import LocalTask  # torch: only this process pays for it

        self.worker = ThreadPoolExecutor(1)  # torch's threads are a setting of the thread that trains
        self.task = self.worker.submit(LocalTask, experiment, data, algorithm).result()

    async def train(
        self, job: Job, seconds: float, model: Vector, previous: Vector | None, last_update: Vector | None
    ) -> tuple[Update, Vector]:
        """Train a job and return when `seconds` are over: its update without the vector, and the vector."""
        began = time.monotonic()
        update = await self.aside(lambda: self.task.train(job, model, previous, last_update))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        return replace(update, delta=EMPTY), update.delta

    async def initial_model(self) -> tuple[Vector, Layout]:
        """w^0 and its division into tensors."""
        return await self.aside(self.task.initial_model)

    async def evaluate(self, model: Vector) -> Evaluation:
        """A model on the test samples."""
        return await self.aside(lambda: self.task.evaluate(model))

    async def aside(self, work: Callable[[], Found]) -> Found:
        """Do something in the training thread."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, work)


class WallPool:
    """Client actors as an Executor that starts every job at once, and as the clock that hears them finish."""

    def __init__(
        self, actors: list[Any], data_summary: list[tuple[int, int, tuple[int, ...]]], seconds_per_tick: float
    ) -> None:
        self._actors, self._summary, self._tick = actors, data_summary, seconds_per_tick
        self._calls: dict[Any, tuple[Job, Any]] = {}
        """Jobs under way by the reference that says they are done, with the reference of the vector."""
        self._lost: list[tuple[float, int, Job]] = []
        """Jobs that will be lost, by their end: nobody trains them, but their time has to pass."""
        self._ended: deque[Job] = deque()
        self._updates: dict[int, Update] = {}
        self._evaluations: dict[int, Any] = {}
        self._began: float | None = None
        self.now = 0.0
        """Virtual seconds at the last `advance`."""

    # Executor

    def initial_model(self) -> tuple[Vector, Layout]:
        found: tuple[Vector, Layout] = ray.get([actor.initial_model.remote() for actor in self._actors])[0]
        self._began = time.monotonic()  # every actor is there now
        return found

    def samples(self) -> list[tuple[int, int, tuple[int, ...]]]:
        return self._summary

    def publish(self, version: int, model: Vector) -> Handle:  # noqa: ARG002
        return ray.put(model)

    def submit(self, job: Job, model: Handle, previous: Handle | None, last_update: Handle | None) -> None:
        actor = self._actors[job.client % len(self._actors)]
        seconds = (job.end - job.start) * self._tick
        done, vector = actor.train.options(num_returns=2).remote(job, seconds, model, previous, last_update)
        self._calls[done] = job, vector

    def result(self, job: Job) -> Update:
        return self._updates.pop(job.client)

    def discard(self, job: Job) -> None:
        self._updates.pop(job.client, None)

    def evaluate(self, version: int, model: Handle) -> None:
        self._evaluations[version] = self._actors[version % len(self._actors)].evaluate.remote(model)

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        ref = self._evaluations[version]
        if not wait and not ray.wait([ref], timeout=0)[0]:
            return None
        found: Evaluation = ray.get(self._evaluations.pop(version))
        return found

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
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout)
        more = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)[0] if ready else []
        for ref in more:
            job, vector = self._calls.pop(ref)
            update, delta = ray.get([ref, vector])
            self._updates[job.client] = replace(update, delta=delta, handle=vector)
            self._ended.append(job)

    def pop(self) -> Job | None:
        if self._lost and self._lost[0][0] <= self.now:
            return heapq.heappop(self._lost)[2]
        return replace(self._ended.popleft(), end=self.now) if self._ended else None

    def drain(self) -> list[Job]:
        under_way = [*self._ended, *(job for job, _ in self._calls.values()), *(job for *_, job in self._lost)]
        self._ended.clear()
        self._calls.clear()
        self._lost.clear()
        return sorted(under_way, key=lambda job: (job.end, job.client))
