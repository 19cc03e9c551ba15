"""A run on a cluster that has no room yet waits for it."""

import json
import os
import subprocess
import sys

GROWING = """
import json
import time
from concurrent.futures import ThreadPoolExecutor
from ray.cluster_utils import Cluster
from fedqs_ray import SettingError, load
from fedqs_ray.actors import cluster

small = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
wish = [f"run.address={small.address}", "clients.actors=2"]
found = []
with cluster.session(small.address):
    for seconds in (0, 1):
        try:
            cluster.plan_actors(load(None, [*wish, f"run.wait_for_nodes={seconds}"]))
        except SettingError as error:
            found.append(str(error))
    with ThreadPoolExecutor() as aside:
        planned = aside.submit(cluster.plan_actors, load(None, [*wish, "run.wait_for_nodes=60"]))
        time.sleep(1)
        assert not planned.done()
        small.add_node(num_cpus=1)
        found.append(planned.result())
small.shutdown()
print(json.dumps(found))
"""


def test_a_run_waits_for_nodes_as_long_as_it_may() -> None:
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True, env=environment)
    at_once, late, planned = json.loads(done.stdout.splitlines()[-1])
    assert at_once == late
    assert "clients.num_cpus = 1: 2 client actors (clients.actors = 2) would need 2 CPUs" in at_once
    assert planned == 2
