"""Clusters that have no room yet, and clusters of unlike nodes. On real raylets."""

import os
from collections.abc import Callable
from typing import Any

START = """
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ray.cluster_utils import Cluster
from fedqs_ray import ConfigError, algorithms, load
from fedqs_ray.actors import cluster
from fedqs_ray.backends.ray.server_actor import hire
from fedqs_ray.tasks.loading import load as load_data

small = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
found = []
"""
GROWING = f"""{START}
wish = [f"run.address={{small.address}}", "clients.actors=2"]
with cluster.session(small.address):
    for seconds in (0, 1):
        try:
            cluster.plan_actors(load(None, [*wish, f"run.wait_for_nodes={{seconds}}"]))
        except ConfigError as error:
            found.append(str(error))
    with ThreadPoolExecutor() as aside:
        planned = aside.submit(cluster.plan_actors, load(None, [*wish, "run.wait_for_nodes=200"]))
        time.sleep(1)
        assert not planned.done()
        small.add_node(num_cpus=1)
        found.append(planned.result())
small.shutdown()
Path(sys.argv[1]).write_text(json.dumps(found))
"""
UNLIKE = f"""{START}
names = {{small.head_node.node_id: "head"}}
names |= {{small.add_node(num_cpus=2, num_gpus=gpus).node_id: kind for kind, gpus in (("plain", 0), ("gpu", 1))}}

def where(*wish):
    experiment = load(None, [f"run.address={{small.address}}", *wish])
    actors = cluster.plan_actors(experiment)
    pool = hire(experiment, algorithms.build(experiment), load_data(experiment), actors)
    while pool._crew.starting:
        pool._crew.wait([], None)
    return Counter(names[member.node] for member in pool._crew.members)

with cluster.session(small.address):
    found = [where("clients.num_gpus=0.5"), where("clients.actors=3", "clients.num_cpus=0.5")]
small.shutdown()
Path(sys.argv[1]).write_text(json.dumps(found))
"""


WITH_TOKEN = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}


def test_a_run_waits_for_nodes_as_long_as_it_may(found_by: Callable[..., Any]) -> None:
    at_once, late, planned = found_by(GROWING, WITH_TOKEN)
    assert at_once == late
    assert "clients.num_cpus = 1: 2 client actors (clients.actors = 2) would need 2 CPUs" in at_once
    assert "the cluster (nodes: 1) has 1" in at_once
    assert planned == 2


def test_actors_go_where_their_fraction_of_a_gpu_is_and_spread(found_by: Callable[..., Any]) -> None:
    fractions, spread = found_by(UNLIKE, WITH_TOKEN)
    assert fractions == {"gpu": 2}, "two halves of the one GPU, and nobody on the nodes without"
    assert len(spread) > 1, "not all on one node"
