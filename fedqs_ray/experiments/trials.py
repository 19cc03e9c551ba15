"""Trials of a sweep under Ray Tune. The module imports Ray Tune and is itself imported only by a sweep.

A trial is a Ray process that holds no CPU. It starts its run's actors as any driver does, and as many trials go on at
once as have room for theirs. Tune's own state is in a temporary folder and is never read back; the results of trials
of an earlier call are reported to Tune again, so that ASHA compares new trials with them.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from fedqs_ray.backends.ray.resources import get_node_id, list_nodes
from fedqs_ray.backends.ray.session import ROOM
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import FedqsError, SimulationStopped
from fedqs_ray.core.rows import Progress
from fedqs_ray.core.text import shorten_message
from fedqs_ray.experiments.run import run
from fedqs_ray.experiments.search_space import Point
from fedqs_ray.experiments.sweep import End, Trial, name_trial, score_curve, write_sweep
from fedqs_ray.runs.result import Result
from fedqs_ray.runs.tables import has_ended
from fedqs_ray.runs.temporary import temporary_folder

KEEP = 3
"""One of so many trials continues after each look of ASHA; looks are after a ninth and a third of the rounds."""
REPORT_SECONDS = 1.0
"""Real seconds between two reports of a trial, besides those at the looks."""
ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Settings of Tune: no output, trials in the working folder, no tables, no handler of Ctrl-C."""

OnProgress = Callable[[str, Progress | str], None]


def list_looks(rounds: int) -> tuple[int, int]:
    """List the rounds after which a trial may be stopped, rounded up so that no third one falls before the end."""
    first = math.ceil(rounds / KEEP**2)
    return first, first * KEEP


def run_trials(watcher: "Watcher", experiments: Mapping[int, Experiment], at_once: int) -> None:
    """Run the trials under Tune, after reporting those of earlier calls."""
    os.environ.update(ENVIRONMENT)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # errors are reported once, by this package
    earlier = {number: (trial.rounds, trial.accuracies) for number, trial in watcher.known.items()}
    known = {"experiments": experiments, "earlier": earlier, "looks": list_looks(watcher.rounds), "home": Path.cwd()}
    names = [name for name in list_nodes()[get_node_id()] if name.startswith("node:")]
    here = {min(names, key=lambda name: "__" in name): 0.001}  # the folders are on this node
    with temporary_folder(ROOM) as storage:
        grid = tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, **known), tune.PlacementGroupFactory([here])),
            param_space={"number": tune.grid_search([*earlier, *experiments])},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                scheduler=ASHAScheduler(
                    time_attr="round",
                    max_t=watcher.rounds,
                    grace_period=list_looks(watcher.rounds)[0],
                    reduction_factor=KEEP,
                ),
                max_concurrent_trials=at_once,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(storage),
                verbose=0,
                callbacks=[watcher],
                failure_config=tune.FailureConfig(fail_fast=True),
            ),
        ).fit()
    for error in grid.errors:
        raise unwrap_error(error)


def unwrap_error(error: BaseException) -> BaseException:
    """Unwrap the error of a trial from Ray's errors."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    if isinstance(error, FedqsError | SimulationStopped):
        return error
    return SimulationStopped(f"a trial ended: {shorten_message(error)}")


def run_trial(
    config: Mapping[str, int],
    experiments: Mapping[int, Experiment],
    earlier: Mapping[int, tuple[list[int], list[float]]],
    looks: Sequence[int],
    home: Path,
) -> None:
    """Run one trial in a process of its own, with a report at every look and every second."""
    number = config["number"]
    if number in earlier:
        repeat_reports(*earlier[number], looks)
        return
    os.chdir(home)
    experiment, reporter = experiments[number], TrialReporter(looks)
    assert experiment.run.out
    end: End = "finished"
    try:
        result = run(experiment, overwrite=True, on_progress=reporter)
    except SimulationStopped:
        result, end = Result(experiment.run.out), "failed"
        if not has_ended(result.folder):
            raise
    curve = result.evaluations()
    last = {"round": result.rounds["round"][-1].as_py(), "score": score_curve(curve["accuracy"])}
    told = {"rounds": curve["round"], "accuracies": curve["accuracy"], "time": result.rounds["time"][-1].as_py()}
    tune.report(last | told | {"end": end})


def repeat_reports(rounds: Sequence[int], accuracies: Sequence[float], looks: Sequence[int]) -> None:
    """Report the scores of an earlier trial at each look."""
    for look in looks:
        if found := [place for place, number in enumerate(rounds) if number >= look]:
            tune.report({"round": rounds[found[0]], "score": score_curve(accuracies[: found[0] + 1])})


class TrialReporter:
    """Collects a run's evaluations and reports them to Tune, which ends a trial by raising SystemExit in a report."""

    def __init__(self, looks: Sequence[int]) -> None:
        self.looks = list(looks)
        self.rounds: list[int] = []
        self.accuracies: list[float] = []
        self._told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Collect the evaluations of a progress report: all of them, so that looks do not depend on its time."""
        for number, accuracy in progress.evaluations:
            if number >= progress.rounds:
                return
            self.rounds.append(number)
            self.accuracies.append(accuracy)
            due = self.looks and number >= self.looks[0]
            if due or time.monotonic() - self._told > REPORT_SECONDS:
                self.looks = [look for look in self.looks if look > number]
                self._told = time.monotonic()
                told = {"rounds": self.rounds, "accuracies": self.accuracies, "time": progress.time}
                tune.report({"round": number, "score": score_curve(self.accuracies)} | told)


class Watcher(tune.Callback):
    """Tune's callback in the driver: forwards progress, and writes the table whenever a trial ends."""

    def __init__(
        self,
        folder: Path,
        points: Mapping[int, Point],
        known: dict[int, Trial],
        rounds: int,
        on_progress: OnProgress | None,
    ) -> None:
        self.folder, self.points, self.known, self.rounds = folder, points, known, rounds
        self.on_progress: OnProgress = on_progress or (lambda *_: None)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickle as an empty callback: Tune stores its callbacks with its state, which is never read back."""
        return tune.Callback, ()

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        number = trial.config["number"]
        if number not in self.known and "end" not in result:
            shown = Progress(result["round"], self.rounds, result["time"], 0, result["score"])
            self.on_progress(name_trial(number, self.points[number]), shown)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Record a trial; one without a reported end was stopped."""
        number, last = trial.config["number"], trial.last_result
        if number in self.known:
            return
        end: End = last.get("end", "stopped")
        made = Trial(number, self.points[number], end, last["rounds"], last["accuracies"], last["time"])
        self.known[number] = made
        write_sweep(self.folder, list(self.known.values()))
        when = "" if end == "finished" else f", {end} after round {max(made.rounds, default=0)}"
        self.on_progress(made.name, f"{made.score:.2%}{when}")
