"""The copy of a run: wherever its making is cut off, the run can go on from it."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.runs.checkpoints import find_newest, read_checkpoint
from fedqs_ray.runs.folder import begin_run, is_run, select_own_files, write_settings
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.runs.store import Mirror, Store
from fedqs_ray.runs.tables import SCHEMAS, read_table
from fedqs_ray.scenarios.scenario import build_scenario

SMALL = ["clients.count=12", "server.buffer_size=4", "run.rounds=9"]


class CutOff(OSError):
    """On purpose."""


class Cut(Store):
    """A real store that fails after one step."""

    steps = 0

    def step(self) -> None:
        if not self.steps:
            raise CutOff
        self.steps -= 1

    def send(self, folder: Path, name: str) -> None:
        self.step()
        super().send(folder, name)

    def remove(self, names: Iterable[str]) -> None:
        self.step()
        super().remove(names)


def push(mirror: Mirror, store: Cut, there: Path) -> None:
    """Step by step; after each of them the run is whole, or has a checkpoint that is no older than the one before."""
    reached = version(there)
    for _ in range(100):
        store.steps = 1
        with contextlib.suppress(CutOff):
            mirror.push()
            return
        if reached is not None:
            assert is_run(there)
            now = version(there)
            assert now is not None
            assert now >= reached
            reached = now
        if (there / "model.safetensors").exists():  # it says that the run is finished
            assert len(read_table(there, "rounds")) == load_experiment(there / "config.toml").run.rounds + 1
            assert {f"{table}.parquet" for table in SCHEMAS} <= {*names(there)}
    raise AssertionError("the copy is never finished")


def version(there: Path) -> int | None:
    """Where the copy would go on."""
    try:
        number = find_newest(there)[1]["version"]
    except RunFolderError:
        return None
    assert isinstance(number, int)
    return number


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_copy_can_be_resumed_from_after_every_single_step(tmp_path: Path) -> None:
    from fedqs_ray.backends.inline import InlineExecutor
    from fedqs_ray.simulation.server import Server
    from fedqs_ray.simulation.snapshot import capture_state, restore_state
    from fedqs_ray.tasks.loading import load_data
    from fedqs_ray.training.trainer import Trainer

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (there / "checkpoints").mkdir(parents=True)  # this store has folders
    store = Cut(there.as_uri())
    mirror = Mirror(store, here)

    def serve(experiment: Experiment, recorder: FolderRecorder) -> Server:
        algorithm = build_algorithm(experiment)
        executor = InlineExecutor(Trainer(experiment, load_data(experiment), algorithm))
        return Server(experiment, algorithm, build_scenario(experiment, None), executor, recorder)

    def go(server: Server, recorder: FolderRecorder) -> None:
        for progress in server.run():
            if progress and progress.round and not server.over:
                recorder.save(capture_state(server))
                if progress.round % 3 == 0:  # checkpoints come faster than they can be sent
                    push(mirror, store, there)
        push(mirror, store, there)
        assert names(there) == names(here)
        for name in names(here):
            assert (there / name).read_bytes() == (here / name).read_bytes(), name

    experiment = load_experiment(None, SMALL)
    begin_run(here, experiment)
    push(mirror, store, there)
    assert names(there) == ["config.toml", "rounds.arrows"]
    recorder = FolderRecorder(here)
    go(serve(experiment, recorder), recorder)
    assert len(read_table(there, "rounds")) == 10
    assert (there / "model.safetensors").exists()

    path, facts = find_newest(there)
    longer = load_experiment(None, [*SMALL, "run.rounds=15"])
    (here / "model.safetensors").unlink()
    write_settings(here, longer)
    push(mirror, store, there)
    recorder = FolderRecorder(here, facts["rows"])
    server = serve(longer, recorder)
    restore_state(server, read_checkpoint(path))
    go(server, recorder)
    assert len(read_table(there, "rounds")) == 16


def test_only_the_names_that_a_run_writes_are_ours() -> None:
    ours = {
        "config.toml",
        "rounds.arrows",
        "log.jsonl",
        "tensorboard/events.out.tfevents.1.host.2.0",
        "pictures/staleness.svg",
        f"checkpoints/00000005-0000000020-{'0a' * 16}.arrows",
    }
    others = {"thesis.tex", "pictures/me.svg", "deep/config.toml", "../config.toml", "checkpoints/../../a.arrows"}
    others |= {"tensorboard/events.out.tfevents.1/../../../a"}
    assert select_own_files(ours | others) == ours


def test_a_file_that_the_run_replaced_meanwhile_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    mirror = Mirror(Store((tmp_path / "there").as_uri()), tmp_path)
    assert not mirror._send("rounds.arrows")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").touch()
    with pytest.raises(FileNotFoundError, match="there/deep"):
        mirror._send("deep/a")
