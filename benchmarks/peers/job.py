"""The common job: 100 clients, an 11-500-2 FCN, 256 training samples each, batch 50, 2 local epochs, K = 10.

Needs torch and numpy only, so that it can be imported next to any of the other simulators.
"""

import json
import time
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

CLIENTS, FEATURES, TRAIN, BATCH, EPOCHS, LR, CLIP, BUFFER = 100, 11, 256, 50, 2, 0.1, 20.0, 10
WARM_UP = 5 * BUFFER
"""Updates that are not timed: processes start, caches fill."""


def samples(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(count, 11) features and labels that a plane divides, with noise."""
    draw = np.random.default_rng(0)
    features = draw.standard_normal((count, FEATURES)).astype(np.float32)
    labels = features @ draw.standard_normal(FEATURES) + 0.5 * draw.standard_normal(count) > 0
    return features, labels.astype(np.int64)


def clients() -> tuple[torch.Tensor, torch.Tensor]:
    """Features (clients, samples, 11) and labels (clients, samples)."""
    features, labels = samples(CLIENTS * TRAIN)
    return torch.from_numpy(features).view(CLIENTS, TRAIN, FEATURES), torch.from_numpy(labels).view(CLIENTS, TRAIN)


def network() -> nn.Module:
    """The FCN."""
    return nn.Sequential(nn.Linear(FEATURES, 500), nn.ReLU(), nn.Dropout(0.3), nn.Linear(500, 2))


def train(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> None:
    """Local training, written plainly: 12 steps of SGD with clipping."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(labels)), BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(features[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()


class Meter:
    """Counts updates that reached the server, from the end of the warm-up."""

    def __init__(self) -> None:
        self.arrived = 0
        self.began = (0, 0.0)
        self.last = 0.0

    def add(self, updates: int = 1) -> None:
        self.arrived += updates
        self.last = time.perf_counter()
        if self.began[0] == 0 and self.arrived >= WARM_UP:
            self.began = (self.arrived, self.last)

    def report(self, *packages: str) -> None:
        """One line of JSON: updates a second, and the versions of the packages."""
        speed = (self.arrived - self.began[0]) / (self.last - self.began[1])
        print(json.dumps({"updates_per_second": speed, "versions": {name: version(name) for name in packages}}))
