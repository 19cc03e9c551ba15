"""Runs whose folder is a URI, in a real server that speaks S3: the same bytes, and one line for what goes wrong."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fedqs_ray import ConfigError, FedqsError, Result, RunFolderError, SimulationStopped, compare, load, resume, run
from fedqs_ray.cli.commands import main
from fedqs_ray.core.exceptions import RunInterrupted
from fedqs_ray.core.rows import Progress
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.staging import claim_store, stage_run
from fedqs_ray.runs.store import Store
from fedqs_ray.runs.temporary import sweep_folders

pytestmark = pytest.mark.xdist_group("storage")
ROOT = Path(__file__).resolve().parents[2]
SMALL = ["clients.count=12", "server.buffer_size=4", "run.rounds=12", "run.checkpoint_every=5", "clients.actors=1"]
SECRET = "wJalr/XUtnFEMI"
SERVER = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """HOST:PORT of a server with a bucket, which the environment names; the processes that tests start inherit it."""
    command, pipe = [sys.executable, "-c", SERVER], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    with process, pytest.MonkeyPatch.context() as patch:
        assert process.stdout
        place = f"127.0.0.1:{int(process.stdout.readline())}"
        patch.setenv("AWS_ENDPOINT_URL", f"http://{place}")
        patch.setenv("AWS_ACCESS_KEY_ID", "KEY")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        try:
            make_bucket(place)
            yield place
        finally:
            process.kill()


def make_bucket(server: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"http://{server}/my-bucket", method="PUT")).close()


def empty_the_server(server: str) -> None:
    """Its buckets are gone too."""
    urllib.request.urlopen(urllib.request.Request(f"http://{server}/moto-api/reset", method="POST")).close()


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where private folders are made."""
    room = tmp_path / "tmp"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    monkeypatch.setenv("TMPDIR", str(room))
    return room


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    """An undisturbed run in a folder, which file:// named."""
    return run(load(None, SMALL, out=f"{tmp_path_factory.mktemp('calm').as_uri()}/a%20run")).folder


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in REPRODUCIBLE}


def fetched(uri: str, to: Path) -> dict[str, bytes]:
    """All that is at a URI."""
    store = Store(uri)
    names = store.names()
    store.fetch(names, to)
    return {name: (to / name).read_bytes() for name in names}


