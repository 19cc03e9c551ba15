"""Summary figures of one run's accuracy curve, as the FedQS paper's table defines them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LATE = 20
"""Rounds at the end of a run that `late` looks at."""
SMOOTHING = 5
"""Evaluations in the moving average that convergence is judged by."""


def smooth(accuracy: Sequence[float]) -> NDArray[np.float64]:
    """Mean of each evaluation and up to four before it."""
    values = np.asarray(accuracy, np.float64)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, values.size + 1)
    starts = np.maximum(0, ends - SMOOTHING)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def find_first_round(rounds: Sequence[int], accuracy: Sequence[float], target: float) -> int | None:
    """The first round whose smoothed accuracy reaches `target` (0..1); None if none does."""
    reached = np.flatnonzero(smooth(accuracy) >= target - 1e-12)
    return rounds[int(reached[0])] if reached.size else None


def count_rounds_to_95(rounds: Sequence[int], accuracy: Sequence[float]) -> int | None:
    """Convergence: the first round whose smoothed accuracy reaches 95% of the best smoothed accuracy."""
    if not len(accuracy):
        return None
    return find_first_round(rounds, accuracy, 0.95 * float(smooth(accuracy).max()))


def measure_stability(accuracy: Sequence[float]) -> float | None:
    """Mean absolute change between evaluations over the last quarter: smaller is steadier."""
    tail = np.asarray(accuracy[-max(2, len(accuracy) // 4) :], np.float64)
    return float(np.abs(np.diff(tail)).mean()) if tail.size > 1 else None


def average_late(rounds: Sequence[int], accuracy: Sequence[float]) -> float:
    """Mean accuracy over the evaluations of the last 20 rounds."""
    return float(np.mean([a for number, a in zip(rounds, accuracy, strict=True) if number > rounds[-1] - LATE]))
