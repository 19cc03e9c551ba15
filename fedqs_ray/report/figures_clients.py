"""Figures of the clients of one run: types, training settings, data, weight in the model.

As in `figures_run`, each function fills the axes of one panel and says in words what is to be seen, or returns None.
"""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fedqs_ray.report.svg import GREY, colour, legend, shades, tidy
from fedqs_ray.runs.result import Result

TYPES = {
    "FWBC": "fast, weakly biased",
    "FSBC": "fast, strongly biased",
    "SWBC": "straggling, weakly biased",
    "SSBC": "straggling, strongly biased",
}
ORDER = [("round", "ascending"), ("attempt", "ascending")]
"""By round; a client that is twice in one, as it came."""
MOST = 1000
"""Clients that one picture shows."""
BINS = 40
"""Pieces that a run's rounds are put into where single rounds hold too few clients."""


def aggregated(result: Result) -> pa.Table:
    """The jobs that helped to make a version."""
    return result.arrivals.filter(pc.is_valid(result.arrivals["round"]))


def kinds(table: pa.Table) -> NDArray[np.str_]:
    """(J,) client types; "" where a client has none yet."""
    return np.array(table["client_type"].fill_null("").to_pylist(), dtype=np.str_)


def pieces(last: int) -> NDArray[np.int64]:
    """Edges of up to 40 pieces of the rounds 1 to `last`."""
    return np.arange(1, last + 1 + (width := -(-last // BINS)), width)


def draw_types(axes: Axes, result: Result) -> str | None:
    """Share of each client type among the updates."""
    return stack_types(axes, aggregated(result))


def stack_types(axes: Axes, table: pa.Table) -> str | None:
    """The same for the aggregated jobs of one run or of several."""
    kind = kinds(table)
    if not (kind != "").any():
        return None
    rounds = table["round"].to_numpy()
    edges = pieces(int(rounds.max()))
    counts = np.array([np.histogram(rounds[kind == name], edges)[0] for name in (*TYPES, "")])
    middle = (edges[:-1] + edges[1:] - 1) / 2
    shares = counts / np.maximum(counts.sum(0), 1) * 100
    colours = [*map(colour, TYPES), GREY]
    axes.stackplot(middle, shares, labels=[*TYPES.values(), "no type yet"], colors=colours, alpha=0.85, lw=0)
    axes.set_ylim(0, 100)
    axes.margins(x=0)
    legend(axes)
    tidy(axes, "round", "updates, %")
    total = counts.sum(1) / counts.sum() * 100
    named = (f"{share:.0f}% {name}" for share, name in zip(total, TYPES.values(), strict=False))
    return f"Client types over rounds: {', '.join(named)}."


def draw_feedback(axes: Axes, result: Result) -> str | None:
    """Share of the updates that asked for feedback."""
    table = aggregated(result)
    asked = table["feedback"].fill_null(False).to_numpy()
    if not asked.any():
        return None
    rounds = table["round"].to_numpy()
    edges = pieces(int(rounds.max()))
    counts = (np.histogram(rounds[chosen], edges)[0] for chosen in (asked, slice(None)))
    share = np.divide(*counts) * 100
    axes.stairs(share, edges, fill=True, color=colour("accuracy"), alpha=0.85)
    axes.set_ylim(0, 100)
    axes.margins(x=0)
    tidy(axes, "round", "updates that ask for feedback, %")
    return f"Updates that ask for feedback over rounds: {asked.mean():.0%} of all."


def draw_drift(axes: Axes, result: Result, column: str) -> str | None:
    """Median of learning rate or momentum over rounds, and the middle 80%, by client type or else by speed."""
    table = aggregated(result)
    table = table.filter(pc.is_valid(table[column]))
    values, rounds = table[column].to_numpy(), table["round"].to_numpy()
    if not values.size or np.ptp(values) == 0:
        return None
    groups = {TYPES[name]: (kinds(table) == name, colour(name)) for name in TYPES}
    if not any(chosen.any() for chosen, _ in groups.values()):
        groups = by_speed(table["client"].to_numpy())
    edges = pieces(int(rounds.max()))
    for name, (chosen, shade) in groups.items():
        piece = np.digitize(rounds[chosen], edges)
        there = np.unique(piece)
        if there.size:
            low, middle, high = np.array([np.percentile(values[chosen][piece == n], (10, 50, 90)) for n in there]).T
            at = edges[there - 1]
            axes.fill_between(at, low, high, color=shade, alpha=0.18, lw=0)
            axes.plot(at, middle, color=shade, label=name)
    legend(axes)
    what = {"lr": "learning rate", "momentum": "momentum"}[column]
    tidy(axes, "round", what)
    return f"The clients' {what} over rounds, from {values.min():.3g} to {values.max():.3g}."


def by_speed(clients: NDArray[np.int32]) -> dict[str, tuple[NDArray[np.bool_], str]]:
    """Jobs of clients with more updates than the average client, and of the others."""
    counts = np.bincount(clients)
    fast = counts[clients] > counts[counts > 0].mean()
    return {"fast": (fast, colour("FWBC")), "straggling": (~fast, colour("SSBC"))}


def evenly(count: int, most: int = MOST) -> NDArray[np.int64]:
    """Places out of `count`, the first and the last among them; all if they are not too many to be drawn."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def influence(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(N,) and (N,): each client's part of the aggregation weight and of the data, in percent; None if unknown."""
    table = result.arrivals.filter(pc.is_valid(result.arrivals["weight"]))
    if not len(result.clients) or not len(table):
        return None
    samples = result.clients["samples"].to_numpy()
    weight = np.bincount(table["client"].to_numpy(), table["weight"].to_numpy(), minlength=samples.size)
    return (weight / weight.sum() * 100, samples / samples.sum() * 100) if weight.sum() else None


def draw_influence(axes: Axes, result: Result) -> str | None:
    """Aggregation weight that each client collected, most influential first, and its part of the data."""
    if (found := influence(result)) is None:
        return None
    weight, share = found
    order = np.argsort(-weight, kind="stable")
    place = evenly(weight.size)
    edges, some = np.append(place, weight.size) - 0.5, order[place]
    axes.stairs(weight[some], edges, fill=True, color=colour("accuracy"), alpha=0.85, label="weight in the model")
    axes.plot(place, share[some], ".", color=colour("loss"), ms=3, label="part of the data")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    tidy(axes, "clients, most influential first", "part of all, %")
    tenth = weight[order][: max(1, weight.size // 10)].sum()
    return f"Weight and data of each client: the most influential tenth has {tenth:.0f}% of the weight."


def draw_fairness(axes: Axes, result: Result) -> str | None:
    """Weight against data; on the line a client counts as much as its data."""
    if (found := influence(result)) is None:
        return None
    weight, share = found
    top = max(share.max(), weight.max()) * 1.05
    axes.plot([0, top], [0, top], color=GREY, lw=1, ls="--")
    more = np.mean(weight > share)
    some = np.argsort(weight, kind="stable")[evenly(weight.size)]
    weight, share, kind = weight[some], share[some], last_types(result, weight.size)[some]
    draw_points(axes, share, weight, kind)
    axes.set_xlim(0, share.max() * 1.05)
    axes.set_ylim(0, top)
    legend(axes)
    tidy(axes, "part of the data, %", "weight in the model, %")
    return f"Weight against data, one point a client: {more:.0%} of the clients weigh more than their data."


def draw_points(
    axes: Axes,
    x: NDArray[np.number[Any]],
    y: NDArray[np.number[Any]],
    kind: NDArray[np.str_],
    area: NDArray[np.float64] | None = None,
) -> None:
    """One point a client, in the colour of its type; where points lie on each other it is darker."""
    area = np.full(len(x), 18.0) if area is None else area
    untyped = (GREY, "no type yet") if (kind != "").any() else (colour("accuracy"), None)
    for name in (*TYPES, ""):
        if (chosen := kind == name).any():
            shade, label = (colour(name), TYPES[name]) if name else untyped
            axes.scatter(x[chosen], y[chosen], area[chosen], color=shade, alpha=0.55, lw=0, label=label)


def last_types(result: Result, count: int) -> NDArray[np.str_]:
    """(N,) the type with which each client's last update was trained."""
    table = aggregated(result).sort_by(ORDER)
    found = np.full(count, "", dtype="U4")
    found[table["client"].to_numpy()] = kinds(table)
    return found


def draw_labels(axes: Axes, result: Result) -> str | None:
    """How much of each client's data has which label."""
    if not len(result.clients):
        return None
    counts = np.array(result.clients["labels"].to_pylist()).T
    if not counts.size:  # nobody told the server
        return None
    order = np.argsort(-counts.sum(0), kind="stable")
    shares = (counts / np.maximum(counts.sum(0), 1) * 100)[:, order[evenly(order.size)]]
    reach = (-0.5, order.size - 0.5, len(shares) - 0.5, -0.5)
    grid = axes.imshow(shares, aspect="auto", cmap=shades("accuracy"), vmin=0, interpolation="nearest", extent=reach)
    axes.figure.colorbar(grid, ax=axes, label="of the client's samples, %")
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_ticks(axes.yaxis, result, most=100)
    tidy(axes, "clients, largest first", "label")
    return f"Labels of each client: the most frequent one is {shares.max(0).mean():.0f}% of a client's data on average."


def client_names(result: Result, clients: NDArray[np.int64]) -> list[str]:
    """What these clients are called: their number, with their name once a run that has names is over."""
    names = result.clients["name"].take(pa.array(clients)).to_pylist() if len(result.clients) else [None] * clients.size
    return [f"{client} ({name})" if name else f"{client}" for client, name in zip(clients, names, strict=True)]


def name_ticks(axis: Axis, result: Result, most: int) -> list[str]:
    """Put the labels' names on an axis if they have up to `most` characters, else their numbers.

    Returns what each is called.
    """
    names = [(row["name"] or "").strip() for row in result.labels.to_pylist()]
    axis.set_major_locator(MaxNLocator(integer=True))
    if all(names) and 0 < len(names) <= 12 and len("".join(names)) <= most:
        axis.set_ticks(range(len(names)), names)
    return [f"label {name or place}" if name.isdigit() or not name else name for place, name in enumerate(names)]


def draw_samples(axes: Axes, result: Result) -> str | None:
    """How many samples each client has."""
    if not len(result.clients):
        return None
    parts = (result.clients[name].to_numpy() for name in ("samples", "validation_samples"))
    sizes = np.sort(np.add(*parts))[::-1]
    place = evenly(sizes.size)
    axes.stairs(sizes[place], np.append(place, sizes.size) - 0.5, fill=True, color=colour("accuracy"), alpha=0.85)
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes, "clients, largest first", "samples")
    return f"Samples of each client: from {sizes[-1]:,} to {sizes[0]:,}."


draw_lr, draw_momentum = partial(draw_drift, column="lr"), partial(draw_drift, column="momentum")
