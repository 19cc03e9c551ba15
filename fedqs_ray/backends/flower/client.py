"""Flower's ClientApp: the client's step on a node of a federation.

The client state stays on its node, in the run's `Context.state`: the node made it, so it need not travel back with
every job. A node that lost it (a restart) goes on as one that never had an update. The extra vector, w^(t-1) for
FedQS, travels with the model.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.flower.wire import Parcel, make_arrays, read_request, require_sound, write_update
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import validate_experiment
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.types import Job, Plan, TrainingRequest, Update, Vector
from fedqs_ray.training.client_step import ClientStep, Trained

PREFIX = "fedqs-client-state-"
"""Prefix of the names of records in a node's state."""


@dataclass(frozen=True)
class Work:
    """A training task of a node."""

    model: Vector
    """w^v, to start from. Not to be changed in place."""
    plan: Plan
    """Learning rate, momentum and proximal term."""
    correction: Vector | None
    """Vector added to every step's gradient after clipping, for algorithms that have one."""
    experiment: Experiment
    """The server's settings: `experiment.training` has local epochs and batch size, for example."""
    job: Job
    """The client and its attempt."""
    context: Context
    """Flower's context of this node."""


Train = Callable[[Work], Trained]
LabelAccuracy = Callable[[Vector, Context], Sequence[tuple[float, int]]]


def client_app(train: Train, label_accuracy: LabelAccuracy | None = None) -> ClientApp:
    """A ClientApp whose nodes train with the function `train`, for any algorithm that the server runs.

    `label_accuracy` is as in `ClientView`, of a model on the node's validation samples; without it FedQS takes the bias
    of slow clients for one of staleness.
    """
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        parcel = read_request(message.content)
        update = run_request(parcel, context, train, label_accuracy)
        return Message(write_update(update), reply_to=message)

    app.train()(handle)
    return app


def run_request(parcel: Parcel, context: Context, train: Train, label_accuracy: LabelAccuracy | None) -> Update:
    """Run the client's step of a request. Raises `ValueError` for a result of `train` that the server would reject."""
    experiment, algorithm = parse_settings(parcel.settings)
    job, model = parcel.job, parcel.model
    state = recall_client_state(context, job, parcel.last)
    step = ClientStep(
        algorithm,
        experiment,
        TrainingRequest(job, model, parcel.extra, state),
        parcel.parameters,
        lambda: label_accuracy(model, context) if label_accuracy else [],
    )
    trained = train(Work(model, step.plan, step.correction, experiment, job, context))
    trained = replace(trained, model=np.asarray(trained.model, np.float32))
    require_sound(trained.samples, trained.loss, bool(np.isfinite(trained.model).all()))
    update = step.make_update(trained)
    if "client_state" in algorithm.needs and math.isfinite(update.largest):
        state = update.delta if update.client_state is None else update.client_state
        context.state[name_record(job, job.attempt)] = make_arrays(client_state=state)
    return update if "client_states" in algorithm.needs else replace(update, client_state=None)


@lru_cache(maxsize=4)
def parse_settings(settings: str) -> tuple[Experiment, Algorithm]:
    """The experiment and its algorithm, from the server's settings as JSON."""
    experiment = validate_experiment(json.loads(settings))
    return experiment, build_algorithm(experiment)


def recall_client_state(context: Context, job: Job, last: int | None) -> Vector | None:
    """The client state after attempt `last`, the last one that the server took in; states of others are deleted."""
    wanted = None if last is None else name_record(job, last)
    for other in [key for key in context.state if key.startswith(PREFIX) and key != wanted]:
        del context.state[other]
    record: ArrayRecord | None = context.state.get(wanted) if wanted else None
    found: Vector | None = None if record is None else record["client_state"].numpy()
    return found


def name_record(job: Job, attempt: int) -> str:
    """Name of the record that holds the client state after an attempt."""
    return f"{PREFIX}{job.client}-{attempt}"
