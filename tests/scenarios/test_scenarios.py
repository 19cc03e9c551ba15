"""Every scenario: its distribution, that it is a pure function of its key, and what it does to a run."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.types import Attempt, Start
from fedqs_ray.scenarios.scenario import build_scenario

Make = Callable[..., Experiment]
Inline = Callable[[Experiment], Any]
NAMES = ["static", "dynamic", "unstable", "dropout", "lognormal", "pareto", "exponential"]


def durations(experiment: Experiment, clients: int = 400, attempt: int = 0, version: int = 0) -> list[float]:
    scenario = build_scenario(experiment)
    return [scenario.attempt(Start(client, attempt, version)).duration for client in range(clients)]


@pytest.mark.parametrize("name", NAMES)
def test_a_pure_function_of_seed_client_attempt_and_version(experiment: Make, name: str) -> None:
    keys = [(client, attempt, version) for client in range(5) for attempt in range(3) for version in (0, 5, 11)]
    extra = ["scenario.jitter=0.2", "scenario.loss_rate=0.3"]

    def draws(seed: int, order: list[tuple[int, int, int]]) -> dict[tuple[int, int, int], Attempt]:
        scenario = build_scenario(experiment(f"scenario.name={name}", f"seed={seed}", *extra, ratio=False))
        return {key: scenario.attempt(Start(*key)) for key in order}

    assert draws(3, keys) == draws(3, keys[::-1])
    assert draws(3, keys) != draws(4, keys)
    assert all(attempt.duration > 0 for attempt in draws(3, keys).values())


def test_static_is_uniform_over_whole_numbers_and_kept(experiment: Make) -> None:
    setting = experiment("scenario.ratio=5")
    found = durations(setting)
    counts = Counter(found)
    assert set(counts) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert min(counts.values()) > 50  # 80 each is expected, the deviation is 8
    assert durations(setting, attempt=7, version=9) == found


def test_unstable_draws_at_every_attempt(experiment: Make) -> None:
    scenario = build_scenario(experiment("scenario.name=unstable", "scenario.ratio=5"))
    one_client = Counter(scenario.attempt(Start(3, attempt, 0)).duration for attempt in range(400))
    assert set(one_client) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert min(one_client.values()) > 50


def test_dynamic_phases_are_equal_parts_of_the_run(experiment: Make) -> None:
    setting = experiment("scenario.name=dynamic", "scenario.ratios=[2, 5, 100]", "run.rounds=9", ratio=False)
    largest = [max(durations(setting, version=version)) for version in range(10)]
    assert largest[:3] == [2.0] * 3
    assert largest[3:6] == [5.0] * 3
    assert min(largest[6:]) > 90
    assert durations(setting, version=0) == durations(setting, attempt=4, version=2), "one draw a phase"
    assert len(largest) == 10  # the last version has no phase of its own


def test_lognormal_pareto_exponential(experiment: Make) -> None:
    logs = np.log(durations(experiment("scenario.name=lognormal", "scenario.median=8.0", ratio=False), 2000))
    assert logs.mean() == pytest.approx(np.log(8.0), abs=0.1)
    assert logs.std() == pytest.approx(1.0, abs=0.06)
    tail = np.array(durations(experiment("scenario.name=pareto", "scenario.minimum=2.0", ratio=False), 2000))
    assert tail.min() >= 2.0
    assert (tail > 4.0).mean() == pytest.approx(0.5**1.5, abs=0.04)  # P(X > 2 m) = 2^-shape
    mean = np.mean(durations(experiment("scenario.name=exponential", "scenario.mean=3.0", ratio=False), 2000))
    assert mean == pytest.approx(3.0, abs=0.25)


def test_drawn_per_client_or_attempt(experiment: Make) -> None:
    client_state = build_scenario(experiment("scenario.name=lognormal", ratio=False))
    assert client_state.attempt(Start(1, 0, 0)) == client_state.attempt(Start(1, 5, 3))
    redrawn = build_scenario(experiment("scenario.name=lognormal", "scenario.drawn_per=attempt", ratio=False))
    assert redrawn.attempt(Start(1, 0, 0)) != redrawn.attempt(Start(1, 5, 3))


def test_jitter_and_losses(experiment: Make) -> None:
    setting = experiment("scenario.ratio=1", "scenario.jitter=0.5", "scenario.loss_rate=0.25")
    scenario = build_scenario(setting)
    attempts = [scenario.attempt(Start(client, attempt, 0)) for client in range(100) for attempt in range(20)]
    logs = np.log([attempt.duration for attempt in attempts])
    assert (logs.mean(), logs.std()) == (pytest.approx(0.0, abs=0.04), pytest.approx(0.5, abs=0.03))
    assert np.mean([attempt.lost for attempt in attempts]) == pytest.approx(0.25, abs=0.03)


def test_who_leaves_and_when(experiment: Make) -> None:
    scenario = build_scenario(experiment("scenario.name=dropout"))
    assert [len(scenario.leaving(version)) for version in range(13)] == [0] * 6 + [6] + [0] * 6
    assert len(set(scenario.leaving(6))) == 6
    exact = build_scenario(experiment("scenario.leave_fraction=0.25", "scenario.leave_at=0.55", "run.rounds=100"))
    assert exact.leaving(55), "and not one later, because the product is 55.00000000000001"
    late = build_scenario(experiment("scenario.leave_fraction=0.25", "scenario.leave_at=0.99"))
    assert [version for version in range(13) if late.leaving(version)] == [12]
    assert not any(build_scenario(experiment()).leaving(version) for version in range(13))


def test_leavers_never_come_back(experiment: Make, inline: Inline) -> None:
    setting = experiment("scenario.name=dropout", "run.rounds=40")
    memory = inline(setting)
    leavers = set(build_scenario(setting).leaving(20))
    left_at = next(row.time for row in memory.rounds if row.round == 20)
    own = [row for row in memory.jobs if row.client in leavers]
    assert all(row.start <= left_at for row in own)
    assert {row.outcome for row in own if row.end > left_at} <= {"lost", "unfinished"}
    after = [row for row in memory.jobs if row.round and row.round > 21 and row.end > left_at]
    assert after
    assert not {row.client for row in after} & leavers
    assert memory.rounds[-1].round == 40


def test_the_same_arrivals_for_every_algorithm(experiment: Make, inline: Inline) -> None:
    world = ["scenario.name=unstable", "scenario.leave_fraction=0.3", "scenario.loss_rate=0.2", "scenario.jitter=0.1"]
    tables = []
    for name in ("fedavg", "fedqs-sgd"):
        rows = inline(experiment(*world, f"algorithm.name={name}")).jobs
        tables.append([(r.client, r.attempt, r.version, r.start, r.end, r.outcome, r.round) for r in rows])
    assert tables[0] == tables[1]
    outcomes = Counter(row[5] for row in tables[0])
    assert outcomes["lost"] > 0
    assert outcomes["arrived"] == 48


def test_when_everybody_left_the_run_stops_and_says_so(experiment: Make, inline: Inline) -> None:
    from fedqs_ray import SimulationStopped

    with pytest.raises(
        SimulationStopped, match=r"stopped after round 6 of 12: no client is left to fill the buffer of 4"
    ):
        inline(experiment("scenario.leave_fraction=1.0"))


def test_a_buffer_that_waits_too_long_is_aggregated(experiment: Make, inline: Inline) -> None:
    # All clients take 10 s but 3 of the 12 are alone after the others left: their buffer never holds 4 in 1 s.
    setting = experiment("scenario.ratio=50", "server.buffer_timeout=2", "run.rounds=30")
    memory = inline(setting)
    sizes = Counter(row.round for row in memory.jobs if row.outcome == "arrived")
    assert set(sizes) == set(range(1, 31))
    assert min(sizes.values()) < 4
    assert max(sizes.values()) <= 4
    for row in memory.rounds[1:]:
        own = [job for job in memory.jobs if job.round == row.round]
        waited = row.time - min(job.end for job in own)
        assert (waited == 2.0 and len(own) <= 4) or (waited <= 2.0 and len(own) == 4)
        assert sum(job.weight for job in own) == pytest.approx(1.0)


def test_mistakes() -> None:
    from fedqs_ray.config.loading import load_experiment

    for override, message in {
        "scenario.loss_rate=1": "scenario.loss_rate = 1: must be less than 1",
        "scenario.leave_fraction=1.5": "scenario.leave_fraction = 1.5: must be less than or equal to 1",
        "scenario.name=chaos": 'scenario.name = "chaos": must be one of static, dynamic, unstable, dropout',
        "server.buffer_timeout=0": "server.buffer_timeout = 0: must be greater than 0",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_experiment(None, [override])
        assert str(caught.value).startswith(message)
    for value in ("[]", "[0]", '["a"]', "5"):
        with pytest.raises(ConfigError, match=r"scenario\.ratios(\[0\])? = "):
            load_experiment(None, ["scenario.name=dynamic", f"scenario.ratios={value}"])
