"""Comparison of all algorithms, each with its best learning rate.

python benchmarks/leaderboard.py [--tasks digits,adult,cifar10] [--seeds 0,1,2] [--out runs/leaderboard]

Every algorithm gets the same number of client updates: K = 10, or, for FedAsync and ACE, K = 1 and ten times as many
rounds. Each algorithm's learning rate (of the server's step, for FADAS and FedAC, whose step is adaptive) is chosen on
another seed, without dropout, by its accuracy in the last fifth, out of five; where the best of them is the largest or
the smallest, the next beyond is tried too, until it is not. Accuracy in the last fifth is the mean over the evaluations
in the last fifth of the run, 0 if it diverged (`fedqs compare` takes the last 20 rounds). The target of a task and
scenario is 95% of the third best such accuracy; times are virtual seconds, the mean over the seeds, where all reach it.
Runs in --out are not repeated.
Writes benchmarks/results/leaderboard.md, .parquet and .png.
"""

import argparse
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import ray
from common import RESULTS, save
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from fedqs_ray import Result, SimulationStopped, load, run
from fedqs_ray.runs.curves import find_first_round

ALGORITHMS = {
    "model aggregation": ["fedavg", "fedqs-avg", "fedasync", "mstep", "safa", "fedat"],
    "gradient aggregation": ["fedsgd", "fedqs-sgd", "fedbuff", "wkafl", "fedac", "defedavg", "fadas", "ca2fl", "ace"],
    "synchronous": ["fedavg-sync", "fedprox"],
}
NAMES = [name for names in ALGORITHMS.values() for name in names]
SINGLE = {"fedasync", "ace"}
"""Their K is 1."""
ADAPTIVE = {"fadas", "fedac"}
RATES = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
GRID = {"training.lr": (4, 9), "algorithm.server_lr": (1, 6)}
"""Slice of RATES that is tried first."""
SCENARIOS = ["static", "dropout"]
TUNING_SEED = 100
TASKS: dict[str, tuple[int, int, int, list[str]]] = {
    "digits": (200, 2, 200, []),
    "adult": (100, 2, 100, []),
    "cifar10": (20, 3, 10, ["training.local_epochs=1", "training.precision=bfloat16"]),
}
"""Rounds, rounds between evaluations, rounds of a run that tunes, more settings."""
DIVERGED = 0.0
"""Accuracy in the last fifth of a run that diverged."""


def settings(task: str, algorithm: str, rate: float, scenario: str, seed: int, rounds: int) -> list[str]:
    """Of one run."""
    _, every, _, more = TASKS[task]
    times = 10 if algorithm in SINGLE else 1
    return [
        f"task.name={task}", f"algorithm.name={algorithm}", f"scenario.name={scenario}", f"seed={seed}",
        f"server.buffer_size={10 // times}", f"run.rounds={rounds * times}", f"run.eval_every={every * times}",
        f"{tuned(algorithm)}={rate}", "clients.actors=1", "run.checkpoint_every=never", *more,
    ]  # fmt: skip


def tuned(algorithm: str) -> str:
    """The setting that is tuned for an algorithm."""
    return "algorithm.server_lr" if algorithm in ADAPTIVE else "training.lr"


def done(folder: Path) -> Result | None:
    """The run in `folder`, if it has ended, finished or diverged."""
    ended = (folder / "model.safetensors").exists()
    return Result(folder) if ended else None


def execute(jobs: Sequence[tuple[list[str], Path]]) -> None:
    """Run the missing jobs, as many at once as there are cores."""
    lock, left = threading.Lock(), [len(jobs)]

    def one(job: tuple[list[str], Path]) -> None:
        words, folder = job
        if not done(folder):
            try:
                run(load(None, words, out=str(folder)), overwrite=True)
            except SimulationStopped as stopped:
                print(stopped, flush=True)
        with lock:
            left[0] -= 1
            print(f"{left[0]} left", end="\r", flush=True)

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        list(threads.map(one, jobs))


def average_last_fifth(folder: Path) -> float:
    """Mean accuracy over the evaluations in the last fifth of a run."""
    result = Result(folder)
    rounds, found = result.experiment.run.rounds, result.evaluations()
    if result.rounds["round"][-1].as_py() < rounds:
        return DIVERGED
    return fmean(a for number, a in zip(found["round"], found["accuracy"], strict=True) if number >= 0.8 * rounds)


def time_to(folder: Path, target: float) -> float | None:
    """Virtual seconds until the smoothed accuracy reaches `target`."""
    found = Result(folder).evaluations()
    reached = find_first_round(found["round"], found["accuracy"], target)
    return None if reached is None else float(found["time"][found["round"].index(reached)])


