"""The recorder: receives rows, writes files, answers nothing."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from fedqs_ray.messages import ClientRow, JobRow, RoundRow, Vector
from fedqs_ray.results.tables import TableWriter, whole


class FolderRecorder:
    """Writes a run folder. Opens its files at the first row, in the process that gets it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, TableWriter] = {}
        self._began = 0.0

    def job(self, row: JobRow) -> None:
        self._append("arrivals", asdict(row))

    def round(self, row: RoundRow) -> None:
        self._append("rounds", asdict(row))
        # Real seconds are kept apart: the other tables are the same bytes in every repetition.
        self._append("timing", {"round": row.round, "seconds": time.perf_counter() - self._began})

    def finish(self, clients: list[ClientRow], model: dict[str, Vector]) -> None:
        for row in clients:
            self._append("clients", asdict(row))
        for writer in self._writers.values():
            writer.close()
        with whole(self.folder / "model.safetensors") as path:
            path.write_bytes(save(model))

    def _append(self, table: str, row: dict[str, Any]) -> None:
        if not self._writers:
            self._began = time.perf_counter()
            for name in ("rounds", "arrivals", "timing", "clients"):
                self._writers[name] = TableWriter(self.folder, name)
        self._writers[table].append(row)
