"""Every setting: name, unit, default, bounds, source.

The docstring under a field is its help text: `fedqs run --help` and docs/configuration.md come from
here. Where a default is the paper's, it says "seed" (FedQS, arXiv 2510.07664).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedqs_ray.bounds import LONG, MANY, Address, PathText, Period, Ratio, Sigma, Text
from fedqs_ray.methods import AlgorithmConfig, FedATConfig, FedQSConfig, title, unfold
from fedqs_ray.section import Section as Section
from fedqs_ray.section import SettingError as SettingError


class Run(Section):
    """The run as a whole."""

    rounds: int = Field(200, ge=1, le=10**9)
    """Aggregations until the run ends (seed: 400)."""
    clock: Literal["virtual", "wall"] = "virtual"
    """How time passes. virtual: a discrete-event simulation that never sleeps. wall: durations are really
    waited for, and nothing but the settings is reproducible."""
    seconds_per_tick: float = Field(1.0, ge=1e-6, le=1e6)
    """Wall clock: real seconds that a virtual second takes."""
    eval_every: int = Field(1, ge=1, le=10**9)
    """Rounds between two evaluations of the global model on the test samples. The last version always is."""
    theory: bool = False
    """Estimate in every round what the convergence bounds speak of: how far the clients' gradients lie apart
    (delta^2) and how long they are (G_c^2). See docs/theory.md."""
    checkpoint_every: Annotated[int, Field(ge=1, le=MANY)] | Period = "600s"
    """Rounds, or real seconds such as "600s", between two checkpoints, from which `fedqs resume` goes on; or "never".
    A run that made any makes one at its last round too; an interrupted run always makes one. Virtual clock only."""
    out: PathText | None = None
    """Folder for the results; must not exist yet. Or a URI such as s3://BUCKET/PATH, to which they are sent at every
    checkpoint and at the end. Default: runs/TASK-ALGORITHM-SEED, numbered if taken."""
    address: Address = "local"
    """Ray cluster to join: "local" starts a private one, "auto" or HOST:PORT joins one that runs."""
    wait_for_nodes: float = Field(0.0, ge=0, le=86400)
    """Seconds to wait, at the start, for a cluster to have room for the actors that clients.actors or
    clients.clients_per_actor ask for. Its autoscaler, if it has one, is asked for nodes meanwhile."""
    tensorboard: bool = False
    """Write every round for TensorBoard too, into the folder's tensorboard/. Needs `fedqs_ray[tensorboard]`."""


class Clients(Section):
    """The population, and the Ray actors that play it."""

    count: int = Field(100, ge=1, le=MANY)
    """N, the number of clients (seed: 100)."""
    concurrency: int | None = Field(None, ge=1, le=MANY)
    """Clients that train at the same virtual time, sampled uniformly from the idle ones. Default: all. Synchronous
    algorithms send off waves of server.buffer_size instead."""
    actors: Annotated[int, Field(ge=1, le=MANY)] | Literal["auto"] = "auto"
    """Ray actors that share the clients. "auto": as many as the CPUs and GPU fractions allow."""
    clients_per_actor: Annotated[int, Field(ge=1, le=MANY)] | Literal["auto"] = "auto"
    """Clients that one actor hosts for good; 1 gives every client its own actor. "auto": actors share them."""
    num_cpus: float = Field(1.0, ge=1e-4)
    """CPUs that an actor reserves; fractions are allowed. Its torch threads are this number, at least 1."""
    num_gpus: float = Field(0.0, ge=0)
    """GPUs that an actor reserves; fractions are allowed: 0.1 puts ten actors on one GPU."""

    @model_validator(mode="after")
    def _consistent(self) -> "Clients":
        if 0 < self.num_gpus < 1e-4 or (self.num_gpus > 1 and not self.num_gpus.is_integer()):
            raise SettingError(
                f"clients.num_gpus = {self.num_gpus:g}: must be 0, a fraction from 0.0001 to 1, or a whole number"
            )
        if self.actors != "auto" and self.clients_per_actor != "auto":
            raise SettingError(
                f"clients.actors = {self.actors}: clients.clients_per_actor = {self.clients_per_actor} "
                'decides it already; leave one of the two "auto"'
            )
        if self.concurrency is not None and self.concurrency > self.count:
            raise SettingError(
                f"clients.concurrency = {self.concurrency}: must be at most clients.count = {self.count}"
            )
        return self

    @property
    def at_once(self) -> int:
        """Clients in training at the same virtual time."""
        return self.count if self.concurrency is None else self.concurrency


