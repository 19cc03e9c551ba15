"""A module as one flat vector, which is what a model is everywhere outside of training."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from fedqs_ray.core.types import Layout, Vector


def make_generators(seed: int, device: torch.device) -> tuple[torch.Generator, torch.Generator]:
    """For one job: where its order of samples comes from; and, on `device`, its augmentation and dropout.

    `torch.manual_seed` would do, but keeps a traceback of every call for a CUDA that never comes.
    """
    return torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed ^ 1)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an algorithm adds to every step's gradient: see `Plan.proximal` and `Algorithm.correction`."""

    proximal: float = 0.0
    start: torch.Tensor | None = None
    """(P,) parameters of w^v, for the proximal term."""
    correction: torch.Tensor | None = None
    """(P,)."""

    @property
    def idle(self) -> bool:
        """Whether nothing is added."""
        return self.start is None and self.correction is None


class FlatModel:
    """A module whose parameters, gradients and float buffers are views of two flat tensors.

    Loading a version is one copy, clipping one norm, an SGD step one addition.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take over a module, on whichever device it is."""
        self.module = module
        state = [(n, p.data) for n, p in module.named_parameters()]
        state += [(n, b) for n, b in module.named_buffers() if b.is_floating_point()]
        count = sum(p.numel() for p in module.parameters())
        self.layout = Layout(tuple(n for n, _ in state), tuple(tuple(t.shape) for _, t in state), count)
        self.vector = torch.cat([t.reshape(-1) for _, t in state])
        """(P + B,) float32: parameters, then float buffers."""
        self.parameters = self.vector[:count]
        self.gradient = torch.zeros_like(self.parameters)
        start = 0
        modules = dict(module.named_modules())
        for name, tensor in state:
            end = start + tensor.numel()
            view = self.vector[start:end].view(tensor.shape)
            owner, _, leaf = name.rpartition(".")
            if end <= count:
                parameter = modules[owner].get_parameter(leaf)
                parameter.data = view
                parameter.grad = self.gradient[start:end].view(tensor.shape)
            else:
                modules[owner].register_buffer(leaf, view)
            start = end

    def load(self, vector: Vector) -> None:
        """Take over a (P + B,) vector."""
        self.vector.copy_(torch.tensor(vector))

    def read(self) -> Vector:
        """A copy of the (P + B,) vector."""
        copy: Vector = self.vector.to("cpu", copy=True).numpy()
        return copy

    def loss(self, samples: torch.Tensor, labels: torch.Tensor, half: bool) -> torch.Tensor:
        """Mean cross-entropy of (B, ...) samples, in nats; `half`: with convolutions in bfloat16."""
        if half and samples.dim() == 4:
            samples = samples.contiguous(memory_format=torch.channels_last)
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            scores = self.module(samples)
        return functional.cross_entropy(scores.float(), labels)

    def sgd_step(
        self, lr: float, momentum: float, clip_norm: float, velocity: torch.Tensor, hooks: Hooks = Hooks()
    ) -> None:
        """Clip the accumulated gradient by its norm, take one step of SGD, clear the gradient."""
        if hooks.start is not None:
            self.gradient.add_(self.parameters - hooks.start, alpha=hooks.proximal)
        norm = float(torch.linalg.vector_norm(self.gradient))
        if math.isinf(norm):  # perhaps only its square is too large for float32
            norm = float(torch.linalg.vector_norm(self.gradient, dtype=torch.float64))
        if not norm <= clip_norm:  # a gradient that is not finite spoils the update, which is then rejected
            self.gradient.mul_(clip_norm / (norm + 1e-6) if math.isfinite(norm) else math.nan)
        if hooks.correction is not None:
            self.gradient.add_(hooks.correction)
        if momentum:
            velocity.mul_(momentum).add_(self.gradient)
            self.parameters.sub_(velocity, alpha=lr)
        else:
            self.parameters.sub_(self.gradient, alpha=lr)
        self.gradient.zero_()
