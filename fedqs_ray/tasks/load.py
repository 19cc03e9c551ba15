"""From the settings of a task to its clients' data."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.tasks import Adult, Digits, Images, Shakespeare, Synthetic, Table
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.tasks import images, synthetic, table, tabular, text
from fedqs_ray.tasks.cache import cached
from fedqs_ray.tasks.datasets import Dataset
from fedqs_ray.tasks.federate import FederatedData, federate

NEEDS_IMAGES = ("cnn", "resnet18", "vgg16")


def load(experiment: Experiment) -> FederatedData:
    """The task's dataset, divided over `clients.count` clients. Raises `ConfigError`."""
    dataset = centralised(experiment)
    if experiment.task.model in NEEDS_IMAGES and len(dataset.shape) != 3:
        raise ConfigError(
            f'task.model = "{experiment.task.model}": needs images, and a sample here is {dataset.shape[0]} numbers; '
            'must be "mlp" or "fcn"'
        )
    return federate(dataset, experiment)


def centralised(experiment: Experiment) -> Dataset:
    """The task's dataset before it is divided; what takes long to decode comes from the cache."""
    make: Callable[[], Dataset]
    match experiment.task:
        case Digits():
            return tabular.digits()
        case Adult() as task:
            return tabular.adult(task)
        case Synthetic() as task:
            return synthetic.generate(task, experiment.seed, experiment.clients.count)
        case Images() as task:
            sources, make = images.find(task)
            key = ""
        case Shakespeare() as task:
            sources, key = text.plays(Path(task.data_dir)), f"{text.LENGTH}-{task.stride}"
            make = partial(text.shakespeare, sources, task.stride)
        case Table() as task:
            sources, make = table.find(task)
            key = repr(task.model_dump(include={"train", "test", "label", "client", "features"}))
    return cached(experiment.task.name, sources, key, make)
