"""Durations of attempts, in virtual seconds: pure functions of the seed and a `Start`."""

import math
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np

from fedqs_ray.config.scenarios import (
    Dropout,
    Dynamic,
    Exponential,
    Lognormal,
    Pareto,
    ScenarioConfig,
    Static,
    TraceConfig,
    Unstable,
)
from fedqs_ray.core.random import stream
from fedqs_ray.core.types import Start
from fedqs_ray.scenarios.availability import Trace

Draw = Callable[[np.random.Generator], float]


class Durations(Protocol):
    """Durations of attempts, always positive."""

    def __call__(self, start: Start) -> float:
        """Duration of an attempt."""


def build_durations(config: ScenarioConfig, seed: int, rounds: int, trace: Trace | None) -> Durations:
    """Build the durations of a scenario."""
    match config:
        case TraceConfig():
            assert trace is not None, "a trace scenario is built with its trace"
            return trace
        case Static() | Dropout():
            return Drawn(seed, draw_whole_number(config.ratio), "client")
        case Unstable():
            return Drawn(seed, draw_whole_number(config.ratio), "attempt")
        case Dynamic():
            return Phases(seed, config.ratios, rounds)
        case Lognormal():
            return Drawn(seed, lambda d: config.median * math.exp(config.sigma * d.standard_normal()), config.drawn_per)
        case Pareto():
            return Drawn(seed, lambda d: config.minimum * (1.0 + d.pareto(config.shape)), config.drawn_per)
        case Exponential():
            return Drawn(seed, lambda d: d.exponential(config.mean), config.drawn_per)


def draw_whole_number(ratio: int) -> Draw:
    """Draw uniformly from 1..ratio: the FedQS paper's "resources 1:R"."""
    return lambda draw: float(draw.integers(1, ratio, endpoint=True))


class Drawn:
    """Durations from one distribution for all clients, drawn once for each client or for every attempt."""

    def __init__(self, seed: int, draw: Draw, per: Literal["client", "attempt"]) -> None:
        self.seed, self.draw, self.per = seed, draw, per
        self._drawn: dict[int, float] = {}

    def __call__(self, start: Start) -> float:
        """See `Durations`."""
        if self.per == "attempt":
            return self.draw(stream(self.seed, "resource", start.client, start.attempt))
        if start.client not in self._drawn:
            self._drawn[start.client] = self.draw(stream(self.seed, "resource", start.client))
        return self._drawn[start.client]


class Phases:
    """Durations in phases, equal parts of the run with a ratio each; drawn once for each client and phase."""

    def __init__(self, seed: int, ratios: tuple[int, ...], rounds: int) -> None:
        self.seed, self.ratios, self.rounds = seed, ratios, rounds

    def __call__(self, start: Start) -> float:
        """See `Durations`."""
        phase = min(start.version * len(self.ratios) // self.rounds, len(self.ratios) - 1)
        return draw_whole_number(self.ratios[phase])(stream(self.seed, "resource", start.client, phase))
