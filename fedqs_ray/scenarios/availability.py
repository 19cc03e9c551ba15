"""A recorded world: when each client was there, and how long its attempts took."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.types import Start


@dataclass(frozen=True)
class Record:
    """One client's rows, by time. What a row says holds until the next one."""

    times: NDArray[np.float64]
    """Virtual seconds, increasing."""
    durations: NDArray[np.float64]
    available: NDArray[np.bool_]

    def row(self, time: float) -> int:
        """The row that holds at `time`; -1 before the first."""
        return int(np.searchsorted(self.times, time, side="right")) - 1

    def next(self, time: float, available: bool) -> float:
        """The earliest time, not before `time`, at which the client is there (or is not); infinite if never."""
        row = self.row(time)
        there = row >= 0 and bool(self.available[row])
        if there == available:
            return time
        changes = np.flatnonzero(self.available[row + 1 :] == available)
        return float(self.times[row + 1 + changes[0]]) if changes.size else math.inf


class Trace:
    """Client i follows record i, starting over where there are more clients than records."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def record(self, client: int) -> Record:
        """What client number `client` follows."""
        return self.records[client % len(self.records)]

    def __call__(self, start: Start) -> float:
        """See `Durations`."""
        record = self.record(start.client)
        return float(record.durations[record.row(start.time)])
