"""The four algorithms on digits and Adult, three seeds each: best and final accuracy.

python benchmarks/four_algorithms.py [--adult DIR] [--seeds 0,1,2]

Under one seed every algorithm meets the same data division, the same first model and the same arrivals.
Writes benchmarks/results/four_algorithms.md and .parquet.
"""

import argparse
from pathlib import Path

from common import ALGORITHMS, save

from fedqs_ray import compare, load
from fedqs_ray.experiments.comparison import format_spread


def main() -> None:
    """Run the grid, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adult", default="data/adult", metavar="DIR", help="the UCI files (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--out", default="runs/four-algorithms", metavar="DIR", help="(default: %(default)s)")
    arguments = parser.parse_args()
    tasks = {"digits": list[str](), "adult": ["task.name=adult", f'task.data_dir="{arguments.adult}"']}
    lines = [
        "# The four algorithms",
        "",
        f"Default settings (100 clients, K = 10, E = 2, B = 50, learning rate 0.1, resources 1:50), {arguments.rounds} "
        f"rounds, seeds {arguments.seeds.replace(',', ', ')}; digits: Dirichlet(0.5), Adult: one sex a client, "
        "lognormal sizes. Mean and standard deviation over seeds.",
        "",
        "| task | algorithm | best accuracy, % | final accuracy, % | rounds to 95% |",
        "|---|---|---|---|---|",
    ]
    rows = []
    for task, settings in tasks.items():
        base = load(None, [f"run.rounds={arguments.rounds}", *settings])
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        cells = compare(base, ALGORITHMS, seeds, out=Path(arguments.out) / task).cells.to_pylist()
        rows += [{"task": task} | row for row in cells]
        for algorithm in ALGORITHMS:
            own = [row for row in cells if row["algorithm"] == algorithm]
            figures = [("best_accuracy", 100, 2), ("final_accuracy", 100, 2), ("rounds_to_95", 1, 0)]
            entries = [format_spread([row[column] for row in own], scale, digits) for column, scale, digits in figures]
            lines.append(f"| {task} | {algorithm} | {' | '.join(entries)} |")
    print(save("four_algorithms", rows, lines))


if __name__ == "__main__":
    main()
