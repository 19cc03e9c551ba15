"""From an Experiment to a Result: composes the rooms."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from fedqs_ray import folders
from fedqs_ray.config import Experiment, SettingError
from fedqs_ray.messages import Progress
from fedqs_ray.results import Result
from fedqs_ray.simulation import SimulationStopped


def run(
    experiment: Experiment | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Run an experiment on Ray and return what it left behind.

    Uses the Ray session of this process if there is one, else starts the one that `run.address` names and
    stops it afterwards. `on_progress` is called at every version.

    Raises `SettingError` for a mistake in the settings, before anything is written, and
    `SimulationStopped` if the run cannot go on (what it wrote up to there can be read).
    """
    experiment = experiment or Experiment()
    folders.check(experiment, overwrite)

    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from fedqs_ray import algorithms, scenarios
    from fedqs_ray.actors import cluster
    from fedqs_ray.actors.server import ServerActor
    from fedqs_ray.results import FolderRecorder
    from fedqs_ray.tasks.load import load
    from fedqs_ray.tracefile import read_trace

    data, scenario = load(experiment), scenarios.build(experiment, read_trace(experiment))
    with cluster.session(experiment.run.address):
        actors = cluster.plan_actors(experiment)
        folder = folders.claim(experiment, overwrite)
        here = NodeAffinitySchedulingStrategy(cluster.node_id(), soft=False)  # the folder is on this node
        server = ServerActor.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
        rows = server.run.options(num_returns="streaming").remote(
            experiment,
            algorithms.build(experiment),
            scenario,
            data,
            actors,
            FolderRecorder(folder.resolve()),
        )
        try:
            for ref in rows:
                progress = ray.get(ref)
                if on_progress:
                    on_progress(progress)
        except RayError as error:
            raise stopped(error, folder) from None
        finally:
            ray.kill(server)
    return Result(folder)


def stopped(error: Exception, folder: Path) -> SimulationStopped | SettingError:
    """What ended a run, in one line that names its folder; the traceback of what nobody foresaw goes there too."""
    from ray.exceptions import RayActorError, RayTaskError

    from fedqs_ray.actors.errors import brief, plain

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, SettingError):
        return cause
    if isinstance(cause, SimulationStopped):
        reason = f"{cause}; what it wrote is in {folder}"
    elif cause is error and isinstance(error, RayActorError):
        reason = f"stopped: the server actor died: {brief(error)}; what it wrote is in {folder}"
    else:
        reason = f"stopped: {type(cause).__name__}: {brief(cause)}; what it wrote is in {folder}"
        with contextlib.suppress(OSError):  # a full disk may be what ended the run
            (folder / "error.txt").write_text(f"{plain(error)}\n", encoding="utf-8")
            reason += ", the traceback in error.txt"
    found = SimulationStopped(reason)
    found.folder = str(folder)
    return found
