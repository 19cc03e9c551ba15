import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.tasks import Adult
from fedqs_ray.core.exceptions import ConfigError, DataError
from fedqs_ray.tasks.download import download_adult, write_adult
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.tasks.sources.tabular import ADULT_COLUMNS, adult

Make = Callable[..., Experiment]


def test_digits(experiment: Make) -> None:
    data = load_data(experiment())
    assert data.dataset.features.shape == (1438, 64)
    assert data.dataset.test_features.shape == (359, 64)
    assert data.dataset.features.dtype == np.float32
    assert (data.dataset.features.min(), data.dataset.features.max()) == (0.0, 1.0)
    assert set(data.dataset.test_labels.tolist()) == set(range(10))


def test_clients_split_their_samples_8_to_2(experiment: Make) -> None:
    data = load_data(experiment("task.partition.name=iid"))
    seen = []
    statistics = data.client_statistics()
    for client, (train, validation, labels) in enumerate(
        zip(statistics.train.tolist(), statistics.validation.tolist(), statistics.labels.tolist(), strict=True)
    ):
        assert (train, validation) == (data.train(client).size, data.validation(client).size)
        assert train == int(0.8 * (train + validation))
        assert sum(labels) == train + validation
        seen += data.train(client).tolist() + data.validation(client).tolist()
    assert sorted(seen) == list(range(1438))


def test_the_test_set_does_not_move_with_the_seed(experiment: Make) -> None:
    one, two = load_data(experiment("seed=1")), load_data(experiment("seed=2"))
    assert np.array_equal(one.dataset.test_features, two.dataset.test_features)
    assert not np.array_equal(one.order, two.order)


def test_empty_clients_get_a_sample_and_it_is_said(experiment: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="fedqs_ray"):
        data = load_data(experiment("clients.count=100", "task.partition.alpha=0.01"))
    assert "clients empty; each was given one sample of the largest client" in caplog.text
    assert data.train_counts.min() == 1
    assert sorted(data.order.tolist()) == list(range(1438))


def test_more_clients_than_samples(experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"clients\.count = 1439: must be at most 1438"):
        load_data(experiment("clients.count=1439"))


def test_adult_is_read_as_the_paper_says(adult_dir: Path) -> None:
    data = adult(Adult(data_dir=str(adult_dir)))
    assert data.features.shape == (32_561, 11)
    assert data.test_features.shape == (16_281, 11)
    assert data.labels.sum() == 7_841
    assert data.test_labels.sum() == 3_846
    assert np.allclose(data.features.mean(0), 0.0, atol=1e-4)
    assert np.allclose(data.features.std(0, dtype=np.float64), 1.0, atol=1e-4)
    assert np.bincount(data.groups["sex"]).tolist() == [10_771, 21_790]
    assert np.bincount(data.groups["race"]).tolist() == [311, 1_039, 3_124, 271, 27_816]
    assert np.unique(data.features[:, 6]).size == 5  # race
    assert np.unique(data.features[:, 7]).size == 2  # sex


def test_adult_clients_hold_one_sex_or_one_race(experiment: Make, adult_dir: Path) -> None:
    for name in ("sex", "race"):
        data = load_data(experiment("task.name=adult", f'task.data_dir="{adult_dir}"', f"task.partition.name={name}"))
        group = data.dataset.groups[name]
        for client in range(12):
            own = np.concatenate([data.train(client), data.validation(client)])
            assert np.unique(group[own]).size == 1


def test_missing_and_broken_adult_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"adult\.data is missing; `fedqs data adult --dir DIR` fetches"):
        adult(Adult(data_dir=str(tmp_path)))
    (tmp_path / "adult.data").write_text("1, 2, 3\n")
    with pytest.raises(DataError, match=r"adult\.data is not the UCI file"):
        adult(Adult(data_dir=str(tmp_path)))
    (tmp_path / "adult.data").write_text("\n")
    with pytest.raises(DataError, match=r"adult\.data is not the UCI file"):
        adult(Adult(data_dir=str(tmp_path)))


def test_a_fetched_frame_becomes_the_uci_files(adult_dir: Path, tmp_path: Path) -> None:
    """The frame that OpenML serves, made of the real rows: the files written from it read back the same."""
    options: dict[str, Any] = {"names": list(ADULT_COLUMNS), "skipinitialspace": True, "na_values": "?"}
    train = pd.read_csv(adult_dir / "adult.data", **options)
    test = pd.read_csv(adult_dir / "adult.test", comment="|", **options)
    frame = pd.concat([train, test]).rename(columns={"income": "class"})
    paths = [tmp_path / "deep" / "adult.data", tmp_path / "deep" / "adult.test"]
    write_adult(frame, paths)
    again, original = adult(Adult(data_dir=str(tmp_path / "deep"))), adult(Adult(data_dir=str(adult_dir)))
    assert np.array_equal(again.features, original.features)
    assert np.array_equal(again.test_labels, original.test_labels)
    assert download_adult(tmp_path / "deep") == paths  # there already: nothing is fetched
