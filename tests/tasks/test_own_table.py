"""A table of the user's own: what is learned from it, and every mistake in it."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.tasks import Table
from fedqs_ray.core.exceptions import ConfigError, DataError, FedqsError
from fedqs_ray.tasks.federated import join_names
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.tasks.samples import hold_out
from fedqs_ray.tasks.sources.table import find_table

Make = Callable[..., Experiment]


def own(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def png(levels: np.ndarray[Any, Any], kind: str = "png") -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind)
    return file.getvalue()


LEVELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
COLOURED = [png(levels) for levels in LEVELS]
FRACTIONS = png(LEVELS[0, :, :, 0].astype(np.float32), "tiff")


def decode(**settings: Any) -> Any:
    _, make = find_table(Table(**settings))
    return make()


def test_a_table_of_numbers_and_words(tmp_path: Path) -> None:
    rows = 50
    path = own(
        tmp_path / "unheard-of.parquet",
        {
            "age": pa.array(range(rows), pa.int16()),
            "town": pa.array(["oslo", "bern"] * 25).dictionary_encode(),
            "flag": [True, False] * 25,
            "signal": [[float(i), 1.0, -float(i)] for i in range(rows)],
            "who": [f"p{i // 10}" for i in range(rows)],
            "sick": ["yes", "no"] * 25,
        },
    )
    found = decode(train=str(path), label="sick", client="who")
    assert found.features.shape == (40, 6)
    assert found.test_features.shape == (10, 6)
    assert np.allclose(found.features.mean(0), 0, atol=1e-6)
    assert np.allclose(found.features.std(0)[[0, 1, 2, 3, 5]], 1, atol=1e-6)
    assert (found.features[:, 1] > 0).tolist() == (found.labels == 1).tolist(), "oslo says yes, after bern, after no"
    assert found.groups["client"].max() == 4
    assert found.names == {"label": ("no", "yes"), "client": ("p0", "p1", "p2", "p3", "p4")}
    chosen = decode(train=str(path), label="sick", features=("age",))
    assert chosen.features.shape == (40, 1)


@pytest.mark.parametrize("kind", [pa.decimal128(10, 2), pa.decimal256(50, 2)], ids=str)
def test_decimal_numbers_are_numbers(tmp_path: Path, kind: pa.DataType) -> None:
    """As features they are standardised, not ranked; as labels and clients they are whole."""
    amounts, whole = ["9.50", "10.50", "100.25", "2.00", "8.75"] * 8, {"who": range(40), "label": [9, 10] * 20}
    plain = own(tmp_path / "plain.parquet", {"a": list(map(float, amounts))} | whole)
    texts: dict[str, Any] = {"a": amounts} | whole
    exact = {name: pa.array(map(Decimal, values)).cast(kind) for name, values in texts.items()}
    path = own(tmp_path / "exact.parquet", exact)
    found, expected = (decode(train=str(p), label="label", client="who") for p in (path, plain))
    assert np.array_equal(found.features, expected.features)
    assert np.array_equal(found.test_features, expected.test_features)
    assert found.names == expected.names
    assert found.names["label"] == ("9", "10")


def test_text_is_text_however_arrow_holds_it(tmp_path: Path) -> None:
    words = ["oslo", "bern"] * 20
    found = []
    for number, kind in enumerate((pa.string(), pa.large_string(), pa.string_view())):
        column = pa.array(words, kind)
        path = own(tmp_path / f"{number}.parquet", {"a": column, "who": column, "label": column})
        found.append(decode(train=str(path), label="label", client="who"))
    assert all(np.array_equal(one.features, found[0].features) for one in found)
    assert found[0].names == found[1].names == found[2].names


def test_clients_and_labels_have_the_names_of_the_table(experiment: Make, tmp_path: Path) -> None:
    """Five people as five clients, or as two."""
    who = [f"p{row // 10}" for row in range(50)]
    path = own(tmp_path / "t.parquet", {"x": range(50), "sick": ["yes", "no"] * 25, "who": who})
    natural = ["task.name=parquet", f'task.train="{path}"', "task.label=sick", "task.client=who"]
    natural += ["task.partition.name=natural", "server.buffer_size=1"]
    for count, sizes in ((5, {1}), (2, {2, 3})):
        data = load_data(experiment(*natural, f"clients.count={count}"))
        statistics, people = data.client_statistics(), data.dataset.groups["client"]
        assert statistics.label_names == ("no", "yes")
        assert {name.count("p") for name in statistics.names} == sizes
        for client, name in enumerate(statistics.names):
            samples = [*data.train(client), *data.validation(client)]
            assert name == ", ".join(sorted({f"p{people[sample]}" for sample in samples}))
    assert load_data(experiment(*natural, "clients.count=2", "task.partition.name=iid")).client_statistics().names == ()
    assert join_names("abcde") == "a, b, c and 2 more"


def test_a_table_of_pictures(tmp_path: Path, digits_dir: Path) -> None:
    train = next(digits_dir.glob("train*"))
    found = decode(train=str(train), features=("image",), client="writer_id", model="cnn")
    assert found.shape == (1, 8, 8)
    assert len(found.labels) == 1120
    assert found.groups["client"].max() == 34


@pytest.mark.parametrize("part", [0, 1], ids=["training", "held out"])
def test_pictures_are_in_colour_if_any_is(tmp_path: Path, part: int) -> None:
    """Though the first is grey; it gets three channels that are alike."""
    place = hold_out(40)[part][0]
    files = [*COLOURED]
    files[place] = png(LEVELS[place, :, :, 0])
    found = decode(train=str(own(tmp_path / "t.parquet", {"a": files, "label": [0, 1] * 20})))
    expected = LEVELS.copy()
    expected[place] = LEVELS[place, :, :, :1]
    training, held = hold_out(40)
    assert np.array_equal(found.features, expected[training].transpose(0, 3, 1, 2))
    assert np.array_equal(found.test_features, expected[held].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("beside", [[], COLOURED[:1]], ids=["grey", "beside one in colour"])
def test_grey_levels_of_16_bits_are_scaled_to_8(tmp_path: Path, beside: list[bytes]) -> None:
    deep = png(np.repeat(np.array([[100, 1000, 30_000, 60_000]], np.uint16), 8, 0).repeat(2, 1))
    path = own(tmp_path / "t.parquet", {"a": [deep] * (40 - len(beside)) + beside, "label": [0, 1] * 20})
    found = decode(train=str(path))
    levels = found.features[0]
    assert levels.shape == (3 if beside else 1, 8, 8)
    assert levels.min(1).tolist() == levels.max(1).tolist() == [[0, 0, 3, 3, 117, 117, 234, 234]] * len(levels)


GOOD = {"a": [1.0, 2.0] * 20, "label": [0, 1] * 20}
MAP = pa.map_(pa.string(), pa.int64())
BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"a": [1.0] * 40}, {}, 'task.label: there is no column "label"; there are a'),
    (GOOD, {"client": "who"}, 'task.client: there is no column "who"; there are a, label'),
    (GOOD | {"who": ["x", None] * 20}, {"client": "who"}, 'task.client: column "who" lacks a value in 20 of 40 rows'),
    (GOOD | {"when": [datetime(2026, 1, 1, tzinfo=UTC)] * 40}, {}, 'task.features: column "when" is timestamp'),
    (GOOD, {"features": ("b",)}, 'task.features: there is no column "b"; there are a, label'),
    ({"label": [0, 1] * 20}, {}, "task.features: the table has no column besides the label and the client"),
    (GOOD | {"a": [None, *[2.0] * 39]}, {}, 'task.features: column "a" lacks a value in 1 of 40 rows; fill or drop'),
    (GOOD | {"label": [0.5, 1.0] * 20}, {}, 'task.label: column "label" holds fractions'),
    (GOOD | {"label": [Decimal("0.5"), Decimal(1)] * 20}, {}, 'task.label: column "label" holds fractions'),
    (GOOD | {"label": [1] * 40}, {}, 'column "label" must have at least 2 different values, has 1'),
    (GOOD | {"a": [float("inf"), 1.0] * 20}, {}, 'task.features: column "a" holds NaN or infinity in 20 of 40 rows'),
    (GOOD | {"a": [[float("nan")], [1.0]] * 20}, {}, 'task.features: column "a" holds NaN or infinity in its lists'),
    (GOOD | {"a": [[1.0], [1.0, 2.0]] * 20}, {}, 'column "a" must hold number lists of one length'),
    (GOOD | {"a": [b"no", b"png"] * 20}, {}, 'task.features: column "a" does not hold an image in row 0'),
    (GOOD | {"b": [b"png"] * 40}, {}, 'column "b" holds images; must be the only one (features = ["b"]) or none'),
    (GOOD | {"b": [{"bytes": b"png"}] * 40}, {}, 'task.features: column "b" holds images; must be the only one'),
    (
        GOOD | {"a": [FRACTIONS] * 40},
        {},
        "image in row 0: its levels are not of 8 or 16 bits",
    ),
    (GOOD | {"a": [COLOURED[0], png(LEVELS[0, 1:])] * 20}, {}, "images must have one size; row 1 is (8, 7)"),
    (GOOD | {"a": [COLOURED[0], COLOURED[1][:99]] * 20}, {}, "does not hold a whole image in row 1"),
    (GOOD | {"a": [{"b": 1}] * 40}, {}, 'task.features: column "a" is struct<b: int64>; must be numbers, text'),
    (GOOD | {"a": [{"bytes": {"bytes": b""}}] * 40}, {}, 'column "a" is struct<bytes: struct<bytes: binary>>; must'),
    (GOOD | {"a": pa.array([[("b", 1)]] * 40, MAP)}, {}, 'column "a" is map<string, int64'),
    (GOOD | {"a": pa.array([b"1"] * 40, pa.binary(1))}, {}, 'column "a" is fixed_size_binary[1]; must be numbers'),
    (GOOD | {"a": [[]] * 40}, {}, 'column "a" must hold number lists of one length'),
    (GOOD | {"label": [[1]] * 40}, {}, 'task.label: column "label" is list<element: int64>; must be numbers, text'),
    (GOOD | {"label": [b"1", b"2"] * 20}, {}, 'task.label: column "label" is binary; must be numbers, text'),
    (GOOD | {"who": [[1]] * 40}, {"client": "who"}, 'task.client: column "who" is list<element: int64>; must be'),
    ({"a": [1.0] * 4, "label": [0, 1] * 2}, {}, "has 4 rows; must have at least 5 without a task.test"),
    ({"a": [1.0] * 10, "label": [0] * 9 + [1]}, {}, 'the fifth held out: label "1" does not occur in the training'),
]


def kind_of(message: str) -> type[FedqsError]:
    """Mistakes in settings name columns that are not there or cannot be used so; all others are the data's."""
    of_settings = ("there is no column", "must be the only one", "is the label", "is the client")
    return ConfigError if any(words in message for words in of_settings) else DataError


