"""The vocabulary: every value that passes from one room to another.

All are frozen. A `Vector` is a whole model, or a difference of two, as one flat float32 array:
parameters first, then floating-point buffers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Generic, Literal, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

Outcome = Literal["arrived", "lost", "rejected", "unfinished"]

Rejection = Literal["not finite", "wrong length", "too large"]

ClientType = Literal["FWBC", "FSBC", "SWBC", "SSBC"]

Fault = Literal["nan", "corrupt", "crash"]

Need = Literal["previous", "client_state", "client_states"]
"""What an algorithm wants to be given, because it is not free: w^(t-1) as a job's `extra`; what was kept of the
client with its job; what was kept of all clients when the server aggregates."""

INF = float("inf")

NUMBERS = (int, float, np.number)


def is_vector(value: object) -> TypeGuard[Vector]:
    """Whether something is a flat float32 array."""
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.float32


Kind = TypeVar("Kind", bound=type)


def packed(kind: Kind) -> Kind:
    """Let a dataclass travel as its values alone: it is taken apart and put together three times as fast."""
    values = attrgetter(*(one.name for one in fields(kind)))
    setattr(kind, "__reduce__", lambda self: (kind, values(self)))  # noqa: B010  mypy knows no such assignment
    return kind


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt about to be dispatched: all that a scenario may know of it."""

    client: int
    attempt: int
    """0, 1, 2.. of this client."""
    version: int
    time: float = 0.0
    """Virtual seconds."""
    nbytes: int = 0
    """Size of a model, which travels to the client and back."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a scenario decides about one attempt of one client."""

    duration: float
    """From dispatch to arrival (or loss), in virtual seconds."""
    lost: bool = False
    """The client drops out on the way: its update never arrives."""
    fault: Fault | None = None
    """What goes wrong on the client: its update is all NaN, its update's bits are garbled, or the process that
    trains it dies (and the job is done again)."""


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
    """One attempt of one client: everything that its training needs, except the vectors."""

    client: int
    attempt: int
    """How often this client was dispatched before: 0 for its first job."""
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


@dataclass(frozen=True, slots=True)
class ClientView:
    """What a client sees when it receives a model: the input of `Algorithm.plan`."""

    model: Vector
    """w^t, the version received."""
    extra: Vector | None
    """What travels with it: w^(t-1) for algorithms that need "previous", else what `Aggregation.extra` gave it.
    None if there is no such thing."""
    client_state: Vector | None
    """d_i, the client's last update, or what `Algorithm.client_state` made of it; None before its first arrival,
    and for algorithms that do not need "client_state"."""
    lr: float
    speed: float | None
    thresholds: Thresholds
    label_accuracy: Callable[[], Sequence[tuple[float, int]]]
    """Accuracy (0..1) of `model` on each label among the client's validation samples, with the number of
    samples used. A function, because it costs a forward pass that few plans need."""
    parameters: int | None = None
    """How many of a model's numbers are parameters; running statistics of batch norm follow. None: all."""


@packed
@dataclass(frozen=True, slots=True)
class Plan:
    """How the client trains, and what it tells the server about it."""

    lr: float
    momentum: float = 0.0
    feedback: bool = False
    """The client asks the server to reweight its update (FedQS, Mod 3)."""
    client_type: ClientType | None = None
    angle: float | None = None
    """theta_i: how far the client's last update points away from the global direction. Degrees for the
    cosine; a distance otherwise."""
    proximal: float = 0.0
    """mu: every step's gradient gets mu (w - w^v) on top, the gradient of mu/2 ||w - w^v||^2."""


def check_plan(plan: object, title: str) -> Plan:
    """What the algorithm `title` planned. Raises `ValueError` where that cannot be done."""
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
    """The vector that travels with it, if there is one; see `ClientView`."""
    client_state: V | None = None
    """What the client made of its last update; see `ClientView`."""

    def map(self, change: Callable[[V], W]) -> "TrainingRequest[W]":
        """The same request with every vector changed."""
        extra, state = (None if one is None else change(one) for one in (self.extra, self.client_state))
        return TrainingRequest(self.job, change(self.model), extra, state)


