"""The worth of exact sums on the nodes: bytes and seconds of a round with sums of each node, or with K updates.

python benchmarks/network.py [--rounds 3] [--repeats 3] [--rates 0,1000] [--workers 2,4] [--buffers 16,64]

Hosts are made out of namespaces (benchmarks/cluster/hosts.py; needs root): a head that trains nothing, and workers with
one client actor each. ResNet-18 (11.2 million numbers, 43 MiB) on the digits, without training, so that what is timed
is transport and sums. Bytes are those that the kernel counts at the head's interface over a whole run, divided by its
rounds; a rate (Mbit/s, 0: unlimited) is that of the head's link in both directions, by tc's token bucket. Writes
benchmarks/results/network.md and .parquet after every repeat. Exit status 77 if this machine cannot have such hosts.
"""

import argparse
import io
import secrets
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import save
from PIL import Image
from sklearn.datasets import load_digits

from fedqs_ray.algorithms.vectors import weighted_sum
from fedqs_ray.core.fixed_point import compute_exact_sum
from fedqs_ray.runs.tables import read_table

sys.path.insert(0, str(Path(__file__).parent / "cluster"))
from hosts import Host, MissingError, hosts, wait

MODEL = 4 * 11_172_042
"""Bytes of a model."""
SETTINGS = [
    "task.name=parquet", "task.train=digits.parquet", "task.model=resnet18", "training.local_epochs=0",
    "run.eval_every=1000", "run.checkpoint_every=never", "run.address=auto",
]  # fmt: skip
EACH = '''
from dataclasses import dataclass
from fedqs_ray import Aggregation, Algorithm, Round
from fedqs_ray.algorithms.vectors import weighted_sum

@dataclass(frozen=True)
class Each(Algorithm):
    """FedSGD that looks at every update."""

    def aggregate(self, round: Round) -> Aggregation:
        weights = (1 / len(round.arrivals),) * len(round.arrivals)
        return Aggregation(round.model + weighted_sum(weights, [a.delta for a in round.arrivals]), weights)
'''
EVERY, SUMS = "every update to the server", "sums of each node"
VARIANTS = {EVERY: ["algorithm.name=each:Each"], SUMS: ["algorithm.name=fedsgd"]}
Case = tuple[int, int, int]
"""Workers, K, rate."""


def counters(host: Host) -> tuple[int, int]:
    """Bytes that a host's interface has received and sent."""
    for line in Path(f"/proc/{host.pid}/net/dev").read_text(encoding="ascii").splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "eth0":
            words = numbers.split()
            return int(words[0]), int(words[8])
    raise RuntimeError(f"{host.name} has no eth0")


def shape(desk: Host, head: Host, rate: int) -> None:
    """Set the rate of the head's link, both ways."""
    bucket = ("tbf", "rate", f"{rate}mbit", "burst", "1mb", "latency", "100ms")
    for host, device in ((desk, head.name), (head, "eth0")):
        if rate:
            host.network("tc", "qdisc", "replace", "dev", device, "root", *bucket)


def write_digits(path: Path) -> None:
    """scikit-learn's digits as pictures."""
    bunch, images = load_digits(), []
    for pixels in (bunch.images * 15).astype(np.uint8):
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "png")
        images.append(png.getvalue())
    pq.write_table(pa.table({"image": images, "label": bunch.target}), path)


def start_ray(nodes: list[Host]) -> None:
    """A head without a CPU for clients, and workers with one each, all with one token."""
    head, *workers = nodes
    token = secrets.token_hex(32)
    for node in nodes:
        node.file(".ray").mkdir(mode=0o700, exist_ok=True)
        node.file(".ray/auth_token").write_text(token, encoding="ascii")
        node.file(".ray/auth_token").chmod(0o600)
    memory = "--object-store-memory=2000000000"
    address = f"--node-ip-address={head.address}"
    head.run("ray", "start", "--head", "--num-cpus=0", "--include-dashboard=false", address, memory)
    for worker in workers:
        worker.run("ray", "start", "--num-cpus=1", f"--address={head.address}:6379", memory)
    wait(lambda: f"/{len(workers)}.0 CPU" in head.run("ray", "status"), "no workers", 60)


def play(head: Host, out: str, case: Case, settings: list[str], rounds: int) -> tuple[float, float, float]:
    """Bytes that the head received and sent in a round, and the median of the seconds of a round."""
    workers, buffer, _ = case
    own = [f"clients.count={2 * buffer}", f"server.buffer_size={buffer}", f"clients.actors={workers}"]
    flags = [word for value in [*SETTINGS, *own, *settings, f"run.rounds={rounds}"] for word in ("--set", value)]
    before = counters(head)
    head.run("fedqs", "run", *flags, "--out", f"runs/{out}", "--quiet", timeout=900)
    after = counters(head)
    seconds = read_table(head.file(f"runs/{out}"), "timing")["seconds"].to_pylist()
    moved = [(b - a) / rounds for a, b in zip(before, after, strict=True)]
    return moved[0], moved[1], median(b - a for a, b in pairwise(seconds[1:]))


