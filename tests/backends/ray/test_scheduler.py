"""The scheduler without Ray: mini-scenarios whose instructions are the assertion, and laws under random events."""

import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedqs_ray.backends.ray.scheduler import (
    CALLS_AHEAD,
    DEATHS_PER_MINUTE,
    MAX_BATCHES,
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
from fedqs_ray.core.exceptions import InvariantError
from fedqs_ray.core.types import JobKey

LIMIT = 5.0
"""Updates that may wait, in the random tests: a vector has one byte."""


def job(client: int, end: float | None = None, crash: bool = False) -> Batch:
    """A batch of the client's first job, which ends at `end`, by default in client order."""
    key = (client, 0)
    return Batch((key,), float(client) if end is None else end, frozenset({key} if crash else ()))


def started(actors: int = 1, clients_per_actor: int | None = None) -> Scheduler:
    found = Scheduler(actors, clients_per_actor)
    for actor in range(actors):
        assert not found.start(actor)
    return found


def submitted(found: Scheduler, batches: Iterable[Batch]) -> list[Instruction]:
    for batch in batches:
        found.submit(batch)
    return found.want_results()


def clients(instructions: Iterable[Instruction]) -> list[tuple[int, list[int]]]:
    """The training calls: actor, and the first client of each batch."""
    return [(one.actor, [batch.key[0] for batch in one.batches]) for one in instructions if isinstance(one, Train)]


def test_the_earliest_arrival_goes_first_to_the_least_loaded() -> None:
    scheduler = started(2)
    calls = submitted(scheduler, [job(0, 5.0), job(1, 4.0), job(2, 3.0), job(3, 2.0), job(4, 1.0)])
    assert clients(calls) == [(0, [4]), (1, [3]), (0, [2]), (1, [1])], "one call ahead, and no more"
    assert clients(scheduler.finish(1, 1.0)) == [(1, [0])]
    assert not scheduler.finish(0, 1.0), "nothing is left"


def test_nothing_goes_to_an_actor_that_has_not_started() -> None:
    scheduler = Scheduler(2)
    assert not submitted(scheduler, map(job, range(2)))
    assert clients(scheduler.start(1)) == [(1, [0]), (1, [1])]


def test_submitted_jobs_wait_for_the_rest_of_their_kind() -> None:
    """Calls are sized by all that is submitted: 63 short batches, over 2 calls for each of 4 actors."""
    scheduler = started(4)
    first = submitted(scheduler, [job(0)])
    assert not scheduler.finish(first[0].call, 1e-3)  # type: ignore[union-attr]
    calls = submitted(scheduler, map(job, range(1, 64)))
    assert [len(found) for _, found in clients(calls)] == [8, 7, 6, 6, 5, 4, 4, 3], "an eighth of the rest each time"
    assert [load for load, _ in clients(calls)] == [0, 1, 2, 3] * 2


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(1.0, [1, 1]), (0.02, [2, 2]), (1e-5, [MAX_BATCHES, MAX_BATCHES]), (None, [1, 1])],
    ids=["long batches", "as many as the target allows", "never too many", "unknown"],
)
def test_calls_are_as_long_as_their_target(seconds: float | None, sizes: list[int]) -> None:
    scheduler = started()
    if seconds is not None:
        assert not scheduler.finish(submitted(scheduler, [job(0)])[0].call, seconds)  # type: ignore[union-attr]
    calls = submitted(scheduler, map(job, range(1, 200)))
    assert [len(found) for _, found in clients(calls)] == sizes


def test_batches_too_short_to_divide_go_in_one_call() -> None:
    scheduler = started(8)
    assert not scheduler.finish(submitted(scheduler, [job(0)])[0].call, 1e-4)  # type: ignore[union-attr]
    assert [len(found) for _, found in clients(submitted(scheduler, map(job, range(1, 13))))] == [10, 2]


def test_evaluations_come_first_and_alone() -> None:
    scheduler = started()
    scheduler.submit(job(0, 0.5))
    scheduler.submit_evaluation(7)
    scheduler.submit_evaluation(6)
    assert scheduler.want_results() == [Evaluate(0, 0, 6), Evaluate(1, 0, 7)]
    assert clients(scheduler.finish(0)) == [(0, [0])]


def test_hosted_clients_are_trained_by_their_actor_only() -> None:
    scheduler = started(3, clients_per_actor=2)
    calls = submitted(scheduler, map(job, (5, 0, 1, 4)))
    assert clients(calls) == [(0, [0]), (2, [4]), (0, [1]), (2, [5])], "actor 1 has nothing to do"
    lost = scheduler.lose(2)
    assert lost[0] == Replace(2, intended=False)
    assert not clients(lost), "they wait for the new actor in that place"
    assert clients(scheduler.start(2)) == [(2, [4]), (2, [5])]


def test_a_crash_job_travels_alone_and_crashes_once() -> None:
    scheduler = started()
    assert not scheduler.finish(submitted(scheduler, [job(9)])[0].call, 1e-4)  # type: ignore[union-attr]
    batches = [job(0), job(1), job(2, crash=True), job(3)]
    calls = submitted(scheduler, batches)
    assert clients(calls) == [(0, [0, 1]), (0, [2])]
    lost = scheduler.lose(0)
    assert lost[0] == Replace(0, intended=True)
    assert lost[1:] == [Retry((client, 0), ((client, 0),)) for client in range(3)]
    (again,) = scheduler.start(0)
    assert isinstance(again, Train)
    assert clients([again]) == [(0, [0, 1, 2, 3])]
    assert again.crashed == {(2, 0)}
    assert scheduler.retries == 3
    assert scheduler.lose(0)[0] == Replace(0, intended=False), "now it is bad luck"


