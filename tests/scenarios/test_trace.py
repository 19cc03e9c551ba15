"""Recorded worlds: files, availability, and what they do to a run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from fedqs_ray import DataError, SimulationStopped
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.types import Attempt, Start
from fedqs_ray.scenarios.availability import Record
from fedqs_ray.scenarios.scenario import build_scenario
from fedqs_ray.scenarios.trace_file import read_trace

Make = Callable[..., Experiment]
Inline = Callable[[Experiment], Any]

TWO = {
    "client": ["b", "a", "a", "a", "b"],
    "time": [0.0, 2.0, 5.0, 9.0, 4.0],
    "duration": [3.0, 1.0, None, 2.5, 6.0],
    "available": [True, True, False, True, True],
}


def trace(path: Path, columns: dict[str, Any], *overrides: str) -> list[str]:
    table = pa.table(columns)
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return ["scenario.name=trace", f'scenario.path="{path}"', *overrides]


def test_a_record() -> None:
    record = Record(np.array([2.0, 5.0, 9.0]), np.array([1.0, 0.0, 2.5]), np.array([True, False, True]))
    assert [record.next(t, available=True) for t in (0.0, 2.0, 4.9, 5.0, 9.0, 99.0)] == [2.0, 2.0, 4.9, 9.0, 9.0, 99.0]
    assert [record.next(t, available=False) for t in (0.0, 2.0, 5.0, 9.0)] == [0.0, 5.0, 5.0, math.inf]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_clients_follow_their_records(experiment: Make, tmp_path: Path, suffix: str) -> None:
    setting = experiment(*trace(tmp_path / f"t.{suffix}", TWO), ratio=False)
    world = build_scenario(setting, read_trace(setting))
    # client 0 follows "a", client 1 "b", client 2 "a" again
    for client in (0, 2):
        assert world.ready(client, 0.0) == 2.0
        assert world.ready(client, 6.0) == 9.0
        assert world.attempt(Start(client, 0, 0, time=2.0)) == Attempt(1.0)
        assert world.attempt(Start(client, 0, 0, time=4.5)) == Attempt(0.5, lost=True), "gone at 5"
        assert world.attempt(Start(client, 0, 0, time=10.0)) == Attempt(2.5)
    assert world.attempt(Start(1, 0, 0, time=0.0)) == Attempt(3.0)
    assert world.attempt(Start(1, 0, 0, time=4.0)) == Attempt(6.0)


def test_a_run_waits_for_clients_to_come_back(experiment: Make, inline: Inline, tmp_path: Path) -> None:
    """One record for all: there from 3 to 10 and from 20 on, attempts of 4."""
    columns = {"client": [1, 1, 1], "time": [3, 10, 20], "duration": [4, 1, 4], "available": [True, False, True]}
    memory = inline(experiment(*trace(tmp_path / "t.csv", columns, "run.rounds=4"), ratio=False))
    lives = {(job.start, job.end, job.outcome) for job in memory.jobs}
    assert lives == {
        (3.0, 7.0, "arrived"),
        (7.0, 10.0, "lost"),
        (20.0, 24.0, "arrived"),
        (20.0, 24.0, "unfinished"),
    }
    assert [row.time for row in memory.rounds] == [0.0, 7.0, 7.0, 7.0, 24.0]


def test_a_world_that_everybody_leaves(experiment: Make, inline: Inline, tmp_path: Path) -> None:
    columns = {"client": [1, 1], "time": [0, 5], "duration": [2, 2], "available": [True, False]}
    with pytest.raises(SimulationStopped, match=r"stopped after round 6 of 12: no client is left to fill the buffer"):
        inline(experiment(*trace(tmp_path / "t.parquet", columns), ratio=False))


GOOD: dict[str, Any] = {"client": [1, 1], "time": [0.0, 5.0], "duration": [2.0, 2.0]}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"client": [1], "time": [0.0]}, 'there is no column "duration"; there are client, time'),
    ({key: values[:0] for key, values in GOOD.items()}, "holds no rows"),
    (GOOD | {"client": [1, None]}, 'column "client" lacks a value in 1 of 2 rows'),
    (GOOD | {"time": [0.0, -1.0]}, 'column "time" must be numbers of at least 0'),
    (GOOD | {"time": ["0", "later"]}, 'column "time" must be numbers; row 2 has "later"'),
    (GOOD | {"duration": ["", "2"]}, 'column "duration" must be above 0 where the client is available'),
    (GOOD | {"time": [1.0, 1.0]}, 'client "1" has two rows with the same time'),
    (GOOD | {"duration": [0.0, 2.0]}, 'column "duration" must be above 0 where the client is available'),
    (GOOD | {"duration": [None, 2.0]}, 'column "duration" must be above 0 where the client is available'),
    (GOOD | {"available": [True, None]}, 'column "available" must be true or false in every row'),
]


@pytest.mark.parametrize(("columns", "message"), BAD, ids=[message for _, message in BAD])
def test_what_is_wrong_with_a_trace_is_said_in_a_line(
    experiment: Make, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_trace(experiment(*trace(tmp_path / "t.parquet", columns), ratio=False))
    assert message in str(caught.value)
    assert str(caught.value).startswith("scenario.path = ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_traces(experiment: Make, tmp_path: Path) -> None:
    missing = experiment("scenario.name=trace", f'scenario.path="{tmp_path / "none.csv"}"', ratio=False)
    with pytest.raises(DataError, match=r'scenario\.path = ".*none\.csv": there is no such file'):
        read_trace(missing)
    for name, text in (("t.parquet", "hello"), ("t.csv", "")):
        (tmp_path / name).write_text(text)
        setting = experiment("scenario.name=trace", f'scenario.path="{tmp_path / name}"', ratio=False)
        with pytest.raises(DataError, match=r"scenario\.path = .*: cannot be read as Parquet or CSV"):
            read_trace(setting)


# Communication


def test_a_model_travels_both_ways_over_the_clients_bandwidth(experiment: Make) -> None:
    plain = build_scenario(experiment())
    world = build_scenario(experiment("scenario.bandwidth=8.0", "scenario.bandwidth_sigma=0.5"))
    extra = [
        world.attempt(Start(client, 0, 0, nbytes=1_000_000)).duration - plain.attempt(Start(client, 0, 0)).duration
        for client in range(400)
    ]
    assert np.median(extra) == pytest.approx(2.0, rel=0.1), "2 x 8 Mbit at 8 Mbit/s"
    assert np.std(np.log(extra)) == pytest.approx(0.5, rel=0.1)
    again = world.attempt(Start(0, 9, 4, nbytes=2_000_000)).duration - plain.attempt(Start(0, 9, 4)).duration
    assert again == pytest.approx(2 * extra[0]), "a client keeps its bandwidth"


def test_slower_lines_make_a_longer_run(experiment: Make, inline: Inline) -> None:
    fast, slow = (inline(experiment(*more)) for more in ([], ["scenario.bandwidth=0.1"]))
    assert slow.rounds[-1].time > fast.rounds[-1].time + 1.0