@packed
@dataclass(frozen=True, slots=True)
class Update:
    """What a finished job returns."""

    vector: Vector | None
    """d_i = w_i - w^v; None while it stays on the node that trained it, from which the executor fetches it."""
    plan: Plan
    samples: int
    """n_i, the client's training samples."""
    loss: float
    """Mean training loss over the job's steps, in nats."""
    largest: float
    """The largest |x| in d_i; not finite where one of its numbers is not."""
    client_state: Vector | None = None
    """What the client's next job gets in the place of `delta`, if not that."""
    handle: object = field(default=None, compare=False)
    """Where the executor has the client state, to hand it over without a copy."""

    @property
    def delta(self) -> Vector:
        """d_i, which must be here."""
        assert self.vector is not None
        return self.vector


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """An update that arrived: as it waits in the server's buffer, and as an algorithm sees it at aggregation."""

    job: Job
    update: Update
    start_model: Vector
    """w^v, the version that the client started from: w_i = start_model + delta."""
    previous_client_state: Vector | None = None
    """The client's state before this update; for algorithms that need "client_states", None at its first arrival."""
    fetch: Callable[[], Vector] | None = None
    """Gets d_i, where it stayed on another node."""
    staleness: int = 0
    """Version at aggregation minus version started from."""
    count: int = 0
    """a_i: aggregated arrivals of this client, this one included."""

    @property
    def client(self) -> int:
        """Whose update it is."""
        return self.job.client

    @property
    def samples(self) -> int:
        """n_i, the client's training samples."""
        return self.update.samples

    @property
    def feedback(self) -> bool:
        """Whether the client asks the server to reweight its update."""
        return self.update.plan.feedback

    @property
    def angle(self) -> float | None:
        """theta_i, see `Plan`."""
        return self.update.plan.angle

    @property
    def delta(self) -> Vector:
        """d_i. On a cluster it may have to travel: for a weighted sum, `Round.combine` is cheaper."""
        return self.update.delta if self.fetch is None else self.fetch()

    @property
    def client_state(self) -> Vector:
        """The client's state after this update: `delta`, or what `Algorithm.client_state` made of it."""
        return self.delta if self.update.client_state is None else self.update.client_state


@dataclass(frozen=True, slots=True)
class Round:
    """One aggregation: the input of `Algorithm.aggregate`."""

    model: Vector
    """w^t."""
    arrivals: tuple[Arrival, ...]
    """In order of arrival."""
    total_count: int
    """Sum of a_j over all clients, this round's arrivals included."""
    mean_angle: float | None
    """Mean theta over the clients that reported one."""
    version: int = 0
    """t: how many aggregations there were before."""
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """`Aggregation.state` of the round before; empty in the first. Not to be changed in place."""
    parameters: int | None = None
    """How many of a model's numbers are parameters; see `ClientView`."""
    clients: int = 1
    """N."""
    shares: Callable[[], NDArray[np.float64]] = lambda: np.ones(1)
    """(N,) n_i / sum n, over all clients."""
    client_state: Callable[[int], Vector | None] = lambda _: None
    """What is kept of a client now, its arrivals in this round (and those that wait in other tiers' buffers) included.
    For algorithms that need "client_states"."""
    seed: int = 0
    """The experiment's, for `fedqs_ray.core.random.stream(seed, "draw", attempt=version)`."""
    tier: int = 0
    """Of a synchronous algorithm: the tier whose wave this is."""
    combine: Callable[[Sequence[float]], Vector] | None = None
    """sum_i p_i d_i of the arrivals for weights p, added up where the updates lie. See algorithms/vectors.py."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What an algorithm makes of a round."""

    model: Vector
    """w^(t+1)."""
    weights: tuple[float, ...]
    """The weight that each arrival got, in the order of `Round.arrivals`."""
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What the next round gets as `Round.state`. Part of a checkpoint."""
    extra: Vector | None = None
    """A vector that clients receive together with the model."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells data from other data."""

    digest: str
    """Of all whole numbers: labels, who has which sample, and features that are no fractions."""
    features: tuple[float, ...] = ()
    """Of those that are, which may differ in their last bits on another machine: a random projection of each split."""

    def matches(self, other: "Fingerprint") -> bool:
        """Whether both are of the same data."""
        return self.digest == other.digest and np.allclose(self.features, other.features, rtol=0, atol=1e-5)


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """What the clients have."""

    train: NDArray[np.int64]
    """(N,) n_i, training samples."""
    validation: NDArray[np.int64]
    """(N,) validation samples."""
    labels: NDArray[np.int64]
    """(N, classes) samples of each label, training and validation together."""
    names: tuple[str, ...] = ()
    """(N,) what the source calls the clients, or whom it put together in one; empty where it has no names."""
    label_names: tuple[str, ...] = ()
    """(classes,) what it calls the labels; likewise."""
    fingerprint: Callable[[], Fingerprint] = lambda: Fingerprint("")
    """Of all samples, made when it is asked for; an empty one where nobody has them all."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model on the task's test samples."""

    accuracy: float
    """0..1."""
    loss: float
    """Mean cross-entropy, in nats."""
    labels: tuple[tuple[int, int], ...] = ()
    """Of each label, the test samples and how many of them the model gets right; none where nobody counted."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a `Vector` divides into named tensors, in order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    """How many numbers, from the front, are parameters; buffers follow."""

    def split(self, vector: Vector) -> dict[str, NDArray[np.float32]]:
        """The named tensors, as views of `vector`."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        return {n: p.reshape(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}


JobKey = tuple[int, int]
"""A job's client and attempt."""


def job_key(job: Job) -> JobKey:
    """What tells a job from all others of a run."""
    return job.client, job.attempt
