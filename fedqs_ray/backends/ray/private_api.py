"""Ray's private names, each used in one guarded function that does without where the name is gone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def keep_private() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 only, which it would turn into the address that other machines see; and start no
    process that a private Ray has no use for, which halves the time that it takes to come and to go.
    """
    from ray._private import services
    from ray._private.node import Node

    def nothing(*_: object, **__: object) -> None:
        """What is not started: an autoscaler, a server for dashboards, a messenger for logs."""

    changes: dict[tuple[Any, str], Any] = {(services, "resolve_ip_for_localhost"): lambda host: host}
    changes |= {(Node, f"start_{what}"): nothing for what in ("monitor", "api_server", "log_monitor")}
    with swap_attributes(changes):
        yield


@contextmanager
def silence_driver() -> Iterator[None]:
    """Keep what Ray says of dead processes and nodes off standard output, where no setting of it helps; a run's log
    has them.
    """
    from ray._private import worker

    with swap_attributes({(worker, "print_to_stdstream"): lambda *_, **__: None}):
        yield


@contextmanager
def swap_attributes(changes: Mapping[tuple[Any, str], Any]) -> Iterator[None]:
    """Attributes of Ray's own, by their owner and name, with other values for a while."""
    before = {(owner, name): getattr(owner, name) for owner, name in changes}
    try:
        for (owner, name), change in changes.items():
            setattr(owner, name, change)
        yield
    finally:
        for (owner, name), own in before.items():
            setattr(owner, name, own)
