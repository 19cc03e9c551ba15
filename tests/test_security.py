"""What docs/security.md promises."""

import ast
import base64
import hashlib
import html
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedqs_ray import Experiment, Result, load
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.temporary import MARK, lock_folder, sweep_folders

ROOT = Path(__file__).resolve().parent.parent

SOCKETS = """
import json
import sys
from contextlib import suppress
from pathlib import Path
import psutil
import ray
from fedqs_ray.backends.ray.session import open_session

with open_session(cpus=1):
    @ray.remote
    def nothing():
        return 1

    ray.get(nothing.remote())
    me = psutil.Process()
    sockets = []
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            sockets += process.net_connections()
    addresses = [socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN]
    from ray._private.authentication.authentication_token_setup import get_authentication_mode
    mode = str(get_authentication_mode()).rpartition(".")[2]
    Path(sys.argv[1]).write_text(json.dumps([addresses, mode]))
"""


def test_a_private_ray_listens_on_loopback_and_asks_for_a_token(found_by: Callable[..., Any]) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
    addresses, mode = found_by(SOCKETS, environment)
    assert len(addresses) > 3
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    assert mode in ("TOKEN", "1")


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in (ROOT / "fedqs_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib"} & set(names), path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "torch.load", "np.load", "os.system"), f"{path}: {called}"
                assert not any(word.arg == "shell" for word in node.keywords), path


def test_the_report_escapes_what_it_shows(folder_of: Callable[[Experiment], Result], tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = 60
    table = pa.table({"x": [float(n % 7) for n in range(rows)], evil: [n % 2 for n in range(rows)],
                      "who": [f"{evil}{n % 6}" for n in range(rows)]})  # fmt: skip
    pq.write_table(table, tmp_path / "table.parquet")
    settings = [
        "task.name=parquet", f'task.train="{tmp_path / "table.parquet"}"', f"task.label='{evil}'", "task.client=who",
        "task.partition.name=natural", "clients.count=6", "server.buffer_size=2", "run.rounds=3",
        f'run.out="{tmp_path / "a<b>&c"}"',
    ]  # fmt: skip
    page = write_report(folder_of(load(None, settings))).read_text(encoding="utf-8")
    assert evil not in page
    assert "a<b>" not in page
    assert page.count("<script") == 2, "the numbers, and the one script that may run"
    assert "default-src 'none'" in html.unescape(page)
    code = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(page)
    assert "&lt;script&gt;" in page


def test_what_a_killed_process_left_in_tmp_is_swept() -> None:
    """And nothing that is in use, or somebody else's."""
    dead, alive, strange = (Path(tempfile.mkdtemp(prefix="fedqs-", dir="/tmp")) for _ in range(3))
    try:
        (dead / MARK).touch()
        (dead / "log").write_text("old")
        with lock_folder(alive):
            assert swept(dead)
            assert alive.exists()
            assert strange.exists()
        assert swept(alive)
    finally:
        for folder in (dead, alive, strange):
            shutil.rmtree(folder, ignore_errors=True)


def test_a_strangers_folder_in_tmp_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fedqs-1").mkdir()
    (tmp_path / "fedqs-1" / MARK).touch()
    (tmp_path / "fedqs-2").symlink_to(tmp_path / "fedqs-1")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep_folders(tmp_path)
    assert (tmp_path / "fedqs-1" / MARK).exists()
    monkeypatch.undo()
    sweep_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fedqs-2"], "a link is nobody's temporary folder"


def swept(folder: Path) -> bool:
    """Whether a sweep removes it; another process, whose own sweep just looks whether it is in use, may delay that."""
    end = time.monotonic() + 30
    sweep_folders(folder.parent)
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.1)
        sweep_folders(folder.parent)
    return not folder.exists()
