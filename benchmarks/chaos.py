"""Kill processes of running experiments at random moments; compare every byte with undisturbed runs.

python benchmarks/chaos.py [--runs 20] [--kills 50] [--seed 0]

Four kinds of process get SIGKILL: a client actor, the server actor, the driver (`fedqs run` itself), and, in every
fourth run, the raylet of a second node. A run that ends before its time is resumed with `fedqs resume`, or started
over where it had no checkpoint yet. Writes benchmarks/results/chaos.md and .parquet, and fails if a byte differs.
"""

import argparse
import contextlib
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from common import save

from fedqs_ray.algorithms.registry import NAMES
from fedqs_ray.runs.layout import REPRODUCIBLE

SCENARIOS = [
    ["scenario.name=static", "scenario.loss_rate=0.1"],
    ["scenario.name=unstable", "scenario.jitter=0.3"],
    ["scenario.name=dropout", "clients.concurrency=60"],
    ["scenario.name=lognormal", "scenario.faults.nan_rate=0.02"],
]
ACTORS = {"client": "ray::ClientActor", "server": "ray::ServerActor"}


def settings(number: int, rounds: int) -> list[str]:
    """Settings of run `number`: every algorithm and every scenario in turn."""
    base = [f"run.rounds={rounds}", "run.checkpoint_every=10", "training.local_epochs=90"]  # long enough to be hit
    return [*base, f"algorithm.name={NAMES[number % len(NAMES)]}", *SCENARIOS[(number // 4 + number) % 4]]


def fedqs(*arguments: str) -> subprocess.Popen[str]:
    """Start `fedqs` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "fedqs_ray", *arguments, "--quiet"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def flags(values: list[str]) -> list[str]:
    """As --set arguments."""
    return [word for value in values for word in ("--set", value)]


class Nodes:
    """A cluster of two nodes with one CPU each, on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.second = self.cluster.add_node(num_cpus=1)
        self.address = str(self.cluster.address)

    def processes(self) -> list[psutil.Process]:
        """All processes below this one."""
        return psutil.Process().children(recursive=True)

    def raylet(self) -> psutil.Process:
        """The raylet of the second node."""
        return psutil.Process(self.second.all_processes["raylet"][0].process.pid)

    def stop(self) -> None:
        """Take the cluster down."""
        self.cluster.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def nodes(wanted: bool) -> Iterator[Nodes | None]:
    """A cluster, if one is wanted."""
    cluster = Nodes() if wanted else None
    try:
        yield cluster
    finally:
        if cluster:
            cluster.stop()


def victims(kind: str, driver: subprocess.Popen[str], cluster: Nodes | None) -> list[psutil.Process]:
    """The processes of a kind."""
    try:
        if kind == "driver":
            return [psutil.Process(driver.pid)]
        if kind == "raylet":
            return [cluster.raylet()] if cluster else []
        below = cluster.processes() if cluster else psutil.Process(driver.pid).children(recursive=True)
        return [one for one in below if " ".join(one.cmdline()).startswith(ACTORS[kind])]
    except psutil.Error:
        return []


def disturb(number: int, folder: Path, values: list[str], kinds: list[str], draw: random.Random) -> dict[str, Any]:
    """One run in `folder`, with a kill of every one of `kinds` as long as it lasts."""
    found: Counter[str] = Counter()
    causes = []
    with nodes("raylet" in kinds) as cluster:
        own = [f"run.address={cluster.address}"] if cluster else []
        driver = fedqs("run", *flags([*values, *own]), "--out", str(folder))
        pending, due = list(kinds), None
        while True:
            if driver.poll() is not None:
                if driver.returncode == 0:
                    break
                causes.append((driver.stderr.read() if driver.stderr else "").strip()[-200:])
                if any((folder / "checkpoints").glob("*.arrows")):
                    found["resumed"] += 1
                    driver = fedqs("resume", str(folder), *flags(own))
                else:
                    found["started over"] += 1
                    driver = fedqs("run", *flags([*values, *own]), "--out", str(folder), "--overwrite")
                due = None
                if found["resumed"] + found["started over"] > 5 * len(kinds) + 5:
                    raise SystemExit(f"run {number} makes no progress: {causes}")
            if pending and (rows := folder / "rounds.arrows").exists() and rows.stat().st_size:
                now = time.monotonic()
                due = due or now + draw.uniform(0.5, 5.0)
                if now >= due and (targets := victims(pending[0], driver, cluster)):
                    draw.choice(targets).kill()
                    found[pending.pop(0)] += 1
                    due = None
            time.sleep(0.05)
    return {"killed": dict(found), "nodes": 2 if cluster else 1}


def main() -> None:
    """Make the undisturbed runs, then the disturbed ones; compare, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="disturbed runs, at least (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=50, help="kills, at least (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=150, help="of a run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims (default: %(default)s)")
    parser.add_argument("--name", default="chaos", help="of the result files (default: %(default)s)")
    arguments = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    draw, rows, killed = random.Random(arguments.seed), list[dict[str, Any]](), Counter[str]()  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        while len(rows) < arguments.runs or sum(killed.values()) < arguments.kills:
            number = len(rows)
            values = settings(number, arguments.rounds)
            calm, wild = Path(place) / f"calm-{number}", Path(place) / f"wild-{number}"
            undisturbed = fedqs("run", *flags(values), "--out", str(calm))
            if undisturbed.wait():
                raise SystemExit(undisturbed.stderr.read() if undisturbed.stderr else "")
            kinds = ["client", "server", "driver"]
            draw.shuffle(kinds)
            if number % 4 == 1:
                kinds[draw.randrange(3)] = "raylet"
            found = disturb(number, wild, values, kinds, draw)
            counts: dict[str, int] = found["killed"]
            same = {name: (calm / name).read_bytes() == (wild / name).read_bytes() for name in REPRODUCIBLE}
            kills = {kind: counts.get(kind, 0) for kind in ("client", "server", "driver", "raylet")}
            killed.update(kills)
            rows.append(
                {
                    "run": number,
                    "algorithm": NAMES[number % len(NAMES)],
                    "scenario": values[-2].removeprefix("scenario.name="),
                    "nodes": found["nodes"],
                    **kills,
                    "resumed": counts.get("resumed", 0),
                    "started_over": counts.get("started over", 0),
                    "identical": all(same.values()) or "no: " + ", ".join(n for n in REPRODUCIBLE if not same[n]),
                }
            )
            print(rows[-1], flush=True)
    identical = sum(row["identical"] is True for row in rows)
    lines = [
        "# Killed at random moments",
        "",
        f"Command: `python benchmarks/chaos.py --runs {arguments.runs} --kills {arguments.kills} --rounds "
        f"{arguments.rounds} --seed {arguments.seed}`. {len(rows)} runs, {sum(killed.values())} kills (SIGKILL): "
        + ", ".join(f"{count} {kind}" for kind, count in killed.items())
        + f". **{identical} of {len(rows)} runs ended with the bytes of the undisturbed run** in "
        + f"{', '.join(REPRODUCIBLE)}.",
        "",
        "| run | algorithm | scenario | nodes | client | server | driver | raylet | resumed | over again | identical |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows),
    ]
    print(save(arguments.name, rows, lines))
    if identical < len(rows):
        raise SystemExit("some bytes differ")


if __name__ == "__main__":
    main()
