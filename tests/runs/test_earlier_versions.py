"""Folders that version 0.1 left: two runs that it compared, and one with a checkpoint."""

import shutil
from pathlib import Path

import pytest

from fedqs_ray import Comparison, Result, RunFolderError, resume, write_report
from fedqs_ray.cli.commands import main
from fedqs_ray.experiments.comparison import write_comparison
from fedqs_ray.runs.monitor import RunMonitor
from fedqs_ray.runs.settings import load_run_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(__file__).with_name("folders") / "v0.1", tmp_path / "v0.1"))


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("rounds.parquet"))


def test_a_run_opens_with_its_settings(folder: Path) -> None:
    assert len(runs(folder)) == 3
    for run in runs(folder):
        result = Result(run)
        assert "cohort" in (run / "config.toml").read_text()
        assert result.experiment.training.clients_per_step == 2
        assert result.experiment.versions["fedqs_ray"] == "0.1.0"
        assert result.summary.rounds == result.experiment.run.rounds
        assert len(result.clients) == result.experiment.clients.count
        assert len(result.model) == 4
        assert result.finished


def test_a_run_reports(folder: Path) -> None:
    page = write_report(Result(folder / "resumable")).read_text(encoding="utf-8")
    assert page.count("<svg") > 10
    assert "cohort = 2" in page, "the file as it is"


def test_a_finished_run_is_watched(folder: Path) -> None:
    assert RunMonitor(runs(folder)[0]).state == "finished"


def test_runs_compare(folder: Path) -> None:
    old = Comparison(folder)
    before = old.cells.to_pylist()
    assert [row["algorithm"] for row in before] == ["fedqs-sgd", "fedbuff"]
    assert write_report(old).read_text().count("<svg") > 10
    again = [(row["scenario"], row["algorithm"], row["seed"], Result(folder / row["folder"])) for row in before]
    assert write_comparison(folder, again, None).cells.to_pylist() == before


def test_a_grid_is_not_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["run.rounds=12", "clients.count=4", "server.buffer_size=2", "run.eval_every=2"]
    settings += ["training.clients_per_step=2", "run.checkpoint_every=never", "clients.actors=1"]
    flags = [word for setting in settings for word in ("--set", setting)]
    assert main(["compare", "--algorithms", "fedqs-sgd,fedbuff", "--seeds", "0", *flags, "--out", str(folder)]) == 0
    assert "fedbuff" in capsys.readouterr().err


def test_a_checkpoint_of_another_version_is_said_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder / "resumable"
    with pytest.raises(RunFolderError, match=f"^{run}: its checkpoint is of another version of fedqs_ray$"):
        resume(run, ["run.rounds=9"])
    assert main(["resume", str(run), "--set", "run.rounds=9"]) == 2
    assert capsys.readouterr().err == f"fedqs: {run}: its checkpoint is of another version of fedqs_ray\n"
    assert Result(run).finished, "it is left as it was"


def test_a_damaged_settings_file_is_named(folder: Path) -> None:
    settings = runs(folder)[0] / "config.toml"
    settings.write_text(settings.read_text().replace("rounds = ", "rouns = "))
    with pytest.raises(RunFolderError, match=rf"^{settings}: run.rouns: no such setting; did you mean run.rounds\?$"):
        load_run_settings(settings)
    settings.write_text("rounds")
    with pytest.raises(RunFolderError, match=rf"^{settings}: not a TOML file"):
        load_run_settings(settings)
