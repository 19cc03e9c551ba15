"""ClientActor: trains whichever clients it is given. A thin shell; it holds caches, never the truth."""

import os
import signal
import time
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from fedqs_ray.backends.ray.resources import get_node_id
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.types import Evaluation, Job, Layout, Update, Vector
from fedqs_ray.tasks.federated import FederatedData

Packed = tuple[Job, int | None, int | None, int | None]
"""A job, with the places of w^v, its companion and what was kept of the client among the vectors that travel along."""

EMPTY: Vector = np.empty(0, np.float32)


def crash_if_asked(job: Job) -> None:
    """Kill this process, if the scenario wants that of the job."""
    if job.fault == "crash":
        os.kill(os.getpid(), signal.SIGKILL)


@ray.remote
class ClientActor:
    """One Ray actor, reserving `clients.num_cpus` and `clients.num_gpus`."""

    def __init__(self, experiment: Experiment, data: FederatedData, algorithm: Algorithm) -> None:
        from fedqs_ray.training.trainer import Trainer  # torch: only this process pays for it

        self.task = Trainer(experiment, data, algorithm)

    def node(self) -> str:
        """Where this actor runs."""
        return get_node_id()

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0 and its division into tensors."""
        return self.task.initial_model()

    def train(
        self, cohorts: list[list[Packed]], rows: list[tuple[int, int | None]], *blocks: Vector
    ) -> tuple[Any, Vector]:
        """Train several cohorts, one after another.

        Vector i is block b, or row r of it, where `rows[i]` is (b, r). Returns the updates
        without their vectors and the seconds taken; and the vectors as one (jobs, P) block.
        """
        for job, *_ in chain(*cohorts):
            crash_if_asked(job)
        began = time.perf_counter()
        vectors = [blocks[block] if row is None else blocks[block][row] for block, row in rows]

        def pick(place: int | None) -> Any:
            return None if place is None else vectors[place]

        updates: list[Update] = []
        for cohort in cohorts:
            updates += self.task.train([(job, *map(pick, places)) for job, *places in cohort])
        block = np.stack([update.delta for update in updates])
        slim = [replace(update, delta=EMPTY) for update in updates]
        return (slim, time.perf_counter() - began), block

    def evaluate(self, model: Vector) -> Evaluation:
        """A model on the test samples."""
        return self.task.evaluate(model)

    def validate(self, model: Vector) -> NDArray[np.int64]:
        """A model on the clients' validation samples."""
        return self.task.validate(model)
