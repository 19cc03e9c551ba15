"""The loop. It reads from top to bottom as the paper's figure does: dispatch, arrive, aggregate, finish.

Three laws are kept here:

1. Virtual time decides order. Jobs are settled at their virtual arrival, in the order (time, client),
   whenever and wherever their training really finishes.
2. Every dispatched job ends exactly once: arrived, lost, rejected, or unfinished when the run ends.
3. State has one owner: only the events below change `ServerState`, through its methods.

Events at the same virtual time: first all arrivals and losses in client order, aggregating as the
buffer fills (then whoever leaves at the new version is gone), then a buffer that waited too long, then
dispatch of the idle clients on the newest version.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import InvariantError, SimulationStopped
from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, Clock, Executor, Recorder, Scenario, fetch_delta
from fedqs_ray.core.random import stream
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Job, Outcome, Rejection, Start, TrainingRequest, Update
from fedqs_ray.simulation.batches import TrainingBatches
from fedqs_ray.simulation.clock import VirtualClock
from fedqs_ray.simulation.ledger import Ledger
from fedqs_ray.simulation.model_versions import ModelVersion
from fedqs_ray.simulation.round_input import build_round
from fedqs_ray.simulation.state import ServerState
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
        self.state = ServerState(experiment, algorithm, scenario)
        self.ledger = Ledger(experiment, executor, recorder, self.state)
        self.clock: Clock = VirtualClock() if clock is None else clock
        self.batches = TrainingBatches(experiment.clients_per_step)
        self.over = False
        """Every job is accounted for."""

    def run(self) -> Iterator[Progress | None]:
        """Run to the last round, from the start or from a restored state. Raises `SimulationStopped`.

        Yields after every event, with the progress where it made a version: `snapshot.capture_state` may be called
        there, and the rest of the instant follows as if nothing had been.
        """
        state = self.state
        model, self.layout = self.executor.initial_model()
        if state.version < 0:
            ready = [self.scenario.ready(client, 0.0) for client in range(self.experiment.clients.count)]
            state.clients.begin(ready)
            self.publish(Aggregation(model, ()))
            yield from self.report()
        while True:
            yield from self.events()
            if state.version >= self.experiment.run.rounds:
                break
            self.dispatch()
            wake = state.clients.next_ready(self.clock.now)
            if not len(self.clock) and state.deadline is None and wake is None:
                size, held = self.experiment.server.buffer_size, len(state.buffer.arrivals)
                self.stop(f"no client is left to fill the buffer of {size}, which holds {held}")
            self.clock.advance(state.deadline, wake)
            self.submit(self.batches.due(self.clock.now))
        self.finish()
        yield from self.report()

    def events(self) -> Iterator[Progress | None]:
        """Events of this instant: jobs end, the buffer fills or its time is over."""
        state, rounds = self.state, self.experiment.run.rounds
        while state.version < rounds and (job := self.clock.pop()):
            self.settle(job)
            if arrivals := state.buffer.ready():
                self.aggregate(arrivals)
                yield from self.report()
            else:
                yield None
        if state.version < rounds and state.deadline is not None and state.deadline <= self.clock.now:
            self.aggregate(state.buffer.arrivals)
            yield from self.report()

    # 1. Dispatch: idle clients receive the newest version

    def dispatch(self) -> None:
        """Send idle clients off: all, or those that the buffer chooses."""
        state = self.state
        idle = state.clients.idle(self.clock.now)
        draw = partial(stream, self.experiment.seed, "sampling", attempt=state.samplings)
        chosen = state.buffer.choose(idle, state.clients, self.experiment.clients.at_once, draw)
        if 0 < len(chosen) < len(idle):
            state.count_sampling()
        for client in sorted(chosen):
            self.start(client)
        self.submit(self.batches.full())

    def start(self, client: int) -> None:
        """Start one job; one that will be lost is never trained."""
        state, now = self.state, self.clock.now
        attempt = int(state.clients.attempts[client])
        fate = self.scenario.attempt(Start(client, attempt, state.version, now, state.newest.model.nbytes))
        job = state.dispatch(client, attempt, fate, now)
        self.clock.schedule(job)
        if not job.lost:
            self.batches.add(job)

    def submit(self, batches: list[list[Job]]) -> None:
        """Hand jobs to the executor, with the vectors that they need."""
        state = self.state
        own = state.clients.client_states if "client_state" in state.needs else {}
        for batch in batches:
            self.executor.submit(
                [TrainingRequest(job, *state.versions.handles(job), own.get(job.client)) for job in batch]
            )

    # 2. Arrive: the update enters the buffer, or is lost or rejected

    def settle(self, job: Job) -> None:
        """End one job at its virtual time; its client becomes idle."""
        state = self.state
        state.end(job, self.scenario.ready(job.client, self.clock.now))
        if job.lost or state.clients.gone[job.client]:
            self.batches.end(job)
            self.drop(job, "lost")
            return
        self.submit(self.batches.until(job))
        update = self.executor.result(job)
        self.batches.end(job)
        size, most = state.newest.model.size, self.experiment.server.max_update_norm
        if why := check_update(update, size, most, partial(fetch_delta, self.executor, job, update)):
            self.reject(job, update, why)
            return
        before = state.clients.client_states.get(job.client) if "client_states" in state.needs else None
        arrival = Arrival(
            job,
            update,
            start_model=state.versions[job.version].model,
            previous_client_state=None if before is None else self.executor.get(before),
            fetch=partial(self.executor.fetch, job) if update.vector is None else None,
        )
        state.arrive(arrival, self.clock.now)

    def reject(self, job: Job, update: Update, why: Rejection) -> None:
        """Leave out an update; its client goes on. Stop when nothing else comes any more."""
        state = self.state
        self.drop(job, "rejected", update, why)
        state.reject()
        enough = max(self.experiment.clients.at_once, self.experiment.server.buffer_size, 10)
        if (count := state.rejected_in_a_row) >= enough:
            self.stop(f"the last {count} updates were all rejected ({why}): {advise(why, self.experiment)}")

    def drop(self, job: Job, outcome: Outcome, update: Update | None = None, why: Rejection | None = None) -> None:
        """A job ends without a part in any version."""
        self.state.release(job, outcome)
        self.executor.discard(job)
        self.ledger.end(job, outcome, update, rejection=why)

    # 3. Aggregate: K arrivals make the next version, or fewer when the buffer's time is over

    def aggregate(self, arrivals: list[Arrival]) -> None:
        """Hand a round's arrivals to the algorithm and publish what it returns."""
        state = self.state
        shown = build_round(state, arrivals, self.executor, self.layout)
        made = self.algorithm.aggregate(shown)
        if why := check_aggregation(made, shown):
            self.stop(f"{self.experiment.title} returned {why}")
        state.aggregate(arrivals, made)
        for arrival, weight in zip(shown.arrivals, made.weights, strict=True):
            state.release(arrival.job, "arrived")
            self.ledger.end(arrival.job, "arrived", arrival.update, state.version + 1, arrival.staleness, weight)
        self.publish(made, shown.arrivals)
        for arrival in shown.arrivals:
            self.executor.discard(arrival.job)

    def publish(self, made: Aggregation, arrivals: Sequence[Arrival] = ()) -> None:
        """Make a model the newest version, with what goes with it; forget unused ones."""
        state = self.state
        handle = self.executor.put(made.model)
        extra = None if made.extra is None else self.executor.put(made.extra)
        # Read back, so that of a large model only the executor's copy stays, which all clients share.
        state.publish(ModelVersion(self.executor.get(handle), handle, extra))
        state.leave(list(self.scenario.leaving(state.version)))
        self.ledger.publish(self.clock.now, self.layout.parameters, arrivals)

    # 4. Finish: account for every job

    def finish(self) -> None:
        """End what is still under way, then close the ledger."""
        for arrival in self.state.buffer.arrivals:
            self.drop(arrival.job, "unfinished", arrival.update)
        for job in self.clock.jobs():
            self.drop(job, "unfinished")
        if not self.state.settled:
            raise InvariantError("every dispatched job ends exactly once, and lets go of its versions")
        self.over = True
        self.ledger.close(self.layout)

    def stop(self, reason: str) -> None:
        """End the run early and keep what there is."""
        self.finish()
        rounds = self.experiment.run.rounds
        raise SimulationStopped(f"stopped after round {self.state.version} of {rounds}: {reason}")

    def report(self) -> Iterator[Progress]:
        """Where the run stands, with every evaluation once."""
        progress = self.progress()
        yield progress
        del self.ledger.pending_evaluations[: len(progress.evaluations)]

    def progress(self) -> Progress:
        """Where the run stands."""
        return self.ledger.progress(self.clock.now, len(self.clock))
