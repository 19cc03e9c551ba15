"""Memory of a run with a hundred ResNet-18 clients under FedQS, whose client states are whole updates.

python benchmarks/memory.py [--clients 100] [--rounds 30]

The pictures are few and random, since only the sizes of models matter here. Samples the proportional set size (PSS)
of all processes of the run, shared memory counted once. Writes benchmarks/results/memory.md and .parquet.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from common import save
from PIL import Image

MIB = 2**20


def pictures(path: Path, count: int) -> None:
    """A table of random pictures of 32x32, in the hub's layout."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(count):
        png = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(png, "png")
        rows.append({"bytes": png.getvalue(), "path": f"{number}.png"})
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    labels = draw.integers(0, 10, count)
    pq.write_table(pa.table({"img": pa.array(rows, kind), "label": labels}), path)


def footprint(process: psutil.Process) -> dict[str, float]:
    """MiB of all processes below `process` and itself: by kind."""
    found: dict[str, float] = {}
    for one in [process, *process.children(recursive=True)]:
        try:
            kind = one.cmdline()[0].partition(".")[0].rpartition("/")[2]
            found[kind] = found.get(kind, 0.0) + one.memory_full_info().pss / MIB
        except (psutil.Error, IndexError):
            continue
    return found


def main() -> None:
    """Run, sample, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="(default: %(default)s)")
    arguments = parser.parse_args()
    peak: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        pictures(Path(place) / "train.parquet", 6 * arguments.clients)
        pictures(Path(place) / "test.parquet", 20)
        settings = {
            "task.name": "parquet", "task.model": "resnet18", "task.train": f"{place}/train.parquet",
            "task.test": f"{place}/test.parquet", "task.partition.name": "iid", "clients.count": arguments.clients,
            "run.rounds": arguments.rounds, "training.local_epochs": 1, "run.eval_every": arguments.rounds,
        }  # fmt: skip
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "fedqs_ray", "run", *words, "--out", f"{place}/run", "--quiet"]
        run = subprocess.Popen(command)
        while run.poll() is None:
            now = footprint(psutil.Process(run.pid))
            if sum(now.values()) > sum(peak.values()):
                peak = now
            time.sleep(1.0)
        if run.returncode:
            raise SystemExit(run.returncode)
    total = sum(peak.values())
    rows = [{"process": kind, "mib": mib} for kind, mib in sorted(peak.items(), key=lambda item: -item[1])]
    lines = [
        f"# Memory: {arguments.clients} ResNet-18 clients under FedQS-SGD",
        "",
        f"Command: `python benchmarks/memory.py --clients {arguments.clients} --rounds {arguments.rounds}`. Peak of "
        f"all processes together: **{total / 1024:.1f} GiB** (proportional set size: shared memory once).",
        "",
        "| process | MiB at the peak |",
        "|---|---|",
        *(f"| {row['process']} | {row['mib']:.0f} |" for row in rows),
    ]
    print(save("memory", rows, lines))


if __name__ == "__main__":
    main()
