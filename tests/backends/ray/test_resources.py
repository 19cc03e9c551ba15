"""Clusters that have no room yet, and clusters of unlike nodes. On real raylets."""

import os
import re
from collections.abc import Callable
from typing import Any

import torch

from fedqs_ray.training.device import LOGICAL_GPUS

START = """
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ray.cluster_utils import Cluster
from fedqs_ray import ConfigError, load, run
from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.ray.resources import plan_actors
from fedqs_ray.backends.ray.server_actor import start_executor
from fedqs_ray.backends.ray.session import open_session
from fedqs_ray.backends.ray.shared_data import put_data
from fedqs_ray.tasks.loading import load_data

small = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
found = []
"""
GROWING = f"""{START}
wish = [f"run.address={{small.address}}", "clients.actors=2"]
with open_session(small.address):
    for seconds in (0, 1):
        try:
            plan_actors(load(None, [*wish, f"run.wait_for_nodes={{seconds}}"]))
        except ConfigError as error:
            found.append(str(error))
    with ThreadPoolExecutor() as aside:
        planned = aside.submit(plan_actors, load(None, [*wish, "run.wait_for_nodes=200"]))
        time.sleep(1)
        assert not planned.done()
        small.add_node(num_cpus=1, num_gpus=1)
        found.append(planned.result())
    try:
        run(load(None, [*wish[:1], "clients.num_gpus=0.5", "run.rounds=1"], out=sys.argv[1] + ".run"))
        found.append("")
    except ConfigError as error:
        found.append(str(error))
small.shutdown()
Path(sys.argv[1]).write_text(json.dumps(found))
"""
UNLIKE = f"""{START}
names = {{small.head_node.node_id: "head"}}
names |= {{small.add_node(num_cpus=2, num_gpus=gpus).node_id: kind for kind, gpus in (("plain", 0), ("gpu", 1))}}

def where(*wish):
    experiment = load(None, [f"run.address={{small.address}}", *wish])
    actors = plan_actors(experiment)
    executor = start_executor(experiment, build_algorithm(experiment), put_data(load_data(experiment)), actors)
    executor.actors.wait_for_start()
    return Counter(names[member.node] for member in executor.actors.members)

with open_session(small.address):
    found = [where("clients.num_gpus=0.5"), where("clients.actors=3", "clients.num_cpus=0.5")]
small.shutdown()
Path(sys.argv[1]).write_text(json.dumps(found))
"""


WITH_TOKEN = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}


def test_a_run_waits_for_nodes_and_refuses_gpus_that_torch_does_not_see(found_by: Callable[..., Any]) -> None:
    at_once, late, planned, refused = found_by(GROWING, WITH_TOKEN)
    assert at_once == late
    assert "clients.num_cpus = 1: 2 client actors (clients.actors = 2) would need 2 CPUs" in at_once
    assert "the cluster (nodes: 1) has 1" in at_once
    assert planned == 2
    message = r"clients\.num_gpus = 0\.5: torch \S+ finds no CUDA device in the client actor; must be 0 there"
    assert torch.cuda.is_available() or re.fullmatch(message, refused)


def test_actors_go_where_their_fraction_of_a_gpu_is_and_spread(found_by: Callable[..., Any]) -> None:
    fractions, spread = found_by(UNLIKE, WITH_TOKEN | {LOGICAL_GPUS: "1"})
    assert fractions == {"gpu": 2}, "two halves of the one GPU, and nobody on the nodes without"
    assert len(spread) > 1, "not all on one node"
