"""The wall clock on real Ray, against the virtual one."""

import heapq
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from fedqs_ray.backends.ray.actor_group import ActorGroup
from fedqs_ray.backends.ray.wall_clock import WallClockExecutor
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.types import ClientStatistics, Job, Plan, Start, Thresholds, TrainingRequest, Update
from fedqs_ray.experiments.run import run
from fedqs_ray.scenarios.scenario import build_scenario
from fedqs_ray.simulation.clock import VirtualClock

pytestmark = pytest.mark.usefixtures("ray_session")
Make = Callable[..., Experiment]
SETTINGS = ["clients.count=20", "server.buffer_size=5", "run.rounds=25", "scenario.name=lognormal", "clients.actors=2"]


class Told(VirtualClock):
    """Jobs end when they really did, several at once in the order in which they were heard of, and the others never."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.ends = {(row["client"], row["attempt"]): (row["end"], place) for place, row in enumerate(rows)}

    def schedule(self, job: Job) -> None:
        end, place = self.ends.get((job.client, job.attempt), (math.inf, job.client))
        heapq.heappush(self._heap, (end, place, replace(job, end=end)))


@pytest.mark.parametrize("concurrency", [20, pytest.param(12, marks=pytest.mark.full)])
def test_both_clocks_tell_the_same_story(
    experiment: Make, inline: Callable[..., Any], tmp_path: Path, concurrency: int
) -> None:
    """Durations are really waited for; and given when jobs ended, however late, the virtual clock tells the rest."""
    setting = experiment(*SETTINGS, f"clients.concurrency={concurrency}", "run.eval_every=25", ratio=False)
    tick, clock = 0.25, ["run.clock=wall", "run.seconds_per_tick=0.25"]
    more = [f"clients.concurrency={concurrency}", "run.eval_every=25", *clock, f'run.out="{tmp_path / "wall"}"']
    wall = run(experiment(*SETTINGS, *more, ratio=False))
    rows = [row for row in wall.arrivals.to_pylist() if row["outcome"] == "arrived"]
    keys = ("client", "attempt", "version", "round", "staleness")
    virtual = [row for row in inline(setting, Told(rows)).jobs if row.outcome == "arrived"]
    assert [[getattr(row, key) for key in keys] for row in virtual] == [[row[key] for key in keys] for row in rows]
    assert [row.start for row in virtual] == pytest.approx([row["start"] for row in rows], abs=0.01)
    assert len(rows) == 25 * 5

    world = build_scenario(setting, None)
    promised = np.array([world.attempt(Start(row["client"], row["attempt"], row["version"])).duration for row in rows])
    late = np.array([row["end"] - row["start"] for row in rows]) - promised
    assert late.min() > -0.05, "nothing comes early"
    long = promised > 4
    assert long.sum() > 40
    assert np.median(late[long] / promised[long]) < 0.35
    assert wall.timing["seconds"][-1].as_py() > 0.9 * tick * wall.summary.virtual_time, "really waited for"


def test_losses_leaving_and_timeouts_pass_on_the_wall_clock(experiment: Make, tmp_path: Path) -> None:
    settings = [*SETTINGS, "scenario.loss_rate=0.3", "scenario.leave_fraction=0.5", "server.buffer_timeout=1.0"]
    clock = ["run.clock=wall", "run.seconds_per_tick=0.05", "run.eval_every=5"]
    result = run(experiment(*settings, *clock, f'run.out="{tmp_path / "r"}"', ratio=False))
    assert result.summary.rounds == 25
    outcomes = result.arrivals["outcome"].to_pylist()
    assert outcomes.count("lost") > 5
    assert len(outcomes) == int(pc.sum(result.clients["dispatched"]).as_py())
    late = result.arrivals.filter(pc.greater(result.arrivals["version"], 13)).to_pylist()
    assert len({row["client"] for row in late}) <= 10, "half of the clients left"
    sizes = np.bincount([row["round"] for row in result.arrivals.to_pylist() if row["round"] is not None])[1:]
    assert sizes.min() < 5, "some buffers timed out"


@pytest.mark.full
@pytest.mark.parametrize("algorithm", ["fedavg-sync", "fedat"])
def test_synchronous_rounds_pass_on_the_wall_clock(experiment: Make, tmp_path: Path, algorithm: str) -> None:
    """The clients of a round start together, and the model waits for all that come back."""
    more = ["scenario.loss_rate=0.2", f"algorithm.name={algorithm}", "run.clock=wall", "run.seconds_per_tick=0.03"]
    result = run(experiment(*SETTINGS, "run.rounds=12", *more, f'run.out="{tmp_path / "r"}"', ratio=False))
    jobs = result.arrivals.to_pylist()
    rounds = [[job for job in jobs if job["round"] == number] for number in range(1, 13)]
    for group in rounds:
        assert 1 <= len(group) <= 5
        assert len({job["version"] for job in group}) == 1
    assert any(len(group) < 5 for group in rounds), "some were lost"
    stale = [job["staleness"] for group in rounds for job in group]
    assert max(stale) == 0 if algorithm == "fedavg-sync" else max(stale) > 0, "tiers do not wait for each other"


class Recorded:
    """Stands for an actor handle: records the clients that it is called to train, and never ends."""

    def __init__(self) -> None:
        self.clients: list[int] = []
        self.node = self.train = self

    def options(self, num_returns: int) -> "Recorded":
        return self

    def remote(self, *arguments: Any) -> Any:
        self.clients += [one.client for one in arguments if isinstance(one, Job)]
        return object(), object()


def wall_clock(actors: int, clients_per_actor: int | None) -> WallClockExecutor:
    nobody = np.zeros(1, np.int64)
    statistics = ClientStatistics(nobody, nobody, nobody[None])
    found = WallClockExecutor(ActorGroup(Recorded, actors), statistics, 1.0, clients_per_actor)
    found._began = 0.0
    return found


def first_job(client: int, attempt: int = 0) -> Job:
    return Job(client, attempt, 0, 0.0, 1.0, False, 0.1, None, Thresholds())


@pytest.mark.parametrize(
    ("clients_per_actor", "wanted"), [(2, [[0, 1], [2, 3], [4, 5]]), (None, [[0, 3], [1, 4], [2, 5]])]
)
def test_clients_per_actor_holds_on_the_wall_clock(clients_per_actor: int | None, wanted: list[list[int]]) -> None:
    executor = wall_clock(3, clients_per_actor)
    for member in executor.actors.members:
        member.node = "here"
    executor.submit([TrainingRequest(first_job(client), object()) for client in range(6)])
    assert [member.actor.clients for member in executor.actors.members] == wanted


def test_a_hosted_client_waits_for_its_actor() -> None:
    executor = wall_clock(2, 1)
    one, other = executor.actors.members
    one.node = "here"
    executor.submit([TrainingRequest(first_job(client), object()) for client in range(2)])
    assert (one.actor.clients, other.actor.clients) == ([0], [])
    assert len(executor) == 2
    assert [job.client for job in executor.jobs()] == [0, 1]
    other.node = "here"
    executor.actors.on_start(1)
    assert (one.actor.clients, other.actor.clients) == ([0], [1])
    assert len(executor) == 2


@pytest.mark.full
def test_deaths_on_purpose_do_not_count(experiment: Make, tmp_path: Path) -> None:
    """All calls of an actor end with it, and only one of them killed it."""
    clock = ["run.clock=wall", "run.seconds_per_tick=0.05", "scenario.faults.crash_rate=0.1", "run.rounds=8"]
    hosted = ["clients.actors=auto", "clients.clients_per_actor=10"]
    result = run(experiment(*SETTINGS, *clock, *hosted, f'run.out="{tmp_path / "r"}"', ratio=False))
    died = [line["intended"] for line in result.log if line["event"] == "client actor died"]
    assert died
    assert all(died)


def test_discarding_a_job_leaves_the_next_one_of_its_client() -> None:
    executor = wall_clock(0, None)
    update = Update(np.zeros(3, np.float32), Plan(0.1), 1, 0.5, 0.0)
    executor.restore(first_job(6, 1), update)
    executor.discard(first_job(6, 0))
    assert executor.result(first_job(6, 1)) is update
