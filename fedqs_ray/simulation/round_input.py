"""The input of an aggregation, built from the state without changing it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.fixed_point import choose_shift, compute_partial_sum, convert_to_float32
from fedqs_ray.core.interfaces import Arrival, Executor, Round
from fedqs_ray.core.types import Job, Layout, Vector
from fedqs_ray.simulation.state import ServerState


def build_round(state: ServerState, arrivals: Sequence[Arrival], executor: Executor, layout: Layout) -> Round:
    """The round that these arrivals make; they count as aggregated in it."""
    clients, model = state.clients, state.newest.model
    more = Counter(arrival.client for arrival in arrivals)

    def shares() -> NDArray[np.float64]:
        samples = executor.client_statistics().train.astype(np.float64)
        return samples / np.float64(samples.sum())

    def client_state(client: int) -> Vector | None:
        handle = clients.client_states.get(client)
        return None if handle is None else executor.get(handle)

    def combine(weights: Sequence[float]) -> Vector:
        unit = choose_shift(weights, [arrival.update.largest for arrival in arrivals])
        here, remote = list[tuple[float, Vector]](), list[tuple[Job, float]]()
        for weight, arrival in zip(weights, arrivals, strict=True):
            if arrival.update.vector is None:
                remote.append((arrival.job, weight))
            else:
                here.append((weight, arrival.update.delta))
        total = compute_partial_sum(here, model.size, unit)
        return convert_to_float32(total + executor.add_up(remote, model.size, unit) if remote else total, unit)

    return Round(
        model=model,
        arrivals=tuple(
            replace(
                arrival,
                staleness=state.version - arrival.job.version,
                count=int(clients.aggregated[arrival.client]) + more[arrival.client],
            )
            for arrival in arrivals
        ),
        total_count=clients.total + len(arrivals),
        mean_angle=clients.mean_angle(),
        version=state.version,
        state=state.algorithm_state,
        parameters=layout.parameters,
        clients=state.experiment.clients.count,
        shares=shares,
        client_state=client_state,
        seed=state.experiment.seed,
        tier=state.buffer.tier(arrivals),
        combine=combine,
    )
