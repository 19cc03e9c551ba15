"""ServerActor: the loop in a Ray actor of its own. It owns the client actors, so they end when it ends."""

from collections.abc import Iterator

import ray
from ray.exceptions import RayActorError

from fedqs_ray.actors.client import ClientActor
from fedqs_ray.actors.errors import brief
from fedqs_ray.actors.pool import Pool
from fedqs_ray.actors.wall import WaitingClientActor, WallPool
from fedqs_ray.config import Experiment
from fedqs_ray.messages import Algorithm, Progress, Scenario
from fedqs_ray.simulation import Recorder, Server, SimulationStopped
from fedqs_ray.tasks.federate import FederatedData


@ray.remote(num_cpus=0)
class ServerActor:
    """Gathers the clients' futures as they finish and aggregates after K arrivals."""

    def run(
        self,
        experiment: Experiment,
        algorithm: Algorithm,
        scenario: Scenario,
        data: FederatedData,
        actors: int,
        recorder: Recorder,
    ) -> Iterator[Progress]:
        """Run to the end; a streaming generator, so that the driver can watch."""
        clients, shared = experiment.clients, ray.put(data)
        reserved = {"num_cpus": clients.num_cpus, "num_gpus": clients.num_gpus}
        executor: Pool | WallPool
        if experiment.run.clock == "wall":
            waiting = WaitingClientActor.options(**reserved, max_concurrency=clients.count + 10)  # type: ignore[attr-defined]
            crew = [waiting.remote(experiment, shared, algorithm) for _ in range(actors)]
            executor = clock = WallPool(crew, data.summary(), experiment.run.seconds_per_tick)
        else:
            hosted = clients.clients_per_actor if isinstance(clients.clients_per_actor, int) else None
            make = ClientActor.options(**reserved)  # type: ignore[attr-defined]
            crew = [make.remote(experiment, shared, algorithm) for _ in range(actors)]
            executor, clock = Pool(crew, data.summary(), hosted), None
        try:
            yield from Server(experiment, algorithm, scenario, executor, recorder, clock).run()
        except RayActorError as error:
            raise SimulationStopped(f"stopped: a client actor died: {brief(error)}") from None
