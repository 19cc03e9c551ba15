"""The state of a run. Events change it through its methods, and nothing else does."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, Handle, Scenario
from fedqs_ray.core.types import Attempt, Job, Outcome, Thresholds
from fedqs_ray.simulation.buffer import make_buffer
from fedqs_ray.simulation.client_table import ClientTable
from fedqs_ray.simulation.model_versions import ModelVersion, ModelVersions


class ServerState:
    """What the server knows between two events."""

    def __init__(self, experiment: Experiment, algorithm: Algorithm, scenario: Scenario) -> None:
        self.experiment = experiment
        self.needs = algorithm.needs
        self.clients = ClientTable(experiment.clients.count, experiment.training.lr)
        self.buffer = make_buffer(algorithm.tiers, experiment, scenario)
        self.versions = ModelVersions("previous" in algorithm.needs)
        self.version = -1
        """The newest version; -1 before the first."""
        self.thresholds = Thresholds()
        self.algorithm_state: Mapping[str, NDArray[Any]] = {}
        """What the algorithm hands from one aggregation to the next."""
        self.deadline: float | None = None
        """When a buffer that is not full is aggregated all the same, in virtual seconds."""
        self.samplings = 0
        """How often clients were sampled for dispatch."""
        self.rejected_in_a_row = 0
        self.dispatched = 0
        self.ended: Counter[Outcome] = Counter()
        """Jobs by how they ended."""

    @property
    def newest(self) -> ModelVersion:
        """The newest version."""
        return self.versions[self.version]

    def dispatch(self, client: int, attempt: int, fate: Attempt, now: float) -> Job:
        """A client receives the newest version."""
        table = self.clients
        job = Job(
            client=client,
            attempt=attempt,
            version=self.version,
            start=now,
            end=now + fate.duration,
            lost=fate.lost,
            lr=float(table.lr[client]),
            speed=table.speed(client),
            thresholds=self.thresholds,
            fault=fate.fault,
        )
        table.start(client)
        self.dispatched += 1
        self.resume(job)
        return job

    def resume(self, job: Job) -> None:
        """A job is under way: keep the versions that it needs."""
        self.versions.hold(job)
        self.buffer.start(job)

    def count_sampling(self) -> None:
        """Some of the idle clients were drawn; the next draw is another one."""
        self.samplings += 1

    def end(self, job: Job, ready: float) -> None:
        """A job has ended, however; its client can be dispatched again at `ready`."""
        self.clients.end(job.client, ready)
        self.buffer.end(job)

    def arrive(self, arrival: Arrival, now: float) -> None:
        """An update enters the buffer, and the server learns what came with it."""
        self.rejected_in_a_row = 0
        self.clients.arrive(arrival.client, arrival.update, keep=bool(self.needs & {"client_state", "client_states"}))
        self.buffer.arrivals.append(arrival)
        timeout = self.experiment.server.buffer_timeout
        if timeout is not None and self.deadline is None:
            self.deadline = now + timeout

    def reject(self) -> None:
        """An update is left out."""
        self.rejected_in_a_row += 1

    def release(self, job: Job, outcome: Outcome) -> None:
        """A job is accounted for, and needs no version any more."""
        self.versions.release(job)
        self.ended[outcome] += 1

    def aggregate(self, arrivals: list[Arrival], made: Aggregation) -> None:
        """Arrivals became an aggregation: they leave the buffer, and their clients are counted."""
        self.clients.aggregate([arrival.client for arrival in arrivals])
        self.buffer.take(arrivals)
        self.deadline = None
        self.algorithm_state = made.state

    def publish(self, version: ModelVersion) -> None:
        """There is a new version, and the population means that go with it."""
        self.version += 1
        self.versions.add(self.version, version)
        self.thresholds = self.clients.thresholds()

    def leave(self, clients: list[int]) -> None:
        """Clients leave for good; versions that no job needs any more are forgotten."""
        self.clients.leave(clients)
        self.versions.forget(self.version)

    def restore(
        self,
        *,
        columns: Mapping[str, NDArray[Any]],
        total: int,
        client_states: dict[int, Handle],
        versions: Mapping[int, ModelVersion],
        version: int,
        thresholds: Thresholds,
        algorithm_state: Mapping[str, NDArray[Any]],
        deadline: float | None,
        samplings: int,
        rejected_in_a_row: int,
        dispatched: int,
        ended: Mapping[Outcome, int],
        arrivals: list[Arrival],
    ) -> None:
        """Go on from a snapshot; jobs under way are added with `resume`."""
        self.clients.restore(columns, total, client_states)
        for number, one in versions.items():
            self.versions.add(number, one)
        self.version, self.thresholds, self.algorithm_state = version, thresholds, algorithm_state
        self.deadline, self.samplings, self.rejected_in_a_row = deadline, samplings, rejected_in_a_row
        self.dispatched, self.ended = dispatched, Counter(ended)
        self.buffer.arrivals = arrivals
        for arrival in arrivals:
            self.versions.hold(arrival.job)

    @property
    def settled(self) -> bool:
        """Whether every dispatched job has ended once and let go of its versions."""
        return self.versions.free and self.ended.total() == self.dispatched
