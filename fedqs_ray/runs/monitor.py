"""Monitor of a run in progress, in a folder or a store: polls its files, never writes."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import FedqsError, RunFolderError
from fedqs_ray.runs.lock import is_locked
from fedqs_ray.runs.result import Result
from fedqs_ray.runs.tables import ROUNDS, has_ended, read_table

SILENCE = 10.0
"""Real seconds without anything written after which the run is reported as silent, and reported again."""
GONE = 5.0
"""Real seconds without anything written and without a holder of the lock, after which the run counts as over."""
ELSEWHERE = 10.0
"""Real seconds between two looks at a run in a store, whose copy there is renewed at every checkpoint."""


@dataclass
class RunMonitor:
    """State of a run, read from its folder at each `look`."""

    folder: str | Path
    """A path, or a URI."""
    rounds: pa.Table = field(default_factory=ROUNDS.empty_table)
    seconds: list[float] = field(default_factory=list)
    """Real seconds since the run began, for each row of `rounds`, perhaps not yet for the last ones."""
    silent: float = 0.0
    """Real seconds since anything was written."""
    finished: bool = False
    """Whether it completed all rounds."""
    over: bool = False
    """Whether it has ended, finished or not."""
    reason: str = ""
    """The logged reason why it ended before its last round; empty where there is none."""
    _failures: int = 0

    def __post_init__(self) -> None:
        self.experiment: Experiment = Result(self.folder).experiment
        self.look()

    def look(self) -> None:
        """Read the folder again. Raises `RunFolderError` where that fails again and again."""
        try:
            self._read()
            self._failures = 0
        except (OSError, ValueError) as error:  # a table may just be on its way from one file to another
            self._failures += 1
            if self._failures > 3:
                raise error if isinstance(error, FedqsError) else RunFolderError(f"{self.folder}: {error}") from None

    def _read(self) -> None:
        folder = Path(self.folder)
        ended, held = has_ended(folder), is_locked(folder)
        self.silent = max(0.0, time.time() - max(path.stat().st_mtime for path in folder.iterdir()))
        self.over = (ended and not held) or ((ended or not held) and self.silent > GONE)
        self._conclude(ended)
        self.rounds = read_table(folder, "rounds")
        if len(self.rounds):  # before its first row a run has no table of times
            self.seconds = read_table(folder, "timing")["seconds"].to_pylist()

    def _conclude(self, ended: bool) -> None:
        """Set `reason` and `finished`. A run that stopped early also leaves its last tables."""
        last = Result(self.folder).log[-1:] if self.over else []
        self.reason = next((line["reason"] for line in last if line.get("event") == "run stopped"), "")
        self.finished = ended and not self.reason

    def column(self, name: str) -> NDArray[np.float64]:
        """A column of `rounds`, with NaN for what is missing."""
        return self.rounds[name].to_numpy().astype(np.float64)  # type: ignore[no-any-return]

    @property
    def quiet(self) -> bool:
        """Whether nothing was written for more than `SILENCE` seconds."""
        return self.silent > SILENCE and not self.over

    @property
    def state(self) -> str:
        """The state in a few words."""
        if self.over:
            return "finished" if self.finished else "stopped"
        return f"nothing written for {self.silent:,.0f} s" if self.quiet else "running"

    @property
    def speeds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rounds, and aggregated updates a real second since the one before; about sixty of them."""
        seconds = np.asarray(self.seconds[: len(self.rounds)])
        if seconds.size < 2:
            return np.empty(0), np.empty(0)
        marks = np.unique(np.searchsorted(seconds, np.linspace(seconds[0], seconds[-1], 61)))
        rates = np.diff(self.column("arrived")[marks]) / np.maximum(np.diff(seconds[marks]), 1e-3)
        return self.column("round")[marks[1:]], rates

    def last(self) -> dict[str, Any]:
        """The newest row of `rounds`, with the newest accuracy and loss and the mean speed; empty at first."""
        if not len(self.rounds):
            return {}
        row: dict[str, Any] = self.rounds.slice(len(self.rounds) - 1).to_pylist()[0]
        for name in ("accuracy", "loss", "staleness_mean"):
            known = self.rounds[name].drop_null()
            row[name] = known[-1].as_py() if len(known) else np.nan
        _, rates = self.speeds
        row["speed"] = rates[-1] if rates.size else np.nan
        row["seconds"] = self.seconds[-1] if self.seconds else 0.0
        return row


@dataclass
class StoreMonitor(RunMonitor):
    """Monitor of a run whose folder is a URI, where an unfinished run cannot be told from one that was killed."""

    _next: float = 0.0
    _changed: float = field(default_factory=time.time)

    def _read(self) -> None:
        if (now := time.time()) >= self._next:
            found = Result(self.folder)
            self._changed = now if len(found.rounds) > len(self.rounds) else self._changed
            self.rounds, self.over = found.rounds, found.finished
            self.seconds = found.timing["seconds"].to_pylist() if len(self.rounds) else []
            self._conclude(self.over)
            self._next = now + ELSEWHERE
        self.silent = now - self._changed

    @property
    def quiet(self) -> bool:
        return False

    @property
    def state(self) -> str:
        return super().state if self.over else f"at its last checkpoint, {self.silent:,.0f} s ago or more"
