"""What an algorithm is shown when it aggregates. It looks at the server and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.fixed_point import choose_shift, partial_sum, to_float32
from fedqs_ray.core.interfaces import fetch_delta
from fedqs_ray.core.types import Arrival, Job, Round, Vector
from fedqs_ray.simulation.buffer import Entry

if TYPE_CHECKING:
    from fedqs_ray.simulation.server import Server


def build_round(server: Server, entries: list[Entry]) -> Round:
    """A round of these entries, whose arrivals are counted already."""
    clients, executor, model = server.clients, server.executor, server.versions[server.version].model

    def shares() -> NDArray[np.float64]:
        samples = executor.census().train.astype(np.float64)
        return samples / np.float64(samples.sum())

    def kept(client: int) -> Vector | None:
        handle = clients.kept.get(client)
        return None if handle is None else executor.get(handle)

    def combine(weights: Sequence[float]) -> Vector:
        unit = choose_shift(weights, [entry.update.largest for entry in entries])
        near, far = list[tuple[float, Vector]](), list[tuple[Job, float]]()
        for weight, entry in zip(weights, entries, strict=True):
            if entry.update.far:
                far.append((entry.job, weight))
            else:
                near.append((weight, entry.update.delta))
        total = partial_sum(near, model.size, unit)
        return to_float32(total + executor.add_up(far, model.size, unit) if far else total, unit)

    return Round(
        model=model,
        arrivals=tuple(build_arrival(server, entry) for entry in entries),
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
        combine=combine,
    )


def build_arrival(server: Server, entry: Entry) -> Arrival:
    """One of its arrivals."""
    job, update = entry.job, entry.update
    source = partial(fetch_delta, server.executor, job, update) if update.far else update.delta
    cache = "cache" in server.algorithm.needs
    return Arrival(
        client=job.client,
        source=source,
        start_model=server.versions[job.version].model,
        samples=update.samples,
        staleness=server.version - job.version,
        feedback=update.plan.feedback,
        angle=update.plan.angle,
        count=int(server.clients.aggregated[job.client]),
        kept=(fetch_delta(server.executor, job, update) if update.kept is None else update.kept) if cache else None,
        before=None if entry.before is None else server.executor.get(entry.before),
    )
