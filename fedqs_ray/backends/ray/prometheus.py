"""Prometheus metrics of a run, through Ray's own exporter: Prometheus reads them from every node's metrics port.

On a private Ray no one reads them, and they cost microseconds a second. Prometheus sees names that start with `ray_`;
those of counters end with `_total`; docs/grafana.json draws them.
"""

import time
from collections.abc import Callable

from ray.util.metrics import Counter, Gauge

from fedqs_ray.core.interfaces import Observer
from fedqs_ray.core.rows import Progress

SECONDS = 1.0
"""Between two reports to Ray, which sends them on less often."""
GAUGES = {
    "round": "Newest version of the global model",
    "rounds": "Version at which the run ends",
    "time": "Virtual seconds",
    "accuracy": "On the test samples, 0 to 1, of the newest version evaluated",
    "loss": "Cross-entropy on the test samples, of the newest version evaluated",
    "staleness": "Mean over the newest version's updates",
    "training": "Clients under way",
    "buffered": "Updates that wait for their aggregation",
}
COUNTERS = {
    "updates": "Updates aggregated",
    "lost": "Updates lost on the way",
    "rejected": "Updates that the server left out",
    "retries": "Jobs done again because the actor that had them died",
}


def to_ascii(name: str) -> str:
    """A name in ASCII: Ray's tags hold nothing else."""
    return name.encode("ascii", "backslashreplace").decode()


class PrometheusMetrics(Observer):
    """Gauges and counters named `fedqs_` and a field of `Progress`, tagged with the run's folder and algorithm.

    Counters count what this process saw: a run that goes on from a checkpoint starts at 0.
    """

    def __init__(self, run: str, algorithm: str) -> None:
        self.tags = {"run": to_ascii(run), "algorithm": to_ascii(algorithm)}

    def begin(self) -> None:
        keys = tuple(self.tags)
        self._gauges = {name: Gauge(f"fedqs_{name}", text, keys) for name, text in GAUGES.items()}
        self._counters = {name: Counter(f"fedqs_{name}", text, keys) for name, text in COUNTERS.items()}
        for metric in (*self._gauges.values(), *self._counters.values()):
            metric.set_default_tags(self.tags)
        self._seen: Progress | None = None
        self._next = 0.0

    def event(self, look: Callable[[], Progress]) -> None:
        """Report where the run stands, at most once in `SECONDS`."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + SECONDS
        progress = look()
        for name, gauge in self._gauges.items():
            if (value := getattr(progress, name)) is not None:
                gauge.set(value)
        for name, counter in self._counters.items():
            if self._seen and (more := getattr(progress, name) - getattr(self._seen, name)):
                counter.inc(more)
        self._seen = progress
