# ruff: noqa: ARG002 - these roles ignore their arguments
"""Dry run: the schedule without training, which tells how many vectors a run holds at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import SimulationStopped
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Handle, Round, Scenario, UpdatesAtHand
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, RoundRow, Snapshot
from fedqs_ray.core.types import ClientStatistics, Evaluation, Job, Layout, Plan, TrainingRequest, Update, Vector
from fedqs_ray.simulation.server import Server

MOST_JOBS = 20_000
"""Jobs after which a dry run ends, within seconds. Most runs reach their peak long before."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The most vectors that a run holds at a time."""

    versions: int
    client_states: int
    """Clients with a stored client state."""
    cut: bool = False
    """Whether the dry run ended before the run would, so that these are lower bounds."""


def measure_peak(experiment: Experiment, scenario: Scenario, algorithm: Algorithm, length: int) -> Peak:
    """Rehearse the schedule of an experiment whose model has `length` numbers, for up to `MOST_JOBS` jobs."""
    experiment = experiment.model_copy(update={"run": experiment.run.model_copy(update={"theory": False})})
    server = Server(experiment, IdleAlgorithm(algorithm), scenario, IdleExecutor(length), IdleRecorder())
    versions, cut = 0, False
    try:
        for ended, _ in enumerate(server.run()):
            versions = max(versions, len(server.state.versions))
            if cut := ended >= MOST_JOBS:
                break
    except SimulationStopped:
        pass
    return Peak(versions, len(server.state.clients.client_states), cut)


class IdleAlgorithm(Algorithm):
    """An algorithm that changes nothing, with the needs of `algorithm`."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.needs, self.tiers = algorithm.needs, algorithm.tiers

    def aggregate(self, round: Round) -> Aggregation:
        return Aggregation(round.model, (0.0,) * len(round.arrivals))


class IdleExecutor(UpdatesAtHand):
    """An executor that trains nothing. Its one vector takes four bytes, whatever its length."""

    def __init__(self, length: int) -> None:
        self.vector: Vector = np.broadcast_to(np.float32(0), (length,))

    def initial_model(self) -> tuple[Vector, Layout]:
        return self.vector, Layout(("all",), (self.vector.shape,), self.vector.size)

    def client_statistics(self) -> ClientStatistics:
        none = np.zeros(0, np.int64)
        return ClientStatistics(none, none, none.reshape(0, 1))

    def put(self, vector: Vector) -> Vector:
        return vector

    def get(self, handle: Handle) -> Vector:
        return handle  # type: ignore[return-value]

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        pass

    def restore(self, job: Job, update: Update) -> None:
        pass

    def result(self, job: Job) -> Update:
        return Update(self.vector, Plan(job.lr), 1, 0.0, largest=0.0, handle=self.vector)

    def discard(self, job: Job) -> None:
        pass

    def evaluate(self, version: int, model: Handle) -> None:
        pass

    def evaluation(self, version: int, wait: bool) -> Evaluation:
        return Evaluation(0.0, 0.0)

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        return None


class IdleRecorder:
    """A recorder that stores nothing."""

    def job(self, row: JobRow) -> None:
        pass

    def round(self, row: RoundRow) -> None:
        pass

    def save(self, state: Snapshot) -> None:
        pass

    def finish(self, clients: list[ClientRow], labels: list[LabelRow], model: dict[str, Vector]) -> None:
        pass
