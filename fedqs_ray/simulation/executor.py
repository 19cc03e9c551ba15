"""The two roles that the loop needs played: somebody who trains, and somebody who writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.messages import (
    Census,
    ClientRow,
    Evaluation,
    Job,
    JobRow,
    LabelRow,
    Layout,
    RoundRow,
    State,
    Update,
    Vector,
)
from fedqs_ray.simulation.errors import LawBroken
from fedqs_ray.sums import Total

Handle = object
"""An executor's own reference to a vector that it keeps."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job, with the vectors that its training needs."""

    job: Job
    model: Handle
    """w^v."""
    companion: Handle | None
    """What travels with it, if anything does; see `ClientView`."""
    kept: Handle | None
    """What was kept of the client; likewise."""


class Executor(Protocol):
    """Trains and evaluates, in whatever order and place it likes: no result may depend on that."""

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0, a function of the configuration and the seed, and its division into tensors."""

    def census(self) -> Census:
        """How many samples each client has, and of which labels."""

    def put(self, vector: Vector) -> Handle:
        """Make a model version or an update available to the clients, once."""

    def get(self, handle: Handle) -> Vector:
        """The vector behind a handle."""

    def submit(self, cohort: Sequence[Order]) -> None:
        """Queue jobs to be trained together. Jobs that end earlier in virtual time are needed earlier."""

    def restore(self, job: Job, update: Update) -> None:
        """Take over the update of a job that was trained before: `result` will hand it out."""

    def result(self, job: Job) -> Update:
        """Wait for a submitted job and hand over its update. Each job is asked for at most once."""

    def fetch(self, job: Job) -> Vector:
        """The vector of an update that `result` handed over without it."""

    def add_up(self, shares: Sequence[tuple[Job, float]], size: int, unit: int) -> Total:
        """The weighted sum of such vectors of `size` numbers, in units of 2^-unit; see sums.py."""

    def discard(self, job: Job) -> None:
        """Forget a job and its update: its client left, or the round is over, and nobody will ask any more."""

    def evaluate(self, version: int, model: Handle) -> None:
        """Queue an evaluation on the test samples."""

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        """The evaluation of a version; None if it is not ready and `wait` is false. Asked for once."""

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        """(N,) how many of its validation samples a model gets right at each client; None where nobody can tell."""


class Near:
    """For executors whose updates always have their vectors with them."""

    def fetch(self, job: Job) -> Vector:
        raise LawBroken(f"nothing of client {job.client} is far")

    def add_up(self, shares: Sequence[tuple[Job, float]], size: int, unit: int) -> Total:
        raise LawBroken(f"nothing of client {shares[0][0].client} is far, for sums of {size} at {unit}")


def vector(executor: Executor, job: Job, update: Update) -> Vector:
    """d_i, wherever it is."""
    return executor.fetch(job) if update.far else update.delta


class Recorder(Protocol):
    """Receives rows and answers nothing."""

    def job(self, row: JobRow) -> None:
        """A job ended."""

    def round(self, row: RoundRow) -> None:
        """A version was made (and evaluated, if it is to be)."""

    def save(self, state: State) -> None:
        """Keep `state` and the rows before it, so that the run can go on from here."""

    def finish(self, clients: list[ClientRow], labels: list[LabelRow], model: dict[str, Vector]) -> None:
        """The run is over."""
