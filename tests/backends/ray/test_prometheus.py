"""What Prometheus reads off a node while a run is going on there, and what the Grafana dashboard asks for."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedqs_ray.backends.ray.prometheus import COUNTERS, GAUGES

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = json.loads((ROOT / "docs" / "grafana.json").read_text(encoding="utf-8"))
CLUSTER = """
import json
import sys
from pathlib import Path
from ray.cluster_utils import Cluster

head = {"num_cpus": 1, "include_dashboard": False}
often = {"metrics_report_interval_ms": 1000}
cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": often})
found = Path(sys.argv[1])
found.with_suffix(".part").write_text(json.dumps([cluster.address, cluster.head_node.metrics_export_port]))
found.with_suffix(".part").rename(found)
sys.stdin.read()
cluster.shutdown()
"""
TROUBLE = {
    "run.rounds": 100_000, "run.eval_every": 5, "clients.count": 12, "server.buffer_size": 4,
    "scenario.loss_rate": 0.1, "scenario.faults.nan_rate": 0.1, "scenario.faults.crash_rate": 0.005,
}  # fmt: skip


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A run in trouble on a cluster of one node: its folder, and the node's metrics port."""
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    settings = [word for item in TROUBLE.items() for word in ("--set", "{}={}".format(*item))]
    out, found = tmp_path / "trouble", tmp_path / "found.json"
    command = [sys.executable, "-c", CLUSTER, str(found)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as cluster:
        assert cluster.stdin
        try:
            while not found.exists():
                assert cluster.poll() is None
                time.sleep(0.1)
            address, port = json.loads(found.read_text())
            there = ["--set", f"run.address={address}", "--out", str(out)]
            driver = subprocess.Popen(
                [sys.executable, "-m", "fedqs_ray", "run", *settings, *there],
                env=environment, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                yield out, port
            finally:
                driver.kill()
                driver.wait()
        finally:
            cluster.stdin.close()


def samples(port: int) -> dict[str, Any]:
    """Ours, by name."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as node:
        node.request("GET", "/metrics")
        page = node.getresponse().read().decode()
    families = list(text_string_to_metric_families(page))
    return {one.name: one for family in families for one in family.samples if one.name.startswith("ray_fedqs_")}


def test_every_metric_that_the_dashboard_draws_is_exported(scrape: tuple[Path, int]) -> None:
    out, port = scrape
    exported = {f"ray_fedqs_{name}" for name in GAUGES} | {f"ray_fedqs_{name}_total" for name in COUNTERS}
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 200
    while not (found.keys() == exported and found["ray_fedqs_round"].value >= 10):
        assert time.monotonic() < deadline, exported - found.keys()
        time.sleep(0.5)
        with suppress(OSError, HTTPException):  # the node's agent is not there yet, or busy
            found = samples(port)
    assert asked_for() == exported
    assert {(one.labels["run"], one.labels["algorithm"]) for one in found.values()} == {(str(out), "fedqs-sgd")}
    value = {name.removeprefix("ray_fedqs_").removesuffix("_total"): one.value for name, one in found.items()}
    assert value["rounds"] == 100_000
    assert 0 < value["accuracy"] <= 1
    assert 0 < value["loss"] < 100
    assert 0 < value["staleness"] < 50
    assert 0 < value["training"] <= 12
    assert 0 <= value["buffered"] < 4
    assert value["time"] > value["round"] > 0
    assert value["updates"] > 4 * 9
    assert 0 < value["retries"] <= value["updates"]
    assert 0 < value["lost"] < value["updates"]
    assert 0 < value["rejected"] < value["updates"]


def asked_for() -> set[str]:
    """The metrics in the dashboard's queries."""
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return {name for query in queries for name in re.findall(r"\bray_\w+", query)}


def test_the_dashboard_can_be_imported_anywhere() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "run", "algorithm"]
    assert variables["datasource"]["type"] == "datasource"
    source = {"type": "prometheus", "uid": "${datasource}"}
    users = [*DASHBOARD["panels"], *(target for panel in DASHBOARD["panels"] for target in panel["targets"])]
    assert all(user["datasource"] == source for user in [*users, variables["run"], variables["algorithm"]])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "no panel covers another"
    assert max(x for x, _ in cells) == 23
