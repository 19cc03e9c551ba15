"""Seconds that each partition takes for up to a million clients.

python benchmarks/partition.py [--clients 40000,1000000] [--samples-per-client 2]

Ten labels, twice as many samples as clients, one number a sample; `natural` joins sources of one sample each,
which have names. Measured: `divide_dataset`, from labels to every client's training and validation samples, with empty
clients filled. Writes benchmarks/results/partition.md and .parquet.
"""

import argparse
import logging
import time
from typing import Any

import numpy as np
from common import save

from fedqs_ray.config.loading import load_experiment
from fedqs_ray.tasks.federated import divide_dataset
from fedqs_ray.tasks.samples import Dataset

PARTITIONS = ("iid", "dirichlet", "shards", "label-quantity", "lognormal", "natural", "sex")


def make_dataset(count: int) -> Dataset:
    """A dataset of `count` training samples of ten labels, two groups, and a source of its own for each."""
    draw = np.random.default_rng(0)
    labels, owners = draw.integers(0, 10, count), np.arange(count)
    groups = {"client": owners, "sex": draw.integers(0, 2, count)}
    names = {"client": tuple(map(str, range(count))), "sex": ("0", "1")}
    features = np.zeros((count, 1), np.float32)
    return Dataset(features, labels, features[:10], labels[:10], 10, groups, names)


def measure(partition: str, dataset: Dataset, clients: int) -> dict[str, Any]:
    """Seconds of one division."""
    task = {"sex": "adult", "natural": "parquet"}.get(partition, "digits")
    settings = [f"task.name={task}", f"task.partition.name={partition}", f"clients.count={clients}"]
    experiment = load_experiment(None, settings)
    start = time.perf_counter()
    divided = divide_dataset(dataset, experiment)
    seconds = time.perf_counter() - start
    assert divided.train_counts.min() >= 1
    return {"partition": partition, "clients": clients, "samples": dataset.labels.size, "seconds": seconds}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="40000,1000000", metavar="N,N", help="(default: %(default)s)")
    parser.add_argument("--samples-per-client", type=int, default=2, help="(default: %(default)s)")
    arguments = parser.parse_args()
    logging.getLogger("fedqs_ray").setLevel(logging.ERROR)  # empty clients are expected here
    counts = [int(number) for number in arguments.clients.split(",")]
    rows = []
    for clients in counts:
        dataset = make_dataset(clients * arguments.samples_per_client)
        for partition in PARTITIONS:
            rows.append(measure(partition, dataset, clients))
            print(rows[-1], flush=True)
    lines = [
        "# Partitions of many clients",
        "",
        f"Command: `python benchmarks/partition.py --clients {arguments.clients} --samples-per-client "
        f"{arguments.samples_per_client}`. Seconds of `divide_dataset` on one core, empty clients filled.",
        "",
        f"| partition | {' | '.join(f'{clients:,} clients' for clients in counts)} |",
        f"|---|{'---|' * len(counts)}",
    ]
    for partition in PARTITIONS:
        own = [row["seconds"] for row in rows if row["partition"] == partition]
        lines.append(f"| {partition} | {' | '.join(f'{seconds:.1f}' for seconds in own)} |")
    print(save("partition", rows, lines))


if __name__ == "__main__":
    main()
