"""TensorBoard writer: every row of rounds.parquet as scalars, during the run.

What TensorBoard calls wall time is virtual time here, so its axis "relative" shows that. A run that goes on writes its
earlier rows anew instead of adding to an old file, whose last steps may belong to a future that never came.
"""

from collections.abc import Iterator
from pathlib import Path

from fedqs_ray.core.interfaces import Observer
from fedqs_ray.core.rows import RoundRow
from fedqs_ray.runs.layout import TENSORBOARD
from fedqs_ray.runs.tables import read_table

TAGS = {
    "accuracy": "test/accuracy",
    "loss": "test/loss",
    "train_loss": "train/loss",
    "staleness_mean": "staleness/mean",
    "staleness_max": "staleness/max",
    "feedback": "round/feedback",
    "time": "round/virtual_time",
    "dispatched": "jobs/dispatched",
    "arrived": "jobs/arrived",
    "lost": "jobs/lost",
    "rejected": "jobs/rejected",
    "divergence": "theory/divergence",
    "gradient_bound": "theory/gradient_bound",
}
"""Tags by the columns of rounds.parquet."""


def list_event_files(folder: Path) -> Iterator[Path]:
    """The files of a run for TensorBoard."""
    if not (folder / TENSORBOARD).is_symlink():
        yield from (folder / TENSORBOARD).glob("events.out.tfevents.*")


class TensorBoardWriter(Observer):
    """Writes tensorboard/ in a run folder; `rows` of rounds.parquet are there already and go first."""

    def __init__(self, folder: Path, rows: int = 0) -> None:
        self.folder, self.rows = folder, rows

    def begin(self) -> None:
        from torch.utils.tensorboard import SummaryWriter  # torch: seconds to import

        for old in list(list_event_files(self.folder)):
            old.unlink()
        # Step 0: readers drop the steps of old files.
        self._writer = SummaryWriter(self.folder / TENSORBOARD, purge_step=0)
        for row in read_table(self.folder, "rounds").slice(0, self.rows).to_pylist() if self.rows else []:
            self._add(RoundRow(**row))

    def row(self, row: RoundRow) -> None:
        self._add(row)
        self._writer.flush()

    def end(self, error: BaseException | None) -> None:  # noqa: ARG002
        self._writer.close()

    def _add(self, row: RoundRow) -> None:
        for column, tag in TAGS.items():
            if (value := getattr(row, column)) is not None:
                self._writer.add_scalar(tag, value, row.round, walltime=row.time)
