"""One picture of a sweep: learning curves, and accuracy against each setting."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from fedqs_ray.experiments.sweep import Sweep, Trial, format_drawn, rank_trials
from fedqs_ray.report.svg import LOOK, colour, logarithmic, tidy

ACCENT, GREY, SECOND = colour("line1"), colour("grey"), colour("line3")


@mpl.rc_context({**LOOK, "figure.facecolor": "white"})
def draw_sweep(sweep: Sweep) -> Path:
    """Draw the learning curves, and accuracy against each setting; returns the path of sweep.png."""
    path, order = sweep.folder / "sweep.png", rank_trials(sweep.trials)
    names = list(order[0].point)
    across = min(3, len(names))
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(9.5, 3.6 + 2.9 * down), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[3.6, 2.9 * down], squeeze=False).flat
    curves = upper.subplots()
    for rank, trial in reversed(list(enumerate(order))):
        ink, alpha = (ACCENT, 0.7) if trial.end == "finished" else (GREY, 0.35)
        ink, alpha, width = (SECOND, 1.0, 2.0) if not rank else (ink, alpha, 1.2)
        curves.plot(trial.rounds, [100 * a for a in trial.accuracies], color=ink, alpha=alpha, lw=width)
    shown = {"the best": (SECOND, 1.0), "ran to the end": (ACCENT, 0.7), "stopped early": (GREY, 0.35)}
    for label, (ink, alpha) in shown.items():
        curves.plot([], [], color=ink, alpha=alpha, label=label)
    upper.legend(*curves.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    tidy(curves, "round", "test accuracy, %")
    panels = lower.subplots(down, across, sharey=True, squeeze=False).flat
    for name, axes in zip(names, panels, strict=False):
        scatter(axes, name, order)
        if name in sweep.logarithmic:
            axes.set_xscale("log")
            logarithmic(axes.xaxis)
    for axes in list(panels)[len(names) :]:
        axes.set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def scatter(axes: Any, name: str, order: Sequence[Trial]) -> None:
    """Accuracy against one setting; words stand side by side."""
    values = [trial.point[name] for trial in order]
    if not all(type(value) in (int, float) for value in values):
        words = sorted(set(map(format_drawn, values)))
        values = [words.index(format_drawn(value)) for value in values]
        axes.set_xticks(range(len(words)), words, rotation=20 if len(words) > 4 else 0)
        axes.set_xlim(-0.5, len(words) - 0.5)
    for rank, (trial, value) in enumerate(zip(order, values, strict=True)):
        ink, alpha = (ACCENT, 0.8) if trial.end == "finished" else (GREY, 0.45)
        axes.plot(value, 100 * trial.score, "o", color=ink if rank else SECOND, alpha=alpha if rank else 1, ms=6)
    tidy(axes, name, "accuracy, %" if axes.get_subplotspec().is_first_col() else "")
