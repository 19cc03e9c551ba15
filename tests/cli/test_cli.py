"""The command line as a person meets it: exit statuses, what is on the screen; in this process and in real ones."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from fedqs_ray import Result
from fedqs_ray.cli.commands import main
from fedqs_ray.cli.tables import show_summary
from fedqs_ray.runs.layout import REPRODUCIBLE

pytestmark = pytest.mark.xdist_group("cli")
FEDQS = [sys.executable, "-W", "error", "-m", "fedqs_ray"]
QUICK = ["--set", "run.rounds=5", "--set", "clients.count=10", "--set", "server.buffer_size=3"]
QUICK += ["--set", "clients.actors=1"]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status and its output."""

    returncode: int
    stdout: str
    stderr: str


def fedqs(*arguments: str) -> Done:
    """A command in this process, on the Ray session of the tests if it needs one."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            status = main([*arguments])
        except SystemExit as end:
            status = int(str(end.code))
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> tuple[Path, str]:
    """One run of the command, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "it's [red] 😀"
    done = fedqs("run", *QUICK, "--out", str(out), "--report")
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def test_a_run_leaves_its_folder(finished: tuple[Path, str]) -> None:
    out, _ = finished
    assert sorted(path.name for path in out.iterdir()) == [
        ".lock",
        "arrivals.parquet",
        "clients.parquet",
        "config.toml",
        "labels.parquet",
        "log.jsonl",
        "model.safetensors",
        "pictures",
        "report.html",
        "rounds.parquet",
        "timing.parquet",
    ]
    result = Result(out)
    assert result.experiment.run.rounds == 5
    assert set(result.experiment.versions) == {"fedqs_ray", "ray", "torch", "numpy", "pyarrow"}
    assert len(result.rounds) == 6
    assert len(result.clients) == 10
    assert len(pq.read_table(out / "arrivals.parquet")) == sum(result.clients["dispatched"].to_pylist())
    assert len(result.to_pandas()) == 6
    assert "best accuracy" in result._repr_html_()


def test_the_closing_table(finished: tuple[Path, str]) -> None:
    out, screen = finished
    for label in ("best accuracy", "final accuracy", "rounds to 95%", "mean staleness", "updates/s", "files"):
        assert label in screen
    assert str(out) in screen, "a name is no markup"
    assert "\x1b" not in screen, "no colours and no progress bar where nobody watches"


def test_commands_are_shown_as_a_shell_takes_them(
    finished: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    show_summary(Result(finished[0]), None)
    shown = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("report"))
    assert shlex.split(shown) == ["report", "fedqs", "report", str(finished[0])]