def place(out: Path, task: str, algorithm: str, kind: str, rate: float, seed: int) -> Path:
    """The folder of one run."""
    return out / task / algorithm / f"{kind}-{rate}-{seed}"


def tune(task: str, out: Path) -> dict[str, float]:
    """The best rate of each algorithm; of equals, the smaller."""
    best: dict[str, float] = {}
    left = {algorithm: GRID[tuned(algorithm)] for algorithm in NAMES}
    while left:
        trials = {
            algorithm: {rate: place(out, task, algorithm, "tune", rate, TUNING_SEED) for rate in RATES[slice(*tried)]}
            for algorithm, tried in left.items()
        }
        rounds = TASKS[task][2]
        execute(
            [
                (settings(task, algorithm, rate, "static", TUNING_SEED, rounds), folder)
                for algorithm, folders in trials.items()
                for rate, folder in folders.items()
            ]
        )
        best |= {
            a: max(folders, key=lambda rate: (average_last_fifth(folders[rate]), -rate))
            for a, folders in trials.items()
        }
        further = {a: around(RATES.index(best[a]), tried) for a, tried in left.items()}
        left = {a: tried for a, tried in further.items() if tried != left[a]}
    return best


def around(best: int, tried: tuple[int, int]) -> tuple[int, int]:
    """The slice of rates in which the best of those tried has a neighbour on each side."""
    first, end = tried
    return max(0, min(first, best - 1)), min(len(RATES), max(end, best + 2))


def measure(task: str, seeds: Sequence[int], out: Path) -> list[dict[str, Any]]:
    """One task: tune, run, and one row a run."""
    rounds = TASKS[task][0]
    best = tune(task, out)
    cells = {
        (algorithm, scenario, seed): place(out, task, algorithm, scenario, best[algorithm], seed)
        for seed in seeds
        for scenario in SCENARIOS
        for algorithm in NAMES
    }
    execute([(settings(task, a, best[a], c, s, rounds), folder) for (a, c, s), folder in cells.items()])
    accuracies = {cell: average_last_fifth(folder) for cell, folder in cells.items()}
    targets = {}
    for scenario in SCENARIOS:
        means = sorted(fmean(accuracies[algorithm, scenario, seed] for seed in seeds) for algorithm in NAMES)
        targets[scenario] = 0.95 * means[-3]
    rows = []
    for (algorithm, scenario, seed), folder in cells.items():
        found, target = Result(folder).summary, targets[scenario]
        rows.append(
            {
                "task": task,
                "algorithm": algorithm,
                "scenario": scenario,
                "seed": seed,
                "rate": best[algorithm],
                "last_fifth_accuracy": accuracies[algorithm, scenario, seed],
                "target": target,
                "time_to_target": time_to(folder, target),
                "best_accuracy": found.best_accuracy,
                "stability": found.stability,
                "virtual_time": found.virtual_time,
                "updates": found.updates,
                "mean_staleness": found.mean_staleness,
            }
        )
    return rows


