"""Inputs of models from stored samples: normalised pictures, character codes; crops and flips in training."""

import torch

from fedqs_ray.tasks.samples import Dataset

PADDING = 4
"""Pixels, as is customary for CIFAR (He et al. 2016)."""


class Inputs:
    """Transform of a batch of stored samples into a model's input."""

    def __init__(self, dataset: Dataset, augment: bool, device: torch.device) -> None:
        self.text, self.augment = dataset.vocabulary > 0, augment and len(dataset.shape) == 3
        self.statistics: tuple[torch.Tensor, torch.Tensor] | None = None
        if dataset.mean is not None and dataset.deviation is not None:
            mean, deviation = torch.tensor(dataset.mean), torch.tensor(dataset.deviation)
            self.statistics = mean.view(-1, 1, 1).to(device), deviation.view(-1, 1, 1).to(device)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, ...) as stored to (B, ...) as the model wants it."""
        if self.text:
            return batch.long()
        if self.statistics is None:
            return batch
        mean, deviation = self.statistics
        return (batch.float() - mean) / deviation

    def training(self, batch: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """The input for training: with crops and flips if the task says so, drawn from a `generator` on the batch's
        device, or torch's own.
        """
        return self(crop_and_flip(batch, generator) if self.augment else batch)


def crop_and_flip(images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Each picture of (B, C, H, W) padded by 4 with zeros, cropped back at a random place, and flipped or not."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    device = images.device
    places = torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator, device=device)
    rows = places[0] + torch.arange(height, device=device)
    columns = places[1] + torch.arange(width, device=device)
    flip = torch.randint(0, 2, (count, 1), dtype=torch.bool, generator=generator, device=device)
    columns = torch.where(flip, columns.flip(1), columns)
    picture = torch.arange(count, device=device)[:, None, None]
    found = padded[picture, :, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)
