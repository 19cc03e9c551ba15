"""Loading of a task's data: from its settings to the data of its clients."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.tasks import Adult, Digits, Images, Shakespeare, Synthetic, Table
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.tasks.cache import load_cached
from fedqs_ray.tasks.federated import FederatedData, divide_dataset
from fedqs_ray.tasks.samples import Dataset
from fedqs_ray.tasks.sources.images import find_pictures
from fedqs_ray.tasks.sources.synthetic import generate
from fedqs_ray.tasks.sources.table import find_table
from fedqs_ray.tasks.sources.tabular import adult, digits
from fedqs_ray.tasks.sources.text import LENGTH, plays, shakespeare

NEEDS_IMAGES = ("cnn", "resnet18", "vgg16")


def load_data(experiment: Experiment) -> FederatedData:
    """The task's dataset, divided over `clients.count` clients. Raises `ConfigError` and `DataError`."""
    dataset = load_dataset(experiment)
    if experiment.task.model in NEEDS_IMAGES and len(dataset.shape) != 3:
        raise ConfigError(
            f'task.model = "{experiment.task.model}": needs images, and a sample here is {dataset.shape[0]} numbers; '
            'must be "mlp" or "fcn"'
        )
    return divide_dataset(dataset, experiment)


def load_dataset(experiment: Experiment) -> Dataset:
    """The task's dataset before it is divided; from the cache if it takes long to decode."""
    make: Callable[[], Dataset]
    match experiment.task:
        case Digits():
            return digits()
        case Adult() as task:
            return adult(task)
        case Synthetic() as task:
            return generate(task, experiment.seed, experiment.clients.count)
        case Images() as task:
            sources, make = find_pictures(task)
            key = ""
        case Shakespeare() as task:
            sources, key = plays(Path(task.data_dir)), f"{LENGTH}-{task.stride}"
            make = partial(shakespeare, sources, task.stride)
        case Table() as task:
            sources, make = find_table(task)
            key = repr(task.model_dump(include={"train", "test", "label", "client", "features"}))
    return load_cached(experiment.task.name, sources, key, make)