@pytest.mark.full
def test_what_the_docs_show(server: str, private: Path, tmp_path: Path, ray_session: None) -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    section = text.partition("## Results that outlive the head\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(["bash", "-ec", block], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "s3://my-bucket/runs/first/report.html\n"
    assert not list(private.iterdir()), "private folders are removed"
    found = fetched("s3://my-bucket/runs/first", tmp_path / "fetched")
    assert len(resume("s3://my-bucket/runs/first").rounds) == 31, "nothing to do"
    here = run(load(None, ["run.rounds=30", "clients.actors=1"], out=str(tmp_path / "here")))
    assert {name: found[name] for name in REPRODUCIBLE} == files(here.folder)
    assert {name.partition("/")[0] for name in found} == {
        *REPRODUCIBLE, "timing.parquet", "config.toml", "log.jsonl", "checkpoints", "report.html", "pictures",
    }  # fmt: skip


@pytest.mark.full
def test_killed_and_resumed_on_another_machine(
    server: str, private: Path, tmp_path: Path, ray_session: None, held: str, below: Callable[..., list[psutil.Process]]
) -> None:
    long, go = [*SMALL, "run.rounds=40", held], tmp_path / "go"
    uri = "s3://my-bucket/runs/killed"
    flags = [flag for value in [*long, f'algorithm.until="{go}"'] for flag in ("--set", value)]
    command = [sys.executable, "-m", "fedqs_ray", "run", *flags, "--quiet", "--out", uri]
    driver = subprocess.Popen(command)
    try:
        store = Store(uri)
        while not any(name.startswith("checkpoints/") for name in store.names()):
            assert driver.poll() is None
            time.sleep(0.05)
        actors = below(driver.pid, "Actor")
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert not psutil.wait_procs(actors, timeout=120)[1]
    assert list(private.glob("fedqs-*/run/config.toml"))
    sweep_folders(private)
    assert not list(private.iterdir())
    assert 5 <= len(Result(uri).rounds) < 41
    go.touch()
    resumed = resume(uri, ["clients.actors=2"])
    assert resumed.summary.rounds == 40
    calm = run(load(None, long, out=str(tmp_path / "calm")))
    found = fetched(uri, tmp_path / "fetched")
    assert {name: found[name] for name in REPRODUCIBLE} == files(calm.folder)
    assert not list(private.glob("*/run"))


def test_overwriting_and_secrets(server: str, private: Path, tmp_path: Path, calm: Path) -> None:
    uri = f"s3://KEY:{SECRET.replace('/', '%2F')}@my-bucket/secret/run?endpoint_override={server}&scheme=http"
    shown = f"s3://my-bucket/secret/run?endpoint_override={server}&scheme=http"
    store = Store(uri)
    (tmp_path / "thesis.tex").write_text("precious")
    store.send(tmp_path, "thesis.tex")
    for name in ("config.toml", "rounds.parquet", "timing.parquet"):
        store.send(calm, name)
    experiment = load(None, SMALL, out=uri)
    with pytest.raises(RunFolderError, match=re.escape(f'run.out = "{shown}": already exists; choose another folder')):
        run(experiment)
    result = run(experiment, overwrite=True)
    page = write_report(result).read_bytes()
    found = fetched(uri, tmp_path / "fetched")
    assert found["thesis.tex"] == b"precious"
    assert found["timing.parquet"] != (calm / "timing.parquet").read_bytes()
    assert {name: found[name] for name in REPRODUCIBLE} == files(calm)
    assert found["report.html"] == page
    assert result.experiment.run.out == result.place == shown
    assert len(result.model)
    for name, content in found.items():
        assert b"wJalr" not in content, name
    assert "wJalr" not in repr(result) + result._repr_html_()
    del result
    assert not list(private.iterdir())


def test_an_interrupted_run_is_sent(server: str, private: Path, ray_session: None) -> None:
    uri = "s3://my-bucket/runs/interrupted"

    def interrupt(progress: Progress) -> None:
        if progress.round == 2:
            raise KeyboardInterrupt

    endless = load(None, [*SMALL, "run.checkpoint_every=never", "run.rounds=100000"], out=uri)
    with pytest.raises(RunInterrupted, match=f"; `fedqs resume {uri}` goes on from round") as caught:
        run(endless, on_progress=interrupt)
    assert caught.value.folder == uri
    assert not list(private.iterdir())
    assert 3 <= len(Result(uri).rounds) < 100_001
    assert any(name.startswith("checkpoints/") for name in Store(uri).names())


def test_whoever_stops_at_once_does_not_wait_and_loses_nothing(
    server: str, private: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "s3://my-bucket/runs/hurried"
    with pytest.raises(KeyboardInterrupt), stage_run(uri, uri) as mirror:  # noqa: PT012
        claim_store(mirror, load(None), overwrite=False)
        (mirror.folder / "timing.arrows").touch()
        raise KeyboardInterrupt
    (kept,) = private.glob("*/run")
    assert caplog.messages == [f"{uri} is not up to date: interrupted; the run is in {kept}"]
    assert (kept / "timing.arrows").exists()
    assert Store(uri).names() == {"config.toml", "rounds.arrows"}


def test_nothing_is_lost_when_the_store_goes_away(
    server: str, private: Path, calm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "s3://my-bucket/runs/lost"

    def go_away(progress: Progress) -> None:
        if progress.round == 1:
            empty_the_server(server)

    try:
        with pytest.raises(SimulationStopped) as caught:
            run(load(None, SMALL, out=uri), on_progress=go_away)
    finally:
        make_bucket(server)
    (kept,) = private.glob("*/run")
    line = rf"{uri} is not up to date: NO_SUCH_BUCKET .*; the run is in {kept}"
    assert re.fullmatch(line, str(caught.value)), caught.value
    assert caught.value.folder == str(kept)
    assert f"{uri}: cannot be written: NO_SUCH_BUCKET" in caplog.text
    assert "trying again at the next checkpoint" in caplog.text
    sweep_folders(private)
    assert files(kept) == files(calm)
    assert resume(kept).folder == kept


MISTAKES = [
    ("foo://bucket/run", "Unrecognized filesystem type in URI: foo://bucket/run"),
    ("s3://no-bucket/run", "cannot be written: NO_SUCH_BUCKET"),
    ("s3://", "names no bucket"),
    ("s3://KEY:SEC/RET@my-bucket/run", "syntax error"),
    ("s3://my-bucket/run?what=1", "Unexpected query parameter in S3 URI: 'what'"),
    ("s3://my-bucket/run?endpoint_override=127.0.0.1:1&scheme=http", "cannot be read: NETWORK_CONNECTION"),
    ("s3://my-bucket/other", "already exists; choose another folder, or pass --overwrite"),
]


@pytest.mark.parametrize(("uri", "message"), MISTAKES)
def test_a_mistake_is_one_line_before_anything_begins(
    server: str, private: Path, tmp_path: Path, uri: str, message: str
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    Store("s3://my-bucket/other").send(tmp_path, "thesis.tex")
    with pytest.raises(FedqsError) as caught:
        run(load(None, out=uri))
    assert isinstance(caught.value, RunFolderError) == ("cannot be" in message or "already" in message)
    assert str(caught.value).startswith(f'run.out = "{uri.replace("KEY:SEC/RET@", "")}": ')
    assert message in str(caught.value)
    assert not list(private.iterdir())


@pytest.mark.parametrize("uri", ["foo://bucket/run", "s3://no-bucket/run", "s3://my-bucket/nothing"])
def test_where_no_run_is(server: str, private: Path, uri: str) -> None:
    with pytest.raises(FedqsError, match=f"^{uri}: [^\n]*$"):
        resume(uri)
    assert not list(private.iterdir())
    with pytest.raises(RunFolderError, match=f"^{uri}: [^\n]*$"):
        Result(uri)
    with pytest.raises(ConfigError, match=f'"{uri}": must be a folder on this machine'):
        compare(load(None), ["fedavg"], out=uri)


def test_overwriting_spares_what_is_no_run(server: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    Store("s3://my-bucket/thesis").send(tmp_path, "thesis.tex")
    with pytest.raises(RunFolderError, match="holds no run, so --overwrite leaves it alone"):
        run(load(None, out="s3://my-bucket/thesis"), overwrite=True)
    assert Store("s3://my-bucket/thesis").names() == {"thesis.tex"}


def test_without_keys(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RunFolderError, match="cannot be written: ACCESS_DENIED"):
        run(load(None, out="s3://my-bucket/mine"))


def test_the_command_line_shows_no_secret(server: str, private: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"s3://KEY:{SECRET}@my-bucket/run"
    done = subprocess.run([sys.executable, "-m", "fedqs_ray", "run", "--out", uri], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r'fedqs: run.out = "s3://my-bucket/run": syntax error at character [^\n]*\n', done.stderr)
    for words in (["run", "--set", f"run.ot={uri}"], ["run", "--set", uri], ["report", uri]):
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1
        assert "XUtn" not in shown
    assert not list(private.iterdir())


def test_a_file_uri_is_a_folder(calm: Path) -> None:
    uri = calm.as_uri()
    assert uri.endswith("/a%20run")
    assert Result(uri).folder == resume(uri).folder == calm
    assert load(calm / "config.toml").run.out == str(calm)
    with pytest.raises(RunFolderError, match=f'run.out = "{calm}": already exists'):
        run(load(None, SMALL, out=uri))


def test_watching_from_afar(server: str, private: Path, calm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store("s3://my-bucket/runs/watched")
    for name in sorted(path.name for path in calm.iterdir() if path.is_file()):
        store.send(calm, name)
    assert main(["watch", "s3://my-bucket/runs/watched"]) == 0
    shown = capsys.readouterr().out
    assert "round 12 of 12" in shown
    assert "best accuracy" in shown
    assert main(["watch", "s3://my-bucket/runs/nobody"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(private.iterdir())
