"""The simulator's loop in a Flower ServerApp, on a grid of nodes.

Dispatch, buffer, client table, versions, rejections and rows are those of simulation/server.py; the clock is real, and
nodes train, come and go by themselves (nodes.py).
"""

from collections.abc import Callable, Mapping
from typing import Any

from flwr.serverapp import Grid

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.flower.nodes import PAUSE, Nodes
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import assign_setting, validate_experiment
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Evaluation, Job, Layout, Vector
from fedqs_ray.runs.folder import check_folder, claim_folder
from fedqs_ray.runs.lock import hold_lock
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.runs.result import Result
from fedqs_ray.simulation.server import Server

UNKNOWN = {
    "fedat": "sorts clients by their speed, which is unknown of nodes before they begin",
    "safa": "weighs clients by their samples, which are unknown of nodes before their first update",
}
"""Algorithms that need facts of clients that a federation does not give."""


class Deployment(Server):
    """The loop on clients that may be absent and nodes that may fail."""

    def __init__(self, experiment: Experiment, algorithm: Algorithm, nodes: Nodes, recorder: FolderRecorder) -> None:
        super().__init__(experiment, algorithm, nodes, nodes, recorder, nodes)
        self.nodes = nodes

    def dispatch(self) -> None:
        for client in [one for one in self.state.clients.idle(self.clock.now) if not self.nodes.present(one)]:
            self.state.clients.postpone(client, self.clock.now + PAUSE)
        super().dispatch()

    def settle(self, job: Job) -> None:
        super().settle(job)
        if (count := self.nodes.errors_in_a_row) >= max(self.experiment.clients.count, 10):
            self.stop(f"the last {count} replies were all errors: {self.nodes.error}")


def settings(config: Mapping[str, Any]) -> Experiment:
    """The experiment in a Flower app's configuration: `seed`, and all keys with a dot, such as "algorithm.name".

    Keys without one are the app's own. Raises `ConfigError`.
    """
    data: dict[str, Any] = {}
    for key, value in config.items():
        if "." in key or key == "seed":
            assign_setting(data, key.split("."), value)
    return validate_experiment(data)


def serve(
    grid: Grid,
    experiment: Experiment,
    model: Vector,
    evaluate: Callable[[Vector], Evaluation],
    *,
    layout: Layout | None = None,
    ttl: float = 3600.0,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Run an experiment's algorithm on the nodes of a grid; returns its `Result`, as `fedqs_ray.run` does.

    `model` is w^0, (P,) float32, and `layout` its division into tensors (default: one). `evaluate` measures a version
    on whatever samples the server has. A job without an answer within `ttl` seconds is lost. `on_progress` is
    called at every version.

    Settings that count: `seed`, `run.rounds`, `run.eval_every`, `run.out`, `clients.count` (N), `clients.concurrency`,
    `algorithm`, `server`, and `training` as far as nodes follow it. Raises `ConfigError` for a mistake in them, and
    `SimulationStopped` if all that comes back is errors or rejected.
    """
    if reason := UNKNOWN.get(experiment.algorithm.name):
        raise ConfigError(f'algorithm.name = "{experiment.algorithm.name}": {reason}; must be another')
    data = experiment.model_dump(mode="json", exclude_none=True)
    experiment = validate_experiment(data | {"run": data["run"] | {"clock": "wall", "seconds_per_tick": 1.0}})
    algorithm = build_algorithm(experiment)
    check_folder(experiment, overwrite=False)
    whole = layout or Layout(("model",), (model.shape,), model.size)
    folder = claim_folder(experiment, overwrite=False)
    with hold_lock(folder):
        nodes = Nodes(grid, experiment, algorithm, model, whole, evaluate, ttl)
        try:
            for progress in Deployment(experiment, algorithm, nodes, FolderRecorder(folder.resolve())).run():
                if progress and on_progress:
                    on_progress(progress)
        except SimulationStopped as stopped:
            stopped.folder = str(folder)
            raise
    return Result(folder)
