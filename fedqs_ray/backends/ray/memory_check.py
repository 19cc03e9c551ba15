"""Memory check before a run starts: how much its model versions and client states will take."""

import logging

import psutil

from fedqs_ray.backends.ray.resources import measure_object_store
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.interfaces import Algorithm, Scenario
from fedqs_ray.simulation.dry_run import measure_peak
from fedqs_ray.tasks.samples import Dataset

GIB = 2**30
SMALL = 2**28
"""Bytes that are not worth a check."""

LIGHT = {"mlp", "fcn"}
MANY = 5000
"""Models, and a number of clients, below which a run takes too little to check."""

log = logging.getLogger(__name__)


def check_memory(experiment: Experiment, scenario: Scenario, algorithm: Algorithm, dataset: Dataset) -> float:
    """Bytes of model versions and client states at the peak of a run; 0 where they are too few to check.

    A lower bound for a run of very many jobs, which is not rehearsed to its end. Warns where it is more than the object
    store holds in memory, so that Ray will spill to disk; raises `ConfigError` where the versions alone do not fit.
    """
    if experiment.task.model in LIGHT and experiment.clients.count < MANY:
        return 0.0
    from fedqs_ray.tasks.models import count_numbers  # torch: a second to import

    length = count_numbers(experiment.task.model, dataset.shape, dataset.classes, dataset.vocabulary)
    size = 4 * length
    if size * (2 * experiment.clients.count + 2) < SMALL:
        return 0.0
    peak = measure_peak(experiment, scenario, algorithm, length)
    sketch = getattr(experiment.algorithm, "sketch_dim", None) or length
    versions, updates = peak.versions * size, peak.client_states * 4 * min(length, sketch)
    store = measure_object_store()
    needed = versions + updates
    parts = f"{peak.versions} model versions"
    if updates:
        parts += f" and {peak.client_states} client states"
    text = f"{'at least ' * peak.cut}{needed / GIB:.1f} GiB for {parts} of {size / 2**20:.0f} MiB"
    if versions > min(0.75 * store, psutil.virtual_memory().total):
        raise ConfigError(
            f"clients.count = {experiment.clients.count}: the run needs {text} at a time, and Ray's object store "
            f"holds {store / GIB:.1f} GiB; a smaller clients.concurrency needs fewer versions"
        )
    if needed > 0.75 * store:
        log.warning("this run needs %s; Ray keeps %.1f GiB in memory and the rest on disk", text, store / GIB)
    return float(needed)
