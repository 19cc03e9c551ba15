"""What several rooms' tests share: a recorder that remembers, the inline oracle, real data, one Ray session."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from fedqs_ray import algorithms, scenarios
from fedqs_ray.config import Experiment
from fedqs_ray.messages import ClientRow, JobRow, RoundRow, Vector
from fedqs_ray.settings import load

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
ALGORITHMS = ["fedavg", "fedsgd", "fedqs-avg", "fedqs-sgd"]


@dataclass
class Memory:
    """A recorder that keeps everything."""

    jobs: list[JobRow] = field(default_factory=list)
    rounds: list[RoundRow] = field(default_factory=list)
    clients: list[ClientRow] = field(default_factory=list)
    model: dict[str, Vector] = field(default_factory=dict)

    def job(self, row: JobRow) -> None:
        self.jobs.append(row)

    def round(self, row: RoundRow) -> None:
        self.rounds.append(row)

    def finish(self, clients: list[ClientRow], model: dict[str, Vector]) -> None:
        self.clients, self.model = clients, model

    def bits(self) -> bytes:
        """The final model, byte for byte."""
        return b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in self.model.values())


SMALL = ["clients.count=12", "server.buffer_size=4", "run.rounds=12"]


def small(*overrides: str, ratio: bool = True) -> Experiment:
    """A run of a second or less; `ratio` for the scenarios that have one."""
    return load(None, [*SMALL, *["scenario.ratio=7"] * ratio, *overrides])


def simulate_inline(experiment: Experiment) -> Memory:
    """The oracle: one process, one thing after another, no Ray."""
    from fedqs_ray.actors.inline import InlineExecutor
    from fedqs_ray.simulation import Server
    from fedqs_ray.tasks.datasets import load as load_data
    from fedqs_ray.tasks.local import LocalTask

    algorithm, memory = algorithms.build(experiment), Memory()
    executor = InlineExecutor(LocalTask(experiment, load_data(experiment), algorithm))
    for _ in Server(experiment, algorithm, scenarios.build(experiment), executor, memory).run():
        pass
    return memory


@pytest.fixture
def inline() -> Callable[[Experiment], Memory]:
    return simulate_inline


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def experiment() -> Callable[..., Experiment]:
    return small


@pytest.fixture(scope="session")
def adult_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real UCI files."""
    if not (SHARED / "prepare.py").exists():
        pytest.skip("the real datasets are not here (../shared/data)")
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, str(SHARED / "prepare.py"), str(folder), "adult"], check=True, capture_output=True)
    return folder / "adult"


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for all tests that need actors in this process, with 4 logical CPUs and 2 logical GPUs."""
    from fedqs_ray.actors import cluster

    with cluster.session(cpus=4, gpus=2):
        yield
