"""comparison.html: tables, and for each scenario the figures of all algorithms together.

Bands are 95% confidence intervals of the mean over seeds (Student's t). Two seeds say too little for that, and the band
goes from the one to the other. An algorithm has one colour on the whole page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.core.text import format_html_table as as_html
from fedqs_ray.experiments.comparison import (
    ENOUGH,
    Comparison,
    Row,
    count_fates,
    find_interval,
    group_rows,
    list_differences,
    tabulate_runs,
)
from fedqs_ray.report.figures_clients import aggregated, influence, pieces, stack_types
from fedqs_ray.report.figures_fairness import by_client
from fedqs_ray.report.figures_run import AXES, LABELS
from fedqs_ray.report.page import write_page
from fedqs_ray.report.svg import GREY, Fill, colour, grow, heading, legend, panel, section, switched, tidy
from fedqs_ray.runs.layout import PICTURES
from fedqs_ray.runs.result import Result

SHADES = 10
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Places, rising, and the values there."""


@dataclass(frozen=True)
class Group:
    """The runs of one algorithm in one scenario, and the style of their lines."""

    algorithm: str
    rows: list[Row]
    runs: list[Result]
    colour: str
    dashes: str


def write_comparison_page(comparison: Comparison) -> Path:
    """Draw every picture and the page; returns its path. Raises `RunFolderError` where the folder cannot be written."""
    try:
        return draw(comparison)
    except OSError as error:
        raise RunFolderError(f"{comparison.folder}: cannot write the report: {error.strerror or error}") from None


