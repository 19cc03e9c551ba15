"""Updates that stay on other nodes, of real raylets: added up there, fetched, trained again after their node died."""

import os
from collections.abc import Callable
from typing import Any

SCRIPT = """
import json
import sys
from pathlib import Path
import numpy as np
from ray.cluster_utils import Cluster
from fedqs_ray.algorithms.registry import build_algorithm
from fedqs_ray.backends.inline import InlineExecutor
from fedqs_ray.backends.ray.remote_updates import RemoteUpdates
from fedqs_ray.backends.ray.server_actor import start_executor
from fedqs_ray.backends.ray.session import open_session
from fedqs_ray.backends.ray.shared_data import put_data
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.core.fixed_point import choose_shift, compute_exact_sum, compute_partial_sum, convert_to_float32
from fedqs_ray.core.interfaces import fetch_delta
from fedqs_ray.core.types import Job, Thresholds, TrainingRequest
from fedqs_ray.tasks.loading import load_data
from fedqs_ray.training.trainer import Trainer

asked, request_sum = [], RemoteUpdates._request_sum

def watched(self, node, shares, size, unit):
    found = request_sum(self, node, shares, size, unit)
    asked.append((len(shares), found is not None))
    return found

RemoteUpdates._request_sum = watched
jobs = [Job(client, 0, 0, 0.0, 1.0 + client, False, 0.1, None, Thresholds()) for client in range(8)]
weights = [0.05 * (1 + job.client) for job in jobs]

def train(executor):
    model = executor.put(executor.initial_model()[0].copy())
    for job in jobs:
        executor.submit([TrainingRequest(job, model)])
    return [executor.result(job) for job in jobs]

def play(wish, kill):
    experiment = load_experiment(None, ["task.model=fcn", "clients.count=8", "server.buffer_size=8", *wish])
    algorithm, data = build_algorithm(experiment), load_data(experiment)
    oracle = InlineExecutor(Trainer(experiment, data, algorithm))
    plain = [update.delta for update in train(oracle)]
    wanted = compute_exact_sum(weights, plain)
    executor = start_executor(experiment, algorithm, put_data(data), 2)
    executor.actors.wait_for_start()
    updates = train(executor)
    unit = choose_shift(weights, [update.largest for update in updates])

    def same():
        there = [(job, w) for job, w, update in zip(jobs, weights, updates, strict=True) if update.vector is None]
        here = [(w, update.delta) for w, update in zip(weights, updates, strict=True) if update.vector is not None]
        total = compute_partial_sum(here, wanted.size, unit)
        total += executor.add_up(there, wanted.size, unit) if there else 0
        return convert_to_float32(total, unit).tobytes() == wanted.tobytes()

    def fetched():
        found = [fetch_delta(executor, job, update) for job, update in zip(jobs, updates, strict=True)]
        return all(map(np.array_equal, found, plain))

    asked.clear()
    out = {"remote": sum(update.vector is None for update in updates), "same": same(), "asked": list(asked)}
    out["nodes"] = len({place.node for place in executor._remote._locations.values()})
    if kill:
        small.remove_node(nodes.pop(), allow_graceful=False)
        out["after a death"], out["retries"] = same(), executor.retries
        nodes.insert(0, small.add_node(num_cpus=1))
        small.remove_node(nodes.pop(), allow_graceful=False)
        out["fetched"] = fetched()
    for job in jobs:
        executor.discard(job)
    return out | {"left": len(executor._remote)}

small = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [small.add_node(num_cpus=1) for _ in range(2)]
with open_session(small.address):
    exact = play(["algorithm.name=fedqs-sgd"], kill=False)
    sketched = play(["algorithm.name=fedqs-sgd", "algorithm.sketch_dim=64"], kill=True)
    Path(sys.argv[1]).write_text(json.dumps([exact, sketched]))
small.shutdown()
"""


def test_nodes_add_up_their_own_and_what_died_is_trained_again(found_by: Callable[..., Any]) -> None:
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    exact, sketched = found_by(SCRIPT, environment)
    assert exact["remote"] == 0, "a client state comes to the server, which outlives the client's node"
    assert exact["same"]
    assert sketched["remote"] == 8, "the head has no room for clients, so no update is there"
    assert sketched["nodes"] == 2
    assert sketched["same"]
    assert sum(count for count, _ in sketched["asked"]) == 8
    assert all(there for count, there in sketched["asked"] if count > 2), "sums travel, not updates"
    assert any(there for _, there in sketched["asked"])
    assert sketched["after a death"]
    assert sketched["retries"] > 0
    assert sketched["fetched"]
    assert sketched["left"] == 0
