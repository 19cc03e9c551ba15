"""Messages as Flower's records: a job with its vectors to a node, an update back."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from pydantic import TypeAdapter

from fedqs_ray.core.fixed_point import find_largest_magnitude
from fedqs_ray.core.types import Job, Plan, Update, Vector, check_plan, is_vector

JOB, PLAN = TypeAdapter(Job), TypeAdapter(Plan)
REJECTED = Update(np.empty(0, np.float32), Plan(lr=1.0), 0, 0.0, largest=0.0)
"""Stand-in for an answer that cannot be read: rejected, for its length."""
MOST = float(np.finfo(np.float32).max)
"""Nodes compute in float32."""
MOST_SAMPLES = 2**31
"""Tables count in int32."""


class InvalidAnswer(ValueError):
    """An answer that cannot be read; the message says why."""


@dataclass(frozen=True)
class Parcel:
    """The content of a message to a node."""

    job: Job
    settings: str
    """The experiment as JSON, so that nodes need no settings of their own."""
    parameters: int
    """Number of parameters in a model; see `ClientView`."""
    last: int | None
    """Attempt of the client's last update that the server took in: the node has the client state after it."""
    model: Vector
    extra: Vector | None


def write_request(parcel: Parcel) -> RecordDict:
    """A parcel as records."""
    job = JOB.dump_json(parcel.job).decode()
    facts = ConfigRecord({"job": job, "settings": parcel.settings, "parameters": parcel.parameters})
    if parcel.last is not None:
        facts["last"] = parcel.last
    return RecordDict({"vectors": make_arrays(model=parcel.model, extra=parcel.extra), "facts": facts})


def read_request(content: RecordDict) -> Parcel:
    """The parcel in a message."""
    facts: Any = content["facts"]
    return Parcel(
        job=JOB.validate_json(facts["job"]),
        settings=facts["settings"],
        parameters=facts["parameters"],
        last=facts.get("last"),
        model=content["vectors"]["model"].numpy(),
        extra=read_vector(content, "extra"),
    )


def write_update(update: Update) -> RecordDict:
    """An update as records, the answer of a node."""
    return RecordDict(
        {
            "vectors": make_arrays(delta=update.delta, client_state=update.client_state),
            "plan": ConfigRecord({"plan": PLAN.dump_json(update.plan).decode()}),
            "metrics": MetricRecord({"num-examples": update.samples, "train-loss": update.loss}),
        }
    )


def read_update(content: RecordDict, state_size: int | None) -> Update:
    """The update in an answer. Raises `InvalidAnswer` where there is none that the server could work with.

    `state_size` is the length of a client state; None for algorithms without states here, which then drop one.
    """
    try:
        return parse_update(content, state_size)
    except Exception as error:  # noqa: BLE001  a node may send anything, and reading it may fail in any way
        raise InvalidAnswer(f"{type(error).__name__}: {error}".splitlines()[0][:300]) from None


def parse_update(content: RecordDict, state_size: int | None) -> Update:
    """The update in an answer. Raises any error of reading it, and `ValueError` for impossible numbers."""
    delta, client_state, metrics = (
        read_vector(content, "delta"),
        read_vector(content, "client_state"),
        content["metrics"],
    )
    plan = check_plan(PLAN.validate_json(content["plan"]["plan"]), "a node")
    samples, loss = int(metrics["num-examples"]), float(metrics["train-loss"])
    if not is_vector(delta) or not delta.size:
        raise ValueError("an update that is no vector of float32")
    most = find_largest_magnitude(delta)
    require_sound(samples, loss, math.isfinite(most))
    if max(plan.lr, plan.proximal) > MOST or (plan.angle is not None and not 0 <= plan.angle < math.inf):
        raise ValueError(f"{plan}; must be of finite float32, with an angle of at least 0")
    if state_size is None or not math.isfinite(most):
        return Update(delta, plan, samples, loss, most)
    if client_state is not None and not (is_vector(client_state) and np.isfinite(client_state).all()):
        raise ValueError("a client state that is no vector of finite float32")
    if (size := (delta if client_state is None else client_state).size) != state_size:
        raise ValueError(f"a client state of {size} numbers; must be {state_size}")
    return Update(delta, plan, samples, loss, most, client_state)


def require_sound(samples: int, loss: float, finite: bool) -> None:
    """Raise `ValueError` for impossible samples or loss; only the loss of a `finite` update must be finite."""
    if not 1 <= samples < MOST_SAMPLES:
        raise ValueError(f"{samples} training samples; must be at least 1 and below {MOST_SAMPLES}")
    if finite and not math.isfinite(loss):
        raise ValueError(f"a training loss of {loss}; must be finite")


def make_arrays(**vectors: Vector | None) -> ArrayRecord:
    """A record of named vectors, without those that are None."""
    return ArrayRecord({name: Array(vector) for name, vector in vectors.items() if vector is not None})


def read_vector(content: RecordDict, name: str) -> Vector | None:
    """A named vector of a message; None if it is not there."""
    record: Any = content["vectors"]
    found: Vector | None = record[name].numpy() if name in record else None
    return found
