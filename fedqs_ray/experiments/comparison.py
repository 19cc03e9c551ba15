"""Comparison of several runs: a table of figures, and paired differences."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import t as student

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.core.text import format_html_table
from fedqs_ray.runs.curves import average_late, find_first_round, smooth
from fedqs_ray.runs.result import Result

BASES = {"fedqs-avg": "fedavg", "fedqs-sgd": "fedsgd"}
"""Base of an algorithm's paired differences; that of all others is the first algorithm of the comparison."""

ENOUGH = 3
"""Smallest number of seeds for a confidence interval: that of two is too wide to be of use."""

Row = dict[str, Any]


class Comparison:
    """Results of `fedqs compare`, read from its folder."""

    def __init__(self, folder: str | Path) -> None:
        """Raises `RunFolderError` if `folder` does not hold a comparison."""
        self.folder = Path(folder)
        if not (self.folder / "comparison.parquet").exists():
            raise RunFolderError(f"{self.folder}: not a comparison, it has no comparison.parquet")

    @cached_property
    def cells(self) -> pa.Table:
        """Arrow table with one row for each run."""
        return pq.read_table(self.folder / "comparison.parquet")

    def markdown(self) -> str:
        """Both tables in Markdown."""
        rows = self.cells.to_pylist()
        return f"{format_markdown(tabulate_runs(rows))}\n\n{format_markdown(list_differences(rows))}\n"

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        rows = self.cells.to_pylist()
        return format_html_table(tabulate_runs(rows), "figures") + format_html_table(
            list_differences(rows), "differences"
        )