def measure(cases: list[Case], rounds: int, repeats: int, done: Callable[[list[dict[str, Any]]], object]) -> None:
    """Both variants of every case, interleaved, again and again; `done` gets the rows so far after each repeat."""
    found: list[dict[str, Any]] = []
    for workers in dict.fromkeys(case[0] for case in cases):
        with hosts(workers + 1) as (desk, nodes):
            head = nodes[0]
            head.file("each.py").write_text(EACH, encoding="utf-8")
            write_digits(head.file("digits.parquet"))
            start_ray(nodes)
            for repeat in range(repeats):
                for case in [one for one in cases if one[0] == workers]:
                    shape(desk, head, case[2])
                    for number, (variant, settings) in enumerate(VARIANTS.items()):
                        name = "-".join(map(str, (*case, repeat, number)))
                        received, sent, seconds = play(head, name, case, settings, rounds)
                        row: dict[str, Any] = {"workers": workers, "buffer": case[1], "rate": case[2], "repeat": repeat}
                        row |= {"variant": variant, "received": received, "sent": sent, "seconds": seconds}
                        found.append(row)
                        print(row, flush=True)
                done(found)


def cost(vectors: int = 4, repeats: int = 7) -> tuple[float, float, float]:
    """How much longer an exact sum of some models takes than one in float64: median, least and most."""
    draw = np.random.default_rng(0)
    models = [draw.normal(size=MODEL // 4).astype(np.float32) for _ in range(vectors)]
    ratios = []
    for _ in range(repeats):
        seconds = []
        for add in (compute_exact_sum, weighted_sum):
            began = time.process_time()
            add([1 / vectors] * vectors, models)
            seconds.append(time.process_time() - began)
        ratios.append(seconds[0] / seconds[1])
    return median(ratios), min(ratios), max(ratios)


def report(rows: list[dict[str, Any]], command: str) -> str:
    """Write the table; returns it."""
    middle, least, most = cost()
    lines = [
        "# What sums on the nodes are worth",
        "",
        f"Command: `{command}`. A head and workers, namespaces of one machine with two cores; ResNet-18 "
        f"({MODEL / 2**20:.0f} MiB) on digits, 2 K clients, static, no training. Bytes at the head's interface, a "
        "round; medians, and in brackets the least and the most. The ratio is of seconds, within each repeat.",
        "",
        "| workers | K | link | runs | received, models: updates | sums | seconds a round: updates | sums | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys((row["workers"], row["buffer"], row["rate"]) for row in rows):
        own = [row for row in rows if (row["workers"], row["buffer"], row["rate"]) == case]
        every, sums = ([row for row in own if row["variant"] == variant] for variant in (EVERY, SUMS))
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(every, sums, strict=False)]
        moved = [f"{median(row['received'] for row in part) / MODEL:.1f}" for part in (every, sums)]
        times = [spread([row["seconds"] for row in part]) for part in (every, sums)]
        link = f"{case[2]} Mbit/s" if case[2] else "unlimited"
        cells = [str(case[0]), str(case[1]), link, str(len(ratios)), *moved, *times, spread(ratios)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"An exact sum of four such models takes {middle:.1f} times as long as one in float64 "
        f"({least:.1f} to {most:.1f}).",
    ]
    return save("network", rows, lines)


def spread(values: list[float]) -> str:
    """'median (least to most)'."""
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of a run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    for name, default, what in (
        ("rates", "0,1000", "Mbit/s of the head's link"),
        ("workers", "2,4", "numbers of workers"),
        ("buffers", "16,64", "K"),
    ):
        parser.add_argument(f"--{name}", default=default, metavar="N,N", help=f"{what} (default: %(default)s)")
    given = parser.parse_args()
    rates, workers, buffers = (
        [int(n) for n in text.split(",")] for text in (given.rates, given.workers, given.buffers)
    )
    cases = [(w, k, rate) for w in workers for k in buffers for rate in rates]
    command = " ".join(["python benchmarks/network.py", *sys.argv[1:]])
    try:
        measure(cases, given.rounds, given.repeats, lambda rows: report(rows, command))
    except MissingError as error:
        print(error, file=sys.stderr)
        raise SystemExit(77) from None


if __name__ == "__main__":
    main()
