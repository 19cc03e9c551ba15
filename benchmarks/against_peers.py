"""The same job under Flower, APPFL, FLGo and pfl-research, side by side with fedqs_ray and a bare PyTorch loop.

python benchmarks/against_peers.py [--repeats 3] [--updates 3000]

The job is that of overhead.py (peers/job.py). Each peer has a virtual environment of its own, made here on first use
(benchmarks/peers/.envs, about 6 GiB each), with the versions below; the scripts in peers/ use it as its documentation
says. fedqs_ray, Flower and pfl-research work with as many processes as there are cores; APPFL's and FLGo's simulators
train in one. pfl-research is synchronous only. Interleaved; updates a second from the end of a warm-up; ratios within
a repeat. Slow ones do fewer updates. Writes benchmarks/results/peers.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import overhead
from common import save

PEERS = Path(__file__).resolve().parent / "peers"
TORCH = "torch==2.14.1"
ENVIRONMENTS = {
    "flower": ["flwr[simulation]==1.41.0", TORCH],
    "appfl": ["appfl==1.12.0", TORCH],
    "flgo": ["flgo==0.4.4", TORCH, "torchvision==0.29.1"],
    "pfl": ["pfl[pytorch]==0.6.0", TORCH],
}
CORES = os.cpu_count() or 1
VARIANTS: dict[str, tuple[str, list[str], int]] = {
    "pfl-research": ("pfl", [], 1),
    "pfl-research, no training": ("pfl", ["--no-training"], 1),
    "APPFL": ("appfl", [], 1),
    "APPFL, no training": ("appfl", ["--no-training"], 1),
    "APPFL, as shipped": ("appfl", ["--collect"], 10),
    "FLGo": ("flgo", [], 2),
    "FLGo, no training": ("flgo", ["--no-training"], 1),
    "Flower": ("flower", [], 5),
    "Flower, no training": ("flower", ["--no-training"], 5),
}
"""Environment, words for the script, and by what the number of updates is divided."""
OURS = {
    "bare loop": "bare loop",
    "fedqs_ray, one after another": "fedavg, one after another",
    "fedqs_ray": "fedavg",
    "fedqs_ray, FedQS-SGD": "fedqs-sgd",
    "fedqs_ray, no training": "fedsgd, no training",
}
TARGETS = {"APPFL": 5.0, "FLGo": 5.0, "Flower": 5.0, "pfl-research": 3.5}


def environment(name: str) -> Path:
    """The folder of a peer's environment, made if it is not there."""
    folder = PEERS / ".envs" / name
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(ENVIRONMENTS[name]):
        print(f"installing {', '.join(ENVIRONMENTS[name])}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "setuptools", *ENVIRONMENTS[name]]
        subprocess.run([f"{folder}/bin/python", *install], check=True)
        ready.write_text("\n".join(ENVIRONMENTS[name]))
    return folder


def measure(name: str, words: list[str], updates: int) -> dict[str, Any]:
    """Run the job under a peer."""
    start = [f"{environment(name)}/bin/python"]
    if name == "pfl":
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(CORES)]
    with tempfile.TemporaryDirectory() as folder:
        # One thread each, no telemetry, and a home of their own: what a careful user would set.
        own = os.environ | {"OMP_NUM_THREADS": "1", "HOME": folder, "TQDM_DISABLE": "1", "FLWR_TELEMETRY_ENABLED": "0"}
        own.pop("PYTHONPATH", None)
        run = subprocess.run(
            [*start, f"{PEERS}/on_{name}.py", "--updates", str(updates), *words],
            cwd=folder, env=own, capture_output=True, text=True,
        )  # fmt: skip
    if run.returncode:
        raise SystemExit(f"{name}: {run.stderr[-2000:]}")
    lines = [line for line in run.stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1]))


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--updates", type=int, default=3000, help="(default: %(default)s)")
    arguments = parser.parse_args()
    for name in ENVIRONMENTS:
        environment(name)
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        overhead.prepare(Path(folder))
        for repeat in range(arguments.repeats):
            for ours, variant in OURS.items():
                found = overhead.measure(variant, Path(folder), arguments.updates // 10)
                rows.append({"repeat": repeat, "variant": ours, "updates_per_second": found["updates_per_second"]})
                print(rows[-1], flush=True)
            for variant, (name, words, less) in VARIANTS.items():
                said = measure(name, words, arguments.updates // less)
                versions |= {key: value for key, value in said["versions"].items() if key not in ("torch", "ray")}
                rows.append({"repeat": repeat, "variant": variant, "updates_per_second": said["updates_per_second"]})
                print(rows[-1], flush=True)
    write(rows, arguments.repeats, arguments.updates, versions)


def write(rows: list[dict[str, Any]], repeats: int, updates: int, versions: dict[str, str]) -> None:
    """The table, and which targets were missed."""
    speeds = {v: [row["updates_per_second"] for row in rows if row["variant"] == v] for v in [*OURS, *VARIANTS]}

    def ratio(of: str, to: str) -> list[float]:
        return [a / b for a, b in zip(speeds[of], speeds[to], strict=True)]

    lines = [
        "# Against peers",
        "",
        f"Command: `python benchmarks/against_peers.py --repeats {repeats} --updates {updates}`. Medians, with the "
        "smallest and the largest in brackets; ratios within a repeat.",
        "",
        "| | updates/s | ratio to the bare loop |",
        "|---|---|---|",
    ]
    median = overhead.median
    lines += [f"| {v} | {median(speeds[v], 1)} | {median(ratio(v, 'bare loop'), 4)} |" for v in speeds]
    lines += ["", "| fedqs_ray to | at least | found | |", "|---|---|---|---|"]
    for peer, least in TARGETS.items():
        times = ratio("fedqs_ray", peer)
        verdict = "reached" if statistics.median(times) >= least else "**missed**"
        lines.append(f"| {peer} | {least:g} | {median(times, 2)} | {verdict} |")
    lines += ["", "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + "."]
    print(save("peers", rows, lines))


if __name__ == "__main__":
    main()
