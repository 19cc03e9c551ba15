"""The virtual clock: a heap of the jobs under way. Time jumps from event to event; nothing polls."""

import heapq

from fedqs_ray.messages import Job


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
        assert job.end >= self.now, "an event in the past"
        heapq.heappush(self._heap, (job.end, job.client, job))

    def advance(self, deadline: float | None = None) -> None:
        """Jump to the next event or to `deadline`, whichever is earlier; there must be one of them."""
        times = [deadline] if deadline is not None else []
        if self._heap:
            times.append(self._heap[0][0])
        self.now = min(times)

    def pop(self) -> Job | None:
        """The next job that ends now, in client order; None when this instant is over."""
        if self._heap and self._heap[0][0] == self.now:
            return heapq.heappop(self._heap)[2]
        return None

    def drain(self) -> list[Job]:
        """Take out all jobs still under way, in the order in which they would end."""
        return [heapq.heappop(self._heap)[2] for _ in range(len(self._heap))]
