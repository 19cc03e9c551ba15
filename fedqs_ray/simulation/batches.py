"""Which jobs are trained together.

Batched arithmetic may round otherwise than single, so the company that a job is trained in must be a function of the
schedule alone, whoever trains when. Jobs under way wait here until there are enough of them for a cohort, those that
end first, or until the loop asks for one of them.
"""

import heapq
from collections.abc import Iterable

from fedqs_ray.core.types import Job, JobKey, job_key


class TrainingBatches:
    """The jobs of a run, in cohorts of `size` at most."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._open: dict[JobKey, Job] = {}
        """Under way, and in no cohort yet."""
        self._order: list[tuple[float, int, int]] = []
        self._of: dict[JobKey, tuple[JobKey, ...]] = {}
        """The cohort of every job that is in one and has not ended."""
        self._begun: set[tuple[JobKey, ...]] = set()
        """Cohorts of which a member has ended."""

    def add(self, job: Job) -> None:
        """A job is under way."""
        self._open[job_key(job)] = job
        heapq.heappush(self._order, (job.end, job.client, job.attempt))

    def full(self) -> list[list[Job]]:
        """The cohorts for which there are enough jobs."""
        formed = []
        while len(self._open) >= self.size:
            formed.append(self._next())
        return formed

    def due(self, now: float) -> list[list[Job]]:
        """The cohorts of all jobs that end now: whoever trains gets them at once, not one after another."""
        formed = []
        while any(job.end <= now for job in self._open.values()):
            formed.append(self._next())
        return formed

    def until(self, wanted: Job) -> list[list[Job]]:
        """The cohorts up to that of `wanted`; none if it is in one already."""
        formed = []
        while job_key(wanted) in self._open:
            formed.append(self._next())
        return formed

    def _next(self) -> list[Job]:
        """The open jobs that end first."""
        cohort: list[Job] = []
        while self._order and len(cohort) < self.size:
            _, client, attempt = heapq.heappop(self._order)
            if job := self._open.pop((client, attempt), None):
                cohort.append(job)
        self.again(map(job_key, cohort))
        return cohort

    def again(self, members: Iterable[JobKey], begun: bool = False) -> None:
        """These are a cohort, or what is left of one that was `begun`."""
        cohort = tuple(members)
        self._of.update(dict.fromkeys(cohort, cohort))
        if begun:
            self._begun.add(cohort)

    def end(self, job: Job) -> None:
        """A job is no longer under way."""
        self._open.pop(job_key(job), None)
        if cohort := self._of.pop(job_key(job), None):
            self._begun.add(cohort)
            if not any(member in self._of for member in cohort):
                self._begun.remove(cohort)

    def waiting(self) -> tuple[list[list[JobKey]], list[JobKey]]:
        """The cohorts of which no member has ended; and the members under way of all others."""
        whole = {cohort for cohort in self._of.values() if cohort not in self._begun}
        rest = [member for member, cohort in self._of.items() if cohort in self._begun]
        return sorted(list(cohort) for cohort in whole), sorted(rest)