def select(rows: Iterable[dict[str, Any]], key: str, **wanted: Any) -> list[Any]:
    """A column of the rows that have these values."""
    return [row[key] for row in rows if all(row[name] == value for name, value in wanted.items())]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean, and standard deviation if there are several."""
    text = f"{fmean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def entry(rows: Sequence[dict[str, Any]], task: str, algorithm: str, scenario: str) -> str:
    """Accuracy in the last fifth and time to the target."""
    own = partial(select, rows, task=task, algorithm=algorithm, scenario=scenario)
    times = own("time_to_target")
    shown = "-" if None in times else f"{fmean(times):,.0f} s"
    return f"{spread([100 * a for a in own('last_fifth_accuracy')])} / {shown}"


def table(rows: Sequence[dict[str, Any]], task: str) -> list[str]:
    """One line an algorithm, the best first in each kind."""
    seeds = sorted(set(select(rows, "seed", task=task)))
    targets = ", ".join(f"{100 * select(rows, 'target', task=task, scenario=c)[0]:.1f}% ({c})" for c in SCENARIOS)
    rounds, _, tuning, more = TASKS[task]
    lines = [
        f"## {task}",
        "",
        f"{rounds} rounds, seeds {', '.join(map(str, seeds))}{'; ' if more else ''}{', '.join(more)}. Accuracy in "
        f"the last fifth in % / virtual time to {targets}. Rates chosen over {tuning} rounds.",
        "",
        f"| | algorithm | rate | {' | '.join(SCENARIOS)} |",
        f"|---|---|---|{'---|' * len(SCENARIOS)}",
    ]
    for kind, names in ALGORITHMS.items():
        for algorithm in sorted(
            names, key=lambda a: -fmean(select(rows, "last_fifth_accuracy", task=task, algorithm=a))
        ):
            rate = select(rows, "rate", task=task, algorithm=algorithm)[0]
            entries = " | ".join(entry(rows, task, algorithm, scenario) for scenario in SCENARIOS)
            lines.append(f"| {kind} | {algorithm} | {rate:g} | {entries} |")
    return [*lines, ""]


def summary(rows: Sequence[dict[str, Any]], tasks: Sequence[str]) -> list[str]:
    """One line an algorithm: its accuracy in the last fifth on every task, in every scenario."""
    columns = [(task, scenario) for task in tasks for scenario in SCENARIOS]
    lines = [f"| | algorithm | {' | '.join(f'{t}, {c}' for t, c in columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for kind, names in ALGORITHMS.items():
        for algorithm in names:
            own = [select(rows, "last_fifth_accuracy", task=t, scenario=c, algorithm=algorithm) for t, c in columns]
            entries = [spread([100 * value for value in values], 1) for values in own]
            lines.append(f"| {kind} | {algorithm} | {' | '.join(entries)} |")
    return [*lines, ""]


def draw(rows: Sequence[dict[str, Any]], tasks: Sequence[str], path: Path) -> None:
    """Accuracy in the last fifth, and time to the target, of every algorithm."""
    figure = Figure(figsize=(11, 4.6 * len(tasks)), layout="constrained")
    places = np.arange(len(NAMES))
    colours = {"static": "#2a7de1", "dropout": "#e0662b"}
    for number, (task, (left, right)) in enumerate(
        zip(tasks, figure.subplots(len(tasks), 2, squeeze=False), strict=True)
    ):
        for shift, scenario in zip((-0.15, 0.15), SCENARIOS, strict=True):
            for place, algorithm in zip(places, NAMES, strict=True):
                own = partial(select, rows, task=task, algorithm=algorithm, scenario=scenario)
                label = scenario if place == 0 else None
                accuracy = np.multiply(own("last_fifth_accuracy"), 100)
                left.plot(accuracy, [place + shift] * accuracy.size, ".", color=colours[scenario], alpha=0.4, ms=5)
                left.plot(accuracy.mean(), place + shift, "o", color=colours[scenario], ms=6, label=label)
                if None not in (times := own("time_to_target")):
                    right.plot(fmean(times), place + shift, "o", color=colours[scenario], ms=6)
        for axes, label in (
            (left, "accuracy in the last fifth, %"),
            (right, "virtual seconds to the target (none: not reached)"),
        ):
            axes.set_yticks(places, NAMES)
            axes.set_ylim(len(NAMES) - 0.4, -0.6)
            axes.grid(alpha=0.25)
            axes.set_xlabel(label)
            axes.spines[["top", "right"]].set_visible(False)
        right.set_xscale("log")
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter("{x:,.0f}")
        right.xaxis.set_minor_locator(NullLocator())
        left.set_title(task, loc="left")
        if number == 0:
            left.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="digits,adult,cifar10", metavar="A,B", help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="of digits and adult (default: %(default)s)")
    parser.add_argument("--cifar10-seeds", default="0", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--out", default="runs/leaderboard", metavar="DIR", help="(default: %(default)s)")
    arguments = parser.parse_args()
    tasks = arguments.tasks.split(",")
    rows: list[dict[str, Any]] = []
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    for task in tasks:
        seeds = arguments.cifar10_seeds if task == "cifar10" else arguments.seeds
        rows += measure(task, [int(seed) for seed in seeds.split(",")], Path(arguments.out))
    lines = [
        "# Leaderboard",
        "",
        f"Command: `python benchmarks/leaderboard.py --tasks {arguments.tasks} --seeds {arguments.seeds} "
        f"--cifar10-seeds {arguments.cifar10_seeds}`. Rates: "
        + "; ".join(f"`{name}` {', '.join(map(str, RATES[slice(*tried)]))}" for name, tried in GRID.items())
        + f" (for {' and '.join(sorted(ADAPTIVE))}) and beyond, where the best of these is at their edge; chosen on "
        f"seed {TUNING_SEED}.",
        "",
        "Accuracy in the last fifth in %, mean ± standard deviation over the seeds:",
        "",
        *summary(rows, tasks),
    ]
    for task in tasks:
        lines += table(rows, task)
    draw(rows, tasks, RESULTS / "leaderboard.png")
    print(save("leaderboard", rows, lines))


if __name__ == "__main__":
    main()
