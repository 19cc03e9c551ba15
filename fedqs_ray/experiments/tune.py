"""Sweep on Ray Tune: points of a search space, each a run, of which the worse are stopped early (ASHA).

Draws follow from the seed alone, and ended trials are in sweep.parquet: the same command on the same folder continues
from there. trials.py has the part inside Tune.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.algorithms.registry import build_algorithm, takes_whole_numbers
from fedqs_ray.config.algorithms import OwnConfig
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import find_difference
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.experiments.compare import share_session
from fedqs_ray.experiments.search_space import Point, draw_points, place_point, read_axes
from fedqs_ray.experiments.sweep import Sweep, Trial, are_alike, locate_trial, rank_trials, read_sweep
from fedqs_ray.runs.folder import format_settings, require_local_folder
from fedqs_ray.runs.layout import CONFIG
from fedqs_ray.runs.lock import hold_lock
from fedqs_ray.runs.settings import load_run_settings
from fedqs_ray.runs.tables import replace_file

if TYPE_CHECKING:
    from fedqs_ray.experiments.trials import OnProgress

log = logging.getLogger(__name__)


def tune(
    base: Experiment, ranges: Sequence[str], samples: int, *, out: str | Path, on_progress: "OnProgress | None" = None
) -> Sweep:
    """Run `samples` points of the space of `ranges`, except those in `out` already.

    Ranges are as in "training.lr=log:0.003:0.3". Writes sweep.parquet, sweep.md and best.toml into `out`;
    `write_report` draws sweep.png. `on_progress` is called with the trial's name and its newest
    evaluation, or its end.

    Raises `ConfigError` for a mistake in the settings or ranges before anything starts, and `SimulationStopped`
    where a run is disturbed. A run with diverging training is a failed trial.
    """
    if samples < 1:
        raise ConfigError(f"--samples = {samples}: must be at least 1")
    folder, space = require_local_folder(out).absolute(), read_axes(ranges, base)
    if not space:
        raise ConfigError("--param: must be given at least once")
    space = [replace(axis, whole=axis.whole or takes_whole(base, axis.path)) for axis in space]
    earlier = read_sweep(folder)
    samples = max(samples, *(trial.number + 1 for trial in earlier)) if earlier else samples
    points = dict(enumerate(islice(draw_points(space, base.seed), samples)))
    if len(points) < samples:
        log.warning("--samples = %d: there are no more than %d different draws", samples, len(points))
    experiments = {
        number: prepare_trial(base, point, folder / locate_trial(number)) for number, point in points.items()
    }
    if any(not are_alike(points.get(trial.number, {}), trial.point) for trial in earlier):
        raise ConfigError(f"{folder}: holds a sweep over other ranges; choose another --out, or remove it")
    known = {trial.number: replace(trial, point=points[trial.number]) for trial in earlier}
    todo = {number: one for number, one in experiments.items() if number not in known}
    if todo:
        try:
            from fedqs_ray.experiments.trials import Watcher, run_trials
        except ImportError as error:
            raise ConfigError(f"fedqs tune needs Ray Tune: pip install 'fedqs_ray[tune]' ({error})") from None
        from fedqs_ray.backends.ray.session import open_session
        from fedqs_ray.tasks.loading import load_data

        data = load_data(next(iter(todo.values())))  # missing data raise now, and decoded data serve all trials
        with open_session(base.run.address):
            shares = {number: share_session(one, len(todo)) for number, one in todo.items()}
            settled = {number: settle_trial(one, shares[number][1]) for number, one in todo.items()}
            at_once = min(count for count, _ in shares.values())
            watcher = Watcher(folder, points, known, base.run.rounds, on_progress)
            make_folder(folder)
            with hold_lock(folder):
                run_trials(watcher, settled, at_once)
        warn_of_early_stops([known[number] for number in todo], measure_guessing(data.dataset.test_labels))
    found = rank_trials([known[number] for number in points])
    write_best(folder, experiments[found[0].number])
    return Sweep(folder, found, tuple(axis.path for axis in space if axis.kind == "log"))


def takes_whole(base: Experiment, path: str) -> bool:
    """Whether `path` is a setting of the user's own algorithm that takes whole numbers only."""
    name = path.removeprefix("algorithm.").removeprefix("settings.")
    return isinstance(base.algorithm, OwnConfig) and takes_whole_numbers(base.algorithm.path, name)


def measure_guessing(labels: NDArray[np.int64]) -> float:
    """Accuracy of always predicting the most frequent label."""
    return float(np.bincount(labels).max() / labels.size)


def warn_of_early_stops(trials: Sequence[Trial], chance: float) -> None:
    """Warn if trials were stopped while they were no better than guessing."""
    lost = [trial for trial in trials if trial.end == "stopped" and trial.score <= chance + 0.05 * (1 - chance)]
    if lost:
        log.warning(
            "%d of %d trials were stopped while they did no better than guessing (%.0f%%); with more run.rounds they "
            "are judged later",
            len(lost), len(trials), 100 * chance,
        )  # fmt: skip


def make_folder(folder: Path) -> None:
    """Make the sweep's folder. Raises `ConfigError` where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'--out = "{folder}": cannot be written: {error.strerror}') from None


def prepare_trial(base: Experiment, point: Point, folder: Path) -> Experiment:
    """Make the experiment of a point. Raises `ConfigError`, also where its folder holds another one."""
    experiment = place_point(base, {**point, "run.out": str(folder)})
    build_algorithm(experiment)
    if (folder / CONFIG).exists() and (other := find_difference(load_run_settings(folder / CONFIG), experiment)):
        raise ConfigError(f"{folder}: holds a trial with another {other}; choose another --out, or remove it")
    return experiment


def settle_trial(experiment: Experiment, actors: int) -> Experiment:
    """Copy the experiment for its trial: with the number of actors, and without checkpoints."""
    from fedqs_ray.backends.ray.resources import plan_actors

    plan_actors(experiment)
    clients = experiment.clients
    if clients.clients_per_actor == "auto":
        clients = clients.model_copy(update={"actors": actors})
    run = experiment.run.model_copy(update={"checkpoint_every": "never"})
    return experiment.model_copy(update={"clients": clients, "run": run})


def write_best(folder: Path, best: Experiment) -> None:
    """Write the settings of the best trial to best.toml, for `fedqs run`."""
    with replace_file(folder / "best.toml") as path:
        own = best.model_copy(update={"run": best.run.model_copy(update={"out": None})})
        path.write_text(format_settings(own), encoding="utf-8")
