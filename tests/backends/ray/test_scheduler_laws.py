"""The laws of the scheduler under random events, with a simulated driver in the place of Ray."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedqs_ray.backends.ray.scheduler import (
    CALLS_AHEAD,
    DEATHS_PER_MINUTE,
    Batch,
    Call,
    Drop,
    Evaluate,
    FailurePolicy,
    Instruction,
    Replace,
    Retry,
    Scheduler,
    Train,
)
from fedqs_ray.core.types import JobKey

LIMIT = 5.0
"""Updates that may wait: a vector has one byte."""


class Simulated:
    """A driver with no Ray behind it: performs the instructions, keeps its own accounts, and checks both."""

    def __init__(self, actors: int, clients_per_actor: int | None) -> None:
        self.scheduler = Scheduler(actors, clients_per_actor, LIMIT)
        self.scheduler.vector_bytes = 1
        self.actors, self.hosted = actors, clients_per_actor
        self.running: set[int] = set()
        self.calls: dict[int, Call] = {}
        self.batches: dict[JobKey, Batch] = {}
        """Batches that the scheduler has."""
        self.trained: dict[JobKey, Batch] = {}
        self.handed_over: list[JobKey] = []
        self.waiting: dict[JobKey, Batch] = {}
        """Jobs neither handed over nor discarded."""
        self.done: set[JobKey] = set()
        self.crashed: set[JobKey] = set()
        self.versions: set[int] = set()
        """Versions whose evaluation is queued or in flight."""
        self.submitted = 0
        """Versions so far."""
        self.attempts = Counter[int]()
        self.retries = 0

    def perform(self, instructions: list[Instruction]) -> None:
        held_back = bool(self.calls) and len(self.done) > LIMIT
        for one in instructions:
            match one:
                case Train(call, actor, batches, crashed):
                    assert not held_back
                    assert actor in self.running
                    fuses = {fuse for batch in batches for fuse in batch.crash_jobs} - crashed
                    assert len(batches) == 1 or not fuses, "a crash job's batch is alone"
                    assert all(self.batches[batch.key] is batch for batch in batches)
                    assert self.hosted is None or {batch.key[0] // self.hosted for batch in batches} == {actor}
                    assert [batch.end for batch in batches] == sorted(batch.end for batch in batches)
                    self.calls[call] = one
                case Evaluate(call, actor, version):
                    assert not held_back
                    assert actor in self.running
                    assert version in self.versions
                    self.calls[call] = one
                case Replace(actor, intended):
                    gone = [call for call in self.calls.values() if call.actor == actor]
                    fuses = {fuse for call in gone for fuse in self.fuses(call)}
                    assert intended == bool(fuses)
                    assert not fuses & self.crashed, "no job crashes twice"
                    self.crashed |= fuses
                    self.calls = {number: call for number, call in self.calls.items() if call not in gone}
                    self.running.discard(actor)
                    held_back = bool(self.calls) and len(self.done) > LIMIT
                case Retry(batch, jobs):
                    assert set(jobs) <= set(self.batches[batch].jobs)
                    assert self.waiting.keys() & set(self.batches[batch].jobs), "not for nothing"
                    self.retries += len(jobs)
                case Drop(batch):
                    assert not self.waiting.keys() & set(self.batches.pop(batch).jobs), "nobody needs it"
        self.check()

    def fuses(self, call: Call) -> set[JobKey]:
        """The jobs that are going to kill the actor of a call."""
        if isinstance(call, Evaluate):
            return set()
        return {fuse for batch in call.batches for fuse in batch.crash_jobs} - call.crashed

    def check(self) -> None:
        scheduler = self.scheduler
        scheduler.check_invariants()
        assert scheduler.retries == self.retries
        assert scheduler._calls == self.calls
        assert scheduler._done == self.done
        assert scheduler._pending | self.done == self.waiting.keys()
        load = Counter(call.actor for call in self.calls.values())
        assert all(count <= CALLS_AHEAD for count in load.values())

    # What may happen; `pick` chooses among so many

    def submit(self, pick: Callable[[int], int]) -> None:
        if len(self.batches) > 40 or len(self.waiting) > 60:
            return  # a state that grew without bound would make each check longer
        chosen = sorted({pick(8) for _ in range(1 + pick(3))})
        if self.hosted is not None:
            chosen = chosen[:1]  # they are trained one by one
        keys = []
        for client in chosen:
            keys.append((client, self.attempts[client]))
            self.attempts[client] += 1
        crash_jobs = frozenset(key for key in keys if pick(5) == 0)
        batch = Batch(tuple(keys), float(pick(50)), crash_jobs)
        self.batches[batch.key] = batch
        self.waiting |= dict.fromkeys(keys, batch)
        self.scheduler.submit(batch)
        self.check()

    def evaluate(self, pick: Callable[[int], int]) -> None:
        if len(self.versions) < 5:
            self.versions.add(self.submitted)
            self.scheduler.submit_evaluation(self.submitted)
            self.submitted += 1
            self.check()

    def restore(self, pick: Callable[[int], int]) -> None:
        if len(self.waiting) > 60:
            return
        key = (client := pick(8), self.attempts[client])
        self.attempts[client] += 1
        self.waiting[key] = Batch((key,), 0.0)
        self.done.add(key)
        self.scheduler.restore(key)
        self.check()

    def want(self, pick: Callable[[int], int]) -> None:
        self.perform(self.scheduler.want_results())

    def hand_over(self, pick: Callable[[int], int]) -> None:
        if self.done:
            key = sorted(self.done)[pick(len(self.done))]
            self.done.remove(key)
            del self.waiting[key]
            self.scheduler.hand_over(key)
            self.handed_over = [*self.handed_over[-20:], key]
            self.check()

    def discard(self, pick: Callable[[int], int]) -> None:
        if self.waiting:
            key = sorted(self.waiting)[pick(len(self.waiting))]
            del self.waiting[key]
            self.done.discard(key)
            self.scheduler.discard(key)
            self.check()

    def start(self, pick: Callable[[int], int]) -> None:
        if starting := [actor for actor in range(self.actors) if actor not in self.running]:
            self.running.add(actor := starting[pick(len(starting))])
            self.perform(self.scheduler.start(actor))

    def finish(self, pick: Callable[[int], int]) -> None:
        """The oldest call of an actor ends, or kills it."""
        if not self.calls:
            return
        actors = sorted({call.actor for call in self.calls.values()})
        actor = actors[pick(len(actors))]
        call = self.calls[min(number for number, call in self.calls.items() if call.actor == actor)]
        if self.fuses(call):
            self.perform(self.scheduler.lose(actor))
            return
        del self.calls[call.call]
        if isinstance(call, Evaluate):
            self.versions.remove(call.version)
            self.perform(self.scheduler.finish(call.call))
            return
        for batch in call.batches:
            del self.batches[batch.key]
            self.trained[batch.key] = batch
            self.done |= self.waiting.keys() & set(batch.jobs)
        self.perform(self.scheduler.finish(call.call, 10.0 ** -pick(6)))

    def die(self, pick: Callable[[int], int]) -> None:
        """Any actor dies, also one that has not started."""
        self.perform(self.scheduler.lose(pick(self.actors)))

    def retrain(self, pick: Callable[[int], int]) -> None:
        """Updates of a batch that was trained are lost with their node."""
        if not self.handed_over:
            return
        key = self.handed_over[pick(len(self.handed_over))]
        found = [batch for batch in self.trained.values() if key in batch.jobs and batch.key not in self.batches]
        for batch in found:
            self.batches[batch.key] = batch
            jobs = [one for one in batch.jobs if one in self.handed_over]
            self.handed_over = [one for one in self.handed_over if one not in jobs]
            self.waiting |= dict.fromkeys(jobs, batch)
            self.perform(self.scheduler.retrain([batch], jobs))

    def drain(self) -> None:
        """Every wanted job is done in the end, if actors start and calls finish; the rest is forgotten."""
        while self.scheduler._pending or self.versions:
            before = len(self.calls)
            for _ in range(self.actors):
                self.start(lambda _: 0)
            self.want(lambda _: 0)
            assert self.calls or before, "somebody waits for work that no actor has"
            self.finish(lambda _: 0)
        while self.calls:
            self.finish(lambda _: 0)
        while self.done:
            self.hand_over(lambda _: 0)
        self.want(lambda _: 0)
        assert not self.batches
        assert not any(self.scheduler._queues)
        assert not self.waiting


EVENTS = [
    *[Simulated.submit] * 4,
    *[Simulated.finish] * 5,
    *[Simulated.hand_over] * 3,
    *[Simulated.want] * 2,
    *[Simulated.start] * 2,
    Simulated.evaluate,
    Simulated.discard,
    Simulated.die,
    Simulated.retrain,
    Simulated.restore,
]
SIZES = st.sampled_from([(1, None), (2, None), (3, None), (4, 2), (8, 1), (1, 8)])


@given(SIZES, st.data())
def test_laws_hold_after_any_events(size: tuple[int, int | None], data: st.DataObject) -> None:
    world = Simulated(*size)

    def pick(count: int) -> int:
        return data.draw(st.integers(0, count - 1))

    for number in data.draw(st.lists(st.integers(0, len(EVENTS) - 1), max_size=60)):
        EVENTS[number](world, pick)
    world.drain()


@pytest.mark.parametrize(
    "events", [20_000, pytest.param(1_000_000, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]
)
def test_laws_hold_through_long_runs(events: int) -> None:
    draw = random.Random(events)
    for actors, hosted in ((1, None), (3, None), (4, 2), (8, 1)):
        world = Simulated(actors, hosted)
        for number in range(events // 4):
            draw.choice(EVENTS)(world, draw.randrange)
            if number % 5000 == 0:
                world.trained.clear()
        assert world.retries > 100
        assert len(world.crashed) > 10
        world.drain()


@given(st.integers(1, 20), st.lists(st.integers(0, 6), max_size=60))
def test_too_many_deaths_are_those_of_one_minute(actors: int, gaps: list[int]) -> None:
    policy, now, times = FailurePolicy(actors), 0.0, list[float]()
    for gap in gaps:
        times.append(now := now + gap)
        recent = sum(time >= now - 60 for time in times)
        assert policy.count_death(now) == (recent if recent > DEATHS_PER_MINUTE + actors else 0)
