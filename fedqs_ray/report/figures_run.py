"""Figures of one run. Each function fills the axes of one panel and returns a description in words.

A function that returns None has nothing to show, and its panel is left out.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fedqs_ray.report.contraction import fit_contraction
from fedqs_ray.report.svg import GREY, colour, legend, logarithmic, tidy
from fedqs_ray.runs.result import Result

AXES = {"round": "rounds", "time": "virtual time", "arrived": "updates"}
"""What progress is drawn over: the column of `rounds`, and its name on the switch."""
BINS = 50
"""Bars of a distribution."""
PIECES = 1000
"""Rounds, or pieces of the run, in the figure of staleness: an area is drawn with all of its corners."""
LABELS = {"round": "round", "time": "virtual time, s", "arrived": "updates aggregated"}


def draw_accuracy(axes: Axes, result: Result, column: str) -> str:
    """Of the global model on the test samples."""
    measured = result.evaluations()
    percent = np.multiply(measured["accuracy"], 100)
    axes.plot(measured[column], percent, color=colour("accuracy"))
    tidy(axes, LABELS[column], "test accuracy, %")
    run = f"from {percent[0]:.1f}% to {percent[-1]:.1f}%, at best {percent.max():.1f}%"
    return f"Test accuracy over {AXES[column]}: {run}."


def draw_loss(axes: Axes, result: Result, column: str) -> str:
    """Of the global model on the test samples."""
    measured = result.evaluations()
    loss = measured["loss"]
    axes.plot(measured[column], loss, color=colour("loss"))
    tidy(axes, LABELS[column], "test loss, nats")
    return f"Test loss over {AXES[column]}: from {loss[0]:.2f} to {loss[-1]:.2f} nats."


def draw_staleness(axes: Axes, result: Result) -> str | None:
    """Mean and maximum over rounds."""
    rounds = result.rounds.filter(pc.is_valid(result.rounds["staleness_mean"]))
    if not len(rounds):
        return None
    number, mean, most = (rounds[name].to_numpy() for name in ("round", "staleness_mean", "staleness_max"))
    words = f"Staleness over rounds: {np.mean(mean):.1f} versions on average, {most.max()} at most."
    begin = np.arange(0, number.size, -(-number.size // PIECES))
    number, most = number[begin], np.maximum.reduceat(most, begin)
    mean = np.add.reduceat(mean, begin) / np.diff(np.append(begin, mean.size))
    axes.fill_between(number, 0, most, color=GREY, alpha=0.3, lw=0, label="largest of the round")
    axes.plot(number, mean, color=colour("accuracy"), label="mean of the round")
    legend(axes)
    tidy(axes, "round", "staleness, versions")
    return words


def draw_staleness_spread(axes: Axes, result: Result) -> str | None:
    """Distribution over updates."""
    values = result.arrivals["staleness"].drop_null().to_numpy()
    if not values.size:
        return None
    step = max(1, int(values.max()) // 60)
    axes.hist(values, bins=np.arange(-0.5, values.max() + step + 0.5, step).tolist(), color=colour("accuracy"))
    tidy(axes, "staleness, versions", "updates")
    return f"How many updates had which staleness: half of them at most {np.median(values):.0f} versions."


def draw_work(axes: Axes, result: Result) -> str | None:
    """How many clients train, and how many updates wait in the buffer, over virtual time."""
    jobs, time = result.arrivals, result.rounds["time"].to_numpy()
    if not len(jobs):
        return None
    at = np.linspace(0, time[-1], 400)
    used = jobs.filter(pc.is_valid(jobs["round"]))
    training = entered(jobs["start"], at) - entered(jobs["end"], at)
    left = time[np.minimum(used["round"].to_numpy(), time.size - 1)]  # a run that was cut off may lack the last row
    waiting = entered(used["end"], at) - np.searchsorted(np.sort(left), at, "right")
    names, colours = ("training", "waiting in the buffer"), (colour("training"), colour("waiting"))
    axes.stackplot(at, training, waiting, labels=names, colors=colours, alpha=0.85, lw=0)
    axes.margins(x=0)
    legend(axes)
    tidy(axes, "virtual time, s", "clients, updates")
    return f"Clients at work over virtual time: on average {training.mean():.0f} train and {waiting.mean():.0f} wait."


def draw_durations(axes: Axes, result: Result) -> str | None:
    """Distribution of the jobs' durations; on a logarithmic scale where they differ a lot."""
    jobs = result.arrivals.filter(pc.not_equal(result.arrivals["outcome"], "unfinished"))
    lasted = pc.subtract(jobs["end"], jobs["start"]).to_numpy()
    if not lasted.size:
        return None
    low, middle, most = lasted.min(), np.median(lasted), lasted.max()
    if apart := most > 100 * low > 0:
        bins = np.geomspace(low, most, BINS + 1)
    elif np.isclose(low, most):
        bins = np.array([0.9, 1.1]) * most
    else:
        bins = np.linspace(low, most, BINS + 1)
    axes.hist(lasted, bins=bins.tolist(), color=colour("accuracy"))
    if apart:
        axes.set_xscale("log")
        logarithmic(axes.xaxis)
    tidy(axes, "virtual time that a job takes, s", "jobs")
    return (
        f"How many jobs took how long: from {low:.3g} to {most:.3g} virtual seconds, half of them at most {middle:.3g}."
    )


