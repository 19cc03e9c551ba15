"""Ray's private names: each patch or option in one guarded function that does without it where the name is gone."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray

log = logging.getLogger(__name__)


def start_private_ray(folder: Path, **options: Any) -> None:
    """Start a Ray of this process alone, with its files in `folder`; `options` are those of `ray.init`."""
    with keep_on_loopback(), skip_services():
        init_with_private_options({"_temp_dir": str(folder), "_node_ip_address": "127.0.0.1"}, **options)


def init_with_private_options(private: dict[str, Any], **options: Any) -> None:
    """Call `ray.init(address="local")` with those `private` options that this Ray still knows."""
    while True:
        try:
            ray.init(address="local", **options, **private)
        except (TypeError, RuntimeError) as error:  # an unknown option is refused before anything starts
            known = {name: value for name, value in private.items() if name not in str(error)}
            if "keyword argument" not in str(error) or known == private:
                raise
            if "_node_ip_address" in private.keys() - known.keys():
                warn_of_addresses()
            private = known
        else:
            return


@contextmanager
def keep_on_loopback() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1, which it would turn into the address that other machines see."""
    with swap_attribute("services", "resolve_ip_for_localhost", lambda host: host) as swapped:
        if not swapped:
            warn_of_addresses()
        yield


def warn_of_addresses() -> None:
    """Warn that other machines can reach the ports of this Ray."""
    log.warning("Ray %s cannot be kept on 127.0.0.1: other machines may reach its ports", ray.__version__)


@contextmanager
def skip_services() -> Iterator[None]:
    """Start no autoscaler, dashboard or log monitor: a private Ray has no use for them, and starts in half the time."""

    def skip(*_: object, **__: object) -> None:
        """Start nothing."""

    with ExitStack() as held:
        for service in ("monitor", "api_server", "log_monitor"):
            held.enter_context(swap_attribute("node", f"Node.start_{service}", skip))
        yield


@contextmanager
def silence_driver() -> Iterator[None]:
    """Keep Ray's notices of dead processes and nodes off standard output: no setting does, and a run's log has them."""
    with swap_attribute("worker", "print_to_stdstream", lambda *_, **__: None):
        yield


@contextmanager
def swap_attribute(module: str, path: str, value: object) -> Iterator[bool]:
    """Replace an attribute of `ray._private.MODULE` for a while; yields whether it is there."""
    owner, name = find_owner(module, path)
    if owner is None:
        yield False
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield True
    finally:
        setattr(owner, name, before)


def find_owner(module: str, path: str) -> tuple[Any, str]:
    """The module or class that has the attribute `path`, such as "Node.start_monitor", and its name; None if gone."""
    *classes, name = path.split(".")
    try:
        owner: Any = importlib.import_module(f"ray._private.{module}")
    except ImportError:
        return None, name
    for part in classes:
        owner = getattr(owner, part, None)
    return (owner if hasattr(owner, name) else None), name
