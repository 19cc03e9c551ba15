"""Waves: synchronous rounds, and tiers that are synchronous by themselves."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Arrival
from fedqs_ray.core.rows import JobRow
from fedqs_ray.core.types import Attempt, Job, Plan, Start, Thresholds, Update
from fedqs_ray.simulation.buffer import Buffer, SynchronousBuffer, assign_tiers
from fedqs_ray.simulation.client_table import ClientTable

Make = Callable[..., Experiment]


def entry(client: int) -> Arrival:
    job = Job(client, 0, 0, 0.0, 1.0, False, 0.1, None, Thresholds())
    return Arrival(job, Update(np.zeros(1, np.float32), Plan(0.1), 1, 0.0, 1.0), np.zeros(1, np.float32))


class Speeds:
    """A scenario of fixed durations."""

    def __init__(self, *durations: float) -> None:
        self.durations = durations

    def attempt(self, start: Start) -> Attempt:
        duration = self.durations[start.client]
        early = duration > 20 and start.attempt < 2  # the first attempts of slow ones get lost at once
        return Attempt(0.5 if early else duration, lost=early)

    def ready(self, client: int, time: float) -> float:
        return time


def test_a_buffer_is_a_round_at_k() -> None:
    buffer = Buffer(2)
    buffer.arrivals.append(entry(0))
    assert buffer.ready() == []
    buffer.arrivals.append(entry(0))
    ready = buffer.ready()
    assert len(ready) == 2
    buffer.take(ready)
    assert buffer.arrivals == []


def test_tiers_are_equal_parts_in_the_order_of_speed() -> None:
    scenario: Any = Speeds(9, 1, 5, 5, 2, 30, 7)
    assert assign_tiers(scenario, 7, 3).tolist() == [2, 0, 0, 1, 0, 2, 1]
    assert assign_tiers(scenario, 7, 1).tolist() == [0] * 7
    assert assign_tiers(scenario, 7, 7).tolist() == [5, 0, 2, 3, 1, 6, 4]


def test_a_wave_is_a_round_when_all_of_its_tier_are_back() -> None:
    buffer = SynchronousBuffer(2, np.array([0, 0, 1, 1]))
    entries = [entry(client) for client in range(4)]
    for one in entries:
        buffer.start(one.job)
    for client in (2, 0):
        buffer.end(entries[client].job)
        buffer.arrivals.append(entries[client])
        assert buffer.ready() == []
    buffer.end(entries[3].job)  # lost: it never enters
    assert buffer.ready() == [entries[2]]
    assert buffer.tier(buffer.ready()) == 1
    buffer.take([entries[2]])
    assert buffer.ready() == []
    buffer.end(entries[1].job)
    buffer.arrivals.append(entries[1])
    assert buffer.ready() == [entries[0], entries[1]]


def test_a_wave_takes_k_of_each_tier_that_is_free() -> None:
    draw = partial(np.random.default_rng, 0)
    buffer, table = SynchronousBuffer(2, np.array([0, 0, 0, 1, 1, 1])), ClientTable(6, 0.1)
    chosen = buffer.choose(set(range(6)), table, 6, draw)
    assert Counter(buffer.tiers[sorted(chosen)].tolist()) == {0: 2, 1: 2}
    buffer.start(entry(0).job)
    assert Counter(buffer.tiers[sorted(buffer.choose({1, 2, 4}, table, 6, draw))].tolist()) == {1: 1}
    seen: set[int] = set()
    for seed in range(20):
        seen |= buffer.choose({3, 4, 5}, table, 6, partial(np.random.default_rng, seed))
    assert seen == {3, 4, 5}


def rounds(rows: list[JobRow]) -> dict[int, list[JobRow]]:
    found: dict[int, list[JobRow]] = {}
    for row in rows:
        if row.round is not None:
            found.setdefault(row.round, []).append(row)
    return found


@pytest.mark.parametrize("more", [[], ["scenario.loss_rate=0.3"], ["scenario.leave_fraction=0.5"]])
@pytest.mark.parametrize("name", ["fedavg-sync", "fedprox"])
def test_a_synchronous_run(experiment: Make, inline: Callable[[Experiment], Any], name: str, more: list[str]) -> None:
    found = inline(experiment(f"algorithm.name={name}", *more))
    waves = rounds(found.jobs)
    assert sorted(waves) == list(range(1, 13))
    for number, rows in waves.items():
        assert {row.staleness for row in rows} == {0}
        assert len({row.start for row in rows}) == 1
        assert len(rows) == 4 or more
        assert sum(row.weight or 0.0 for row in rows) == pytest.approx(1.0)
        lost = [row.end for row in found.jobs if row.version == number - 1 and row.outcome == "lost"]
        assert found.rounds[number].time == max([row.end for row in rows] + lost), "the slowest decides"
    losses = "scenario.loss_rate=0.3" in more  # when somebody leaves, nobody is under way
    assert {row.outcome for row in found.jobs} == ({"arrived", "lost"} if losses else {"arrived"})
    assert len({row.client for row in found.jobs}) > 6


def test_tiers_are_synchronous_by_themselves(experiment: Make, inline: Callable[[Experiment], Any]) -> None:
    setting = experiment("algorithm.name=fedat", "algorithm.tiers=3", "server.buffer_size=3", "run.rounds=30")
    found = inline(setting)
    tier_of: dict[int, set[int]] = {}
    times = []
    for rows in rounds(found.jobs).values():
        assert len({row.start for row in rows}) == 1
        assert len(rows) == 3
        members = frozenset(row.client for row in rows)
        times.append(max(row.end - row.start for row in rows))
        for client in members:
            tier_of.setdefault(client, set()).update(members)
    assert sorted(map(len, tier_of.values())) == [4] * 12, "nobody trains with another tier"
    assert len(set(times)) > 1
    assert max(row.staleness for row in found.jobs if row.staleness is not None) > 0, "tiers do not wait for each other"
