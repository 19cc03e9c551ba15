"""Resources of the nodes of a cluster, and the number of client actors that fit."""

import math
import time
from typing import Any

import ray

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError


def list_living() -> list[dict[str, Any]]:
    """Ray's description of each living node."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def list_nodes() -> dict[str, dict[str, float]]:
    """Resources of each living node, by its id."""
    return {node["NodeID"]: node["Resources"] for node in list_living()}


def describe_nodes() -> list[dict[str, str | float]]:
    """Describe each living node: its id, its host, and the CPUs and GPUs that actors may reserve there."""
    return [
        {"node": node["NodeID"], "host": node["NodeManagerHostname"]}
        | {kind: node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU")}
        for node in list_living()
    ]


def measure_object_store() -> float:
    """Average capacity of a node's object store in memory, in bytes."""
    stores = [node.get("object_store_memory", 0.0) for node in list_nodes().values()]
    return sum(stores) / len(stores)


def count_fitting_actors(experiment: Experiment) -> int:
    """Count the client actors that the machine or cluster has room for; may be 0.

    An actor lies on one node, and a fraction of a GPU on one GPU. What else runs there does not count: actors that
    find no room wait for it, while the others work.
    """
    clients, total = experiment.clients, 0
    for node in list_nodes().values():
        fits = node.get("CPU", 0.0) / clients.num_cpus
        if clients.num_gpus:
            each = math.floor(1 / clients.num_gpus + 1e-6) if clients.num_gpus <= 1 else 1 / clients.num_gpus
            fits = min(fits, math.floor(node.get("GPU", 0.0) + 1e-6) * each)
        total += math.floor(fits + 1e-6)
    return total


def plan_actors(experiment: Experiment) -> int:
    """Number of client actors to start. Raises `ConfigError` if the machine or cluster has too little."""
    clients = experiment.clients
    fits = count_fitting_actors(experiment)
    if clients.clients_per_actor != "auto":
        wanted, why = math.ceil(clients.count / clients.clients_per_actor), "clients.clients_per_actor"
    elif clients.actors != "auto":
        wanted, why = clients.actors, "clients.actors"
    else:
        wanted, why = max(1, min(fits, clients.at_once)), ""
    if wanted > fits and experiment.run.wait_for_nodes:
        fits = request_room(experiment, wanted)
    if wanted > fits:
        because = f" ({why} = {getattr(clients, why.partition('.')[2])})" if why else ""
        raise ConfigError(explain_shortage(experiment, wanted, because, fits))
    return wanted


def request_room(experiment: Experiment, wanted: int) -> int:
    """Ask the cluster's autoscaler for room for `wanted` actors, and wait for it. Returns how many fit in the end.

    The request ends with the wait: nodes that are there are in use before they count as idle.
    """
    from ray.autoscaler.sdk import request_resources

    clients, end = experiment.clients, time.monotonic() + experiment.run.wait_for_nodes
    need = {"CPU": clients.num_cpus} | ({"GPU": clients.num_gpus} if clients.num_gpus else {})
    request_resources(bundles=[need] * wanted)
    try:
        while (fits := count_fitting_actors(experiment)) < wanted and time.monotonic() < end:
            time.sleep(0.5)
    finally:
        request_resources()
    return fits


def explain_shortage(experiment: Experiment, wanted: int, because: str, fits: int) -> str:
    """Explain in one line why `wanted` actors do not fit."""
    clients, there = experiment.clients, list_nodes()
    need = {"CPU": clients.num_cpus, "GPU": clients.num_gpus}
    have = {kind: sum(node.get(kind, 0.0) for node in there.values()) for kind in need}
    short = [kind for kind, amount in need.items() if amount and wanted * amount > have[kind] + 1e-6]
    kind = short[0] if short else "GPU" if clients.num_gpus else "CPU"
    where = "this machine has" if experiment.run.address == "local" else f"the cluster (nodes: {len(there)}) has"
    text = (
        f"clients.num_{kind.lower()}s = {need[kind]:g}: {wanted} client actor{'s' * (wanted > 1)}{because} would need "
        f"{wanted * need[kind]:g} {kind}s, and {where} {have[kind]:g}; "
    )
    if not have[kind]:
        return text + f"must be 0 without a {kind}"
    if not short:
        return text + f"no actor is divided over nodes or GPUs, so {fits} fit"
    return text + f"at most {have[kind] / wanted:.3g} would fit"


def get_node_id() -> str:
    """Id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())
