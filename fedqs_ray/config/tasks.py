"""Settings of tasks and partitions: datasets, models, and the division of samples among clients."""

from typing import Annotated, Literal

from pydantic import Field

from fedqs_ray.config.base import MANY, PathText, Section, Sigma, Text


class IID(Section):
    """Samples dealt at random, in equal parts."""

    name: Literal["iid"] = "iid"


class Dirichlet(Section):
    """Each class divided over the clients by Dirichlet(alpha) shares: smaller is more skewed."""

    name: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(0.5, ge=1e-6, le=1e6)
    """Concentration x (FedQS paper: 0.1, 0.5 and 1)."""


class Shards(Section):
    """Samples sorted by label, cut into equal shards, a few for each client (McMahan et al. 2017)."""

    name: Literal["shards"] = "shards"
    per_client: int = Field(2, ge=1, le=MANY)
    """Shards of a client, about the number of its labels."""


class Groups(Section):
    """Every client holds samples of one sex or one race only; sizes are lognormal (FedQS paper)."""

    name: Literal["sex", "race"] = "sex"
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm of a client's size."""


class LabelQuantity(Section):
    """A few labels for each client; a label's samples are dealt in equal parts to its clients (Li et al. 2022)."""

    name: Literal["label-quantity"] = "label-quantity"
    labels: int = Field(2, ge=1, le=MANY)
    """Labels of a client."""


class Quantity(Section):
    """Samples dealt at random, in unequal parts: sizes are lognormal."""

    name: Literal["lognormal"] = "lognormal"
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm of a client's size."""


class Natural(Section):
    """Clients of the source: writers, speaking roles, a table's client column. If there are more than
    `clients.count`, they are merged at random, in equal numbers.
    """

    name: Literal["natural"] = "natural"


Artificial = IID | Dirichlet | Shards | LabelQuantity | Quantity
"""Partitions that need no more than labels."""


class Digits(Section):
    """8x8 handwritten digits, 10 classes, bundled with scikit-learn: needs no download."""

    name: Literal["digits"] = "digits"
    model: Literal["mlp", "fcn"] = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3."""
    partition: Annotated[Artificial, Field(discriminator="name")] = Dirichlet()


class Adult(Section):
    """UCI Adult: income over 50K, from 11 columns."""

    name: Literal["adult"] = "adult"
    model: Literal["mlp", "fcn"] = "fcn"
    """fcn: 11-500-2 with dropout 0.3 (FedQS paper); mlp: one hidden layer of 64."""
    data_dir: PathText = "data/adult"
    """Folder with the UCI files adult.data and adult.test; `fedqs data adult` downloads them."""
    partition: Annotated[Artificial | Groups, Field(discriminator="name")] = Groups()


ImageModel = Literal["cnn", "resnet18", "vgg16", "mlp", "fcn"]


class Images(Section):
    """Settings of the image tasks."""

    name: Literal["cifar10", "cifar100", "mnist", "emnist"]
    model: ImageModel = "cnn"
    """cnn: three 3x3 convolutions (16, 32, 64) without batch norm; resnet18: CIFAR form, 3x3 stem, no first
    pooling (FedQS paper); vgg16: with batch norm; mlp, fcn: on flat pixels."""
    data_dir: PathText
    augment: bool = True
    """Augmentation: random crops of training pictures after padding by 4, and random flips."""
    partition: Annotated[Artificial | Natural, Field(discriminator="name")] = Dirichlet()


class Cifar10(Images):
    """CIFAR-10: 32x32 colour pictures, 10 classes (FedQS paper)."""

    name: Literal["cifar10"] = "cifar10"
    data_dir: PathText = "data/cifar10"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""


class Cifar100(Images):
    """CIFAR-100: 32x32 colour pictures, 100 classes."""

    name: Literal["cifar100"] = "cifar100"
    data_dir: PathText = "data/cifar100"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""


class Mnist(Images):
    """MNIST: 28x28 grey digits, 10 classes."""

    name: Literal["mnist"] = "mnist"
    data_dir: PathText = "data/mnist"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = False
    """Augmentation: random crops of training pictures after padding by 4, and random flips."""


class Emnist(Images):
    """EMNIST by class: 28x28 grey digits and letters, 62 classes. `natural` needs a table with writers (FEMNIST)."""

    name: Literal["emnist"] = "emnist"
    data_dir: PathText = "data/emnist"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = False
    """Augmentation: random crops of training pictures after padding by 4, and random flips."""


class Shakespeare(Section):
    """The next character of Shakespeare's plays; clients are speaking roles (FedQS paper)."""

    name: Literal["shakespeare"] = "shakespeare"
    model: Literal["lstm"] = "lstm"
    """lstm: embedding of 8, two layers of 128 (FedQS paper)."""
    data_dir: PathText = "data/shakespeare"
    """Folder of plays, one text file each: SPEAKER, tab, first line of a speech; further lines after a tab."""
    stride: int = Field(20, ge=1, le=MANY)
    """Characters between the starts of two samples; 20 gives about LEAF's customary twentieth of all samples."""
    partition: Annotated[Natural | Artificial, Field(discriminator="name")] = Natural()


class Synthetic(Section):
    """Synthetic(alpha, beta) of FedProx (Li et al. 2020): 60 features, 10 classes, for any number of clients."""

    name: Literal["synthetic"] = "synthetic"
    model: Literal["mlp", "fcn"] = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3."""
    alpha: float = Field(1.0, ge=0, le=1e6)
    """Variance between the clients' true models (FedProx: 0, 0.5, 1)."""
    beta: float = Field(1.0, ge=0, le=1e6)
    """Variance between the clients' samples (FedProx: 0, 0.5, 1)."""
    max_samples: int = Field(2000, ge=5, le=MANY)
    """Largest number of a client's samples, which is 50 + lognormal(4, 2)."""
    partition: Annotated[Natural | Artificial, Field(discriminator="name")] = Natural()


class Table(Section):
    """A Parquet file of your own: columns of numbers, text or lists of numbers, or one of pictures; and a label."""

    name: Literal["parquet"] = "parquet"
    model: ImageModel = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3; for pictures also cnn, resnet18, vgg16."""
    train: PathText = "data/train.parquet"
    """Parquet file, or folder of them, with the training rows."""
    test: PathText | None = None
    """Parquet file, or folder of them, with the test rows. Default: a fifth of the training rows is held out."""
    label: Text = "label"
    """Column to predict: whole numbers, text or true and false."""
    features: tuple[Text, ...] | None = Field(None, strict=False, min_length=1)
    """Columns to predict from. Default: all others. Numbers are standardised, text is replaced by its rank."""
    client: Text | None = None
    """Column with the client of each row, for the `natural` partition."""
    augment: bool = False
    """Augmentation: random crops of training pictures after padding by 4, and random flips."""
    partition: Annotated[Artificial | Natural, Field(discriminator="name")] = Dirichlet()


TaskConfig = Annotated[
    Digits | Adult | Cifar10 | Cifar100 | Mnist | Emnist | Shakespeare | Synthetic | Table,
    Field(discriminator="name"),
]
