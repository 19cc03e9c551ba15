"""Cost of an event as the population grows, and memory of the server for a million clients.

python benchmarks/scale.py [--repeats 5] [--updates 20000]

Concurrency 1,000, K = 100, the static scenario, FedQS-SGD's needs, no training and no files: this measures
the loop itself, with its heap, its client table, its draws and its sampling. Each size runs in a process of its own,
sizes in turn, several repeats. Setting up is everything before the first dispatch: for the largest size also as a whole
run, from a Parquet file of 1,250,000 rows through Ray to the report. Writes benchmarks/results/scale.md and a picture.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from common import RESULTS, save

SIZES = [1_000, 10_000, 100_000, 1_000_000]
SETTINGS = ["clients.concurrency=1000", "server.buffer_size=100", "algorithm.name=fedqs-sgd"]


def loop(clients: int, updates: int) -> None:
    """One run of the bare loop: prints seconds to set up, microseconds an update, and memory."""
    from fedqs_ray import load
    from fedqs_ray.algorithms.registry import build_algorithm
    from fedqs_ray.scenarios.scenario import build_scenario
    from fedqs_ray.simulation.dry_run import IdleAlgorithm, IdleExecutor, IdleRecorder
    from fedqs_ray.simulation.server import Server

    experiment = load(None, [*SETTINGS, f"clients.count={clients}", f"run.rounds={updates // 100 + 20}"])
    began = time.perf_counter()
    scenario = build_scenario(experiment)
    algorithm = IdleAlgorithm(build_algorithm(experiment))
    server = Server(experiment, algorithm, scenario, IdleExecutor(7002), IdleRecorder())
    running = server.run()
    first = next(running)
    assert first is not None
    ready = time.perf_counter() - began
    warm = 0.0
    for progress in running:
        if progress and progress.round == 20:
            warm = time.perf_counter()
        if progress and progress.round == progress.rounds:
            break
    each = (time.perf_counter() - warm) / updates
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"setup_seconds": ready, "microseconds": 1e6 * each, "memory_mib": memory}))


def whole(clients: int) -> dict[str, float]:
    """A whole run with a million clients through Ray: seconds to the first version, and the server's memory."""
    with tempfile.TemporaryDirectory() as folder:
        place, draw = Path(folder), np.random.default_rng(0)
        rows = clients * 5 // 4
        columns = {f"x{number}": draw.standard_normal(rows).astype(np.float32) for number in range(4)}
        label = (columns["x0"] + columns["x1"] > 0).astype(np.int64)
        pq.write_table(pa.table(columns | {"label": label}), place / "train.parquet")
        settings = [
            *SETTINGS, f"clients.count={clients}", "task.name=parquet", f"task.train={place}/train.parquet",
            "task.partition.name=iid", "training.local_epochs=0", "run.rounds=50", "run.eval_every=50",
            "run.checkpoint_every=never",
        ]  # fmt: skip
        words = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "fedqs_ray", "run", *words, "--out", str(place / "run"), "--quiet"]
        began = time.perf_counter()
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak, first = 0.0, 0.0
        while run.poll() is None:
            for one in psutil.Process(run.pid).children(recursive=True):
                try:
                    if "ServerActor" in " ".join(one.cmdline()):
                        peak = max(peak, one.memory_full_info().uss / 2**20)
                except psutil.Error:
                    continue
            if not first and (place / "run" / "arrivals.arrows").exists():
                first = time.perf_counter() - began
            time.sleep(0.2)
        if run.returncode:
            raise SystemExit(run.returncode)
        return {"first_row_seconds": first, "seconds": time.perf_counter() - began, "server_mib": peak}


def picture(rows: list[dict[str, Any]]) -> None:
    """Cost of an update over the population."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    middle = [statistics.median(row["microseconds"] for row in rows if row["clients"] == size) for size in SIZES]
    axes.scatter([row["clients"] for row in rows], [row["microseconds"] for row in rows], s=12, alpha=0.5, zorder=3)
    axes.plot(SIZES, middle, label="median")
    logs = [middle[0] * np.log(size) / np.log(SIZES[0]) for size in SIZES]
    axes.plot(SIZES, logs, linestyle="--", color="grey", label="log N through the first")
    axes.set(xscale="log", ylim=(0, None), xlabel="clients", ylabel="microseconds an update")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "scale.png", dpi=130)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--updates", type=int, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--loop", type=int, metavar="CLIENTS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        loop(arguments.loop, arguments.updates)
        return
    rows: list[dict[str, Any]] = []
    for repeat in range(arguments.repeats):
        for size in SIZES:
            command = [sys.executable, __file__, "--loop", str(size), "--updates", str(arguments.updates)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append({"repeat": repeat, "clients": size, **found})
            print(rows[-1], flush=True)
    million = whole(SIZES[-1])
    lines = [
        "# Scale",
        "",
        f"Command: `python benchmarks/scale.py --repeats {arguments.repeats} --updates {arguments.updates}`. "
        "Concurrency 1,000, K = 100, without training; medians, with the smallest and the largest in brackets.",
        "",
        "| clients | microseconds an update | seconds to set up | memory of the process, MiB |",
        "|---|---|---|---|",
    ]
    for size in SIZES:
        own = [row for row in rows if row["clients"] == size]
        shown = [spread([row[key] for row in own]) for key in ("microseconds", "setup_seconds", "memory_mib")]
        lines.append(f"| {size:,} | {' | '.join(shown)} |")
    lines += [
        "",
        "![cost of an update over the population](scale.png)",
        "",
        f"A whole run of {SIZES[-1]:,} clients through Ray, from a Parquet file, 50 rounds: "
        f"{million['first_row_seconds']:.0f} s from the command to the first rows, {million['seconds']:.0f} s to "
        "the report; "
        f"the server actor's own memory peaks at {million['server_mib']:.0f} MiB.",
    ]
    print(save("scale", rows, lines))
    picture(rows)


def spread(values: list[float]) -> str:
    """Median with the smallest and the largest."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


if __name__ == "__main__":
    main()
