"""Results: a run folder opened from Python."""

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.runs.curves import count_rounds_to_95, measure_stability
from fedqs_ray.runs.layout import CONFIG, LOG, MODEL
from fedqs_ray.runs.location import find_local_folder
from fedqs_ray.runs.log import read_log
from fedqs_ray.runs.settings import load_run_settings
from fedqs_ray.runs.store import FetchedFiles
from fedqs_ray.runs.tables import has_ended, read_table


@dataclass(frozen=True)
class Summary:
    """Summary figures of a run. Accuracies are 0..1; None where the run was too short for a figure."""

    best_accuracy: float
    final_accuracy: float
    rounds: int
    rounds_to_95: int | None
    """First round whose smoothed accuracy reached 95% of the best smoothed accuracy."""
    stability: float | None
    """Mean absolute change of accuracy between evaluations over the last quarter."""
    virtual_time: float
    """Virtual seconds."""
    mean_staleness: float | None
    updates: int
    """Aggregated."""
    lost: int
    rejected: int
    rejections: dict[str, int]
    """Rejected updates by reason."""
    seconds: float
    """Real seconds from the first to the last version."""

    @property
    def updates_per_second(self) -> float:
        """Aggregated updates a real second."""
        return self.updates / self.seconds if self.seconds else 0.0

    def lines(self) -> dict[str, str]:
        """The figures as label and text."""
        found = {
            "best accuracy": f"{self.best_accuracy:.2%}",
            "final accuracy": f"{self.final_accuracy:.2%}",
            "rounds to 95%": "-" if self.rounds_to_95 is None else f"{self.rounds_to_95} of {self.rounds}",
            "stability": "-" if self.stability is None else f"{100 * self.stability:.2f} points",
            "virtual time": f"{self.virtual_time:,.0f} s",
            "mean staleness": "-" if self.mean_staleness is None else f"{self.mean_staleness:.2f}",
            "updates": f"{self.updates:,}",
            "updates/s": f"{self.updates_per_second:,.0f}",
        }
        if self.lost or self.rejected:
            found["lost, rejected"] = f"{self.lost:,}, {self.rejected:,}"
        if self.rejections:
            found["rejected"] = ", ".join(f"{count:,} {reason}" for reason, count in self.rejections.items())
        return found


class Result:
    """A run folder; tables are read at their first use."""

    def __init__(self, folder: str | Path) -> None:
        """A path, or a URI from which files are fetched when they are needed.

        Raises `RunFolderError` if `folder` does not hold a run.
        """
        here = find_local_folder(folder)
        self._fetched = None if here else FetchedFiles(str(folder))
        self.place = self._fetched.store.name if self._fetched else str(here)
        """The folder's location, as shown to users."""
        self.folder = self._fetched.folder if self._fetched else Path(self.place)
        """The folder itself; for a URI, a temporary folder with the files fetched so far, removed with this object."""
        try:
            self._fetch("rounds.parquet", "rounds.arrows")
            found = any((self.folder / f"rounds{suffix}").exists() for suffix in (".parquet", ".arrows"))
        except OSError as error:
            raise RunFolderError(f"{self.place}: cannot be read: {error.strerror}") from None
        if not found:
            raise RunFolderError(f"{self.place}: not a run folder, it has no rounds.parquet")

    def _fetch(self, *names: str) -> None:
        """Fetch files into `folder`, if they exist."""
        if self._fetched:
            self._fetched.get(*names)

    def _table(self, name: str) -> pa.Table:
        self._fetch(f"{name}.parquet", f"{name}.arrows")
        return read_table(self.folder, name)

    @property
    def settings_file(self) -> Path:
        """config.toml."""
        self._fetch(CONFIG)
        return self.folder / CONFIG

    @cached_property
    def experiment(self) -> Experiment:
        """The configuration that ran."""
        return load_run_settings(self.settings_file)

    @cached_property
    def rounds(self) -> pa.Table:
        """One row a version."""
        return self._table("rounds")

    @cached_property
    def arrivals(self) -> pa.Table:
        """One row a dispatched job."""
        return self._table("arrivals")

    @cached_property
    def clients(self) -> pa.Table:
        """One row a client; empty if the run did not end."""
        return self._table("clients")

    @cached_property
    def labels(self) -> pa.Table:
        """One row a label: how well the last model knows it; empty if the run did not end, or on Flower's nodes."""
        return self._table("labels")

    @cached_property
    def timing(self) -> pa.Table:
        """Real seconds since the start, for each version."""
        return self._table("timing")

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """Events of the run itself, one a line; see docs/observability.md. An incomplete last line is left out."""
        self._fetch(LOG)
        return read_log(self.folder)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        names = self._fetched.names if self._fetched else ()
        return MODEL in names or has_ended(self.folder)

    @cached_property
    def model(self) -> dict[str, NDArray[np.float32]]:
        """The last version as named tensors. Raises `RunFolderError` if the run did not end, or the file is damaged."""
        self._fetch(MODEL)
        path = self.folder / MODEL
        try:
            tensors: dict[str, NDArray[np.float32]] = load_file(path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:300]
            raise RunFolderError(f"{path}: cannot be read: {reason}") from None
        return tensors

    def evaluations(self) -> Mapping[str, list[Any]]:
        """The columns of `rounds` where an accuracy was measured."""
        found: dict[str, list[Any]] = self.rounds.filter(pc.is_valid(self.rounds["accuracy"])).to_pydict()
        return found

    @cached_property
    def summary(self) -> Summary:
        """The run's figures. Raises `RunFolderError` if it was cut off before its first evaluation."""
        measured = self.evaluations()
        if not measured["accuracy"]:
            raise RunFolderError(f"{self.place}: the run was cut off before its first evaluation")
        last = self.rounds.slice(len(self.rounds) - 1).to_pylist()[0]
        return Summary(
            best_accuracy=max(measured["accuracy"]),
            final_accuracy=measured["accuracy"][-1],
            rounds=last["round"],
            rounds_to_95=count_rounds_to_95(measured["round"], measured["accuracy"]),
            stability=measure_stability(measured["accuracy"]),
            virtual_time=last["time"],
            mean_staleness=pc.mean(self.arrivals["staleness"]).as_py(),
            updates=last["arrived"],
            lost=last["lost"],
            rejected=last["rejected"],
            rejections=Counter(sorted(self.arrivals["rejection"].drop_null().to_pylist())),
            seconds=self.timing["seconds"][-1].as_py() if len(self.timing) else 0.0,
        )

    def to_pandas(self) -> Any:
        """`rounds` as a pandas DataFrame. Raises ImportError where pandas is not installed."""
        return self.rounds.to_pandas()

    def upload(self, *paths: Path) -> None:
        """Send files of `folder` to the store that the run is in, if it is in one. Raises `RunFolderError`."""
        if self._fetched:
            self._fetched.put(*paths)

    def __repr__(self) -> str:
        return f"Result({self.place!r})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in self.summary.lines().items())
        return f"<table>{rows}<tr><th>folder</th><td>{html.escape(self.place)}</td></tr></table>"
