"""Pictures, plays, tables and made-up data: every source of a task."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.tasks import Synthetic
from fedqs_ray.core.exceptions import DataError
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.tasks.sources.synthetic import generate
from fedqs_ray.tasks.sources.text import plays, shakespeare, speeches, windows

Make = Callable[..., Experiment]


def own(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def png(levels: np.ndarray[Any, Any], kind: str = "png") -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind)
    return file.getvalue()


def test_pictures_in_the_hubs_layout(experiment: Make, digits_dir: Path) -> None:
    data = load_data(experiment("task.name=mnist", f'task.data_dir="{digits_dir}"')).dataset
    assert data.features.shape == (1400, 1, 8, 8)
    assert data.test_features.shape == (397, 1, 8, 8)
    original = (load_digits().images * 15).astype(np.uint8)
    assert np.array_equal(data.features[:, 0], original[:1400])
    assert np.array_equal(data.test_labels, load_digits().target[1400:])


def test_writers_are_natural_clients(experiment: Make, digits_dir: Path) -> None:
    settings = ["task.name=emnist", f'task.data_dir="{digits_dir}"', "task.partition.name=natural"]
    data = load_data(experiment(*settings, "clients.count=35"))
    for client in range(35):
        own = np.concatenate([data.train(client), data.validation(client)])
        assert len(set((own // 40).tolist())) == 1


def test_cifar10(experiment: Make, cifar_dir: Path) -> None:
    data = load_data(experiment("task.name=cifar10", f'task.data_dir="{cifar_dir}"')).dataset
    assert data.features.shape == (1000, 3, 32, 32)
    assert data.classes == 10
    assert data.labels[:5].tolist() == [6, 9, 9, 4, 1], "frog, truck, truck, deer, car"
    assert data.mean is not None
    assert data.mean.tolist() == pytest.approx([125.3, 123.0, 113.9], abs=4)
    assert data.features[0].mean() != data.features[1].mean()


def write_idx(path: Path, array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes())


@pytest.mark.parametrize(("name", "below", "prefix"), [("mnist", "MNIST", ""), ("emnist", "EMNIST", "emnist-byclass-")])
def test_what_torchvision_downloaded(experiment: Make, tmp_path: Path, name: str, below: str, prefix: str) -> None:
    """Its files, with scikit-learn's digits in them, padded to 28x28."""
    bunch = load_digits()
    pixels = np.pad((bunch.images * 15).astype(np.uint8), ((0, 0), (10, 10), (10, 10)))
    stored = pixels.transpose(0, 2, 1) if name == "emnist" else pixels
    train, test = ("train", "test") if name == "emnist" else ("train", "t10k")
    for split, part in ((train, slice(0, 1500)), (test, slice(1500, 1797))):
        write_idx(tmp_path / below / "raw" / f"{prefix}{split}-images-idx3-ubyte", np.ascontiguousarray(stored[part]))
        write_idx(tmp_path / below / "raw" / f"{prefix}{split}-labels-idx1-ubyte", bunch.target[part].astype(np.uint8))
    data = load_data(experiment(f"task.name={name}", f'task.data_dir="{tmp_path}"')).dataset
    assert np.array_equal(data.features[:, 0], pixels[:1500])
    assert np.array_equal(data.test_labels, bunch.target[1500:])
    assert data.classes == {"mnist": 10, "emnist": 62}[name]


def test_no_pictures_there(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"task\.data_dir = .*`fedqs data cifar10 --dir DIR` downloads"):
        load_data(experiment("task.name=cifar10", f'task.data_dir="{tmp_path}"'))
    for split in ("train", "test"):
        pq.write_table(pa.table({"x": [1], "label": [1]}), tmp_path / f"{split}.parquet")
    with pytest.raises(DataError, match=r"must have a column of images and one of label, fine_label.*x, label"):
        load_data(experiment("task.name=cifar10", f'task.data_dir="{tmp_path}"'))


LEVELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
COLOURED = [png(levels) for levels in LEVELS]
FRACTIONS = png(LEVELS[0, :, :, 0].astype(np.float32), "tiff")
HUB = {"img": COLOURED, "label": [0, 1] * 20}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("test", HUB | {"img": [png(levels[:, :, 0]) for levels in LEVELS]}, r"test files: images are \(1, 8, 8\), and"),
    ("test", HUB | {"img": ["here"] * 40}, 'column "img" is string; must hold images'),
    ("test", {"img": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "the test files have no rows"),
    ("test", HUB | {"label": [0, 7] * 20}, 'test files: label "7" does not occur in the training rows'),
    ("train", HUB | {"label": [0, None] * 20}, 'column "label" lacks a value in 20 of 40 rows; fill or drop them'),
    ("train", HUB | {"writer": [None, "b"] * 20}, 'column "writer" lacks a value in 20 of 40 rows; fill or drop them'),
    ("train2", HUB | {"x": [1] * 40}, r'column "x" is int64 in .*train2\.parquet, and missing in train\.parquet'),
    ("train2", HUB | {"label": ["a", "b"] * 20}, 'column "label" is string in .*, and int64 in train.parquet'),
]


@pytest.mark.parametrize(("name", "columns", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_what_is_wrong_with_pictures_in_the_hubs_layout_is_said_in_a_line(
    experiment: Make, tmp_path: Path, name: str, columns: dict[str, Any], message: str
) -> None:
    for split, held in {"train": HUB, "test": HUB, name: columns}.items():
        own(tmp_path / f"{split}.parquet", held)
    with pytest.raises(DataError, match=rf"^task\.data_dir.*{message}") as caught:
        load_data(experiment("task.name=cifar10", f'task.data_dir="{tmp_path}"'))
    assert "\n" not in str(caught.value)


# Plays

PLAY = """\
\tMUCH ADO

\tDRAMATIS PERSONAE

ANNA\ta queen.

\tMUCH ADO

ACT I

SCENE I\tA street.

\t[Enter ANNA and
\tBEN, in haste]

ANNA\tWho's there?
\tStand, ho!

BEN\tA friend.

\t[Aside]

\tOr none.

ANNA\tGood night.
"""


def test_speeches(tmp_path: Path) -> None:
    (tmp_path / "play").write_text(PLAY, encoding="utf-8")
    assert speeches(tmp_path / "play") == {
        "ANNA": "Who's there?\nStand, ho!\nGood night.",
        "BEN": "A friend.\nOr none.",
    }


def test_windows() -> None:
    numbers = np.arange(100, dtype=np.uint8)
    found = windows(numbers, 7)
    assert found.shape == (3, 81)
    assert found[1].tolist() == list(range(7, 88))
    assert windows(numbers[:80], 1).shape == (0, 81)


def test_shakespeare(experiment: Make, shakespeare_dir: Path) -> None:
    data = load_data(experiment("task.name=shakespeare", f'task.data_dir="{shakespeare_dir}"', "task.stride=80"))
    dataset = data.dataset
    assert dataset.features.dtype == np.uint8
    assert dataset.shape == (80,)
    assert 40_000 < len(dataset.labels) < 60_000
    assert 70 < dataset.classes == dataset.vocabulary < 90
    roles = dataset.groups["client"]
    assert 1_000 < roles.max() < 1_300
    owner: dict[int, int] = {}
    for client in range(12):
        for role in np.unique(roles[np.concatenate([data.train(client), data.validation(client)])]).tolist():
            assert owner.setdefault(role, client) == client, "a role is never split"
    following = dataset.features[1:, 0][roles[1:] == roles[:-1]]
    assert np.array_equal(following, dataset.labels[:-1][roles[1:] == roles[:-1]]), "at stride 80 windows touch"


def test_no_plays(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no plays; must be a folder of text files"):
        plays(tmp_path)
    (tmp_path / "short").write_text(PLAY)
    with pytest.raises(DataError, match="no role there says more than 80 characters"):
        shakespeare(plays(tmp_path), 1)
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="noise is not a text file"):
        shakespeare(plays(tmp_path), 1)


# Made-up data


def test_synthetic_clients_differ_as_alpha_and_beta_say() -> None:
    def means(beta: float) -> float:
        data = generate(Synthetic(alpha=0.0, beta=beta), 0, 30)
        own = [data.features[data.groups["client"] == client].mean() for client in range(30)]
        return float(np.std(own))

    assert means(0.0) < 0.3 < 0.8 < means(2.0)
    data = generate(Synthetic(), 0, 30)
    assert data.features.shape[1] == 60
    assert set(data.labels.tolist()) <= set(range(10))
    assert np.bincount(data.groups["client"]).min() >= 40


def test_a_synthetic_client_does_not_depend_on_how_many_there_are() -> None:
    few, many = (generate(Synthetic(), 3, count) for count in (5, 50))
    assert np.array_equal(few.features, many.features[: len(few.features)])
    assert not np.array_equal(few.features[:20], generate(Synthetic(), 4, 5).features[:20])


# A user's own table
