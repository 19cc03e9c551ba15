"""Interfaces: the roles that users implement (`Algorithm`, `Scenario`), and those that the loop depends on."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import InvariantError
from fedqs_ray.core.fixed_point import FixedPointSum
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, Progress, RoundRow, Snapshot
from fedqs_ray.core.types import (
    Attempt,
    ClientStatistics,
    Evaluation,
    Job,
    Layout,
    Need,
    Plan,
    Start,
    Thresholds,
    TrainingRequest,
    Update,
    Vector,
)

OnProgress = Callable[[Progress], None]
"""Called at every version of a run."""


class Observer:
    """Watches a run: metrics, logs, progress bars. A subclass overrides what it needs; the rest does nothing."""

    def begin(self) -> None:
        """The run starts; called in the process that watches it."""

    def event(self, look: Callable[[], Progress]) -> None:
        """A job ended or a version was made; `look` returns the progress. Called often, by the server alone."""

    def row(self, row: RoundRow) -> None:
        """A row of rounds.parquet was written: a version and its evaluation. Called by the server alone."""

    def version(self, progress: Progress) -> None:
        """A version was made."""

    def end(self, error: BaseException | None) -> None:
        """The run ended, perhaps by an error."""


@contextmanager
def observe(observers: Sequence[Observer]) -> Iterator[None]:
    """Begin with all observers in order, and end with those that began in the opposite one."""
    with ExitStack() as began:
        for observer in observers:
            observer.begin()
            began.push(partial(end_observer, observer))
        yield


def end_observer(observer: Observer, _: object, error: BaseException | None, __: object) -> None:
    """End with an observer, as a context manager ends."""
    observer.end(error)


@dataclass(frozen=True, slots=True)
class ClientView:
    """Inputs of a client that receives a model, for `Algorithm.plan`, `correction` and `client_state`."""

    model: Vector
    """w^t, the version received."""
    extra: Vector | None
    """(P,) vector sent with the model: w^(t-1) for algorithms that need "previous", otherwise `Aggregation.extra`.
    None if there is neither."""
    client_state: Vector | None
    """The client's last update d_i, or the result of `Algorithm.client_state` for it; None before its first arrival,
    and for algorithms that do not need "client_state"."""
    lr: float
    speed: float | None
    thresholds: Thresholds
    label_accuracy: Callable[[], Sequence[tuple[float, int]]]
    """Accuracy (0..1) of `model` on each label among the client's validation samples, with the number of
    samples used. A function, because it costs a forward pass that few plans need."""
    parameters: int | None = None
    """Number of parameters in a model's vector; running statistics of batch norm follow them. None: all."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """An update in the server's buffer, and in the input of `Algorithm.aggregate`."""

    job: Job
    update: Update
    start_model: Vector
    """w^v, the version that the client started from: w_i = start_model + delta."""
    previous_client_state: Vector | None = None
    """The client's state before this update; for algorithms that need "client_states", None at its first arrival."""
    fetch: Callable[[], Vector] | None = None
    """Fetches d_i if it stayed on another node."""
    staleness: int = 0
    """Version at aggregation minus version started from."""
    count: int = 0
    """a_i: aggregated arrivals of this client, this one included."""

    @property
    def client(self) -> int:
        """The client's number, 0..N-1."""
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
        """(P,) d_i. On a cluster it may be transferred: for a weighted sum, `Round.combine` is cheaper."""
        return self.update.delta if self.fetch is None else self.fetch()

    @property
    def client_state(self) -> Vector:
        """(P,) the client's state after this update: `delta`, or the result of `Algorithm.client_state`."""
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
    """t, the number of earlier aggregations."""
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """`Aggregation.state` of the previous round; empty in the first. Not to be changed in place."""
    parameters: int | None = None
    """Number of parameters in a model's vector; see `ClientView`."""
    clients: int = 1
    """N."""
    shares: Callable[[], NDArray[np.float64]] = lambda: np.ones(1)
    """(N,) n_i / sum n, over all clients."""
    client_state: Callable[[int], Vector | None] = lambda _: None
    """Client state after all arrivals of a client, those of this round (and in other tiers' buffers) included; None
    before its first. For algorithms that need "client_states"."""
    seed: int = 0
    """Random seed of the experiment, for `fedqs_ray.core.random.stream(seed, "draw", attempt=version)`."""
    tier: int = 0
    """Tier of this wave, for synchronous algorithms."""
    combine: Callable[[Sequence[float]], Vector] | None = None
    """Computes sum_i p_i d_i of the arrivals for weights p on the nodes that hold them. See algorithms/vectors.py."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Result of a round: the output of `Algorithm.aggregate`."""

    model: Vector
    """w^(t+1)."""
    weights: tuple[float, ...]
    """Weight of each arrival, in the order of `Round.arrivals`."""
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """`Round.state` of the next round. Part of a checkpoint."""
    extra: Vector | None = None
    """(P,) a vector that is sent to clients with the model."""


