"""Shared by the three robustness benchmarks: the FedQS paper's grid of algorithms and data skews, and its table.

The paper (arXiv 2510.07664): CIFAR-10, ResNet-18, 400 rounds, Dirichlet x in {0.1, 0.5, 1}; each entry
is accuracy in %, rounds to converge (95% of the run's best, smoothed) and run time in seconds.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from common import ALGORITHMS, save

from fedqs_ray import compare, load

SKEWS = {f"x={x}": ["task.partition.name=dirichlet", f"task.partition.alpha={x}"] for x in (0.1, 0.5, 1.0)}
NATURAL = {"natural": list[str]()}
TASKS: dict[str, tuple[str, dict[str, list[str]], dict[str, list[str]]]] = {
    "cifar10": (
        "CIFAR-10",
        SKEWS,
        {"laptop": ["task.model=cnn", "run.eval_every=3"], "paper": ["task.model=resnet18"]},
    ),
    "digits": ("digits, mlp", SKEWS, {"laptop": [], "paper": []}),
    "adult": ("Adult, fcn, one sex a client", NATURAL, {"laptop": [], "paper": []}),
    "shakespeare": (
        "Shakespeare, lstm, speaking roles",
        NATURAL,
        {"laptop": ["task.stride=80", "training.lr=0.5", "run.eval_every=5"], "paper": ["training.lr=0.5"]},
    ),
}
"""Task: title, its data skews, and its settings at each scale."""
ROUNDS = {"laptop": 60, "paper": 400}


def main(scenario: str, paper_table: dict[str, tuple[str, str, str]]) -> None:
    """Run the grid of one scenario, print and write its table beside the paper's figures."""
    parser = argparse.ArgumentParser(
        description=f"The four algorithms under the scenario {scenario}, in the layout of the FedQS paper's table. "
        "Runs in --out are not repeated.",
    )
    parser.add_argument("--task", choices=TASKS, default="cifar10", help="(default: %(default)s)")
    parser.add_argument(
        "--scale", choices=ROUNDS, default="laptop", help="paper: ResNet-18, 400 rounds (default: %(default)s)"
    )
    parser.add_argument("--data", metavar="DIR", help="the task's data (default: data/TASK)")
    parser.add_argument("--seeds", default="0", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="(default: 60 at laptop scale, 400 at paper scale)")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS), metavar="A,B", help="(default: the four)")
    parser.add_argument("--out", metavar="DIR", help="where the runs go (default: runs/SCENARIO-TASK-SCALE)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one more setting")
    arguments = parser.parse_args()
    title, skews, scales = TASKS[arguments.task]
    rounds = arguments.rounds or ROUNDS[arguments.scale]
    settings = [f"task.name={arguments.task}", f"run.rounds={rounds}", *scales[arguments.scale]]
    if arguments.data:
        settings.append(f'task.data_dir="{arguments.data}"')
    settings += [f"scenario.name={scenario}", *arguments.set]
    name = f"{scenario}-{arguments.task}-{arguments.scale}"
    seeds, algorithms = [int(seed) for seed in arguments.seeds.split(",")], arguments.algorithms.split(",")
    rows: list[dict[str, object]] = []
    text = ""
    for skew, partition in skews.items():
        folder = Path(arguments.out or f"runs/{name}") / skew
        found = compare(load(None, [*settings, *partition]), algorithms, seeds, out=folder)
        rows += [{"task": arguments.task, "skew": skew} | row for row in found.cells.to_pylist()]
        text = write(name, rows, f"{title}, scenario {scenario}, {rounds} rounds", paper_table, arguments)
    print(text)


def write(
    name: str,
    rows: list[dict[str, object]],
    title: str,
    paper_table: dict[str, tuple[str, str, str]],
    arguments: argparse.Namespace,
) -> str:
    """NAME.parquet and NAME.md under benchmarks/results; returns the text."""
    skews = list(dict.fromkeys(str(row["skew"]) for row in rows))
    seeds = sorted({int(str(row["seed"])) for row in rows})
    options = f" --set {' --set '.join(arguments.set)}" if arguments.set else ""
    lines = [
        f"# {title}",
        "",
        f"Command: `python benchmarks/{SCRIPTS[name.split('-')[0]]} --task {arguments.task} --scale {arguments.scale} "
        f"--rounds {rows[0]['rounds']} --seeds {arguments.seeds}{options}`",
        "",
        f"{'mean ± standard deviation over ' if len(seeds) > 1 else ''}seeds {', '.join(map(str, seeds))}; "
        "best accuracy in % / rounds to 95% / run time in s (one actor a run, runs in parallel).",
        "",
        *table(rows, skews, "best_accuracy"),
        "",
        "Mean accuracy over the last 20 rounds, in %:",
        "",
        *table(rows, skews, "late_accuracy"),
        "",
    ]
    if len(skews) == 3:
        lines += [
            'The FedQS paper\'s figures (CIFAR-10, ResNet-18, 400 rounds; "-" is illegible in the source):',
            "",
            *heading(skews),
            *(f"| {algorithm} | {' | '.join(cells)} |" for algorithm, cells in paper_table.items()),
            "",
        ]
    return save(name, rows, lines)


SCRIPTS = {"dynamic": "dynamic_scale.py", "unstable": "unstable_resource.py", "dropout": "client_dropout.py"}


def heading(skews: list[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return [f"| algorithm | {' | '.join(skews)} |", f"|---|{'---|' * len(skews)}"]


def table(rows: list[dict[str, object]], skews: list[str], column: str) -> list[str]:
    """One line an algorithm, one entry a skew; for the best accuracy also rounds to 95% and run time."""

    def entry(own: list[dict[str, object]]) -> str:
        def figure(name: str, scale: float, digits: int) -> str:
            values = [float(str(row[name])) * scale for row in own if row[name] is not None]
            return f"{mean(values):.{digits}f}" if values else "-"

        values = [float(str(row[column])) * 100 for row in own]
        text = f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
        if column == "best_accuracy":
            text += f" / {figure('rounds_to_95', 1, 0)} / {figure('seconds', 1, 0)}"
        return text

    lines = heading(skews)
    for algorithm in dict.fromkeys(str(row["algorithm"]) for row in rows):
        cells = [[r for r in rows if (r["algorithm"], r["skew"]) == (algorithm, skew)] for skew in skews]
        lines.append(f"| {algorithm} | {' | '.join(entry(own) if own else '' for own in cells)} |")
    return lines
