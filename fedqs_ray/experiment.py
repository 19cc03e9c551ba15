"""From an Experiment to a Result: composes the rooms."""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tomli_w

from fedqs_ray.config import Experiment, SettingError
from fedqs_ray.messages import Progress
from fedqs_ray.results import Result


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
    folder = choose_folder(experiment, overwrite)

    import ray
    from ray.exceptions import RayActorError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from fedqs_ray import algorithms, scenarios
    from fedqs_ray.actors import cluster
    from fedqs_ray.actors.server import ServerActor, first_line
    from fedqs_ray.results import FolderRecorder
    from fedqs_ray.simulation import SimulationStopped
    from fedqs_ray.tasks.load import load
    from fedqs_ray.tracefile import read_trace

    data, scenario = load(experiment), scenarios.build(experiment, read_trace(experiment))
    with cluster.session(experiment.run.address):
        actors = cluster.plan_actors(experiment)
        prepare_folder(folder, experiment, overwrite)
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
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            raise SimulationStopped(f"stopped: the server actor died: {first_line(error)}") from None
        finally:
            ray.kill(server)
    return Result(folder)


def choose_folder(experiment: Experiment, overwrite: bool) -> Path:
    """The results' folder: `run.out`, or a numbered one under runs/. Raises `SettingError` if it is taken."""
    if experiment.run.out is not None:
        folder = Path(experiment.run.out)
        if folder.exists() and not folder.is_dir():
            raise SettingError(f'run.out = "{folder}": is a file')
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise SettingError(f'run.out = "{folder}": already exists; choose another folder, or pass --overwrite')
        if overwrite and folder.is_dir() and any(folder.iterdir()) and not (folder / "config.toml").exists():
            raise SettingError(f'run.out = "{folder}": holds no run, so --overwrite leaves it alone')
        return folder
    stem = f"{experiment.task.name}-{experiment.algorithm.name}-{experiment.seed}"
    names = (f"runs/{stem}" + (f"-{n}" if n > 1 else "") for n in range(1, 1_000_000))
    return next(path for path in map(Path, names) if not path.exists())


def prepare_folder(folder: Path, experiment: Experiment, overwrite: bool) -> None:
    """Make the folder, emptied if it held another run, with the resolved configuration in it."""
    try:
        if overwrite and folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = ("fedqs_ray", "ray", "torch", "numpy", "pyarrow")
        found = experiment.model_copy(update={"versions": {name: version(name) for name in names}})
        text = tomli_w.dumps(found.model_dump(mode="json", exclude_none=True))
        (folder / "config.toml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f'run.out = "{folder}": cannot be written: {error.strerror}') from None