def draw(comparison: Comparison) -> Path:
    """The pictures and the page."""
    rows = comparison.cells.to_pylist()
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    parts: list[str] = []
    for number, scenario in enumerate(dict.fromkeys(row["scenario"] for row in rows)):
        groups = []
        for _, algorithm, own in group_rows([row for row in rows if row["scenario"] == scenario]):
            place = names.index(algorithm)
            runs = [Result(comparison.folder / row["folder"]) for row in own]
            dashes = ("-", "--", ":", "-.")[place // SHADES % 4]
            groups.append(Group(algorithm, own, runs, colour(f"line{place % SHADES}"), dashes))
        parts += scene(scenario, number, groups, comparison.folder / PICTURES)
    parts.append(
        block("What became of the jobs", as_html(count_fates(rows), "Jobs"), "Mean and standard deviation over seeds.")
    )
    first = Result(comparison.folder / rows[0]["folder"])
    seeds = sorted({row["seed"] for row in rows})
    return write_page(
        comparison.folder / "comparison.html",
        f"{f'{len(names)} algorithms' if len(names) > 1 else names[0]} on {first.experiment.subject}",
        f"{first.experiment.clients.count:,} clients, a round every {first.experiment.server.buffer_size} arrivals, "
        f"seeds {', '.join(map(str, seeds))}",
        "\n".join(parts),
        first.settings_file.read_text(encoding="utf-8"),
    )


def block(title: str, content: str, caption: str, level: int = 2) -> str:
    """A section that holds a table."""
    return f"<section>{heading(title, level)}{content}<p>{caption}</p></section>"


def scene(scenario: str, number: int, groups: list[Group], folder: Path) -> Iterator[str]:
    """The sections of one scenario. The scenario is `number` among the page's."""

    def drawn(name: str, fill: Fill) -> str:
        return panel(f"{scenario}_{name}", folder, fill)

    choices = {
        label: [
            drawn(f"{kind}_{column}", partial(draw_progress, groups=groups, column=column, kind=kind))
            for kind in ("accuracy", "loss")
        ]
        for column, label in AXES.items()
    }
    lines, bars = WORDS[min(max(len(group.runs) for group in groups), ENOUGH)]
    caption = (
        f"{lines} The dashed line is the common target, "
        f"{groups[0].rows[0]['target']:.1%}: unless one was asked for, 95% of the best accuracy that the weakest of "
        "these runs had, so that all reach it."
    )
    rows = [row for group in groups for row in group.rows]
    yield heading(f"Scenario {scenario}")
    yield block("Figures", as_html(without_first(tabulate_runs(rows)), f"Figures, {scenario}"), FIGURES, level=3)
    if len(pairs := without_first(list_differences(rows))) > 1:
        yield block("In pairs, seed by seed", as_html(pairs, f"Differences, {scenario}"), PAIRS, level=3)
    yield switched("Accuracy and loss", caption, f"over-{number}", choices, level=3)
    seeds = [
        drawn(name, partial(draw_seeds, groups=groups, column=name, label=label, scale=scale, most=most))
        for name, label, scale, most in SEEDS
    ]
    yield section("Each run", f"Points are seeds{bars}.", seeds, level=3)
    rest = [
        drawn("staleness", partial(draw_staleness, groups=groups)),
        drawn("lr", partial(draw_drift, groups=groups, column="lr")),
        drawn("momentum", partial(draw_drift, groups=groups, column="momentum")),
        drawn("fairness", partial(draw_fairness, groups=groups)),
        drawn("served", partial(draw_served, groups=groups)),
    ]
    caption = (
        f"{lines} Algorithms that do not wait meet the same arrivals, so their staleness is the same, line upon line. "
        "In the picture of weight, clients with little weight for their data come first; on the dashed line all count "
        "as much as their data. In the last one, those come first that the last model serves worst."
    )
    yield section("Staleness, learning rate and momentum, weight, service", caption, rest, level=3)
    types = [drawn(f"types_{group.algorithm}", partial(draw_types, group=group)) for group in groups]
    yield section("Client types", "Who the updates came from, over all seeds.", types, level=3)


def without_first(lines: list[list[str]]) -> list[list[str]]:
    """A table without its first column, which says the scenario."""
    return [line[1:] for line in lines]


PAIRS = "Mean and [95% interval] of the differences; of two seeds (both), which are too few for an interval."
WORDS = {
    1: ("Lines are single runs.", ""),
    2: (
        "Lines are means of two seeds, bands what lies between the two, which are too few for a confidence interval.",
        "; bars what lies between them, and their mean",
    ),
    ENOUGH: (
        "Lines are means over seeds, bands their 95% intervals.",
        "; bars the mean and its 95% interval, of two what lies between them",
    ),
}
"""By the number of seeds, or more: of lines, and of the figures of each run."""
FIGURES = (
    "Mean and standard deviation over seeds. Rounds to 95%: of the run's own best accuracy. Target: one accuracy for "
    "all runs of a scenario."
)
SEEDS = (
    ("late_accuracy", "accuracy in the last 20 rounds, %", 100, 100.0),
    ("time_to_target", "virtual time to target, s", 1, np.inf),
)
"""Column, label, scale, and the most that it can be."""


def draw_band(
    axes: Axes, group: Group, curves: Sequence[Curve], within: tuple[float, float] = (-np.inf, np.inf)
) -> None:
    """Mean of the seeds' curves and the band around it, as far as all of them reach."""
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[grid <= min(x[-1] for x, _ in curves)]
    lines = np.array([np.interp(grid, x, y) for x, y in curves])
    axes.plot(grid, lines.mean(0), group.dashes, color=group.colour, label=group.algorithm)
    if len(lines) > 1:
        axes.fill_between(grid, *find_interval(lines, *within), color=group.colour, alpha=0.15, lw=0)


def draw_progress(axes: Axes, groups: list[Group], column: str, kind: str) -> str:
    """Accuracy or loss over rounds, virtual time or updates."""
    scale, within = (100, (0.0, 100.0)) if kind == "accuracy" else (1, (0.0, np.inf))
    ends = []
    for group in groups:
        found = [run.evaluations() for run in group.runs]
        curves = [(np.asarray(own[column], float), np.multiply(own[kind], scale)) for own in found]
        draw_band(axes, group, curves, within)
        ends.append(f"{group.algorithm} {np.mean([y[-1] for _, y in curves]):.4g}")
    if kind == "accuracy":
        axes.axhline(groups[0].rows[0]["target"] * 100, color=GREY, lw=1, ls="--")
    legend(axes, 3)
    tidy(axes, LABELS[column], "test accuracy, %" if kind == "accuracy" else "test loss, nats")
    return f"Test {kind} over {AXES[column]}; at the end: {', '.join(ends)}."


def draw_seeds(axes: Axes, groups: list[Group], column: str, label: str, scale: float, most: float) -> str | None:
    """One figure of every run."""
    means = []
    for place, group in enumerate(groups):
        values = np.array([row[column] for row in group.rows if row[column] is not None]) * scale
        if not values.size:
            continue
        axes.plot(find_interval(values, 0, most), (place, place), color=group.colour)
        axes.plot(values.mean(), place, "|", ms=14, mew=2, color=group.colour)
        axes.plot(values, np.full(values.size, place), "o", ms=5, mew=0, alpha=0.7, color=group.colour)
        means.append(f"{group.algorithm} {values.mean():.4g}")
    if not means:
        return None
    axes.set_yticks(range(len(groups)), [group.algorithm for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    grow(axes, 0.3 * len(groups) - 1.6)
    tidy(axes, label, "")
    return f"{label[0].upper()}{label[1:]}, on average: {', '.join(means)}."


def draw_staleness(axes: Axes, groups: list[Group]) -> str | None:
    """Mean staleness over rounds."""
    for group in groups:
        tables = [run.rounds.filter(pc.is_valid(run.rounds["staleness_mean"])) for run in group.runs]
        if all(map(len, tables)):
            draw_band(axes, group, [(t["round"].to_numpy(), t["staleness_mean"].to_numpy()) for t in tables], ABOVE)
    if not axes.lines:
        return None
    legend(axes, 3)
    tidy(axes, "round", "mean staleness, versions")
    return f"Mean staleness over rounds of {', '.join(group.algorithm for group in groups)}."


ABOVE = (0.0, np.inf)


def draw_drift(axes: Axes, groups: list[Group], column: str) -> str | None:
    """Median learning rate or momentum of the updates over rounds, where any algorithm changes it."""
    moved = []
    for group in groups:
        tables = [aggregated(run).filter(pc.is_valid(aggregated(run)[column])) for run in group.runs]
        if all(map(len, tables)):
            draw_band(axes, group, [medians(t["round"].to_numpy(), t[column].to_numpy()) for t in tables], ABOVE)
            moved += [group.algorithm] * any(np.ptp(t[column].to_numpy()) > 0 for t in tables)
    if not moved:
        return None
    legend(axes, 3)
    what = {"lr": "learning rate", "momentum": "momentum"}[column]
    tidy(axes, "round", f"median {what}")
    return f"Median {what} over rounds. It changes under {', '.join(moved)}."


def medians(rounds: NDArray[np.int32], values: NDArray[np.float64]) -> Curve:
    """Of each piece of the rounds."""
    edges = pieces(int(rounds.max()))
    piece = np.digitize(rounds, edges)
    there = np.unique(piece)
    return edges[there - 1].astype(float), np.array([np.median(values[piece == n]) for n in there])


def draw_fairness(axes: Axes, groups: list[Group]) -> str | None:
    """Lorenz curves: of the clients with the least weight for their data, the data and the weight together."""
    grid, words = np.linspace(0, 100, 101), []
    for group in groups:
        found = [pair for run in group.runs if (pair := influence(run))]
        curves = [(grid, np.interp(grid, *lorenz(weight, share))) for weight, share in found]
        if curves:
            draw_band(axes, group, curves, (0.0, 100.0))
            words.append(f"{group.algorithm} {np.mean([y[50] for _, y in curves]):.0f}%")
    if not words:
        return None
    axes.plot([0, 100], [0, 100], color=GREY, lw=1, ls="--")
    legend(axes, 3)
    tidy(axes, "part of the data, %", "weight in the model, %")
    return f"The half of the data that counts least has of the weight: {', '.join(words)}."


def draw_served(axes: Axes, groups: list[Group]) -> str | None:
    """Accuracy of the last model on the clients' own validation samples, from the client that it serves worst."""
    grid, words = np.linspace(0, 100, 101), []
    for group in groups:
        curves = [(grid, np.percentile(own, grid)) for run in group.runs if (own := by_client(run)).size]
        if curves:
            draw_band(axes, group, curves, (0.0, 100.0))
            words.append(f"{group.algorithm} {np.mean([y[10] for _, y in curves]):.0f}%")
    if not words:
        return None
    legend(axes, 3)
    tidy(axes, "clients, worst served first, %", "validation accuracy, %")
    return f"The worst served tenth of the clients has an accuracy of at most: {', '.join(words)}."


def lorenz(weight: NDArray[np.float64], share: NDArray[np.float64]) -> Curve:
    """Parts of the data and of the weight, in percent, from the client with the least weight for its data."""
    order = np.argsort(weight / np.maximum(share, 1e-12), kind="stable")
    return np.append(0.0, np.cumsum(share[order])), np.append(0.0, np.cumsum(weight[order]))


def draw_types(axes: Axes, group: Group) -> str | None:
    """Share of each client type among the updates of all seeds."""
    axes.set_title(group.algorithm, fontsize=10)
    words = stack_types(axes, pa.concat_tables([aggregated(run) for run in group.runs]))
    return words and f"{group.algorithm}: {words}"
