"""report.html: one file that opens offline, and its pictures as PNG beside it."""

import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from matplotlib.figure import Figure

from fedqs_ray.config import SettingError
from fedqs_ray.results.page import ACCENT, GREY, SECOND, picture, tidy, write_page
from fedqs_ray.results.result import Result
from fedqs_ray.results.theory import contraction

TYPES = {
    "FWBC": ("fast, weakly biased", "#2a7de1"),
    "FSBC": ("fast, strongly biased", "#7d3fc8"),
    "SWBC": ("straggling, weakly biased", "#23a26d"),
    "SSBC": ("straggling, strongly biased", "#e0662b"),
}


def write(result: Result) -> Path:
    """Draw every picture and the page; returns the page's path. Pictures go to pictures/ in the folder.

    Raises `SettingError` where the folder cannot be written, or its tables cannot be read.
    """
    try:
        return draw(result)
    except OSError as error:
        raise SettingError(f"{result.place}: cannot write the report: {error.strerror or error}") from None


def draw(result: Result) -> Path:
    """The pictures and the page."""
    cards = "".join(
        f"<div><b>{html.escape(text)}</b><span>{html.escape(label)}</span></div>"
        for label, text in result.summary.lines().items()
    )
    parts = [f'<div class="cards">{cards}</div>']
    for name, (title, caption, fill) in PICTURES.items():
        figure = Figure(figsize=(9.5, 3.6), layout="constrained")
        if fill(result, figure):
            parts.append(picture(figure, result.folder / "pictures" / f"{name}.png", title, caption))
    experiment = result.experiment
    return write_page(
        result.folder / "report.html",
        f"{experiment.title} on {experiment.task.name}",
        f"{experiment.clients.count} clients, a round every {experiment.server.buffer_size} arrivals, "
        f"scenario {experiment.scenario.name}, partition {experiment.task.partition.name}, seed {experiment.seed}",
        "\n".join(parts),
        result.settings_file.read_text(encoding="utf-8"),
    )


def draw_progress(result: Result, figure: Figure) -> bool:
    """Accuracy and loss over rounds and over virtual time."""
    measured = result.evaluations()
    for axes, column, label in zip(
        figure.subplots(1, 2, sharey=True), ("round", "time"), ("round", "virtual time, s"), strict=True
    ):
        axes.plot(measured[column], np.multiply(measured["accuracy"], 100), color=ACCENT, lw=1.6)
        tidy(axes, label, "test accuracy, %")
        axes.yaxis.label.set_color(ACCENT)
        twin = axes.twinx()
        twin.plot(measured[column], measured["loss"], color=SECOND, lw=1.1, alpha=0.8)
        twin.set_ylabel("test loss, nats", color=SECOND)
        twin.spines["top"].set_visible(False)
    return True


