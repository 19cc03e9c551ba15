"""Settings of an experiment: name, unit, default, bounds, source.

The docstring under a field is its help text: `fedqs run --help` and docs/configuration.md come from here and from
algorithms.py, tasks.py, training.py and scenarios.py. "FedQS paper" marks the defaults of arXiv 2510.07664.
"""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedqs_ray.config.algorithms import AlgorithmConfig, FedATConfig, FedQSConfig, expand_own, name_algorithm
from fedqs_ray.config.base import LONG, MANY, Address, PathText, Period, Section
from fedqs_ray.config.scenarios import ScenarioConfig, Static
from fedqs_ray.config.tasks import Digits, Table, TaskConfig
from fedqs_ray.config.training import Training
from fedqs_ray.core.exceptions import ConfigError


class Run(Section):
    """The run as a whole."""

    rounds: int = Field(200, ge=1, le=10**9)
    """Aggregations until the run ends (FedQS paper: 400)."""
    clock: Literal["virtual", "wall"] = "virtual"
    """Clock. virtual: a discrete-event simulation that never sleeps. wall: the actors wait for the durations in real
    time, and results are not reproducible."""
    seconds_per_tick: float = Field(1.0, ge=1e-6, le=1e6)
    """Wall clock: real seconds that a virtual second takes."""
    eval_every: int = Field(1, ge=1, le=10**9)
    """Rounds between two evaluations of the global model on the test samples. The last version is always evaluated."""
    theory: bool = False
    """Estimate the constants of the convergence bounds in every round: the divergence of the clients' gradients
    (delta^2) and their squared norm (G_c^2). See docs/theory.md."""
    checkpoint_every: Annotated[int, Field(ge=1, le=MANY)] | Period = "600s"
    """Rounds, or real seconds such as "600s", between two checkpoints, from which `fedqs resume` continues; or "never".
    A run with checkpoints writes one at its last round too, an interrupted run always does. Virtual clock only."""
    out: PathText | None = None
    """Folder for the results; must not exist yet. Or a URI such as s3://BUCKET/PATH, to which they are copied at every
    checkpoint and at the end. Default: runs/TASK-ALGORITHM-SEED, numbered if taken."""
    address: Address = "local"
    """Ray cluster to join: "local" starts a private one, "auto" or HOST:PORT joins a running one."""
    wait_for_nodes: float = Field(0.0, ge=0, le=86400)
    """Seconds to wait at the start until a cluster has room for the actors of clients.actors or
    clients.clients_per_actor. Meanwhile an autoscaler, if there is one, is asked for nodes."""
    tensorboard: bool = False
    """Also write every round for TensorBoard, into the folder's tensorboard/. Needs `fedqs_ray[tensorboard]`."""


class Clients(Section):
    """Number of clients, and the Ray actors that train them."""

    count: int = Field(100, ge=1, le=MANY)
    """N, the number of clients (FedQS paper: 100)."""
    concurrency: int | None = Field(None, ge=1, le=MANY)
    """Clients that train at the same virtual time, sampled uniformly from the idle ones. Default: all. Synchronous
    algorithms dispatch waves of server.buffer_size clients instead."""
    actors: Annotated[int, Field(ge=1, le=MANY)] | Literal["auto"] = "auto"
    """Ray actors that share the clients. "auto": as many as the CPUs and GPU fractions allow."""
    clients_per_actor: Annotated[int, Field(ge=1, le=MANY)] | Literal["auto"] = "auto"
    """Clients that are bound to one actor; 1 gives every client its own actor. "auto": actors share them."""
    num_cpus: float = Field(1.0, ge=1e-4)
    """CPUs that an actor reserves; fractions are allowed. Its torch threads are this number, at least 1."""
    num_gpus: float = Field(0.0, ge=0)
    """GPUs that an actor reserves; fractions are allowed: 0.1 puts ten actors on one GPU."""

    @model_validator(mode="after")
    def _consistent(self) -> "Clients":
        if 0 < self.num_gpus < 1e-4 or (self.num_gpus > 1 and not self.num_gpus.is_integer()):
            raise ConfigError(
                f"clients.num_gpus = {self.num_gpus:g}: must be 0, a fraction from 0.0001 to 1, or a whole number"
            )
        if self.actors != "auto" and self.clients_per_actor != "auto":
            raise ConfigError(
                f"clients.actors = {self.actors}: clients.clients_per_actor = {self.clients_per_actor} "
                'decides it already; leave one of the two "auto"'
            )
        if self.concurrency is not None and self.concurrency > self.count:
            raise ConfigError(f"clients.concurrency = {self.concurrency}: must be at most clients.count = {self.count}")
        return self

    @property
    def at_once(self) -> int:
        """Clients that train at the same virtual time."""
        return self.count if self.concurrency is None else self.concurrency


