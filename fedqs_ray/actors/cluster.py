"""Ray itself: started privately, checked against what the experiment asks for, stopped again."""

import logging
import math
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.text import brief_message
from fedqs_ray.runs.temporary import temporary_folder

ROOM = "/tmp"  # noqa: S108  A short path: Ray puts Unix sockets there, whose names may have 107 characters at most.


@contextmanager
def session(address: str = "local", cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """A Ray session: a private one, or the cluster at `address`. Uses the current one if there is one.

    `cpus` and `gpus` are how many a private Ray hands out; what the machine has if not given.
    """
    if ray.is_initialized():
        yield
        return
    held = ExitStack()
    held.enter_context(hushed())
    main = threading.current_thread() is threading.main_thread()
    if main and (before := signal.getsignal(signal.SIGTERM)) is not None:
        held.callback(signal.signal, signal.SIGTERM, before)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of its next release
            if address == "local":
                folder = held.enter_context(temporary_folder(ROOM))
                try:
                    with alone():
                        ray.init(
                            address="local",
                            num_cpus=cpus,
                            num_gpus=gpus,
                            include_dashboard=False,
                            log_to_driver=False,
                            logging_level=logging.ERROR,
                            _temp_dir=str(folder),
                            _node_ip_address="127.0.0.1",
                            _system_config={"max_direct_call_object_size": 2**20},  # small models stay with their calls
                        )
                except Exception as error:  # noqa: BLE001  a node that takes too long to start raises just that
                    raise SimulationStopped(f"Ray cannot start: {brief_message(error)}") from None
            else:
                try:
                    knock(address)
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
                except (OSError, ValueError, RuntimeError, RayError) as error:
                    raise ConfigError(
                        f'run.address = "{address}": no Ray cluster there: {brief_message(error)}'
                    ) from None
        if main:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler ends the process at once
        yield
    finally:
        ray.shutdown()
        held.close()


@contextmanager
def alone() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 only, which it would turn into the address that other machines see; and start no
    process that a private Ray has no use for, which halves the time that it takes to come and to go.
    """
    from ray._private import services
    from ray._private.node import Node

    def nothing(*_: object, **__: object) -> None:
        """What is not started: an autoscaler, a server for dashboards, a messenger for logs."""

    changes: dict[tuple[Any, str], Any] = {(services, "resolve_ip_for_localhost"): lambda host: host}
    changes |= {(Node, f"start_{what}"): nothing for what in ("monitor", "api_server", "log_monitor")}
    with swapped(changes):
        yield


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what Ray says of dead processes and nodes off standard output, where no setting of it helps; a run's log
    has them.
    """
    from ray._private import worker

    with swapped({(worker, "print_to_stdstream"): lambda *_, **__: None}):
        yield


@contextmanager
def swapped(changes: Mapping[tuple[Any, str], Any]) -> Iterator[None]:
    """Attributes of Ray's own, by their owner and name, with other values for a while."""
    before = {(owner, name): getattr(owner, name) for owner, name in changes}
    try:
        for (owner, name), change in changes.items():
            setattr(owner, name, change)
        yield
    finally:
        for (owner, name), own in before.items():
            setattr(owner, name, own)


def knock(address: str) -> None:
    """Fail at once, with OSError, where nobody listens; Ray itself tries for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def alive() -> list[dict[str, Any]]:
    """What Ray says of each living node."""
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def nodes() -> dict[str, dict[str, float]]:
    """What each living node has, by its id."""
    return {node["NodeID"]: node["Resources"] for node in alive()}


def inventory() -> list[dict[str, str | float]]:
    """Each living node, its host and what an actor may reserve there."""
    return [
        {"node": node["NodeID"], "host": node["NodeManagerHostname"]}
        | {kind: node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU")}
        for node in alive()
    ]


def object_store() -> float:
    """Bytes that a node's object store holds in memory, on average."""
    stores = [node.get("object_store_memory", 0.0) for node in nodes().values()]
    return sum(stores) / len(stores)


def actors_that_fit(experiment: Experiment) -> int:
    """How many client actors the machine or cluster has room for; may be 0.

    An actor lies on one node, and a fraction of a GPU on one GPU. What else runs there does not count: actors that
    find no room wait for it, while the others work.
    """
    clients, total = experiment.clients, 0
    for node in nodes().values():
        fits = node.get("CPU", 0.0) / clients.num_cpus
        if clients.num_gpus:
            each = math.floor(1 / clients.num_gpus + 1e-6) if clients.num_gpus <= 1 else 1 / clients.num_gpus
            fits = min(fits, math.floor(node.get("GPU", 0.0) + 1e-6) * each)
        total += math.floor(fits + 1e-6)
    return total


def plan_actors(experiment: Experiment) -> int:
    """How many client actors to start. Raises `ConfigError` if the machine or cluster has too little."""
    clients = experiment.clients
    fits = actors_that_fit(experiment)
    if clients.clients_per_actor != "auto":
        wanted, why = math.ceil(clients.count / clients.clients_per_actor), "clients.clients_per_actor"
    elif clients.actors != "auto":
        wanted, why = clients.actors, "clients.actors"
    else:
        wanted, why = max(1, min(fits, clients.at_once)), ""
    if wanted > fits and experiment.run.wait_for_nodes:
        fits = grow(experiment, wanted)
    if wanted > fits:
        because = f" ({why} = {getattr(clients, why.partition('.')[2])})" if why else ""
        raise ConfigError(too_many(experiment, wanted, because, fits))
    return wanted


def grow(experiment: Experiment, wanted: int) -> int:
    """Ask the cluster's autoscaler for room for `wanted` actors, and wait for it; how many fit in the end.

    The request ends with the wait: nodes that are there are in use before they count as idle.
    """
    from ray.autoscaler.sdk import request_resources

    clients, end = experiment.clients, time.monotonic() + experiment.run.wait_for_nodes
    need = {"CPU": clients.num_cpus} | ({"GPU": clients.num_gpus} if clients.num_gpus else {})
    request_resources(bundles=[need] * wanted)
    try:
        while (fits := actors_that_fit(experiment)) < wanted and time.monotonic() < end:
            time.sleep(0.5)
    finally:
        request_resources()
    return fits


def too_many(experiment: Experiment, wanted: int, because: str, fits: int) -> str:
    """Why `wanted` actors do not fit, in one line."""
    clients, there = experiment.clients, nodes()
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


def node_id() -> str:
    """The node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())
