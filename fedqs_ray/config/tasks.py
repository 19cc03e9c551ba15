"""The settings of tasks and partitions: what is learned, from whose data. Their help texts are as in config.py."""

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
    """Shards that a client gets: about the number of labels it knows."""


class Groups(Section):
    """Every client holds samples of one sex or one race only; sizes are lognormal (FedQS paper)."""

    name: Literal["sex", "race"] = "sex"
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm of a client's size."""


class LabelQuantity(Section):
    """Every client knows a few labels; a label's samples go in equal parts to those who know it (Li et al. 2022)."""

    name: Literal["label-quantity"] = "label-quantity"
    labels: int = Field(2, ge=1, le=MANY)
    """Labels that a client knows."""


class Quantity(Section):
    """Samples dealt at random, in unequal parts: sizes are lognormal."""

    name: Literal["lognormal"] = "lognormal"
    sigma: Sigma = 1.0
    """Standard deviation of the logarithm of a client's size."""


class Natural(Section):
    """The source's own clients: writers, speaking roles, a table's client column. More of them than
    `clients.count` are joined at random, in equal numbers.
    """

    name: Literal["natural"] = "natural"


Artificial = IID | Dirichlet | Shards | LabelQuantity | Quantity
"""Partitions that need labels only."""


class Digits(Section):
    """8x8 handwritten digits, 10 classes, bundled with scikit-learn: needs no download."""

    name: Literal["digits"] = "digits"
    model: Literal["mlp", "fcn"] = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3."""
    partition: Annotated[Artificial, Field(discriminator="name")] = Dirichlet()


class Adult(Section):
    """UCI Adult: does a person earn over 50K, from 11 columns."""

    name: Literal["adult"] = "adult"
    model: Literal["mlp", "fcn"] = "fcn"
    """fcn: 11-500-2 with dropout 0.3 (FedQS paper); mlp: one hidden layer of 64."""
    data_dir: PathText = "data/adult"
    """Folder with the UCI files adult.data and adult.test; `fedqs data adult` fetches them."""
    partition: Annotated[Artificial | Groups, Field(discriminator="name")] = Groups()


ImageModel = Literal["cnn", "resnet18", "vgg16", "mlp", "fcn"]


class Images(Section):
    """What the image tasks share."""

    name: Literal["cifar10", "cifar100", "mnist", "emnist"]
    model: ImageModel = "cnn"
    """cnn: three 3x3 convolutions (16, 32, 64) without batch norm; resnet18: CIFAR form, 3x3 stem, no first
    pooling (FedQS paper); vgg16: with batch norm; mlp, fcn: on flat pixels."""
    data_dir: PathText
    augment: bool = True
    """Whether training pictures are cropped at random after padding by 4, and flipped."""
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
    """Whether training pictures are cropped at random after padding by 4, and flipped."""


class Emnist(Images):
    """EMNIST by class: 28x28 grey digits and letters, 62 classes. `natural` needs a table with writers (FEMNIST)."""

    name: Literal["emnist"] = "emnist"
    data_dir: PathText = "data/emnist"
    """Folder with train and test Parquet files in the hub's layout, or torchvision's download."""
    augment: bool = False
    """Whether training pictures are cropped at random after padding by 4, and flipped."""


class Shakespeare(Section):
    """The next character of Shakespeare's plays; clients are speaking roles (FedQS paper)."""

    name: Literal["shakespeare"] = "shakespeare"
    model: Literal["lstm"] = "lstm"
    """lstm: embedding of 8, two layers of 128 (FedQS paper)."""
    data_dir: PathText = "data/shakespeare"
    """Folder of plays, one text file each: SPEAKER, tab, first line of a speech; further lines after a tab."""
    stride: int = Field(20, ge=1, le=MANY)
    """Characters between the starts of two samples; 20 gives about LEAF's customary twentieth of them all."""
    partition: Annotated[Natural | Artificial, Field(discriminator="name")] = Natural()


class Synthetic(Section):
    """Synthetic(alpha, beta) of FedProx (Li et al. 2020): 60 numbers, 10 classes, made for any number of clients."""

    name: Literal["synthetic"] = "synthetic"
    model: Literal["mlp", "fcn"] = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3."""
    alpha: float = Field(1.0, ge=0, le=1e6)
    """Variance between the clients' true models (FedProx: 0, 0.5, 1)."""
    beta: float = Field(1.0, ge=0, le=1e6)
    """Variance between the clients' samples (FedProx: 0, 0.5, 1)."""
    max_samples: int = Field(2000, ge=5, le=MANY)
    """A client's samples are 50 + lognormal(4, 2), at most this."""
    partition: Annotated[Natural | Artificial, Field(discriminator="name")] = Natural()


class Table(Section):
    """Your own Parquet file: columns of numbers, text or lists of numbers, or one of pictures; and a label."""

    name: Literal["parquet"] = "parquet"
    model: ImageModel = "mlp"
    """mlp: one hidden layer of 64; fcn: one of 500 with dropout 0.3; for pictures also cnn, resnet18, vgg16."""
    train: PathText = "data/train.parquet"
    """Parquet file, or folder of them, with the training rows."""
    test: PathText | None = None
    """The same for the test rows. Default: a fifth of the training rows is held out."""
    label: Text = "label"
    """Column to predict: whole numbers, text or true and false."""
    features: tuple[Text, ...] | None = Field(None, strict=False, min_length=1)
    """Columns to predict from. Default: all others. Numbers are standardised, text becomes its rank."""
    client: Text | None = None
    """Column that says whose row it is, for the `natural` partition."""
    augment: bool = False
    """Whether training pictures are cropped at random after padding by 4, and flipped."""
    partition: Annotated[Artificial | Natural, Field(discriminator="name")] = Dirichlet()


TaskConfig = Annotated[
    Digits | Adult | Cifar10 | Cifar100 | Mnist | Emnist | Shakespeare | Synthetic | Table,
    Field(discriminator="name"),
]