def test_the_folder_of_the_configuration_is_not_overwritten(finished: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(finished[0])
    before = (finished[0] / "config.toml").read_bytes()
    done = fedqs("run", str(tmp_path / "link" / "config.toml"), "--out", str(finished[0]), "--overwrite")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "config.toml; choose another folder" in done.stderr
    assert (finished[0] / "config.toml").read_bytes() == before


def test_a_run_can_be_repeated_from_its_own_configuration_in_the_folder_of_another(
    finished: tuple[Path, str], finished_run: Path, tmp_path: Path
) -> None:
    out, _ = finished
    old = shutil.copytree(finished_run, tmp_path / "old")
    (old / "leftover").write_text("of the run before")
    done = fedqs("run", str(out / "config.toml"), "--out", str(old), "--overwrite", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    for name in REPRODUCIBLE:
        assert (old / name).read_bytes() == (out / name).read_bytes()
    assert (old / "leftover").exists(), "runs do not write such files"


def test_the_report_is_one_escaped_file(finished: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    config = copy / "config.toml"
    config.write_text(config.read_text() + '\n# <script>alert("x")</script>\n')
    done = fedqs("report", str(copy))
    assert done.returncode == 0
    assert done.stdout.strip() == str(copy / "report.html")
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "it opens offline"
    names = {path.name for path in (copy / "pictures").iterdir()}
    assert page.count("<figure>") == len(names)
    assert {"accuracy_round.svg", "loss_time.svg", "staleness.svg", "fairness.svg", "labels.svg"} <= names
    assert "losses.svg" not in names, "nothing was lost"


MISTAKES = [
    (["run", "--set", "run.roundz=3"], "fedqs: run.roundz: no such setting; did you mean run.rounds?"),
    (["run", "nowhere.toml"], "fedqs: nowhere.toml: cannot be read: No such file or directory"),
    (["run", "--set", "task.name=adult"], 'fedqs: task.data_dir = "data/adult": data/adult/adult.data is missing'),
    (["run", "--set", "clients.num_gpus=64"], "fedqs: clients.num_gpus = 64: 1 client actor would need 64 GPUs"),
    (["run", "--out", "file"], 'fedqs: run.out = "file": is a file'),
    (["run", "--out", "full"], 'fedqs: run.out = "full": already exists; choose another folder, or pass --overwrite'),
    (["run", "--out", "full", "--overwrite"], 'fedqs: run.out = "full": holds no run, so --overwrite leaves it alone'),
    (["run", "--out", "file/deep"], 'fedqs: run.out = "file/deep": cannot be written: Not a directory'),
    (["run", "--out", ""], 'fedqs: run.out = "": must be a path in UTF-8, neither empty nor'),
    (["run", "--out", "\udcff"], 'fedqs: run.out = "\\udcff": must be a path in UTF-8'),
    (["run", "--out", "new\nline"], 'fedqs: run.out = "new\\nline": must be a path in UTF-8'),
    (["run", "--ot", "x"], "fedqs: unrecognized arguments: --ot"),
    (["compare", "--algorithms", "fedavg", "--out", ""], 'fedqs: --out = "": must name a folder'),
    (["compare", "--seeds", "x"], "fedqs: argument --seeds: invalid numbers value: 'x'"),
    (["report", "x" * 300], f"fedqs: {'x' * 300}: cannot be read: File name too long"),
    (["report", "full"], "fedqs: full: not a run folder, it has no rounds.parquet"),
]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: " ".join(value)[:40])
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    done = fedqs(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    """One that a Ray session of this process would hide."""
    command = [*FEDQS, "run", "--set", 'run.address="127.0.0.1:1"']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith('fedqs: run.address = "127.0.0.1:1": no Ray cluster there')
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ray_session")
def test_default_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits-fedqs-sgd-0").mkdir(parents=True)
    assert main(["run", *QUICK]) == 0
    assert (tmp_path / "runs" / "digits-fedqs-sgd-0-2" / "rounds.parquet").exists()


def test_help_explains_every_setting_and_is_quick() -> None:
    done = subprocess.run([*FEDQS, "run", "--help"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "server.buffer_size = 10   (int, >= 1, <= 1e6)" in done.stdout
    assert "K, arrivals that make a round" in done.stdout
    probe = "import sys, fedqs_ray.cli.commands as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    probe += "import json; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    modules = set(json.loads(loaded.splitlines()[-1]))
    assert not modules & {"ray", "torch", "pyarrow", "matplotlib", "sklearn", "numpy"}


def test_following_a_run_needs_no_drawing() -> None:
    probe = "import json, sys, fedqs_ray.experiments.run, fedqs_ray.cli.watch; print(json.dumps(sorted(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert not set(json.loads(loaded)) & {"ray", "torch", "matplotlib", "sklearn", "pandas", "scipy"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("adult", "OpenML cannot be reached"), pytest.param("mnist", "cannot be downloaded", marks=pytest.mark.full)],
)
def test_fetching_without_internet_says_what_to_do(tmp_path: Path, name: str, said: str) -> None:
    environment = os.environ | {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "fedqs_ray", "data", name, "--dir", str(tmp_path / "a")],
        capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"fedqs: data {name}: {said}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("ray_session")
def test_diverged_training_stops_with_a_clear_line_and_keeps_its_tables(tmp_path: Path) -> None:
    out = tmp_path / "run"
    diverging = ["run.rounds=40", "task.name=synthetic", "task.max_samples=200", "training.batch_size=5"]
    diverging += ["training.lr=1e6", "training.clip_norm=1e30"]
    settings = [word for setting in diverging for word in ("--set", setting)]
    done = fedqs("run", *QUICK, *settings, "--report", "--out", str(out))
    assert done.returncode == 1
    assert re.fullmatch(
        r"fedqs: stopped after round \d of 40: the last 10 updates .* training diverged; .* what it wrote is in "
        rf"{out}; report: {out}/report.html\n",
        done.stderr,
    )
    watched = fedqs("watch", str(out))
    assert watched.returncode == 1
    assert re.search(r"^stopped after round \d of 40: .* training diverged; .*\n\Z", watched.stdout, re.MULTILINE)
    assert (out / "report.html").exists()
    outcomes = pq.read_table(out / "arrivals.parquet")["outcome"].to_pylist()
    assert outcomes.count("rejected") >= 10


def wait_for_rounds(out: Path) -> None:
    """Until a run is well under way."""
    deadline = time.monotonic() + 200
    while not ((out / "rounds.arrows").exists() and len(Result(out).rounds) > 5):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.full
def test_an_interrupted_run_ends_ray_and_leaves_readable_tables(
    below: Callable[..., list[psutil.Process]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = ["--set", "run.rounds=100000", "--set", "run.eval_every=1000"]
    process = subprocess.Popen([*FEDQS, "run", *settings, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    try:
        wait_for_rounds(out)
        offspring = below(process.pid)
        process.send_signal(signal.SIGINT)
        _, screen = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in screen
    rounds = Result(out).rounds["round"].to_pylist()
    assert len(rounds) > 5
    assert rounds == list(range(len(rounds)))
    assert offspring
    assert not psutil.wait_procs(offspring, timeout=120)[1]
    report = fedqs("report", str(out))
    assert report.returncode == 0, report.stderr


@pytest.mark.full
def test_the_death_of_the_server_actor_ends_the_run_with_one_clear_line(
    below: Callable[..., list[psutil.Process]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = ["--set", "run.rounds=100000", "--set", "run.eval_every=1000"]
    process = subprocess.Popen([*FEDQS, "run", *settings, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    try:
        wait_for_rounds(out)
        (server,) = below(process.pid, "ray::ServerActor")
        server.kill()
        _, screen = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 1
    assert re.fullmatch(rf"fedqs: stopped: the server actor died.*; what it wrote is in {out}\n", screen), screen
    assert len(Result(out).rounds) > 5, "what was written can be read"


def test_a_report_that_cannot_be_written_or_drawn(finished: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    (folder / "pictures").write_text("a file")
    done = fedqs("report", str(folder))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"fedqs: {folder}: cannot write the report: ")
    (folder / "pictures").unlink()
    (folder / "arrivals.parquet").unlink()
    done = fedqs("report", str(folder))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
