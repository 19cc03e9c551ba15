from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedqs_ray.algorithms.fedqs import FedQS
from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.config.algorithms import FedQSConfig
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.interfaces import Aggregation, Algorithm, ClientView, Round
from fedqs_ray.core.types import Job, Plan, Thresholds, TrainingRequest
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.tasks.models import BatchNorm, Dropout, build_model
from fedqs_ray.tasks.samples import image_dataset
from fedqs_ray.training.flat_model import FlatModel
from fedqs_ray.training.inputs import Inputs, crop_and_flip
from fedqs_ray.training.trainer import Trainer

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)

SIZES = {
    ("mlp", (64,)): 64 * 64 + 64 + 64 * 10 + 10,
    ("fcn", (11,)): 11 * 500 + 500 + 500 * 10 + 10,
    ("mlp", CIFAR): 3072 * 64 + 64 + 64 * 10 + 10,
    ("cnn", CIFAR): 448 + 4640 + 18_496 + 1024 * 10 + 10,
    ("cnn", MNIST): 160 + 4640 + 18_496 + 1024 * 10 + 10,
    ("resnet18", CIFAR): 11_173_962,  # He et al. 2016 in the customary CIFAR form
    ("vgg16", CIFAR): 14_723_136 - 4224 + 512 * 10 + 10,  # torchvision's features with batch norm; biases dropped
}


@pytest.mark.parametrize(("name", "shape"), SIZES, ids=str)
def test_sizes_and_outputs(name: str, shape: tuple[int, ...]) -> None:
    model = build_model(name, shape, 10)
    assert sum(p.numel() for p in model.parameters()) == SIZES[name, shape]
    for batch in (1, 3):
        assert model(torch.rand(batch, *shape)).shape == (batch, 10), "a client with one sample trains as well"


def test_grey_pictures_fit_every_picture_model() -> None:
    for name in ("cnn", "resnet18", "vgg16", "mlp", "fcn"):
        assert build_model(name, MNIST, 62)(torch.rand(2, *MNIST)).shape == (2, 62)


def test_the_next_character() -> None:
    model = build_model("lstm", (80,), 80, vocabulary=80)
    assert [tuple(p.shape) for p in model.parameters()][:3] == [(80, 8), (512, 8), (512, 128)]
    codes = torch.randint(0, 80, (4, 80))
    scores = model(codes)
    assert scores.shape == (4, 80)
    codes[:, 0] = (codes[:, 0] + 1) % 80
    assert not torch.equal(model(codes), scores), "the first of 80 characters counts"


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_a_lone_small_picture_trains(name: str, half: bool) -> None:
    """Maps of 1x1 are normalised by the running statistics, which stay; those of larger maps move."""
    flat = FlatModel(build_model(name, (1, 8, 8), 10))
    before = flat.read()
    flat.loss(torch.rand(1, 1, 8, 8), torch.tensor([3]), half).backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(flat.gradient).all()
    assert (flat.gradient != 0).float().mean() > 0.1
    moved = flat.layout.split(flat.read() != before)
    changed = [bool(statistics.any()) for tensor, statistics in moved.items() if "running" in tensor]
    assert changed[0]
    assert not changed[-1]


def test_batches_are_normalised_as_by_pytorch() -> None:
    """To the bit, and one picture of more than one pixel too."""
    own, torchs = BatchNorm(5), torch.nn.BatchNorm2d(5)
    for shape in ((2, 5, 1, 1), (1, 5, 1, 2), (7, 5, 4, 4)):
        x = torch.randn(shape)
        assert torch.equal(own(x), torchs(x))
    assert all(torch.equal(a, b) for a, b in zip(own.buffers(), torchs.buffers(), strict=True))


def test_batch_norms_statistics_travel_with_the_model() -> None:
    flat = FlatModel(build_model("resnet18", CIFAR, 10))
    assert flat.layout.parameters == 11_173_962
    statistics = flat.vector.numel() - flat.layout.parameters
    assert statistics == 2 * 4800  # means and variances of ResNet-18's 4,800 normalised channels
    before = flat.read()
    flat.module.train()
    flat.module(torch.rand(4, *CIFAR))
    after = flat.read()
    assert np.array_equal(before[: flat.layout.parameters], after[: flat.layout.parameters])
    assert not np.array_equal(before, after)
    flat.load(before)
    assert flat.module.get_buffer("bn1.running_mean").abs().sum() == 0


