"""Algorithms that hold a run up: it is under way as long as a test needs that, and ends with the same bits."""

import time
from pathlib import Path

from fedqs_ray import Aggregation, Round
from fedqs_ray.algorithms.fedqs import FedQS
from fedqs_ray.config.algorithms import FedQSConfig

FREE = 6
"""Versions that take no longer than others."""
SECONDS = 5.0
"""Of each later one, at most: whoever interrupts a run waits for the event under way."""


class Held(FedQS):
    """FedQS-Avg, with slow versions until a file is there; without a file to wait for, as quick as it is."""

    def __init__(self, until: str = "") -> None:
        super().__init__(FedQSConfig(name="fedqs-avg"), base_lr=0.1)
        self.until = until

    def aggregate(self, round: Round) -> Aggregation:
        if self.until and round.version >= FREE:
            wait(Path(self.until), SECONDS)
        return super().aggregate(round)


class AllButOne(Held):
    """The first run to begin is quick, all others wait before their first version."""

    def aggregate(self, round: Round) -> Aggregation:
        if round.version == 0 and not first(Path(self.until)):
            wait(Path(self.until), 1000.0)
        return FedQS.aggregate(self, round)


def wait(until: Path, seconds: float) -> None:
    """Until the file is there, or so many seconds are over."""
    end = time.monotonic() + seconds
    while not until.exists() and time.monotonic() < end:
        time.sleep(0.05)


def first(until: Path) -> bool:
    """Whether nobody asked before."""
    try:
        until.with_suffix(".first").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
