"""Speed of ResNet-18 on one thread: layout of pictures (contiguous, channels last) and precision, side by side.

python benchmarks/convolutions.py [--model resnet18] [--batch 50] [--repeats 7]

SGD steps of the project's own network on random pictures of 3x32x32, the four ways interleaved. Writes
benchmarks/results/convolutions.md and .parquet.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import save
from torch.nn import functional

from fedqs_ray.tasks.models import build_model

WAYS = {
    "float32": (torch.contiguous_format, False),
    "float32, channels last": (torch.channels_last, False),
    "bfloat16": (torch.contiguous_format, True),
    "bfloat16, channels last": (torch.channels_last, True),
}


def trainer(model: str, batch: int, layout: torch.memory_format, half: bool) -> Callable[[], float]:
    """A function that takes one step and returns its seconds."""
    torch.manual_seed(0)
    network = build_model(model, (3, 32, 32), 10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    pictures = torch.randn(batch, 3, 32, 32).to(memory_format=layout)
    labels = torch.randint(10, (batch,))

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = functional.cross_entropy(network(pictures).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return time.perf_counter() - start

    return step


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="cnn, resnet18 or vgg16 (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="(default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = {way: trainer(arguments.model, arguments.batch, *setting) for way, setting in WAYS.items()}
    for step in steps.values():
        step()
    rows: list[dict[str, Any]] = [
        {"way": way, "repeat": repeat, "seconds": step()}
        for repeat in range(arguments.repeats)
        for way, step in steps.items()
    ]
    base = [row["seconds"] for row in rows if row["way"] == "float32"]
    lines = [
        f"# Layout and precision: {arguments.model}, batch {arguments.batch}, one thread",
        "",
        f"Command: `python benchmarks/convolutions.py --model {arguments.model} --batch {arguments.batch} "
        f"--repeats {arguments.repeats}`. Seconds an SGD step; ratio to float32 within the same repeat.",
        "",
        "| way | seconds, median | times as fast as float32, median (smallest to largest) |",
        "|---|---|---|",
    ]
    for way in WAYS:
        seconds = [row["seconds"] for row in rows if row["way"] == way]
        ratios = [one / other for one, other in zip(base, seconds, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {way} | {statistics.median(seconds):.3f} | {spread} |")
    print(save("convolutions", rows, lines))


if __name__ == "__main__":
    main()
