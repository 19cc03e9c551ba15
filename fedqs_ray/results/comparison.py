"""Several runs side by side: one table, paired differences, one page."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from scipy.stats import t as student

from fedqs_ray.config import SettingError
from fedqs_ray.results import metrics
from fedqs_ray.results.page import ACCENT, GREY, SECOND, picture, tidy, write_page
from fedqs_ray.results.result import Result

BASES = {"fedqs-avg": "fedavg", "fedqs-sgd": "fedsgd"}
"""What an algorithm is compared with in pairs; the others, with the first of the comparison."""
COLOURS = ("#8a94a0", ACCENT, "#e9a23b", SECOND, "#23a26d", "#7d3fc8", "#c23b6b", "#4b9fa8", "#6b4b3a", "#3a5fa8")

Row = dict[str, Any]


class Comparison:
    """The folder that `fedqs compare` left behind."""

    def __init__(self, folder: str | Path) -> None:
        """Raises `SettingError` if `folder` does not hold a comparison."""
        self.folder = Path(folder)
        if not (self.folder / "comparison.parquet").exists():
            raise SettingError(f"{self.folder}: not a comparison, it has no comparison.parquet")

    @cached_property
    def cells(self) -> pa.Table:
        """One row a run."""
        return pq.read_table(self.folder / "comparison.parquet")

    def report(self) -> Path:
        """Write comparison.html and its pictures into the folder; returns its path."""
        return page(self)

    def markdown(self) -> str:
        """The tables, for people."""
        return f"{markdown(table(self.cells.to_pylist()))}\n\n{markdown(differences(self.cells.to_pylist()))}\n"

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        rows = self.cells.to_pylist()
        return as_html(table(rows)) + as_html(differences(rows))


def write(folder: Path, runs: Sequence[tuple[str, str, int, Result]], target: float | None) -> Comparison:
    """Measure (scenario, algorithm, seed, run) and write comparison.parquet and comparison.md.

    `target` is an accuracy, 0..1; if None, each scenario's is 95% of the lowest best accuracy (smoothed)
    among its runs, so that every run reaches it.
    """
    curves = [result.evaluations() for *_, result in runs]
    targets = {}
    for scenario in dict.fromkeys(name for name, *_ in runs):
        own = [c["accuracy"] for c, (name, *_) in zip(curves, runs, strict=True) if name == scenario]
        targets[scenario] = target or 0.95 * min(float(metrics.smoothed(accuracy).max()) for accuracy in own)
    rows = []
    for (scenario, algorithm, seed, result), curve in zip(runs, curves, strict=True):
        rounds, accuracy, goal = curve["round"], curve["accuracy"], targets[scenario]
        reached = metrics.first_round_at(rounds, accuracy, goal)
        found = result.summary
        rows.append(
            {
                "scenario": scenario,
                "algorithm": algorithm,
                "seed": seed,
                "rounds": found.rounds,
                "best_accuracy": found.best_accuracy,
                "late_accuracy": metrics.late(rounds, accuracy),
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


def table(rows: list[Row]) -> list[list[str]]:
    """Mean and standard deviation over seeds, one line for each scenario and algorithm; the first is the heading."""
    lines = [["scenario", "algorithm", "seeds", *(heading for _, heading, *_ in COLUMNS)]]
    for scenario, algorithm, own in grouped(rows):
        cells = [spread([row[name] for row in own], scale, digits) for name, _, scale, digits in COLUMNS]
        lines.append([scenario, algorithm, str(len(own)), *cells])
    return lines


def differences(rows: list[Row]) -> list[list[str]]:
    """Each algorithm against its base, seed by seed: mean difference and 95% confidence interval (Student's t)."""
    lines = [["scenario", "algorithm", "against", "best, points", "last 20 rounds, points", "seeds better"]]
    by_name = {(scenario, algorithm): {row["seed"]: row for row in own} for scenario, algorithm, own in grouped(rows)}
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
        lines.append([scenario, algorithm, base, interval(best), interval(late), better])
    return lines


def grouped(rows: list[Row]) -> Iterable[tuple[str, str, list[Row]]]:
    """The runs of each scenario and algorithm, in order of appearance."""
    names = dict.fromkeys((row["scenario"], row["algorithm"]) for row in rows)
    return ((s, a, [row for row in rows if (row["scenario"], row["algorithm"]) == (s, a)]) for s, a in names)


def spread(values: Sequence[float | None], scale: float, digits: int) -> str:
    """'mean ± standard deviation' of the values there are; '(n)' where some are missing, '-' where all are."""
    known = np.array([value for value in values if value is not None]) * scale
    if not known.size:
        return "-"
    text = f"{known.mean():.{digits}f}" + (f" ± {known.std(ddof=1):.{digits}f}" if known.size > 1 else "")
    return text if known.size == len(values) else f"{text} ({known.size})"


def interval(values: Sequence[float]) -> str:
    """'+1.2 [-0.3, 2.7]'; no interval for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:+.2f}"
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def markdown(lines: list[list[str]]) -> str:
    """A table whose first line is the heading."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))


def as_html(lines: list[list[str]]) -> str:
    """The same as HTML."""
    import html

    head, *rest = ([html.escape(text) for text in line] for line in lines)
    rows = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in rest)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{t}</th>" for t in head)}</tr>{rows}</table></div>'


