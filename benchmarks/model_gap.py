"""The causes of the gap between gradient and model aggregation: staleness, skewed data, or both.

python benchmarks/model_gap.py [--seeds 0,1,2]

FedSGD minus FedAvg on the digits, in four worlds: with and without staleness (without: ten clients of equal
speed are sampled and waited for, as synchronous federated averaging does; the two are the same rule then), with
and without heterogeneous data (Dirichlet 0.1 against iid). The argument of the FedQS paper (arXiv 2510.07664): the gap
grows with both. Writes benchmarks/results/model_gap.md and .parquet.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from common import save

from fedqs_ray import compare, load

STALENESS = {"none": ["scenario.ratio=1", "clients.concurrency=10"], "resources 1:50": list[str]()}
DATA = {"iid": ["task.partition.name=iid"], "Dirichlet 0.1": ["task.partition.alpha=0.1"]}


def main() -> None:
    """Run the four worlds, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument(
        "--out", default="runs/model-gap", metavar="DIR", help="where the runs go (default: %(default)s)"
    )
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    rows, lines = [], ["| staleness | data | FedAvg, % | FedSGD, % | gap, points |", "|---|---|---|---|---|"]
    for staleness, world in STALENESS.items():
        for data, partition in DATA.items():
            base = load(None, [f"run.rounds={arguments.rounds}", *world, *partition])
            cells = compare(base, ["fedavg", "fedsgd"], seeds, out=Path(arguments.out) / staleness / data).cells
            own = cells.to_pylist()
            rows += [{"staleness": staleness, "data": data} | row for row in own]
            avg, sgd = (
                [r["late_accuracy"] * 100 for r in own if r["algorithm"] == name] for name in ("fedavg", "fedsgd")
            )
            gap = [b - a for a, b in zip(avg, sgd, strict=True)]
            figures = [f"{mean(v):.2f} ± {stdev(v):.2f}" for v in (avg, sgd, gap)]
            lines.append(f"| {staleness} | {data} | {' | '.join(figures)} |")
    heading = [
        "# Gradient against model aggregation",
        "",
        f"Command: `python benchmarks/model_gap.py --seeds {arguments.seeds} --rounds {arguments.rounds}`. Digits, "
        "mlp, default settings; mean accuracy over the last 20 rounds, mean ± standard deviation over seeds; the gap "
        "is taken seed by seed.",
        "",
    ]
    print(save("model_gap", rows, [*heading, *lines]))


if __name__ == "__main__":
    main()
