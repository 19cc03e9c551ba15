"""Shared by the benchmarks: the folder of results, and the line on versions and machine."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

RESULTS = Path(__file__).resolve().parent / "results"
ALGORITHMS = ["fedavg", "fedqs-avg", "fedsgd", "fedqs-sgd"]


def machine() -> str:
    """Versions and machine, in a line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("fedqs_ray", "ray", "torch", "numpy"))
    cores = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    return f"{versions}; Python {platform.python_version()}, {cores}, {gpu()}."


def gpu() -> str:
    """The GPU's name, or "CPU only"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"


def save(name: str, rows: Sequence[dict[str, Any]], lines: Sequence[str]) -> str:
    """Write NAME.parquet and NAME.md under benchmarks/results; returns the text."""
    RESULTS.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), RESULTS / f"{name}.parquet")
    text = "\n".join([*lines, "", machine()]) + "\n"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    return text