class Server(Section):
    """The aggregating server."""

    buffer_size: int = Field(10, ge=1, le=MANY)
    """K, arrivals that make a round (seed: 10). At most the number of clients that train at once."""
    buffer_timeout: float | None = Field(None, gt=0, le=LONG)
    """Virtual seconds after its first update when the server aggregates a buffer that is not full. Default:
    it waits for K."""
    max_update_norm: float | None = Field(None, gt=0)
    """Euclidean norm above which an update is rejected. Default: no limit. Updates with numbers that are not
    finite always are."""


class IID(Section):
    """Samples dealt at random, in equal parts."""

    name: Literal["iid"] = "iid"


class Dirichlet(Section):
    """Each class divided over the clients by Dirichlet(alpha) shares: smaller is more skewed."""

    name: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(0.5, ge=1e-6, le=1e6)
    """Concentration x (seed: 0.1, 0.5 and 1)."""


class Shards(Section):
    """Samples sorted by label, cut into equal shards, a few for each client (McMahan et al. 2017)."""

    name: Literal["shards"] = "shards"
    per_client: int = Field(2, ge=1, le=MANY)
    """Shards that a client gets: about the number of labels it knows."""


class Groups(Section):
    """Every client holds samples of one sex or one race only; sizes are lognormal (seed's real-world task)."""

    name: Literal["sex", "race"] = "sex"
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm of a client's size."""


class LabelQuantity(Section):
    """Every client knows a few labels; a label's samples go in equal parts to those who know it (Li et al. 2022)."""

    name: Literal["label-quantity"] = "label-quantity"
    labels: int = Field(2, ge=1, le=MANY)
    """Labels that a client knows."""


class Quantity(Section):
    """Samples dealt at random, in unequal parts: sizes are lognormal."""

    name: Literal["lognormal"] = "lognormal"
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm of a client's size."""


class Natural(Section):
    """The source's own clients: writers, speaking roles, a table's client column. More of them than
    `clients.count` are joined at random, in equal numbers.
    """

    name: Literal["natural"] = "natural"


Artificial = IID | Dirichlet | Shards | LabelQuantity | Quantity
"""Partitions that need labels only."""


class Digits(Section):
    """8x8 handwritten digits, 10 classes, bundled with scikit-learn: needs no download."""

    name: Literal["digits"] = "digits"
    model: Literal["mlp", "fcn"] = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3."""
    partition: Annotated[Artificial, Field(discriminator="name")] = Dirichlet()


class Adult(Section):
    """UCI Adult: does a person earn over 50K, from 11 columns."""

    name: Literal["adult"] = "adult"
    model: Literal["mlp", "fcn"] = "fcn"
    """fcn: 11-500-2 with dropout 0.3 (seed); mlp: one hidden layer of 64."""
    data_dir: PathText = "data/adult"
    """Folder with the UCI files adult.data and adult.test; `fedqs data adult` fetches them."""
    partition: Annotated[Artificial | Groups, Field(discriminator="name")] = Groups()


ImageModel = Literal["cnn", "resnet18", "vgg16", "mlp", "fcn"]


class Images(Section):
    """What the image tasks share."""

    name: Literal["cifar10", "cifar100", "mnist", "emnist"]
    model: ImageModel = "cnn"
    """cnn: three 3x3 convolutions (16, 32, 64) without batch norm; resnet18: CIFAR form, 3x3 stem, no first
    pooling (seed); vgg16: with batch norm; mlp, fcn: on flat pixels."""
    data_dir: PathText
    augment: bool
    """Whether training pictures are cropped at random after padding by 4, and flipped."""
    partition: Annotated[Artificial | Natural, Field(discriminator="name")] = Dirichlet()


class Cifar10(Images):
    """CIFAR-10: 32x32 colour pictures, 10 classes (seed)."""

    name: Literal["cifar10"] = "cifar10"
    data_dir: PathText = "data/cifar10"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = True
    """Whether training pictures are cropped at random after padding by 4, and flipped."""


class Cifar100(Images):
    """CIFAR-100: 32x32 colour pictures, 100 classes."""

    name: Literal["cifar100"] = "cifar100"
    data_dir: PathText = "data/cifar100"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = True
    """Whether training pictures are cropped at random after padding by 4, and flipped."""


class Mnist(Images):
    """MNIST: 28x28 grey digits, 10 classes."""

    name: Literal["mnist"] = "mnist"
    data_dir: PathText = "data/mnist"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = False
    """Whether training pictures are cropped at random after padding by 4, and flipped."""


class Emnist(Images):
    """EMNIST by class: 28x28 grey digits and letters, 62 classes. `natural` needs a table with writers (FEMNIST)."""

    name: Literal["emnist"] = "emnist"
    data_dir: PathText = "data/emnist"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = False
    """Whether training pictures are cropped at random after padding by 4, and flipped."""


class Shakespeare(Section):
    """The next character of Shakespeare's plays; clients are speaking roles (seed)."""

    name: Literal["shakespeare"] = "shakespeare"
    model: Literal["lstm"] = "lstm"
    """lstm: embedding of 8, two layers of 128 (seed)."""
    data_dir: PathText = "data/shakespeare"
    """Folder of plays, one text file each: SPEAKER, tab, first line of a speech; further lines after a tab."""
    stride: int = Field(20, ge=1, le=MANY)
    """Characters between the starts of two samples; 20 gives about LEAF's customary twentieth of them all."""
    partition: Annotated[Natural | Artificial, Field(discriminator="name")] = Natural()