@pytest.mark.parametrize(("columns", "settings", "message"), BAD, ids=[message for _, _, message in BAD])
def test_what_is_wrong_with_a_table_is_said_in_a_line(
    tmp_path: Path, columns: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    path = own(tmp_path / "t.parquet", columns)
    with pytest.raises(FedqsError) as caught:
        decode(train=str(path), **settings)
    assert type(caught.value) is kind_of(message)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tables_that_are_not_there_or_not_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"task\.train = .*no\.parquet\": there is no such Parquet file or folder"):
        decode(train=str(tmp_path / "no.parquet"))
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"task\.train = .*not Parquet"):
        decode(train=str(tmp_path / "text.parquet"))
    (tmp_path / "text.csv").write_text("a,label\n1,0\n")
    with pytest.raises(DataError, match=r"task\.train = .*not Parquet: make it so: pyarrow.parquet.write_"):
        decode(train=str(tmp_path / "text.csv"))


def test_a_test_table_must_have_what_the_training_table_has(tmp_path: Path) -> None:
    train = own(tmp_path / "train.parquet", GOOD)
    for columns, message in (
        ({"label": [0, 1]}, 'task.test: there is no column "a"; there are label'),
        ({"a": [1.0, None], "label": [0, 1]}, 'task.test: column "a" lacks a value in 1 of 2 rows'),
        ({"a": [1.0, 2.0], "label": [0, 2]}, 'task.test: label "2" does not occur in the training rows'),
        ({"a": ["x", "y"], "label": [0, 1]}, 'task.test: column "a" is string, and double in task.train'),
        ({"a": [[1.0], [2.0]], "label": [0, 1]}, 'task.test: column "a" is list<element: double>; must be numbers'),
        ({"a": pa.array([], pa.float64()), "label": pa.array([], pa.int64())}, 'task.test = ".*": has no rows'),
    ):
        test = own(tmp_path / "test.parquet", columns)
        with pytest.raises(kind_of(message), match=f"^{message}"):
            decode(train=str(train), test=str(test))


