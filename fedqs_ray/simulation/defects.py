"""Updates that the server leaves out."""

import numpy as np

from fedqs_ray.config import Experiment
from fedqs_ray.messages import Rejection, Update


def defect(update: Update, length: int, max_norm: float | None) -> Rejection | None:
    """Why an update for a model of `length` numbers cannot be used; None if it can."""
    if update.delta.shape != (length,):
        return "wrong length"
    if not update.finite:
        return "not finite"
    if max_norm is not None and float(np.linalg.norm(update.delta.astype(np.float64))) > max_norm:
        return "too large"
    return None


def advice(why: Rejection, experiment: Experiment) -> str:
    """What to do about it, where every update is rejected."""
    match why:
        case "not finite":
            return f"training diverged; try a smaller training.lr than {experiment.training.lr}"
        case "too large":
            return f"server.max_update_norm = {experiment.server.max_update_norm} may be too small"
        case "wrong length":
            return "they do not fit the model"
