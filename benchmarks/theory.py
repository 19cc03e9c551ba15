"""Quantities of the convergence bounds against the skew of the data: digits, Dirichlet x.

python benchmarks/theory.py [--rounds 300] [--seeds 0,1,2] [--out runs/theory]

delta^2 and G_c^2 are estimated in every round (`run.theory`), V and the floor are fitted to the test loss. Writes
benchmarks/results/theory.md, .parquet and .png.
"""

import argparse
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from common import RESULTS, save
from matplotlib.figure import Figure

from fedqs_ray import Result, compare, load
from fedqs_ray.report.contraction import fit_contraction

SKEWS = (0.1, 0.5, 1.0, 100.0)
ALGORITHMS = ["fedavg", "fedqs-avg", "fedsgd", "fedqs-sgd"]
COLUMNS = {
    "divergence": "delta^2",
    "gradient_bound": "G_c^2",
    "factor": "V",
    "floor": "floor of the loss, nats",
    "staleness": "mean staleness",
}


def figures(result: Result) -> dict[str, float | None]:
    """Of one run: medians over the rounds for delta^2, the largest for G_c^2, and the fit."""
    measured = result.evaluations()
    fit = fit_contraction(measured["round"], measured["loss"])
    return {
        "divergence": float(np.median(result.rounds["divergence"].drop_null().to_numpy())),
        "gradient_bound": float(result.rounds["gradient_bound"].drop_null().to_numpy().max()),
        "factor": fit.factor if fit else None,
        "floor": fit.floor if fit else None,
        "staleness": result.summary.mean_staleness,
    }


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--out", default="runs/theory", metavar="DIR", help="(default: %(default)s)")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    rows: list[dict[str, Any]] = []
    for x in SKEWS:
        folder = Path(arguments.out) / f"x={x:g}"
        base = load(None, [f"run.rounds={arguments.rounds}", "run.theory=true", f"task.partition.alpha={x}"])
        for cell in compare(base, ALGORITHMS, seeds, out=folder).cells.to_pylist():
            found = figures(Result(folder / cell["folder"]))
            rows.append({"x": x, "algorithm": cell["algorithm"], "seed": cell["seed"]} | found)
    lines = [
        "# Theory: digits, Dirichlet x",
        "",
        f"Command: `python benchmarks/theory.py --rounds {arguments.rounds} --seeds {arguments.seeds}`. Mean ± "
        "standard deviation over seeds; of a run, delta^2 is the median over rounds, G_c^2 the largest; V and the "
        "floor are fitted, and left out where a seed has no fit.",
        "",
        f"| algorithm | x | {' | '.join(COLUMNS.values())} |",
        f"|---|---|{'---|' * len(COLUMNS)}",
    ]
    for algorithm in ALGORITHMS:
        for x in SKEWS:
            entries = [entry([r[key] for r in rows if (r["x"], r["algorithm"]) == (x, algorithm)]) for key in COLUMNS]
            lines.append(f"| {algorithm} | {x:g} | {' | '.join(entries)} |")
    draw(rows)
    print(save("theory", rows, lines))


def entry(values: list[float | None]) -> str:
    """Mean ± standard deviation, with as many digits as make sense."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    digits = 4 if max(known) < 1 else 2
    spread = f" ± {stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{fmean(known):.{digits}f}{spread}"


def draw(rows: list[dict[str, Any]]) -> None:
    """delta^2, V and the floor against x."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    colours = dict(zip(ALGORITHMS, ("#8a94a0", "#e9a23b", "#2a7de1", "#e0662b"), strict=True))
    for axes, key in zip(figure.subplots(1, 3), ("divergence", "factor", "floor"), strict=True):
        for algorithm in ALGORITHMS:
            means = []
            for x in SKEWS:
                own = [r[key] for r in rows if (r["x"], r["algorithm"]) == (x, algorithm) and r[key] is not None]
                axes.plot([x] * len(own), own, ".", color=colours[algorithm], alpha=0.4)
                means.append(fmean(own) if own else np.nan)
            axes.plot(SKEWS, means, "o-", color=colours[algorithm], ms=5, lw=1.2, label=algorithm)
        axes.set_xscale("log")
        axes.set_xlabel("x, smaller is more skewed")
        axes.set_title(COLUMNS[key], loc="left")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if key == "divergence":
            axes.set_yscale("log")
            axes.legend(frameon=False)
    figure.savefig(RESULTS / "theory.png", dpi=110)


if __name__ == "__main__":
    main()