class Server(Section):
    """The aggregating server."""

    buffer_size: int = Field(10, ge=1, le=MANY)
    """K, updates that the server waits for before it aggregates (FedQS paper: 10). At most the number of clients that
    train at once."""
    buffer_timeout: float | None = Field(None, gt=0, le=LONG)
    """Virtual seconds after the first update in the buffer when the server aggregates fewer than K. Default:
    it waits for K."""
    max_update_norm: float | None = Field(None, gt=0)
    """Euclidean norm above which an update is rejected. Default: no limit. Updates with numbers that are not
    finite are always rejected."""


DEFAULT_NAMES = {
    ("algorithm",): "fedqs-sgd",
    ("task",): "digits",
    ("task", "partition"): {"adult": "sex", "shakespeare": "natural", "synthetic": "natural"},
    ("scenario",): "static",
}
"""Default `name` of each section that has one."""


class Experiment(Section):
    """A whole experiment. Every setting has a default that runs."""

    seed: int = Field(0, ge=0, le=10**18)
    """Random seed of everything: data split, model, resources, sampling and training."""
    run: Run = Run()
    clients: Clients = Clients()
    server: Server = Server()
    algorithm: AlgorithmConfig = FedQSConfig()
    task: TaskConfig = Digits()
    training: Training = Training()
    scenario: ScenarioConfig = Static()
    versions: dict[str, str] = Field({})
    """Versions of fedqs_ray, ray, torch and python that wrote this file; not used as settings."""

    @model_validator(mode="before")
    @classmethod
    def _default_names(cls, data: Any) -> Any:
        """Add the default `name` to a section without one: `[algorithm] phi = 0.2` is for the default algorithm."""
        if isinstance(data, dict):
            data = dict(data)
            for (section, *rest), default in DEFAULT_NAMES.items():
                table = data.get(section)
                if not isinstance(table, dict):
                    continue
                if not rest:
                    data[section] = {"name": default} | table
                    if section == "algorithm":
                        data[section] = expand_own(data[section])
                elif isinstance(table.get(rest[0]), dict) and isinstance(default, dict):
                    name = default.get(str(table.get("name")), "dirichlet")
                    data[section] = table | {rest[0]: {"name": name} | table[rest[0]]}
        return data

    @property
    def title(self) -> str:
        """Display name of the algorithm."""
        return name_algorithm(self.algorithm)

    @property
    def subject(self) -> str:
        """Display name of the task: its name, or the file name of the user's own table."""
        if not isinstance(self.task, Table):
            return self.task.name
        path = PurePath(self.task.train)
        return path.stem if path.stem not in ("train", "data") or not path.parent.name else path.parent.name

    @property
    def clients_per_step(self) -> int:
        """Clients that are trained together in one step."""
        if self.training.clients_per_step != "auto":
            return self.training.clients_per_step
        alone = self.clients.clients_per_actor != "auto" or self.run.clock == "wall"
        return 8 if self.task.model in ("mlp", "fcn") and not alone else 1

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.server.buffer_size > self.clients.at_once:
            name = "clients.count" if self.clients.concurrency is None else "clients.concurrency"
            raise ConfigError(
                f"server.buffer_size = {self.server.buffer_size}: must be at most {name} = "
                f"{self.clients.at_once}, or a round could never fill"
            )
        if isinstance(self.algorithm, FedATConfig) and self.algorithm.tiers > self.clients.count:
            raise ConfigError(
                f"algorithm.tiers = {self.algorithm.tiers}: must be at most clients.count = {self.clients.count}"
            )
        if self.training.precision != "float32" and self.task.model not in ("cnn", "resnet18", "vgg16"):
            raise ConfigError(
                f'training.precision = "bfloat16": task.model = "{self.task.model}" has no convolutions; '
                'must be "float32"'
            )
        if self.clients_per_step > 1 and (reason := self._alone()):
            raise ConfigError(f"training.clients_per_step = {self.clients_per_step}: {reason}; must be 1")
        return self

    def _alone(self) -> str | None:
        """The reason why clients cannot be trained together in one step; None if they can."""
        if self.run.clock == "wall":
            return "with the wall clock every client trains at its own time"
        if self.clients.clients_per_actor != "auto":
            return "with clients.clients_per_actor every client has an actor of its own"
        if self.task.model in ("resnet18", "vgg16"):
            return f"{self.task.model} has batch norm, which cannot train several clients in one step"
        if self.training.precision != "float32":
            return "clients are trained together in float32 only"
        return None
