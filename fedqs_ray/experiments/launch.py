"""Launch a run: make data, algorithm and scenario, start Ray, claim the folder."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.interfaces import Observer, OnProgress
from fedqs_ray.core.rows import Progress
from fedqs_ray.runs.lock import hold_lock
from fedqs_ray.runs.store import Mirror
from fedqs_ray.scenarios.trace_file import read_trace
from fedqs_ray.simulation.snapshot import Facts


class VersionCallback(Observer):
    """Calls a function at every version of a run."""

    def __init__(self, call: OnProgress) -> None:
        self.call = call

    def version(self, progress: Progress) -> None:
        self.call(progress)


def launch_run(
    experiment: Experiment,
    prepare: Callable[[], Path],
    on_progress: OnProgress | None,
    checkpoint: tuple[Path, Facts] | None = None,
    mirror: Mirror | None = None,
) -> Path:
    """Start Ray if need be, `prepare` the folder, run in it: perhaps from a checkpoint, with what it holds.

    Returns the folder. Its `mirror`, if it has one, is refreshed as the run goes on.
    """
    from fedqs_ray.algorithms.registry import build_algorithm
    from fedqs_ray.backends.ray.driver import drive_run
    from fedqs_ray.backends.ray.memory_check import check_memory
    from fedqs_ray.backends.ray.resources import plan_actors
    from fedqs_ray.backends.ray.session import open_session
    from fedqs_ray.scenarios.scenario import build_scenario
    from fedqs_ray.tasks.loading import load_data

    if experiment.run.tensorboard and not find_spec("tensorboard"):
        raise ConfigError("run.tensorboard = true: needs TensorBoard; pip install 'fedqs_ray[tensorboard]'")
    data, algorithm = load_data(experiment), build_algorithm(experiment)
    scenario = build_scenario(experiment, read_trace(experiment))
    if checkpoint and not checkpoint[1].data.matches(data.fingerprint):
        raise ConfigError(f"{experiment.run.out}: cannot go on with other data than the run began with")
    observers: list[Observer] = [VersionCallback(on_progress)] if on_progress else []
    name = None
    if mirror:
        refresh, name = mirror.refresh, mirror.store.name
        observers.append(VersionCallback(lambda _: refresh()))
    with open_session(experiment.run.address):
        actors = plan_actors(experiment)
        check_memory(experiment, scenario, algorithm, data.dataset)
        folder = prepare()
        with hold_lock(folder):
            drive_run(experiment, algorithm, scenario, data, actors, folder, observers, checkpoint, name)
    return folder
