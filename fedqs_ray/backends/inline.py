"""The inline executor: trains in this process, one batch after another. The oracle of the tests."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.interfaces import Handle, UpdatesAtHand
from fedqs_ray.core.types import (
    ClientStatistics,
    Evaluation,
    Job,
    JobKey,
    Layout,
    TrainingRequest,
    Update,
    Vector,
    make_job_key,
)
from fedqs_ray.training.trainer import Trainer


class InlineExecutor(UpdatesAtHand):
    """Executor that trains a batch when the first of its results is asked for: jobs without use are never trained."""

    def __init__(self, task: Trainer) -> None:
        self.task = task
        self._batches: dict[JobKey, Sequence[TrainingRequest[Handle]]] = {}
        """The batch of each job that is not trained yet."""
        self._updates: dict[JobKey, Update] = {}
        self._evaluations: dict[int, Evaluation] = {}

    def initial_model(self) -> tuple[Vector, Layout]:
        return self.task.initial_model()

    def client_statistics(self) -> ClientStatistics:
        return self.task.data.client_statistics()

    def put(self, vector: Vector) -> Vector:
        vector.flags.writeable = False  # as in Ray's object store
        return vector

    def get(self, handle: Handle) -> Vector:
        return handle  # type: ignore[return-value]

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        for order in batch:
            self._batches[make_job_key(order.job)] = batch

    def restore(self, job: Job, update: Update) -> None:
        self._updates[make_job_key(job)] = update

    def result(self, job: Job) -> Update:
        if batch := self._batches.get(make_job_key(job)):
            self._train(batch)
        return self._updates.pop(make_job_key(job))

    def _train(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        updates = self.task.train([order.map(self.get) for order in batch])
        for order, update in zip(batch, updates, strict=True):
            if self._batches.pop(make_job_key(order.job), None):
                self._updates[make_job_key(order.job)] = replace(
                    update, handle=update.delta if update.client_state is None else update.client_state
                )

    def discard(self, job: Job) -> None:
        self._batches.pop(make_job_key(job), None)
        self._updates.pop(make_job_key(job), None)

    def evaluate(self, version: int, model: Handle) -> None:
        self._evaluations[version] = self.task.evaluate(model)  # type: ignore[arg-type]

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:  # noqa: ARG002
        return self._evaluations.pop(version)

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        return self.task.validate(model)  # type: ignore[arg-type]
