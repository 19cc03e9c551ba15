"""Scheduler of client actors: a pure state machine that takes events and returns instructions.

Invariant: a submitted job is queued, in one call of one started actor, or done, until it is handed over or discarded;
`check_invariants` says it in full. Nothing here knows Ray, a clock or an array: jobs, actors and calls are numbers, and
durations come with the events. Which actor trains a job never reaches a result, so every choice here is about speed.
"""

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fedqs_ray.core.exceptions import InvariantError
from fedqs_ray.core.types import JobKey

CALLS_AHEAD = 2
"""Calls in flight for each actor: one that runs and one that waits."""
CALL_SECONDS = 0.05
"""Target length of a call: long against Ray's overhead, short against a person's patience."""
WORTH_A_CALL = 0.001
"""Seconds of training below which dividing it over actors takes longer than doing it."""
MAX_BATCHES = 32
"""Most batches in a call."""
DEATHS_PER_MINUTE = 10
"""Deaths of actors within a minute that are tolerated, on top of one for every actor."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that are trained together. Its key is that of its first job."""

    jobs: tuple[JobKey, ...]
    end: float
    """Virtual arrival of the first job."""
    crash_jobs: frozenset[JobKey] = frozenset()
    """Jobs that kill their actor the first time."""

    @property
    def key(self) -> JobKey:
        """The key of the first job."""
        return self.jobs[0]


Work = Batch | int
"""A batch to train, or the version to evaluate."""


