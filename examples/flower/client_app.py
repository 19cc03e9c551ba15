"""The ClientApp: local training on the nodes."""

import time

import digits
import torch
from flwr.app import Context

from fedqs_ray.backends.flower import Trained, Work, client_app
from fedqs_ray.core.types import Vector
from fedqs_ray.training.optimizers import SGD


def data(context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """The node's own samples; a real node would read its files here."""
    return digits.own(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))


def train(work: Work) -> Trained:
    """Local epochs of SGD, as the algorithm plans them."""
    features, labels = data(work.context)
    if work.context.node_config["partition-id"] == 0:
        time.sleep(float(work.context.run_config["slow-seconds"]))
    setting, plan, model = work.experiment.training, work.plan, digits.model()
    model.load(work.model)
    correction = None if work.correction is None else torch.tensor(work.correction)
    sgd, losses = SGD(model.parameters[None], model.gradient[None], setting.clip_norm), []
    sgd.begin([plan], [correction])
    for _ in range(setting.local_epochs):
        for batch in torch.randperm(len(labels)).split(setting.batch_size):
            loss = model.loss(features[batch], labels[batch], half=False)
            loss.backward()
            sgd.step()
            model.gradient.zero_()
            losses.append(loss.item())
    return Trained(model.read(), len(labels), sum(losses) / len(losses))


def label_accuracy(vector: Vector, context: Context) -> list[tuple[float, int]]:
    """Accuracy on each label of the node, and its number of samples; FedQS calls it for slow, biased clients."""
    (features, labels), model = data(context), digits.model()
    model.load(vector)
    with torch.no_grad():
        right = (model.module(features).argmax(1) == labels).float()
    kinds = [right[labels == label] for label in labels.unique()]
    return [(float(kind.mean()), len(kind)) for kind in kinds]


app = client_app(train, label_accuracy)
