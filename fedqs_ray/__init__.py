"""fedqs_ray: semi-asynchronous federated learning, simulated with Ray actors.

    from fedqs_ray import Experiment, run
    result = run(Experiment(seed=1))
    result.rounds  # an Arrow table

Names are imported when first used, so that `fedqs --help` does not wait for Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedqs_ray.config import Experiment, SettingError
    from fedqs_ray.experiment import resume, run
    from fedqs_ray.grid import compare
    from fedqs_ray.messages import Aggregation, Algorithm, ClientView, Plan, Round
    from fedqs_ray.results import Result, Summary
    from fedqs_ray.results.comparison import Comparison
    from fedqs_ray.settings import load
    from fedqs_ray.simulation import SimulationStopped

_HOMES = {
    "Aggregation": "messages",
    "Algorithm": "messages",
    "ClientView": "messages",
    "Plan": "messages",
    "Round": "messages",
    "Experiment": "config",
    "SettingError": "config",
    "compare": "grid",
    "resume": "experiment",
    "run": "experiment",
    "Comparison": "results.comparison",
    "Result": "results",
    "Summary": "results",
    "load": "settings",
    "SimulationStopped": "simulation",
}

__all__ = [
    "Aggregation",
    "Algorithm",
    "ClientView",
    "Comparison",
    "Experiment",
    "Plan",
    "Result",
    "Round",
    "SettingError",
    "SimulationStopped",
    "Summary",
    "compare",
    "load",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"fedqs_ray.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fedqs_ray' has no attribute {name!r}")
