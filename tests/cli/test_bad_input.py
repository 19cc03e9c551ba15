"""Generated bad input: a valid experiment, or one clear line; never a traceback, never a half-written folder."""

import io
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.config.schema import list_paths
from fedqs_ray.core.exceptions import FedqsError
from fedqs_ray.runs.checkpoints import find_newest
from fedqs_ray.runs.folder import is_run
from fedqs_ray.runs.result import Result
from fedqs_ray.scenarios.trace_file import read_trace

SEEN: Counter[str] = Counter()
PATHS = sorted(list_paths())


@pytest.fixture(scope="module", autouse=True)
def count() -> Iterator[None]:
    """Say at the end how many inputs there were."""
    yield
    print(f"\n{SEEN.total():,} generated inputs: {dict(SEEN)}")
    assert SEEN.total() >= 4 * settings().max_examples


def one_line(call: Any, *arguments: Any) -> bool:
    """Whether `call` accepted its input; a refusal must be a `FedqsError` of one line."""
    SEEN[getattr(call, "__name__", str(call))] += 1
    try:
        call(*arguments)
    except FedqsError as error:
        text = str(error)
        assert text.strip()
        assert "\n" not in text
        assert len(text) < 1200, text
        return False
    return True


NASTY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=3),
    st.sampled_from([0, -1, 1, 2**31, 2**64, -(2**70), 1e308, -0.0, "", "auto", "none", "nan", "../..", "\x00"]),
    st.just("é" * 300),
    st.dictionaries(st.text(string.ascii_lowercase, max_size=6), st.integers(), max_size=2),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PATHS), NASTY), min_size=1, max_size=4))
def test_settings_with_any_value(changes: list[tuple[str, Any]]) -> None:
    def from_overrides() -> Experiment:
        return load_experiment(None, [f"{path}={value}" for path, value in changes])

    one_line(from_overrides)


@given(st.text(max_size=60), st.text(max_size=30))
def test_overrides_with_any_text(key: str, value: str) -> None:
    def any_override() -> Experiment:
        return load_experiment(None, [f"{key}={value}", key])

    one_line(any_override)


@given(st.data())
def test_toml_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    kind = data.draw(st.integers(0, 2))
    if kind == 0:
        path.write_bytes(data.draw(st.binary(max_size=200)))
    elif kind == 1:
        path.write_text(data.draw(st.text(string.printable, max_size=200)), encoding="utf-8")
    else:  # a good file, harmed
        good = bytearray(tomli_w.dumps(Experiment().model_dump(mode="json", exclude_none=True)).encode())
        for place in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=4)):
            good[place] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(good))

    def toml_file() -> Experiment:
        return load_experiment(path)

    one_line(toml_file)


def trace_experiment(path: Path) -> Experiment:
    return load_experiment(None, ["scenario.name=trace", f'scenario.path="{path}"'])


@given(st.data())
def test_trace_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    csv = data.draw(st.booleans())
    path = tmp_path_factory.getbasetemp() / ("any.csv" if csv else "any.parquet")
    names = data.draw(st.lists(st.sampled_from(["client", "time", "duration", "available", "x"]), max_size=5))
    cells = st.one_of(st.integers(-5, 2**40), st.floats(), st.text(max_size=4), st.none(), st.booleans())
    rows = data.draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=4))
    if csv:
        text = io.StringIO()
        text.write(",".join(names) + "\n")
        for row in rows:
            text.write(",".join("" if cell is None else str(cell) for cell in row) + "\n")
        path.write_text(text.getvalue()[: data.draw(st.integers(0, 400))], encoding="utf-8", errors="replace")
    else:
        columns = [pa.array([str(row[place]) for row in rows]) for place in range(len(names))]
        if data.draw(st.booleans()):
            columns = [pa.array(np.arange(len(rows), dtype=np.float64) - 1.0) for _ in names]
        pq.write_table(pa.table(columns, names=names), path)
        whole = bytearray(path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
            whole[place] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) // 2, 3, 0]))]))

    def trace_file() -> None:
        read_trace(trace_experiment(path))

    one_line(trace_file)


@given(st.data())
def test_damaged_run_folders(finished_run: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any byte of any file changed, or any file cut: what reads it succeeds or says so in a line."""
    folder = tmp_path_factory.getbasetemp() / "damaged"
    names = [path.relative_to(finished_run) for path in sorted(finished_run.rglob("*")) if path.is_file()]
    victim = data.draw(st.sampled_from(names))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        content = bytearray((finished_run / name).read_bytes())
        if name == victim:
            for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
                content[place] = data.draw(st.integers(0, 255))
            content = content[: data.draw(st.sampled_from([len(content), len(content) - 1, len(content) // 2, 0]))]
        (folder / name).write_bytes(bytes(content))

    def read_everything() -> None:
        result = Result(folder)
        _ = result.summary, result.arrivals, result.clients, result.timing, result.model
        is_run(folder)
        find_newest(folder)

    one_line(read_everything)
