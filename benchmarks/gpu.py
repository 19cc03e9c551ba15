"""The FedQS paper's experiment on a GPU: number of actors, recorded steps or single kernels, float32 or bfloat16.

python benchmarks/gpu.py [--data data/cifar10] [--rounds 20] [--repeats 3] [--actors 1,4,8]

CIFAR-10, ResNet-18, 100 clients, Dirichlet 0.5, batch 50, 2 local epochs, K = 10, FedQS-SGD; every variant in turn,
several repeats. Updates a second are counted from a run's fifth version to its last but one, so starting up and
recording are left out; "400 rounds" is the time of the paper's run at that pace. Writes benchmarks/results/gpu.md.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import save

from fedqs_ray import load, run

PAPER_SECONDS = 55268
"""Time of this run in the FedQS paper (scenario 1, x = 0.5, FedQS-SGD)."""


def measure(settings: list[str], out: Path) -> float:
    """Updates a second of one run."""
    result = run(load(None, settings, out=str(out)), overwrite=True)
    seconds, arrived = result.timing["seconds"].to_pylist(), result.rounds["arrived"].to_pylist()
    return float((arrived[-2] - arrived[5]) / (seconds[-2] - seconds[5]))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/cifar10", metavar="DIR", help="CIFAR-10 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="of each run, at least 8 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--actors", default="1,4,8", metavar="N,N", help="that share the GPU (default: %(default)s)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu.py: torch sees no GPU here")
    actors = [int(number) for number in arguments.actors.split(",")]
    base = [
        "task.name=cifar10", f'task.data_dir="{arguments.data}"', "task.model=resnet18", "clients.num_cpus=0.1",
        f"run.rounds={arguments.rounds}", f"run.eval_every={arguments.rounds}", "run.checkpoint_every=never",
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            for count, graphs, precision in itertools.product(actors, (False, True), ("float32", "bfloat16")):
                more = [
                    f"clients.actors={count}",
                    f"clients.num_gpus={int(1e4 / count) / 1e4}",
                    f"training.cuda_graphs={str(graphs).lower()}",
                    f"training.precision={precision}",
                ]
                speed = measure([*base, *more], Path(folder) / "run")
                row = {"repeat": repeat, "actors": count, "graphs": graphs, "precision": precision}
                rows.append(row | {"updates_per_second": speed})
                print(rows[-1], flush=True)
    print(save("gpu", rows, table(rows, arguments)))


def table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> list[str]:
    """One line a variant."""
    lines = [
        f"# ResNet-18 on one {torch.cuda.get_device_name()}",
        "",
        f"Command: `python benchmarks/gpu.py --rounds {arguments.rounds} --repeats {arguments.repeats} --actors "
        f"{arguments.actors}`. Median (smallest to largest); the FedQS paper: {PAPER_SECONDS:,} s for 400 rounds.",
        "",
        "| actors | step | precision | updates/s | 400 rounds, minutes |",
        "|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys((row["actors"], row["graphs"], row["precision"]) for row in rows)
    for count, graphs, precision in kinds:
        own = [
            row["updates_per_second"]
            for row in rows
            if (row["actors"], row["graphs"], row["precision"]) == (count, graphs, precision)
        ]
        middle = statistics.median(own)
        lines.append(
            f"| {count} | {'recorded' if graphs else 'single kernels'} | {precision} | {middle:.1f} "
            f"({min(own):.1f} to {max(own):.1f}) | {4000 / middle / 60:.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
