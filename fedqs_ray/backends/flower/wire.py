"""What travels: a job with its vectors to a node, an update back."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from pydantic import TypeAdapter

from fedqs_ray.core.fixed_point import largest_magnitude
from fedqs_ray.core.types import Job, Plan, Update, Vector, check_plan, is_vector

JOB, PLAN = TypeAdapter(Job), TypeAdapter(Plan)
NONSENSE = Update(np.empty(0, np.float32), Plan(lr=1.0), 0, 0.0, largest=0.0)
"""In the place of an answer that cannot be read: rejected, for its length."""
MOST = float(np.finfo(np.float32).max)
"""Nodes compute in float32."""
MOST_SAMPLES = 2**31
"""Tables count in int32."""


class Nonsense(ValueError):
    """Why an answer cannot be read."""


@dataclass(frozen=True)
class Parcel:
    """What a node gets."""

    job: Job
    settings: str
    """The experiment as JSON, so that nodes need no settings of their own."""
    parameters: int
    """How many of a model's numbers are parameters; see `ClientView`."""
    last: int | None
    """Attempt of the client's last update that the server took in: the node has kept what is to be kept of it."""
    model: Vector
    extra: Vector | None


def write_request(parcel: Parcel) -> RecordDict:
    """A parcel as records."""
    job = JOB.dump_json(parcel.job).decode()
    facts = ConfigRecord({"job": job, "settings": parcel.settings, "parameters": parcel.parameters})
    if parcel.last is not None:
        facts["last"] = parcel.last
    return RecordDict({"vectors": vectors(model=parcel.model, extra=parcel.extra), "facts": facts})


def read_request(content: RecordDict) -> Parcel:
    """The parcel in a message."""
    facts: Any = content["facts"]
    return Parcel(
        job=JOB.validate_json(facts["job"]),
        settings=facts["settings"],
        parameters=facts["parameters"],
        last=facts.get("last"),
        model=content["vectors"]["model"].numpy(),
        extra=vector(content, "extra"),
    )


def write_update(update: Update) -> RecordDict:
    """What a node answers."""
    return RecordDict(
        {
            "vectors": vectors(delta=update.delta, client_state=update.client_state),
            "plan": ConfigRecord({"plan": PLAN.dump_json(update.plan).decode()}),
            "metrics": MetricRecord({"num-examples": update.samples, "train-loss": update.loss}),
        }
    )


def read_update(content: RecordDict, state_size: int | None) -> Update:
    """The update in an answer. Raises `Nonsense` where there is none that the server could work with.

    `kept_size` is how many numbers are to be kept of it; None where nothing is, and then what came of it is dropped.
    """
    try:
        return understood(content, state_size)
    except Exception as error:  # noqa: BLE001  a node may send anything, and reading it may fail in any way
        raise Nonsense(f"{type(error).__name__}: {error}".splitlines()[0][:300]) from None


def understood(content: RecordDict, state_size: int | None) -> Update:
    """The same. Raises whatever reading it raises, and `ValueError` for numbers that cannot be."""
    delta, client_state, metrics = vector(content, "delta"), vector(content, "client_state"), content["metrics"]
    plan = check_plan(PLAN.validate_json(content["plan"]["plan"]), "a node")
    samples, loss = int(metrics["num-examples"]), float(metrics["train-loss"])
    if not is_vector(delta) or not delta.size:
        raise ValueError("an update that is no vector of float32")
    most = largest_magnitude(delta)
    require(samples, loss, math.isfinite(most))
    if max(plan.lr, plan.proximal) > MOST or (plan.angle is not None and not 0 <= plan.angle < math.inf):
        raise ValueError(f"{plan}; must be of finite float32, with an angle of at least 0")
    if state_size is None or not math.isfinite(most):
        return Update(delta, plan, samples, loss, most)
    if client_state is not None and not (is_vector(client_state) and np.isfinite(client_state).all()):
        raise ValueError("something to keep that is no vector of finite float32")
    if (size := (delta if client_state is None else client_state).size) != state_size:
        raise ValueError(f"{size} numbers to keep; must be {state_size}")
    return Update(delta, plan, samples, loss, most, client_state)


def require(samples: int, loss: float, finite: bool) -> None:
    """Raise `ValueError` where that cannot be; the loss of an update that is not `finite` need not be either."""
    if not 1 <= samples < MOST_SAMPLES:
        raise ValueError(f"{samples} training samples; must be at least 1 and below {MOST_SAMPLES}")
    if finite and not math.isfinite(loss):
        raise ValueError(f"a training loss of {loss}; must be finite")


def vectors(**found: Vector | None) -> ArrayRecord:
    """Those that are there, by name."""
    return ArrayRecord({name: Array(vector) for name, vector in found.items() if vector is not None})


def vector(content: RecordDict, name: str) -> Vector | None:
    """One of them."""
    record: Any = content["vectors"]
    found: Vector | None = record[name].numpy() if name in record else None
    return found
