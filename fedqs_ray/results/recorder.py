"""The recorder: receives rows, writes files, answers nothing."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import save_file

from fedqs_ray.messages import ClientRow, JobRow, RoundRow, State, Vector
from fedqs_ray.results import checkpoints, tables
from fedqs_ray.results.tables import TableWriter, whole


@dataclass(frozen=True, slots=True)
class Timing:
    """Real time, for a version."""

    round: int
    seconds: float


class FolderRecorder:
    """Writes a run folder. Opens its files at the first row, in the process that gets it.

    `rows` are how many rows of a table stay, where a run goes on from a checkpoint.
    """

    def __init__(self, folder: Path, rows: Mapping[str, int] | None = None) -> None:
        self.folder, self.rows = folder, rows or {}
        self._writers: dict[str, TableWriter] = {}
        self._began = 0.0

    def job(self, row: JobRow) -> None:
        self._append("arrivals", row)

    def round(self, row: RoundRow) -> None:
        # Real seconds are kept apart: the other tables are the same bytes in every repetition.
        self._append("timing", Timing(row.round, time.perf_counter() - self._began))
        self._append("rounds", row)

    def save(self, state: State) -> None:
        self._open()
        for writer in self._writers.values():
            writer.flush()
        checkpoints.save(self.folder, state)

    def finish(self, clients: list[ClientRow], model: dict[str, Vector]) -> None:
        for row in clients:
            self._append("clients", row)
        for writer in self._writers.values():
            writer.close()
        with whole(self.folder / "model.safetensors") as path:
            save_file(model, path)
        for old in checkpoints.found(self.folder)[1:]:
            old.unlink()

    def _append(self, table: str, row: object) -> None:
        self._open()
        self._writers[table].append(row)

    def _open(self) -> None:
        if self._writers:
            return
        measured = self.rows.get("rounds", 0)
        earlier = tables.read(self.folder, "timing")["seconds"][:measured] if measured else []
        self._began = time.perf_counter() - (earlier[-1].as_py() if earlier else 0.0)
        keep = {**self.rows, "timing": measured}
        for name in tables.SCHEMAS:
            self._writers[name] = TableWriter(self.folder, name, keep.get(name, 0))
