"""`fedqs watch` on real runs: in a pseudo-terminal, in a pipe, interrupted, and left alone by a run that died."""

import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedqs_ray import Experiment, Result, RunFolderError, load, run
from fedqs_ray.cli.charts import draw_braille, draw_chart, format_number
from fedqs_ray.cli.watch import compose_screen
from fedqs_ray.core.exceptions import Interrupted
from fedqs_ray.core.interfaces import observe
from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.lock import hold_lock
from fedqs_ray.runs.log import RunLog
from fedqs_ray.runs.monitor import RunMonitor

RUN = ["run.rounds=60", "clients.count=10", "server.buffer_size=2", "clients.actors=1"]
pytestmark = pytest.mark.xdist_group("watch")
WATCH = [sys.executable, "-W", "error", "-m", "fedqs_ray", "watch"]


class Terminal:
    """`fedqs watch` in a terminal of 80x24."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.own, other = pty.openpty()
        termios.tcsetwinsize(other, (24, 80))
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""} | environment
        self.process = subprocess.Popen([*WATCH, str(folder)], stdin=other, stdout=other, stderr=other, env=environment)
        os.close(other)
        self._read = b""

    @property
    def shown(self) -> str:
        """All that was shown; the last character may be under way."""
        return self._read.decode(errors="ignore")

    def until(self, pattern: str) -> None:
        """Read what is shown until it matches."""
        deadline = time.monotonic() + 120
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown[-3000:]
            assert self.read() or re.search(pattern, self.shown), self.shown[-3000:]

    def read(self) -> bool:
        """Take in what is shown within a second; False once the other end is closed."""
        try:
            if select.select([self.own], [], [], 1)[0]:
                self._read += os.read(self.own, 65536)
        except OSError:
            return False
        return True

    def end(self) -> int:
        """The exit status; reads what is still shown."""
        while self.read():
            pass
        os.close(self.own)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, held: str, folder_of: Callable[[Experiment], Result]) -> Path:
    """The run that nobody watched."""
    return folder_of(load(None, [*RUN, held], out=str(tmp_path_factory.mktemp("calm") / "run"))).folder


@pytest.mark.usefixtures("ray_session")
def test_a_run_is_watched_left_and_watched_again(calm: Path, held: str, tmp_path: Path) -> None:
    """Ctrl-C ends watching and not the run, which goes on to the same bytes; the second time watching ends with it."""
    out, dead, go = tmp_path / "run", tmp_path / "dead", tmp_path / "go"
    with ThreadPoolExecutor(1) as aside:
        watched = aside.submit(run, load(None, [*RUN, held, f'algorithm.until="{go}"'], out=str(out)))
        while not (out / ".lock").exists():
            assert not watched.done()
            time.sleep(0.05)
        screen = Terminal(out)
        screen.until(r"round [1-9]\d* of 60")
        shutil.copytree(out, dead)  # what a kill would leave behind
        assert not watched.done(), "the run is under way"
        screen.process.send_signal(signal.SIGINT)
        assert screen.end() == 130
        assert "Traceback" not in screen.shown
        assert screen.shown.endswith("\x1b[?25h\x1b[?1049l"), "the terminal is as it was"
        assert not watched.done()
        with subprocess.Popen([*WATCH, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as again:
            assert again.stdout
            first = again.stdout.readline()
            go.touch()
            rest, error = again.communicate(timeout=200)
        watched.result()
    told = (first + rest).decode()
    assert (again.returncode, error) == (0, b"")
    assert re.search(r"^round \d+ of 60, accuracy \d.*, rejected 0\n", told, re.MULTILINE)
    assert "\nbest accuracy" in told
    assert "\x1b" not in told
    for name in REPRODUCIBLE:
        assert (out / name).read_bytes() == (calm / name).read_bytes(), name
    silence(dead)


def silence(dead: Path) -> None:
    """A run that hangs, and one that was killed: watching reports the silence, then the end, and how to go on."""
    old = time.time() - 100
    with hold_lock(dead):
        for path in dead.iterdir():
            os.utime(path, (old, old))
        with subprocess.Popen([*WATCH, str(dead)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            first, second = process.stdout.readline(), process.stdout.readline()
            process.send_signal(signal.SIGINT)
        assert "nothing written for 1" in text(RunMonitor(dead), 80, 24)
    assert process.returncode == 130
    assert first.startswith("round ")
    assert re.fullmatch(rf"nothing written for 1\d\d s; if the run was killed, `fedqs resume {dead}` goes on\n", second)
    done = subprocess.run([*WATCH, str(dead)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.search(r"stopped after round \d+ of 60; if the run was killed, `fedqs resume", done.stdout)
    with pytest.raises(Interrupted), observe([RunLog(dead)]):
        raise Interrupted("interrupted after round 3 of 60")
    for path in dead.iterdir():
        os.utime(path, (old, old))
    done = subprocess.run([*WATCH, str(dead)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "interrupted after round 3 of 60", "it left no checkpoint to go on from"


def text(view: RunMonitor, width: int, height: int) -> str:
    """A frame, without colours."""
    console = Console(width=width, height=height, record=True, file=io.StringIO(), soft_wrap=True)
    console.print(compose_screen(view, width, height))
    return console.export_text()


def test_a_finished_run_and_no_colours(calm: Path) -> None:
    screen = Terminal(calm, NO_COLOR="1")
    assert screen.end() == 0
    assert "best accuracy" in screen.shown
    assert "60 of 60" in screen.shown
    assert not re.search(r"\x1b\[[\d;]*3[1-7]m", screen.shown)
    told = subprocess.run([*WATCH, calm.as_uri()], capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (40, 12), (20, 5)])
def test_a_frame_fits(calm: Path, width: int, height: int) -> None:
    lines = text(RunMonitor(calm), width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    if width >= 80:
        assert all(word in shown for word in ("accuracy", "loss", "staleness", "updates/s", "virtual second", "lost 0"))
        assert re.search(r"^ +60 .*%", shown, re.MULTILINE), "the last lines"


def test_a_run_that_has_no_round_yet(calm: Path, tmp_path: Path) -> None:
    shutil.copy(calm / "config.toml", tmp_path / "config.toml")
    (tmp_path / "rounds.arrows").touch()
    view = RunMonitor(tmp_path)
    for _ in range(5):
        view.look()
    assert "no round of 60 yet" in text(view, 80, 24)
    with pytest.raises(RunFolderError, match="not a run folder"):
        RunMonitor(tmp_path / "nowhere")
    done = subprocess.run([*WATCH, "nowhere"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "fedqs: nowhere: not a run folder, it has no rounds.parquet\n")


def test_lines_of_dots() -> None:
    assert draw_braille([0, 1], [0, 1], 0, 1, width=2, height=1) == ["⡴⠋"]
    assert draw_braille([0, 1], [0, 0], 0, 1, width=3, height=2) == ["   ", "⣀⣀⣀"]
    lines = draw_chart("loss", "", [0, 1, 2], np.array([np.nan, 2.0, 1.0]), "to round 2", "red", 20, 4)
    assert [line.plain for line in lines] == [
        "loss  1             ",
        "     2│" + lines[1].plain[7:],
        "     1│" + lines[2].plain[7:],
        " " * 10 + "to round 2",
    ]
    assert all(len(line.plain) == 20 for line in lines)
    empty = draw_chart("loss", "", [], np.empty(0), "to round 0", "red", 20, 3)
    assert empty[0].plain.rstrip() == "loss  -"
    assert [format_number(value) for value in (0.0, 0.05, 91.64, 1805.2, 1.5e6, 2e-5)] == [
        "0",
        "0.05",
        "91.6",
        "1,805",
        "2e6",
        "2e-5",
    ]
