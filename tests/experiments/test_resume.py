"""Kills, interruptions, damage and change: the same bits afterwards, or one clear line. All processes are real."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedqs_ray import ConfigError, Experiment, Result, RunFolderError, SimulationStopped, load, resume, run
from fedqs_ray.cli.commands import main
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.layout import LOCK, REPRODUCIBLE

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[[Experiment], Result]
LONG = ["run.rounds=60", "run.checkpoint_every=10"]

MENDABLE = """
from pathlib import Path
from fedqs_ray import Aggregation, Algorithm

class Mine(Algorithm):
    def aggregate(self, round):
        broken = round.version == 7 and not Path("{path}").exists()
        count = len(round.arrivals)
        step = sum(arrival.delta for arrival in round.arrivals) / count
        return Aggregation(round.model + step * (float("nan") if broken else 1), (1 / count,) * count)
"""


def command(*words: str, overrides: list[str]) -> list[str]:
    flags = [flag for value in overrides for flag in ("--set", value)]
    return [sys.executable, "-m", "fedqs_ray", *words, *flags, "--quiet"]


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in REPRODUCIBLE}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, held: str, folder_of: Make) -> Path:
    """An undisturbed run."""
    return folder_of(load(None, [*LONG, held], out=str(tmp_path_factory.mktemp("calm") / "run"))).folder


@pytest.mark.full
@pytest.mark.timeout(900)
def test_chaos_in_miniature(tmp_path: Path) -> None:
    """Two runs with up to six kills: client actor, server actor, driver, the raylet of a second node."""
    arguments = ["--runs", "2", "--kills", "4", "--rounds", "50", "--name", str(tmp_path / "chaos")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    text = (tmp_path / "chaos.md").read_text()
    print(text)
    assert re.search(r"\*\*(\d+) of \1 runs ended with the bytes of the undisturbed run\*\*", text)
    kinds = re.search(r"(\d+) client, (\d+) server, (\d+) driver, (\d+) raylet", text)
    assert kinds
    assert sum(int(count) > 0 for count in kinds.groups()) >= 3


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_an_interrupted_run_leaves_a_report_and_goes_on(
    calm: Path, held: str, below: Callable[..., list[psutil.Process]], tmp_path: Path, number: signal.Signals
) -> None:
    folder, go = tmp_path / "run", tmp_path / "go"
    driver = subprocess.Popen(
        [*command("run", overrides=[*LONG, held, f'algorithm.until="{go}"', "clients.actors=2"]), "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not ((rows := folder / "rounds.arrows").exists() and rows.stat().st_size):
        assert driver.poll() is None
        time.sleep(0.05)
    processes = below(driver.pid)
    going_on = f"^{re.escape(str(folder))}: a run is going on there$"
    with pytest.raises(RunFolderError, match=going_on):
        run(load(None, out=str(folder)), overwrite=True)
    with pytest.raises(RunFolderError, match=going_on):
        resume(folder)
    # As a terminal does it: the signal goes to all processes of the group, Ray's included.
    os.killpg(driver.pid, number) if number == signal.SIGINT else driver.send_signal(number)
    _, error = driver.communicate(timeout=200)
    assert driver.returncode == 130, error
    assert re.search(r"interrupted after round \d+ of 60; `fedqs resume .*` goes on from round", error), error
    assert "Traceback" not in error
    assert (folder / "report.html").exists()
    assert not psutil.wait_procs(processes, timeout=120)[1], "Ray's processes linger"
    assert 0 < len(Result(folder).rounds) < 61
    go.touch()
    assert main(["resume", str(folder), "--set", "clients.actors=1", "--quiet"]) == 0
    assert files(folder) == files(calm)


@pytest.mark.full
def test_the_second_interrupt_stops_at_once(below: Callable[..., list[psutil.Process]], tmp_path: Path) -> None:
    """Even in the middle of an event that lasts minutes."""
    folder = tmp_path / "run"
    endless = ["training.local_epochs=1000000", "clients.count=4", "server.buffer_size=2"]
    driver = subprocess.Popen(
        [*command("run", overrides=endless), "--out", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not below(driver.pid, "ray::ClientActor.train"):
        assert driver.poll() is None
        time.sleep(0.1)
    processes = below(driver.pid)
    driver.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(timeout=3)
    driver.send_signal(signal.SIGINT)
    _, error = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert error.splitlines()[-1] == "fedqs: interrupted", error
    assert not psutil.wait_procs(processes, timeout=120)[1], "Ray's processes linger"


@pytest.mark.usefixtures("ray_session")
class TestResume:
    """What needs no kill: growth, damage and change of finished runs."""

    def experiment(self, folder: Path, *overrides: str) -> Experiment:
        small = [
            "clients.count=12",
            "server.buffer_size=4",
            "run.rounds=12",
            "run.checkpoint_every=5",
            "clients.actors=1",
        ]
        return load(None, [*small, f'run.out="{folder}"', *overrides])

    def test_a_finished_run_grows(self, folder_of: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        short = folder_of(self.experiment(tmp_path / "short"))
        assert resume(short.folder).folder == short.folder, "nothing to do"
        assert f"{short.folder}: finished already, with round 12; --set run.rounds=MORE prolongs it" in caplog.text
        long = folder_of(self.experiment(tmp_path / "long", "run.rounds=21"))
        grown = resume(short.folder, ["run.rounds=21"])
        assert files(grown.folder) == files(long.folder)
        assert len(grown.timing) == 22
        assert grown.timing["seconds"].to_pylist() == sorted(grown.timing["seconds"].to_pylist())
        assert "rounds = 21" in (short.folder / "config.toml").read_text()

    def test_the_one_before_a_damaged_checkpoint(
        self, folder_of: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = folder_of(self.experiment(tmp_path / "run"))
        expected = files(first.folder)
        (first.folder / "model.safetensors").unlink()
        (newest,) = (first.folder / "checkpoints").iterdir()
        newest.write_bytes(newest.read_bytes()[:-1])
        with pytest.raises(RunFolderError, match="holds no checkpoint that could be read; the run has to start over"):
            resume(first.folder)
        assert "is damaged" in caplog.text
        assert files(run(self.experiment(tmp_path / "run"), overwrite=True).folder) == expected

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ("run.rounds=11", "run.rounds = 11: the run began with 12, and may only grow"),
            ("seed=1", "cannot go on with another seed (1, not 0)"),
            ("training.lr=0.2", "cannot go on with another training.lr (0.2, not 0.1)"),
            ("clients.num_cpus=0.5", "cannot go on with another clients.num_cpus (0.5, not 1.0)"),
            ("clients.clients_per_actor=6", "cannot go on with another training.clients_per_step (1, not 8)"),
        ],
    )
    def test_changes_are_refused(self, folder_of: Make, tmp_path: Path, change: str, line: str) -> None:
        done = folder_of(self.experiment(tmp_path / "run", "clients.actors=auto"))
        with pytest.raises(ConfigError, match=re.escape(line)):
            resume(done.folder, [change])
        text = (done.folder / "config.toml").read_text()
        (done.folder / "config.toml").write_text(text.replace("count = 12", "count = 13"))
        with pytest.raises(ConfigError, match=re.escape("another clients.count (13, not 12)")):
            resume(done.folder, ["run.rounds=20"])

    def test_other_data_are_refused_and_nothing_is_lost(self, folder_of: Make, tmp_path: Path) -> None:
        """The same labels on the same rows, but other features."""
        table, draw = tmp_path / "own.parquet", np.random.default_rng(0)
        labels = pa.array(draw.integers(0, 3, 300))
        pq.write_table(pa.table({"x": draw.normal(size=300), "label": labels}), table)
        done = folder_of(self.experiment(tmp_path / "run", "task.name=parquet", f'task.train="{table}"'))
        everything = {path: path.read_bytes() for path in done.folder.rglob("*") if path.is_file()}
        pq.write_table(pa.table({"x": draw.normal(size=300), "label": labels}), table)
        with pytest.raises(ConfigError, match="run: cannot go on with other data than the run began with"):
            resume(done.folder, ["run.rounds=20"])
        (done.folder / LOCK).unlink()
        assert {path: path.read_bytes() for path in done.folder.rglob("*") if path.is_file()} == everything

    @pytest.mark.parametrize("setting", ["scenario.name=dynamic", "algorithm.name=wkafl"])
    def test_what_is_measured_in_parts_of_the_rounds_cannot_grow(
        self, folder_of: Make, tmp_path: Path, setting: str
    ) -> None:
        done = folder_of(self.experiment(tmp_path / "run", setting))
        with pytest.raises(ConfigError, match="cannot grow from 12 in a scenario or an algorithm that is measured in"):
            resume(done.folder, ["run.rounds=20"])

    def test_no_run_and_no_checkpoint(self, folder_of: Make, tmp_path: Path) -> None:
        with pytest.raises(RunFolderError, match="holds no run"):
            resume(tmp_path)
        done = folder_of(self.experiment(tmp_path / "run", 'run.checkpoint_every="600s"'))
        assert not (done.folder / "checkpoints").exists()
        with pytest.raises(RunFolderError, match="ended with round 12 of 12 and left no checkpoint to go on from"):
            resume(done.folder, ["run.rounds=20"])

    @pytest.mark.full
    def test_what_stopped_goes_on_once_it_is_mended(
        self, folder_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An algorithm whose eighth model is nonsense."""
        mended = tmp_path / "mended"
        (tmp_path / "mendable.py").write_text(MENDABLE.format(path=str(mended)), encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(SimulationStopped, match="stopped after round 7 of 12: Mine returned a model with numbers"):
            run(self.experiment(tmp_path / "run", "algorithm.name=mendable:Mine"))
        with pytest.raises(SimulationStopped, match="stopped after round 7 of 12"):
            resume(tmp_path / "run")
        mended.touch()
        assert resume(tmp_path / "run").summary.rounds == 12
        calm = folder_of(self.experiment(tmp_path / "calm", "algorithm.name=mendable:Mine"))
        assert files(tmp_path / "run") == files(calm.folder)

    @pytest.mark.full
    def test_injected_crashes_change_no_bit(self, folder_of: Make, tmp_path: Path) -> None:
        retries = []
        base = ["clients.num_cpus=0.5", "clients.actors=2"]
        calm = folder_of(self.experiment(tmp_path / "calm", *base))
        wild = run(
            self.experiment(tmp_path / "wild", *base, "scenario.faults.crash_rate=0.1"),
            on_progress=lambda progress: retries.append(progress.retries),
        )
        assert files(calm.folder) == files(wild.folder)
        assert retries[-1] > 0

    def test_bad_updates_are_rejected_and_counted(self, folder_of: Make, tmp_path: Path) -> None:
        rates = ["scenario.faults.nan_rate=0.2", "scenario.faults.corrupt_rate=0.2", "server.max_update_norm=50.0"]
        found = folder_of(self.experiment(tmp_path / "run", *rates, "run.rounds=40"))
        reasons = found.arrivals["rejection"].drop_null().value_counts().to_pylist()
        counts = {entry["values"]: entry["counts"] for entry in reasons}
        assert counts["not finite"] > 10
        assert counts["too large"] > 5
        assert found.summary.rejected == sum(counts.values())
        assert found.summary.best_accuracy > 0.5
        assert "too large" in write_report(found).read_text()

    def test_nothing_but_bad_updates(self, folder_of: Make, tmp_path: Path) -> None:
        with pytest.raises(SimulationStopped, match=r"updates were all rejected .too large.: server.max_update_norm"):
            folder_of(self.experiment(tmp_path / "run", "server.max_update_norm=1e-9"))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # the actors may still hold it


@pytest.mark.usefixtures("ray_session")
def test_a_full_disk(tiny: Path) -> None:
    with pytest.raises(SimulationStopped, match=r"stopped after round \d+: cannot write: No space left on device"):
        run(load(None, ["run.checkpoint_every=5", "clients.actors=1", f'run.out="{tiny / "run"}"']))
    assert len(Result(tiny / "run").rounds) >= 5
    assert not list((tiny / "run" / "checkpoints").iterdir()), "no half of a checkpoint"


@pytest.mark.usefixtures("ray_session")
def test_a_disk_that_was_full_before(tiny: Path) -> None:
    with contextlib.suppress(OSError):
        (tiny / "fill").write_bytes(b"0" * 10**6)
    with pytest.raises(RunFolderError, match="cannot be written: No space left on device"):
        run(load(None, [f'run.out="{tiny / "run"}"']))
    assert [path.name for path in tiny.iterdir()] == ["fill"]
