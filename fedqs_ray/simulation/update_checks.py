"""Checks of updates that arrive and of models that an algorithm returns."""

import math
from collections.abc import Callable

import numpy as np

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.interfaces import Aggregation, Round
from fedqs_ray.core.types import Rejection, Update, Vector, is_vector


def check_update(update: Update, length: int, max_norm: float | None, vector: Callable[[], Vector]) -> Rejection | None:
    """Reason to reject an update for a model of `length` numbers; None if there is none.

    `vector` fetches d_i; called only where its largest number does not decide.
    """
    if update.vector is not None and update.vector.shape != (length,):
        return "wrong length"
    if not math.isfinite(update.largest):
        return "not finite"
    if max_norm is not None and update.largest * math.sqrt(length) > max_norm:
        return "too large" if float(np.linalg.norm(vector().astype(np.float64))) > max_norm else None
    return None


def check_aggregation(made: Aggregation, shown: Round) -> str | None:
    """Reason why an algorithm's result cannot be the next version; None if there is none."""
    if not isinstance(made, Aggregation) or not isinstance(made.model, np.ndarray):
        return f"{made!r:.60}; must be an Aggregation with a model"
    if not all(isinstance(array, np.ndarray) for array in made.state.values()):
        return "a state that is not all NumPy arrays"
    if made.extra is not None and not is_usable(made.extra):
        return "an extra vector that is no vector of finite float32"
    if made.model.shape != shown.model.shape:
        return f"a model of {made.model.size} numbers; must have {shown.model.size}"
    if made.model.dtype != np.float32:
        return f"a model of {made.model.dtype}; must be float32"
    if len(made.weights) != len(shown.arrivals):
        return f"{len(made.weights)} weights; must be one for each of {len(shown.arrivals)} arrivals"
    if made.model is not shown.model and not np.isfinite(made.model).all():
        return "a model with numbers that are not finite"
    return None


def is_usable(vector: object) -> bool:
    """Whether something is a vector of finite float32."""
    return is_vector(vector) and bool(np.isfinite(vector).all())


def advise(why: Rejection, experiment: Experiment) -> str:
    """Advice for a run in which every update is rejected."""
    match why:
        case "not finite":
            return f"training diverged; try a smaller training.lr than {experiment.training.lr}"
        case "too large":
            return f"server.max_update_norm = {experiment.server.max_update_norm} may be too small"
        case "wrong length":
            return "they do not fit the model"