def test_all_calls_of_a_dead_actor_go_to_the_others() -> None:
    scheduler = started(2)
    scheduler.submit_evaluation(0)
    assert [type(one) for one in submitted(scheduler, map(job, range(3)))] == [Evaluate, Train, Train, Train]
    assert not scheduler.finish(1, 1.0)
    found = scheduler.lose(0)
    assert found == [Replace(0, intended=False), Retry((1, 0), ((1, 0),)), Evaluate(4, 1, 0)]
    assert clients(scheduler.finish(4)) == [(1, [1])]
    scheduler.check_invariants()


def test_updates_that_wait_hold_back_new_calls_while_others_are_in_flight() -> None:
    scheduler = Scheduler(1, bytes_ahead=20.0)
    scheduler.vector_bytes = 8
    scheduler.start(0)
    submitted(scheduler, map(job, range(5)))
    assert clients(scheduler.finish(0, 1.0)) == [(0, [2])]
    assert clients(scheduler.finish(1, 1.0)) == [(0, [3])], "16 bytes may wait"
    assert not scheduler.finish(2, 1.0), "24 may not"
    scheduler.hand_over((0, 0))
    assert clients(scheduler.want_results()) == [(0, [4])]
    scheduler.finish(3, 1.0)
    assert not scheduler.want_results()
    scheduler.submit(job(6))
    assert clients(scheduler.finish(4, 1.0)) == [(0, [6])], "with nothing in flight, the loop would wait for ever"


def test_discarded_jobs_are_dropped_unless_another_job_of_the_batch_is_wanted() -> None:
    scheduler = Scheduler(1)
    pair = Batch(((0, 0), (1, 0)), 0.0)
    for batch in (pair, job(2), job(3)):
        scheduler.submit(batch)
    for discarded in (0, 2):
        scheduler.discard((discarded, 0))
    calls = scheduler.start(0)
    assert clients(calls) == [(0, [0]), (0, [3])]
    assert Drop((2, 0)) in calls
    assert not scheduler.finish(0, 1.0)
    assert [scheduler.wants((client, 0)) for client in range(4)] == [False, True, False, True]


def test_updates_lost_after_they_were_handed_over_are_trained_again() -> None:
    scheduler = started()
    pair = Batch(((0, 0), (1, 0)), 0.0)
    submitted(scheduler, [pair])
    scheduler.finish(0, 1.0)
    scheduler.hand_over((0, 0))
    with pytest.raises(InvariantError, match=r"job \(1, 0\) is to be trained again before it was handed over"):
        scheduler.retrain([pair], [(1, 0)])
    assert scheduler.retrain([pair], [(0, 0)]) == [Retry((0, 0), ((0, 0),)), Train(1, 0, (pair,))]
    assert scheduler.retries == 1
    scheduler.check_invariants()
    scheduler.finish(1, 1.0)
    assert scheduler.wants((0, 0))


def test_contradictions_are_found() -> None:
    scheduler = started()
    submitted(scheduler, [job(0), job(1)])
    scheduler._done.add((0, 0))
    with pytest.raises(InvariantError, match=r"contradicts: no job is both pending and done$"):
        scheduler.check_invariants()
    scheduler._done.clear()
    scheduler._calls.popitem()
    with pytest.raises(InvariantError, match=r"a pending job is queued or in a call; loads count calls$"):
        scheduler.check_invariants()


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
        self.crashes = Counter[JobKey]()
        self.versions: set[int] = set()
        self.attempts = Counter[int]()
        self.retries = 0
        self.evaluated = Counter[int]()

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
                    self.crashes.update(fuses)
                    self.calls = {number: call for number, call in self.calls.items() if call not in gone}
                    self.running.discard(actor)
                    held_back = bool(self.calls) and len(self.done) > LIMIT
                case Retry(batch, jobs):
                    assert set(jobs) <= set(self.batches[batch].jobs)
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
        assert all(count == 1 for count in self.crashes.values()), "no job crashes twice"
        load = Counter(call.actor for call in self.calls.values())
        assert all(count <= CALLS_AHEAD for count in load.values())

    # What may happen; `pick` chooses among so many

    def submit(self, pick: Callable[[int], int]) -> None:
        if len(self.batches) > 40:
            return
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
        if len(self.versions) - sum(self.evaluated.values()) < 5:
            self.versions.add(version := len(self.versions))
            self.scheduler.submit_evaluation(version)
            self.check()

    def restore(self, pick: Callable[[int], int]) -> None:
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
            self.evaluated[call.version] += 1
            assert self.evaluated[call.version] == 1
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
        while self.scheduler._pending or len(self.evaluated) < len(self.versions):
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
@settings(max_examples=60, deadline=None)
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
        assert sum(world.crashes.values()) > 10
        world.drain()


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=60))
def test_too_many_deaths_are_those_of_one_minute(actors: int, gaps: list[float]) -> None:
    policy, now, times = FailurePolicy(actors), 0.0, list[float]()
    for gap in gaps:
        times.append(now := now + gap)
        recent = sum(time >= now - 60 for time in times)
        assert policy.count_death(now) == (recent if recent > DEATHS_PER_MINUTE + actors else 0)
