"""`fedqs tune` on real Ray Tune: stopped early, gone on with, the same bits as single runs; its mistakes."""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from fedqs_ray import ConfigError, Experiment, Result, load
from fedqs_ray.cli.commands import main
from fedqs_ray.cli.parser import make_parser
from fedqs_ray.experiments.search_space import draw_points, read_axes
from fedqs_ray.experiments.sweep import End, Sweep, Trial, locate_trial, rank_trials, read_sweep, write_sweep
from fedqs_ray.experiments.tune import measure_guessing, tune, warn_of_early_stops
from fedqs_ray.report.svg import logarithmic
from fedqs_ray.report.sweep_figure import draw_sweep
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.layout import REPRODUCIBLE

pytestmark = pytest.mark.xdist_group("tune")
ROOT = Path(__file__).resolve().parents[2]

BASE = ["clients.count=8", "server.buffer_size=2", "run.rounds=9", "scenario.ratio=7", "training.clients_per_step=1"]
RANGES = ["training.lr=log:0.0001:0.5", "training.batch_size=choice:20,50"]


def base(*more: str) -> Experiment:
    return load(None, [*BASE, *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> tuple[Path, list[Trial]]:
    """A sweep of three trials at once."""
    out = tmp_path_factory.mktemp("sweep") / "s"
    found = tune(base(), RANGES, 3, out=out)
    write_report(found)
    return out, found.trials


def test_the_best_comes_first_and_is_a_run_like_any_other(
    made: tuple[Path, list[Trial]], folder_of: Callable[[Experiment], Result], tmp_path: Path
) -> None:
    out, found = made
    assert sorted(trial.number for trial in found) == [0, 1, 2]
    assert (found[0].end, found[0].rounds) == ("finished", list(range(10)))
    rows = pq.read_table(out / "sweep.parquet").to_pylist()
    assert [row["trial"] for row in rows] == [trial.number for trial in found]
    assert rows[0]["training.lr"] == found[0].point["training.lr"]
    assert rows[0]["accuracy"] == pytest.approx(sum(found[0].accuracies[-5:]) / 5)
    lines = (out / "sweep.md").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0] == "| trial | training.lr | training.batch_size | accuracy, % | best, % | rounds | end |"
    best = load(out / "best.toml", out=str(tmp_path / "again"))
    assert best.training.lr == found[0].point["training.lr"]
    assert (best.clients.actors, best.run.checkpoint_every) == ("auto", "600s"), "as the user wrote them"
    again = folder_of(best)
    for name in REPRODUCIBLE:
        assert (again.folder / name).read_bytes() == (out / found[0].folder / name).read_bytes(), name
    assert again.evaluations()["accuracy"] == found[0].accuracies


def test_the_picture_shows_every_kind_of_setting(tmp_path: Path) -> None:
    points = [{"training.lr": 0.1, "algorithm.name": "ace", "server.buffer_timeout": None, "seed": 1}]
    points += [{"training.lr": 0.2, "algorithm.name": "fedavg", "server.buffer_timeout": 5, "seed": 2}]
    trials = [Trial(0, points[0], "finished", [0, 1], [0.1, 0.9], 3.0), Trial(1, points[1], "failed", [], [], 0.0)]
    draw_sweep(Sweep(tmp_path, trials, ("training.lr",)))
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    write_sweep(tmp_path, trials)
    assert [(t.number, t.end, t.rounds) for t in read_sweep(tmp_path)] == [(0, "finished", [0, 1]), (1, "failed", [])]
    assert pq.read_table(tmp_path / "sweep.parquet")["server.buffer_timeout"].to_pylist() == ["unset", "5"]


def test_a_logarithmic_scale_has_a_few_plain_numbers() -> None:
    for low, high in ((0.01, 0.02), (0.03, 0.5), (0.003, 1.0), (1e-6, 1.0)):
        figure = Figure()
        axes = figure.add_subplot(xscale="log")
        axes.plot([low, high], [0, 1])
        logarithmic(axes.xaxis)
        figure.canvas.draw()
        labels = axes.get_xticklabels()
        within = [label.get_text().replace("\u2212", "-") for label in labels if low <= label.get_position()[0] <= high]
        assert 1 <= len(within) <= 8
        assert [f"{float(text):g}" for text in within] == within, "and no formulas"


def test_sweeps_that_were_judged_too_early_are_doubted(caplog: pytest.LogCaptureFixture) -> None:
    chance = measure_guessing(np.array([0, 1, 1, 2]))
    assert chance == 0.5
    ends: list[tuple[End, float]] = [("stopped", 0.4), ("stopped", 0.6), ("finished", 0.4)]
    trials = [Trial(n, {}, end, [0], [accuracy]) for n, (end, accuracy) in enumerate(ends)]
    warn_of_early_stops(trials[1:], chance)
    assert not caplog.text
    warn_of_early_stops([replace(trials[0], accuracies=[0.98])], 0.95)
    assert not caplog.text
    warn_of_early_stops(trials, chance)
    assert "1 of 3 trials were stopped while they did no better than guessing (50%); with more" in caplog.text


def test_the_worse_are_stopped_also_beside_those_of_before(made: tuple[Path, list[Trial]], tmp_path: Path) -> None:
    """Two of three trials are known, and were splendid; the third was killed halfway, and a fourth is new."""
    folder = tmp_path / "s"
    shutil.copytree(made[0], folder)
    first, second, third = sorted(made[1], key=lambda trial: trial.number)
    splendid: dict[str, Any] = {"end": "finished", "rounds": list(range(10)), "accuracies": [0.99] * 10}
    write_sweep(folder, [replace(first, **splendid), replace(second, **splendid)])
    (folder / third.folder / "model.safetensors").unlink(missing_ok=True)
    before = [(folder / locate_trial(number) / "config.toml").stat().st_mtime_ns for number in (0, 1)]
    seen: dict[str, object] = {}
    found = tune(base(), RANGES, 4, out=folder, on_progress=seen.__setitem__).trials
    assert {int(name.split()[1]) for name in seen} == {2, 3}, "only these are run"
    assert before == [(folder / locate_trial(number) / "config.toml").stat().st_mtime_ns for number in (0, 1)]
    assert [trial.end for trial in found] == ["finished", "finished", "stopped", "stopped"]
    assert all(trial.rounds[-1] < 9 for trial in found[2:])
    assert [trial.point for trial in sorted(found, key=lambda trial: trial.number)[:3]] == [
        trial.point for trial in (first, second, third)
    ], "a larger sweep begins like a smaller one"
    assert seen[found[2].name] == f"{found[2].score:.2%}, stopped after round {found[2].rounds[-1]}"
    assert len(tune(base(), RANGES, 2, out=folder).trials) == 4, "nothing is forgotten, and nothing run"
    with pytest.raises(ConfigError, match=r"holds a trial with another training\.lr \(.*\); choose another --out"):
        tune(base(), ["training.lr=log:0.01:0.5"], 3, out=folder)
    shutil.rmtree(folder / "trials")
    with pytest.raises(ConfigError, match="holds a sweep over other ranges; choose another --out, or remove it"):
        tune(base(), ["training.lr=log:0.01:0.5"], 3, out=folder)


@pytest.mark.full
@pytest.mark.usefixtures("ray_session")
def test_a_trial_that_diverges_has_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = base("task.name=synthetic", "task.max_samples=100", "training.batch_size=5", "training.clip_norm=1e30")
    (failed,) = tune(world, ["training.lr=choice:1e6"], 5, out=tmp_path / "s").trials
    assert failed.end == "failed"
    assert "--samples = 5: there are no more than 1 different draws" in caplog.text
    assert failed.rounds[-1] < 9


@pytest.mark.usefixtures("ray_session")
def test_a_mistake_that_only_a_trial_can_see_ends_the_sweep_in_one_line(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": [n / 9 for n in range(90)], "y": [n % 3 for n in range(90)]}), rows)
    table = base("task.name=parquet", f'task.train="{rows}"', 'task.partition.name="iid"', "task.label=y")
    with pytest.raises(ConfigError, match=r'^task\.label: there is no column "z"'):
        tune(table, ["task.label=choice:z,y"], 2, out=tmp_path / "s")


def test_the_commands_of_the_page_are_right(tmp_path: Path) -> None:
    """A longer sweep than a test can run: what it says is drawn."""
    page = (ROOT / "docs" / "tune.md").read_text(encoding="utf-8").replace("\\\n", "")
    first, *others = [shlex.split(line) for line in page.splitlines() if line.startswith("fedqs ")]
    found = make_parser().parse_args(first[1:])
    points = list(islice(draw_points(read_axes(found.param, load(ROOT / found.config, found.set)), 0), found.samples))
    assert len(points) == 12
    assert [words[1] for words in others] == ["watch"]
    assert make_parser().parse_args(others[0][1:]).folder == "runs/first"


def test_what_ran_to_the_end_is_before_what_came_far() -> None:
    trials = [
        Trial(0, {}, "stopped", [3], [0.9]),
        Trial(1, {}, "failed", [9], [1.0]),
        Trial(2, {}, "finished", [9], [0.5]),
    ]
    trials += [Trial(3, {}, "finished", [9], [0.6]), Trial(4, {}, "stopped", [1], [1.0]), Trial(5, {}, "failed")]
    assert [trial.number for trial in rank_trials(trials)] == [3, 2, 0, 4, 1, 5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--param", "training.lrr=log:1:2"], "training.lrr: no such setting; did you mean training.lr?"),
        (["--param", "training.lr=log:0:2"], "--param training.lr=log:0:2: LOW must be above 0"),
        (["--param", "training.lr=log:1:2", "--samples", "0"], "--samples = 0: must be at least 1"),
        (["--param", "training.lr=log:1:2", "--samples", "x"], "argument --samples: invalid int value: 'x'"),
        ([], "the following arguments are required: --param"),
        (["--param", "training.lr=log:1:2", "--out", ""], '--out = "": must name a folder'),
        (["--param", "training.lr=log:1:2", "--out", "file"], 'file": cannot be written: '),
        (
            ["--param", "training.lr=log:1:2", "--out", "s3://a/b"],
            '--out = "s3://a/b": must be a folder on this machine',
        ),
        (
            ["--param", "training.lr=log:1:2", "--set", "task.name=adult"],
            'task.data_dir = "data/adult": data/adult/adult',
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    command = ["tune", *words] if "--out" in words else ["tune", "--out", "sweep", *words]
    try:
        status = main(command)
    except SystemExit as end:
        status = int(str(end.code))
    said = capsys.readouterr().err
    assert status == 2
    assert message in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file"]


@pytest.mark.full
def test_the_command_goes_on_after_ctrl_c(held: str, tmp_path: Path) -> None:
    """What ended stays, and what was under way is run again."""
    out, go = tmp_path / "it's", tmp_path / "go"
    settings = [*BASE, held.replace("Held", "AllButOne"), f'algorithm.until="{go}"']
    words = [word for setting in settings for word in ("--set", setting)]
    words = ["tune", *words, "--samples", "3", "--param", RANGES[0], "--out", str(out)]
    command = [sys.executable, "-W", "error", "-m", "fedqs_ray", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not read_sweep(out) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert said.endswith("fedqs: interrupted; the same command goes on from here\n")
    client_state = {trial.number: trial.accuracies for trial in read_sweep(out)}
    assert len(client_state) == 1
    go.touch()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stderr.splitlines()[-2])[2:] == ["fedqs", "run", f"{out}/best.toml"]
    found = {trial.number: trial.accuracies for trial in read_sweep(out)}
    assert len(found) == 3
    assert found.items() >= client_state.items()
