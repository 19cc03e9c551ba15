"""Comparison grid on one Ray session: algorithms x seeds x scenarios, in parallel, resumable.

Under one seed every algorithm meets the same data division, the same first model and the same arrivals, so differences
are paired.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from fedqs_ray.algorithms.registry import build_algorithm, has_setting
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import find_difference, split_override, vary_experiment
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.rows import Progress
from fedqs_ray.experiments.comparison import Comparison, write_comparison
from fedqs_ray.experiments.run import run
from fedqs_ray.runs.folder import require_local_folder
from fedqs_ray.runs.layout import CONFIG
from fedqs_ray.runs.result import Result
from fedqs_ray.runs.settings import load_run_settings
from fedqs_ray.runs.tables import has_ended


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the grid."""

    scenario: str
    algorithm: str
    seed: int
    experiment: Experiment
    folder: Path

    @property
    def name(self) -> str:
        """Display name of the run."""
        return f"{self.scenario}, {self.algorithm}, seed {self.seed}"


def compare(
    base: Experiment,
    algorithms: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    scenarios: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    out: str | Path,
    target: float | None = None,
    on_progress: Callable[[str, Progress | SimulationStopped], None] | None = None,
) -> Comparison:
    """Run every combination of which `out` holds no run yet, and write the table of all.

    `scenarios` are names; the base's own if none. Settings of `base` apply to the algorithms and scenarios that have
    them; `settings`, such as "algorithm.server_lr=0.7", to all algorithms that have them. `target` is an accuracy,
    0..1; see `Comparison`. With `clients.actors = "auto"` a run has one actor and as many runs as fit are executed at
    once, which changes no bit of any of them. A run that stops early is compared up to its last round. `on_progress`
    is called with the run's name and its progress at each version, or the error that stopped it.

    Raises `ConfigError` for a mistake in the settings, and if `out` holds runs with other settings.
    """
    folder = require_local_folder(out)
    cells = list_cells(base, algorithms, seeds, scenarios or [base.scenario.name], settings, folder)
    todo = [cell for cell in cells if not is_finished(cell)]
    if todo:
        from fedqs_ray.backends.ray.session import open_session

        with open_session(base.run.address):
            run_cells(todo, *share_session(base, len(todo)), on_progress)
    done = [(cell.scenario, cell.algorithm, cell.seed, Result(cell.folder)) for cell in cells]
    return write_comparison(folder, done, target)


def share_session(experiment: Experiment, runs: int) -> tuple[int, int]:
    """Share the Ray session among `runs` runs like this one: the number of runs at once, and of actors for each."""
    from fedqs_ray.backends.ray.resources import count_fitting_actors, plan_actors

    clients, fits = experiment.clients, count_fitting_actors(experiment)
    if clients.actors == "auto" and clients.clients_per_actor == "auto":
        at_once = max(1, min(fits, runs))
        return at_once, max(1, fits // at_once)
    each = plan_actors(experiment)
    return max(1, fits // each), each


def list_cells(
    base: Experiment,
    algorithms: Sequence[str],
    seeds: Sequence[int],
    scenarios: Sequence[str],
    settings: Sequence[str],
    folder: Path,
) -> list[Cell]:
    """List the cells of the grid by seed, so that an interrupted grid has whole pairs. Raises `ConfigError`."""
    for setting, values in (("algorithms", algorithms), ("seeds", seeds), ("scenarios", scenarios)):
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{setting} = {', '.join(map(str, values))}: must be one or more, each once")
    for algorithm in algorithms:  # unknown names are reported first
        vary_experiment(base, algorithm=algorithm, scenario=scenarios[0], seed=seeds[0], out=str(folder))
    overrides = {algorithm: [text for text in settings if takes_setting(algorithm, text)] for algorithm in algorithms}
    for text in settings:
        if not any(text in own for own in overrides.values()):
            overrides[algorithms[0]].append(text)  # its validation says what is wrong with it
    cells = []
    for seed in seeds:
        for scenario in scenarios:
            for algorithm in algorithms:
                place = folder / scenario / algorithm / f"seed-{seed}"
                names = {"algorithm": algorithm, "scenario": scenario}
                own = vary_experiment(base, **names, seed=seed, out=str(place), overrides=overrides[algorithm])
                build_algorithm(own)  # mistakes in any cell are raised before the first run
                cells.append(Cell(scenario, algorithm, seed, own, place))
    return cells


def takes_setting(algorithm: str, override: str) -> bool:
    """Whether the algorithm has the setting of an `algorithm.key=value`. Raises `ConfigError` for other overrides."""
    keys, _ = split_override(override)
    if len(keys) != 2 or keys[0] != "algorithm" or keys[1] == "name":
        raise ConfigError(f"settings = {override}: must look like algorithm.key=value; others belong to the base")
    return has_setting(algorithm, keys[1])


def is_finished(cell: Cell) -> bool:
    """Whether the cell's folder holds its complete run. Raises `ConfigError` if it holds another."""
    if not (cell.folder / CONFIG).exists():
        return False
    other = find_difference(load_run_settings(cell.folder / CONFIG), cell.experiment)
    if other:
        raise ConfigError(f"{cell.folder}: holds a run with another {other}; choose another --out, or remove it")
    return has_ended(cell.folder)


def run_cells(
    cells: Sequence[Cell],
    at_once: int,
    actors: int,
    on_progress: Callable[[str, Progress | SimulationStopped], None] | None,
) -> None:
    """Run the cells, `at_once` of them at a time, on `actors` actors each; stop all when one fails."""
    over = threading.Event()

    def one(cell: Cell) -> None:
        def watch(progress: Progress) -> None:
            if over.is_set():
                raise InterruptedError
            if on_progress:
                on_progress(cell.name, progress)

        if over.is_set():
            return
        clients = cell.experiment.clients
        if clients.clients_per_actor == "auto":
            clients = clients.model_copy(update={"actors": actors})
        try:
            settings = {"clients": clients, "run": cell.experiment.run.model_copy(update={"checkpoint_every": "never"})}
            run(cell.experiment.model_copy(update=settings), overwrite=True, on_progress=watch)
        except SimulationStopped as stopped:
            if not has_ended(cell.folder):
                raise
            if on_progress:
                on_progress(cell.name, stopped)

    with ThreadPoolExecutor(at_once) as threads:
        waiting: set[Future[None]] = {threads.submit(one, cell) for cell in cells}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            over.set()
            for future in waiting:
                future.cancel()
            raise
