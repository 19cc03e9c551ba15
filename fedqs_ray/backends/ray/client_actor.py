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
from fedqs_ray.core.exceptions import FedqsError
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.types import Evaluation, Job, Layout, TrainingRequest, Update, Vector
from fedqs_ray.tasks.federated import FederatedData


def crash_if_asked(job: Job) -> None:
    """Kill this process, if the scenario wants that of the job."""
    if job.fault == "crash":
        os.kill(os.getpid(), signal.SIGKILL)


@ray.remote
class ClientActor:
    """One Ray actor, reserving `clients.num_cpus` and `clients.num_gpus`."""

    def __init__(self, experiment: Experiment, data: FederatedData, algorithm: Algorithm) -> None:
        from fedqs_ray.training.trainer import Trainer  # torch: only this process pays for it

        self.mistake: FedqsError | None = None
        try:
            self.task = Trainer(experiment, data, algorithm)
        except FedqsError as error:  # of an actor that fails here Ray passes on nothing but text
            self.mistake = error

    def node(self) -> tuple[str, str]:
        """The node that this actor runs on, and the device that it trains on. Raises what kept it from starting."""
        if self.mistake:
            raise self.mistake
        return get_node_id(), str(self.task.device)

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0 and its division into tensors."""
        return self.task.initial_model()

    def train(
        self, batches: list[list[TrainingRequest[int]]], rows: list[tuple[int, int | None]], *blocks: Vector
    ) -> tuple[Any, Vector]:
        """Train several batches, one after another.

        Vector i of the requests is block b, or row r of it, where `rows[i]` is (b, r). Returns the updates
        without their vectors and the seconds taken; and the vectors as one (jobs, P) block.
        """
        for request in chain(*batches):
            crash_if_asked(request.job)
        began = time.perf_counter()
        vectors = [blocks[block] if row is None else blocks[block][row] for block, row in rows]
        updates: list[Update] = []
        for batch in batches:
            updates += self.task.train([request.map(vectors.__getitem__) for request in batch])
        block = np.stack([update.delta for update in updates])
        return ([replace(update, vector=None) for update in updates], time.perf_counter() - began), block

    def evaluate(self, model: Vector) -> Evaluation:
        """A model on the test samples."""
        return self.task.evaluate(model)

    def validate(self, model: Vector) -> NDArray[np.int64]:
        """A model on the clients' validation samples."""
        return self.task.validate(model)
