"""Types of the values that pass between rooms.

All are frozen. A `Vector` is a whole model, or a difference of two, as one flat float32 array:
parameters first, then floating-point buffers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Generic, Literal, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

Outcome = Literal["arrived", "lost", "rejected", "unfinished"]

Rejection = Literal["not finite", "wrong length", "too large"]

ClientType = Literal["FWBC", "FSBC", "SWBC", "SSBC"]

Fault = Literal["nan", "corrupt", "crash"]

Need = Literal["previous", "client_state", "client_states"]
"""Inputs of an algorithm that cost memory or traffic. "previous": w^(t-1) as a job's `extra`; "client_state": the
client's state with its job; "client_states": the states of all clients at aggregation."""

INF = float("inf")

NUMBERS = (int, float, np.number)


def is_vector(value: object) -> TypeGuard[Vector]:
    """Whether a value is a flat float32 array."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.float32


Kind = TypeVar("Kind", bound=type)


def packed(kind: Kind) -> Kind:
    """Pickle a dataclass as its values alone, three times as fast."""
    values = attrgetter(*(one.name for one in fields(kind)))
    setattr(kind, "__reduce__", lambda self: (kind, values(self)))  # noqa: B010  mypy knows no such assignment
    return kind


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt about to be dispatched: the input of `Scenario.attempt`."""

    client: int
    attempt: int
    """0, 1, 2.. of this client."""
    version: int
    time: float = 0.0
    """Virtual seconds."""
    nbytes: int = 0
    """Bytes of a model, which is sent to the client and back."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Duration, loss and fault of one attempt of one client, drawn by a scenario."""

    duration: float
    """From dispatch to arrival (or loss), in virtual seconds."""
    lost: bool = False
    """Whether the client drops out during the attempt: its update never arrives."""
    fault: Fault | None = None
    """Fault to inject on the client: "nan" overwrites its update, "corrupt" flips bits of it, "crash" kills the process
    that trains it (and the job is repeated)."""


@packed
@dataclass(frozen=True, slots=True)
class Thresholds:
    """Population means that the server sends along with each version (FedQS, Mod 1)."""

    speed: float | None = None
    """Mean f over the clients with an aggregated update; None before the first aggregation."""
    angle: float | None = None
    """Mean theta over the clients that reported one, in degrees for the cosine; None before that."""


@packed
@dataclass(frozen=True, slots=True)
class Job:
    """One attempt of one client: all inputs of its training except the vectors."""

    client: int
    attempt: int
    """Number of earlier dispatches of this client: 0 for its first job."""
    version: int
    """The model version that the client starts from."""
    start: float
    """Dispatch, in virtual seconds."""
    end: float
    """Arrival or loss, in virtual seconds."""
    lost: bool
    lr: float
    """The client's own learning rate, eta_i, carried from its last arrival."""
    speed: float | None
    """f_i = a_i / mean(a): 1 is average; None until an update of the client was aggregated."""
    thresholds: Thresholds
    fault: Fault | None = None


@packed
@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a client's local training, and the values that it reports to the server."""

    lr: float
    momentum: float = 0.0
    feedback: bool = False
    """Whether the client asks the server to reweight its update (FedQS, Mod 3)."""
    client_type: ClientType | None = None
    angle: float | None = None
    """theta_i: angle between the client's last update and the global direction, in degrees; a distance for other
    measures than the cosine."""
    proximal: float = 0.0
    """mu: mu (w - w^v) is added to every step's gradient, the gradient of mu/2 ||w - w^v||^2."""


def check_plan(plan: object, title: str) -> Plan:
    """Check the plan of the algorithm `title`. Raises `ValueError` for another type or values out of range."""
    if not isinstance(plan, Plan):
        raise ValueError(f"{title}.plan returned {plan!r:.60}; must be a Plan")
    for name, value, most in (("lr", plan.lr, INF), ("momentum", plan.momentum, 1.0), ("proximal", plan.proximal, INF)):
        if not isinstance(value, NUMBERS) or not 0 <= value < most:
            bounds = "at least 0" if most == INF else f"at least 0 and below {most:g}"
            raise ValueError(f"{title}.plan returned {name} = {value}; must be a finite number of {bounds}")
    return plan


V = TypeVar("V")

W = TypeVar("W")


@packed
@dataclass(frozen=True, slots=True)
class TrainingRequest(Generic[V]):
    """A job and the vectors that its training needs: the vectors themselves, or references to them."""

    job: Job
    model: V
    """w^v."""
    extra: V | None = None
    """The vector sent with the model, if there is one; see `ClientView`."""
    client_state: V | None = None
    """The client's state; see `ClientView`."""

    def map(self, change: Callable[[V], W]) -> "TrainingRequest[W]":
        """The same request with every vector changed."""
        extra, state = (None if one is None else change(one) for one in (self.extra, self.client_state))
        return TrainingRequest(self.job, change(self.model), extra, state)


@packed
@dataclass(frozen=True, slots=True)
class Update:
    """Result of a finished job."""

    vector: Vector | None
    """d_i = w_i - w^v; None while it stays on the node that trained it (`Executor.fetch`)."""
    plan: Plan
    samples: int
    """n_i, the client's training samples."""
    loss: float
    """Mean training loss over the job's steps, in nats."""
    largest: float
    """The largest |x| in d_i; not finite where one of its numbers is not."""
    client_state: Vector | None = None
    """Client state for the client's next job; None: `delta`."""
    handle: object = field(default=None, compare=False)
    """The executor's reference to the client state, for sending it without a copy."""

    @property
    def delta(self) -> Vector:
        """d_i, which must be in this process."""
        assert self.vector is not None
        return self.vector


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of a dataset and its division, to detect other data."""

    digest: str
    """Hash of all whole numbers: labels, clients of samples, and features without fractions."""
    features: tuple[float, ...] = ()
    """Random projection of the other features of each split; may differ in the last bits on another machine."""

    def matches(self, other: "Fingerprint") -> bool:
        """Whether both are fingerprints of the same data."""
        return self.digest == other.digest and np.allclose(self.features, other.features, rtol=0, atol=1e-5)


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """Sample counts of the clients, and names in the source."""

    train: NDArray[np.int64]
    """(N,) n_i, training samples."""
    validation: NDArray[np.int64]
    """(N,) validation samples."""
    labels: NDArray[np.int64]
    """(N, classes) samples of each label, training and validation together."""
    names: tuple[str, ...] = ()
    """(N,) names of the clients in the source, joined where clients were merged; empty where it has none."""
    label_names: tuple[str, ...] = ()
    """(classes,) names of the labels; likewise."""
    fingerprint: Callable[[], Fingerprint] = lambda: Fingerprint("")
    """Computes the fingerprint of all samples; an empty one where no process has them all."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of a model on the task's test samples."""

    accuracy: float
    """0..1."""
    loss: float
    """Mean cross-entropy, in nats."""
    labels: tuple[tuple[int, int], ...] = ()
    """(test samples, correct ones) of each label; empty where they were not counted."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Division of a `Vector` into named tensors, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    """Number of parameters; buffers follow them."""

    def split(self, vector: Vector) -> dict[str, NDArray[np.float32]]:
        """Split a (P,) vector into its named tensors, as views."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return {n: p.reshape(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}


JobKey = tuple[int, int]
"""A job's client and attempt."""


def make_job_key(job: Job) -> JobKey:
    """Make the key of a job, unique in a run."""
    return job.client, job.attempt
