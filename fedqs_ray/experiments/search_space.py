"""Search space of a sweep: ranges of settings, and the points drawn from them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import assign_setting, parse_value, validate_experiment
from fedqs_ray.config.schema import is_optional, is_whole
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.random import stream
from fedqs_ray.core.text import make_printable, suggest_name

SHAPE = "must look like section.key=log:LOW:HIGH, section.key=uniform:LOW:HIGH or section.key=choice:A,B"
KINDS = ("log", "uniform", "choice")
COMMA = re.compile(r",(?![^\[]*\])")
"""Comma between two values, not inside a list."""
TRIES = 1000
"""Consecutive repeated draws after which a space counts as exhausted."""

Point = Mapping[str, Any]
"""Value of each drawn setting, by its dotted name."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting and its range: two bounds, both included, or a choice of values."""

    path: str
    kind: str
    values: tuple[Any, ...]
    whole: bool

    def draw(self, random: Generator) -> Any:
        """Draw one value; numbers are rounded to four digits."""
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values
        top = high + 1 if self.whole else high
        if self.kind == "log":
            drawn = math.exp(random.uniform(math.log(low), math.log(top)))
        else:
            drawn = random.uniform(low, top)
        return min(max(math.floor(drawn) if self.whole else float(f"{drawn:.4g}"), low), high)


def read_axis(text: str) -> Axis:
    """Read "training.lr=log:0.003:0.3". Raises `ConfigError`."""
    path, equals, rest = text.partition("=")
    path, (kind, _, values) = path.strip(), rest.strip().partition(":")
    name = f"--param {make_printable(text, limit=100)}"
    if not equals or not all(path.split(".")):
        raise ConfigError(f"{name}: {SHAPE}")
    if kind not in KINDS:
        raise ConfigError(
            f"{name}: {make_printable(kind)}: must be one of {', '.join(KINDS)}{suggest_name(kind, KINDS)}"
        )
    if path.partition(".")[0] == "run":
        raise ConfigError(f"{name}: must not be of the section run, which all trials have in common")
    if kind == "choice":
        texts = [part.strip() for part in COMMA.split(values) if part.strip()]
        found = [None if part == "none" and is_optional(path) else parse_value(part) for part in texts]
        if not found or len({repr(value) for value in found}) < len(found):
            raise ConfigError(f"{name}: must be one or more values, each once")
        return Axis(path, kind, tuple(found), whole=False)
    bounds = [parse_value(part.strip()) for part in values.split(":")]
    if len(bounds) != 2 or not all(type(bound) in (int, float) and math.isfinite(bound) for bound in bounds):
        raise ConfigError(f"{name}: must be two numbers, LOW:HIGH")
    if bounds[0] >= bounds[1]:
        raise ConfigError(f"{name}: LOW must be below HIGH")
    if kind == "log" and bounds[0] <= 0:
        raise ConfigError(f"{name}: LOW must be above 0 on a logarithmic scale")
    return Axis(path, kind, tuple(bounds), is_whole(path))


def read_axes(texts: Sequence[str], base: Experiment) -> list[Axis]:
    """Read all ranges, and validate every bound and every choice by itself. Raises `ConfigError`."""
    found = [read_axis(text) for text in texts]
    for number, one in enumerate(found):
        if one.path in [other.path for other in found[:number]]:
            raise ConfigError(f"--param {one.path}: must be given once")
        for value in one.values:
            place_point(base, {one.path: value})
    return found


def place_point(base: Experiment, point: Point) -> Experiment:
    """Copy `base` with the values of a point. Raises `ConfigError`."""
    data = base.model_dump(exclude_unset=True)
    for path, value in point.items():
        assign_setting(data, path.split("."), value)
    return validate_experiment(data)


def draw_points(space: Sequence[Axis], seed: int) -> Iterator[Point]:
    """Draw points without repetition, the same for the same seed; ends where the space seems exhausted."""
    random, missed = stream(seed, "tune"), 0
    seen: set[str] = set()
    while missed < TRIES:
        point = {one.path: one.draw(random) for one in space}
        if (key := repr(point)) in seen:
            missed += 1
            continue
        seen.add(key)
        missed = 0
        yield point
