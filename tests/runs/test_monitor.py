"""What somebody who watches a run sees of it: its log, and TensorBoard. One run, killed and resumed on the way."""

import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from fedqs_ray import ConfigError, Experiment, Result, SimulationStopped, load, resume, run
from fedqs_ray.core.interfaces import observe
from fedqs_ray.core.rows import Progress
from fedqs_ray.runs.folder import claim_folder, list_versions
from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.log import RunLog, read_log
from fedqs_ray.runs.tensorboard import TAGS, TensorBoardWriter

pytestmark = pytest.mark.xdist_group("monitor")
SETTINGS = [
    "clients.count=12", "server.buffer_size=4", "run.rounds=40", "run.eval_every=3", "run.checkpoint_every=5",
    "clients.actors=2", "clients.num_cpus=0.5", "training.local_epochs=3", "run.tensorboard=true",
    "scenario.loss_rate=0.1", "scenario.faults.nan_rate=0.1", "scenario.faults.crash_rate=0.01",
]  # fmt: skip


@pytest.fixture(scope="module")
def lived(
    ray_session: None, held: str, below: Callable[..., list[psutil.Process]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Progress]]:
    """The folder of a run whose server was killed and that went on, and what its second life told."""
    folder, go, seen = tmp_path_factory.mktemp("lived") / "run", tmp_path_factory.mktemp("go") / "go", list[Progress]()

    def kill_server(progress: Progress) -> None:
        """Once there is a checkpoint."""
        if progress.round >= 7:
            for process in below(os.getpid(), "ray::ServerActor"):
                process.kill()

    with pytest.raises(SimulationStopped, match="the server actor died"):
        run(load(None, [*SETTINGS, held, f'algorithm.until="{go}"'], out=str(folder)), on_progress=kill_server)
    go.touch()
    with SummaryWriter(folder / "tensorboard") as future:
        future.add_scalar("test/accuracy", 2.0, 39)
    resume(folder, on_progress=seen.append)
    return folder, seen


def scalars(folder: Path) -> dict[str, list[Any]]:
    """What TensorBoard shows of a run, by tag."""
    board = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    return {tag: board.Scalars(tag) for tag in board.Tags()["scalars"]}


def test_tensorboard_shows_the_rounds_each_once(lived: tuple[Path, list[Progress]]) -> None:
    folder, _ = lived
    rounds, shown = Result(folder).rounds.to_pylist(), scalars(folder)
    assert set(shown) == {tag for column, tag in TAGS.items() if column not in ("divergence", "gradient_bound")}
    for column, tag in TAGS.items():
        expected = [(row["round"], row["time"], row[column]) for row in rounds if row[column] is not None]
        found = [(one.step, one.wall_time, one.value) for one in shown.get(tag, [])]
        assert [one[:2] for one in found] == [one[:2] for one in expected]
        assert [one[2] for one in found] == pytest.approx([one[2] for one in expected])
    assert len(shown["test/accuracy"]) == 15, "every third, and the last"


def test_a_run_whose_server_was_killed_goes_on_to_the_same_bytes(
    lived: tuple[Path, list[Progress]], held: str, folder_of: Callable[[Experiment], Result], tmp_path: Path
) -> None:
    calm = folder_of(load(None, [*SETTINGS, held, "run.tensorboard=false"], out=str(tmp_path / "calm")))
    for name in REPRODUCIBLE:
        assert (lived[0] / name).read_bytes() == (calm.folder / name).read_bytes(), name


def test_the_log_tells_the_run(lived: tuple[Path, list[Progress]]) -> None:
    folder, seen = lived
    told = Result(folder).log
    starts = [place for place, line in enumerate(told) if line["event"] == "run started"]
    assert [told[place]["checkpoint"] is None for place in starts] == [True, False], "the second goes on"
    assert "run finished" not in {line["event"] for line in told[: starts[1]]}, "a kill leaves no last word"
    assert told[-1]["event"] == "run finished"
    assert told[-1]["round"] == 40
    (node,) = told[0]["nodes"]
    assert node["CPU"] == 2
    assert told[0]["versions"] == list_versions()
    later = Counter(line["event"] for line in told[starts[1] :])
    assert later["job retried"] == seen[-1].retries
    assert later["client actor died"] > 0
    assert later["client actor started"] >= 2
    assert {line["node"] for line in told if line["event"].startswith("client actor")} <= {node["node"], None}
    saved = [line for line in told[starts[1] :] if line["event"] == "checkpoint saved"]
    assert saved[-1]["round"] == 40
    assert (folder / "checkpoints" / saved[-1]["file"]).stat().st_size == saved[-1]["bytes"]
    assert all(line["at"] <= after["at"] for line, after in pairwise(told))


def test_the_log_names_every_rejection(lived: tuple[Path, list[Progress]]) -> None:
    folder, seen = lived
    rows = [row for row in Result(folder).arrivals.to_pylist() if row["rejection"]]
    expected = {(row["client"], row["attempt"], row["version"], row["rejection"]) for row in rows}
    told = [line for line in Result(folder).log if line["event"] == "update rejected"]
    assert {(line["client"], line["attempt"], line["version"], line["reason"]) for line in told} == expected
    assert len(expected) == seen[-1].rejected > 0
    assert seen[-1].lost > 0


def test_overwriting_takes_log_and_tensorboard_along(lived: tuple[Path, list[Progress]], tmp_path: Path) -> None:
    folder = shutil.copytree(lived[0], tmp_path / "run")
    (folder / "tensorboard" / "notes.txt").touch()
    claim_folder(load(None, out=str(folder)), overwrite=True)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert left == ["config.toml", "rounds.arrows", "tensorboard", "tensorboard/notes.txt"]


def test_tensorboard_may_be_asked_for_later(lived: tuple[Path, list[Progress]], tmp_path: Path) -> None:
    """The rows that are there go first, also those of a run that did not write for it."""
    folder = shutil.copytree(lived[0], tmp_path / "run")
    shutil.rmtree(folder / "tensorboard")
    with observe([TensorBoardWriter(folder, rows=10)]):
        pass
    assert [one.step for one in scalars(folder)["round/virtual_time"]] == list(range(10))


def test_tensorboard_that_is_not_installed_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    out = tmp_path / "run"
    with pytest.raises(
        ConfigError, match=r"^run.tensorboard = true: needs .*; pip install 'fedqs_ray\[tensorboard\]'$"
    ):
        run(load(None, ["run.tensorboard=true"], out=str(out)))
    assert not out.exists()


def test_the_log_says_why_a_run_stopped(tmp_path: Path) -> None:

    def life(reason: str) -> None:
        logbook = RunLog(tmp_path, actors=1)
        with observe([logbook]):
            logbook.round = 7
            logging.getLogger("fedqs_ray.anything").info("something", extra={"client": 3})
            raise SimulationStopped(reason)

    for reason in ("one", "two\nlines"):
        with pytest.raises(SimulationStopped):
            life(reason)
    first, second, third, *again = read_log(tmp_path)
    assert (first["event"], first["level"], first["actors"]) == ("run started", "info", 1)
    assert (second["event"], second["client"], second["round"]) == ("something", 3, 7)
    assert third | {"at": ""} == {
        "at": "", "level": "error", "event": "run stopped", "error": "SimulationStopped", "reason": "one", "round": 7,
    }  # fmt: skip
    assert again[-1]["reason"] == "two", "in one line"
    assert len(again) == 3, "appended"
