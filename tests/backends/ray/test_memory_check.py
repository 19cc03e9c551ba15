"""The memory check rehearses a run's schedule, however long the run is."""

import logging
from collections.abc import Callable

import pytest

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.ray import memory_check
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.scenarios.scenario import build_scenario
from fedqs_ray.simulation import dry_run
from fedqs_ray.simulation.dry_run import Peak, measure_peak
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.tasks.models import count_numbers

Make = Callable[..., Experiment]


def peak(setting: Experiment) -> Peak:
    return measure_peak(setting, build_scenario(setting, None), build_algorithm(setting), 1000)


def test_a_run_without_end_is_rehearsed_up_to_the_same_job(experiment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "MOST_JOBS", 2000)
    endless = peak(experiment("run.rounds=1000000000"))
    assert endless.cut
    assert endless == peak(experiment("run.rounds=1000000000"))
    whole = peak(experiment("run.rounds=400"))
    assert not whole.cut
    assert (endless.versions, endless.client_states) == (whole.versions, whole.client_states)


def test_the_cap_holds_by_itself(experiment: Make) -> None:
    assert peak(experiment("run.rounds=1000000000")).cut


def check(setting: Experiment) -> float:
    dataset = load_data(setting).dataset
    return memory_check.check_memory(setting, build_scenario(setting, None), build_algorithm(setting), dataset)


def test_what_was_cut_says_at_least(
    experiment: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dry_run, "MOST_JOBS", 500)
    monkeypatch.setattr(memory_check, "LIGHT", set())
    monkeypatch.setattr(memory_check, "SMALL", 0)
    size = 4 * count_numbers("mlp", (64,), 10)
    long, short = experiment("run.rounds=1000000000"), experiment()
    monkeypatch.setattr(memory_check, "measure_object_store", lambda: 20.0 * size)
    with caplog.at_level(logging.WARNING, logger="fedqs_ray"):
        check(long)
        check(short)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("this run needs at least ")
    assert second.startswith("this run needs 0.0 GiB for ")
    monkeypatch.setattr(memory_check, "measure_object_store", lambda: 1.0)
    with pytest.raises(
        ConfigError, match=r"^clients\.count = 12: the run needs at least 0\.0 GiB for \d+ model versions"
    ):
        check(long)
