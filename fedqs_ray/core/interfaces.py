"""Interfaces: the two roles that users write, and those that the loop depends on."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import InvariantError
from fedqs_ray.core.fixed_point import FixedPointSum
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, Progress, RoundRow, Snapshot
from fedqs_ray.core.types import (
    Aggregation,
    Attempt,
    ClientStatistics,
    ClientView,
    Evaluation,
    Job,
    Layout,
    Need,
    Plan,
    Round,
    Start,
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
        """A job ended or a version was made; `look` tells where the run stands. Called often, by the server alone."""

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


class Algorithm(Protocol):
    """A federated algorithm: pure functions of their arguments. The loop never changes for one.

    A subclass has to define `aggregate`; what it leaves out means plain asynchronous SGD on the clients.
    """

    needs: frozenset[Need] = frozenset()
    """What it has to be given."""
    tiers: int = 0
    """0: asynchronous, an aggregation after K arrivals of whoever comes. 1: synchronous, a wave of K clients is sent
    off, and aggregated when all are back. More: so many tiers of clients of like speed, each synchronous by itself."""

    def plan(self, view: ClientView) -> Plan:
        """On the client, before training."""
        return Plan(lr=view.lr)

    def correction(self, view: ClientView) -> Vector | None:  # noqa: ARG002
        """On the client: a vector that every step's gradient gets on top, after clipping (control variates)."""
        return None

    def client_state(self, view: ClientView, plan: Plan, delta: Vector, steps: int) -> Vector | None:  # noqa: ARG002
        """On the client, after training for so many steps: what to keep of its update; None for all of it."""
        return None

    @abstractmethod
    def aggregate(self, round: Round) -> Aggregation:
        """On the server, when the buffer holds K arrivals."""


class Scenario(Protocol):
    """What the world does to the clients. It never sees a model."""

    def attempt(self, start: Start) -> Attempt:
        """The fate of an attempt."""

    def ready(self, client: int, time: float) -> float:
        """The earliest time, not before `time`, at which an idle client can be dispatched; may be infinite."""

    def leaving(self, version: int) -> Sequence[int]:
        """The clients that leave for good when `version` is made."""


class Clock(Protocol):
    """Who knows when jobs end."""

    now: float
    """Virtual seconds."""

    def __len__(self) -> int:
        """Jobs under way."""

    def schedule(self, job: Job) -> None:
        """Note that `job` starts now."""

    def advance(self, *until: float | None) -> None:
        """Let time pass until a job ends, or to the earliest of `until`."""

    def pop(self) -> Job | None:
        """The next job that has ended, with the time of its end; None when there is none for now."""

    def jobs(self) -> list[Job]:
        """All jobs under way, in the order in which they would end."""


Handle = object
"""An executor's own reference to a vector that it keeps."""


class Executor(Protocol):
    """Trains and evaluates, in whatever order and place it likes: no result may depend on that."""

    def initial_model(self) -> tuple[Vector, Layout]:
        """w^0, a function of the configuration and the seed, and its division into tensors."""

    def client_statistics(self) -> ClientStatistics:
        """How many samples each client has, and of which labels."""

    def put(self, vector: Vector) -> Handle:
        """Make a model version or an update available to the clients, once."""

    def get(self, handle: Handle) -> Vector:
        """The vector behind a handle."""

    def submit(self, batch: Sequence[TrainingRequest[Handle]]) -> None:
        """Queue jobs to be trained together. Jobs that end earlier in virtual time are needed earlier."""

    def restore(self, job: Job, update: Update) -> None:
        """Take over the update of a job that was trained before: `result` will hand it out."""

    def result(self, job: Job) -> Update:
        """Wait for a submitted job and hand over its update. Each job is asked for at most once."""

    def fetch(self, job: Job) -> Vector:
        """The vector of an update that `result` handed over without it."""

    def add_up(self, shares: Sequence[tuple[Job, float]], size: int, unit: int) -> FixedPointSum:
        """The weighted sum of such vectors of `size` numbers, in units of 2^-unit; see sums.py."""

    def discard(self, job: Job) -> None:
        """Forget a job and its update: its client left, or the round is over, and nobody will ask any more."""

    def evaluate(self, version: int, model: Handle) -> None:
        """Queue an evaluation on the test samples."""

    def evaluation(self, version: int, wait: bool) -> Evaluation | None:
        """The evaluation of a version; None if it is not ready and `wait` is false. Asked for once."""

    def validate(self, model: Handle) -> NDArray[np.int64] | None:
        """(N,) how many of its validation samples a model gets right at each client; None where nobody can tell."""


class UpdatesAtHand:
    """For executors whose updates always have their vectors with them."""

    def fetch(self, job: Job) -> Vector:
        raise InvariantError(f"no update of client {job.client} is remote")

    def add_up(self, shares: Sequence[tuple[Job, float]], size: int, unit: int) -> FixedPointSum:
        raise InvariantError(f"no update of client {shares[0][0].client} is remote, for sums of {size} at {unit}")


def fetch_delta(executor: Executor, job: Job, update: Update) -> Vector:
    """d_i, wherever it is."""
    return executor.fetch(job) if update.vector is None else update.delta


class Recorder(Protocol):
    """Receives rows and answers nothing."""

    def job(self, row: JobRow) -> None:
        """A job ended."""

    def round(self, row: RoundRow) -> None:
        """A version was made (and evaluated, if it is to be)."""

    def save(self, state: Snapshot) -> None:
        """Keep `state` and the rows before it, so that the run can go on from here."""

    def finish(self, clients: list[ClientRow], labels: list[LabelRow], model: dict[str, Vector]) -> None:
        """The run is over."""
