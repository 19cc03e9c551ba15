"""ServerActor: runs the loop in a Ray actor of its own. It owns the client actors, so they end when it ends."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from fedqs_ray.backends.ray.actor_group import ActorGroup
from fedqs_ray.backends.ray.client_actor import ClientActor
from fedqs_ray.backends.ray.executor import RayExecutor
from fedqs_ray.backends.ray.shared_data import SharedData
from fedqs_ray.backends.ray.wall_clock import WaitingClientActor, WallClockExecutor
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import Interrupted, SimulationStopped
from fedqs_ray.core.interfaces import Algorithm, Observer, Scenario, observe
from fedqs_ray.core.rows import Progress, Snapshot
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.simulation.server import Server
from fedqs_ray.simulation.snapshot import capture_state, restore_state


@ray.remote(num_cpus=0)
class ServerActor:
    """Gathers the clients' futures as they finish and aggregates after K arrivals."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()

    def interrupt(self) -> None:
        """Ask `run` to finish the event, save a checkpoint and raise `Interrupted`."""
        self.interrupted.set()

    def run(
        self,
        experiment: Experiment,
        algorithm: Algorithm,
        scenario: Scenario,
        data: SharedData,
        actors: int,
        folder: Path,
        rows: Mapping[str, int] | None,
        observers: Sequence[Observer],
        earlier: Callable[[], Snapshot] | None = None,
    ) -> Iterator[Progress]:
        """Run in `folder` to the end, from the start or from an `earlier` state; a streaming generator of progress.

        `rows` are how many rows of the folder's tables an earlier state stands for.
        """
        executor = start_executor(experiment, algorithm, data, actors)
        clock = executor if isinstance(executor, WallClockExecutor) else None
        recorder = FolderRecorder(folder, rows, observers)
        server = Server(experiment, algorithm, scenario, executor, recorder, clock)
        due = CheckpointSchedule(experiment.run.checkpoint_every)

        def look() -> Progress:
            return replace(server.progress(), retries=executor.retries)

        try:
            with observe(observers):
                if earlier:
                    restore_state(server, earlier())
                for made in server.run():
                    progress = made and replace(made, retries=executor.retries)
                    for observer in observers:
                        if progress:
                            observer.version(progress)
                        observer.event(look)
                    stop = self.interrupted.is_set() and not server.over
                    if clock is None and not server.over and (stop or due(progress)):
                        recorder.save(capture_state(server))
                    if stop:
                        raise Interrupted(f"interrupted after round {server.state.version} of {experiment.run.rounds}")
                    if progress:
                        yield progress
        except OSError as error:
            reason = error.strerror or str(error)
            raise SimulationStopped(f"stopped after round {server.state.version}: cannot write: {reason}") from None


def start_executor(
    experiment: Experiment, algorithm: Algorithm, data: SharedData, actors: int
) -> RayExecutor | WallClockExecutor:
    """Start the client actors of an experiment, and the executor that drives them."""
    clients = experiment.clients
    hosted = clients.clients_per_actor if isinstance(clients.clients_per_actor, int) else None
    reserved: Any = {"num_cpus": clients.num_cpus, "num_gpus": clients.num_gpus, "scheduling_strategy": "SPREAD"}
    if experiment.run.clock == "wall":
        waiting = WaitingClientActor.options(**reserved, max_concurrency=clients.count + 10)  # type: ignore[attr-defined]
        group = ActorGroup(lambda: waiting.remote(experiment, data.reference, algorithm), actors)
        return WallClockExecutor(group, data.statistics, experiment.run.seconds_per_tick, hosted)
    make = ClientActor.options(**reserved)  # type: ignore[attr-defined]
    group = ActorGroup(lambda: make.remote(experiment, data.reference, algorithm), actors)
    stores_updates = bool(algorithm.needs & {"client_state", "client_states"})
    return RayExecutor(group, data.statistics, hosted, stores_updates)


class CheckpointSchedule:
    """Checkpoint schedule: every so many rounds or real seconds, and at the last round of a run that made any."""

    def __init__(self, every: int | str) -> None:
        self.rounds = every if isinstance(every, int) else None
        self.seconds = math.inf if every == "never" else float(every[:-1]) if isinstance(every, str) else None
        self.made = False
        self._last = time.monotonic()

    def __call__(self, progress: Progress | None) -> bool:
        """Whether now is the time."""
        due = False
        if self.seconds is not None:
            due = time.monotonic() - self._last >= self.seconds
        elif self.rounds is not None and progress:
            due = progress.round > 0 and progress.round % self.rounds == 0
        if due or (self.made and progress is not None and progress.round == progress.rounds):
            self.made, self._last = True, time.monotonic()
            return True
        return False
