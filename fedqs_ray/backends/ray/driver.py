"""The driver: starts the server actor, follows the run to its end, and says in one line what ended it."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedqs_ray.backends.ray.error_text import locate_user_code
from fedqs_ray.backends.ray.prometheus import PrometheusMetrics
from fedqs_ray.backends.ray.resources import describe_nodes, get_node_id
from fedqs_ray.backends.ray.server_actor import ServerActor
from fedqs_ray.backends.ray.shared_data import share_data
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import FedqsError, Interrupted, RunInterrupted, SimulationStopped
from fedqs_ray.core.interfaces import Algorithm, Observer, Scenario, observe
from fedqs_ray.core.text import clean_message, shorten_message
from fedqs_ray.runs.checkpoints import describe_resume, read_checkpoint
from fedqs_ray.runs.folder import list_versions
from fedqs_ray.runs.log import RunLog
from fedqs_ray.runs.tensorboard import TensorBoardWriter
from fedqs_ray.simulation.snapshot import Facts
from fedqs_ray.tasks.federated import FederatedData

log = logging.getLogger(__name__)


def drive_run(
    experiment: Experiment,
    algorithm: Algorithm,
    scenario: Scenario,
    data: FederatedData,
    actors: int,
    folder: Path,
    observers: Sequence[Observer],
    checkpoint: tuple[Path, Facts] | None = None,
    name: str | None = None,
) -> None:
    """Run in `folder` on `actors` client actors, to the end or from a checkpoint, in the Ray session of this process.

    `observers` watch from this process. `name` is the folder's in messages: a path or a URI.

    Raises `SimulationStopped`, `RunInterrupted`, and `FedqsError` for mistakes that only show on the nodes.
    """
    if not (home := type(algorithm).__module__).startswith("fedqs_ray."):
        ray.cloudpickle.register_pickle_by_value(sys.modules[home])  # type: ignore[no-untyped-call]  # other nodes lack it
    path, facts = checkpoint or (None, None)
    here = NodeAffinitySchedulingStrategy(get_node_id(), soft=False)  # the folder is on this node
    with share_data(data) as shared, observe(observers):
        server = ServerActor.options(scheduling_strategy=here, max_concurrency=2).remote()  # type: ignore[attr-defined]
        updates = server.run.options(num_returns="streaming").remote(
            experiment,
            algorithm,
            scenario,
            shared,
            actors,
            folder.resolve(),
            facts.rows if facts else None,
            list_server_observers(experiment, actors, folder, checkpoint),
            partial(read_checkpoint, path) if path else None,
        )
        try:
            follow_run(updates, observers, lambda: server.interrupt.remote())
        except RayError as error:
            raise explain_end(error, folder, name) from None
        finally:
            ray.kill(server)


def list_server_observers(
    experiment: Experiment, actors: int, folder: Path, checkpoint: tuple[Path, Facts] | None
) -> list[Observer]:
    """Observers that watch a run from the server actor's process; the log is the first to begin and the last to end."""
    path, facts = checkpoint or (None, None)
    known = {"versions": list_versions(), "nodes": describe_nodes(), "actors": actors}
    found: list[Observer] = [
        RunLog(folder.resolve(), **known, checkpoint=path and path.name),
        PrometheusMetrics(str(folder), experiment.title),
    ]
    if experiment.run.tensorboard:
        found.append(TensorBoardWriter(folder.resolve(), facts.rows.get("rounds", 0) if facts else 0))
    return found


def follow_run(updates: Iterator[Any], observers: Sequence[Observer], interrupt: Callable[[], Any]) -> None:
    """Watch a run to its end. The first KeyboardInterrupt asks it to stop and waits for that, the second does not."""
    asked = False
    while True:
        try:
            for ref in updates:
                progress = ray.get(ref)
                for observer in observers:
                    observer.version(progress)
            return
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            interrupt()
            log.warning("interrupted: finishing the event under way; interrupt again to stop at once")


def explain_end(error: Exception, folder: Path, name: str | None = None) -> BaseException:
    """The error that ended a run, in one line that names its folder; an unforeseen one leaves its traceback there."""
    name = name or str(folder)
    cause = error.cause if isinstance(error, RayTaskError) else error
    again = describe_resume(folder, name)
    if isinstance(cause, Interrupted):
        return RunInterrupted(f"{cause}{again}", name)
    if isinstance(cause, FedqsError):
        return cause
    where = f"what it wrote is in {name}"
    if isinstance(cause, SimulationStopped):
        reason = f"{cause}; {where}"
    elif cause is error and isinstance(error, RayActorError):
        reason = f"stopped: the server actor died: {shorten_message(error)}; {where}"
    else:
        reason = f"stopped: {type(cause).__name__}: {shorten_message(cause)}{locate_user_code(error)}; {where}"
        with contextlib.suppress(OSError):  # a full disk may be what ended the run
            (folder / "error.txt").write_text(f"{clean_message(error)}\n", encoding="utf-8")
            reason += ", the traceback in error.txt"
    found = SimulationStopped(f"{reason}{again}")
    found.folder = name
    return found
