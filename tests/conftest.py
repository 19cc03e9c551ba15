"""What several rooms' tests share: a recorder that remembers, the inline oracle, real data, one Ray session."""

import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image
from sklearn.datasets import load_digits

from fedqs_ray.algorithms.registry import NAMES, build_algorithm
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.core.interfaces import Clock, Recorder
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, RoundRow, Snapshot
from fedqs_ray.core.types import Vector
from fedqs_ray.runs.folder import claim_folder
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.runs.result import Result
from fedqs_ray.scenarios.scenario import build_scenario
from fedqs_ray.scenarios.trace_file import read_trace

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
ALGORITHMS = NAMES

for profile, examples in (("quick", 100), ("full", 500)):  # `make test`, and --hypothesis-profile full
    settings.register_profile(
        profile,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("quick")


@dataclass
class Memory:
    """A recorder that keeps everything."""

    jobs: list[JobRow] = field(default_factory=list)
    rounds: list[RoundRow] = field(default_factory=list)
    clients: list[ClientRow] = field(default_factory=list)
    labels: list[LabelRow] = field(default_factory=list)
    model: dict[str, Vector] = field(default_factory=dict)
    states: list[Snapshot] = field(default_factory=list)

    def job(self, row: JobRow) -> None:
        self.jobs.append(row)

    def round(self, row: RoundRow) -> None:
        self.rounds.append(row)

    def finish(self, clients: list[ClientRow], labels: list[LabelRow], model: dict[str, Vector]) -> None:
        self.clients, self.labels, self.model = clients, labels, model

    def save(self, state: Snapshot) -> None:
        self.states.append(Snapshot(state.facts, [(name, array.copy()) for name, array in state.arrays]))

    def bits(self) -> bytes:
        """The final model, byte for byte."""
        return b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in self.model.values())


SMALL = ["clients.count=12", "server.buffer_size=4", "run.rounds=12"]


def small(*overrides: str, ratio: bool = True) -> Experiment:
    """A run of a second or less; `ratio` for the scenarios that have one."""
    return load_experiment(None, [*SMALL, *["scenario.ratio=7"] * ratio, *overrides])


def simulate_inline(experiment: Experiment, clock: Clock | None = None) -> Memory:
    """The oracle: one process, one thing after another, no Ray."""
    memory = Memory()
    drive(experiment, memory, clock)
    return memory


def drive(experiment: Experiment, recorder: Recorder, clock: Clock | None = None) -> None:
    """Run an experiment inline, to its end, perhaps by another clock; with checkpoints, where it counts rounds."""
    from fedqs_ray.backends.inline import InlineExecutor
    from fedqs_ray.simulation.server import Server
    from fedqs_ray.simulation.snapshot import capture_state
    from fedqs_ray.tasks.loading import load_data
    from fedqs_ray.training.trainer import Trainer

    algorithm = build_algorithm(experiment)
    executor = InlineExecutor(Trainer(experiment, load_data(experiment), algorithm))
    scenario = build_scenario(experiment, read_trace(experiment))
    server = Server(experiment, algorithm, scenario, executor, recorder, clock)
    every = experiment.run.checkpoint_every
    for progress in server.run():
        if isinstance(every, int) and progress and progress.round and not server.over:
            if progress.round % every and progress.round != progress.rounds:
                continue
            recorder.save(capture_state(server))


@pytest.fixture
def inline() -> Callable[..., Memory]:
    return simulate_inline


