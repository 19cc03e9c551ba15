"""The simulation: the clock, the client table and the loop. It knows an Executor, not Ray."""

from fedqs_ray.simulation.errors import Interrupted, LawBroken, RunInterrupted, SimulationStopped
from fedqs_ray.simulation.executor import Executor, Recorder
from fedqs_ray.simulation.server import Server

__all__ = ["Executor", "Interrupted", "LawBroken", "Recorder", "RunInterrupted", "Server", "SimulationStopped"]
