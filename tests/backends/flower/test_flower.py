"""The bridge to Flower, in a real Flower simulation, against the algorithms called by hand.

Flower pins other versions than ours, so it lives in an environment of its own (.envs/flower, made on first use), which
sees this project's packages behind its own.
"""

import fcntl
import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.core.interfaces import ClientView, Round
from fedqs_ray.core.types import Thresholds, Vector
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.result import Result
from fedqs_ray.testing import make_arrival

ROOT = Path(__file__).resolve().parents[3]
FLOWER = "flwr==1.42.0"
WORLD = Path(__file__).with_name("flower_world.py")
world = runpy.run_path(str(WORLD), run_name="world")
pytestmark = [pytest.mark.xdist_group("flower"), pytest.mark.timeout(900)]  # the first of them installs Flower


@pytest.fixture(scope="session")
def flower() -> Path:
    """The folder of the environment's programs."""
    folder = ROOT / ".envs" / "flower"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "flower.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test processes want it too
        install(folder)
    return folder / "bin"


def install(folder: Path) -> None:
    """Make the environment, unless it is there."""
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == FLOWER:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    own = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (folder / own / "behind.pth").write_text(sysconfig.get_path("purelib"))
    pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", FLOWER]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{FLOWER} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    ready.write_text(FLOWER)


