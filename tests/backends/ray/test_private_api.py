"""Ray's private names: a session starts with and without each of them, and with a Ray newer than the pinned one."""

import os
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from fedqs_ray.backends.ray import private_api

ROOT = Path(__file__).resolve().parents[3]
START = """
import json
import sys
from pathlib import Path
import ray
from fedqs_ray.backends.ray import private_api
from fedqs_ray.backends.ray.session import open_session
"""
USE = """
with open_session(cpus=1):
    @ray.remote
    def answer():
        return 42
    found = [ray.get(answer.remote()), ray.__version__]
Path(sys.argv[1]).write_text(json.dumps(found))
"""
WITHOUT = f"""{START}
init = ray.init

def newer_init(address, num_cpus, num_gpus, include_dashboard, log_to_driver, logging_level, **others):
    assert len(others) < 3
    if others:
        raise RuntimeError(f"Unknown keyword argument(s): {{next(iter(others))}}")
    return init(address, num_cpus=num_cpus, num_gpus=num_gpus, include_dashboard=include_dashboard,
                log_to_driver=log_to_driver, logging_level=logging_level)

ray.init = newer_init
private_api.find_owner = lambda module, path: (None, path)
{USE}
"""


def test_ray_starts_without_any_of_its_private_names(found_by: Callable[..., Any]) -> None:
    assert found_by(WITHOUT, dict(os.environ))[0] == 42


@pytest.mark.parametrize(
    ("module", "path"),
    [
        ("services", "resolve_ip_for_localhost"),
        ("node", "Node.start_monitor"),
        ("node", "Node.start_api_server"),
        ("node", "Node.start_log_monitor"),
        ("worker", "print_to_stdstream"),
    ],
)
def test_a_patch_is_made_undone_and_done_without(monkeypatch: pytest.MonkeyPatch, module: str, path: str) -> None:
    owner, name = private_api.find_owner(module, path)
    assert owner is not None, "the pinned Ray has it"
    before, other = getattr(owner, name), object()
    with private_api.swap_attribute(module, path, other) as swapped:
        assert swapped
        assert getattr(owner, name) is other
    assert getattr(owner, name) is before
    monkeypatch.delattr(owner, name)
    for gone in (path, f"Gone.{path}"):
        with private_api.swap_attribute(module, gone, other) as swapped:
            assert not swapped
    with private_api.swap_attribute("gone", path, other) as swapped:
        assert not swapped
    assert not hasattr(owner, name)


def test_ports_that_others_may_reach_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    message = f"Ray {ray.__version__} cannot be kept on 127.0.0.1: other machines may reach its ports"
    calls: list[set[str]] = []

    def init(**options: object) -> None:
        calls.append(options.keys() - {"address"})
        if "_node_ip_address" in options:
            raise TypeError("init() got an unexpected keyword argument '_node_ip_address'")

    monkeypatch.setattr(ray, "init", init)
    private_api.start_private_ray(Path("there"))
    assert [record.getMessage() for record in caplog.records] == [message]
    assert calls == [{"_temp_dir", "_node_ip_address"}, {"_temp_dir"}]
    caplog.clear()
    monkeypatch.setattr(private_api, "find_owner", lambda module, path: (None, path))
    monkeypatch.setattr(ray, "init", lambda **_: None)
    private_api.start_private_ray(Path("there"))
    assert [record.getMessage() for record in caplog.records] == [message]


def test_what_else_ray_says_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise RuntimeError("_temp_dir is full")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RuntimeError, match="is full"):
        private_api.start_private_ray(Path("there"))


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_newer_ray_starts(tmp_path: Path) -> None:
    """In an environment of its own that sees the packages of this one behind its own."""
    venv.create(tmp_path / "newer", with_pip=True)
    python, own = tmp_path / "newer" / "bin" / "python", sysconfig.get_path("purelib")
    there = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (Path(there.stdout.strip()) / "packages.pth").write_text(own)
    install = [str(python), "-m", "pip", "install", "--quiet", f"ray>{ray.__version__}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if "No matching distribution found for ray" in done.stderr:
        pytest.skip(f"ray {ray.__version__} is the newest, or no package index is reachable")
    assert done.returncode == 0, done.stderr[-3000:]
    found, environment = tmp_path / "found.json", os.environ | {"PYTHONPATH": str(ROOT)}
    command = [str(python), "-c", START + USE, str(found)]
    started = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert started.returncode == 0, started.stderr[-3000:]
    assert "cannot be kept" not in started.stderr
    assert found.read_text().startswith("[42, ")
    assert ray.__version__ not in found.read_text()
