"""Sketches of last updates in FedQS: client types and accuracy against the exact version.

python benchmarks/sketch.py [--dims 256,1024,4096] [--seeds 0,1,2,3,4] [--rounds 200]

Digits with the FCN (37,510 numbers), FedQS-SGD and FedQS-Avg. All runs of a seed share the schedule, so jobs are set
side by side: the share of those whose client type is that of the exact run, and the mean difference of their angles.
Runs drift apart once a single type differs: the types of the first 50 rounds show the sketch, all of them drift too.
Writes benchmarks/results/sketch.md.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from common import save

from fedqs_ray import Result, load, run

EARLY = 50
"""Rounds before the runs have drifted far apart."""


def main() -> None:
    """Run the grid, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", default="256,1024,4096", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2,3,4", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--out", default="runs/sketch", metavar="DIR", help="where the runs go (default: %(default)s)")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    dims = [None, *(int(dim) for dim in arguments.dims.split(","))]
    for mode in ("fedqs-sgd", "fedqs-avg"):
        for seed in [int(seed) for seed in arguments.seeds.split(",")]:
            exact: Result | None = None
            for dim in dims:
                out = Path(arguments.out) / f"{mode}-{seed}-{dim or 'exact'}"
                settings = [f"algorithm.name={mode}", f"seed={seed}", f"run.rounds={arguments.rounds}"]
                settings += [f"algorithm.sketch_dim={dim}"] if dim else []
                result = run(
                    load(None, [*settings, "task.model=fcn", "run.checkpoint_every=never", f'run.out="{out}"'])
                )
                exact = exact or result
                rows.append({"mode": mode, "seed": seed, "dim": dim or 0, **agreement(result, exact)})
                print(rows[-1], flush=True)
    lines = [
        "# Sketches instead of last updates",
        "",
        f"Command: `python benchmarks/sketch.py --dims {arguments.dims} --seeds {arguments.seeds} --rounds "
        f"{arguments.rounds}`. Digits, FCN; mean ± standard deviation over the seeds. Accuracy: mean of the last 20 "
        "rounds.",
        "",
        f"| algorithm | numbers kept | accuracy, % | same type, first {EARLY} rounds, % | same type, all rounds, % | "
        f"difference of angles, first {EARLY} rounds, degrees |",
        "|---|---|---|---|---|---|",
    ]
    for mode in ("fedqs-sgd", "fedqs-avg"):
        for dim in dims:
            own = [row for row in rows if (row["mode"], row["dim"]) == (mode, dim or 0)]
            shown = [spread([row[key] for row in own]) for key in ("accuracy", "early_types", "types", "early_angles")]
            lines.append(f"| {mode} | {dim or 'all'} | {' | '.join(shown)} |")
    print(save("sketch", rows, lines))


def agreement(result: Result, exact: Result) -> dict[str, float]:
    """A run against the exact one, job by job."""
    columns = ["client", "attempt", "client_type", "angle", "round"]
    one, other = (run.arrivals.select(columns).to_pylist() for run in (result, exact))
    kinds = {(row["client"], row["attempt"]): row for row in other}
    pairs = [(row, kinds[row["client"], row["attempt"]]) for row in one if row["client_type"]]
    pairs = [pair for pair in pairs if pair[1]["client_type"]]
    early = [pair for pair in pairs if pair[0]["round"] is not None and pair[0]["round"] <= EARLY]
    return {
        "accuracy": 100 * float(np.mean(result.rounds["accuracy"].to_pylist()[-20:])),
        "early_types": 100 * mean(a["client_type"] == b["client_type"] for a, b in early),
        "types": 100 * mean(a["client_type"] == b["client_type"] for a, b in pairs),
        "early_angles": mean(abs(a["angle"] - b["angle"]) for a, b in early),
    }


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    main()
