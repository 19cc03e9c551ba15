"""The client's step of the loop, on whatever trains: plan, correction, training, update, client state.

Used by the trainer and by the nodes of a Flower federation, which may train with anything: no torch here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.fixed_point import find_largest_magnitude
from fedqs_ray.core.interfaces import Algorithm, ClientView
from fedqs_ray.core.random import stream
from fedqs_ray.core.types import Job, Plan, TrainingRequest, Update, Vector, check_plan, is_vector


@dataclass(frozen=True)
class Trained:
    """The result of a client's local training."""

    model: Vector
    """(P,) w_i, float32, as long as w^v."""
    samples: int
    """n_i, the client's training samples: at least 1. A node of a federation that has none raises an error, and is
    asked again later."""
    loss: float
    """Mean training loss over the steps; finite where the model is."""
    steps: int | None = None
    """Steps taken. Default: `experiment.training.steps(samples)`."""


class ClientStep:
    """One client's step: made of a request, it holds the plan and the correction; with the trained model it makes the
    update.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        experiment: Experiment,
        request: TrainingRequest[Vector],
        parameters: int,
        label_accuracy: Callable[[], Sequence[tuple[float, int]]],
    ) -> None:
        """Let the algorithm plan. `parameters` and `label_accuracy` are as in `ClientView`.

        Raises `ValueError` for a plan that cannot be followed.
        """
        self.algorithm, self.experiment, self.job, self.model = algorithm, experiment, request.job, request.model
        self.view = ClientView(
            model=request.model,
            extra=request.extra,
            client_state=request.client_state,
            lr=request.job.lr,
            speed=request.job.speed,
            thresholds=request.job.thresholds,
            label_accuracy=label_accuracy,
            parameters=parameters,
        )
        self.plan: Plan = check_plan(algorithm.plan(self.view), experiment.title)
        self.correction: Vector | None = algorithm.correction(self.view)

    def make_update(self, trained: Trained) -> Update:
        """The update that the server gets, with the client state that the algorithm makes of it.

        The fault of the job, if it has one, is injected first. An update that is not finite has no client state.
        Raises `TypeError` for a client state that is no float32 vector.
        """
        delta = trained.model - self.model
        inject_fault(self.experiment.seed, self.job, delta)
        largest, client_state = find_largest_magnitude(delta), None
        if math.isfinite(largest):
            steps = self.experiment.training.steps(trained.samples) if trained.steps is None else trained.steps
            client_state = self.algorithm.client_state(self.view, self.plan, delta, steps)
        if client_state is not None and not is_vector(client_state):
            raise TypeError(
                f"{self.experiment.title}.client_state returned {client_state!r:.60}; must be a float32 vector or None"
            )
        return Update(delta, self.plan, trained.samples, trained.loss, largest, client_state)


def inject_fault(seed: int, job: Job, delta: Vector) -> None:
    """Inject the job's fault into an update, in place: "nan" overwrites it, "corrupt" flips bits in 1% of its numbers.

    "crash" is the business of the process that trains.
    """
    if job.fault == "nan":
        delta[:] = np.nan
    elif job.fault == "corrupt":
        draw = stream(seed, "corrupt", job.client, job.attempt)
        places = draw.choice(delta.size, math.ceil(delta.size / 100), replace=False)
        delta.view(np.uint32)[places] ^= draw.integers(0, 2**32, places.size, dtype=np.uint32)
