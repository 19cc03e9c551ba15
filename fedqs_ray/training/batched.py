"""Training of several clients at once: every tensor has the client as its first dimension.

Each client keeps its own start, plan, samples, order of samples and dropout; shared is the cost of starting a hundred
small operations. One after another (`Trainer.fit`) is the oracle: the updates are the same but for rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedqs_ray.config.training import Training
from fedqs_ray.core.types import Plan
from fedqs_ray.tasks.models import Dropout, NextCharacter
from fedqs_ray.training.flat_model import FlatModel, make_generators
from fedqs_ray.training.inputs import Inputs
from fedqs_ray.training.optimizers import SGD


@dataclass
class ClientInput:
    """Start, samples and plan of one client of a batch."""

    start: torch.Tensor
    """(P,) float32."""
    features: torch.Tensor
    """(samples, ...) as stored."""
    labels: torch.Tensor
    """(samples,) int64."""
    seed: int
    """Seed of the job's order of samples, augmentation and dropout."""
    plan: Plan
    correction: torch.Tensor | None = None
    """(P,) see `Algorithm.correction`."""


def batch_clients(
    model: FlatModel, inputs: Inputs, clients: Sequence[ClientInput], setting: Training
) -> "BatchedTraining":
    """Clients with the given model's architecture, ready to be trained together by `[training]`."""
    kind = DenseTraining if is_dense(model.module) else AutogradTraining
    return kind(model, inputs, clients, setting)


def is_dense(module: nn.Module) -> bool:
    """Whether a model consists of linear layers with ReLUs, and perhaps dropout, between them."""
    known = (nn.Flatten, nn.Linear, nn.ReLU, Dropout)
    return isinstance(module, nn.Sequential) and all(isinstance(layer, known) for layer in module)