@pytest.fixture(scope="session")
def environment(flower: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a process there: this project in its path, a Ray and a home of its own, nobody is told of it."""
    home = str(tmp_path_factory.mktemp("flower-home"))
    path = f"{flower}{os.pathsep}{os.environ['PATH']}"
    own = {"RAY_ADDRESS": "local", "FLWR_HOME": home, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    return os.environ | own | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def served(flower: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all algorithms left behind after one simulation of Flower's."""
    folder = tmp_path_factory.mktemp("served")
    done = subprocess.run(
        [flower / "python", WORLD, folder], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", world["ALGORITHMS"])
def test_models_are_those_that_the_algorithm_makes_of_the_arrivals_by_hand(served: Path, name: str) -> None:
    """From who arrived when and with which version, to the byte."""
    found = Result(served / name)
    *_, (_, last) = replayed(found)
    np.testing.assert_array_equal(found.model["model"], last)
    staleness = [row["staleness"] for row in found.arrivals.to_pylist() if row["outcome"] == "arrived"]
    assert (max(staleness) > 0) == (name != "fedavg-sync")
    losses = found.rounds["loss"].to_pylist()
    assert losses[-1] < losses[0]


def test_errors_and_bad_updates_end_nothing(served: Path) -> None:
    found = Result(served / "fedqs-sgd")
    rows = found.arrivals.to_pylist()
    assert len(found.rounds) == found.experiment.run.rounds + 1
    everywhere = [row for name in world["ALGORITHMS"] for row in Result(served / name).arrivals.to_pylist()]
    assert {row["attempt"] for row in everywhere if row["outcome"] == "lost"} in ({0}, {0, 1})
    rejected = {(row["samples"], row["rejection"]) for row in everywhere if row["outcome"] == "rejected"}
    assert rejected == {(world["samples"](world["BROKEN"]), "not finite")}
    assert Counter(row["outcome"] for row in rows)["unfinished"] > 0
    assert sum(found.clients["dispatched"].to_pylist()) == len(rows)
    assert {row["client_type"] for row in rows} - {None}
    page = write_report(found).read_text(encoding="utf-8")
    assert "Who holds what" in page, "how much, though nobody told of which labels"
    assert {path.stem for path in (found.folder / "pictures").iterdir()} >= {"samples", "fairness", "staleness"}


def test_a_node_that_waits_takes_the_place_of_one_that_is_gone(served: Path) -> None:
    found = Result(served / "churn")
    rows = [row for row in found.arrivals.to_pylist() if row["outcome"] == "arrived"]
    seen: dict[int, list[int]] = {}
    for row in rows:
        if row["samples"] not in (earlier := seen.setdefault(row["client"], [])):
            earlier.append(row["samples"])
    assert [client for client, nodes in seen.items() if len(nodes) == 2] == [0]
    assert {count for nodes in seen.values() for count in nodes} == set(map(world["samples"], range(world["NODES"])))
    assert rows[-1]["round"] == found.experiment.run.rounds


def test_nodes_that_only_fail_stop_the_run(served: Path) -> None:
    assert re.fullmatch(
        r"stopped after round 0 of 8: the last 1\d replies were all errors: .* Message: on purpose'>",
        (served / "stopped.txt").read_text(),
    )


def test_the_commands_of_the_docs_deploy_the_example(
    flower: Path,
    environment: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    free_ports: Callable[[int], list[int]],
) -> None:
    """SuperLink, SuperNodes and `flwr run` as shown, on ports that are free."""
    text = (ROOT / "docs" / "flower.md").read_text(encoding="utf-8")
    for port, free in zip(("8000", "9094", "9095"), free_ports(3), strict=True):
        text = text.replace(port, str(free))
    shown = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (config,) = [block for language, block in shown if language == "toml"]
    (tmp_path / "config.toml").write_text(config)
    commands = [shlex.split(line) for language, block in shown if language == "bash" for line in block.splitlines()]
    assert [command[0] for command in commands] == ["flower-superlink", "flower-supernode", "flower-supernode", "flwr"]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    own = environment | {"FLWR_HOME": str(tmp_path)}
    for number, command in enumerate(commands[:-1]):
        log = (tmp_path / f"{number}.log").open("w")
        process = subprocess.Popen([flower / command[0], *command[1:]], stdout=log, stderr=log, cwd=tmp_path, env=own)
        request.addfinalizer(log.close)
        request.addfinalizer(partial(process.wait, 120))
        request.addfinalizer(process.terminate)
    wait_for_nodes(tmp_path / "0.log", 2)
    last = [f"{flower}/flwr", *commands[-1][1:]]
    done = subprocess.run(last, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=400, check=False)
    assert "round 2 of 2" in done.stdout, done.stdout + done.stderr
    found = Result(next((tmp_path / "runs").iterdir()))
    assert {row["client"] for row in found.arrivals.to_pylist()} == {0, 1}
    assert found.summary.best_accuracy > 0.15 > found.rounds["accuracy"].to_pylist()[0]


def wait_for_nodes(log: Path, count: int) -> None:
    """Until the SuperLink knows them."""
    end = time.monotonic() + 300
    while (text := log.read_text()).count("Activated node_id") < count:
        assert time.monotonic() < end, text
        time.sleep(0.2)


def node_of(found: Result) -> dict[int, int]:
    """The node at each client's place, told by its samples."""
    counts = found.clients["samples"].to_pylist()
    return {client: count - world["samples"](0) for client, count in enumerate(counts) if count}


def replayed(found: Result) -> Iterator[tuple[int, Vector]]:
    """Every version by hand: plain dictionaries, the training of flower_world.py, and the algorithm."""
    experiment, nodes, count = found.experiment, node_of(found), world["NODES"]
    algorithm = build_algorithm(experiment)
    models, thresholds = [world["INITIAL"]], [Thresholds()]
    extras: list[Vector | None] = [None]
    counts: list[Counter[int]] = [Counter()]
    rates: dict[int, float] = {}
    angles: dict[int, float] = {}
    client_state: dict[int, Vector] = {}
    state: Any = {}
    rows = [row for row in found.arrivals.to_pylist() if row["outcome"] == "arrived"]
    for version in range(experiment.run.rounds):
        taken, now = [], counts[version].copy()
        batch = [row for row in rows if row["round"] == version + 1]
        now.update(row["client"] for row in batch)
        for row in batch:
            client, start = row["client"], row["version"]
            before, earlier = client_state.get(client), counts[start]
            previous = models[start - 1] if start else None
            view = ClientView(
                model=models[start],
                extra=previous if "previous" in algorithm.needs else extras[start],
                client_state=before if "client_state" in algorithm.needs else None,
                lr=rates.get(client, experiment.training.lr),
                speed=earlier[client] * count / earlier.total() if earlier[client] else None,
                thresholds=thresholds[start],
                label_accuracy=lambda: world["LABELS"],
                parameters=world["SIZE"],
            )
            plan, steps = algorithm.plan(view), experiment.training.local_epochs
            told = (plan.lr, plan.momentum, plan.feedback, plan.client_type, plan.angle)
            assert told == tuple(row[key] for key in ("lr", "momentum", "feedback", "client_type", "angle"))
            correction = algorithm.correction(view)
            delta = world["fit"](models[start], plan, correction, nodes[client], steps) - models[start]
            own = algorithm.client_state(view, plan, delta, steps)
            client_state[client] = delta if own is None else own
            rates[client] = plan.lr
            if plan.angle is not None:
                angles[client] = plan.angle
            cache = (client_state[client], before) if "client_states" in algorithm.needs else (None, None)
            facts = row["samples"], version - start, plan.feedback, plan.angle, now[client]
            taken.append(make_arrival(client, delta, models[start], *facts, *cache))
        mean = float(sum(map(Fraction, angles.values())) / len(angles)) if angles else None
        made = algorithm.aggregate(
            Round(
                models[-1],
                tuple(taken),
                now.total(),
                mean,
                version,
                state,
                world["SIZE"],
                count,
                client_state=client_state.get,
            )
        )
        assert list(made.weights) == [row["weight"] for row in batch]
        state = made.state
        models.append(made.model)
        extras.append(made.extra)
        counts.append(now)
        thresholds.append(Thresholds(count / len(now), mean))
        yield version + 1, made.model