class Algorithm(Protocol):
    """A federated algorithm: pure functions of their arguments.

    A subclass has to define `aggregate`; the defaults of all else are plain asynchronous SGD on the clients.
    """

    needs: frozenset[Need] = frozenset()
    """Inputs that cost memory or traffic; see `Need`."""
    tiers: int = 0
    """0: asynchronous, an aggregation after K arrivals of any clients. 1: synchronous, a wave of K clients is
    dispatched, and aggregated when all have arrived. More: the number of tiers, each synchronous, of clients of
    similar speed."""

    def plan(self, view: ClientView) -> Plan:
        """Plan the local training; called on the client before it."""
        return Plan(lr=view.lr)

    def correction(self, view: ClientView) -> Vector | None:  # noqa: ARG002
        """Correction of every step's gradient, a (P,) vector added after clipping (control variates); on the client."""
        return None

    def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector | None:  # noqa: ARG002
        """Client state to store after training for so many steps; None: the update `delta`. Called on the client."""
        return None

    @abstractmethod
    def aggregate(self, round: Round) -> Aggregation:
        """Aggregate the K arrivals of a round into the next version; called on the server."""


class Scenario(Protocol):
    """Behaviour of the clients: durations, losses, availability, leaving. It never sees a model."""

    def attempt(self, start: Start) -> Attempt:
        """Duration, loss and fault of an attempt."""

    def ready(self, client: int, time: float) -> float:
        """Earliest time, not before `time`, at which an idle client can be dispatched; may be infinite."""

    def leaving(self, version: int) -> Sequence[int]:
        """Clients that leave permanently when `version` is made."""


class Clock(Protocol):
    """Tracks running jobs and yields them in the order in which they end."""

    now: float
    """Virtual seconds."""

    def __len__(self) -> int:
        """Number of running jobs."""

    def schedule(self, job: Job) -> None:
        """Add a job that starts now."""

    def advance(self, *until: float | None) -> None:
        """Advance the time to the end of the next job, or to the earliest of `until`."""

    def pop(self) -> Job | None:
        """Remove and return the next job that has ended; None if there is none."""

    def jobs(self) -> list[Job]:
        """All running jobs, in the order of their ends."""


Handle = object
"""An executor's reference to a vector that it stores."""


class Executor(Protocol):
    """Trains clients and evaluates models, in any order and place: no result may depend on them."""

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0, a function of the settings and the seed, and its division into tensors."""

    def client_statistics(self) -> ClientStatistics:
        """Number of samples of each client, in all and of each label."""

    def put(self, vector: Vector) -> Handle:
        """Store a model version or an update where clients can read it."""

    def get(self, handle: Handle) -> Vector:
        """The vector behind a handle."""

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        """Queue jobs to be trained together. Results are needed in the order of virtual ends."""

    def restore(self, job: Job, update: Update) -> None:
        """Store the update of a job of a checkpoint: `result` will return it."""

    def result(self, job: Job) -> Update:
        """Wait for a submitted job and return its update. Called at most once for each job."""

    def fetch(self, job: Job) -> Vector:
        """Fetch the vector of an update that `result` returned without it."""

    def add_up(self, shares: Sequence[tuple[Job, float]], size: int, unit: int) -> FixedPointSum:
        """Weighted sum of such vectors of `size` numbers, in units of 2^-unit; see core/fixed_point.py."""

    def discard(self, job: Job) -> None:
        """Release a job and its update: its client left, or its round is over."""

    def evaluate(self, version: int, model: Handle) -> None:
        """Queue an evaluation of a version on the test samples."""

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        """Evaluation of a version; None if it is not ready and `wait` is false. Returned once."""

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        """(N,) correctly classified validation samples of each client; None where they cannot be counted."""


class UpdatesAtHand:
    """Base of executors whose updates always come with their vectors."""

    def fetch(self, job: Job) -> Vector:
        raise InvariantError(f"no update of client {job.client} is remote")

    def add_up(self, shares: Sequence[tuple[Job, float]], size: int, unit: int) -> FixedPointSum:
        raise InvariantError(f"no update of client {shares[0][0].client} is remote, for sums of {size} at {unit}")


def fetch_delta(executor: Executor, job: Job, update: Update) -> Vector:
    """d_i of an update, fetched from the executor if its vector stayed there."""
    return executor.fetch(job) if update.vector is None else update.delta


class Recorder(Protocol):
    """Stores the rows, checkpoints and results of a run."""

    def job(self, row: JobRow) -> None:
        """Record a job that ended."""

    def round(self, row: RoundRow) -> None:
        """Record a version, with its evaluation if it has one."""

    def save(self, state: Snapshot) -> None:
        """Write a checkpoint of `state`, and the rows before it."""

    def finish(self, clients: list[ClientRow], labels: list[LabelRow], model: dict[str, Vector]) -> None:
        """Write the results of a finished run."""
