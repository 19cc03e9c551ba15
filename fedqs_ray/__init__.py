"""fedqs_ray: semi-asynchronous federated learning, simulated with Ray actors.

    from fedqs_ray import Experiment, run
    result = run(Experiment(seed=1))
    result.rounds  # an Arrow table

Names are imported when first used, so that `fedqs --help` does not wait for Ray.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedqs_ray.config.experiment import Experiment
    from fedqs_ray.config.loading import load_experiment as load
    from fedqs_ray.core.exceptions import (
        ConfigError,
        DataError,
        FedqsError,
        RunFolderError,
        RunInterrupted,
        SimulationStopped,
    )
    from fedqs_ray.core.interfaces import Aggregation, Algorithm, Arrival, ClientView, Round
    from fedqs_ray.core.random import stream
    from fedqs_ray.core.rows import Progress
    from fedqs_ray.core.types import Plan
    from fedqs_ray.experiments.compare import compare
    from fedqs_ray.experiments.comparison import Comparison
    from fedqs_ray.experiments.run import resume, run
    from fedqs_ray.experiments.sweep import Sweep
    from fedqs_ray.experiments.tune import tune
    from fedqs_ray.report.write import write_report
    from fedqs_ray.runs.result import Result, Summary

    __version__: str

_HOMES = {
    "Aggregation": "core.interfaces",
    "Algorithm": "core.interfaces",
    "Arrival": "core.interfaces",
    "ClientView": "core.interfaces",
    "Comparison": "experiments.comparison",
    "ConfigError": "core.exceptions",
    "DataError": "core.exceptions",
    "Experiment": "config.experiment",
    "FedqsError": "core.exceptions",
    "Plan": "core.types",
    "Progress": "core.rows",
    "Result": "runs.result",
    "Round": "core.interfaces",
    "RunFolderError": "core.exceptions",
    "RunInterrupted": "core.exceptions",
    "SimulationStopped": "core.exceptions",
    "Summary": "runs.result",
    "Sweep": "experiments.sweep",
    "compare": "experiments.compare",
    "load": "config.loading:load_experiment",
    "resume": "experiments.run",
    "run": "experiments.run",
    "stream": "core.random",
    "tune": "experiments.tune",
    "write_report": "report.write",
}
"""Module of each public name, and the name there if it differs."""
_RENAMED = {"SettingError": "ConfigError"}
"""Names of version 0.1, and their names now."""

__all__ = [
    "Aggregation",
    "Algorithm",
    "Arrival",
    "ClientView",
    "Comparison",
    "ConfigError",
    "DataError",
    "Experiment",
    "FedqsError",
    "Plan",
    "Progress",
    "Result",
    "Round",
    "RunFolderError",
    "RunInterrupted",
    "SimulationStopped",
    "Summary",
    "Sweep",
    "__version__",
    "compare",
    "load",
    "resume",
    "run",
    "stream",
    "tune",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, own = _HOMES[name].partition(":")
        return getattr(import_module(f"fedqs_ray.{module}"), own or name)
    if name == "__version__":
        return version("fedqs_ray")
    if name in _RENAMED:
        raise AttributeError(f"fedqs_ray.{name} is called fedqs_ray.{_RENAMED[name]} now")
    raise AttributeError(f"module 'fedqs_ray' has no attribute {name!r}")
