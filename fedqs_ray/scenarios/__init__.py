"""Scenarios: pure draws of durations, losses and leaving. None ever sees a model."""

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Scenario
from fedqs_ray.scenarios.trace import Record, Trace
from fedqs_ray.scenarios.world import WorldScenario

__all__ = ["Record", "Trace", "build"]


def build(experiment: Experiment, trace: Trace | None = None) -> Scenario:
    """The scenario that `experiment.scenario` describes; `trace` is what its file holds, if it names one."""
    return WorldScenario(experiment, trace)