class BatchedTraining:
    """Clients in training, those with the most steps first, so that the ones still at work come first."""

    def __init__(self, model: FlatModel, inputs: Inputs, clients: Sequence[ClientInput], setting: Training) -> None:
        self.inputs, self.batch, self.module = inputs, setting.batch_size, model.module
        self.clip_norm = setting.clip_norm
        steps = [setting.steps(one.labels.numel()) for one in clients]
        self.places = sorted(range(len(clients)), key=lambda place: -steps[place])
        """Place of each client among those given."""
        self.clients = [clients[place] for place in self.places]
        self.steps = [steps[place] for place in self.places]
        self.sizes = [one.labels.numel() for one in self.clients]
        self.features = torch.cat([one.features for one in self.clients])
        self.labels = torch.cat([one.labels for one in self.clients])
        self.device = self.labels.device
        self.epoch = [steps // max(1, setting.local_epochs) for steps in self.steps]
        """Steps in an epoch of each client."""
        self.index = torch.zeros(len(clients), max(self.epoch), self.batch, dtype=torch.int64, device=self.device)
        """(n, steps, B): the samples that each step of each client's epoch takes; any fill up what is short."""
        self.orders, self.noise = zip(*(make_generators(one.seed, self.device) for one in self.clients), strict=True)
        """Generators of each client: of the order of its samples; of its augmentation and dropout."""
        self.vectors = torch.stack([one.start for one in self.clients])
        """(n, P): the clients' models."""
        self.gradient = torch.empty_like(self.vectors)
        """(n, P)."""
        ends = np.cumsum([int(np.prod(shape)) for shape in model.layout.shapes]).tolist()
        spans = zip(pairwise([0, *ends]), model.layout.shapes, strict=True)
        self.spans = dict(zip(model.layout.names, spans, strict=True))
        """Begin and end of each tensor in a model, and its shape."""

    def shuffle(self, client: int) -> None:
        """Draw the samples that each step of a client's new epoch takes."""
        size, offset = self.sizes[client], sum(self.sizes[:client])
        drawn = torch.randperm(size, generator=self.orders[client]) + offset
        full = self.epoch[client] * self.batch
        self.index[client, : self.epoch[client]] = functional.pad(drawn, (0, full - size), value=offset).view(
            -1, self.batch
        )

    def view(self, matrix: torch.Tensor, name: str, active: int) -> torch.Tensor:
        """The (active, ...) tensor `name` of the first clients, as a view of an (n, P) matrix."""
        (start, end), shape = self.spans[name]
        return matrix[:active, start:end].view(active, *shape)

    def train(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Take all steps of all clients; returns, in the order given, (n, P) models and (n,) mean losses of steps."""
        sgd = SGD(self.vectors, self.gradient, self.clip_norm)
        sgd.begin([one.plan for one in self.clients], [one.correction for one in self.clients])
        losses = torch.zeros(len(self.clients), device=self.device)
        active = len(self.clients)
        for step in range(max(self.steps)):
            while self.steps[active - 1] <= step:
                active -= 1
            sgd.keep_first(active)
            losses[:active] += self.differentiate(*self.next_batch(step, active))
            sgd.step()
        losses /= torch.tensor(self.steps, device=self.device).clamp_(min=1)
        back = np.argsort(self.places)
        return self.vectors[back], losses[back]

    def differentiate(self, features: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Write the gradients of a step's mean losses to the first rows of `gradient`; returns the (n,) losses.

        (n, B, ...) features and (n, B) labels; a sample's share of its client's mean is 0 where it is filling.
        """
        raise NotImplementedError

    def next_batch(self, step: int, active: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Arguments of `differentiate`. A client's last batch of an epoch may be short, and is filled up."""
        places = [step % length for length in self.epoch[:active]]
        for client, place in enumerate(places):
            if not place:
                self.shuffle(client)
        sizes = [min(self.batch, size - place * self.batch) for size, place in zip(self.sizes, places, strict=False)]
        longest, taken = max(sizes), torch.tensor(sizes, dtype=torch.float32, device=self.device)
        index = self.index[torch.arange(active), torch.tensor(places), :longest]
        shares = (torch.arange(longest, device=self.device) < taken[:, None]) / taken[:, None]
        features = self.features[index]
        if self.inputs.augment:
            own = zip(features, sizes, self.noise, strict=False)
            drawn = [self.inputs.training(some[:size], noise) for some, size, noise in own]
            features = nn.utils.rnn.pad_sequence(drawn, batch_first=True)
        else:
            features = self.inputs(features)
        return features, self.labels[index], shares

    def masks(self, layer: Dropout, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Dropout masks for (n, B, width) numbers, each client's drawn as if it were alone."""
        each = x.shape[2]
        words = torch.empty(len(x), -(-x.shape[1] * each // 4), dtype=torch.int64, device=self.device)
        for own, size, noise in zip(words, (shares > 0).sum(1).tolist(), self.noise, strict=False):
            own[: -(-size * each // 4)].random_(-(2**63), None, generator=noise)  # what is filled up may get any mask
        return layer.chosen(words)[:, : x.shape[1] * each].view(x.shape)


class DenseTraining(BatchedTraining):
    """Training of linear layers, with gradients by hand: no bookkeeping, every pass over memory counts."""

    def __init__(self, model: FlatModel, inputs: Inputs, clients: Sequence[ClientInput], setting: Training) -> None:
        super().__init__(model, inputs, clients, setting)
        self.stack: list[tuple[str, Dropout | None]] = []
        """The linear layers, and the dropout after their ReLU, if there is one."""
        for name, layer in model.module.named_children():
            if isinstance(layer, nn.Linear):
                self.stack.append((name, None))
            elif isinstance(layer, Dropout):
                self.stack[-1] = self.stack[-1][0], layer

    def differentiate(self, features: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        active, inputs = len(features), [features.flatten(2)]
        for name, dropout in self.stack:
            weight, bias = (self.view(self.vectors, f"{name}.{kind}", active) for kind in ("weight", "bias"))
            out = torch.baddbmm(bias[:, None], inputs[-1], weight.mT)
            if name != self.stack[-1][0]:
                out.relu_()
                if dropout:
                    out.mul_(self.masks(dropout, out, shares))
            inputs.append(out)
        scores = functional.log_softmax(inputs.pop(), dim=2)
        chosen = labels[:, :, None]
        losses = -(scores.gather(2, chosen).squeeze(2) * shares).sum(1)
        slope = scores.exp_().scatter_add_(2, chosen, scores.new_full(chosen.shape, -1.0)).mul_(shares[:, :, None])
        for place, (name, _) in reversed(list(enumerate(self.stack))):
            given = inputs[place]
            self.view(self.gradient, f"{name}.weight", active).copy_(torch.bmm(slope.mT, given))
            self.view(self.gradient, f"{name}.bias", active).copy_(slope.sum(1))
            if place:
                if dropout := self.stack[place - 1][1]:
                    slope.mul_(dropout.scale)
                slope = torch.bmm(slope, self.view(self.vectors, f"{name}.weight", active))
                # What was dropped is 0 as well.
                torch.ops.aten.threshold_backward(slope, given, 0.0, grad_input=slope)
        return losses


class AutogradTraining(BatchedTraining):
    """Training of convolutions and LSTMs, with gradients by autograd."""

    def differentiate(self, features: torch.Tensor, labels: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        active = len(features)
        self.weights = {name: self.view(self.vectors, name, active).detach().requires_grad_() for name in self.spans}
        scores = self.scores(features, shares)
        entropy = functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
        losses = (entropy.view(active, -1) * shares).sum(1)
        for name, gradient in torch.autograd.grad(losses.sum(), self.weights).items():
            self.view(self.gradient, name, active).copy_(gradient)
        return losses.detach()

    def scores(self, features: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """(n, B, classes) scores."""
        if isinstance(self.module, NextCharacter):
            return self.next_character(features)
        for name, layer in self.module.named_children():
            features = self.layer(name, layer, features, shares)
        return features

    def layer(self, name: str, layer: nn.Module, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """One layer of a sequential model."""
        match layer:
            case nn.Linear():
                return self.linear(name, x)
            case nn.ReLU():
                return functional.relu(x)
            case nn.Flatten():
                return x.flatten(2)
            case Dropout():
                return x * self.masks(layer, x, shares)
            case nn.MaxPool2d():
                pooled: torch.Tensor = layer(x.flatten(0, 1))
                return pooled.view(*x.shape[:2], *pooled.shape[1:])
            case nn.Conv2d():
                weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
                beside = x.transpose(0, 1).flatten(1, 2)  # the clients' channels beside one another
                found = functional.conv2d(beside, weight.flatten(0, 1), bias.flatten(), padding=1, groups=len(x))
                return found.view(x.shape[1], len(x), -1, *found.shape[2:]).transpose(0, 1)
        raise AssertionError(layer)

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """(n, B, in) to (n, B, out)."""
        return torch.baddbmm(self.weights[f"{name}.bias"][:, None], x, self.weights[f"{name}.weight"].mT)

    def next_character(self, codes: torch.Tensor) -> torch.Tensor:
        """The LSTM, step by step through the text."""
        client = torch.arange(len(codes), device=codes.device)[:, None, None]
        x = self.weights["embedding.weight"][client, codes]
        for number in range(2):
            x = torch.stack(list(self.states(x, number)), dim=2)
        return self.linear("guess", x[:, :, -1])

    def states(self, x: torch.Tensor, number: int) -> Iterator[torch.Tensor]:
        """The (n, B, hidden) states of one LSTM layer, for (n, B, t, in)."""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        into, back, bias, other = (self.weights[f"lstm.{kind}_l{number}"] for kind in kinds)
        given = torch.baddbmm((bias + other)[:, None], x.flatten(1, 2), into.mT).view(*x.shape[:3], -1)
        state = cell = given.new_zeros(*given.shape[:2], given.shape[-1] // 4)
        for t in range(given.shape[2]):
            let, keep, new, out = torch.baddbmm(given[:, :, t], state, back.mT).chunk(4, dim=-1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(let) * torch.tanh(new)
            state = torch.sigmoid(out) * torch.tanh(cell)
            yield state
