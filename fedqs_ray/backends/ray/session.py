"""Ray itself: started privately, checked against what the experiment asks for, stopped again."""

import logging
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import ray
from ray.exceptions import RayError

from fedqs_ray.backends.ray.private_api import keep_private, silence_driver
from fedqs_ray.core.exceptions import ConfigError, SimulationStopped
from fedqs_ray.core.text import brief_message
from fedqs_ray.runs.temporary import temporary_folder

ROOM = "/tmp"  # noqa: S108  A short path: Ray puts Unix sockets there, whose names may have 107 characters at most.


@contextmanager
def open_session(address: str = "local", cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """A Ray session: a private one, or the cluster at `address`. Uses the current one if there is one.

    `cpus` and `gpus` are how many a private Ray hands out; what the machine has if not given.
    """
    if ray.is_initialized():
        yield
        return
    held = ExitStack()
    held.enter_context(silence_driver())
    main = threading.current_thread() is threading.main_thread()
    if main and (before := signal.getsignal(signal.SIGTERM)) is not None:
        held.callback(signal.signal, signal.SIGTERM, before)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of its next release
            if address == "local":
                folder = held.enter_context(temporary_folder(ROOM))
                try:
                    with keep_private():
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


def knock(address: str) -> None:
    """Fail at once, with OSError, where nobody listens; Ray itself tries for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