@pytest.fixture
def found_by(tmp_path: Path) -> Callable[[str, dict[str, str]], Any]:
    """Run a script in a process of its own and give what it wrote, as JSON, into the file that is its argument.

    Not what it printed: Ray prints its own notices between a script's lines, of a node that died for one.
    """

    def play(script: str, environment: dict[str, str]) -> Any:
        found = tmp_path / "found.json"
        command = [sys.executable, "-c", script, str(found)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(found.read_text())

    return play


@pytest.fixture(scope="session")
def below() -> Callable[..., list[psutil.Process]]:
    """The processes below another one, perhaps only those of a name; Ray's may end before they told theirs."""

    def found(pid: int, name: str = "") -> list[psutil.Process]:
        named = []
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if name in process.name():
                    named.append(process)
        return named

    return found


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Ports that nobody listens on, out of those that neither the system nor Ray gives to whoever asks for any."""

    def found(count: int) -> list[int]:
        ports: list[int] = []
        with ExitStack() as held:
            while len(ports) < count:
                with suppress(OSError):
                    one = held.enter_context(socket.socket())
                    one.bind(("127.0.0.1", port := random.randrange(20_000, 32_000)))
                    ports.append(port)
        return ports

    return found


@pytest.fixture(scope="module")
def held() -> Iterator[str]:
    """The algorithm of modules/held.py as a setting, here and in the processes that tests start."""
    folder = str(Path(__file__).with_name("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        yield "algorithm.name=held:Held"


@pytest.fixture(scope="session")
def folder_of() -> Callable[[Experiment], Result]:
    """A run's folder as the oracle leaves it: quick, where a test is about what is made of a folder."""

    def made(experiment: Experiment) -> Result:
        folder = claim_folder(experiment, overwrite=False)
        drive(experiment, FolderRecorder(folder))
        return Result(folder)

    return made


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, folder_of: Callable[[Experiment], Result]) -> Path:
    """The folder of a small run with its checkpoints; to be copied by a test that changes it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return folder_of(small("run.checkpoint_every=5", f'run.out="{out}"')).folder


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Headless Chromium, the machine's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def experiment() -> Callable[..., Experiment]:
    return small


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded datasets of the tests stay out of the user's cache; the processes that tests start inherit it."""
    os.environ["FEDQS_CACHE"] = str(tmp_path_factory.mktemp("client_states"))


def prepared(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real dataset, unpacked."""
    if not (SHARED / "prepare.py").exists():
        pytest.skip("the real datasets are not here (../shared/data)")
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, str(SHARED / "prepare.py"), str(folder), name], check=True, capture_output=True)
    return folder / name


@pytest.fixture(scope="session")
def shakespeare_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 37 plays."""
    return prepared("shakespeare", tmp_path_factory)


@pytest.fixture(scope="session")
def cifar_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1,000 training and 1,000 test pictures of CIFAR-10, in the hub's layout."""
    if not (SHARED / "cifar10").exists():
        pytest.skip("the real datasets are not here (../shared/data)")
    folder = tmp_path_factory.mktemp("cifar10")
    labels = np.load(SHARED / "cifar10" / "labels_uint8_60000.npy").astype(np.int64)
    for split, first in (("train", 0), ("test", 50_000)):
        sheet = np.asarray(Image.open(SHARED / "cifar10" / f"{split}_00.avif").convert("RGB"))
        tiles = sheet.reshape(25, 32, 40, 32, 3).swapaxes(1, 2).reshape(1000, 32, 32, 3)
        write_pictures(folder / f"{split}.parquet", tiles, {"label": labels[first : first + 1000]}, "img")
    return folder


def write_pictures(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]], columns: dict[str, Any], name: str) -> None:
    """A table in the hub's layout: encoded pictures in a struct, and other columns."""
    rows = []
    for number, tile in enumerate(pixels):
        png = io.BytesIO()
        Image.fromarray(tile).save(png, "png")
        rows.append({"bytes": png.getvalue(), "path": f"{number}.png"})
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    pq.write_table(pa.table({name: pa.array(rows, kind)} | columns), path)


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits as pictures of 8x8 in the hub's layout, in two files, with who wrote them."""
    folder = tmp_path_factory.mktemp("digits")
    bunch = load_digits()
    pixels, labels = (bunch.images * 15).astype(np.uint8), bunch.target.astype(np.int64)
    for split, part in (("train-00000-of-00001", slice(0, 1400)), ("test-00000-of-00001", slice(1400, 1797))):
        writers = [f"w{number // 40}" for number in range(len(labels[part]))]
        columns = {"label": labels[part], "writer_id": writers}
        write_pictures(folder / f"{split}.parquet", pixels[part], columns, "image")
    return folder


@pytest.fixture(scope="session")
def adult_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real UCI files."""
    return prepared("adult", tmp_path_factory)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for all tests that need actors in this process, with 2 logical CPUs and 2 logical GPUs."""
    from fedqs_ray.backends.ray.session import open_session

    with open_session(cpus=2, gpus=2):
        yield


COSTLY = {"browser", "flower", "found_by", "real_data", "scrape", "site"}
"""Fixtures that start a browser, Flower, another Ray or a build: their tests are part of make test-all only."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with a costly fixture, and sort: what may take longest comes first, so that one of two processes
    is not left alone with it at the end.
    """
    for item in items:
        if COSTLY & set(getattr(item, "fixturenames", ())):
            item.add_marker("full")

    def limit(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return -float(marker.args[0]) if marker else 0.0

    items.sort(key=limit)
