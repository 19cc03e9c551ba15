"""The loop. It reads from top to bottom as the paper's figure does: dispatch, arrive, aggregate.

Three laws are kept here:

1. Virtual time decides order. Jobs are settled at their virtual arrival, in the order (time, client),
   whenever and wherever their training really finishes.
2. Every dispatched job ends exactly once: arrived, lost, rejected, or unfinished when the run ends.
3. Only this file changes the schedule, the version and the client table.

Events at the same virtual time: first all arrivals and losses in client order, aggregating as the
buffer fills (then whoever leaves at the new version is gone), then a buffer that waited too long, then
dispatch of every idle client on the newest version.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedqs_ray.config import Experiment
from fedqs_ray.messages import Algorithm, Arrival, Job, Progress, Round, Scenario, Start, Thresholds, Update, Vector
from fedqs_ray.seeding import stream
from fedqs_ray.simulation.clients import ClientTable
from fedqs_ray.simulation.clock import Clock, VirtualClock
from fedqs_ray.simulation.executor import Executor, Handle, Recorder
from fedqs_ray.simulation.ledger import Ledger


class SimulationStopped(RuntimeError):
    """The run cannot go on. The message says why; the tables up to here are complete."""

    folder: str | None = None
    """Where they are."""


@dataclass(frozen=True, slots=True)
class Version:
    """A model version that some client may still start from."""

    model: Vector
    handle: Handle


class Server:
    """One run of one experiment."""

    def __init__(
        self,
        experiment: Experiment,
        algorithm: Algorithm,
        scenario: Scenario,
        executor: Executor,
        recorder: Recorder,
        clock: Clock | None = None,
    ) -> None:
        self.experiment = experiment
        self.algorithm = algorithm
        self.scenario = scenario
        self.executor = executor
        self.ledger = Ledger(experiment, executor, recorder)
        self.clock: Clock = VirtualClock() if clock is None else clock
        self.clients = ClientTable(experiment.clients.count, experiment.training.lr)
        self.thresholds = Thresholds()
        self.version = -1
        self.versions: dict[int, Version] = {}
        self.users: Counter[int] = Counter()
        """How many jobs under way or in the buffer started from each version."""
        self.buffer: list[tuple[Job, Update]] = []
        self.deadline: float | None = None
        """When a buffer that is not full is aggregated all the same, in virtual seconds."""
        self.samplings = 0
        self.rejected_in_a_row = 0

    def run(self) -> Iterator[Progress]:
        """Run to the last round; yields at every version. Raises `SimulationStopped`."""
        rounds, size = self.experiment.run.rounds, self.experiment.server.buffer_size
        model, self.layout = self.executor.initial_model()
        self.clients.ready[:] = [self.scenario.ready(client, 0.0) for client in range(self.clients.ready.size)]
        self.publish(model)
        yield self.progress()
        while self.version < rounds:
            self.dispatch()
            wake = self.clients.next_ready(self.clock.now)
            if not len(self.clock) and self.deadline is None and wake is None:
                self.stop(f"no client is left to fill the buffer of {size}, which holds {len(self.buffer)}")
            self.clock.advance(self.deadline, wake)
            while self.version < rounds and (job := self.clock.pop()):
                self.settle(job)
                if len(self.buffer) == size:
                    self.aggregate()
                    yield self.progress()
            if self.version < rounds and self.deadline is not None and self.deadline <= self.clock.now:
                self.aggregate()
                yield self.progress()
        self.finish()
        yield self.progress()

    # 1. Dispatch: idle clients receive the newest version

    def dispatch(self) -> None:
        """Send idle clients off: all, or a uniform sample that fills `clients.concurrency`."""
        idle = self.clients.idle(self.clock.now)
        free = self.experiment.clients.at_once - int(np.count_nonzero(self.clients.busy))
        if free and idle.size > free:
            draw = stream(self.experiment.seed, "sampling", attempt=self.samplings)
            self.samplings += 1
            idle = np.sort(draw.choice(idle, free, replace=False))
        for client in idle[:free].tolist():
            self.start(client)

    def start(self, client: int) -> None:
        """Start one job; one that will be lost is never trained."""
        table, newest = self.clients, self.versions[self.version]
        attempt = int(table.attempts[client])
        start = Start(client, attempt, self.version, self.clock.now, newest.model.nbytes)
        fate = self.scenario.attempt(start)
        job = Job(
            client=client,
            attempt=attempt,
            version=self.version,
            start=self.clock.now,
            end=self.clock.now + fate.duration,
            lost=fate.lost,
            lr=float(table.lr[client]),
            speed=table.speed(client),
            thresholds=self.thresholds,
        )
        table.attempts[client] += 1
        table.busy[client] = True
        self.ledger.dispatched += 1
        self.users[job.version] += 1
        self.clock.schedule(job)
        if not job.lost:
            before = self.versions.get(self.version - 1) if self.algorithm.needs_history else None
            last = table.last_update.get(client)
            self.executor.submit(job, newest.handle, before.handle if before else None, last)

    # 2. Arrive: the update enters the buffer, or is lost or rejected

    def settle(self, job: Job) -> None:
        """End one job at its virtual time; its client becomes idle."""
        self.clients.busy[job.client] = False
        self.clients.ready[job.client] = self.scenario.ready(job.client, self.clock.now)
        if job.lost or self.clients.gone[job.client]:
            if not job.lost:
                self.executor.discard(job)
            self.release(job)
            self.ledger.end(job, "lost")
            return
        update = self.executor.result(job)
        if not update.finite:
            self.reject(job, update)
            return
        self.rejected_in_a_row = 0
        self.clients.arrive(job.client, update, keep=self.algorithm.needs_history)
        self.buffer.append((job, update))
        timeout = self.experiment.server.buffer_timeout
        if timeout is not None and self.deadline is None:
            self.deadline = self.clock.now + timeout

    def reject(self, job: Job, update: Update) -> None:
        """Leave out an update with numbers that are not finite; stop when nothing else comes any more."""
        self.release(job)
        self.ledger.end(job, "rejected", update)
        self.rejected_in_a_row += 1
        if self.rejected_in_a_row >= max(self.experiment.clients.count, 10):
            self.stop(
                f"training diverged: the last {self.rejected_in_a_row} updates held numbers that are not "
                f"finite; try a smaller training.lr than {self.experiment.training.lr}"
            )

    def release(self, job: Job) -> None:
        """Let go of the version that a job started from."""
        self.users[job.version] -= 1

    # 3. Aggregate: K arrivals make the next version, or fewer when the buffer's time is over

    def aggregate(self) -> None:
        """Hand the buffer to the algorithm and publish what it returns."""
        table, (buffer, self.buffer), self.deadline = self.clients, (self.buffer, []), None
        table.aggregate([job.client for job, _ in buffer])
        arrivals = tuple(
            Arrival(
                client=job.client,
                delta=update.delta,
                start_model=self.versions[job.version].model,
                samples=update.samples,
                staleness=self.version - job.version,
                feedback=update.plan.feedback,
                angle=update.plan.angle,
                count=int(table.aggregated[job.client]),
            )
            for job, update in buffer
        )
        newest = self.versions[self.version].model
        result = self.algorithm.aggregate(Round(newest, arrivals, table.total, table.mean_angle()))
        for (job, update), arrival, weight in zip(buffer, arrivals, result.weights, strict=True):
            self.release(job)
            self.ledger.end(job, "arrived", update, self.version + 1, arrival.staleness, weight)
        self.publish(result.model, arrivals, [update.loss for _, update in buffer])

    def publish(self, model: Vector, arrivals: tuple[Arrival, ...] = (), losses: list[float] | None = None) -> None:
        """Make `model` the newest version, with the thresholds that go with it; forget unused ones."""
        self.version += 1
        handle = self.executor.publish(self.version, model)
        self.versions[self.version] = Version(model, handle)
        self.thresholds = self.clients.thresholds()
        self.clients.gone[list(self.scenario.leaving(self.version))] = True
        for old in [v for v in self.versions if v < self.version - 1 and not self.users[v]]:
            del self.versions[old], self.users[old]
        self.ledger.publish(self.version, self.clock.now, handle, arrivals, losses or [])

    # 4. Finish: account for every job

    def finish(self) -> None:
        """End what is still under way, then close the ledger."""
        for job, update in self.buffer:
            self.release(job)
            self.ledger.end(job, "unfinished", update)
        for job in self.clock.drain():
            self.release(job)
            self.ledger.end(job, "unfinished")
        assert not any(self.users.values()), "every ended job lets go of its version"
        self.ledger.close(self.clients, self.layout, self.versions[self.version].model)

    def stop(self, reason: str) -> None:
        """End the run early and keep what there is."""
        self.finish()
        raise SimulationStopped(f"stopped after round {self.version} of {self.experiment.run.rounds}: {reason}")

    def progress(self) -> Progress:
        """Where the run stands."""
        return Progress(
            round=self.version,
            rounds=self.experiment.run.rounds,
            time=self.clock.now,
            updates=self.ledger.ended["arrived"],
            accuracy=self.ledger.accuracy,
        )
