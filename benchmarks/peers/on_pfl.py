"""The job under pfl-research: synchronous FedAvg with K clients a round, as many processes as `torchrun` starts."""

import argparse
from typing import Any

import job
import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, required=True)
parser.add_argument("--no-training", action="store_true")
arguments = parser.parse_args()


class Network(torch.nn.Module):
    """The FCN with the loss that pfl-research asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = job.network()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features)

    def loss(self, features: torch.Tensor, labels: torch.Tensor, **_: object) -> torch.Tensor:
        self.train()
        return functional.cross_entropy(self(features), labels)

    def metrics(self, *_: object, **__: object) -> dict[str, object]:
        return {}


class Counted(TrainingProcessCallback):
    """A meter for the rounds."""

    meter = job.Meter()

    def after_central_iteration(self, *_: object, **__: object) -> tuple[bool, Metrics]:
        self.meter.add(job.BUFFER)
        return False, Metrics()


class Untrained(FederatedAveraging):
    """Return the received model, without training."""

    def train_one_user(self, initial: Any, model: Any, *_: object) -> tuple[Any, Metrics]:
        return model.get_model_difference(initial), Metrics()


def main() -> None:
    """Set up, run, report."""
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002  the generator of pfl-research
    features, labels = job.clients()
    datasets = [PyTorchTensorDataset((features[one], labels[one]), user_id=str(one)) for one in range(job.CLIENTS)]
    data = FederatedDataset(datasets.__getitem__, get_user_sampler("minimize_reuse", list(range(job.CLIENTS))))
    network = Network()
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    rounds = arguments.updates // job.BUFFER
    counted = Counted()
    algorithm = Untrained() if arguments.no_training else FederatedAveraging()
    algorithm.run(
        NNAlgorithmParams(
            central_num_iterations=rounds, evaluation_frequency=rounds + 1, train_cohort_size=job.BUFFER,
            val_cohort_size=0,
        ),
        SimulatedBackend(training_data=data, val_data=data),
        model,
        NNTrainHyperParams(
            local_num_epochs=job.EPOCHS, local_learning_rate=job.LR, local_batch_size=job.BATCH,
            local_max_grad_norm=job.CLIP,
        ),
        NNEvalHyperParams(local_batch_size=job.BATCH),
        callbacks=[counted],
    )  # fmt: skip
    if pytorch_ops.distributed.global_rank == 0:
        counted.meter.report("pfl", "torch")


if __name__ == "__main__":
    main()
