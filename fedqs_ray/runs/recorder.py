"""The recorder of a run folder: writes the rows that it receives into files."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import save_file

from fedqs_ray.core.interfaces import Observer
from fedqs_ray.core.rows import ClientRow, JobRow, LabelRow, RoundRow, Snapshot
from fedqs_ray.core.types import Vector
from fedqs_ray.runs.checkpoints import list_checkpoints, save_checkpoint
from fedqs_ray.runs.layout import MODEL
from fedqs_ray.runs.tables import SCHEMAS, TableWriter, read_table, replace_file

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Real seconds from the start of a run to a version."""

    round: int
    seconds: float


class FolderRecorder:
    """Writes a run folder. Opens its files at the first row, in the process that gets it.

    `rows` are how many rows of a table stay, where a run goes on from a checkpoint. `observers` get every row of
    rounds.parquet.
    """

    def __init__(self, folder: Path, rows: Mapping[str, int] | None = None, observers: Sequence[Observer] = ()) -> None:
        self.folder, self.rows, self.observers = folder, rows or {}, observers
        self._writers: dict[str, TableWriter] = {}
        self._began = 0.0

    def job(self, row: JobRow) -> None:
        self._append("arrivals", row)
        if row.rejection:
            facts = {"client": row.client, "attempt": row.attempt, "version": row.version, "reason": row.rejection}
            log.warning("update rejected", extra=facts)

    def round(self, row: RoundRow) -> None:
        self._open()  # the clock starts
        # Real seconds are kept apart: the other tables are the same bytes in every repetition.
        self._append("timing", Timing(row.round, time.perf_counter() - self._began))
        self._append("rounds", row)
        for observer in self.observers:
            observer.row(row)

    def save(self, state: Snapshot) -> None:
        began = time.perf_counter()
        self._open()
        for writer in self._writers.values():
            writer.flush()
        path = save_checkpoint(self.folder, state)
        facts = {"file": path.name, "bytes": path.stat().st_size, "seconds": round(time.perf_counter() - began, 3)}
        log.info("checkpoint saved", extra=facts)

    def finish(self, clients: list[ClientRow], labels: list[LabelRow], model: dict[str, Vector]) -> None:
        for client in clients:
            self._append("clients", client)
        for label in labels:
            self._append("labels", label)
        for writer in self._writers.values():
            writer.close()
        with replace_file(self.folder / MODEL) as path:
            save_file(model, path)
        for old in list_checkpoints(self.folder)[1:]:
            old.unlink()

    def _append(self, table: str, row: object) -> None:
        self._open()
        self._writers[table].append(row)

    def _open(self) -> None:
        if self._writers:
            return
        measured = self.rows.get("rounds", 0)
        earlier = read_table(self.folder, "timing")["seconds"][:measured] if measured else []
        self._began = time.perf_counter() - (earlier[-1].as_py() if earlier else 0.0)
        keep = {**self.rows, "timing": measured}
        for name in SCHEMAS:
            self._writers[name] = TableWriter(self.folder, name, keep.get(name, 0))
