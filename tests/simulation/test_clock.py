import pytest

from fedqs_ray.core.types import Job, Thresholds
from fedqs_ray.simulation.clock import VirtualClock


def job(client: int, end: float) -> Job:
    return Job(client, 0, 0, 0.0, end, False, 0.1, None, Thresholds())


def test_time_jumps_and_ties_go_by_client() -> None:
    clock = VirtualClock()
    for client, end in [(5, 2.0), (1, 2.0), (3, 1.0), (2, 4.0), (0, 4.0)]:
        clock.schedule(job(client, end))
    log = []
    while len(clock):
        clock.advance()
        while ended := clock.pop():
            log.append((clock.now, ended.client))
    assert log == [(1.0, 3), (2.0, 1), (2.0, 5), (4.0, 0), (4.0, 2)]


def test_a_job_that_ends_at_once_belongs_to_this_instant() -> None:
    clock = VirtualClock()
    clock.schedule(job(0, 1.0))
    clock.advance()
    assert clock.pop() is not None
    clock.schedule(job(0, 1.0))
    assert clock.pop() is not None
    assert clock.pop() is None


def test_jobs_are_in_order_and_the_past_is_closed() -> None:
    clock = VirtualClock()
    for client, end in [(1, 3.0), (0, 3.0), (2, 1.0)]:
        clock.schedule(job(client, end))
    clock.advance()
    with pytest.raises(ValueError, match="before now"):
        clock.schedule(job(4, 0.5))
    assert [left.client for left in clock.jobs()] == [2, 0, 1]
    assert len(clock) == 3
