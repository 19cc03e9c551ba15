"""Which jobs are trained together."""

from fedqs_ray.core.types import Job, Thresholds, make_job_key
from fedqs_ray.simulation.batches import TrainingBatches


def job(client: int, end: float, attempt: int = 0) -> Job:
    return Job(client, attempt, 0, 0.0, end, False, 0.1, None, Thresholds())


def clients(formed: list[list[Job]]) -> list[list[int]]:
    return [[one.client for one in cohort] for cohort in formed]


def test_those_that_end_first_go_together_as_soon_as_there_are_enough() -> None:
    cohorts = TrainingBatches(2)
    for client, end in enumerate([5.0, 1.0, 3.0, 1.0, 9.0]):
        cohorts.add(job(client, end))
    assert clients(cohorts.full()) == [[1, 3], [2, 0]]
    assert cohorts.full() == []
    cohorts.add(job(5, 2.0))
    assert clients(cohorts.full()) == [[5, 4]]


def test_who_is_asked_for_goes_with_whoever_is_there() -> None:
    cohorts = TrainingBatches(4)
    for client in range(3):
        cohorts.add(job(client, 1.0 + client))
    assert cohorts.full() == []
    assert clients(cohorts.until(job(2, 3.0))) == [[0, 1, 2]]
    assert cohorts.until(job(0, 1.0)) == []


def test_all_that_end_now_are_formed_at_once() -> None:
    cohorts = TrainingBatches(4)
    for client, end in enumerate([2.0, 1.0, 2.0]):
        cohorts.add(job(client, end))
    assert cohorts.due(0.5) == []
    assert clients(cohorts.due(1.0)) == [[1, 0, 2]], "whoever ends later goes along"
    assert cohorts.due(2.0) == []


def test_who_left_before_is_in_no_cohort() -> None:
    cohorts = TrainingBatches(2)
    for client in range(2):
        cohorts.add(job(client, 1.0 + client))
    cohorts.end(job(0, 1.0))
    assert cohorts.full() == []
    assert clients(cohorts.until(job(1, 2.0))) == [[1]]
    cohorts.end(job(1, 2.0))
    assert cohorts.waiting() == ([], [])


def test_what_a_checkpoint_has_to_know() -> None:
    cohorts = TrainingBatches(2)
    jobs = [job(client, 1.0 + client) for client in range(5)]
    for one in jobs:
        cohorts.add(one)
    cohorts.full()
    assert cohorts.waiting() == ([[(0, 0), (1, 0)], [(2, 0), (3, 0)]], [])
    cohorts.end(jobs[0])
    assert cohorts.waiting() == ([[(2, 0), (3, 0)]], [(1, 0)]), "4 waits for company"
    cohorts.end(jobs[1])
    assert cohorts.waiting() == ([[(2, 0), (3, 0)]], [])
    again = TrainingBatches(2)
    again.add_batch([make_job_key(jobs[2]), make_job_key(jobs[3])])
    again.add_batch([make_job_key(jobs[1])], begun=True)
    assert again.waiting() == ([[(2, 0), (3, 0)]], [(1, 0)])
    again.end(jobs[1])
    assert again.waiting() == ([[(2, 0), (3, 0)]], [])
