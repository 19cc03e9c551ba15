"""The scheduler without Ray: mini-scenarios, whose instructions are the assertion."""

from collections.abc import Iterable

import pytest

from fedqs_ray.backends.ray.scheduler import (
    DEATHS_PER_MINUTE,
    MAX_BATCHES,
    Batch,
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


def test_one_short_call_does_not_change_the_mean_much() -> None:
    scheduler = started()
    for client, seconds in enumerate((1.0, 1e-3)):
        assert not scheduler.finish(submitted(scheduler, [job(client)])[0].call, seconds)  # type: ignore[union-attr]
    assert clients(submitted(scheduler, map(job, range(2, 99)))) == [(0, [2]), (0, [3])], "0.8 s, not 0.001 s"


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


def test_discarded_jobs_are_not_retried() -> None:
    scheduler = started()
    submitted(scheduler, map(job, range(2)))
    scheduler.discard((0, 0))
    assert scheduler.lose(0)[1:] == [Drop((0, 0)), Retry((1, 0), ((1, 0),))]
    assert scheduler.retries == 1


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


def test_deaths_count_for_a_minute() -> None:
    policy = FailurePolicy(actors=2)
    tolerated = [policy.count_death(0.0) for _ in range(DEATHS_PER_MINUTE + 2)]
    assert not any(tolerated)
    assert policy.count_death(60.0) == DEATHS_PER_MINUTE + 3
    assert policy.count_death(60.5) == 0, "the first are forgotten"
