"""Cold start: from the command to the end of a run of one round on the digits (target: 12 s on two cores).

python benchmarks/cold_start.py [--repeats 5]

A run of one round ends with its first aggregation, the evaluation of that model, and the shut-down of Ray and of the
actors, so the figure bounds the time to the first aggregation from above. Writes benchmarks/results/cold_start.md and
.parquet.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from common import save

TARGET = 12.0


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    repeats = parser.parse_args().repeats
    rows = []
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as place:
            command = ["run", "examples/digits.toml", "--set", "run.rounds=1", "--out", f"{place}/run", "--quiet"]
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "fedqs_ray", *command], check=True)
            rows.append({"repeat": repeat, "seconds": time.perf_counter() - start})
    seconds = [row["seconds"] for row in rows]
    median = statistics.median(seconds)
    lines = [
        "# Cold start",
        "",
        f"Command: `python benchmarks/cold_start.py --repeats {repeats}`. From the command to the end of a run of one "
        "round on the digits, Ray and actors started and stopped.",
        "",
        f"Median **{median:.1f} s** ({min(seconds):.1f} to {max(seconds):.1f}); target {TARGET:.0f} s: "
        f"{'reached' if median <= TARGET else 'missed'}.",
    ]
    print(save("cold_start", rows, lines))


if __name__ == "__main__":
    main()
