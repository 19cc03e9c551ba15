"""Models, and the flat vector that a model is everywhere outside of training."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from fedqs_ray.core.types import Layout, Vector


def length(name: str, shape: tuple[int, ...], classes: int, vocabulary: int = 0) -> int:
    """How many numbers a model's `Vector` has; no memory is taken for them."""
    with torch.device("meta"):
        module = build(name, shape, classes, vocabulary)
    floats = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    return sum(tensor.numel() for tensor in [*module.parameters(), *floats])


def build(name: str, shape: tuple[int, ...], classes: int, vocabulary: int = 0) -> nn.Module:
    """A fresh model for (batch, *shape) samples and `classes` labels."""
    flat = math.prod(shape)
    first = [nn.Flatten()] if len(shape) > 1 else []
    match name:
        case "mlp":
            return nn.Sequential(*first, nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, classes))
        case "fcn":
            return nn.Sequential(*first, nn.Linear(flat, 500), nn.ReLU(), Dropout(0.3), nn.Linear(500, classes))
        case "cnn":
            return convolutional(shape, [[16], [32], [64]], classes, batch_norm=False)
        case "vgg16":
            blocks = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
            return convolutional(shape, blocks, classes, batch_norm=True)
        case "resnet18":
            from torchvision.models import resnet18  # type: ignore[import-untyped]  # a second to import

            model: nn.Module = resnet18(num_classes=classes, norm_layer=BatchNorm)
            model.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()
            return model
        case "lstm":
            return NextCharacter(vocabulary, classes)
        case _:
            raise AssertionError(name)


def convolutional(shape: tuple[int, ...], blocks: list[list[int]], classes: int, *, batch_norm: bool) -> nn.Module:
    """Blocks of 3x3 convolutions, each block with a pooling that halves the picture; then one linear layer."""
    layers: list[nn.Module] = []
    channels, height, width = shape
    for block in blocks:
        for count in block:
            layers.append(nn.Conv2d(channels, count, 3, padding=1, bias=not batch_norm))
            layers += [BatchNorm(count)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            channels = count
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
        height, width = -(-height // 2), -(-width // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes))


class BatchNorm(nn.BatchNorm2d):
    """Batch norm for any batch: where a channel has but one number, a lone sample's on a map of 1x1, that has no
    statistics of its own, and the running ones serve. PyTorch's refuses it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, (batch, channels, height, width), normalised in each channel."""
        if self.training and x.numel() == self.num_features:
            mean, variance = self.running_mean, self.running_var
            return functional.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(x)


class Dropout(nn.Module):
    """Dropout that draws 16 random bits a number, several times faster than torch's, whose draws take up most of a
    small model's step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.kept = round((1.0 - p) * 2**16)
        """Of 65,536."""
        self.scale = 2**16 / self.kept
        """What a kept number is multiplied by."""
        self.generator: torch.Generator | None = None
        """Where masks come from; torch's own generator if None."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, and in training some of it."""
        return x * self.mask(x, self.generator) if self.training else x

    def mask(self, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """What `x` is multiplied by: 0, or a little more than 1."""
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        return self.chosen(words.random_(-(2**63), None, generator=generator))[: x.numel()].view(x.shape)

    def chosen(self, words: torch.Tensor) -> torch.Tensor:
        """(..., 4 n) numbers of a mask from (..., n) random int64."""
        bits = words.view(torch.int16).float()
        return bits.neg_().add_(self.kept - 2**15).clamp_(0.0, 1.0).mul_(self.scale)  # whole numbers become 0 or 1


def generators(seed: int, device: torch.device) -> tuple[torch.Generator, torch.Generator]:
    """For one job: where its order of samples comes from; and, on `device`, its augmentation and dropout.

    `torch.manual_seed` would do, but keeps a traceback of every call for a CUDA that never comes.
    """
    return torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed ^ 1)


class NextCharacter(nn.Module):
    """Embedding of 8, two LSTM layers of 128, and the last state's guess (McMahan et al. 2017)."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 8)
        self.lstm = nn.LSTM(8, 128, num_layers=2, batch_first=True)
        self.guess = nn.Linear(128, classes)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Scores (batch, classes) from character codes (batch, t)."""
        states, _ = self.lstm(self.embedding(codes))
        scores: torch.Tensor = self.guess(states[:, -1])
        return scores


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