def write_comparison(folder: Path, runs: Sequence[tuple[str, str, int, Result]], target: float | None) -> Comparison:
    """Measure (scenario, algorithm, seed, run) and write comparison.parquet and comparison.md.

    `target` is an accuracy, 0..1; if None, it is 95% of the lowest best accuracy (smoothed) among the
    runs of each scenario, so that every run reaches it.
    """
    curves = [result.evaluations() for *_, result in runs]
    targets = {}
    for scenario in dict.fromkeys(name for name, *_ in runs):
        own = [c["accuracy"] for c, (name, *_) in zip(curves, runs, strict=True) if name == scenario]
        targets[scenario] = target or 0.95 * min(float(smooth(accuracy).max()) for accuracy in own)
    rows = []
    for (scenario, algorithm, seed, result), curve in zip(runs, curves, strict=True):
        rounds, accuracy, goal = curve["round"], curve["accuracy"], targets[scenario]
        reached = find_first_round(rounds, accuracy, goal)
        found = result.summary
        rows.append(
            {
                "scenario": scenario,
                "algorithm": algorithm,
                "seed": seed,
                "rounds": found.rounds,
                "best_accuracy": found.best_accuracy,
                "late_accuracy": average_late(rounds, accuracy),
                "final_accuracy": found.final_accuracy,
                "rounds_to_95": found.rounds_to_95,
                "target": goal,
                "rounds_to_target": reached,
                "time_to_target": None if reached is None else curve["time"][rounds.index(reached)],
                "virtual_time": found.virtual_time,
                "stability": found.stability,
                "mean_staleness": found.mean_staleness,
                "updates": found.updates,
                "lost": found.lost,
                "rejected": found.rejected,
                "seconds": found.seconds,
                "folder": str(result.folder.relative_to(folder)),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "comparison.parquet")
    made = Comparison(folder)
    (folder / "comparison.md").write_text(made.markdown(), encoding="utf-8")
    return made


COLUMNS: tuple[tuple[str, str, float, int], ...] = (
    ("best_accuracy", "best, %", 100, 2),
    ("late_accuracy", "last 20 rounds, %", 100, 2),
    ("rounds_to_95", "rounds to 95%", 1, 0),
    ("rounds_to_target", "rounds to target", 1, 0),
    ("time_to_target", "virtual s to target", 1, 0),
    ("stability", "stability, points", 100, 2),
    ("seconds", "run time, s", 1, 1),
)
"""Column, heading, scale, decimals."""


def tabulate_runs(rows: list[Row]) -> list[list[str]]:
    """Tabulate mean and standard deviation over seeds: a heading, and a line for each scenario and algorithm."""
    lines = [["scenario", "algorithm", "seeds", *(heading for _, heading, *_ in COLUMNS)]]
    for scenario, algorithm, own in group_rows(rows):
        cells = [format_spread([row[name] for row in own], scale, digits) for name, _, scale, digits in COLUMNS]
        lines.append([scenario, algorithm, str(len(own)), *cells])
    return lines


def list_differences(rows: list[Row]) -> list[list[str]]:
    """Tabulate paired differences to each algorithm's base: mean and 95% confidence interval (Student's t)."""
    lines = [["scenario", "algorithm", "against", "best, points", "last 20 rounds, points", "seeds better"]]
    by_name = {
        (scenario, algorithm): {row["seed"]: row for row in own} for scenario, algorithm, own in group_rows(rows)
    }
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    for scenario, algorithm in by_name:
        base = BASES.get(algorithm, names[0])
        base = base if base in names else names[0]
        theirs, ours = by_name.get((scenario, base), {}), by_name[scenario, algorithm]
        seeds = sorted(ours.keys() & theirs.keys())
        if algorithm == base or not seeds:
            continue
        best, late = (
            [(ours[seed][column] - theirs[seed][column]) * 100 for seed in seeds]
            for column in ("best_accuracy", "late_accuracy")
        )
        better = f"{sum(value > 0 for value in best)} of {len(seeds)}"
        lines.append([scenario, algorithm, base, format_interval(best), format_interval(late), better])
    return lines


def count_fates(rows: list[Row]) -> list[list[str]]:
    """Tabulate aggregated, lost and rejected jobs: mean and standard deviation over seeds."""
    lines = [["scenario", "algorithm", "aggregated", "lost", "rejected"]]
    for scenario, algorithm, own in group_rows(rows):
        cells = [format_spread([row[name] for row in own], 1, 0) for name in ("updates", "lost", "rejected")]
        lines.append([scenario, algorithm, *cells])
    return lines


def group_rows(rows: list[Row]) -> Iterable[tuple[str, str, list[Row]]]:
    """Group the runs by scenario and algorithm, in order of appearance."""
    names = dict.fromkeys((row["scenario"], row["algorithm"]) for row in rows)
    return ((s, a, [row for row in rows if (row["scenario"], row["algorithm"]) == (s, a)]) for s, a in names)


def format_spread(values: Sequence[float | None], scale: float, digits: int) -> str:
    """Format 'mean ± standard deviation' of the known values, with their number if some are missing; '-' if all are."""
    known = np.array([value for value in values if value is not None]) * scale
    if not known.size:
        return "-"
    text = f"{known.mean():.{digits}f}" + (f" ± {known.std(ddof=1):.{digits}f}" if known.size > 1 else "")
    return text if known.size == len(values) else f"{text} ({known.size})"


def format_interval(values: Sequence[float]) -> str:
    """Format a mean and its interval, '+1.2 [-0.3, 2.7]'; with two values the range, '+1.2 (-0.3, 2.7)'."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:+.2f}"
    low, high = find_interval(np.asarray(values))
    opening, closing = "()" if len(values) < ENOUGH else "[]"
    return f"{mean:+.2f} {opening}{low:+.2f}, {high:+.2f}{closing}"


def find_interval(
    values: NDArray[np.float64], low: float = -np.inf, high: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the 95% interval of the mean over the first axis of (S, ...), within bounds.

    With fewer than `ENOUGH` values, the range from the smallest to the largest.
    """
    if len(values) < ENOUGH:
        return values.min(0), values.max(0)
    mean, half = values.mean(0), compute_margin(values)
    return np.clip(mean - half, low, high), np.clip(mean + half, low, high)


def compute_margin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute half of the 95% confidence interval (Student's t) of the mean over the first axis of (S, ...), S > 1."""
    count = len(values)
    found: NDArray[np.float64] = student.ppf(0.975, count - 1) * np.std(values, axis=0, ddof=1) / np.sqrt(count)
    return found


def format_markdown(lines: list[list[str]]) -> str:
    """Format a Markdown table from lines, of which the first is the heading."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))
