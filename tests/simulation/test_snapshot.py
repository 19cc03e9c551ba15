"""A run that is taken out and put back at any event gives the bits of one that was not."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedqs_ray.algorithms.registry import NAMES, build_algorithm
from fedqs_ray.backends.inline import InlineExecutor
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.rows import Snapshot
from fedqs_ray.scenarios.scenario import build_scenario
from fedqs_ray.simulation.server import Server
from fedqs_ray.simulation.snapshot import capture_state, restore_state
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.training.trainer import Trainer

HARD = [
    "scenario.loss_rate=0.2",
    "scenario.leave_fraction=0.25",
    "clients.concurrency=8",
    "run.eval_every=5",
]


def server(experiment: Experiment, memory: Any) -> Server:
    algorithm = build_algorithm(experiment)
    executor = InlineExecutor(Trainer(experiment, load_data(experiment), algorithm))
    return Server(experiment, algorithm, build_scenario(experiment, None), executor, memory)


MORE = ["fedqs-sgd algorithm.sketch_dim=64", "ace algorithm.max_delay=3", "fedavg server.buffer_timeout=2.5"]


@pytest.mark.parametrize("cohort", [1, 3, 8])
@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_taken_out_and_put_back_at_every_fifth_event(
    name: str, cohort: int, experiment: Callable[..., Experiment], inline: Callable[[Experiment], Any], memory: Any
) -> None:
    setting = experiment(*f"algorithm.name={name}".split(), f"training.clients_per_step={cohort}", *HARD)
    undisturbed = inline(setting)
    state: Snapshot | None = None
    moves = 0
    while True:
        current = server(setting, memory)
        if state:
            restore_state(current, state)
        for events, _ in enumerate(current.run(), start=1):
            if events == 5 and not current.over:
                seen = capture_state(current)
                facts = json.loads(json.dumps(seen.facts))  # as it comes back from a file
                state = Snapshot(facts, [(key, array.copy()) for key, array in seen.arrays])
                moves += 1
                break
        else:
            break
    assert moves > 5
    assert memory.jobs == undisturbed.jobs
    assert memory.rounds == undisturbed.rounds
    assert memory.clients == undisturbed.clients
    assert memory.bits() == undisturbed.bits()


def test_a_run_may_grow_after_its_end(
    experiment: Callable[..., Experiment], inline: Callable[[Experiment], Any], memory: Any
) -> None:
    short, long = experiment("run.rounds=6", "run.eval_every=4"), experiment("run.rounds=12", "run.eval_every=4")
    first = server(short, type(memory)())
    for progress in first.run():
        if progress and progress.round == 6 and not first.over:
            state = capture_state(first)
            state = replace(state, arrays=[(key, array.copy()) for key, array in state.arrays])
    second = server(long, memory)
    restore_state(second, state)
    for _ in second.run():
        pass
    expected = inline(long)
    assert memory.bits() == expected.bits()
    assert memory.jobs == expected.jobs[-len(memory.jobs) :]
    assert memory.rounds == expected.rounds[-len(memory.rounds) :]
