"""The driver: starts the server actor, follows the run to its end, and says in one line what ended it."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedqs_ray.backends.ray.error_text import locate_user_code
from fedqs_ray.backends.ray.resources import describe_nodes, get_node_id
from fedqs_ray.backends.ray.server_actor import ServerActor
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import FedqsError, Interrupted, RunInterrupted, SimulationStopped
from fedqs_ray.core.interfaces import Algorithm, OnProgress, Scenario
from fedqs_ray.core.text import brief_message, plain_message
from fedqs_ray.runs.checkpoints import describe_resume, read_checkpoint
from fedqs_ray.runs.folder import list_versions
from fedqs_ray.runs.log import RunLog
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.runs.store import Mirror
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
    on_progress: OnProgress | None,
    checkpoint: tuple[Path, Facts] | None,
    mirror: Mirror | None,
) -> None:
    """Run in `folder` on `actors` client actors, to the end or from a checkpoint, in the Ray session of this process.

    Raises `SimulationStopped`, `RunInterrupted`, and `FedqsError` for what only shows on the nodes.
    """
    if not (home := type(algorithm).__module__).startswith("fedqs_ray."):
        ray.cloudpickle.register_pickle_by_value(sys.modules[home])  # type: ignore[no-untyped-call]  # other nodes lack it
    path, facts = checkpoint or (None, None)
    here = NodeAffinitySchedulingStrategy(get_node_id(), soft=False)  # the folder is on this node
    told = {"versions": list_versions(), "nodes": describe_nodes(), "actors": actors}
    server = ServerActor.options(scheduling_strategy=here, max_concurrency=2).remote()  # type: ignore[attr-defined]
    news = server.run.options(num_returns="streaming").remote(
        experiment,
        algorithm,
        scenario,
        data,
        actors,
        FolderRecorder(folder.resolve(), facts.rows if facts else None, experiment.run.tensorboard),
        RunLog(folder.resolve(), **told, checkpoint=path and path.name),
        str(folder),
        partial(read_checkpoint, path) if path else None,
    )
    try:
        follow_run(news, on_progress, lambda: server.interrupt.remote(), mirror)
    except RayError as error:
        raise explain_end(error, folder, mirror.store.name if mirror else None) from None
    finally:
        ray.kill(server)


def follow_run(
    news: Iterator[Any], on_progress: OnProgress | None, interrupt: Callable[[], Any], mirror: Mirror | None
) -> None:
    """Watch a run to its end. The first KeyboardInterrupt asks it to stop and waits for that, the second does not."""
    asked = False
    while True:
        try:
            for ref in news:
                progress = ray.get(ref)
                if on_progress:
                    on_progress(progress)
                if mirror:
                    mirror.refresh()
            return
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            interrupt()
            log.warning("interrupted: finishing the event under way; interrupt again to stop at once")


def explain_end(error: Exception, folder: Path, name: str | None = None) -> BaseException:
    """What ended a run, in one line that names its folder; the traceback of what nobody foresaw goes there too."""
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
        reason = f"stopped: the server actor died: {brief_message(error)}; {where}"
    else:
        reason = f"stopped: {type(cause).__name__}: {brief_message(cause)}{locate_user_code(error)}; {where}"
        with contextlib.suppress(OSError):  # a full disk may be what ended the run
            (folder / "error.txt").write_text(f"{plain_message(error)}\n", encoding="utf-8")
            reason += ", the traceback in error.txt"
    found = SimulationStopped(f"{reason}{again}")
    found.folder = name
    return found
