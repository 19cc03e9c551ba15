"""Effect of each part of FedQS: its switches, one at a time, against the base algorithm, seed by seed.

python benchmarks/ablation.py [--mode sgd|avg] [--task digits] [--seeds 0,1,2,3,4] [--set KEY=VALUE]

Writes benchmarks/results/ablation-MODE-TASK.md and .parquet.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from common import save

from fedqs_ray import compare, load
from fedqs_ray.experiments.comparison import format_interval

VARIANTS = {
    "base": None,
    "FedQS": [],
    "no momentum": ["algorithm.momentum=false"],
    "no feedback": ["algorithm.feedback=false"],
    "no rate adaptation": ["algorithm.adapt_lr=false"],
    "weights 1/K": ["algorithm.base_weight=uniform"],
    "released weight form": ["algorithm.weight_form=released"],
    "euclidean": ["algorithm.similarity=euclidean"],
    "manhattan": ["algorithm.similarity=manhattan"],
    "sketch of 1,024 numbers": ["algorithm.sketch_dim=1024"],
    "sketch of 256 numbers": ["algorithm.sketch_dim=256"],
    "weights 1/K, no rate adaptation": ["algorithm.base_weight=uniform", "algorithm.adapt_lr=false"],
    "weights n_i / sum n only": ["algorithm.feedback=false", "algorithm.adapt_lr=false", "algorithm.momentum=false"],
}


def main() -> None:
    """Run the grid, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=["sgd", "avg"], default="sgd", help="(default: %(default)s)")
    parser.add_argument("--task", default="digits", help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2,3,4", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--scenarios", default="static,unstable,dropout", metavar="A,B", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one more setting")
    parser.add_argument(
        "--out", default="runs/ablation", metavar="DIR", help="where the runs go (default: %(default)s)"
    )
    arguments = parser.parse_args()
    name = f"ablation-{arguments.mode}-{arguments.task}"
    seeds, scenarios = [int(s) for s in arguments.seeds.split(",")], arguments.scenarios.split(",")
    rows = []
    for variant, switches in VARIANTS.items():
        algorithm = f"fed{arguments.mode}" if switches is None else f"fedqs-{arguments.mode}"
        settings = [f"task.name={arguments.task}", f"run.rounds={arguments.rounds}", *arguments.set]
        base = load(None, [*settings, f"algorithm.name={algorithm}", *(switches or [])])
        out = Path(arguments.out) / name / variant.replace("/", "-").replace(" ", "-")
        found = compare(base, [algorithm], seeds, scenarios, out=out, target=0.8).cells.to_pylist()
        rows += [{"variant": variant} | row for row in found]
    options = "".join(f" --set {setting}" for setting in arguments.set)
    lines = [
        f"# FedQS-{arguments.mode.upper() if arguments.mode == 'sgd' else 'Avg'} on {arguments.task}, part by part",
        "",
        f"Command: `python benchmarks/ablation.py --mode {arguments.mode} --task {arguments.task} --seeds "
        f"{arguments.seeds} --scenarios {arguments.scenarios} --rounds {arguments.rounds}{options}`. Mean accuracy "
        "over the last 20 rounds in %, mean ± standard deviation over seeds; then the difference to the base algorithm "
        "in points, taken seed by seed, with its 95% interval (Student's t).",
        "",
        f"| variant | {' | '.join(f'{s} | against base' for s in scenarios)} |",
        f"|---|{'---|' * 2 * len(scenarios)}",
    ]
    for variant in VARIANTS:
        entries = []
        for scenario in scenarios:

            def late(kind: str, scenario: str = scenario) -> list[float]:
                own = [r for r in rows if (r["variant"], r["scenario"]) == (kind, scenario)]
                return [r["late_accuracy"] * 100 for r in sorted(own, key=lambda r: int(r["seed"]))]

            ours, theirs = late(variant), late("base")
            difference = [a - b for a, b in zip(ours, theirs, strict=True)]
            entries += [
                f"{mean(ours):.2f} ± {stdev(ours):.2f}",
                "" if variant == "base" else format_interval(difference),
            ]
        lines.append(f"| {variant} | {' | '.join(entries)} |")
    print(save(name, rows, lines))


if __name__ == "__main__":
    main()
