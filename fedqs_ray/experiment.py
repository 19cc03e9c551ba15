"""From an Experiment to a Result: composes the rooms."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from fedqs_ray.config import Experiment, SettingError
from fedqs_ray.messages import Progress
from fedqs_ray.results import Result
from fedqs_ray.settings import check, difference, load
from fedqs_ray.tracefile import read_trace

log = logging.getLogger(__name__)
HEAVY = {"resnet18", "vgg16", "lstm", "cnn"}
MANY = 5000
"""Models and numbers of clients for which it is worth a second to find out whether they fit in memory."""


class RunInterrupted(KeyboardInterrupt):
    """A run was asked to stop and did, between two events. `folder` holds it."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


def run(
    experiment: Experiment | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Run an experiment on Ray and return what it left behind.

    Uses the Ray session of this process if there is one, else starts the one that `run.address` names and
    stops it afterwards. `on_progress` is called at every version.

    Raises `SettingError` for a mistake in the settings, before anything is written, and `SimulationStopped`
    if the run cannot go on (what it wrote up to there can be read). A KeyboardInterrupt lets the event under
    way finish, leaves a checkpoint for `resume`, and is raised then as a `RunInterrupted`.
    """
    experiment = experiment or Experiment()
    folder = choose_folder(experiment, overwrite)
    return launch(experiment, folder, lambda: prepare_folder(folder, experiment, overwrite), None, on_progress)


def resume(
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Go on with a run from its newest checkpoint, to the bits of a run that was never disturbed.

    `overrides` are as in `settings.load`. Only `run.rounds` may change (and grow), and what makes no difference
    to the results: `run.address`, `run.checkpoint_every`, `clients.actors`, `clients.clients_per_actor`.

    Raises what `run` does.
    """
    from fedqs_ray.results import checkpoints

    place = Path(folder)
    if not (place / "config.toml").is_file():
        raise SettingError(f"{place}: holds no run")
    experiment = load(place / "config.toml", [*overrides, f"run.out={json.dumps(str(place))}"])
    done = (place / "model.safetensors").exists()
    if done and not checkpoints.found(place):
        if experiment.run.rounds == load(place / "config.toml").run.rounds:
            return Result(place)
        raise SettingError(
            f"run.rounds = {experiment.run.rounds}: {place} is finished and left no checkpoint to go on from"
        )
    path, facts = checkpoints.newest(place)
    refuse_changes(check({**facts["experiment"], "versions": {}}), experiment)
    if done and facts["version"] >= experiment.run.rounds:
        return Result(place)

    def write_settings() -> None:
        (place / "model.safetensors").unlink(missing_ok=True)
        if overrides:
            write_config(place, experiment)

    return launch(experiment, place, write_settings, (path, facts["rows"]), on_progress)


def refuse_changes(before: Experiment, now: Experiment) -> None:
    """Raise `SettingError` where a run would not go on as it began."""
    if now.run.rounds < before.run.rounds:
        raise SettingError(f"run.rounds = {now.run.rounds}: the run began with {before.run.rounds}, and may only grow")
    if now.run.rounds > before.run.rounds and (now.scenario.name == "dynamic" or now.scenario.leave_fraction):
        raise SettingError(
            f"run.rounds = {now.run.rounds}: cannot grow from {before.run.rounds} in a scenario that is measured in "
            "parts of run.rounds"
        )
    same = now.model_copy(update={"run": now.run.model_copy(update={"rounds": before.run.rounds})})
    if other := difference(same, before):
        raise SettingError(f"{now.run.out}: cannot go on with another {other}")


def launch(
    experiment: Experiment,
    folder: Path,
    prepare: Callable[[], None],
    checkpoint: tuple[Path, dict[str, int]] | None,
    on_progress: Callable[[Progress], None] | None,
) -> Result:
    """Start Ray if need be, `prepare` the folder, and run in it, perhaps from a checkpoint with its rows of tables."""
    import ray
    from ray.exceptions import RayActorError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from fedqs_ray import algorithms, scenarios
    from fedqs_ray.actors import cluster, memory
    from fedqs_ray.actors.crew import first_line
    from fedqs_ray.actors.server import ServerActor
    from fedqs_ray.results import FolderRecorder, checkpoints
    from fedqs_ray.simulation import Interrupted, SimulationStopped
    from fedqs_ray.tasks.load import load as load_data

    algorithm = algorithms.build(experiment)
    data, scenario = load_data(experiment), scenarios.build(experiment, read_trace(experiment))
    path, kept = checkpoint or (None, None)
    with cluster.session(experiment.run.address):
        actors = cluster.plan_actors(experiment)
        if experiment.task.model in HEAVY or experiment.clients.count >= MANY:
            from fedqs_ray.tasks import models  # torch: a second to import

            dataset = data.dataset
            numbers = models.length(experiment.task.model, dataset.shape, dataset.classes, dataset.vocabulary)
            memory.check(experiment, scenario, algorithm.needs_history, numbers)
        prepare()
        here = NodeAffinitySchedulingStrategy(cluster.node_id(), soft=False)  # the folder is on this node
        server = ServerActor.options(scheduling_strategy=here, max_concurrency=2).remote()  # type: ignore[attr-defined]
        rows = server.run.options(num_returns="streaming").remote(
            experiment,
            algorithm,
            scenario,
            data,
            actors,
            FolderRecorder(folder.resolve(), kept),
            partial(checkpoints.read, path.resolve()) if path else None,
        )
        try:
            follow(rows, on_progress, lambda: server.interrupt.remote())
        except RayTaskError as error:
            if isinstance(error.cause, Interrupted):
                raise RunInterrupted(str(error.cause), folder) from None
            raise error.cause from None
        except RayActorError as error:
            raise SimulationStopped(f"stopped: the server actor died: {first_line(error)}") from None
        finally:
            ray.kill(server)
    return Result(folder)


def follow(rows: Iterator[Any], on_progress: Callable[[Progress], None] | None, interrupt: Callable[[], Any]) -> None:
    """Watch a run to its end. The first KeyboardInterrupt asks it to stop and waits for that, the second does not."""
    import ray

    asked = False
    while True:
        try:
            for ref in rows:
                progress = ray.get(ref)
                if on_progress:
                    on_progress(progress)
            return
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            interrupt()
            log.warning("interrupted: finishing the event under way; interrupt again to stop at once")


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
        write_config(folder, experiment)
    except OSError as error:
        raise SettingError(f'run.out = "{folder}": cannot be written: {error.strerror}') from None


def write_config(folder: Path, experiment: Experiment) -> None:
    """Write the resolved configuration, with the versions of what runs it."""
    names = ("fedqs_ray", "ray", "torch", "numpy", "pyarrow")
    found = experiment.model_copy(update={"versions": {name: version(name) for name in names}})
    text = tomli_w.dumps(found.model_dump(mode="json", exclude_none=True))
    (folder / "config.toml").write_text(text, encoding="utf-8")
