"""A PyTorch module as one flat vector, the form of a model everywhere outside of training."""

import torch
from torch import nn
from torch.nn import functional

from fedqs_ray.core.types import Layout, Vector


def make_generators(seed: int, device: torch.device) -> tuple[torch.Generator, torch.Generator]:
    """Random generators of one job: for the order of its samples; and, on `device`, for augmentation and dropout.

    `torch.manual_seed` would do, but keeps a traceback of every call for a CUDA that never comes.
    """
    return torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed ^ 1)


class FlatModel:
    """A module whose parameters, gradients and float buffers are views of two flat tensors.

    Loading a version is one copy; an optimiser's step works on whole vectors.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take over a module, on its device."""
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
        """Set the module to a (P + B,) vector."""
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
