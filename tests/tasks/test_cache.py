import os
from pathlib import Path

import numpy as np
import pytest

from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.tasks.cache import find_cache_folder, load_cached
from fedqs_ray.tasks.samples import Dataset, image_dataset

RANDOM = np.random.default_rng(0)


def pictures() -> Dataset:
    return image_dataset(
        RANDOM.integers(0, 256, (30, 3, 4, 5), np.uint8),
        RANDOM.integers(0, 2, 30),
        RANDOM.integers(0, 256, (7, 3, 4, 5), np.uint8),
        RANDOM.integers(0, 2, 7),
        2,
        {"client": np.arange(30) % 4},
        {"client": ("a", "b", "c", "d")},
    )


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDQS_CACHE", str(tmp_path / "client_states"))
    (tmp_path / "source").write_text("one")
    return tmp_path / "source"


def never() -> Dataset:
    raise AssertionError("decoded again")


def test_a_dataset_comes_back_as_it_was_and_is_decoded_once(source: Path) -> None:
    original = pictures()
    for found in (load_cached("t", [source], "k", lambda: original), load_cached("t", [source], "k", never)):
        for name in ("features", "labels", "test_features", "test_labels", "mean", "deviation"):
            assert np.array_equal(getattr(found, name), getattr(original, name)), name
            assert getattr(found, name).dtype == getattr(original, name).dtype
        assert found.groups["client"].tolist() == original.groups["client"].tolist()
        assert found.names == original.names
        assert (found.classes, found.vocabulary, found.shape) == (2, 0, (3, 4, 5))
        assert not found.features.flags.writeable
        assert not found.features.flags.owndata, "a view of the mapped file"


def test_another_source_or_key_is_decoded_anew(source: Path) -> None:
    load_cached("t", [source], "k", pictures)
    with pytest.raises(AssertionError, match="decoded again"):
        load_cached("t", [source], "other", never)
    source.write_text("two, longer")
    with pytest.raises(AssertionError, match="decoded again"):
        load_cached("t", [source], "k", never)
    assert len(list(find_cache_folder().iterdir())) == 1, "a failure leaves nothing behind"


def test_a_cache_folder_that_cannot_be(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDQS_CACHE", str(source / "below-a-file"))
    with pytest.raises(ConfigError, match=r"FEDQS_CACHE = .*: cannot be written"):
        load_cached("t", [source], "k", pictures)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_cache_folder() == Path(os.environ["FEDQS_CACHE"])
    monkeypatch.delenv("FEDQS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert find_cache_folder() == Path("/somewhere/fedqs_ray")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert find_cache_folder() == Path.home() / ".cache" / "fedqs_ray"


def test_normalising_statistics() -> None:
    found = pictures()
    for channel in range(3):
        values = found.features[:, channel].astype(float)
        assert found.mean is not None
        assert found.deviation is not None
        assert found.mean[channel] == pytest.approx(values.mean(), rel=1e-6)
        assert found.deviation[channel] == pytest.approx(values.std(), rel=1e-6)
