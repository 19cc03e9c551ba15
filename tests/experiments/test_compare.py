"""`compare` on real Ray: a grid, resumed, paired, the same bits as single runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedqs_ray import Comparison, ConfigError, Experiment, Result, compare
from fedqs_ray.cli.commands import main
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.experiments.compare import list_cells
from fedqs_ray.experiments.comparison import format_interval, format_spread, list_differences, tabulate_runs
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.layout import REPRODUCIBLE

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.xdist_group("compare")]
Make = Callable[..., Experiment]
DIVERGING = ["task.name=synthetic", "task.max_samples=200", "training.batch_size=5"]
DIVERGING += ["training.lr=1e6", "training.clip_norm=1e30"]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, ray_session: None, folder_of: Callable[[Experiment], Result]
) -> Comparison:
    """Two algorithms, two seeds, two scenarios; the last cell on actors, the others inline."""
    base = load_experiment(None, ["clients.count=12", "server.buffer_size=4", "run.rounds=12", "scenario.ratio=7"])
    out = tmp_path_factory.mktemp("grid") / "g"
    for cell in list_cells(base, ["fedsgd", "fedqs-sgd"], [0, 1], ["static", "dropout"], [], out)[:-1]:
        folder_of(cell.experiment)
    return compare(base, ["fedsgd", "fedqs-sgd"], [0, 1], ["static", "dropout"], out=out)


def test_every_cell_is_there(made: Comparison) -> None:
    rows = made.cells.to_pylist()
    assert len(rows) == 8
    assert {row["rounds"] for row in rows} == {12}
    assert all((made.folder / row["folder"] / "model.safetensors").exists() for row in rows)
    assert {row["target"] for row in rows if row["scenario"] == "static"} == {rows[0]["target"]}
    assert all(row["rounds_to_target"] is not None for row in rows), "every run reaches the default target"


def test_a_cell_is_a_run_like_any_other(
    made: Comparison, folder_of: Callable[[Experiment], Result], tmp_path: Path
) -> None:
    """Same seed, same arrivals for every algorithm; one actor a cell changes no bit."""
    cell = made.folder / "dropout" / "fedqs-sgd" / "seed-1"
    single = folder_of(load_experiment(cell / "config.toml", out=str(tmp_path / "r")))
    for name in REPRODUCIBLE:
        assert (cell / name).read_bytes() == (single.folder / name).read_bytes(), name
    ours, theirs = (made.folder / "static" / name / "seed-1" / "arrivals.parquet" for name in ("fedsgd", "fedqs-sgd"))
    schedule = ["client", "attempt", "version", "start", "end", "outcome"]
    import pyarrow.parquet as pq

    assert pq.read_table(ours, columns=schedule) == pq.read_table(theirs, columns=schedule)


def test_a_grid_goes_on_where_it_was_cut_off(made: Comparison, tmp_path: Path) -> None:
    folder = tmp_path / "g"
    shutil.copytree(made.folder, folder)
    cut, client_state = (folder / "static" / name / "seed-0" for name in ("fedqs-sgd", "fedsgd"))
    bits = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").unlink()
    before = (client_state / "model.safetensors").stat().st_mtime_ns
    base = load_experiment(None, ["clients.count=12", "server.buffer_size=4", "run.rounds=12", "scenario.ratio=7"])
    seen: list[str] = []
    again = compare(
        base, ["fedsgd", "fedqs-sgd"], [0, 1], ["static", "dropout"], out=folder,
        on_progress=lambda name, _: seen.append(name),
    )  # fmt: skip
    assert set(seen) == {"static, fedqs-sgd, seed 0"}
    assert (cut / "model.safetensors").read_bytes() == bits
    assert (client_state / "model.safetensors").stat().st_mtime_ns == before
    assert again.cells.drop_columns(["seconds"]) == made.cells.drop_columns(["seconds"])


def test_another_experiments_folder_is_left_alone(made: Comparison, experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"holds a run with another training\.lr \(0\.1, not 0\.2\); choose another"):
        compare(experiment("training.lr=0.2"), ["fedsgd"], [0], ["static"], out=made.folder)


@pytest.mark.parametrize(
    ("algorithms", "seeds", "scenarios", "message"),
    [
        (["fedsgd", "fedsgd"], [0], [], "algorithms = fedsgd, fedsgd: must be one or more, each once"),
        ([], [0], [], "algorithms = : must be one or more"),
        (["fedsdg"], [0], [], r'algorithm.name = "fedsdg": must be one of .*did you mean fedsgd\?'),
        (["fedsgd"], [0], ["statik"], r'scenario.name = "statik": must be one of .*did you mean static\?'),
        (["fedsgd"], [-1], [], "seed = -1: must be greater than or equal to 0"),
    ],
)
def test_mistakes(
    experiment: Make, tmp_path: Path, algorithms: list[str], seeds: list[int], scenarios: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(experiment(), algorithms, seeds, scenarios, out=tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_settings_go_to_the_algorithms_that_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "examples")
    names = ["fedsgd", "fedbuff", "my_algorithm:TrimmedMean"]
    base, given = load_experiment(None, []), ["algorithm.server_lr=0.7", "algorithm.trim=2"]
    cells = list_cells(base, names, [0], ["static"], given, tmp_path)
    found = [cell.experiment.algorithm.model_dump(exclude={"name"}) for cell in cells]
    assert found[0] == {}
    assert found[1]["server_lr"] == 0.7
    assert found[2] == {"path": "my_algorithm:TrimmedMean", "settings": {"trim": 2}}
    own = load_experiment(None, ["algorithm.name=my_algorithm:TrimmedMean", "algorithm.slow_momentum=0.1"])
    (cell,) = list_cells(own, names[2:], [0], ["static"], ["algorithm.trim=2"], tmp_path)
    assert cell.experiment.algorithm.model_dump()["settings"] == {"trim": 2, "slow_momentum": 0.1}
    for setting, message in {
        "algorithm.mu=1": r'algorithm\.mu: no such setting for algorithm\.name = "fedsgd", only for fedprox',
        "training.lr=0.5": r"settings = training\.lr=0\.5: must look like algorithm\.key=value; others",
        "algorithm.name=fedavg": r"settings = algorithm\.name=fedavg: must look like",
        "algorithm.server_lr=x": r'algorithm\.server_lr = "x": must be a number',
    }.items():
        with pytest.raises(ConfigError, match=message):
            list_cells(base, names, [0], ["static"], [setting], tmp_path)
    with pytest.raises(ConfigError, match=r'algorithm\.name = "fedbuf": must be one of .*did you mean fedbuff'):
        list_cells(base, ["fedsgd", "fedbuf"], [0], ["static"], ["algorithm.server_lr=0.7"], tmp_path)


def test_a_run_that_has_to_stop_is_compared_as_far_as_it_came(experiment: Make, tmp_path: Path) -> None:
    stopped: list[str] = []
    found = compare(
        experiment(*DIVERGING), ["fedsgd"], [0], out=tmp_path / "g",
        on_progress=lambda _, progress: stopped.append(str(progress)) if isinstance(progress, Exception) else None,
    )  # fmt: skip
    assert "training diverged" in stopped[0]
    assert found.cells["rounds"][0].as_py() < 12


def test_pages(made: Comparison) -> None:
    page = write_report(made).read_text(encoding="utf-8")
    assert "2 algorithms on digits" in page
    assert page.count('<fieldset class="switch">') == 2
    assert page.count("<figure>") == len(list((made.folder / "pictures").glob("*.svg"))) > 20
    assert "<script" not in page
    assert "script-src &#x27;none&#x27;" in page
    assert "In pairs, seed by seed" in page
    assert "| static | fedqs-sgd | fedsgd |" in (made.folder / "comparison.md").read_text(encoding="utf-8")


# The figures, by hand


def row(algorithm: str, seed: int, best: float, **more: object) -> dict[str, object]:
    return {
        "scenario": "static", "algorithm": algorithm, "seed": seed, "best_accuracy": best, "late_accuracy": best - 0.1,
        "rounds_to_95": 10, "rounds_to_target": None, "time_to_target": 5.0, "stability": 0.01, "seconds": 1.0,
    } | more  # fmt: skip


def test_differences_are_taken_against_the_base_seed_by_seed() -> None:
    rows = [row("fedavg", 0, 0.5), row("fedavg", 1, 0.7), row("fedsgd", 0, 0.8), row("fedsgd", 1, 0.8)]
    rows += [row("fedqs-sgd", 0, 0.81), row("fedqs-sgd", 1, 0.83), row("fedqs-avg", 1, 0.75)]
    lines = {line[1]: line for line in list_differences(rows)[1:]}
    assert lines["fedqs-sgd"][2:] == ["fedsgd", "+2.00 (+1.00, +3.00)", "+2.00 (+1.00, +3.00)", "2 of 2"]
    assert lines["fedqs-avg"][2:] == ["fedavg", "+5.00", "+5.00", "1 of 1"]
    assert lines["fedsgd"][2:4] == ["fedavg", "+20.00 (+10.00, +30.00)"]
    assert "fedavg" not in lines


def test_means_and_spreads() -> None:
    assert format_spread([0.5, 0.7], 100, 1) == "60.0 ± 14.1"
    assert format_spread([0.5], 100, 1) == "50.0"
    assert format_spread([10, None, 20], 1, 0) == "15 ± 7 (2)"
    assert format_spread([None], 1, 0) == "-"
    assert format_interval([1.0, 2.0, 3.0]) == "+2.00 [-0.48, +4.48]"
    head, line = tabulate_runs([row("fedavg", 0, 0.5)])
    assert dict(zip(head, line, strict=True))["rounds to target"] == "-"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", "run.rounds=4", "--set", "clients.count=8", "--set", "server.buffer_size=2"]
    command = ["compare", *settings, "--out", str(tmp_path / "g")]
    grid = ["--algorithms", "fedavg,fedqs-avg", "--seeds", "0"]
    for expected in (2, 0):
        assert main([*command, *grid]) == 0
        said = capsys.readouterr().err
        assert said.count(": done\n") == expected, "the second time there is nothing left to do"
        assert "comparison.html" in said
    assert (tmp_path / "g" / "comparison.html").exists()
    for wrong, message in (
        (["--algorithms", "fedavg", "--target", "70"], "fedqs: --target = 70: must be between 0 and 1\n"),
        (["--algorithms", "fedavg", "--seeds", "0,0"], "fedqs: seeds = 0, 0: must be one or more, each once\n"),
    ):
        assert (main([*command, *wrong]), capsys.readouterr().err) == (2, message)
