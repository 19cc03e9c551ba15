"""Settings of scenarios: durations of attempts, losses, leaving clients, faults."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fedqs_ray.config.base import LONG, PathText, Ratio, Section, Sigma
from fedqs_ray.core.exceptions import ConfigError


class Faults(Section):
    """Injected faults, drawn for every attempt, for studies of robustness."""

    nan_rate: float = Field(0.0, ge=0, le=1)
    """Probability that an attempt's update is all NaN. The server rejects it."""
    corrupt_rate: float = Field(0.0, ge=0, le=1)
    """Probability that an attempt's update is corrupted: bits of one number in a hundred are flipped. See
    server.max_update_norm."""
    crash_rate: float = Field(0.0, ge=0, le=1)
    """Probability that the process that trains an attempt is killed. The attempt is trained again, so results stay the
    same; replacing a process takes seconds."""

    @model_validator(mode="after")
    def _consistent(self) -> "Faults":
        total = self.nan_rate + self.corrupt_rate + self.crash_rate
        if total > 1:
            raise ConfigError(f"scenario.faults: the rates add up to {total:g}; they must not exceed 1")
        return self


class World(Section):
    """Settings of every scenario besides its durations."""

    jitter: Sigma = 0.0
    """Standard deviation of the logarithm of a random factor on each attempt's duration."""
    loss_rate: float = Field(0.0, ge=0, lt=1)
    """Probability that an attempt is lost on the way; its client is dispatched again afterwards."""
    leave_fraction: float = Field(0.0, ge=0, le=1)
    """Fraction of the clients that leave permanently during the run."""
    leave_at: float = Field(0.5, ge=0, le=1)
    """Time of leaving, as a fraction of run.rounds (FedQS paper: half of the rounds)."""
    bandwidth: float | None = Field(None, ge=1e-9, le=1e9)
    """Median bandwidth of a client in Mbit per virtual second: a model is sent to it and back in every attempt.
    Default: communication takes no time."""
    bandwidth_sigma: Sigma = 1.0
    """Standard deviation of the logarithm of the clients' bandwidths."""
    faults: Faults = Faults()


class Static(World):
    """Durations drawn once for each client: static resources."""

    name: Literal["static"] = "static"
    ratio: Ratio = 50
    """R: a client's duration is a whole number of virtual seconds drawn from 1..R (FedQS paper: 50, "1:50")."""


class Dynamic(World):
    """Resource ratio of all clients that changes in phases (the FedQS paper's dynamic scale)."""

    name: Literal["dynamic"] = "dynamic"
    ratios: tuple[Ratio, ...] = Field((20, 50, 100), min_length=1, strict=False)
    """R of each phase; the phases are equal parts of run.rounds, and every client draws anew in each
    (FedQS paper: 1:20, 1:50, 1:100)."""


class Unstable(World):
    """Durations drawn anew at every attempt (the FedQS paper's unstable resources)."""

    name: Literal["unstable"] = "unstable"
    ratio: Ratio = 50
    """R: a duration is a whole number of virtual seconds drawn from 1..R (FedQS paper: 50)."""


class Dropout(World):
    """Static durations; a fraction of the clients leaves permanently after half of the rounds (FedQS paper)."""

    name: Literal["dropout"] = "dropout"
    ratio: Ratio = 50
    """R: a client's duration is a whole number of virtual seconds drawn from 1..R (FedQS paper: 50)."""
    leave_fraction: float = Field(0.5, ge=0, le=1)
    """Fraction of the clients that leave permanently during the run (FedQS paper: 0.5)."""


class Lognormal(World):
    """Lognormal durations: most clients alike, a few slow."""

    name: Literal["lognormal"] = "lognormal"
    median: float = Field(10.0, ge=1e-9, le=LONG)
    """Median duration, in virtual seconds."""
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm."""
    drawn_per: Literal["client", "attempt"] = "client"
    """Whether a duration is drawn once for each client, or for every attempt."""


class Pareto(World):
    """Pareto durations: a heavy tail of very slow clients."""

    name: Literal["pareto"] = "pareto"
    minimum: float = Field(5.0, ge=1e-9, le=LONG)
    """Shortest duration, in virtual seconds."""
    shape: float = Field(1.5, ge=0.05)
    """Tail index; smaller is heavier, and up to 1 the mean is infinite."""
    drawn_per: Literal["client", "attempt"] = "client"
    """Whether a duration is drawn once for each client, or for every attempt."""


class Exponential(World):
    """Exponential durations: arrivals as in a queue without memory."""

    name: Literal["exponential"] = "exponential"
    mean: float = Field(10.0, ge=1e-9, le=LONG)
    """Mean duration, in virtual seconds."""
    drawn_per: Literal["client", "attempt"] = "attempt"
    """Whether a duration is drawn once for each client, or for every attempt."""


class TraceConfig(World):
    """Recorded availability of each client and durations of its attempts."""

    name: Literal["trace"] = "trace"
    path: PathText = "trace.parquet"
    """Parquet or CSV file with the columns client, time, duration (virtual seconds) and optionally available: from
    `time` to the client's next row its attempts last `duration`, and it is available or not. A running attempt is
    lost when its client becomes unavailable. Clients follow the records in sorted order, repeated if there are more
    clients than records."""


ScenarioConfig = Annotated[
    Static | Dynamic | Unstable | Dropout | Lognormal | Pareto | Exponential | TraceConfig,
    Field(discriminator="name"),
]