def page(comparison: Comparison) -> Path:
    """comparison.html: the tables, and for each scenario the curves of all algorithms side by side."""
    rows = comparison.cells.to_pylist()
    body = [as_html(table(rows))]
    if len(pairs := differences(rows)) > 1:
        body.append(f"<section><h2>In pairs, seed by seed</h2>{as_html(pairs)}<p>Mean and 95% interval.</p></section>")
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        own = [row for row in rows if row["scenario"] == scenario]
        figure = Figure(figsize=(9.5, 3.8), layout="constrained")
        draw(figure, own, lambda row: Result(comparison.folder / row["folder"]))
        body.append(
            picture(
                figure,
                comparison.folder / "pictures" / f"{scenario}.png",
                f"Scenario {scenario}",
                "Test accuracy: mean over seeds, and from the lowest to the highest seed. The dashed line is the "
                f"common target, {own[0]['target']:.1%}.",
            )
        )
    first = Result(comparison.folder / rows[0]["folder"])
    seeds = sorted({row["seed"] for row in rows})
    return write_page(
        comparison.folder / "comparison.html",
        f"{len({row['algorithm'] for row in rows})} algorithms on {first.experiment.task.name}",
        f"{first.experiment.clients.count} clients, a round every {first.experiment.server.buffer_size} arrivals, "
        f"seeds {', '.join(map(str, seeds))}",
        "\n".join(body),
        (first.folder / "config.toml").read_text(encoding="utf-8"),
    )


def draw(figure: Figure, rows: list[Row], open_run: Callable[[Row], Result]) -> None:
    """Accuracy over rounds and over virtual time, one line an algorithm, a band over its seeds."""
    panels = figure.subplots(1, 2, sharey=True)
    for (_, algorithm, own), colour in zip(grouped(rows), COLOURS * 9, strict=False):
        curves = [open_run(row).evaluations() for row in own]
        for axes, column in zip(panels, ("round", "time"), strict=True):
            grid = np.unique(np.concatenate([curve[column] for curve in curves]))
            grid = grid[grid <= min(curve[column][-1] for curve in curves)]
            lines = np.array([np.interp(grid, curve[column], curve["accuracy"]) for curve in curves]) * 100
            axes.plot(grid, lines.mean(0), color=colour, lw=1.5, label=algorithm)
            if len(lines) > 1:
                axes.fill_between(grid, lines.min(0), lines.max(0), color=colour, alpha=0.15, lw=0)
    for axes, label in zip(panels, ("round", "virtual time, s"), strict=True):
        axes.axhline(rows[0]["target"] * 100, color=GREY, lw=1, ls="--")
        tidy(axes, label, "test accuracy, %" if label == "round" else "")
    names = panels[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=5, frameon=False)
