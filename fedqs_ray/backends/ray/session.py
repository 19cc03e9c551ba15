"""Ray sessions: a private one, or a connection to a cluster; stopped at the end."""

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from fedqs_ray.backends.ray.private_api import silence_driver, start_private_ray
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.text import shorten_message
from fedqs_ray.runs.temporary import temporary_folder
from fedqs_ray.training.device import LOGICAL_GPUS

ROOM = "/tmp"  # noqa: S108  A short path: Ray puts Unix sockets there, whose names may have 107 characters at most.
SMALL_OBJECTS = {"RAY_max_direct_call_object_size": str(2**20)}
"""Small models travel with their calls. A Ray that does not know the variable ignores it."""

log = logging.getLogger(__name__)


@contextmanager
def open_session(address: str = "local", cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """Open a Ray session: a private one, or the cluster at `address`. Uses the current one if there is one.

    `cpus` and `gpus` are how many a private Ray hands out; what the machine has if not given. `gpus` that are given are
    logical: client actors that find no CUDA device train on the CPU instead of refusing to.

    Raises `ConfigError` if no cluster answers at `address`, and `SimulationStopped` if a private Ray cannot start.
    """
    if ray.is_initialized():
        if address not in ("local", "auto") and not is_current(address):
            current = ray.get_runtime_context().gcs_address
            log.warning('run.address = "%s": not used, this process is connected to Ray at %s', address, current)
        yield
        return
    held = ExitStack()
    held.enter_context(silence_driver())
    main = threading.current_thread() is threading.main_thread()
    if main and (before := signal.getsignal(signal.SIGTERM)) is not None:
        held.callback(signal.signal, signal.SIGTERM, before)
    quiet: Any = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of its next release
            if address == "local":
                folder = held.enter_context(temporary_folder(ROOM))
                held.enter_context(set_environment(SMALL_OBJECTS | ({} if gpus is None else {LOGICAL_GPUS: "1"})))
                try:
                    start_private_ray(folder, num_cpus=cpus, num_gpus=gpus, include_dashboard=False, **quiet)
                except Exception as error:  # noqa: BLE001  a node that takes too long to start raises just that
                    raise SimulationStopped(f"Ray cannot start: {shorten_message(error)}") from None
            else:
                try:
                    knock(address)
                    ray.init(address=address, **quiet)
                except (OSError, ValueError, RuntimeError, RayError) as error:
                    raise ConfigError(
                        f'run.address = "{address}": no Ray cluster there: {shorten_message(error)}'
                    ) from None
        if main:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler ends the process at once
        yield
    finally:
        ray.shutdown()
        held.close()


@contextmanager
def set_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set, for a while: Ray's processes inherit them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def knock(address: str) -> None:
    """Connect to `address` for a moment. Raises OSError at once if nothing listens; Ray itself tries for minutes."""
    if address != "auto":
        socket.create_connection(split_address(address), timeout=5).close()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_current(address: str) -> bool:
    """Whether `address` is that of the cluster that this process is connected to, perhaps by another name."""
    (host, port), (own, own_port) = map(split_address, (address, ray.get_runtime_context().gcs_address))
    if port != own_port:
        return False
    try:
        numbers = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return host == own
    if any(number == "::1" or number.startswith("127.") for number in numbers):
        numbers.add(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    return own in numbers
