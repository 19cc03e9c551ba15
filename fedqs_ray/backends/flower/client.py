"""On a node: plan, train, keep, answer.

What is kept of a client stays on its node, in the run's `Context.state`: the node made it, so it need not travel back
with every job. A node that lost it (a restart) goes on as one that never had an update. The extra vector, w^(t-1) for
FedQS, is news to the node and travels with the model.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.flower.wire import Parcel, read_request, require, vectors, write_update
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import validate_experiment
from fedqs_ray.core.fixed_point import largest_magnitude
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.types import ClientView, Job, Plan, Update, Vector, check_plan

PREFIX = "fedqs-kept-"
"""Of the names of records in a node's state."""


@dataclass(frozen=True)
class Work:
    """What a node is asked to do."""

    model: Vector
    """w^v, to start from. Not to be changed in place."""
    plan: Plan
    """With which learning rate, momentum and proximal term."""
    correction: Vector | None
    """What every step's gradient gets on top, for algorithms that have such a thing."""
    experiment: Experiment
    """The server's settings: `experiment.training` has local epochs and batch size, for example."""
    job: Job
    """Which attempt of which client this is."""
    context: Context
    """Flower's, of this node."""


@dataclass(frozen=True)
class Trained:
    """What became of it."""

    model: Vector
    """(P,) w_i, float32, like `Work.model`."""
    samples: int
    """n_i, the node's training samples: at least 1. A node that has none raises an error, and is asked again later."""
    loss: float
    """Mean training loss over the steps; finite where the model is."""
    steps: int | None = None
    """Steps taken. Default: what `experiment.training` says for so many samples."""


Train = Callable[[Work], Trained]
LabelAccuracy = Callable[[Vector, Context], Sequence[tuple[float, int]]]


def client_app(train: Train, label_accuracy: LabelAccuracy | None = None) -> ClientApp:
    """A ClientApp whose nodes train as `train` says, for any algorithm that the server runs.

    `label_accuracy` is as in `ClientView`, of a model on the node's validation samples; without it FedQS takes the bias
    of slow clients for one of staleness.
    """
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        parcel = read_request(message.content)
        update = work(parcel, context, train, label_accuracy)
        return Message(write_update(update), reply_to=message)

    app.train()(handle)
    return app


def work(parcel: Parcel, context: Context, train: Train, label_accuracy: LabelAccuracy | None) -> Update:
    """Do a job. Raises `ValueError` where what `train` returned is nothing that the server could work with."""
    experiment, algorithm = known(parcel.settings)
    job, model = parcel.job, parcel.model
    view = ClientView(
        model=model,
        extra=parcel.extra,
        client_state=remembered(context, job, parcel.last),
        lr=job.lr,
        speed=job.speed,
        thresholds=job.thresholds,
        label_accuracy=lambda: label_accuracy(model, context) if label_accuracy else [],
        parameters=parcel.parameters,
    )
    plan = check_plan(algorithm.plan(view), experiment.title)
    done = train(Work(model, plan, algorithm.correction(view), experiment, job, context))
    delta = np.asarray(done.model, np.float32) - model
    most = largest_magnitude(delta)
    require(done.samples, done.loss, math.isfinite(most))
    steps = experiment.training.steps(done.samples) if done.steps is None else done.steps
    client_state = algorithm.client_state(view, plan, delta, steps) if math.isfinite(most) else None
    if "client_state" in algorithm.needs and math.isfinite(most):
        context.state[name(job, job.attempt)] = vectors(client_state=delta if client_state is None else client_state)
    return Update(
        delta, plan, done.samples, done.loss, most, client_state if "client_states" in algorithm.needs else None
    )


@lru_cache(maxsize=4)
def known(settings: str) -> tuple[Experiment, Algorithm]:
    """What the server's settings mean."""
    experiment = validate_experiment(json.loads(settings))
    return experiment, build_algorithm(experiment)


def remembered(context: Context, job: Job, last: int | None) -> Vector | None:
    """What was kept of the client's last update that the server took in; all else is forgotten."""
    wanted = None if last is None else name(job, last)
    for other in [key for key in context.state if key.startswith(PREFIX) and key != wanted]:
        del context.state[other]
    record: ArrayRecord | None = context.state.get(wanted) if wanted else None
    found: Vector | None = None if record is None else record["client_state"].numpy()
    return found


def name(job: Job, attempt: int) -> str:
    """Under which the outcome of an attempt is kept."""
    return f"{PREFIX}{job.client}-{attempt}"
