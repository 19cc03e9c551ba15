"""Scenarios: pure draws of durations, losses and leaving. None ever sees a model."""

from fedqs_ray.config import Experiment
from fedqs_ray.messages import Scenario
from fedqs_ray.scenarios.world import WorldScenario


def build(experiment: Experiment) -> Scenario:
    """The scenario that `experiment.scenario` describes."""
    return WorldScenario(experiment)