@pytest.mark.parametrize("row", [[1.0], 1.0, "1"], ids=str)
def test_lists_for_testing_are_as_long_as_those_for_training(tmp_path: Path, row: Any) -> None:
    train = own(tmp_path / "train.parquet", GOOD | {"a": [[1.0, 2.0]] * 40})
    test = own(tmp_path / "test.parquet", {"a": [row, row], "label": [0, 1]})
    with pytest.raises(DataError, match=r'task\.features: column "a" must hold number lists of one length'):
        decode(train=str(train), test=str(test))


def test_folders_of_tables(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    with pytest.raises(DataError, match=r'task\.train = ".*rows": there is no file in this folder'):
        decode(train=str(folder))
    own(folder / "0.parquet", GOOD)
    own(folder / "1.parquet", GOOD)
    assert decode(train=str(folder)).features.shape == (64, 1)
    own(folder / "2.parquet", GOOD | {"a": [[1.0]] * 40})
    with pytest.raises(DataError, match=r'task\.train = ".*rows": not Parquet files with the same columns: .*'):
        decode(train=str(folder))


def test_a_model_for_pictures_needs_pictures(experiment: Make, tmp_path: Path) -> None:
    path = own(tmp_path / "t.parquet", GOOD)
    with pytest.raises(ConfigError, match=r'task\.model = "cnn": needs images, and a sample here is 1 numbers'):
        load_data(experiment("task.name=parquet", f'task.train="{path}"', "task.model=cnn"))
