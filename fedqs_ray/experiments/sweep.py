"""A sweep: its trials, and their table, best first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.experiments.comparison import format_markdown
from fedqs_ray.runs.curves import smooth
from fedqs_ray.runs.tables import replace_file

End = Literal["finished", "stopped", "failed"]
"""finished: completed all rounds; stopped: pruned by ASHA; failed: training diverged."""
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
        return score_curve(self.accuracies)

    @property
    def name(self) -> str:
        """For people."""
        return name_trial(self.number, self.point)

    @property
    def folder(self) -> str:
        """Its run, seen from the sweep's folder."""
        return locate_trial(self.number)


@dataclass(frozen=True)
class Sweep:
    """The folder that `fedqs tune` left behind."""

    folder: Path
    trials: list[Trial]
    """Best first."""
    logarithmic: tuple[str, ...] = ()
    """Settings that were drawn on a logarithmic scale."""

    def markdown(self) -> str:
        """The table, for people."""
        return format_markdown(tabulate_trials(self.trials)) + "\n"


def locate_trial(number: int) -> str:
    """The folder of a trial's run, seen from the sweep's folder."""
    return f"trials/{number:03}"


def format_drawn(value: Any) -> str:
    """A drawn value, in a table and elsewhere."""
    return "unset" if value is None else str(value)


def are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points are the same, one of them perhaps as a table has it."""
    return one.keys() == other.keys() and all(
        one[name] == other[name] or format_drawn(one[name]) == format_drawn(other[name]) for name in one
    )


def name_trial(number: int, point: Mapping[str, Any]) -> str:
    """'trial 3 (training.lr = 0.1)'."""
    return f"trial {number} ({', '.join(f'{path} = {format_drawn(value)}' for path, value in point.items())})"


def score_curve(accuracies: Sequence[float]) -> float:
    """The mean of the last five; 0 if there are none."""
    return float(smooth(accuracies)[-1]) if accuracies else 0.0


def rank_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Best first: those that ran to the end, then those that came far."""
    return sorted(trials, key=lambda t: (ENDS.index(t.end), -max(t.rounds, default=0), -t.score, t.number))


def write_sweep(folder: Path, trials: Sequence[Trial]) -> None:
    """Write sweep.parquet and sweep.md, best first."""
    order = rank_trials(trials)
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
        columns[name] = (
            values if kinds <= {int, float} or len(kinds) == 1 else [format_drawn(value) for value in values]
        )
    columns["folder"] = [trial.folder for trial in order]
    columns["evaluated"] = pa.array([trial.rounds for trial in order], pa.list_(pa.int32()))
    columns["accuracies"] = pa.array([trial.accuracies for trial in order], pa.list_(pa.float64()))
    with replace_file(folder / "sweep.parquet") as path:
        pq.write_table(pa.table(columns), path)
    with replace_file(folder / "sweep.md") as path:
        path.write_text(format_markdown(tabulate_trials(order)) + "\n", encoding="utf-8")


def read_sweep(folder: Path) -> list[Trial]:
    """The trials that sweep.parquet holds, with points as it has them. Raises `RunFolderError` if it is damaged."""
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
        raise RunFolderError(f"{path}: cannot be read: {next(iter(str(error).splitlines()), '')[:300]}") from None


def tabulate_trials(trials: Sequence[Trial]) -> list[list[str]]:
    """For people, best first; the first line is the heading."""
    order = rank_trials(trials)
    lines = [["trial", *order[0].point, "accuracy, %", "best, %", "rounds", "end"]]
    for trial in order:
        values = [format_drawn(value) for value in trial.point.values()]
        best = max(trial.accuracies, default=math.nan)
        figures = [f"{100 * trial.score:.2f}", f"{100 * best:.2f}", str(max(trial.rounds, default=0))]
        lines.append([str(trial.number), *values, *figures, trial.end])
    return lines
