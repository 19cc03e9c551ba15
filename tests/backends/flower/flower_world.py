"""A small Flower federation for test_flower.py. Run as a script, it needs Flower; imported, it does not.

    python flower_world.py FOLDER

Eight nodes regress in numpy, each on so many samples that they tell who it is. One is slow, one fails twice, one sends
an update that is not finite.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fedqs_ray.config.loading import load_experiment
from fedqs_ray.core.exceptions import SimulationStopped
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.types import Evaluation, Plan, Vector

NODES, SIZE = 8, 5
SLOW, FAILING, BROKEN = 0, 1, 2
ALGORITHMS = ("fedqs-sgd", "fedavg", "ca2fl", "fedac", "fedavg-sync")
SETTINGS = [
    *(f"clients.count={NODES}", "server.buffer_size=3", "run.rounds=8", "training.lr=0.05", "training.local_epochs=4"),
]
INITIAL = np.zeros(SIZE, np.float32)
LABELS = [(0.9, 20), (0.5, 20)]


def samples(node: int) -> int:
    """n_i."""
    return 20 + node


def data(node: int) -> tuple[Vector, Vector]:
    """Features and targets of a node, whose rules differ a little."""
    draw = np.random.default_rng(node)
    features = draw.normal(size=(samples(node), SIZE)).astype(np.float32)
    rule = np.arange(SIZE, dtype=np.float32) + draw.normal(0, 0.5, SIZE).astype(np.float32)
    return features, features @ rule


def loss(model: Vector, node: int) -> float:
    """Mean squared error."""
    features, targets = data(node)
    return float(np.square(features @ model - targets).mean())


def fit(model: Vector, plan: Plan, correction: Vector | None, node: int, steps: int) -> Vector:
    """Gradient descent on a node's samples, with what an algorithm plans."""
    features, targets = data(node)
    found, velocity = model.copy(), np.zeros_like(model)
    rate, momentum, pull = np.float32(plan.lr), np.float32(plan.momentum), np.float32(plan.proximal)
    for _ in range(steps):
        with np.errstate(invalid="ignore"):  # OpenBLAS may raise the flag where all numbers are finite
            gradient = features.T @ (features @ found - targets) / np.float32(len(targets)) + pull * (found - model)
        velocity = momentum * velocity + gradient
        velocity += 0 if correction is None else correction
        found -= rate * velocity
    return found


def evaluate(model: Vector) -> Evaluation:
    """The mean loss over all nodes."""
    return Evaluation(0.0, sum(loss(model, node) for node in range(NODES)) / NODES)


def federation(folder: Path) -> None:
    """Serve all algorithms, one after another; then one to nodes that go, and one to nodes that can only fail."""
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    from fedqs_ray.backends.flower import Trained, Work, client_app, serve

    def train(work: Work) -> Trained:
        node, attempt = int(work.context.node_config["partition-id"]), work.job.attempt
        troubled = work.experiment.clients.count == NODES  # where nodes come and go, nothing else is amiss
        time.sleep(1.0 if node == SLOW and troubled else 0.0)
        if work.experiment.seed or (node == FAILING and attempt in (0, 1) and troubled):
            raise RuntimeError("on purpose")
        steps = work.experiment.training.local_epochs
        found = fit(work.model, work.plan, work.correction, node, steps)
        if node == BROKEN and attempt == 0 and troubled:
            found[0] = np.nan
        return Trained(found, samples(node), loss(found, node), steps)

    def main(grid: Any, context: Any) -> None:
        for name in ALGORITHMS:
            experiment = load_experiment(None, [*SETTINGS, f"algorithm.name={name}"], out=str(folder / name))
            serve(grid, experiment, INITIAL, evaluate)

        def lose(progress: Progress) -> None:
            """One of the nodes with a place goes; the one that found none is still there, and has time to come in."""
            if progress.round == 10:
                grid.state.deactivate_node(min(grid.get_node_ids()))
            time.sleep(0.2 if progress.round >= 10 else 0.0)

        churn = [*SETTINGS, "algorithm.name=fedavg", f"clients.count={NODES - 1}", "run.rounds=40"]
        serve(grid, load_experiment(None, churn, out=str(folder / "churn")), INITIAL, evaluate, on_progress=lose)
        try:
            serve(grid, load_experiment(None, [*SETTINGS, "seed=1"], out=str(folder / "errors")), INITIAL, evaluate)
        except SimulationStopped as stopped:
            (folder / "stopped.txt").write_text(str(stopped))

    server = ServerApp()
    server.main()(main)
    run_simulation(
        server_app=server,
        client_app=client_app(train, lambda model, context: LABELS),
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 3, "address": "local"},
        },
    )


if __name__ == "__main__":
    federation(Path(sys.argv[1]))
