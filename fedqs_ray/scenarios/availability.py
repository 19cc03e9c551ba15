"""Traces: recorded availability of clients and durations of their attempts."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.types import Start


@dataclass(frozen=True)
class Record:
    """One client's rows of a trace, by time. A row holds until the next one."""

    times: NDArray[np.float64]
    """Virtual seconds, increasing."""
    durations: NDArray[np.float64]
    available: NDArray[np.bool_]

    def row(self, time: float) -> int:
        """Index of the row that holds at `time`; -1 before the first."""
        return int(np.searchsorted(self.times, time, side="right")) - 1

    def next(self, time: float, available: bool) -> float:
        """Earliest time, not before `time`, at which the client is available (or is not); infinite if never."""
        row = self.row(time)
        now = row >= 0 and bool(self.available[row])
        if now == available:
            return time
        changes = np.flatnonzero(self.available[row + 1 :] == available)
        return float(self.times[row + 1 + changes[0]]) if changes.size else math.inf


class Trace:
    """Records of all clients: client i follows record i modulo their number."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def record(self, client: int) -> Record:
        """The record of a client."""
        return self.records[client % len(self.records)]

    def __call__(self, start: Start) -> float:
        """See `Durations`."""
        record = self.record(start.client)
        return float(record.durations[record.row(start.time)])
