"""Settings of each algorithm. The equations are in the files of algorithms/."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedqs_ray.config.base import MANY, Section, Text
from fedqs_ray.core.exceptions import ConfigError

ServerRate = Annotated[float, Field(gt=0, le=1e6)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class FedAvgConfig(Section):
    """Model aggregation: w <- mean of the arrived models."""

    name: Literal["fedavg"] = "fedavg"


class FedSGDConfig(Section):
    """Gradient aggregation: w <- w + mean of the arrived updates."""

    name: Literal["fedsgd"] = "fedsgd"


class FedQSConfig(Section):
    """FedQS (NeurIPS 2025) on model aggregation (fedqs-avg) or gradient aggregation (fedqs-sgd)."""

    name: Literal["fedqs-avg", "fedqs-sgd"] = "fedqs-sgd"
    similarity: Literal["cosine", "euclidean", "manhattan"] = "cosine"
    """Mod 1's measure between a client's last update and the global direction: the angle, or a distance."""
    sketch_dim: int | None = Field(None, ge=16, le=MANY)
    """Size of a random projection that the server stores of each client's last update in place of the update: 4096
    numbers preserve the angle to about a degree. Default: no projection. Not for the Manhattan distance."""
    weight_form: Literal["published", "released"] = "published"
    """Mod 3's weight for clients with feedback: as in the paper, or as in the authors' released scripts."""
    base_weight: Literal["samples", "uniform"] = "samples"
    """Mod 3's weight for clients without feedback: n_i / sum n, or 1/K."""
    phi: float = Field(0.1, ge=-100, le=100)
    """Mod 3's offset of a client's share of arrivals (FedQS paper: 0.1)."""
    momentum: bool = True
    """Ablation: off trains without momentum."""
    feedback: bool = True
    """Ablation: off never reweights."""
    adapt_lr: bool = True
    """Ablation: off keeps every client at training.lr."""
    base_momentum: float = Field(0.1, ge=0, lt=0.6)
    """m0, the momentum of a client whose angle is average or larger (FedQS paper: 0.1)."""
    lr_step: float = Field(0.02, ge=0, le=100)
    """a, the step of the learning rate, relative to training.lr (FedQS paper: 0.002 at 0.1)."""
    lr_min: float = Field(0.01, gt=0, le=1)
    """Smallest learning rate, relative to training.lr (FedQS paper: 0.001 at 0.1)."""
    lr_max: float = Field(2.0, ge=1, le=100)
    """Largest learning rate, relative to training.lr (FedQS paper: 0.2 at 0.1)."""
    label_gap: float = Field(30.0, ge=0, le=100)
    """Percentage points between the best and the worst label above which a slow, biased client counts as
    skewed rather than stale (FedQS paper: 30)."""

    @model_validator(mode="after")
    def _consistent(self) -> "FedQSConfig":
        if self.sketch_dim is not None and self.similarity == "manhattan":
            raise ConfigError(
                f"algorithm.sketch_dim = {self.sketch_dim}: a projection does not preserve algorithm.similarity = "
                '"manhattan"; must be left out, or with "cosine" or "euclidean"'
            )
        return self


class FedAvgSyncConfig(Section):
    """Synchronous FedAvg (McMahan et al. 2017): the server waits for all of K sampled clients; weights by samples."""

    name: Literal["fedavg-sync"] = "fedavg-sync"


class FedProxConfig(Section):
    """FedProx (Li et al. 2020): synchronous FedAvg with a proximal term on the clients."""

    name: Literal["fedprox"] = "fedprox"
    mu: float = Field(0.01, ge=0, le=1e6)
    """Strength of the proximal term. The paper tunes it among 0.001, 0.01, 0.1 and 1."""


