"""Estimates of what the bounds speak of, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.training import Training
from fedqs_ray.core.interfaces import Arrival
from fedqs_ray.core.types import Job, Plan, Thresholds, Update
from fedqs_ray.simulation.convergence import estimate_gradients


def entry(delta: list[float], lr: float = 0.1, momentum: float = 0.0, samples: int = 50) -> Arrival:
    job = Job(0, 0, 0, 0.0, 1.0, False, lr, None, Thresholds())
    return Arrival(
        job, Update(np.array(delta, np.float32), Plan(lr, momentum), samples, 0.0, 1.0), np.zeros(1, np.float32)
    )


def test_gradients_from_updates_by_hand() -> None:
    training = Training(local_epochs=2, batch_size=50)
    # 50 samples: 2 steps, g = -d / 0.2 = (1, 0); 75 samples: 4 steps at 0.05, g = -d / 0.2 = (0, 2), but half of the
    # length is momentum's: (0, 1). The third number is a running statistic.
    entries = [entry([-0.2, 0.0, 9.0]), entry([0.0, -0.4, 7.0], lr=0.05, momentum=0.5, samples=75)]
    deltas = [one.update.delta for one in entries]
    found = estimate_gradients(entries, deltas, training, 2)
    assert found is not None
    assert found.gradient_bound == pytest.approx(1.0, rel=1e-6)
    # mean (1/2, 1/2): both are 1/2 squared away, divided by K - 1 = 1
    assert found.divergence == pytest.approx(1.0, rel=1e-6)
    alone = estimate_gradients(entries[:1], deltas[:1], training, 2)
    assert alone is not None
    assert alone.divergence is None
    assert estimate_gradients(entries, deltas, Training(local_epochs=0), 2) is None


def test_they_are_in_the_rows_if_asked_for(experiment: Callable[..., Experiment], inline: Any) -> None:
    without, asked = inline(experiment()), inline(experiment("run.theory=true"))
    assert all(row.divergence is None and row.gradient_bound is None for row in without.rounds)
    assert asked.rounds[0].divergence is None
    assert all(row.divergence > 0 and row.gradient_bound > 0 for row in asked.rounds[1:])
    assert asked.bits() == without.bits()


def test_skewed_data_diverge_more(experiment: Callable[..., Experiment], inline: Any) -> None:
    found = [
        np.mean(
            [row.divergence for row in inline(experiment("run.theory=true", f"task.partition.alpha={x}")).rounds[1:]]
        )
        for x in (0.1, 100.0)
    ]
    assert found[0] > 1.5 * found[1]
