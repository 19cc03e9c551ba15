"""Ray itself: started privately, checked against what the experiment asks for, stopped again."""

import logging
import math
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from fedqs_ray.actors.errors import brief
from fedqs_ray.config import Experiment, SettingError
from fedqs_ray.simulation import SimulationStopped


@contextmanager
def session(address: str = "local", cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """A Ray session: a private one, or the cluster at `address`. Uses the current one if there is one.

    `cpus` and `gpus` are how many a private Ray hands out; what the machine has if not given.
    """
    if ray.is_initialized():
        yield
        return
    folder = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of its next release
            if address == "local":
                # A short path: Ray puts Unix sockets there, whose names may have 107 characters at most.
                folder = tempfile.mkdtemp(prefix="fedqs-", dir="/tmp")
                try:
                    with loopback():
                        ray.init(
                            address="local",
                            num_cpus=cpus,
                            num_gpus=gpus,
                            include_dashboard=False,
                            log_to_driver=False,
                            logging_level=logging.ERROR,
                            _temp_dir=folder,
                            _node_ip_address="127.0.0.1",
                        )
                except (OSError, ValueError, RuntimeError, RayError) as error:
                    raise SimulationStopped(f"Ray cannot start: {brief(error)}") from None
            else:
                try:
                    knock(address)
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
                except (OSError, ValueError, RuntimeError, RayError) as error:
                    raise SettingError(f'run.address = "{address}": no Ray cluster there: {brief(error)}') from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler ends the process at once
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def loopback() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 only. It would turn that into the address that other machines see."""
    from ray._private import services

    resolve = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


def knock(address: str) -> None:
    """Fail at once, with OSError, where nobody listens; Ray itself tries for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def actors_that_fit(experiment: Experiment) -> int:
    """How many client actors the machine or cluster has room for; may be 0."""
    have, need = resources(experiment)
    return min(math.floor(have[kind] / amount + 1e-6) for kind, amount in need.items() if amount)


def resources(experiment: Experiment) -> tuple[dict[str, float], dict[str, float]]:
    """CPUs and GPUs: what there is, and what a client actor needs."""
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    have = {"CPU": there.get("CPU", 0.0), "GPU": there.get("GPU", 0.0)}
    return have, {"CPU": experiment.clients.num_cpus, "GPU": experiment.clients.num_gpus}


def plan_actors(experiment: Experiment) -> int:
    """How many client actors to start. Raises `SettingError` if the machine or cluster has too little."""
    clients, fits, (have, need) = experiment.clients, actors_that_fit(experiment), resources(experiment)
    nodes = len(ray.nodes())  # type: ignore[no-untyped-call]
    if clients.clients_per_actor != "auto":
        wanted, why = math.ceil(clients.count / clients.clients_per_actor), "clients.clients_per_actor"
    elif clients.actors != "auto":
        wanted, why = clients.actors, "clients.actors"
    else:
        wanted, why = max(1, min(fits, clients.at_once)), ""
    if wanted > fits:
        kind = next(k for k, amount in need.items() if amount and wanted * amount > have[k] + 1e-6)
        setting = f"clients.num_{kind.lower()}s"
        where = "this machine has" if nodes == 1 else f"the cluster's {nodes} nodes have"
        because = f" ({why} = {getattr(clients, why.partition('.')[2])})" if why else ""
        raise SettingError(
            f"{setting} = {need[kind]:g}: {wanted} client actor{'s' * (wanted > 1)}{because} would need "
            f"{wanted * need[kind]:g} {kind}s, and {where} {have[kind]:g}; "
            + (f"at most {have[kind] / wanted:.3g} would fit" if have[kind] else f"must be 0 without a {kind}")
        )
    return wanted


def node_id() -> str:
    """The node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())
