"""The timeline of clients: whom and which rounds it shows, and the page of a long run."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedqs_ray import Experiment, Result, load
from fedqs_ray.report import timeline
from fedqs_ray.report.timeline import list_figures, place_timeline
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.tables import SCHEMAS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Make = Callable[[Experiment], Result]
SMALL = ["clients.count=12", "server.buffer_size=4", "scenario.ratio=7"]
TROUBLED = ["run.rounds=30", "scenario.name=dropout", "scenario.loss_rate=0.1", "scenario.faults.nan_rate=0.05"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, folder_of: Make) -> Result:
    """A run of which everything can be drawn."""
    out = tmp_path_factory.mktemp("report") / "run"
    return folder_of(load(None, [*SMALL, *TROUBLED, "run.theory=true"], out=str(out)))


def test_of_many_clients_some_are_shown(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the fastest to the slowest, with all of their jobs."""
    monkeypatch.setattr(timeline, "MOST", 5)
    data = list_figures(result)
    updates = result.clients["aggregated"].to_pylist()
    shown = [updates[client] for client in data["clients"]]
    assert len(shown) == 5
    assert shown == sorted(shown, reverse=True)
    assert (shown[0], shown[-1]) == (max(updates), min(updates))
    jobs = [row for row in result.arrivals.to_pylist() if row["client"] in data["clients"]]
    assert data["jobs"]["row"] == [data["clients"].index(row["client"]) for row in jobs]
    assert data["plane"]["means"] == list_figures(result)["plane"]["means"], "of all clients"
    assert "5 of the 12 clients" in place_timeline(data, 12)


def test_of_a_long_run_the_last_rounds_are_shown(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what happened before them counted."""
    whole = list_figures(result)
    assert (whole["first"], len(whole["time"]), len(whole["jobs"]["row"])) == (0, 31, len(result.arrivals))
    assert whole["plane"]["before"] == {"count": [0] * 12, "angle": [None] * 12, "type": [-1] * 12}
    assert " rounds" not in place_timeline(whole, 12).partition("All clients")[2].partition(".")[0]
    monkeypatch.setattr(timeline, "MOST_JOBS", 60)
    data = list_figures(result)
    first, plane = data["first"], data["plane"]
    assert 10 < first < 30
    assert data["time"] == whole["time"][first:]
    assert 40 < len(data["jobs"]["row"]) <= 60
    kept = [row for row in result.arrivals.to_pylist() if (row["round"] or 0) >= first]
    assert {row["version"] for row in kept} <= set(data["jobs"]["version"])
    assert (plane["means"], plane["total"]) == (whole["plane"]["means"][first:], whole["plane"]["total"][first:])
    assert sum(plane["before"]["count"]) == plane["total"][0] == 4 * first
    assert min(plane["round"]) == first + 1
    assert f", in the last {30 - first} of 30 rounds: " in place_timeline(data, 12)
    monkeypatch.setattr(timeline, "MOST_ROUNDS", 7)
    assert list_figures(result)["first"] == 23


def test_the_page_of_a_long_run(browser: "Browser", result: Result, tmp_path: Path) -> None:
    """200,000 jobs in 50,000 rounds."""
    folder = tmp_path / "run"
    shutil.copytree(result.folder, folder)
    lengthen(folder, 200_000)
    began = time.process_time()
    path = write_report(Result(folder))
    assert time.process_time() - began < 60
    assert path.stat().st_size < 5e6
    seen: list[str] = []
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.goto(path.as_uri())
    text = page.locator("#window").text_content() or ""
    assert text.startswith("Rounds 4"), text
    assert ": 80 updates aggregated, " in text
    assert "of 50,000 rounds" in (page.locator("#who").text_content() or "")
    page.locator("#timeline").hover(position={"x": 500, "y": 26})
    assert re.match(r"Client \d+, from \d+\.\d s to ", page.locator("#job").text_content() or "")
    assert page.evaluate(MOVES) < 20_000
    assert not seen
    page.close()


MOVES = """() => {
  const canvas = document.getElementById("timeline"), { left, top } = canvas.getBoundingClientRect();
  const began = performance.now();
  for (let n = 0; n < 1000; n++)
    canvas.dispatchEvent(
      new PointerEvent("pointermove", { clientX: left + 60 + (n % 900), clientY: top + 30 + (n % 50) }),
    );
  return performance.now() - began;
}"""
"""Milliseconds that a thousand moves of the pointer take."""


def lengthen(folder: Path, jobs: int) -> None:
    """Replace the tables of a run with 12 clients and 4 arrivals a round by those of a run with that many jobs."""
    draw, n = np.random.default_rng(0), np.arange(jobs)
    last = jobs // 4
    rounds, measured = np.arange(last + 1), draw.normal(0, 0.01, last + 1)
    ends = n // 12 + (n % 12) / 12 + 1.0
    number = n // 4 + 1
    arrivals = {
        "client": n % 12, "attempt": n // 12, "version": np.maximum(0, number - 4), "start": ends - 0.9, "end": ends,
        "outcome": np.full(jobs, "arrived"), "round": number, "staleness": number % 7, "samples": np.full(jobs, 30),
        "client_type": np.array(["FWBC", "FSBC", "SWBC", "SSBC"])[n % 4], "lr": draw.random(jobs),
        "momentum": draw.random(jobs), "feedback": n % 3 == 0, "angle": 90 * draw.random(jobs),
        "weight": draw.random(jobs), "train_loss": draw.random(jobs),
    }  # fmt: skip
    made = {
        "round": rounds, "time": np.append(0.0, ends[3::4]), "accuracy": 0.9 - 0.8 * np.exp(-rounds / last) + measured,
        "loss": 1 + np.exp(-rounds / last) + measured, "staleness_mean": draw.random(last + 1) * 4,
        "staleness_max": draw.integers(4, 9, last + 1), "feedback": rounds % 4, "dispatched": 4 * rounds,
        "arrived": 4 * rounds, "lost": 0 * rounds, "rejected": 0 * rounds, "gradient_bound": draw.random(last + 1) + 1,
        "divergence": draw.random(last + 1) + 1,
    }  # fmt: skip
    for name, columns in {"arrivals": arrivals, "rounds": made}.items():
        schema = SCHEMAS[name]
        count = len(next(iter(columns.values())))
        found = [
            pa.array(columns[field.name]).cast(field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in schema
        ]
        pq.write_table(pa.table(found, schema=schema), folder / f"{name}.parquet")
