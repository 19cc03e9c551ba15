"""Results of a sweep: its trials and their table, best first."""

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
    """One point of a sweep, and the outcome of its run."""

    number: int
    point: Mapping[str, Any]
    """Value of each drawn setting."""
    end: End
    rounds: list[int] = field(default_factory=list)
    """Rounds with an evaluation."""
    accuracies: list[float] = field(default_factory=list)
    """Test accuracy of each evaluation, 0..1."""
    virtual_time: float = 0.0
    """Virtual seconds at the last evaluation."""

    @property
    def score(self) -> float:
        """Score of the trial: the mean test accuracy of the last five evaluations, or of all if there are fewer."""
        return score_curve(self.accuracies)

    @property
    def name(self) -> str:
        """Display name of the trial."""
        return name_trial(self.number, self.point)

    @property
    def folder(self) -> str:
        """Folder of its run, relative to the sweep's folder."""
        return locate_trial(self.number)


@dataclass(frozen=True)
class Sweep:
    """Results of `fedqs tune`, and their folder."""

    folder: Path
    trials: list[Trial]
    """Best first."""
    logarithmic: tuple[str, ...] = ()
    """Settings drawn on a logarithmic scale."""

    def markdown(self) -> str:
        """The table in Markdown."""
        return format_markdown(tabulate_trials(self.trials)) + "\n"


def locate_trial(number: int) -> str:
    """Locate the folder of a trial's run, relative to the sweep's folder."""
    return f"trials/{number:03}"


def format_drawn(value: Any) -> str:
    """Format a drawn value for tables and messages."""
    return "unset" if value is None else str(value)


def are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points are the same, also if one of them was read from a table, where values may be text."""
    return one.keys() == other.keys() and all(
        one[name] == other[name] or format_drawn(one[name]) == format_drawn(other[name]) for name in one
    )


def name_trial(number: int, point: Mapping[str, Any]) -> str:
    """Name a trial: 'trial 3 (training.lr = 0.1)'."""
    return f"trial {number} ({', '.join(f'{path} = {format_drawn(value)}' for path, value in point.items())})"


def score_curve(accuracies: Sequence[float]) -> float:
    """Score evaluations: the mean of the last five accuracies; 0 if there are none."""
    return float(smooth(accuracies)[-1]) if accuracies else 0.0


def rank_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Rank trials, best first: finished ones by score, then stopped and failed ones by their last round."""
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
    """Read the trials of sweep.parquet, with values as stored there. Raises `RunFolderError` if it is damaged."""
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
    """Tabulate the trials, best first; the first line is the heading."""
    order = rank_trials(trials)
    lines = [["trial", *order[0].point, "accuracy, %", "best, %", "rounds", "end"]]
    for trial in order:
        values = [format_drawn(value) for value in trial.point.values()]
        best = max(trial.accuracies, default=math.nan)
        figures = [f"{100 * trial.score:.2f}", f"{100 * best:.2f}", str(max(trial.rounds, default=0))]
        lines.append([str(trial.number), *values, *figures, trial.end])
    return lines
