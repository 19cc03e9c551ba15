"""The loop. It reads from top to bottom as the paper's figure does: dispatch, arrive, aggregate.

Three laws are kept here:

1. Virtual time decides order. Jobs are settled at their virtual arrival, in the order (time, client),
   whenever and wherever their training really finishes.
2. Every dispatched job ends exactly once: arrived, lost, rejected, or unfinished when the run ends.
3. Only this file changes the schedule, the version and the client table.

Events at the same virtual time: first all arrivals and losses in client order, aggregating as the
buffer fills (then whoever leaves at the new version is gone), then a buffer that waited too long, then
dispatch of the idle clients on the newest version.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import InvariantError, SimulationStopped
from fedqs_ray.core.interfaces import Algorithm, Clock, Executor, Recorder, Scenario, TrainingRequest, fetch_delta
from fedqs_ray.core.random import stream
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Aggregation, Job, Rejection, Start, Thresholds, Update
from fedqs_ray.simulation.batches import TrainingBatches
from fedqs_ray.simulation.buffer import Entry, make_buffer
from fedqs_ray.simulation.client_table import ClientTable
from fedqs_ray.simulation.clock import VirtualClock
from fedqs_ray.simulation.ledger import Ledger
from fedqs_ray.simulation.model_versions import ModelVersion, ModelVersions
from fedqs_ray.simulation.round_input import build_round
from fedqs_ray.simulation.update_checks import advise, check_aggregation, check_update


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
        self.experiment, self.executor = experiment, executor
        self.algorithm, self.scenario = algorithm, scenario
        self.ledger = Ledger(experiment, executor, recorder)
        self.clock: Clock = VirtualClock() if clock is None else clock
        self.clients = ClientTable(experiment.clients.count, experiment.training.lr)
        self.thresholds = Thresholds()
        self.version = -1
        self.versions = ModelVersions("previous" in algorithm.needs)
        self.cohorts = TrainingBatches(experiment.cohort)
        self.buffer = make_buffer(algorithm.tiers, experiment, scenario)
        self.memory: Mapping[str, NDArray[Any]] = {}
        """The algorithm's own state, between two aggregations."""
        self.deadline: float | None = None
        """When a buffer that is not full is aggregated all the same, in virtual seconds."""
        self.samplings = 0
        self.rejected_in_a_row = 0
        self.over = False
        """Every job is accounted for."""

    def run(self) -> Iterator[Progress | None]:
        """Run to the last round, from the start or from a restored state. Raises `SimulationStopped`.

        Yields after every event, with the progress where it made a version: `state.capture` may be called
        there, and the rest of the instant follows as if nothing had been.
        """
        model, self.layout = self.executor.initial_model()
        if self.version < 0:
            self.clients.ready[:] = [self.scenario.ready(client, 0.0) for client in range(self.clients.ready.size)]
            self.clients.count_up()
            self.publish(Aggregation(model, ()))
            yield from self.tell()
        while True:
            yield from self.events()
            if self.version >= self.experiment.run.rounds:
                break
            self.dispatch()
            wake = self.clients.next_ready(self.clock.now)
            if not len(self.clock) and self.deadline is None and wake is None:
                size = self.experiment.server.buffer_size
                self.stop(f"no client is left to fill the buffer of {size}, which holds {len(self.buffer.entries)}")
            self.clock.advance(self.deadline, wake)
            self.submit(self.cohorts.due(self.clock.now))
        self.finish()
        yield from self.tell()

    def events(self) -> Iterator[Progress | None]:
        """What happens now: jobs end, the buffer fills or waited too long."""
        rounds = self.experiment.run.rounds
        while self.version < rounds and (job := self.clock.pop()):
            self.settle(job)
            if entries := self.buffer.ready():
                self.aggregate(entries)
                yield from self.tell()
            else:
                yield None
        if self.version < rounds and self.deadline is not None and self.deadline <= self.clock.now:
            self.aggregate(self.buffer.entries)
            yield from self.tell()

    # 1. Dispatch: idle clients receive the newest version

    def dispatch(self) -> None:
        """Send idle clients off: all, or those that the buffer chooses."""
        idle = self.clients.idle(self.clock.now)
        draw = partial(stream, self.experiment.seed, "sampling", attempt=self.samplings)
        chosen = self.buffer.choose(idle, self.clients, self.experiment.clients.at_once, draw)
        self.samplings += 0 < len(chosen) < len(idle)
        for client in sorted(chosen):
            self.start(client)
        self.submit(self.cohorts.full())

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
            fault=fate.fault,
        )
        table.start(client)
        self.ledger.dispatched += 1
        self.clock.schedule(job)
        self.versions.hold(job)
        self.buffer.start(job)
        if not job.lost:
            self.cohorts.add(job)

    def submit(self, cohorts: list[list[Job]]) -> None:
        """Hand jobs to the executor, with the vectors that they need."""
        versions, kept = self.versions, self.clients.kept if "kept" in self.algorithm.needs else {}
        for cohort in cohorts:
            self.executor.submit([TrainingRequest(job, *versions.handles(job), kept.get(job.client)) for job in cohort])

    # 2. Arrive: the update enters the buffer, or is lost or rejected

    def settle(self, job: Job) -> None:
        """End one job at its virtual time; its client becomes idle."""
        self.clients.end(job.client, self.scenario.ready(job.client, self.clock.now))
        self.buffer.end(job)
        if job.lost or self.clients.gone[job.client]:
            self.cohorts.end(job)
            self.let_go(job)
            self.ledger.end(job, "lost")
            return
        self.submit(self.cohorts.until(job))
        update = self.executor.result(job)
        self.cohorts.end(job)
        size, most = self.versions[self.version].model.size, self.experiment.server.max_update_norm
        if why := check_update(update, size, most, partial(fetch_delta, self.executor, job, update)):
            self.reject(job, update, why)
            return
        self.rejected_in_a_row = 0
        needs = self.algorithm.needs
        before = self.clients.kept.get(job.client) if "cache" in needs else None
        self.clients.arrive(job.client, update, keep=bool(needs & {"kept", "cache"}))
        self.buffer.entries.append(Entry(job, update, before))
        if (timeout := self.experiment.server.buffer_timeout) is not None and self.deadline is None:
            self.deadline = self.clock.now + timeout

    def reject(self, job: Job, update: Update, why: Rejection) -> None:
        """Leave out an update; its client goes on. Stop when nothing else comes any more."""
        self.let_go(job)
        self.ledger.end(job, "rejected", update, rejection=why)
        self.rejected_in_a_row += 1
        if (count := self.rejected_in_a_row) >= max(self.experiment.clients.count, 10):
            self.stop(f"the last {count} updates were all rejected ({why}): {advise(why, self.experiment)}")

    # 3. Aggregate: K arrivals make the next version, or fewer when the buffer's time is over

    def aggregate(self, entries: list[Entry]) -> None:
        """Hand a round's entries to the algorithm and publish what it returns."""
        self.clients.aggregate([entry.job.client for entry in entries])
        shown = build_round(self, entries)
        result = self.algorithm.aggregate(shown)
        if why := check_aggregation(result, shown):
            self.stop(f"{self.experiment.title} returned {why}")
        self.buffer.take(entries)
        self.deadline = None
        self.memory = result.state
        for entry, arrival, weight in zip(entries, shown.arrivals, result.weights, strict=True):
            self.versions.release(entry.job)
            self.ledger.end(entry.job, "arrived", entry.update, self.version + 1, arrival.staleness, weight)
        self.publish(result, entries)
        for entry in entries:
            self.executor.discard(entry.job)

    def publish(self, made: Aggregation, entries: Sequence[Entry] = ()) -> None:
        """Make a model the newest version, with what goes with it; forget unused ones."""
        self.version += 1
        handle = self.executor.put(made.model)
        companion = None if made.companion is None else self.executor.put(made.companion)
        self.versions.add(self.version, ModelVersion(self.executor.get(handle), handle, companion))
        self.thresholds = self.clients.thresholds()
        self.clients.leave(self.scenario.leaving(self.version))
        self.versions.forget(self.version)
        self.ledger.publish(self.version, self.clock.now, handle, self.layout.parameters, entries)

    # 4. Finish: account for every job

    def finish(self) -> None:
        """End what is still under way, then close the ledger."""
        waiting = [(entry.job, entry.update) for entry in self.buffer.entries]
        left: list[tuple[Job, Update | None]] = [*waiting, *((job, None) for job in self.clock.jobs())]
        for job, update in left:
            self.let_go(job)
            self.ledger.end(job, "unfinished", update)
        if not self.versions.free or self.ledger.ended.total() != self.ledger.dispatched:
            raise InvariantError("every dispatched job ends exactly once, and lets go of its versions")
        self.over = True
        last = self.versions[self.version]
        self.ledger.close(self.version, self.clients, self.layout, last.model, last.handle)

    def let_go(self, job: Job) -> None:
        """Nobody will ask for a job's vectors any more."""
        self.versions.release(job)
        self.executor.discard(job)

    def stop(self, reason: str) -> None:
        """End the run early and keep what there is."""
        self.finish()
        raise SimulationStopped(f"stopped after round {self.version} of {self.experiment.run.rounds}: {reason}")

    def tell(self) -> Iterator[Progress]:
        """Where the run stands, and once what was evaluated."""
        told = self.progress()
        yield told
        del self.ledger.news[: len(told.evaluations)]

    def progress(self) -> Progress:
        """Where the run stands."""
        return self.ledger.progress(self.version, self.clock.now, len(self.clock), len(self.buffer.entries))
