"""What a round moves over the server's network, and what that costs on a slow link: sums of each node, or K updates.

python benchmarks/network.py [--rounds 8] [--repeats 3] [--rates 0,1000]

Three hosts are made out of namespaces (benchmarks/cluster/hosts.py; needs root): a head that trains nothing, and two
workers with one client actor each. ResNet-18 (11.2 million numbers, 43 MiB) on the digits, K = 16. Bytes are those that
the kernel counts at the head's interface, in a run of --rounds more rounds than another; a rate (Mbit/s, 0: as fast as
it goes) is that of the head's link in both directions, by tc's token bucket. Writes benchmarks/results/network.md and
.parquet. Exit status 77 if this machine cannot have such hosts.
"""

import argparse
import io
import secrets
import sys
import time
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
from fedqs_ray.core.fixed_point import exact_weighted_sum
from fedqs_ray.runs.tables import read_table

sys.path.insert(0, str(Path(__file__).parent / "cluster"))
from hosts import Host, MissingError, hosts, wait

FEW = 3
"""Rounds of the shorter run."""
MODEL = 4 * 11_172_042
"""Bytes of a model."""
SETTINGS = [
    "task.name=parquet", "task.train=digits.parquet", "task.model=resnet18", "training.local_epochs=1",
    "training.lr=0.01", "clients.count=32", "clients.actors=2", "server.buffer_size=16", "run.eval_every=1000",
    "run.checkpoint_every=never", "run.address=auto",
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
VARIANTS = {
    "FedSGD, every update to the server": ["algorithm.name=each:Each"],
    "FedSGD": ["algorithm.name=fedsgd"],
    "FedQS-SGD, exact": ["algorithm.name=fedqs-sgd"],
    "FedQS-SGD, sketch of 1,024": ["algorithm.name=fedqs-sgd", "algorithm.sketch_dim=1024"],
}


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
    """A head without a CPU for clients, and workers with one each, who know one token."""
    head, *workers = nodes
    token = secrets.token_hex(32)
    for node in nodes:
        node.file(".ray").mkdir(mode=0o700, exist_ok=True)
        node.file(".ray/auth_token").write_text(token, encoding="ascii")
        node.file(".ray/auth_token").chmod(0o600)
    memory = "--object-store-memory=1500000000"
    head.run(
        "ray",
        "start",
        "--head",
        "--num-cpus=0",
        "--include-dashboard=false",
        f"--node-ip-address={head.address}",
        memory,
    )
    for worker in workers:
        worker.run("ray", "start", "--num-cpus=1", f"--address={head.address}:6379", memory)
    wait(lambda: "2.0 CPU" in head.run("ray", "status") or "0.0/2.0" in head.run("ray", "status"), "no workers", 60)


def play(head: Host, out: str, settings: list[str], rounds: int) -> tuple[int, int, list[float]]:
    """Bytes that the head received and sent in a run, and the seconds of its rounds."""
    flags = [word for value in [*SETTINGS, *settings, f"run.rounds={rounds}"] for word in ("--set", value)]
    before = counters(head)
    head.run("fedqs", "run", *flags, "--out", f"runs/{out}", "--quiet", timeout=900)
    after = counters(head)
    seconds = read_table(head.file(f"runs/{out}"), "timing")["seconds"].to_pylist()
    return after[0] - before[0], after[1] - before[1], [b - a for a, b in pairwise(seconds[1:])]


def measure(rounds: int, repeats: int, rates: list[int]) -> list[dict[str, Any]]:
    """Every variant at every rate, one after another, again and again."""
    found = []
    with hosts(3) as (desk, nodes):
        head = nodes[0]
        head.file("each.py").write_text(EACH, encoding="utf-8")
        write_digits(head.file("digits.parquet"))
        start_ray(nodes)
        for rate in rates:
            shape(desk, head, rate)
            for repeat in range(repeats):
                for variant, settings in VARIANTS.items():
                    name = f"{rate}-{repeat}-{variant.replace(' ', '-').replace(',', '')}"
                    few = play(head, f"{name}-few", settings, FEW)
                    more = play(head, f"{name}-more", settings, FEW + rounds)
                    row = {
                        "rate": rate, "repeat": repeat, "variant": variant,
                        "received": (more[0] - few[0]) / rounds, "sent": (more[1] - few[1]) / rounds,
                        "seconds": median(more[2]),
                    }  # fmt: skip
                    found.append(row)
                    print(row, flush=True)
    return found


def cost(vectors: int = 4, repeats: int = 7) -> tuple[float, float, float]:
    """How much longer an exact sum of some models takes than one in float64: median, least and most."""
    draw = np.random.default_rng(0)
    models = [draw.normal(size=MODEL // 4).astype(np.float32) for _ in range(vectors)]
    ratios = []
    for _ in range(repeats):
        seconds = []
        for add in (exact_weighted_sum, weighted_sum):
            began = time.process_time()
            add([1 / vectors] * vectors, models)
            seconds.append(time.process_time() - began)
        ratios.append(seconds[0] / seconds[1])
    return median(ratios), min(ratios), max(ratios)


def report(rows: list[dict[str, Any]], rounds: int, repeats: int, rates: list[int]) -> str:
    """Write the table; returns it."""
    middle, least, most = cost()
    lines = [
        "# What a round moves over the server's network",
        "",
        f"Command: `python benchmarks/network.py --rounds {rounds} --repeats {repeats} --rates "
        f"{','.join(map(str, rates))}`. A head and two workers, namespaces of one machine; ResNet-18 "
        f"({MODEL / 2**20:.0f} MiB) on digits, 32 clients, K = 16, static. Bytes at the head's interface, a round; "
        "medians, and in brackets the least and the most.",
        "",
        "| link | algorithm | runs | received, models | sent, models | received, MiB | seconds a round |",
        "|---|---|---|---|---|---|---|",
    ]
    for rate in rates:
        for variant in VARIANTS:
            own = [row for row in rows if (row["rate"], row["variant"]) == (rate, variant)]
            if not own:
                continue
            received, sent, seconds = ([row[key] for row in own] for key in ("received", "sent", "seconds"))
            lines.append(
                f"| {f'{rate} Mbit/s' if rate else 'unlimited'} | {variant} | {len(own)} | "
                f"{median(received) / MODEL:.1f} | {median(sent) / MODEL:.1f} | {median(received) / 2**20:.0f} | "
                f"{median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) |"
            )
    lines += [
        "",
        f"An exact sum of four such models takes {middle:.1f} times as long as one in float64 "
        f"({least:.1f} to {most:.1f}).",
    ]
    return save("network", rows, lines)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="that are counted (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--rates", default="0,1000", metavar="N,N", help="Mbit/s of the head's link (default: %(default)s)"
    )
    arguments = parser.parse_args()
    rates = [int(rate) for rate in arguments.rates.split(",")]
    try:
        rows = measure(arguments.rounds, arguments.repeats, rates)
    except MissingError as error:
        print(error, file=sys.stderr)
        raise SystemExit(77) from None
    print(report(rows, arguments.rounds, arguments.repeats, rates))


if __name__ == "__main__":
    main()