@dataclass(frozen=True, slots=True)
class Train:
    """Instruction: call an actor with these batches."""

    call: int
    actor: int
    batches: tuple[Batch, ...]
    crashed: frozenset[JobKey] = frozenset()
    """Crash jobs among them that run without their fault, because an actor died under them before."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Instruction: call an actor to evaluate a version."""

    call: int
    actor: int
    version: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Instruction: start a new actor in the place of a dead one, whose calls in flight are void."""

    actor: int
    intended: bool
    """Whether one of its calls held a crash job."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Notice: these jobs of a batch are queued once more."""

    batch: JobKey
    jobs: tuple[JobKey, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Notice: a batch left the queue untrained, because all its jobs were discarded."""

    batch: JobKey


Call = Train | Evaluate
Instruction = Call | Replace | Retry | Drop


class Scheduler:
    """Queues, calls in flight and job states of a fixed number of actors; methods named after events.

    Free actors get the pending batch with the earliest virtual arrival, several at a time where batches are short, and
    one call ahead so that they never wait. Evaluations come before all batches.
    """

    def __init__(self, actors: int, clients_per_actor: int | None = None, bytes_ahead: float = math.inf) -> None:
        """With `clients_per_actor`, client c is trained on actor c // clients_per_actor only; else on any.

        `bytes_ahead`: updates that may wait to be handed over before no more calls are made.
        """
        self._actors, self._hosted, self._bytes_ahead = actors, clients_per_actor, bytes_ahead
        self._queues: list[list[tuple[float, int, int, Work]]] = [[] for _ in range(actors if clients_per_actor else 1)]
        self._loads: dict[int, int] = {}
        """Calls in flight on each actor that has started."""
        self._calls: dict[int, Call] = {}
        self._made = 0
        """Calls so far: the next one's number."""
        self._pending: set[JobKey] = set()
        """Jobs that are queued or in flight."""
        self._done: set[JobKey] = set()
        """Jobs whose updates wait to be handed over."""
        self._crashed: set[JobKey] = set()
        """Crash jobs under which an actor died: they run without their fault now."""
        self._seconds = math.inf
        """Running mean of a batch's duration; unknown at first, so that first calls hold one."""
        self.vector_bytes = 0
        """Size of an update."""
        self.retries = 0
        """Jobs queued once more, after an actor or node died."""

    # Events

    def submit(self, batch: Batch) -> None:
        """A batch is to be trained. It is only queued, so that calls are sized by all that is submitted at once."""
        self._pending.update(batch.jobs)
        self._queue(batch)

    def submit_evaluation(self, version: int) -> None:
        """A version is to be evaluated."""
        self._queue(version)

    def restore(self, job: JobKey) -> None:
        """The update of a job that was trained in an earlier run is there."""
        self._done.add(job)

    def want_results(self) -> list[Instruction]:
        """The loop is about to wait for a result."""
        return list(self._feed())

    def hand_over(self, job: JobKey) -> None:
        """The loop took a job's update."""
        self._done.remove(job)

    def discard(self, job: JobKey) -> None:
        """The loop needs a job no more, whatever its state."""
        self._pending.discard(job)
        self._done.discard(job)

    def retrain(self, batches: Iterable[Batch], jobs: Sequence[JobKey]) -> list[Instruction]:
        """Updates that were handed over were lost with their node: train the batches of these `jobs` again."""
        if known := self._pending.union(self._done).intersection(jobs):
            raise InvariantError(f"job {min(known)} is to be trained again before it was handed over")
        self._pending.update(jobs)
        notices = [self._retry(batch, tuple(job for job in batch.jobs if job in jobs)) for batch in batches]
        return [*notices, *self._feed()]

    def start(self, actor: int) -> list[Instruction]:
        """An actor answered from its node."""
        self._loads[actor] = 0
        return list(self._feed())

    def finish(self, call: int, seconds: float | None = None) -> list[Instruction]:
        """A call ended; `seconds` of training, more than 0, where it was a training call."""
        done = self._calls.pop(call)
        self._loads[done.actor] -= 1
        if isinstance(done, Train):
            assert seconds is not None
            each = seconds / len(done.batches)
            self._seconds = each if self._seconds == math.inf else 0.8 * self._seconds + 0.2 * each
            jobs = self._pending.intersection(job for batch in done.batches for job in batch.jobs)
            self._pending -= jobs
            self._done |= jobs
        return list(self._feed())

    def lose(self, actor: int) -> list[Instruction]:
        """An actor died, or its node: all its calls are lost, and their work is queued once more."""
        self._loads.pop(actor, None)
        lost = [self._calls.pop(number) for number, call in list(self._calls.items()) if call.actor == actor]
        batches = [batch for call in lost if isinstance(call, Train) for batch in call.batches]
        crash_jobs = {job for batch in batches for job in batch.crash_jobs}
        found: list[Instruction] = [Replace(actor, intended=not crash_jobs <= self._crashed)]
        self._crashed |= crash_jobs
        for call in lost:
            if isinstance(call, Evaluate):
                self._queue(call.version)
        found += [self._retry(batch, batch.jobs) if self._needed(batch) else Drop(batch.key) for batch in batches]
        return [*found, *self._feed()]

    # State

    def wants(self, job: JobKey) -> bool:
        """Whether the update of a job is still to be handed over."""
        return job in self._pending or job in self._done

    def _needed(self, work: Work) -> bool:
        """Whether a result of `work` is still wanted. A batch that is trained again may hold done jobs too."""
        return isinstance(work, int) or any(map(self.wants, work.jobs))

    def _home(self, client: int) -> int:
        """The number of the queue that holds a client's jobs."""
        return client // self._hosted if self._hosted else 0

    def _queue(self, work: Work) -> None:
        if isinstance(work, int):
            heapq.heappush(self._queues[work % len(self._queues)], (-1.0, work, 0, work))
        else:
            client, attempt = work.key
            heapq.heappush(self._queues[self._home(client)], (work.end, client, attempt, work))

    def _retry(self, batch: Batch, jobs: tuple[JobKey, ...]) -> Retry:
        self._queue(batch)
        self.retries += len(jobs)
        return Retry(batch.key, jobs)

    def _feed(self) -> Iterator[Instruction]:
        """Give every actor that has room the most urgent work; least loaded actors first."""
        if self._calls and self._done and len(self._done) * self.vector_bytes > self._bytes_ahead:
            return
        for load in range(CALLS_AHEAD):
            for actor in range(self._actors):
                queue = self._queues[actor if len(self._queues) > 1 else 0]
                while queue and not self._needed(work := queue[0][-1]):
                    heapq.heappop(queue)
                    assert isinstance(work, Batch)
                    yield Drop(work.key)
                if queue and self._loads.get(actor) == load:
                    yield self._call(actor, queue)

    def _call(self, actor: int, queue: list[tuple[float, int, int, Work]]) -> Call:
        """One call: an evaluation, or as many batches as its target length allows; a crash job's batch goes alone."""
        first = heapq.heappop(queue)[-1]
        call: Call
        if isinstance(first, int):
            call = Evaluate(self._made, actor, first)
        else:
            fair = max(math.ceil(len(queue) / (CALLS_AHEAD * self._actors)), int(WORTH_A_CALL / self._seconds))
            size = 1 if self._crashes(first) else min(MAX_BATCHES, fair, int(CALL_SECONDS / self._seconds))
            batches = [first]
            while len(batches) < size and queue and isinstance(work := queue[0][-1], Batch) and not self._crashes(work):
                heapq.heappop(queue)
                batches.append(work)
            crashed = self._crashed.intersection(job for batch in batches for job in batch.crash_jobs)
            call = Train(self._made, actor, tuple(batches), frozenset(crashed))
        self._made += 1
        self._loads[actor] += 1
        self._calls[call.call] = call
        return call

    def _crashes(self, batch: Batch) -> bool:
        """Whether a batch is going to kill its actor."""
        return not batch.crash_jobs <= self._crashed

    def check_invariants(self) -> None:
        """Raise `InvariantError` where the state contradicts itself. For tests: it walks through the whole state."""
        queued = [(number, entry[-1]) for number, queue in enumerate(self._queues) for entry in queue]
        called = [call for call in self._calls.values() if isinstance(call, Train)]
        evaluated = [call for call in self._calls.values() if isinstance(call, Evaluate)]
        in_calls = [batch for call in called for batch in call.batches]
        batches = [work for _, work in queued if isinstance(work, Batch)] + in_calls
        versions = [work for _, work in queued if isinstance(work, int)] + [call.version for call in evaluated]
        places = Counter(job for batch in batches for job in batch.jobs)
        loads = Counter(call.actor for call in self._calls.values())
        homes = [(number, work) for number, work in queued if isinstance(work, Batch)]
        homes += [(call.actor if self._hosted else 0, batch) for call in called for batch in call.batches]
        laws = {
            "a pending job is queued or in a call": all(job in places for job in self._pending),
            "no job has two places": all(count == 1 for count in places.values()),
            "no job is both pending and done": not self._pending & self._done,
            "no version is evaluated twice": len(versions) == len(set(versions)),
            "loads count calls": all(self._loads.get(actor) == count for actor, count in loads.items())
            and sum(self._loads.values()) == len(self._calls),
            "few calls ahead": all(load <= CALLS_AHEAD for load in self._loads.values()),
            "a call has its own number": all(call.call == number for number, call in self._calls.items()),
            "a call is not too long": all(1 <= len(call.batches) <= MAX_BATCHES for call in called),
            "a crash job's batch is alone in its call": all(
                len(call.batches) == 1 or not any(map(self._crashes, call.batches)) for call in called
            ),
            "a hosted client is with its actor": all(self._home(batch.key[0]) == home for home, batch in homes),
            "queues are heaps": all(
                queue[(place - 1) // 2][:3] <= queue[place][:3]
                for queue in self._queues
                for place in range(1, len(queue))
            ),
        }
        if broken := [law for law, holds in laws.items() if not holds]:
            raise InvariantError(f"the scheduler's state contradicts: {'; '.join(broken)}")


class FailurePolicy:
    """The deaths of actors that a run tolerates: DEATHS_PER_MINUTE in any minute, and one more for every actor."""

    def __init__(self, actors: int) -> None:
        self._most = DEATHS_PER_MINUTE + actors
        self._deaths: deque[float] = deque()

    def count_death(self, now: float) -> int:
        """Record a death at `now` (seconds of any clock); the deaths of the last minute if too many, else 0."""
        self._deaths.append(now)
        while self._deaths[0] < now - 60:
            self._deaths.popleft()
        return len(self._deaths) if len(self._deaths) > self._most else 0
