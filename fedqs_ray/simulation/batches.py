"""Batches of jobs that are trained together in one step.

Batched arithmetic may round otherwise than single, so which jobs share a batch must be a function of the schedule
alone, whoever trains when. Jobs under way wait here until there are enough of them for a batch, those that
end first, or until the loop asks for one of them.
"""

import heapq
from collections.abc import Iterable

from fedqs_ray.core.types import Job, JobKey, make_job_key


class TrainingBatches:
    """The jobs of a run, in batches of `size` at most."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._open: dict[JobKey, Job] = {}
        """Jobs under way that are in no batch yet."""
        self._order: list[tuple[float, int, int]] = []
        self._of: dict[JobKey, tuple[JobKey, ...]] = {}
        """The batch of every job that is in one and has not ended."""
        self._begun: set[tuple[JobKey, ...]] = set()
        """Batches of which a member has ended."""

    def add(self, job: Job) -> None:
        """A job is under way."""
        self._open[make_job_key(job)] = job
        heapq.heappush(self._order, (job.end, job.client, job.attempt))

    def full(self) -> list[list[Job]]:
        """Batches that are full."""
        formed = []
        while len(self._open) >= self.size:
            formed.append(self._next())
        return formed

    def due(self, now: float) -> list[list[Job]]:
        """Batches of all jobs that end now, so that the executor gets them at once."""
        formed = []
        while any(job.end <= now for job in self._open.values()):
            formed.append(self._next())
        return formed

    def until(self, wanted: Job) -> list[list[Job]]:
        """The batches up to that of `wanted`; none if it is in one already."""
        formed = []
        while make_job_key(wanted) in self._open:
            formed.append(self._next())
        return formed

    def _next(self) -> list[Job]:
        """The open jobs that end first."""
        batch: list[Job] = []
        while self._order and len(batch) < self.size:
            _, client, attempt = heapq.heappop(self._order)
            if job := self._open.pop((client, attempt), None):
                batch.append(job)
        self.add_batch(map(make_job_key, batch))
        return batch

    def add_batch(self, members: Iterable[JobKey], begun: bool = False) -> None:
        """These are trained together; `begun` where others of their batch have ended."""
        batch = tuple(members)
        self._of.update(dict.fromkeys(batch, batch))
        if begun:
            self._begun.add(batch)

    def end(self, job: Job) -> None:
        """A job is no longer under way."""
        self._open.pop(make_job_key(job), None)
        if batch := self._of.pop(make_job_key(job), None):
            self._begun.add(batch)
            if not any(member in self._of for member in batch):
                self._begun.remove(batch)

    def waiting(self) -> tuple[list[list[JobKey]], list[JobKey]]:
        """The batches of which no member has ended; and the members under way of all others."""
        whole = {batch for batch in self._of.values() if batch not in self._begun}
        rest = [member for member, batch in self._of.items() if batch in self._begun]
        return sorted(list(batch) for batch in whole), sorted(rest)
