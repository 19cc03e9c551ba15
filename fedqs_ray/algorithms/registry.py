"""Registry of algorithms: the constructor of each kind of settings."""

from collections.abc import Callable
from typing import Any, get_args

from fedqs_ray.algorithms.ace import ACE
from fedqs_ray.algorithms.ca2fl import CA2FL
from fedqs_ray.algorithms.defedavg import DeFedAvg
from fedqs_ray.algorithms.fadas import FADAS
from fedqs_ray.algorithms.fedac import FedAC
from fedqs_ray.algorithms.fedasync import FedAsync
from fedqs_ray.algorithms.fedat import FedAT
from fedqs_ray.algorithms.fedavg import FedAvg, FedAvgSync
from fedqs_ray.algorithms.fedbuff import FedBuff
from fedqs_ray.algorithms.fedprox import FedProx
from fedqs_ray.algorithms.fedqs import FedQS
from fedqs_ray.algorithms.fedsgd import FedSGD
from fedqs_ray.algorithms.mstep import MStep
from fedqs_ray.algorithms.own import find_algorithm, list_parameters, list_whole_parameters, load_own
from fedqs_ray.algorithms.safa import SAFA
from fedqs_ray.algorithms.wkafl import WKAFL
from fedqs_ray.config.algorithms import (
    ACEConfig,
    CA2FLConfig,
    DeFedAvgConfig,
    FADASConfig,
    FedACConfig,
    FedAsyncConfig,
    FedATConfig,
    FedAvgConfig,
    FedAvgSyncConfig,
    FedBuffConfig,
    FedProxConfig,
    FedQSConfig,
    FedSGDConfig,
    MStepConfig,
    OwnConfig,
    SAFAConfig,
    WKAFLConfig,
)
from fedqs_ray.config.base import Section
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.interfaces import Algorithm

ALGORITHMS: dict[type[Section], Callable[[Any, Experiment], Algorithm]] = {
    FedAvgConfig: lambda _, __: FedAvg(),
    FedSGDConfig: lambda _, __: FedSGD(),
    FedQSConfig: lambda own, experiment: FedQS(own, base_lr=experiment.training.lr),
    FedAvgSyncConfig: lambda _, __: FedAvgSync(),
    FedProxConfig: lambda own, _: FedProx(own),
    FedAsyncConfig: lambda own, _: FedAsync(own),
    FedBuffConfig: lambda own, _: FedBuff(own),
    MStepConfig: lambda own, _: MStep(own),
    SAFAConfig: lambda own, _: SAFA(own),
    FedATConfig: lambda own, _: FedAT(own),
    WKAFLConfig: lambda own, experiment: WKAFL(own, experiment.run.rounds),
    FedACConfig: lambda own, _: FedAC(own),
    DeFedAvgConfig: lambda _, __: DeFedAvg(),
    FADASConfig: lambda own, _: FADAS(own),
    CA2FLConfig: lambda own, _: CA2FL(own),
    ACEConfig: lambda own, _: ACE(own),
    OwnConfig: lambda own, _: load_own(own),
}
"""Constructor of the algorithm of each kind of section."""

NAMES = [
    name for kind in ALGORITHMS if kind is not OwnConfig for name in get_args(kind.model_fields["name"].annotation)
]
"""Names of the built-in algorithms."""


def has_setting(name: str, setting: str) -> bool:
    """Whether the algorithm of that name, or the class at that path, has a setting. Raises `ConfigError`."""
    if ":" in name:
        return setting in list_parameters(find_algorithm(name))
    return any(
        setting in kind.model_fields for kind in ALGORITHMS if name in get_args(kind.model_fields["name"].annotation)
    )


def takes_whole_numbers(path: str, setting: str) -> bool:
    """Whether a setting of the class at `path` takes whole numbers only. Raises `ConfigError`."""
    return setting in list_whole_parameters(find_algorithm(path))


def build_algorithm(experiment: Experiment) -> Algorithm:
    """Build the algorithm of `experiment.algorithm`. Raises `ConfigError`."""
    config = experiment.algorithm
    algorithm = ALGORITHMS[type(config)](config, experiment)
    if algorithm.tiers and experiment.server.buffer_timeout is not None:
        raise ConfigError(
            f"server.buffer_timeout = {experiment.server.buffer_timeout}: {config.name} is synchronous and waits for "
            "every wave; must be left out"
        )
    return algorithm