def test_crop_and_flip_against_the_slow_way() -> None:
    images = torch.randint(0, 256, (40, 3, 12, 10), dtype=torch.uint8)
    torch.manual_seed(1)
    found = crop_and_flip(images)
    torch.manual_seed(1)
    places = torch.randint(0, 9, (2, 40, 1))
    flips = torch.randint(0, 2, (40, 1), dtype=torch.bool)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for number in range(40):
        top, left = int(places[0, number]), int(places[1, number])
        expected = padded[number, :, top : top + 12, left : left + 10]
        assert torch.equal(found[number], expected.flip(2) if flips[number] else expected)
    assert found.shape == images.shape
    assert 5 < int(flips.sum()) < 35


def test_pictures_are_normalised_and_only_training_changes_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), np.uint8)
    labels = np.zeros(50, np.int64)
    inputs = Inputs(image_dataset(pixels, labels, pixels, labels, 10), augment=True, device=torch.device("cpu"))
    found = inputs(torch.from_numpy(pixels))
    assert found.mean((0, 2, 3)).abs().max() < 1e-5
    assert (found.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    assert not torch.equal(inputs.training(torch.from_numpy(pixels)), found)


def test_similarity_never_sees_running_statistics(experiment: Callable[..., Experiment], cifar_dir: Path) -> None:
    """They drift by themselves, so they have no direction."""
    setting = experiment(
        "task.name=cifar10", f'task.data_dir="{cifar_dir}"', "task.model=resnet18", "clients.count=200",
        "training.local_epochs=1",
    )  # fmt: skip
    seen: list[ClientView] = []

    class Spy(Algorithm):
        def plan(self, view: ClientView) -> Plan:
            seen.append(view)
            return Plan(lr=0.01, momentum=0.0)

        def aggregate(self, round: Round) -> Aggregation:
            raise AssertionError(round)

    task = Trainer(setting, load_data(setting), Spy())
    start, layout = task.initial_model()
    update = task.train_one(
        TrainingRequest(Job(0, 0, 0, 0.0, 1.0, False, 0.1, None, Thresholds()), start, start, start)
    )
    assert update.delta.size == start.size == sum(int(np.prod(shape)) for shape in layout.shapes)
    assert seen[0].parameters == 11_173_962 < start.size
    fedqs = FedQS(FedQSConfig(), base_lr=0.1)
    earlier, statistics = start.copy(), start.copy()
    earlier[: seen[0].parameters] -= np.float32(1)
    statistics[seen[0].parameters :] += np.float32(1e6)
    before = fedqs.dissimilarity(replace(seen[0], extra=earlier, client_state=start))
    after = fedqs.dissimilarity(replace(seen[0], extra=earlier, client_state=statistics))
    assert before == after
    assert before is not None
    assert before > 1.0


def test_dropout_keeps_what_it_says_and_the_mean() -> None:
    layer = Dropout(0.3)
    layer.generator = torch.Generator().manual_seed(1)
    x = torch.ones(1000, 501)
    dropped = layer(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7], rel=1e-4)
    assert float((dropped > 0).float().mean()) == pytest.approx(0.7, abs=0.003)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.004)
    assert not torch.equal(layer(x), dropped), "every call draws anew"
    layer.generator.manual_seed(1)
    assert torch.equal(layer(x), dropped), "from its generator alone"
    assert torch.equal(layer.eval()(x), x)


def test_bfloat16_trains_almost_the_same(experiment: Callable[..., Experiment], cifar_dir: Path) -> None:
    settings = [
        "task.name=cifar10", f'task.data_dir="{cifar_dir}"', "training.local_epochs=1", "training.lr=0.02",
        "training.clip_norm=1",
    ]  # fmt: skip
    found = []
    for precision in ("float32", "bfloat16"):
        setting = experiment(*settings, f"training.precision={precision}")
        task = Trainer(setting, load_data(setting), build_algorithm(setting))
        start, _ = task.initial_model()
        job = Job(0, 0, 0, 0.0, 1.0, False, 0.02, None, Thresholds())
        found.append(task.train_one(TrainingRequest(job, start, None, None)))
    exact, rough = found
    cosine = float(exact.delta @ rough.delta / (np.linalg.norm(exact.delta) * np.linalg.norm(rough.delta)))
    assert 0.98 < cosine < 1 - 1e-7, "rounded, but the same direction"
    assert rough.loss == pytest.approx(exact.loss, rel=0.02)


def test_bfloat16_is_for_convolutions(experiment: Callable[..., Experiment]) -> None:
    with pytest.raises(ConfigError, match=r'training\.precision = "bfloat16": task\.model = "mlp" has no'):
        experiment("training.precision=bfloat16")
    with pytest.raises(ConfigError, match=r"training\.clients_per_step = 2: .* together in float32 only; must be 1"):
        experiment("task.name=cifar10", "training.precision=bfloat16", "training.clients_per_step=2")
