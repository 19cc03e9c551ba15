"""Helpers for unit tests of own algorithms."""

from collections.abc import Callable

from fedqs_ray.core.interfaces import Arrival
from fedqs_ray.core.types import Job, Plan, Thresholds, Update, Vector


def make_arrival(
    client: int,
    delta: Vector,
    start_model: Vector,
    samples: int = 1,
    staleness: int = 0,
    feedback: bool = False,
    angle: float | None = None,
    count: int = 1,
    client_state: Vector | None = None,
    previous_client_state: Vector | None = None,
    fetch: Callable[[], Vector] | None = None,
) -> Arrival:
    """Make an arrival for `Algorithm.aggregate`, of a client that started from `start_model`, (P,) like `delta`."""
    job = Job(client, count - 1, 0, 0.0, 1.0, lost=False, lr=0.1, speed=None, thresholds=Thresholds())
    largest = float(abs(delta).max()) if delta.size else 0.0
    update = Update(delta, Plan(0.1, feedback=feedback, angle=angle), samples, 0.0, largest, client_state)
    return Arrival(job, update, start_model, previous_client_state, fetch, staleness, count)
