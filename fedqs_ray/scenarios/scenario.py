"""Scenario of an experiment: durations of any kind with jitter, communication, losses, faults and leaving."""

import math

import numpy as np

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Scenario
from fedqs_ray.core.random import stream
from fedqs_ray.core.types import Attempt, Fault, Start
from fedqs_ray.scenarios.availability import Trace
from fedqs_ray.scenarios.durations import build_durations

TIE = 1e-6
"""Rounding error of a product of a fraction and a number of rounds."""


class WorldScenario:
    """Scenario built from settings. Every draw has a random stream of its own."""

    def __init__(self, experiment: Experiment, trace: Trace | None) -> None:
        config, self.seed = experiment.scenario, experiment.seed
        self.config, self.trace = config, trace
        self.durations = build_durations(config, self.seed, experiment.run.rounds, trace)
        count = experiment.clients.count
        self.leave_version = math.ceil(config.leave_at * experiment.run.rounds - TIE)
        leavers = stream(self.seed, "leave").permutation(count)[: round(config.leave_fraction * count)]
        self.leavers: list[int] = np.sort(leavers).tolist()
        self._bandwidth: dict[int, float] = {}

    def attempt(self, start: Start) -> Attempt:
        """See `Scenario`."""
        config, client, attempt = self.config, start.client, start.attempt
        duration = self.durations(start)
        if config.jitter:
            duration *= math.exp(config.jitter * stream(self.seed, "jitter", client, attempt).standard_normal())
        duration += self.communication(client, start.nbytes)
        lost = config.loss_rate > 0 and stream(self.seed, "loss", client, attempt).random() < config.loss_rate
        if self.trace:
            gone = self.trace.record(client).next(start.time, available=False) - start.time
            if gone < duration:
                return Attempt(gone, lost=True)
        return Attempt(duration, bool(lost), self.fault(client, attempt))

    def fault(self, client: int, attempt: int) -> Fault | None:
        """Fault of an attempt; None for most."""
        rates = self.config.faults
        if not (rates.nan_rate or rates.corrupt_rate or rates.crash_rate):
            return None
        draw = stream(self.seed, "fault", client, attempt).random()
        if draw < rates.nan_rate:
            return "nan"
        if draw < rates.nan_rate + rates.corrupt_rate:
            return "corrupt"
        return "crash" if draw < rates.nan_rate + rates.corrupt_rate + rates.crash_rate else None

    def communication(self, client: int, nbytes: int) -> float:
        """Virtual seconds for a model to travel to the client and back."""
        if self.config.bandwidth is None:
            return 0.0
        if client not in self._bandwidth:
            factor = stream(self.seed, "bandwidth", client).standard_normal()
            self._bandwidth[client] = self.config.bandwidth * math.exp(self.config.bandwidth_sigma * factor)
        return 2 * nbytes * 8 / 1e6 / self._bandwidth[client]

    def ready(self, client: int, time: float) -> float:
        """See `Scenario`."""
        return self.trace.record(client).next(time, available=True) if self.trace else time

    def leaving(self, version: int) -> list[int]:
        """See `Scenario`."""
        return self.leavers if version == self.leave_version else []


def build_scenario(experiment: Experiment, trace: Trace | None = None) -> Scenario:
    """Build the scenario of `experiment.scenario`; `trace` is the content of its file, if it names one."""
    return WorldScenario(experiment, trace)
