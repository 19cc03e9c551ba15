"""A sweep's trials: one table, best first, and one picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.results import metrics, tables
from fedqs_ray.results.comparison import markdown
from fedqs_ray.results.drawing import LOOK, colour, logarithmic, tidy

ACCENT, GREY, SECOND = colour("line1"), colour("grey"), colour("line3")

End = Literal["finished", "stopped", "failed"]
"""Ran to its last round; stopped because others were better by then; had to stop."""
ENDS: tuple[End, ...] = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Trial:
    """One point of a sweep, and how its run went."""

    number: int
    point: Mapping[str, Any]
    """The value of each setting that was drawn."""
    end: End
    rounds: list[int] = field(default_factory=list)
    """The rounds whose model was evaluated."""
    accuracies: list[float] = field(default_factory=list)
    """And its test accuracy, 0..1."""
    virtual_time: float = 0.0
    """Virtual seconds at the last of them."""

    @property
    def score(self) -> float:
        """What trials are judged by: the mean test accuracy of the last five evaluations, or of those there are."""
        return score(self.accuracies)

    @property
    def name(self) -> str:
        """For people."""
        return title(self.number, self.point)

    @property
    def folder(self) -> str:
        """Its run, seen from the sweep's folder."""
        return home(self.number)


def home(number: int) -> str:
    """The folder of a trial's run, seen from the sweep's folder."""
    return f"trials/{number:03}"


def written(value: Any) -> str:
    """A drawn value, in a table and elsewhere."""
    return "unset" if value is None else str(value)


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points are the same, one of them perhaps as a table has it."""
    return one.keys() == other.keys() and all(
        one[name] == other[name] or written(one[name]) == written(other[name]) for name in one
    )


def title(number: int, point: Mapping[str, Any]) -> str:
    """'trial 3 (training.lr = 0.1)'."""
    return f"trial {number} ({', '.join(f'{path} = {written(value)}' for path, value in point.items())})"


def score(accuracies: Sequence[float]) -> float:
    """The mean of the last five; 0 if there are none."""
    return float(metrics.smoothed(accuracies)[-1]) if accuracies else 0.0


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Best first: those that ran to the end, then those that came far."""
    return sorted(trials, key=lambda t: (ENDS.index(t.end), -max(t.rounds, default=0), -t.score, t.number))


def write(folder: Path, trials: Sequence[Trial]) -> None:
    """Write sweep.parquet and sweep.md, best first."""
    order = ranked(trials)
    columns: dict[str, Any] = {
        "trial": [trial.number for trial in order],
        "end": [trial.end for trial in order],
        "accuracy": [trial.score for trial in order],
        "best_accuracy": [max(trial.accuracies, default=None) for trial in order],
        "rounds": [max(trial.rounds, default=0) for trial in order],
        "virtual_time": [trial.virtual_time for trial in order],
    }
    for name in order[0].point:
        values = [trial.point[name] for trial in order]
        kinds = {type(value) for value in values}
        columns[name] = values if kinds <= {int, float} or len(kinds) == 1 else [written(value) for value in values]
    columns["folder"] = [trial.folder for trial in order]
    columns["evaluated"] = pa.array([trial.rounds for trial in order], pa.list_(pa.int32()))
    columns["accuracies"] = pa.array([trial.accuracies for trial in order], pa.list_(pa.float64()))
    with tables.whole(folder / "sweep.parquet") as path:
        pq.write_table(pa.table(columns), path)
    with tables.whole(folder / "sweep.md") as path:
        path.write_text(markdown(table(order)) + "\n", encoding="utf-8")


def read(folder: Path) -> list[Trial]:
    """The trials that sweep.parquet holds, with points as it has them. Raises `ConfigError` if it is damaged."""
    path = folder / "sweep.parquet"
    if not path.exists():
        return []
    try:
        rows = pq.read_table(path).to_pylist()
        names = ("end", "evaluated", "accuracies", "virtual_time")
        points = [{name: value for name, value in row.items() if "." in name} for row in rows]
        return [
            Trial(row["trial"], point, *(row[name] for name in names)) for row, point in zip(rows, points, strict=True)
        ]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise ConfigError(f"{path}: cannot be read: {next(iter(str(error).splitlines()), '')[:300]}") from None


def table(trials: Sequence[Trial]) -> list[list[str]]:
    """For people, best first; the first line is the heading."""
    order = ranked(trials)
    lines = [["trial", *order[0].point, "accuracy, %", "best, %", "rounds", "end"]]
    for trial in order:
        values = [written(value) for value in trial.point.values()]
        best = max(trial.accuracies, default=math.nan)
        figures = [f"{100 * trial.score:.2f}", f"{100 * best:.2f}", str(max(trial.rounds, default=0))]
        lines.append([str(trial.number), *values, *figures, trial.end])
    return lines


@mpl.rc_context({**LOOK, "figure.facecolor": "white"})
def draw(path: Path, trials: Sequence[Trial], scaled: Sequence[str]) -> None:
    """The learning curves, and accuracy against each setting; on a logarithmic scale against those `scaled`."""
    order = ranked(trials)
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
        if name in scaled:
            axes.set_xscale("log")
            logarithmic(axes.xaxis)
    for axes in list(panels)[len(names) :]:
        axes.set_visible(False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def scatter(axes: Any, name: str, order: Sequence[Trial]) -> None:
    """Accuracy against one setting; words stand side by side."""
    values = [trial.point[name] for trial in order]
    if not all(type(value) in (int, float) for value in values):
        words = sorted(set(map(written, values)))
        values = [words.index(written(value)) for value in values]
        axes.set_xticks(range(len(words)), words, rotation=20 if len(words) > 4 else 0)
        axes.set_xlim(-0.5, len(words) - 0.5)
    for rank, (trial, value) in enumerate(zip(order, values, strict=True)):
        ink, alpha = (ACCENT, 0.8) if trial.end == "finished" else (GREY, 0.45)
        axes.plot(value, 100 * trial.score, "o", color=ink if rank else SECOND, alpha=alpha if rank else 1, ms=6)
    tidy(axes, name, "accuracy, %" if axes.get_subplotspec().is_first_col() else "")
