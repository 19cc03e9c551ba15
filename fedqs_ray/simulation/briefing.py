"""What an algorithm is shown when it aggregates. It looks at the server and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.messages import Arrival, Round, Vector
from fedqs_ray.simulation.buffer import Entry

if TYPE_CHECKING:
    from fedqs_ray.simulation.server import Server


def brief(server: Server, entries: list[Entry]) -> Round:
    """A round of these entries, whose arrivals are counted already."""
    clients, executor = server.clients, server.executor

    def shares() -> NDArray[np.float64]:
        samples = executor.census().train.astype(np.float64)
        return samples / np.float64(samples.sum())

    def kept(client: int) -> Vector | None:
        handle = clients.kept.get(client)
        return None if handle is None else executor.get(handle)

    return Round(
        model=server.versions[server.version].model,
        arrivals=tuple(arrival(server, entry) for entry in entries),
        total_count=clients.total,
        mean_angle=clients.mean_angle(),
        version=server.version,
        state=server.memory,
        parameters=server.layout.parameters,
        clients=server.experiment.clients.count,
        shares=shares,
        kept=kept,
        seed=server.experiment.seed,
        tier=server.buffer.tier(entries),
    )


def arrival(server: Server, entry: Entry) -> Arrival:
    """One of its arrivals."""
    job, update = entry.job, entry.update
    kept = update.delta if update.kept is None else update.kept
    return Arrival(
        client=job.client,
        delta=update.delta,
        start_model=server.versions[job.version].model,
        samples=update.samples,
        staleness=server.version - job.version,
        feedback=update.plan.feedback,
        angle=update.plan.angle,
        count=int(server.clients.aggregated[job.client]),
        kept=kept if "cache" in server.algorithm.needs else None,
        before=None if entry.before is None else server.executor.get(entry.before),
    )