class FedAsyncConfig(Section):
    """FedAsync (Xie et al. 2019): every arrival is mixed into the model, with less weight if stale. K is 1."""

    name: Literal["fedasync"] = "fedasync"
    alpha: float = Field(0.6, gt=0, le=1)
    """Weight of a fresh model in the mixture (FLGo's default; the authors' scripts have 0.8 and 0.9)."""
    staleness: Literal["constant", "polynomial", "hinge"] = "polynomial"
    """Factor of this weight: 1, (1 + tau)^-a, or 1 up to b and 1 / (a (tau - b) + 1) beyond."""
    a: float = Field(0.5, ge=0, le=100)
    """Exponent of the polynomial (paper: 0.5)."""
    hinge_a: float = Field(10.0, ge=0, le=1e6)
    """Slope of the hinge (paper: 10)."""
    hinge_b: float = Field(4.0, ge=0, le=1e6)
    """Staleness up to which the hinge is 1 (paper: 4)."""
    rho: float = Field(0.005, ge=0, le=1e6)
    """Strength of the proximal term on the clients (paper: 0.005 for CIFAR-10)."""


class FedBuffConfig(Section):
    """FedBuff (Nguyen et al. 2022): a buffer of K updates, each divided by the root of 1 + its staleness."""

    name: Literal["fedbuff"] = "fedbuff"
    server_lr: ServerRate = 1.0
    """eta_g (FLGo and the FedQS authors: 1)."""


class MStepConfig(Section):
    """M-step KAFL (Wu and Wang 2022): models distant from the global one, and of frequent clients, weigh less."""

    name: Literal["mstep"] = "mstep"
    coefficient: float = Field(2.0, ge=0, le=1e6)
    """Factor in the exponent (the FedQS authors' comparison: 2; ports of KAFL: 0.5)."""


class SAFAConfig(Section):
    """SAFA (Wu et al. 2020): the global model is the weighted sum of a cache with a model of every client."""

    name: Literal["safa"] = "safa"
    lag_tolerance: int = Field(10, ge=0, le=MANY)
    """Staleness up to which an update is used (the FedQS authors' comparison: 10; paper: 5)."""


class FedATConfig(Section):
    """FedAT (Chai et al. 2021): tiers of clients by speed, each synchronous; weights balance the tiers' frequencies."""

    name: Literal["fedat"] = "fedat"
    tiers: int = Field(5, ge=1, le=1000)
    """M (paper: 5). At most the number of clients."""
    proximal: float = Field(0.4, ge=0, le=1e6)
    """lambda of the clients' proximal term (paper: 0.4)."""


class WKAFLConfig(Section):
    """WKAFL (Zhou et al. 2022): stale updates weighted by their cosine to the fresh ones."""

    name: Literal["wkafl"] = "wkafl"
    momentum: Decay = 0.1
    """alpha, the fraction of the previous aggregate that is added to each update (authors' code: 0.1)."""
    similarity_bound: float = Field(0.3, ge=-1, lt=1)
    """Smallest cosine to the estimate of an update that is used (authors' code: 0.3)."""
    beta: float = Field(10.0, ge=0, le=1e6)
    """Sharpness of the weights (authors' code: 10 on MNIST and EMNIST, 20 to 50 elsewhere)."""
    clip_ratio: float = Field(10.0, gt=0, le=1e6)
    """B: largest norm of an update in stage two, relative to the estimate (authors' code: 10 on MNIST and EMNIST)."""
    stage_two: float = Field(0.5, ge=0, le=1)
    """Start of stage two, as a fraction of run.rounds (authors' code: 0.2 to 0.5)."""
    decay: float = Field(0.1, ge=0, le=1e6)
    """c: the step is divided by 1 + c times the smallest staleness (authors' code: 0.1 on MNIST and EMNIST)."""


class FedACConfig(Section):
    """FedAC (Zang et al. 2024): weights by cosine, an adaptive server step, control variates on the clients."""

    name: Literal["fedac"] = "fedac"
    server_lr: ServerRate = 0.01
    """eta_g of the adaptive step, about the change of each parameter in a round. To tune; the paper's is unknown."""
    beta1: Decay = 0.6
    """Decay of the first moment (ports: 0.6)."""
    beta2: Decay = 0.9
    """Decay of the second moment (ports: 0.9)."""
    epsilon: float = Field(1e-8, gt=0, le=1)
    """Added to the root of the second moment (ports: 1e-8)."""


