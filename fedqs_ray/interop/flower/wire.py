"""What travels: a job with its vectors to a node, an update back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from pydantic import TypeAdapter

from fedqs_ray.messages import Job, Plan, Update, Vector, is_vector
from fedqs_ray.sums import largest

JOB, PLAN = TypeAdapter(Job), TypeAdapter(Plan)
NONSENSE = Update(np.empty(0, np.float32), Plan(lr=1.0), 0, 0.0, largest=0.0)
"""In the place of an answer that cannot be read: rejected, for its length."""


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
    companion: Vector | None


def write(parcel: Parcel) -> RecordDict:
    """A parcel as records."""
    job = JOB.dump_json(parcel.job).decode()
    facts = ConfigRecord({"job": job, "settings": parcel.settings, "parameters": parcel.parameters})
    if parcel.last is not None:
        facts["last"] = parcel.last
    return RecordDict({"vectors": vectors(model=parcel.model, companion=parcel.companion), "facts": facts})


def read(content: RecordDict) -> Parcel:
    """The parcel in a message."""
    facts: Any = content["facts"]
    return Parcel(
        job=JOB.validate_json(facts["job"]),
        settings=facts["settings"],
        parameters=facts["parameters"],
        last=facts.get("last"),
        model=content["vectors"]["model"].numpy(),
        companion=vector(content, "companion"),
    )


def write_update(update: Update) -> RecordDict:
    """What a node answers."""
    return RecordDict(
        {
            "vectors": vectors(delta=update.delta, kept=update.kept),
            "plan": ConfigRecord({"plan": PLAN.dump_json(update.plan).decode()}),
            "metrics": MetricRecord({"num-examples": update.samples, "train-loss": update.loss}),
        }
    )


def read_update(content: RecordDict) -> Update:
    """The update in an answer."""
    try:
        delta, kept, metrics = vector(content, "delta"), vector(content, "kept"), content["metrics"]
        plan = PLAN.validate_json(content["plan"]["plan"])
        samples, loss = int(metrics["num-examples"]), float(metrics["train-loss"])
    except (KeyError, TypeError, ValueError):
        return NONSENSE
    sound = is_vector(delta) and samples >= 0 and (kept is None or (is_vector(kept) and np.isfinite(kept).all()))
    if not sound or delta is None or not delta.size:
        return NONSENSE
    return Update(delta, plan, samples, loss, largest(delta), kept)


def vectors(**found: Vector | None) -> ArrayRecord:
    """Those that are there, by name."""
    return ArrayRecord({name: Array(vector) for name, vector in found.items() if vector is not None})


def vector(content: RecordDict, name: str) -> Vector | None:
    """One of them."""
    record: Any = content["vectors"]
    found: Vector | None = record[name].numpy() if name in record else None
    return found
