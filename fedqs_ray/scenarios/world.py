"""A scenario: durations, with jitter, losses and leaving on top of any kind of them."""

import math

import numpy as np

from fedqs_ray.config import Experiment
from fedqs_ray.messages import Attempt
from fedqs_ray.scenarios import durations
from fedqs_ray.seeding import stream


class WorldScenario:
    """What happens to the clients of an experiment. Every draw has a stream of its own."""

    def __init__(self, experiment: Experiment) -> None:
        config, self.seed = experiment.scenario, experiment.seed
        self.jitter, self.loss_rate = config.jitter, config.loss_rate
        self.durations = durations.build(config, self.seed, experiment.run.rounds)
        count = experiment.clients.count
        self.leave_version = math.ceil(config.leave_at * experiment.run.rounds)
        leavers = stream(self.seed, "leave").permutation(count)[: round(config.leave_fraction * count)]
        self.leavers: list[int] = np.sort(leavers).tolist()

    def attempt(self, client: int, attempt: int, version: int) -> Attempt:
        """See `Scenario`."""
        duration = self.durations(client, attempt, version)
        if self.jitter:
            factor = stream(self.seed, "jitter", client, attempt).standard_normal()
            duration *= math.exp(self.jitter * factor)
        lost = self.loss_rate > 0 and stream(self.seed, "loss", client, attempt).random() < self.loss_rate
        return Attempt(duration, bool(lost))

    def leaving(self, version: int) -> list[int]:
        """See `Scenario`."""
        return self.leavers if version == self.leave_version else []