class Synthetic(Section):
    """Synthetic(alpha, beta) of FedProx (Li et al. 2020): 60 numbers, 10 classes, made for any number of clients."""

    name: Literal["synthetic"] = "synthetic"
    model: Literal["mlp", "fcn"] = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3."""
    alpha: float = Field(1.0, ge=0, le=1e6)
    """Variance between the clients' true models (FedProx: 0, 0.5, 1)."""
    beta: float = Field(1.0, ge=0, le=1e6)
    """Variance between the clients' samples (FedProx: 0, 0.5, 1)."""
    max_samples: int = Field(2000, ge=5, le=MANY)
    """A client's samples are 50 + lognormal(4, 2), at most this."""
    partition: Annotated[Natural | Artificial, Field(discriminator="name")] = Natural()


class Table(Section):
    """Your own Parquet file: columns of numbers, text or lists of numbers, or one of pictures; and a label."""

    name: Literal["parquet"] = "parquet"
    model: ImageModel = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3; for pictures also cnn, resnet18, vgg16."""
    train: PathText = "data/train.parquet"
    """Parquet file, or folder of them, with the training rows."""
    test: PathText | None = None
    """The same for the test rows. Default: a fifth of the training rows is held out."""
    label: Text = "label"
    """Column to predict: whole numbers, text or true and false."""
    features: tuple[Text, ...] | None = Field(None, strict=False, min_length=1)
    """Columns to predict from. Default: all others. Numbers are standardised, text becomes its rank."""
    client: Text | None = None
    """Column that says whose row it is, for the `natural` partition."""
    augment: bool = False
    """Whether training pictures are cropped at random after padding by 4, and flipped."""
    partition: Annotated[Artificial | Natural, Field(discriminator="name")] = Dirichlet()


TaskConfig = Annotated[
    Digits | Adult | Cifar10 | Cifar100 | Mnist | Emnist | Shakespeare | Synthetic | Table,
    Field(discriminator="name"),
]


class Training(Section):
    """Local training: SGD on the client's own samples."""

    local_epochs: int = Field(2, ge=0, le=MANY)
    """E, passes over the client's training samples (seed: 2). 0 sends models back as they came, to time the rest."""
    batch_size: int = Field(50, ge=1, le=MANY)
    """B, samples a step (seed: 50). A client with fewer trains on what it has."""
    lr: float = Field(0.1, gt=0, le=1e6)
    """eta_0, learning rate (seed: 0.1)."""
    clip_norm: float = Field(20.0, gt=0)
    """Largest norm of a step's gradient; larger ones are scaled down (seed: 20)."""
    cohort: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"
    """Clients that an actor trains at once, in one batch of batches: the same updates but for rounding. 1: one after
    another. "auto": 8 for mlp and fcn, where that is several times faster, else 1."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: convolutions are computed in it (autocast), about twice as fast on CPUs that know it; weights and all
    else stay float32. For cnn, resnet18 and vgg16."""
    cuda_graphs: bool = False
    """On a GPU: record a training step as a CUDA graph, once for each batch size, and replay it: one launch a step in
    the place of hundreds. For clients trained one after another, by algorithms that add nothing to gradients."""
    deterministic: bool = False
    """On a GPU: only kernels that give the same bits every time, so that a job done again is the same. Slower; a CPU
    needs no such thing."""

    def steps(self, samples: int) -> int:
        """Steps that a client with so many training samples takes; the last of an epoch may be short."""
        return self.local_epochs * -(-samples // self.batch_size)


class Faults(Section):
    """What goes wrong on purpose, drawn for every attempt, so that robustness itself can be studied."""

    nan_rate: float = Field(0.0, ge=0, le=1)
    """Chance that an attempt's update is all NaN. The server rejects it."""
    corrupt_rate: float = Field(0.0, ge=0, le=1)
    """Chance that bits of an attempt's update are garbled, in one number of a hundred. See server.max_update_norm."""
    crash_rate: float = Field(0.0, ge=0, le=1)
    """Chance that the process that trains an attempt is killed. The attempt is trained again, so results stay the
    same; a process takes seconds to replace."""

    @model_validator(mode="after")
    def _consistent(self) -> "Faults":
        total = self.nan_rate + self.corrupt_rate + self.crash_rate
        if total > 1:
            raise SettingError(f"scenario.faults: the rates add up to {total:g}; they must not exceed 1")
        return self


class World(Section):
    """What every scenario may have besides its durations."""

    jitter: Sigma = 0.0
    """Standard deviation of the logarithm of a factor that each attempt's duration is multiplied by."""
    loss_rate: float = Field(0.0, ge=0, lt=1)
    """Probability that an attempt is lost on the way; its client is dispatched again afterwards."""
    leave_fraction: float = Field(0.0, ge=0, le=1)
    """Fraction of the clients that leaves for good during the run."""
    leave_at: float = Field(0.5, ge=0, le=1)
    """When they leave, as a fraction of run.rounds (seed: half of the rounds)."""
    bandwidth: float | None = Field(None, ge=1e-9, le=1e9)
    """Median bandwidth of a client in Mbit per virtual second: a model travels to it and back in every attempt.
    Default: that takes no time."""
    bandwidth_sigma: Sigma = 1.0
    """Standard deviation of the logarithm of the clients' bandwidths."""
    faults: Faults = Faults()


class Static(World):
    """Every client keeps the resource figure that it drew at the start."""

    name: Literal["static"] = "static"
    ratio: Ratio = 50
    """R: a client's duration is a whole number of virtual seconds drawn from 1..R (seed: 50, "1:50")."""


class Dynamic(World):
    """The resource ratio of the whole population changes in phases (the seed's dynamic scale)."""

    name: Literal["dynamic"] = "dynamic"
    ratios: tuple[Ratio, ...] = Field((20, 50, 100), min_length=1, strict=False)
    """R of each phase; the phases are equal parts of run.rounds, and every client draws anew in each
    (seed: 1:20, 1:50, 1:100)."""


class Unstable(World):
    """Every client draws its resource figure anew at every attempt (the seed's unstable resources)."""

    name: Literal["unstable"] = "unstable"
    ratio: Ratio = 50
    """R: a duration is a whole number of virtual seconds drawn from 1..R (seed: 50)."""


class Dropout(World):
    """Steady clients, of which a fraction leaves for good at half of the rounds (the seed's dropout)."""

    name: Literal["dropout"] = "dropout"
    ratio: Ratio = 50
    """R: a client's duration is a whole number of virtual seconds drawn from 1..R (seed: 50)."""
    leave_fraction: float = Field(0.5, ge=0, le=1)
    """Fraction of the clients that leaves for good during the run (seed: 0.5)."""


class Lognormal(World):
    """Lognormal durations: most clients alike, a few slow."""

    name: Literal["lognormal"] = "lognormal"
    median: float = Field(10.0, ge=1e-9, le=LONG)
    """Median duration, in virtual seconds."""
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm."""
    drawn_per: Literal["client", "attempt"] = "client"
    """Whether a client keeps its duration or draws one for every attempt."""


class Pareto(World):
    """Pareto durations: a heavy tail of very slow clients."""

    name: Literal["pareto"] = "pareto"
    minimum: float = Field(5.0, ge=1e-9, le=LONG)
    """Shortest duration, in virtual seconds."""
    shape: float = Field(1.5, ge=0.05)
    """Tail index; smaller is heavier, and up to 1 the mean is infinite."""
    drawn_per: Literal["client", "attempt"] = "client"
    """Whether a client keeps its duration or draws one for every attempt."""


class Exponential(World):
    """Exponential durations: arrivals as in a queue without memory."""

    name: Literal["exponential"] = "exponential"
    mean: float = Field(10.0, ge=1e-9, le=LONG)
    """Mean duration, in virtual seconds."""
    drawn_per: Literal["client", "attempt"] = "attempt"
    """Whether a client keeps its duration or draws one for every attempt."""


class TraceConfig(World):
    """A recorded world: when each client was there, and how long its attempts took."""

    name: Literal["trace"] = "trace"
    path: PathText = "trace.parquet"
    """Parquet or CSV with the columns client, time, duration (virtual seconds) and perhaps available: from `time`
    to the client's next row its attempts last `duration`, and it is there or not. An attempt under way when its
    client goes is lost. Clients follow the records in their sorted order, starting over if there are more."""


ScenarioConfig = Annotated[
    Static | Dynamic | Unstable | Dropout | Lognormal | Pareto | Exponential | TraceConfig,
    Field(discriminator="name"),
]


DEFAULT_NAMES = {
    ("algorithm",): "fedqs-sgd",
    ("task",): "digits",
    ("task", "partition"): {"adult": "sex", "shakespeare": "natural", "synthetic": "natural"},
    ("scenario",): "static",
}
"""The kind that a section is of when its `name` is left out."""


class Experiment(Section):
    """A whole experiment. Every setting has a default that runs."""

    seed: int = Field(0, ge=0, le=10**18)
    """The one seed: data split, model, resources, sampling and training all follow from it."""
    run: Run = Run()
    clients: Clients = Clients()
    server: Server = Server()
    algorithm: AlgorithmConfig = FedQSConfig()
    task: TaskConfig = Digits()
    training: Training = Training()
    scenario: ScenarioConfig = Static()
    versions: dict[str, str] = Field({})
    """Versions of fedqs_ray, ray, torch and python that wrote this file; never read."""

    @model_validator(mode="before")
    @classmethod
    def _default_names(cls, data: Any) -> Any:
        """Let `[algorithm] phi = 0.2` mean the default algorithm."""
        if isinstance(data, dict):
            data = dict(data)
            for (section, *rest), default in DEFAULT_NAMES.items():
                table = data.get(section)
                if not isinstance(table, dict):
                    continue
                if not rest:
                    data[section] = {"name": default} | table
                    if section == "algorithm":
                        data[section] = unfold(data[section])
                elif isinstance(table.get(rest[0]), dict) and isinstance(default, dict):
                    name = default.get(str(table.get("name")), "dirichlet")
                    data[section] = table | {rest[0]: {"name": name} | table[rest[0]]}
        return data

    @property
    def title(self) -> str:
        """What people call the algorithm."""
        return title(self.algorithm)

    @property
    def cohort(self) -> int:
        """Clients that are trained at once."""
        if self.training.cohort != "auto":
            return self.training.cohort
        alone = self.clients.clients_per_actor != "auto" or self.run.clock == "wall"
        return 8 if self.task.model in ("mlp", "fcn") and not alone else 1

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if self.server.buffer_size > self.clients.at_once:
            name = "clients.count" if self.clients.concurrency is None else "clients.concurrency"
            raise SettingError(
                f"server.buffer_size = {self.server.buffer_size}: must be at most {name} = "
                f"{self.clients.at_once}, or a round could never fill"
            )
        if isinstance(self.algorithm, FedATConfig) and self.algorithm.tiers > self.clients.count:
            raise SettingError(
                f"algorithm.tiers = {self.algorithm.tiers}: must be at most clients.count = {self.clients.count}"
            )
        if self.training.precision != "float32" and self.task.model not in ("cnn", "resnet18", "vgg16"):
            raise SettingError(
                f'training.precision = "bfloat16": task.model = "{self.task.model}" has no convolutions; '
                'must be "float32"'
            )
        if self.cohort > 1 and (reason := self._alone()):
            raise SettingError(f"training.cohort = {self.cohort}: {reason}; must be 1")
        return self

    def _alone(self) -> str | None:
        """Why clients cannot be trained at once."""
        if self.run.clock == "wall":
            return "with the wall clock every client trains when its own time has come"
        if self.clients.clients_per_actor != "auto":
            return "with clients.clients_per_actor every client has an actor of its own"
        if self.task.model in ("resnet18", "vgg16"):
            return f"{self.task.model} has batch norm, which cannot be trained at once"
        if self.training.precision != "float32":
            return "cohorts are trained in float32"
        return None