def draw_staleness(result: Result, figure: Figure) -> bool:
    """Mean and maximum over rounds, and the distribution over updates."""
    left, right = figure.subplots(1, 2)
    rounds = result.rounds.filter(pc.is_valid(result.rounds["staleness_mean"]))
    if not len(rounds):
        return False
    mean, most = rounds["staleness_mean"].to_numpy(), rounds["staleness_max"].to_numpy()
    left.fill_between(rounds["round"].to_numpy(), 0, most, color=GREY, alpha=0.25, lw=0, label="largest")
    left.plot(rounds["round"].to_numpy(), mean, color=ACCENT, lw=1.4, label="mean")
    left.legend(frameon=False)
    tidy(left, "round", "staleness, versions")
    values = result.arrivals["staleness"].drop_null().to_numpy()
    step = max(1, int(values.max()) // 60)
    right.hist(values, bins=np.arange(-0.5, values.max() + step + 0.5, step), color=ACCENT)
    tidy(right, "staleness, versions", "updates")
    return True


def draw_types(result: Result, figure: Figure) -> bool:
    """Share of each client type among a round's arrivals, and the learning rates of each type."""
    table = result.arrivals.filter(pc.is_valid(result.arrivals["round"]))
    kinds = np.array([kind or "" for kind in table["client_type"].to_pylist()])
    if not (kinds != "").any():
        return False
    rounds = table["round"].to_numpy()
    last, width = int(rounds.max()), max(1, int(rounds.max()) // 50)
    edges = np.arange(1, last + width + 1, width)
    counts = np.array([np.histogram(rounds[kinds == kind], edges)[0] for kind in TYPES])
    total = np.histogram(rounds, edges)[0]
    left, right = figure.subplots(1, 2)
    names, colours = zip(*TYPES.values(), strict=True)
    left.stackplot(edges[:-1], counts / np.maximum(total, 1) * 100, labels=names, colors=colours, alpha=0.9)
    left.set_ylim(0, 100)
    tidy(left, "round", "arrivals, %")
    rates = table["lr"].to_numpy()
    for kind, colour in zip(TYPES, colours, strict=True):
        right.plot(rounds[kinds == kind], rates[kinds == kind], ".", ms=2.5, color=colour, alpha=0.5)
    tidy(right, "round", "learning rate")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return True


def draw_contributions(result: Result, figure: Figure) -> bool:
    """Aggregation weight that each client collected, against its share of the data."""
    table = result.arrivals.filter(pc.is_valid(result.arrivals["weight"]))
    if not len(result.clients) or not len(table):
        return False
    samples = result.clients["samples"].to_numpy()
    count = samples.size
    weight = np.bincount(table["client"].to_numpy(), table["weight"].to_numpy(), minlength=count)
    arrived = np.bincount(table["client"].to_numpy(), minlength=count)
    weight, share = weight / weight.sum() * 100, samples / samples.sum() * 100
    left, right = figure.subplots(1, 2)
    order = np.argsort(-weight, kind="stable")
    left.bar(np.arange(count), weight[order], color=ACCENT, width=1.0, label="weight in the model")
    left.plot(np.arange(count), share[order], ".", color=SECOND, ms=3, label="share of the data")
    left.legend(frameon=False)
    tidy(left, "clients, most influential first", "%")
    dots = right.scatter(share, weight, c=arrived, cmap="viridis", s=16)
    top = max(share.max(), weight.max()) * 1.05
    right.plot([0, top], [0, top], color=GREY, lw=1, ls="--")
    figure.colorbar(dots, ax=right, label="arrivals")
    tidy(right, "share of the data, %", "weight in the model, %")
    return True


def draw_labels(result: Result, figure: Figure) -> bool:
    """How many samples of each label each client has."""
    if not len(result.clients):
        return False
    counts = np.array(result.clients["labels"].to_pylist()).T
    clients = counts.shape[1]
    order = np.argsort(-counts.sum(0), kind="stable")
    left, right = figure.subplots(1, 2)
    shares = counts / np.maximum(counts.sum(0), 1) * 100
    grid = left.imshow(shares[:, order], aspect="auto", cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    figure.colorbar(grid, ax=left, label="of the client's samples, %")
    tidy(left, "clients, largest first", "label")
    left.grid(visible=False)
    right.bar(np.arange(clients), counts.sum(0)[order], color=ACCENT, width=1.0)
    tidy(right, "clients, largest first", "samples")
    return True


def draw_theory(result: Result, figure: Figure) -> bool:
    """Estimates of delta^2 and G_c^2 over rounds; the loss, and the contraction fitted to it."""
    rounds = result.rounds.filter(pc.is_valid(result.rounds["gradient_bound"]))
    if not len(rounds):
        return False
    left, right = figure.subplots(1, 2)
    number = rounds["round"].to_numpy()
    left.semilogy(number, rounds["gradient_bound"].to_numpy(), color=SECOND, lw=1.2, label="longest, $G_c^2$")
    left.semilogy(number, rounds["divergence"].to_numpy(), color=ACCENT, lw=1.2, label="divergence, $\\delta^2$")
    left.legend(frameon=False)
    tidy(left, "round", "squared norm of gradients")
    measured = result.evaluations()
    right.plot(measured["round"], measured["loss"], color=GREY, lw=1.4, label="test loss")
    if fit := contraction(measured["round"], measured["loss"]):
        label = f"{fit.floor:.2f} + {fit.drop:.2f} · {fit.factor:.4f}$^t$"
        right.plot(measured["round"], fit.at(measured["round"]), color=ACCENT, lw=1.2, ls="--", label=label)
    right.legend(frameon=False)
    tidy(right, "round t", "test loss, nats")
    return True


Draw = Callable[[Result, Figure], bool]
PICTURES: dict[str, tuple[str, str, Draw]] = {
    "progress": (
        "Accuracy and loss",
        "The global model on the test samples after every aggregation, over rounds and over simulated time.",
        draw_progress,
    ),
    "staleness": (
        "Staleness",
        "How many versions the global model had moved on between an update's start and its aggregation.",
        draw_staleness,
    ),
    "client_types": (
        "Client types",
        "Who the arrivals came from, and the learning rate that each trained with. Arrivals before a client "
        "has a type are left out.",
        draw_types,
    ),
    "labels": (
        "Who holds what",
        "The labels of each client's samples (training and validation together), and how many it has.",
        draw_labels,
    ),
    "contributions": (
        "Who contributed how much",
        "The aggregation weight that each client collected over the run. On the dashed line, a client counts "
        "as much as its data.",
        draw_contributions,
    ),
    "theory": (
        "What the bounds speak of",
        "How far the clients' gradients lie apart and how long they are, estimated from each round's updates; and the "
        "test loss with a contraction to a floor fitted to it. docs/theory.md says what these are and are not.",
        draw_theory,
    ),
}