def entered(times: pa.ChunkedArray, at: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of `times` are not after each of `at`."""
    return np.searchsorted(np.sort(times.to_numpy()), at, "right")


def draw_losses(axes: Axes, result: Result) -> str | None:
    """Jobs that came to nothing, by reason, and those that were done again, counted up over virtual time."""
    jobs = result.arrivals.sort_by("end")
    reasons = {"lost on the way": pc.equal(jobs["outcome"], "lost")}
    for reason in sorted(set(jobs["rejection"].drop_null().to_pylist())):
        reasons[f"rejected: {reason}"] = pc.equal(jobs["rejection"], reason)
    ends = {name: jobs.filter(pc.fill_null(chosen, False))["end"].to_numpy() for name, chosen in reasons.items()}
    ends["done again"] = retries(result)
    ends = {name: times for name, times in ends.items() if times.size}
    last = result.rounds["time"][-1].as_py()
    for (name, times), style in zip(ends.items(), ("-", "--", ":", "-.") * 3, strict=False):
        kind = {"lost": "lost", "done": "waiting"}.get(name[:4], "rejected")
        steps = np.concatenate([[0.0], times, [max(last, times[-1])]])
        axes.step(steps, [*range(times.size + 1), times.size], style, where="post", color=colour(kind), label=name)
    if not ends:
        return None
    legend(axes)
    tidy(axes, "virtual time, s", "jobs so far")
    words = ", ".join(f"{times.size:,} {name}" for name, times in ends.items())
    return f"Jobs that came to nothing, or were done again because an actor died: {words}."


def retries(result: Result) -> NDArray[np.float64]:
    """Virtual times of the versions that were the newest when jobs were done again."""
    newest = [line.get("round", 0) for line in result.log if line.get("event") == "job retried"]
    rows = np.minimum(np.array(newest, np.int64), len(result.rounds) - 1)  # a run that was cut off may lack the last
    times: NDArray[np.float64] = np.sort(result.rounds["time"].to_numpy()[rows])
    return times


def draw_gradients(axes: Axes, result: Result) -> str | None:
    """Estimates of delta^2 and G_c^2 over rounds."""
    rounds = result.rounds.filter(pc.is_valid(result.rounds["gradient_bound"]))
    if not len(rounds):
        return None
    number = rounds["round"].to_numpy()
    axes.semilogy(number, rounds["gradient_bound"].to_numpy(), color=colour("loss"), label="longest, G\u00b2")
    axes.semilogy(number, rounds["divergence"].to_numpy(), color=colour("accuracy"), label="divergence, \u03b4\u00b2")
    logarithmic(axes.yaxis)
    legend(axes)
    tidy(axes, "round", "squared norm of gradients")
    return (
        "Estimates over rounds, on a logarithmic scale: the longest gradient of a client, and how far they lie apart."
    )


def draw_contraction(axes: Axes, result: Result) -> str | None:
    """The loss, and the contraction fitted to it."""
    measured = result.evaluations()
    fit = fit_contraction(measured["round"], measured["loss"])
    if fit is None or not result.rounds["gradient_bound"].drop_null():
        return None
    axes.plot(measured["round"], measured["loss"], color=colour("loss"), label="test loss")
    text = f"{fit.floor:.2f} + {fit.drop:.2f} \u00b7 {fit.factor:.4f}\u1d57"
    axes.plot(measured["round"], fit.at(measured["round"]), color=GREY, ls="--", label=text)
    legend(axes)
    tidy(axes, "round t", "test loss, nats")
    return f"Test loss over rounds t, and the curve {text} fitted to it."
