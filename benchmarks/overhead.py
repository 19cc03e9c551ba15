"""Overhead of the simulator: the same job as a bare PyTorch loop, under fedqs_ray, and without training.

python benchmarks/overhead.py [--repeats 5] [--rounds 200]

The job: 100 clients with 320 samples of 11 numbers each (256 to train on), an 11-500-2 FCN with dropout 0.3, batch 50,
2 local epochs (12 steps of SGD with clipping), K = 10. Side by side, interleaved, several repeats:

- bare: as many single-thread processes as there are cores, each training one client after another, nothing else;
- fedqs_ray with FedAvg, FedSGD and both modes of FedQS, as many actors as cores;
- fedqs_ray with no local epochs: the engine alone, also with 1,000 clients and K = 100, where a virtual second has
  more to do.

Updates a second are counted from a run's fifth version to its last, so starting up is left out; ratios are taken
within a repeat. Also the CPU seconds and the memory (PSS) of all processes. Writes benchmarks/results/overhead.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from common import save
from peers import job

from fedqs_ray import Result

SAMPLES = 320
"""A client's, of which a fifth is held out."""
VARIANTS = {
    "bare loop": [],
    "fedavg, one after another": ["algorithm.name=fedavg", "training.clients_per_step=1"],
    "fedavg": ["algorithm.name=fedavg"],
    "fedqs-avg": ["algorithm.name=fedqs-avg"],
    "fedsgd": ["algorithm.name=fedsgd"],
    "fedqs-sgd": ["algorithm.name=fedqs-sgd"],
    "fedsgd, no training": ["algorithm.name=fedsgd", "training.local_epochs=0"],
    "fedqs-sgd, no training": ["algorithm.name=fedqs-sgd", "training.local_epochs=0"],
    "fedsgd, no training, 1,000 clients": [
        "algorithm.name=fedsgd",
        "training.local_epochs=0",
        "clients.count=1000",
        "server.buffer_size=100",
    ],
}


def bare(updates: int) -> None:
    """One process of the bare loop: prints its seconds."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    features, labels = job.clients()
    model = job.network()
    start = nn.utils.parameters_to_vector(model.parameters()).detach()
    began = 0.0
    for update in range(-20, updates):
        if update == 0:
            began = time.perf_counter()
        nn.utils.vector_to_parameters(start, model.parameters())
        own = update % job.CLIENTS
        job.train(model, features[own], labels[own])
        _ = (nn.utils.parameters_to_vector(model.parameters()) - start).detach().numpy()
    print(time.perf_counter() - began)


def watch(command: list[str]) -> tuple[float, float]:
    """Run a command; CPU seconds and peak memory in MiB of all its processes."""
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    cpu: dict[int, float] = {}
    peak = 0.0
    while run.poll() is None:
        memory = 0.0
        try:
            for one in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
                times = one.cpu_times()
                cpu[one.pid] = times.user + times.system
                memory += one.memory_full_info().pss / 2**20
        except psutil.Error:
            continue
        peak = max(peak, memory)
        time.sleep(0.5)
    if run.returncode:
        raise SystemExit(run.returncode)
    return sum(cpu.values()), peak


def prepare(place: Path) -> None:
    """The job's data as a Parquet file."""
    features, labels = job.samples(job.CLIENTS * SAMPLES)
    columns = {f"x{number}": column for number, column in enumerate(features.T)}
    pq.write_table(pa.table(columns | {"label": labels}), place / "train.parquet")


def measure(variant: str, place: Path, rounds: int) -> dict[str, float]:
    """One run of one variant."""
    if variant == "bare loop":
        cores, updates = os.cpu_count() or 1, 10 * rounds // (os.cpu_count() or 1)
        command = [sys.executable, __file__, "--bare", str(updates)]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
        seconds = max(float(worker.communicate()[0]) for worker in workers)
        return {"updates_per_second": cores * updates / seconds}
    settings = [
        "task.name=parquet", f"task.train={place}/train.parquet", "task.model=fcn", "task.partition.name=iid",
        f"clients.count={job.CLIENTS}", f"run.rounds={rounds}", f"run.eval_every={rounds}", *VARIANTS[variant],
    ]  # fmt: skip
    out = place / variant.replace(" ", "-")
    words = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "fedqs_ray", "run", *words, "--out", str(out), "--overwrite", "--quiet"]
    cpu, memory = watch(command)
    result = Result(out)
    seconds, arrived = result.timing["seconds"].to_pylist(), result.rounds["arrived"].to_pylist()
    # The last version waits for its evaluation.
    return {
        "updates_per_second": (arrived[-2] - arrived[5]) / (seconds[-2] - seconds[5]),
        "cpu_seconds": cpu,
        "memory_mib": memory,
    }


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--bare", type=int, metavar="UPDATES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare(arguments.bare)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(place)
        for repeat in range(arguments.repeats):
            for variant in VARIANTS:
                rows.append({"repeat": repeat, "variant": variant, **measure(variant, place, arguments.rounds)})
                print(rows[-1], flush=True)
    write(rows, arguments.repeats, arguments.rounds)


def write(rows: list[dict[str, Any]], repeats: int, rounds: int) -> None:
    """The table, and which targets were missed."""
    lines = [
        "# Overhead",
        "",
        f"Command: `python benchmarks/overhead.py --repeats {repeats} --rounds {rounds}`. Medians, "
        "with the smallest and the largest in brackets; ratios to the bare loop of the same repeat.",
        "",
        "| variant | updates/s | ratio to the bare loop | CPU s of a run | memory, MiB |",
        "|---|---|---|---|---|",
    ]
    speeds = {v: [row["updates_per_second"] for row in rows if row["variant"] == v] for v in VARIANTS}
    ratios = {v: [one / base for one, base in zip(speeds[v], speeds["bare loop"], strict=True)] for v in VARIANTS}
    for variant in VARIANTS:
        own = [row for row in rows if row["variant"] == variant]
        more = [median([row.get(key, 0.0) for row in own], 0) for key in ("cpu_seconds", "memory_mib")]
        lines.append(
            f"| {variant} | {median(speeds[variant], 0)} | {median(ratios[variant], 2)} | {' | '.join(more)} |"
        )
    found = {
        "one after another, to the bare loop": (ratios["fedavg, one after another"], 0.95),
        "eight clients in one step, to the bare loop": (ratios["fedavg"], 2.5),
        "updates/s without training, 100 clients": (speeds["fedsgd, no training"], 5000),
        "updates/s without training, 1,000 clients": (speeds["fedsgd, no training, 1,000 clients"], 5000),
        "FedQS-SGD to FedSGD": ([a / b for a, b in zip(speeds["fedqs-sgd"], speeds["fedsgd"], strict=True)], 0.95),
    }
    lines += ["", "| target | at least | found | |", "|---|---|---|---|"]
    for what, (values, least) in found.items():
        verdict = "reached" if statistics.median(values) >= least else "**missed**"
        lines.append(f"| {what} | {least:g} | {median(values, 0 if least > 100 else 2)} | {verdict} |")
    print(save("overhead", rows, lines))


def median(values: list[float], digits: int) -> str:
    """Median with the smallest and the largest; nothing where nothing was measured."""
    if not any(values):
        return ""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


if __name__ == "__main__":
    main()
