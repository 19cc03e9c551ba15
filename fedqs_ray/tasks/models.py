"""Models: small, common architectures for numbers, pictures and text."""

import math

import torch
from torch import nn
from torch.nn import functional


def count_numbers(name: str, shape: tuple[int, ...], classes: int, vocabulary: int = 0) -> int:
    """Length of a model's `Vector`, computed without its memory."""
    with torch.device("meta"):
        module = build_model(name, shape, classes, vocabulary)
    floats = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    return sum(tensor.numel() for tensor in [*module.parameters(), *floats])


def build_model(name: str, shape: tuple[int, ...], classes: int, vocabulary: int = 0) -> nn.Module:
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
        """Numbers kept of 65,536."""
        self.scale = 2**16 / self.kept
        """Factor of a kept number."""
        self.generator: torch.Generator | None = None
        """Generator of the masks; torch's own if None."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`; in training, with some of it set to 0."""
        return x * self.mask(x, self.generator) if self.training else x

    def mask(self, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Mask that `x` is multiplied by: 0, or a little more than 1."""
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        return self.chosen(words.random_(-(2**63), None, generator=generator))[: x.numel()].view(x.shape)

    def chosen(self, words: torch.Tensor) -> torch.Tensor:
        """(..., 4 n) numbers of a mask from (..., n) random int64."""
        bits = words.view(torch.int16).float()
        return bits.neg_().add_(self.kept - 2**15).clamp_(0.0, 1.0).mul_(self.scale)  # whole numbers become 0 or 1


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
