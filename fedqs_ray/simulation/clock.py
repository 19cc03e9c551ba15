"""The virtual clock: a heap of the jobs under way. Time jumps from event to event."""

import heapq

from fedqs_ray.core.types import Job


class VirtualClock:
    """Jobs come out in the order (end, client). A client has one job at a time, so ties end there."""

    def __init__(self) -> None:
        self.now = 0.0
        """Virtual seconds."""
        self._heap: list[tuple[float, int, Job]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, job: Job) -> None:
        """Note that `job` ends at `job.end`."""
        if job.end < self.now:
            raise ValueError(f"job {job.client}/{job.attempt} would end at {job.end}, before now, {self.now}")
        heapq.heappush(self._heap, (job.end, job.client, job))

    def advance(self, *until: float | None) -> None:
        """Jump to the next job's end, or to the earliest of `until` if that comes first; there must be one."""
        times = [time for time in until if time is not None]
        if self._heap:
            times.append(self._heap[0][0])
        self.now = min(times)

    def pop(self) -> Job | None:
        """The next job that ends now, in client order; None when this instant is over."""
        if self._heap and self._heap[0][0] == self.now:
            return heapq.heappop(self._heap)[2]
        return None

    def jobs(self) -> list[Job]:
        """All jobs under way, in the order in which they would end."""
        return [job for _, _, job in sorted(self._heap, key=lambda event: event[:2])]
