"""Figures of fairness: accuracy of the last model by label and by client. As in `figures_run`, each fills one panel."""

from collections import defaultdict

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from fedqs_ray.report.figures_clients import client_names, draw_points, evenly, last_types, name_ticks
from fedqs_ray.report.svg import GREY, colour, legend, steps, tidy
from fedqs_ray.runs.result import Result

NAMED = 3
"""Clients, those that are served worst, whose names stand beside their points."""
LONGEST = 30
"""Characters of such a name."""


def draw_label_accuracy(axes: Axes, result: Result) -> str | None:
    """Accuracy on the test samples of each label."""
    table = result.labels.filter(pc.is_valid(result.labels["accuracy"]))
    if not len(table):
        return None
    label, percent = table["label"].to_numpy(), table["accuracy"].to_numpy() * 100
    axes.bar(label, percent, width=0.8, color=colour("accuracy"), alpha=0.85)
    draw_overall(axes, percent, table["samples"].to_numpy())
    axes.set_ylim(0, 100)
    axes.margins(x=0.01)
    axes.grid(visible=False, axis="x")
    named = name_ticks(axes.xaxis, result, most=30)
    legend(axes)
    tidy(axes, "label", "test accuracy, %")
    worst, best = np.argmin(percent), np.argmax(percent)
    ends = f"from {percent[worst]:.0f}% ({named[label[worst]]}) to {percent[best]:.0f}% ({named[label[best]]})"
    return f"Test accuracy of the last model on each label: {ends}."


def draw_client_accuracy(axes: Axes, result: Result) -> str | None:
    """Accuracy on each client's validation samples, against how often it contributed; area is how many it has."""
    if not (percent := by_client(result)).size:
        return None
    there = pc.is_valid(result.clients["accuracy"]).to_numpy(zero_copy_only=False)
    updates, samples = (result.clients[name].to_numpy()[there] for name in ("aggregated", "validation_samples"))
    kind = last_types(result, there.size)[there]
    worst = np.lexsort((-samples, percent))[:NAMED]
    some = np.union1d(np.argsort(updates, kind="stable")[evenly(updates.size)], worst)
    area = 80 * samples[some] / samples.max()
    draw_points(axes, updates[some], percent[some], kind[some], np.maximum(area, 4))
    draw_overall(axes, percent, samples)
    axes.set_ylim(-5, 105)
    scale_counts(axes, int(updates.min()), int(updates.max()))
    names = client_names(result, np.flatnonzero(there)[worst])
    if updates.size > NAMED:
        together: defaultdict[tuple[float, float], list[str]] = defaultdict(list)
        for place, name in zip(worst, names, strict=True):
            together[updates[place], percent[place]].append(name)
        for point, own in together.items():
            name_point(axes, *point, ", ".join(own))
    legend(axes)
    tidy(axes, "updates in the model", "validation accuracy, %")
    tenth = np.percentile(percent, 10)
    spread = f"{np.median(percent):.0f}% for the median client, at most {tenth:.0f}% for the worst tenth"
    spread += f", least for {', '.join(f'client {name}' for name in names)}"
    have = f"the median client has {np.median(samples):.0f}"
    if missing := np.sum(~there):
        have += f", and {missing} of {there.size} have none"
    return f"Accuracy of the last model on each client's own validation samples: {spread}; of samples {have}."


def scale_counts(axes: Axes, low: int, high: int) -> None:
    """Counts from `low` to `high` from left to right: on a logarithmic scale if they differ more than tenfold."""
    if high <= 10 * max(low, 1):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        room = max(0.5, 0.05 * (high - low))
        axes.set_xlim(low - room, high + room)
        return
    axes.set_xscale("symlog", linthresh=1)
    places = [step * 10**power for power in range(int(np.log10(high)) + 1) for step in steps(max(low, 1), high)]
    ticks = [0] * (low == 0) + [place for place in places if low <= place <= high]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left=max(-0.5, low * 0.85 - 0.5))


def name_point(axes: Axes, x: float, y: float, name: str) -> None:
    """Write a name beside a point, on the side where there is more room."""
    across = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[0]
    side, shift = ("left", 6) if across < 0.5 else ("right", -6)
    shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\u2026"
    axes.annotate(shown, (x, y), (shift, -3), textcoords="offset points", ha=side, fontsize=9)


def draw_overall(axes: Axes, percent: NDArray[np.float64], samples: NDArray[np.int32]) -> None:
    """A line at the accuracy on all samples together."""
    axes.axhline(np.average(percent, weights=samples), color=GREY, lw=1, ls="--", label="all samples together")


def by_client(result: Result) -> NDArray[np.float64]:
    """Accuracy of the last model, in percent, on the validation samples of each client that has any."""
    found: NDArray[np.float64] = result.clients["accuracy"].drop_null().to_numpy() * 100
    return found