class DeFedAvgConfig(Section):
    """DeFedAvg (Wang et al. 2024): the newest updates of K clients drawn uniformly from all with an update."""

    name: Literal["defedavg"] = "defedavg"


class FADASConfig(Section):
    """FADAS (Wang et al. 2024): AMSGrad on the mean update, with smaller steps at large staleness."""

    name: Literal["fadas"] = "fadas"
    server_lr: ServerRate = 0.01
    """eta of the adaptive step, about the change of each parameter in a round. To be tuned, as in the paper."""
    beta1: Decay = 0.9
    """Decay of the first moment (authors' code: 0.9)."""
    beta2: Decay = 0.99
    """Decay of the second moment (authors' code: 0.99)."""
    epsilon: float = Field(1e-8, gt=0, le=1)
    """Added to the root of the second moment (authors' code: 1e-8)."""
    delay_threshold: int = Field(1, ge=0, le=MANY)
    """tau_c: largest staleness in a buffer at which the step has its full size (authors' code: 1)."""
    delay_form: Literal["published", "released"] = "published"
    """Step size beyond it: min(eta, 1 / tau_max) as in the paper, or eta / tau_max as in the authors' code."""


class CA2FLConfig(Section):
    """CA2FL (Wang et al. 2024): updates calibrated by the cached updates of all clients."""

    name: Literal["ca2fl"] = "ca2fl"
    server_lr: ServerRate = 1.0
    """eta_g (FLGo: 1)."""


class ACEConfig(Section):
    """ACE (Chang et al. 2025): every arrival makes a step along the mean of all clients' newest updates. K is 1."""

    name: Literal["ace"] = "ace"
    server_lr: ServerRate = 1.0
    """eta_g (authors' code: 1)."""
    max_delay: int | None = Field(None, ge=0, le=MANY)
    """Versions after which an update no longer counts (ACED; authors' code: 50 for 100 clients). Default: never."""


class OwnConfig(Section):
    """An algorithm of your own; `algorithm.name = "package.module:Class"` is the short form."""

    name: Literal["own"] = "own"
    path: Text = "my_algorithm:MyAlgorithm"
    """Its class, as "package.module:Class"; modules in the working folder are found. See docs/own-algorithm.md."""
    settings: dict[str, Any] = Field({})
    """Arguments of its constructor; in the short form, all other settings of the section."""


BuiltIn = (
    FedAvgConfig | FedSGDConfig | FedQSConfig | FedAvgSyncConfig | FedProxConfig | FedAsyncConfig | FedBuffConfig
    | MStepConfig | SAFAConfig | FedATConfig | WKAFLConfig | FedACConfig | DeFedAvgConfig | FADASConfig | CA2FLConfig
    | ACEConfig
)  # fmt: skip
AlgorithmConfig = Annotated[BuiltIn | OwnConfig, Field(discriminator="name")]


def name_algorithm(section: Section) -> str:
    """Display name of an algorithm: its `name`, or the class of one of the user's own."""
    return section.path.rpartition(":")[2] if isinstance(section, OwnConfig) else str(getattr(section, "name", ""))


def expand_own(section: dict[str, Any]) -> dict[str, Any]:
    """The long form of a section whose `name` is a path: other keys become the algorithm's `settings`."""
    name = section.get("name")
    rest = {key: value for key, value in section.items() if key not in OwnConfig.model_fields}
    if name == "own" and rest and isinstance(settings := section.get("settings", {}), dict):
        return {key: section[key] for key in section.keys() - rest.keys()} | {"settings": settings | rest}
    if not (isinstance(name, str) and ":" in name):
        return section
    if ":" not in str(path := section.get("path")):  # else a long form whose name is overridden
        return {"name": "own", "path": name, "settings": {key: section[key] for key in section if key != "name"}}
    return {"name": "own", "path": name, "settings": (section.get("settings") or {} if path == name else {}) | rest}
