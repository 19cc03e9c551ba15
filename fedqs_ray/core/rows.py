"""Rows of a run's tables, its progress, and the snapshot that a checkpoint holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fedqs_ray.core.types import ClientType, Outcome, Rejection


@dataclass(frozen=True, slots=True)
class JobRow:
    """One dispatched job and its outcome. The columns of arrivals.parquet."""

    client: int
    attempt: int
    version: int
    start: float
    end: float
    outcome: Outcome
    round: int | None = None
    """The version that its update was aggregated into."""
    staleness: int | None = None
    samples: int | None = None
    client_type: ClientType | None = None
    lr: float | None = None
    momentum: float | None = None
    feedback: bool | None = None
    angle: float | None = None
    weight: float | None = None
    train_loss: float | None = None
    rejection: Rejection | None = None
    """Reason for which the server rejected the update."""


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One version of the global model. The columns of rounds.parquet."""

    round: int
    time: float
    """Virtual seconds."""
    accuracy: float | None
    loss: float | None
    staleness_mean: float | None
    staleness_max: int | None
    feedback: int
    """Arrivals of this round with feedback."""
    train_loss: float | None
    dispatched: int
    arrived: int
    lost: int
    rejected: int
    """Counted from the start of the run."""
    divergence: float | None = None
    gradient_bound: float | None = None
    """With `run.theory`: estimates of delta^2 and G_c^2; see simulation/theory.py."""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One client at the end of the run. The columns of clients.parquet."""

    client: int
    samples: int
    validation_samples: int
    labels: tuple[int, ...]
    """Samples of each label, training and validation together."""
    dispatched: int
    aggregated: int
    lr: float
    angle: float | None
    accuracy: float | None = None
    """Of the last model on the client's validation samples, 0..1; None where it has none."""
    name: str | None = None
    """Its name in the source; None where it has none."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label at the end of the run. The columns of labels.parquet."""

    label: int
    samples: int
    """Test samples."""
    accuracy: float | None
    """Of the last model on them, 0..1; None where there are none."""
    name: str | None = None
    """Its name in the source; None where it has none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress report of a run, once a round."""

    round: int
    rounds: int
    time: float
    updates: int
    """Aggregated since the start of the run; likewise `lost` and `rejected`."""
    accuracy: float | None
    """Of the newest version already evaluated."""
    evaluations: tuple[tuple[int, float], ...] = ()
    """Versions evaluated since the previous report, and their accuracies."""
    loss: float | None = None
    """Likewise of the newest version already evaluated."""
    staleness: float | None = None
    """Mean over the updates of the newest version."""
    lost: int = 0
    rejected: int = 0
    training: int = 0
    """Clients in training."""
    buffered: int = 0
    """Updates in the buffer."""
    retries: int = 0
    """Jobs repeated because their actor died."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of a run between two events, the content of a checkpoint."""

    facts: dict[str, Any]
    """Everything but the arrays, as JSON."""
    arrays: Iterable[tuple[str, NDArray[Any]]]
    """Named arrays, to be read once: the columns of the client table, model versions, updates."""
