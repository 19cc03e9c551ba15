"""Run of one experiment, and its continuation from a checkpoint."""

import logging
from collections.abc import Sequence
from pathlib import Path

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import find_difference, validate_experiment
from fedqs_ray.core.exceptions import ConfigError, RunFolderError
from fedqs_ray.core.interfaces import OnProgress
from fedqs_ray.experiments.launch import launch_run
from fedqs_ray.runs.folder import check_folder, claim_folder, is_run, write_settings
from fedqs_ray.runs.layout import CONFIG, ERROR, MODEL, REPORT
from fedqs_ray.runs.location import find_local_folder
from fedqs_ray.runs.lock import hold_lock
from fedqs_ray.runs.result import Result
from fedqs_ray.runs.settings import load_run_settings
from fedqs_ray.runs.staging import check_store, claim_store, fetch_run, stage_run, store_errors
from fedqs_ray.runs.store import Mirror
from fedqs_ray.runs.tables import has_ended, read_table
from fedqs_ray.simulation.snapshot import parse_facts

log = logging.getLogger(__name__)


def run(
    experiment: Experiment | None = None,
    *,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Result:
    """Run an experiment on Ray and return its result.

    Uses the Ray session of this process if there is one; otherwise starts the one of `run.address` and stops it
    afterwards. `on_progress` is called at every version.

    Raises `ConfigError` for a mistake in the settings, before anything is written, and `SimulationStopped`
    if the run cannot continue (the tables written so far can be read). After a KeyboardInterrupt the current event is
    finished, a checkpoint for `resume` is written, and `RunInterrupted` is raised.
    """
    experiment = experiment or Experiment()
    if (out := experiment.run.out) is not None and (place := find_local_folder(out)) is None:
        with stage_run(out, f'run.out = "{out}"') as mirror:
            check_store(mirror, overwrite)
            named = move_results(experiment, mirror.store.name)
            launch_run(named, lambda: claim_store(mirror, named, overwrite), on_progress, mirror=mirror)
        return Result(out)
    named = experiment if out is None else move_results(experiment, str(place))
    check_folder(named, overwrite)
    return Result(launch_run(named, lambda: claim_folder(named, overwrite), on_progress))


def move_results(experiment: Experiment, out: str) -> Experiment:
    """Copy the experiment with another run.out."""
    return experiment.model_copy(update={"run": experiment.run.model_copy(update={"out": out})})


def resume(folder: str | Path, overrides: Sequence[str] = (), *, on_progress: OnProgress | None = None) -> Result:
    """Continue a run from its newest checkpoint, to the same bits as without the interruption.

    `overrides` are as in `load`. Only `run.rounds` may change (and grow), and settings without influence on results:
    `run.address`, `run.wait_for_nodes`, `run.checkpoint_every`, `run.tensorboard`, `clients.actors`, and
    `clients.clients_per_actor` as long as `training.clients_per_step` stays the same. The data must be the same.

    Raises the errors of `run`, and `RunFolderError` for a folder that cannot be resumed.
    """
    if place := find_local_folder(folder):
        return Result(resume_folder(place, overrides, on_progress))
    with stage_run(str(folder), str(folder)) as mirror:
        fetch_run(mirror)
        resume_folder(mirror.folder, overrides, on_progress, mirror)
    return Result(folder)


def resume_folder(
    place: Path, overrides: Sequence[str], on_progress: OnProgress | None, mirror: Mirror | None = None
) -> Path:
    """Resume the run in `place`, the mirror's folder if there is one; returns `place`."""
    from fedqs_ray.runs.checkpoints import find_newest, list_checkpoints

    name = mirror.store.name if mirror else str(place)
    if not is_run(place):
        raise RunFolderError(f"{name}: holds no run")
    with hold_lock(place):
        pass  # fails at once if the run is going on
    before = load_run_settings(place / CONFIG, out=name)
    now = load_run_settings(place / CONFIG, overrides, out=name)
    if has_ended(place):
        measured, rounds = len(read_table(place, "rounds")) - 1, before.run.rounds
        if measured == now.run.rounds and not find_difference(now, before):
            may = list_checkpoints(place) and not depends_on_rounds(now)
            more = "; --set run.rounds=MORE prolongs it" if may else ""
            log.warning("%s: finished already, with round %d%s", name, rounds, more)
            return place
        if not list_checkpoints(place):
            raise RunFolderError(
                f"{name}: ended with round {measured} of {rounds} and left no checkpoint to go on from; "
                "with a smaller run.checkpoint_every, such as 10 rounds, it would have"
            )
    path, raw = find_newest(place)
    try:
        facts = parse_facts(raw)
    except ValueError:
        raise RunFolderError(f"{name}: its checkpoint is of another version of fedqs_ray") from None
    refuse_changes(validate_experiment(facts.experiment), now)

    def reopen() -> Path:
        with hold_lock(place):
            for old in (MODEL, ERROR, REPORT):  # results of the earlier end
                (place / old).unlink(missing_ok=True)
            write_settings(place, now)
        if mirror:
            with store_errors(f"{name}: cannot be written"):
                mirror.begin()
        return place

    return launch_run(now, reopen, on_progress, (path.resolve(), facts), mirror)


def refuse_changes(before: Experiment, now: Experiment) -> None:
    """Raise `ConfigError` for changed settings that would change the results of the earlier rounds."""
    if now.run.rounds < before.run.rounds:
        raise ConfigError(f"run.rounds = {now.run.rounds}: the run began with {before.run.rounds}, and may only grow")
    if now.run.rounds > before.run.rounds and depends_on_rounds(now):
        raise ConfigError(
            f"run.rounds = {now.run.rounds}: cannot grow from {before.run.rounds} in a scenario or an algorithm "
            "that is measured in parts of run.rounds"
        )
    same = now.model_copy(update={"run": now.run.model_copy(update={"rounds": before.run.rounds})})
    if other := find_difference(same, before):
        raise ConfigError(f"{now.run.out}: cannot go on with another {other}")


def depends_on_rounds(experiment: Experiment) -> bool:
    """Whether the events of a run depend on fractions of run.rounds."""
    scenario = experiment.scenario
    return scenario.name == "dynamic" or scenario.leave_fraction > 0 or experiment.algorithm.name == "wkafl"
