"""The files for `ray up`, against Ray's own schema, and for what nobody sees until it is too late."""

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "cluster.yaml", ROOT / "benchmarks" / "cluster" / "onprem.yaml"]
COMMANDS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands",
)  # fmt: skip


def config(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def commands(path: Path) -> list[str]:
    return [command for key in COMMANDS for command in config(path).get(key, [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_ray_accepts_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    validate_config(prepare_config(config(path)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_port_is_open_to_the_world(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in re.findall(r"[0-9a-f:.]+/\d+", text):
        assert ipaddress.ip_network(word).prefixlen > 0
    assert not re.search(r"0\.0\.0\.0|::/0|\[::\]", text)
    start = next(command for command in commands(path) if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in start
    assert "security_group" not in config(path)["provider"], "Ray's own group opens port 22 to the world"
    for kind in config(path).get("available_node_types", {}).values():
        assert kind["node_config"]["SecurityGroupIds"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_token_reaches_every_node(path: Path) -> None:
    assert config(path)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    on_all = config(path)["setup_commands"]
    assert "chmod 600 ~/.ray/auth_token" in on_all
    assert any("RAY_AUTH_MODE=token" in command and "~/.bashrc" in command for command in on_all)
    assert not re.search(r"[0-9a-f]{32}", path.read_text(encoding="utf-8")), "a token in the file"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_installed_is_pinned_and_there(path: Path) -> None:
    installs = [command for command in commands(path) if "pip install" in command]
    assert installs
    for command in installs:
        assert "-c ~/fedqs_ray/constraints.txt" in command or re.search(r"install -q '\w+==[\d.]+'$", command), command
    mounted = {there: ROOT / here for there, here in config(path)["file_mounts"].items() if here[0] != "~"}
    assert all(there == f"~/fedqs_ray/{here.name}" for there, here in mounted.items())
    assert all(here.exists() for here in mounted.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {"fedqs_ray", "pyproject.toml", "constraints.txt", project["readme"], *project["license-files"]}
    assert {here.name for here in mounted.values()} == needed
    assert "cluster" in project["optional-dependencies"]


def test_the_head_has_no_gpu_and_workers_come_when_needed() -> None:
    found = config(FILES[0])
    assert found["available_node_types"][found["head_node_type"]]["resources"] == {"CPU": 0}
    (worker,) = [kind for name, kind in found["available_node_types"].items() if name != found["head_node_type"]]
    assert worker["min_workers"] == 0
    assert 0 < worker["max_workers"] <= found["max_workers"]
    assert worker["resources"]["GPU"] == 1
